"""A reader who follows the README from top to bottom, on a cluster like the one that it speaks of, and who turns to
docs/signals.md, docs/forecast.md, docs/drain.md and docs/explain.md where the README names them.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from e2e import binaries, brisk, chart, objects, pools
from e2e.cluster import Cluster
from e2e.exporter import Exporter
from e2e.operator import OperatorProcess
from e2e.prometheus import Prometheus, Target
from tests.unit.docs.blocks import DRAIN, EXPLAIN, FORECAST, README, REPOSITORY, SIGNALS, Block, blocks, prose

Json = dict[str, Any]

NAMESPACE, POOL = "inference", "inference"
# One node of 8 on the primary: the rest has to go elsewhere.
PODS, AT_HOME = 12, 8
READS_METRICS = "operator-that-reads-metrics"
# Nothing here builds or pulls images; tests/unit/docs looks at these. The others are the demo's and the whole suite.
NOT_RUN = ("docker ", "make ")


# No pod's commands run here, and there is no such Service: what is to run in the operator's pod runs beside the cluster
# with the operator's rights and settings, and the Prometheus is one of this test's.
IN_OPERATORS_POD = " exec deploy/computepool -- "
SOURCE_URL = "http://prometheus-operated.monitoring:9090"
QUEUE = 9


class Reader:
    """Runs the documents' commands as they stand there, in a shell, in the root of the repository."""

    def __init__(self, cluster: Cluster, tools: Path) -> None:
        self.cluster = cluster
        self.source_url = ""
        """The address to be used for the address of the source of metrics in the documents."""
        for name in ("kubectl", "helm"):
            (tools / name).symlink_to(binaries.find_all()[name])
        self._tools = tools
        path = [str(tools), str(Path(sys.executable).parent), os.environ["PATH"]]
        self._env = cluster.command_env() | {"PATH": os.pathsep.join(path), "COLUMNS": "160"}

    def let_exec_run(self, operator: str, flags: Sequence[str]) -> None:
        """From now on `kubectl exec` into the operator's pods runs its command as that operator, with these flags."""
        kubectl = self._tools / "kubectl"
        kubectl.unlink()
        script = f"""\
            #!/usr/bin/env bash
            [[ " $* " == *"{IN_OPERATORS_POD}"* ]] || exec {binaries.find_all()["kubectl"]} "$@"
            while [[ $1 != -- ]]; do shift; done
            KUBECONFIG={self.cluster.layout.folder}/kubeconfig-{operator} exec "${{@:2}}" {shlex.join(flags)}
            """
        kubectl.write_text(textwrap.dedent(script))
        kubectl.chmod(0o755)

    def commands(self, heading: str, path: Path = README) -> list[Block]:
        """The shell blocks under a heading."""
        found = [block for block in blocks(path) if block.heading == heading and block.language == "sh"]
        assert found, heading
        return found

    def follow(self, heading: str, path: Path = README) -> str:
        """Run all shell blocks under a heading; return what they printed."""
        return "".join(self.run(block) for block in self.commands(heading, path) if not block.text.startswith(NOT_RUN))

    def run(self, block: Block) -> str:
        """Run one block; return what it printed."""
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block.text.replace(SOURCE_URL, self.source_url or SOURCE_URL)],
            cwd=REPOSITORY,
            env=self._env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert ran.returncode == 0, f"{block.text}\n{ran.stdout}{ran.stderr}"
        return ran.stdout

    def try_patches(self, path: Path) -> None:
        """Let the API server say whether it would take each part of a pool that a document shows."""
        for block in blocks(path):
            if block.language == "yaml":
                patch = f"kubectl patch cpool {POOL} --type merge --dry-run=server --patch {shlex.quote(block.text)}"
                self.run(Block("sh", patch, block.heading))


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """On a cluster of its own: the README's names are fixed, and it uninstalls what others may share."""
    with Cluster() as cluster:
        cluster.api.create_many(_nodes())
        cluster.api.wait_for("nodes", lambda found: all(map(objects.is_schedulable, found)), what="nodes to be usable")
        yield Reader(cluster, tmp_path)


def _nodes() -> list[Json]:
    """As EKS and Liqo make them: the hybrid node has neither label nor taint of ours yet."""
    hybrid = objects.gpu_node("hybrid", "nebius", labels={"eks.amazonaws.com/compute-type": "hybrid"})
    del hybrid["metadata"]["labels"][objects.PROVIDER_KEY]
    liqo = {"key": "virtual-node.liqo.io/not-allowed", "value": "true", "effect": "NoExecute"}
    return [
        objects.gpu_node("p5", "aws", gpus=AT_HOME, labels={"eks.amazonaws.com/nodegroup": "p5"}),
        hybrid,
        objects.gpu_node("liqo", "partner", taints=[liqo], labels={"liqo.io/type": "virtual-node"}),
    ]


def test_whoever_follows_it_from_top_to_bottom_gets_what_it_says(reader: Reader, tmp_path: Path) -> None:
    assert "successfully rolled out" in reader.follow("Install")
    with OperatorProcess(reader.cluster) as operator:
        operator.wait_leading()

        assert _header(reader.follow("A first pool")) == _header(_shown("What to look at when it acts", 0))
        _try_in_observe_mode(reader)
        reader.follow("Safe to try")
        _wait_burst(reader)

        said = reader.follow("What to look at when it acts")
        _check_looks(said)
        assert reader.follow("Explain a pod", EXPLAIN).count("pool inference") == 2
        _check_log(operator)
        _check_metrics(operator)
    _read_signals(reader, tmp_path)
    with OperatorProcess(reader.cluster) as operator:
        operator.wait_leading()
        _ask_for_a_forecast(reader)
        _drain_and_undo(reader)
    _uninstall(reader)


def _try_in_observe_mode(reader: Reader) -> None:
    api = reader.cluster.api
    api.create(objects.gpu_deployment("chat", PODS), NAMESPACE)
    api.wait_for(
        "events.events.k8s.io",
        lambda found: [
            e for e in found if e["regarding"]["name"] == POOL and e.get("note", "").startswith("Observe: ")
        ],
        what="an event that says what would be done",
    )
    bound = [pod for pod in api.list("pods", NAMESPACE) if objects.is_bound(pod)]
    assert len(bound) == AT_HOME
    assert not api.list("pods", NAMESPACE, labels=pools.BURST_LABEL)


def _wait_burst(reader: Reader) -> None:
    def burst(found: list[Json]) -> bool:
        nodes = [pod["spec"].get("nodeName") for pod in found]
        return (nodes.count("p5"), nodes.count("hybrid")) == (AT_HOME, PODS - AT_HOME)

    reader.cluster.api.wait_for("pods", burst, NAMESPACE, what="the rest of the pods on the hybrid node")
    pools.wait_status(
        reader.cluster.api, POOL, lambda status: status.get("burstPods") == PODS - AT_HOME, "a status that says so"
    )


def _check_looks(said: str) -> None:
    heading = "What to look at when it acts"
    for index, pattern in ((0, r"^NAME +PRIMARY"), (1, r"^ Provider +Role")):
        assert _header(said, pattern) == _header(_shown(heading, index), pattern)
    assert re.search(r"^inference +aws +True +4 +0 +\w+ +\S+ +\S+$", said, re.MULTILINE)
    assert "PrimarySaturated" in said
    assert re.search(r"^ Saturated +True +\w+ +aws: 8 of 8 accelerators allocated", said, re.MULTILINE)
    assert "RunsOnStandby: The pod runs on a standby provider." in said


def _read_signals(reader: Reader, folder: Path) -> None:
    """The README's first signal, and then docs/signals.md, which has the same steps with more between them."""
    with Exporter() as exporter, Prometheus(folder / "prometheus", exporter) as prometheus:
        exporter.serve("chat", f'vllm:num_requests_waiting_by_reason{{engine="0",reason="capacity"}} {QUEUE}\n')
        servers = [pod["metadata"]["name"] for pod in reader.cluster.api.list("pods", NAMESPACE, labels="app=chat")]
        prometheus.watch(Target("chat", {"namespace": NAMESPACE, "pod": name}) for name in servers)
        prometheus.wait_for("vllm:num_requests_waiting_by_reason", len(servers))
        reader.source_url = prometheus.url
        install, use = reader.commands("A first signal")
        reader.run(install)
        flags = chart.source_flags(reader.cluster)
        reader.let_exec_run(READS_METRICS, flags)
        with OperatorProcess(reader.cluster, identity=READS_METRICS, flags=flags) as operator:
            operator.wait_leading()
            _check_queue(reader.run(use))
            _read_more_of_signals(reader)


def _read_more_of_signals(reader: Reader) -> None:
    install, add, ask, look, remove = reader.commands("A first signal", SIGNALS)
    asked, told = (block.text for block in blocks(SIGNALS) if block.language == "console")
    assert "successfully rolled out" in reader.run(install)
    reader.run(add)
    said = reader.run(ask)
    _check_queue(said)
    assert _header(said, r"^ Belongs to") == _header(asked, r"^ Belongs to")
    _wait_signals(reader, [f"{QUEUE} requests"])
    assert _header(reader.run(look), r"^ Signal +Verdict") == _header(told, r"^ Signal +Verdict")
    reader.try_patches(SIGNALS)
    reader.run(remove)
    _wait_signals(reader, [])


def _check_queue(said: str) -> None:
    assert f"Value {QUEUE} requests, at `enter` or beyond." in said
    assert f"{AT_HOME} of {AT_HOME} pods have a current sample." in said


def _wait_signals(reader: Reader, values: list[str]) -> None:
    def turned(status: Json) -> bool:
        return [signal["value"] for signal in status.get("signals", [])] == values

    pools.wait_status(reader.cluster.api, POOL, turned, f"signals with the values {values}", timeout=60)


def _ask_for_a_forecast(reader: Reader) -> None:
    reader.try_patches(FORECAST)
    patch, look = (block for block in blocks(FORECAST) if block.language == "sh")
    reader.run(patch)

    def turned(status: Json) -> bool:
        return bool(status.get("forecast", {}).get("reason") == "HistoryTooShort")

    pools.wait_status(reader.cluster.api, POOL, turned, "a forecast that is Unknown")
    assert "Forecast (HistoryTooShort): " in reader.run(look)


def _drain_and_undo(reader: Reader) -> None:
    (drain,) = (block for block in reader.commands("When a provider fails") if "drain" in block.text)
    said = reader.run(drain)
    _wait_breaker(reader, "Open")
    said += reader.follow("Drain a provider", DRAIN)
    _wait_breaker(reader, "HalfOpen")
    (shown,) = (block.text for block in blocks(DRAIN) if block.language == "console")
    assert _without_numbers(shown.splitlines()[0]) in _without_numbers(said)
    assert "The drain of nebius of pool inference has ended." in said


def _without_numbers(text: str) -> str:
    return re.sub(r"\d+", "N", text)


def _wait_breaker(reader: Reader, state: str) -> None:
    def turned(status: Json) -> bool:
        return bool(brisk.breaker_of(status, "nebius").get("state") == state)

    pools.wait_status(reader.cluster.api, POOL, turned, f"the breaker to be {state}")


def _check_log(operator: OperatorProcess) -> None:
    (shown,) = (msgspec.json.decode(block.text) for block in blocks() if block.language == "json")
    assert operator.wait_logged("burst", provider="nebius").keys() == shown.keys()


def _check_metrics(operator: OperatorProcess) -> None:
    """The labels that the README gives are those of the samples; tests/unit/docs looks at the names."""
    documented = dict(re.findall(r"^\| `(computepool_\w+)\{([\w,]+)\}` \|", prose(), re.MULTILINE))
    samples = [one for family in text_string_to_metric_families(operator.metrics()) for one in family.samples]
    for sample in samples:
        if sample.name in documented:
            assert set(sample.labels) == set(documented[sample.name].split(",")), sample.name


def _uninstall(reader: Reader) -> None:
    api = reader.cluster.api
    crd = "customresourcedefinitions.apiextensions.k8s.io"
    (remove_release, remove_leftovers, remove_definition) = (
        block for block in blocks() if block.heading == "Uninstall" and block.language == "sh"
    )
    reader.run(remove_release)
    for kind in ("mutatingadmissionpolicies", "mutatingadmissionpolicybindings", "validatingadmissionpolicies"):
        api.wait_for(f"{kind}.admissionregistration.k8s.io", _are_gone, what=f"no {kind} of the release")
    assert len([pod for pod in api.list("pods", NAMESPACE) if objects.is_bound(pod)]) == PODS
    assert api.find(pools.POOLS, POOL) is not None

    reader.run(remove_leftovers)
    # There was none: what it does to those that a failed Job leaves is tried by test_cleanup.
    assert api.find(pools.POOLS, POOL) is not None
    reader.run(remove_definition)
    api.wait_for(crd, _are_gone, what="no definition")


def _are_gone(found: list[Json]) -> bool:
    return not [one for one in found if one["metadata"]["name"].startswith("computepool")]


def _shown(heading: str, index: int) -> str:
    """What the README shows as printed under a heading."""
    return [block.text for block in blocks() if block.heading == heading and block.language == "console"][index]


def _header(text: str, pattern: str = r"^NAME +PRIMARY") -> list[str]:
    """The words of a table's heading."""
    match = re.search(pattern + ".*$", text, re.MULTILINE)
    assert match is not None, text
    return match.group(0).split()
