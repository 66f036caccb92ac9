"""The demo's report: what counts as overflow, as burst, and by which way, and the numbers that sum it up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from e2e.demo.report import Report, Spread, report_of
from e2e.demo.witness import PodSeen

NODES = {"a-0": "aws", "n-0": "nebius"}


def _pod(
    name: str, node: str = "", *, added: float = 0.0, bound: float | None = None, born: str = "", stays: bool = False
) -> PodSeen:
    seen = PodSeen(name, "chat", added, frozenset({born} - {""}), may_leave=not stays)
    seen.node = node
    seen.bound = bound if bound is not None else (added + 0.01 if node else None)
    return seen


def _report(resident: list[PodSeen], overflow: list[PodSeen], log_lines: list[dict[str, Any]] | None = None) -> Report:
    return report_of(
        kubernetes="1.37.2",
        seconds=12.34,
        resident=resident,
        pods=[*resident, *overflow],
        provider_of_node=NODES,
        primary="aws",
        log_lines=log_lines or [],
        events=[],
    )


def test_a_pod_that_could_tolerate_a_standby_only_later_came_by_patch() -> None:
    patched = _pod("p", "n-0")
    patched.sent_on["nebius"] = 0.005
    report = _report([_pod("r", "a-0")], [patched, _pod("q", "n-0", born="nebius")])
    assert (report.by.patch, report.by.admission) == (1, 1)
    assert (report.overflow_pods, report.burst_pods) == (2, 2)
    assert report.observed_ms == Spread(5.0, 5.0, 5.0)
    assert report.pods == {"aws": 1, "nebius": 2}
    assert report.succeeded


def test_a_pod_that_may_not_leave_is_held_and_no_failure() -> None:
    report = _report([_pod("r", "a-0")], [_pod("p", "n-0"), _pod("s", stays=True)])
    assert (report.overflow_pods, report.burst_pods, report.held_pods) == (1, 1, 1)
    assert report.succeeded


def test_a_pod_that_still_waits_is_a_failure() -> None:
    report = _report([_pod("r", "a-0")], [_pod("p", "n-0"), _pod("w")])
    assert (report.overflow_pods, report.burst_pods) == (2, 1)
    assert not report.succeeded


def test_a_demo_without_overflow_shows_nothing_and_is_a_failure() -> None:
    assert not _report([_pod("r", "a-0")], []).succeeded


def test_a_batch_in_the_log_counts_once_for_each_of_its_pods() -> None:
    lines: list[dict[str, Any]] = [
        {"message": "burst", "pods": 99, "took_ms": 8.0},
        {"message": "burst", "pods": 1, "took_ms": 90.0},
        {"message": "leading"},
    ]
    assert _report([], [], lines).burst_ms == Spread(8.0, 8.0, 90.0)


def test_percentiles_are_values_that_were_measured() -> None:
    assert Spread.of([4.0, 1.0, 3.0, 2.0]) == Spread(2.0, 4.0, 4.0)
    assert Spread.of([]) == Spread(0.0, 0.0, 0.0)


def test_bound_is_told_for_each_way_too() -> None:
    slow, quick = _pod("p", "n-0", bound=0.5), _pod("q", "n-0", bound=0.02, born="nebius")
    report = _report([], [slow, quick])
    assert report.bound_ms == Spread(20.0, 500.0, 500.0)
    assert report.bound_ms_by == {"patch": Spread(500.0, 500.0, 500.0), "admission": Spread(20.0, 20.0, 20.0)}


def test_the_file_is_json_that_says_how_its_numbers_were_got(tmp_path: Path) -> None:
    _report([], [_pod("p", "n-0")]).write(tmp_path / "deep" / "report.json")
    written = msgspec.json.decode((tmp_path / "deep" / "report.json").read_bytes())
    assert written["by"] == {"patch": 1, "admission": 0}
    assert written["seconds"] == 12.3
    assert {"burst_ms", "observed_ms", "bound_ms"} <= written["method"].keys()
