"""Each preset on what the exporters say, in two versions and more, scraped in two ways by a real Prometheus."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import pytest

from computepool.model.api import MEASURES, Measure, MetricSignal, Preset, SaturationMetric
from computepool.model.presets import reads_of
from computepool.observe.signal_answers import Sorted
from computepool.observe.signal_poller import Question, ask
from computepool.prometheus.client import PrometheusClient
from computepool.prometheus.promql import rendered
from computepool.prometheus.source import Source
from e2e.exporter import Exporter
from e2e.prometheus import Prometheus, Target, until_complete

FIXTURES = Path(__file__).resolve().parents[1] / "exporters"
PRESETS = {
    "dcgm-exporter": Preset.DCGM,
    "amd-device-metrics-exporter": Preset.AMD,
    "vllm": Preset.VLLM,
    "sglang": Preset.SGLANG,
    "trtllm-serve": Preset.TRTLLM,
    "triton": Preset.TRITON,
    "triton-trtllm": Preset.TRITON,
    "llmd-epp": Preset.LLMD,
    "tgi": Preset.TGI,
}
U, M, Q, K, T, E = (
    Measure.UTILIZATION,
    Measure.MEMORY,
    Measure.QUEUE,
    Measure.KV_CACHE,
    Measure.TIME_TO_FIRST_TOKEN,
    Measure.ERRORS,
)
Values = dict[Measure, list[float]]
TWO_GPUS: Values = {U: [0, 91.23], M: [0, 93.04], E: [0, 0]}
MIG: Values = {U: [0, 0, 87.41], M: [0, 0.25, 92.02], E: [0, 0]}
AMD: Values = {U: [0, 88], M: [0.14, 89.68], E: [0, 1]}
LLMD: Values = {Q: [2.5], K: [55]}
EXPECTED: dict[str, Values] = {
    # Without profiling counters the busy percentage serves.
    "dcgm-exporter-3.3.5": {**TWO_GPUS, U: [0, 94]},
    "dcgm-exporter-4.4.0": TWO_GPUS,
    "dcgm-exporter-4.4.0-mig": MIG,
    # The counter of errors is switched on.
    "dcgm-exporter-4.8.3": {**TWO_GPUS, E: [0, 1]},
    "dcgm-exporter-4.8.3-mig": {**MIG, E: [0, 1]},
    # Names and units of today.
    "dcgm-exporter-4.9.0": TWO_GPUS,
    "dcgm-exporter-4.9.0-mig": MIG,
    "amd-device-metrics-exporter-1.2.1": AMD,
    "amd-device-metrics-exporter-1.5.2": AMD,
    "amd-device-metrics-exporter-1.5.2-dpx": AMD,
    # A guest does not know its used memory.
    "amd-device-metrics-exporter-1.5.2-vf": {**AMD, M: []},
    "vllm-0.6.3": {Q: [6], K: [83], T: [1.6], E: [0]},
    "vllm-0.32.0": {Q: [10], K: [91], T: [1.83], E: [0.02]},
    "sglang-0.4.0": {Q: [7], K: [72], T: [1.48]},
    "sglang-0.5": {Q: [6], K: [88], T: [1.19]},
    # This version has no gauges and no counter of errors: absent is not 0.
    "trtllm-serve-1.2.1": {Q: [], K: [], T: [0.95], E: []},
    "trtllm-serve-1.3.0": {Q: [4], K: [62], T: [0.95], E: [0.99]},
    "triton-23.12": {Q: [4], K: [], E: [0.1]},
    "triton-24.12": {Q: [4], K: [], E: [0.05]},
    "triton-trtllm-23.12": {Q: [4], K: [70], E: [0.08]},
    "triton-trtllm-25.03": {Q: [5], K: [70], E: [0.04]},
    "llmd-epp-gie-1.0": LLMD,
    "llmd-epp-router-interim": LLMD,
    "llmd-epp-0.10": LLMD,
    "tgi-3.3": {Q: [9], E: [1.13]},
}
MONITOR, ANNOTATIONS = "monitor", "annotations"
CASE = "case"
"""The label that tells the scrapes of all fixtures apart; the queries get it as an enforced label."""
_TYPE = re.compile(r"^# TYPE (\S+) (?:counter|histogram)$", re.MULTILINE)
_SAMPLE = re.compile(r"^([A-Za-z_:]\w*(?::\w+)*)(\{.*\})? (\S+)$")


class Nodes:
    """The nodes that the exporters, or the scrapes, name."""

    def is_node(self, name: str) -> bool:
        return name in ("gpu-node-a", "amd-node-a", "n-1")


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that has scraped every fixture in both ways, twice before and twice after its counters grew."""
    texts = {name: (FIXTURES / f"{name}.txt").read_text() for name in EXPECTED}
    with Exporter() as exporter, Prometheus(tmp_path_factory.mktemp("presets"), exporter) as running:
        for name, text in texts.items():
            exporter.serve(name, text)
        running.watch([_target(name, way) for name in texts for way in (MONITOR, ANNOTATIONS)])
        _wait_scrapes(running, texts, 2)
        for name, text in texts.items():
            exporter.serve(name, grown(text))
        _wait_scrapes(running, texts, 4)
        yield running


def _target(name: str, way: str) -> Target:
    """As a ServiceMonitor or a PodMonitor labels it, or as annotations of pods do in the chart of Prometheus."""
    own = {CASE: f"{name}/{way}"}
    if way == MONITOR:
        return Target(name, {"namespace": "ml", "pod": "s-0", "container": "main", **own})
    labels = {"kubernetes_namespace": "ml", "kubernetes_pod_name": "s-0", "kubernetes_node": "n-1"}
    return Target(name, {**labels, **own})


def _wait_scrapes(prometheus: Prometheus, texts: Mapping[str, str], count: int) -> None:
    prometheus.wait_for(f"count_over_time(up[1h]) >= {count} and up == 1", 2 * len(texts), timeout=60)


def grown(text: str) -> str:
    """The text after a while: every counter and every part of a histogram has grown by half."""
    growing = {name + part for name in _TYPE.findall(text) for part in ("", "_total", "_bucket", "_sum", "_count")}
    lines = []
    for line in text.splitlines():
        found = _SAMPLE.match(line)
        grows = found is not None and found[1] in growing
        lines.append(f"{found[1]}{found[2] or ''} {1.5 * float(found[3])}" if found and grows else line)
    return "\n".join(lines) + "\n"


def _series(prometheus: Prometheus, metric: MetricSignal, case: str) -> Sequence[Sorted]:
    async def run() -> Sequence[Sorted]:
        async with PrometheusClient(Source(url=prometheus.url)) as client:
            reads = reads_of(metric)
            question = Question(rendered(reads.query, enforced={CASE: case}), reads)
            return [one async for part in ask(client, question, Nodes()) for one in part]

    return asyncio.run(run())


@pytest.mark.parametrize("way", [MONITOR, ANNOTATIONS])
@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_preset_reads_what_an_exporter_of_that_version_says(prometheus: Prometheus, name: str, way: str) -> None:
    preset = PRESETS[re.sub(r"-\d.*|-gie.*|-router.*", "", name)]
    assert set(EXPECTED[name]) == set(MEASURES[preset])
    for measure, values in EXPECTED[name].items():
        metric = SaturationMetric(name="one", preset=preset, measure=measure, enter="5", exit="1")
        series = until_complete(
            partial(_series, prometheus, metric, f"{name}/{way}"), len(values), lambda one: one.age is not None
        )
        assert [one.problem for one in series] == [""] * len(values), measure
        found = sorted(one.series.value or 0.0 for one in series)
        assert found == pytest.approx(sorted(values), abs=0.006), measure
        assert {one.owner for one in series} <= _owners(preset, way), measure


def _owners(preset: Preset, way: str) -> set[str]:
    if preset is Preset.LLMD:
        return {""}
    if preset in (Preset.DCGM, Preset.AMD):
        return {"n-1"} if way == ANNOTATIONS else {"gpu-node-a", "amd-node-a"}
    return {"ml/s-0"}


def test_every_fixture_is_read() -> None:
    assert {path.stem for path in FIXTURES.glob("*.txt")} == set(EXPECTED)
