"""The demo's report: what counts as overflow, as burst, and by which way, and the numbers that sum it up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from e2e.demo.report import Burst, Queue, QueueMilestones, burst_of, queue_of
from e2e.recorder import Life
from e2e.spread import Spread
from tests.unit.e2e.demo_course import BEGAN, NODES, QUEUE, course, pod, queued, report


def _burst(resident: list[Life], overflow: list[Life], log_lines: list[dict[str, Any]] | None = None) -> Burst:
    return burst_of(
        resident=resident,
        pods=[*resident, *overflow],
        provider_of_node=NODES,
        primary="aws",
        log_lines=log_lines or [],
    )


def test_a_pod_that_could_tolerate_a_standby_only_later_came_by_patch() -> None:
    patched = pod("p", "n-0")
    patched.sent_on["nebius"] = 0.005
    burst = _burst([pod("r", "a-0")], [patched, pod("q", "n-0", born="nebius")])
    assert (burst.by.patch, burst.by.admission) == (1, 1)
    assert (burst.overflow_pods, burst.burst_pods) == (2, 2)
    assert burst.observed_ms == Spread(5.0, 5.0, 5.0, 5.0)
    assert burst.pods == {"aws": 1, "nebius": 2}
    assert burst.held


def test_a_pod_that_may_not_leave_is_held_and_no_failure() -> None:
    burst = _burst([pod("r", "a-0")], [pod("p", "n-0"), pod("s", stays=True)])
    assert (burst.overflow_pods, burst.burst_pods, burst.held_pods) == (1, 1, 1)
    assert burst.held


def test_a_pod_that_still_waits_is_a_failure() -> None:
    burst = _burst([pod("r", "a-0")], [pod("p", "n-0"), pod("w")])
    assert (burst.overflow_pods, burst.burst_pods) == (2, 1)
    assert not burst.held


def test_a_demo_without_overflow_shows_nothing_and_is_a_failure() -> None:
    assert not _burst([pod("r", "a-0")], []).held


def test_a_batch_in_the_log_counts_once_for_each_of_its_pods() -> None:
    lines: list[dict[str, Any]] = [
        {"message": "burst", "pods": 99, "took_ms": 8.0},
        {"message": "burst", "pods": 1, "took_ms": 90.0},
        {"message": "leading"},
    ]
    assert _burst([], [], lines).burst_ms == Spread(8.0, 8.0, 8.0, 90.0)


def test_percentiles_are_values_that_were_measured() -> None:
    assert Spread.of([4.0, 1.0, 3.0, 2.0]) == Spread(1.0, 2.0, 4.0, 4.0)
    assert Spread.of([]) == Spread(0.0, 0.0, 0.0, 0.0)


def test_bound_is_told_for_each_way_too() -> None:
    slow, quick = pod("p", "n-0", bound=0.5), pod("q", "n-0", bound=0.02, born="nebius")
    burst = _burst([], [slow, quick])
    assert burst.bound_ms == Spread(20.0, 20.0, 500.0, 500.0)
    assert burst.bound_ms_by == {
        "patch": Spread(500.0, 500.0, 500.0, 500.0),
        "admission": Spread(20.0, 20.0, 20.0, 20.0),
    }


def test_the_file_is_json_that_says_how_its_numbers_were_got(tmp_path: Path) -> None:
    report(course()).write(tmp_path / "deep" / "report.json")
    written = msgspec.json.decode((tmp_path / "deep" / "report.json").read_bytes())
    assert written["by"] == {"patch": 2, "admission": 4}
    assert written["seconds"] == 61.2
    assert written["succeeded"] is True
    assert {"burst_ms", "observed_ms", "bound_ms", "failover_ms"} <= written["method"].keys()


def test_restarts_are_a_trouble() -> None:
    seen = course()
    seen.pods[0].restarts = 2
    assert report(seen).troubles == ["2 restarts"]


def _queue(opened: float | None = BEGAN + 56, closed: float | None = BEGAN + 59, waiting: str = "") -> Queue:
    seen = queued()
    for one in seen.pods:
        one.unschedulable = one.created if one.name == waiting else None
    milestones = QueueMilestones(opened, BEGAN + 58.5, closed)
    return queue_of(seen.observed(), milestones, QUEUE)


def test_a_queue_tells_how_long_it_was_and_where_the_pods_went_that_were_made_meanwhile() -> None:
    queue = _queue()
    assert (queue.longest, queue.pods, queue.waited, queue.troubles) == (8.0, {"aws": 1, "nebius": 1}, 0, [])
    assert queue.bound_ms.max == 10.0


def test_a_pod_that_waits_although_admission_is_open_is_a_failure() -> None:
    assert _queue(waiting="chat-x").troubles == ["1 pods waited although admission was open"]


def test_admission_that_stays_as_it_is_is_a_failure() -> None:
    assert _queue(opened=None).troubles == ["admission did not open while the queue was long"]
    assert _queue(closed=None).troubles == ["admission did not close after the queue"]
