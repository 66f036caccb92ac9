"""The benchmarks run, with tiny numbers: what they find is not looked at, only that they find something."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from e2e.bench import cli
from e2e.bench.report import Result, Row, show, write
from e2e.bench.rounds import Scale
from e2e.spread import Spread, percentile, ratios

TINY = Scale(
    rounds=1,
    sizes=(4,),
    singles=2,
    evicted=8,
    at_once=2,
    evicted_a_minute=100,
    evicting_rounds=1,
    list_pods=300,
    list_nodes=20,
    audit_pods=300,
    audit_nodes=20,
    drill_nodes=(4, 8),
    decide_nodes=(20, 40),
    decide_pods=50,
    shapes=5,
    trace_days=0.5,
    signal_nodes=20,
    signal_pools=2,
    idle_pools=2,
    idle_seconds=0.5,
    settle_seconds=0.1,
)


@pytest.fixture(scope="module")
def results() -> dict[str, Result]:
    return {result.name: result for result in cli.results_of(cli.NAMES, TINY)}


def rows(result: Result) -> dict[str, Row]:
    return {row.what: row for row in result.rows}


def test_every_benchmark_finds_something(results: dict[str, Result]) -> None:
    assert set(results) == set(cli.NAMES)
    assert all(row.value.min <= row.value.p50 <= row.value.max for one in results.values() for row in one.rows)


def test_a_burst_is_compared_with_both_scripts_for_one_pod_and_for_many(results: dict[str, Result]) -> None:
    found = rows(results["burst"])
    assert {
        "overflow event -> patched, 1 pod, p50",
        "overflow event -> patched, 1 pod, p99",
        "overflow event -> patched, 4 pods, p99",
        "created -> bound, 4 pods, last",
        "created -> bound, 4 pods, beside patching on Unschedulable, p50",
    } <= found.keys()
    assert found["created -> bound, 4 pods, last"].value.min > 0


def test_burst_at_admission_is_compared_with_pods_made_ready(results: dict[str, Result]) -> None:
    assert rows(results["admission"])["created -> bound with admission burst, 4 pods, p50"].value.min > 0


def test_passes_with_signals_are_compared_with_the_same_passes_without(results: dict[str, Result]) -> None:
    found = rows(results["signals"])
    assert found["pass over 20 nodes with three signals, beside without"].value.min > 0
    assert found["a poll of 160 series, processor time"].value.min > 0


def test_a_burst_while_the_source_of_metrics_hangs_is_compared_with_a_burst_without(results: dict[str, Result]) -> None:
    found = rows(results["hanging"])
    assert {
        "burst while the source of metrics hangs, 1 pod, beside no source, p50",
        "burst while the source of metrics hangs, 4 pods, beside no source, p50",
    } <= found.keys()


def test_all_that_was_measured_is_kept(results: dict[str, Result], tmp_path: Path) -> None:
    for result in results.values():
        kept = json.loads(write(result, tmp_path).read_text())
        assert kept["raw"]
        assert [row["what"] for row in kept["rows"]] == [row.what for row in result.rows]


def test_the_table_names_every_row_and_its_target(results: dict[str, Result]) -> None:
    text = io.StringIO()
    show(results.values(), Console(file=text, width=400))
    assert all(what in text.getvalue() for result in results.values() for what in rows(result))
    assert "≤ 1.20 x" in text.getvalue()


def test_a_missed_target_is_told_by_how_much() -> None:
    assert Row(what="", unit="x", value=Spread(1.0, 1.5, 2.0, 2.0), limit=1.2).verdict == "missed by 0.30 x"
    assert Row(what="", unit="x", value=Spread(1.0, 1.2, 2.0, 2.0), limit=1.2).verdict == "met"
    assert Row(what="", unit="x", value=Spread(1.0, 1.2, 2.0, 2.0)).met is None


def test_a_percentile_is_one_of_the_values() -> None:
    values = [float(value) for value in range(1, 101)]
    assert [percentile(values, share) for share in (0.5, 0.99, 1.0)] == [50.0, 99.0, 100.0]
    assert percentile([7.0], 0.5) == 7.0


def test_ratios_compare_each_round_with_its_own() -> None:
    assert ratios([2.0, 9.0, 4.0], [1.0, 3.0, 4.0]) == Spread(1.0, 2.0, 3.0, 3.0)


def test_help_names_the_benchmarks(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert all(name in text for name in cli.NAMES)
