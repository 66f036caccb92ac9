"""`computepool signals`: the answer to each query, and why series are left out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from computepool.model.api import Preset
from tests.fakes.apiserver import PODS, FakeApiServer
from tests.fakes.prometheus import answering, vector
from tests.unit.act.objects import pod
from tests.unit.app.cluster import edit_pool, full, make_pool
from tests.unit.cli.serving import shell

QUEUE: Mapping[str, Any] = {"name": "queue", "preset": Preset.VLLM, "enter": "5", "exit": "1", "coveragePercent": 50}
LABELS = {"namespace": "default", "pod": "old-1"}


def of_signals(*metrics: Mapping[str, Any]) -> Any:
    """A cluster with two pods that are ready on the primary, and a pool with these signals."""

    def before(server: FakeApiServer) -> None:
        full(server)
        for name in ("old-1", "old-2"):
            item = server.get(PODS, name, "default")
            ready = {"conditions": [{"type": "Ready", "status": "True"}], "phase": "Running"}
            server.update(PODS, {**item, "status": {**item.get("status", {}), **ready}})
        server.create(PODS, pod("waits"))
        make_pool(server)
        edit_pool(server, saturation={"metrics": list(metrics)})

    return before


def printed(folder: Path, values: bytes, ages: bytes, *words: str, metrics: Any = (QUEUE,)) -> str:
    with shell(folder, of_signals(*metrics)) as sh, answering(values, ages) as (url, _):
        return sh.prints("signals", "inference", "--url", url, *words)


def one_line(text: str) -> str:
    """A printed text without its line breaks and columns."""
    return " ".join(text.split())


def test_each_series_is_printed_with_what_it_belongs_to_and_its_age(tmp_path: Path) -> None:
    values = vector((LABELS, "9"), ({"namespace": "default", "pod": "old-2"}, "NaN"), ({"job": "vllm"}, "3"))
    text = printed(tmp_path, values, vector((LABELS, "12.3")))
    assert "saturation/queue  enter 5, exit 1, Avg" in text
    assert 'vllm:num_requests_waiting_by_reason{reason="capacity"}' in text
    rows = [" ".join(line.split()) for line in text.splitlines()]
    assert "default/old-1 9 12 s namespace=default, pod=old-1" in rows
    assert "not a number - namespace=default, pod=old-2" in rows
    assert "no labels name a pod 3 job=vllm" in rows


def test_labels_that_repeat_a_credential_or_control_a_terminal_are_printed_without(tmp_path: Path) -> None:
    token, config = tmp_path / "token", tmp_path / "source.yaml"
    token.write_text("s3cret-value")
    owned = {**LABELS, "kubernetes_namespace": "s3cret-value"}
    values, ages = vector(({"job": "Bearer s3cret-value", "x": "\x1b[2J"}, "3"), (owned, "1")), vector((owned, "1"))
    with shell(tmp_path, of_signals(QUEUE)) as sh, answering(values, ages) as (url, _):
        config.write_text(f"url: {url}\nbearerTokenFile: {token}\n")
        text = sh.prints("signals", "inference", "--prometheus-config", str(config))
    assert "job=Bearer ***, x= [2J" in text
    assert "kubernetes_namespace=***" in text
    assert ("s3cret" in text, "\x1b" in text) == (False, False)


def test_a_source_that_fails_is_told(tmp_path: Path) -> None:
    with shell(tmp_path, of_signals(QUEUE)) as sh, answering(b"parse error", b"parse error", 400) as (url, _):
        text = sh.prints("signals", "inference", "--url", url)
    assert "the server can't run the query (400): parse error." in text


def test_a_query_that_can_not_be_sent_is_told_and_not_sent(tmp_path: Path) -> None:
    bad = {"name": "bad", "query": 'up{node="$node"}', "labels": {"node": "node"}, "enter": "5", "exit": "1"}
    with shell(tmp_path, of_signals(bad)) as sh, answering(b"") as (url, queries):
        text = sh.prints("signals", "inference", "--url", url)
    assert "The query can't be sent: unknown placeholder $node" in text
    assert queries == []


def test_only_the_first_series_are_printed_unless_all_are_asked_for(tmp_path: Path) -> None:
    values = vector(*(({"job": f"j{number:02}"}, "1") for number in range(30)))
    text = printed(tmp_path, values, vector())
    assert ("job=j09" in text, "job=j10" in text) == (True, False)
    assert "20 more series (--all prints them)." in text
    assert "job=j29" in printed(tmp_path, values, vector(), "--all")


def test_the_verdict_is_that_of_the_next_pass(tmp_path: Path) -> None:
    text = one_line(printed(tmp_path, vector((LABELS, "9")), vector((LABELS, "1"))))
    assert "Value 9 requests, at `enter` or beyond. The signal is Off, and turns on after 30 s." in text
    assert "1 of 2 pods have a current sample." in text


def test_a_pod_that_does_not_count_for_the_signal_is_left_out(tmp_path: Path) -> None:
    waits = {**LABELS, "pod": "waits"}
    series = vector((LABELS, "9"), (waits, "70"))
    text = one_line(printed(tmp_path, series, series))
    assert "not a started pod that this signal counts 70 namespace=default, pod=waits" in text
    assert "Value 9 requests" in text


def test_an_unknown_signal_says_how_much_is_missing(tmp_path: Path) -> None:
    whole = {**QUEUE, "coveragePercent": 100}
    half = printed(tmp_path, vector((LABELS, "9")), vector((LABELS, "1")), metrics=(whole,))
    says = "Unknown (TooFewSeries): 1 of 2 pods have a current sample. coveragePercent asks for 100 %."
    assert says in one_line(half)
    assert "Unknown (NoSeries): 0 of 2 pods have a current sample." in one_line(printed(tmp_path, vector(), vector()))


def test_a_pool_without_signals_says_where_they_are_written(tmp_path: Path) -> None:
    assert "has no signals: add some to spec.saturation.metrics" in printed(tmp_path, b"", b"", metrics=())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("inference",), "can't read /etc/computepool/prometheus/prometheus.yaml"),
        (("gone", "--url", "http://127.0.0.1:9"), "there is no ComputePool 'gone'"),
    ],
)
def test_what_is_missing_is_named_with_the_next_step(tmp_path: Path, words: tuple[str, ...], says: str) -> None:
    with shell(tmp_path, of_signals(QUEUE)) as sh:
        assert says in sh.fails("signals", *words)


@pytest.mark.parametrize("url", ["ftp://x", "prometheus:9090", "http://"])
def test_an_address_that_is_none_is_told_without_asking_for_it_again(tmp_path: Path, url: str) -> None:
    with shell(tmp_path, of_signals(QUEUE)) as sh:
        told = "--url: give the address with its scheme and host, such as https://prometheus.monitoring:9090"
        assert sh.fails("signals", "inference", "--url", url) == told


def test_programs_get_each_signal_and_each_series(tmp_path: Path) -> None:
    values = vector((LABELS, "9"), ({"namespace": "default", "pod": "old-2"}, "NaN"), ({"job": "vllm"}, "3"))
    told = json.loads(printed(tmp_path, values, vector((LABELS, "12.5")), "--output", "json"))
    assert told["pool"] == "inference"
    (signal,) = told["signals"]
    assert (signal["key"], signal["enter"], signal["exit"], signal["error"]) == ("saturation/queue", "5", "1", "")
    assert (signal["verdict"], signal["value"], signal["coveragePercent"]) == ("Off", "9 requests", 50)
    assert [(one["owner"], one["value"], one["leftOutBecause"]) for one in signal["series"]] == [
        ("default/old-1", 9.0, ""),
        ("default/old-2", None, "not a number"),
        ("", 3.0, "no labels name a pod"),
    ]
    assert (signal["series"][0]["ageSeconds"], signal["series"][0]["labels"]) == (12.5, LABELS)


def test_programs_get_the_error_of_a_query_in_place_of_its_verdict(tmp_path: Path) -> None:
    with shell(tmp_path, of_signals(QUEUE)) as sh, answering(b"parse error", b"parse error", 400) as (url, _):
        (signal,) = yaml.safe_load(sh.prints("signals", "inference", "--url", url, "-o", "yaml"))["signals"]
    assert "the server can't run the query (400)" in signal["error"]
    assert "verdict" not in signal
