"""What the demo says of running pods that were moved: who left, how fast, whether the limits and budgets held."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from e2e.demo.moving import (
    Milestones,
    end_of_heartbeats,
    failback_of,
    failover_of,
    most_at_once,
    most_within,
    signal_of,
)
from e2e.demo.report import METHOD
from e2e.demo.seen import Eviction, PoolSeen
from e2e.spread import Spread
from tests.unit.e2e.demo_course import BEGAN, LIMITS, SIGNAL, WALL, Course, course, moves_of, pod, report


def test_a_course_without_trouble_succeeds() -> None:
    told = report(course())
    assert told.troubles == []
    assert told.succeeded
    assert (told.moves, told.failover.moves, told.failback.moves) == (11, 4, 7)
    assert told.pods_at_end == {"aws": 11}
    assert told.pods == {"aws": 4, "nebius": 4, "crusoe": 2}


def test_failover_is_timed_from_the_breaker_and_from_the_last_heartbeat() -> None:
    moves = moves_of(course())
    assert moves.failover_ms == Spread(160.0, 260.0, 460.0, 460.0)
    assert moves.silence_ms == Spread(5660.0, 5760.0, 5960.0, 5960.0)
    assert moves.failover.detected_ms == 5500.0


def test_the_signal_is_the_log_line_of_that_providers_breaker_opening() -> None:
    time = datetime.fromtimestamp(WALL + 7.25, UTC).isoformat(timespec="milliseconds")
    lines: list[dict[str, Any]] = [
        {"message": "leading"},
        {"message": "breaker", "provider": "crusoe", "state": "Open", "time": time},
        {"message": "breaker", "provider": "nebius", "state": "HalfOpen", "time": time},
        {"message": "breaker", "provider": "nebius", "state": "Open", "time": time},
    ]
    assert signal_of(lines, "nebius", WALL) == pytest.approx(7.25)
    assert signal_of(lines[:3], "nebius", WALL) is None


def test_heartbeats_end_with_the_last_one_before_the_moment() -> None:
    observed = course().observed()
    assert end_of_heartbeats(observed, "nebius", BEGAN + SIGNAL) == BEGAN + 20
    assert end_of_heartbeats(observed, "nebius", BEGAN - 1) is None


def test_without_a_signal_there_are_no_times_but_the_moves_are_counted() -> None:
    seen = course()
    failover, from_signal, _ = failover_of(seen.observed(), seen.milestones, None, LIMITS["failover"])
    assert (failover.moves, failover.detected_ms) == (4, 0.0)
    assert from_signal == Spread(0.0, 0.0, 0.0, 0.0)


def test_a_story_that_ended_before_the_failure_has_no_moves() -> None:
    seen = course()
    failover, *_ = failover_of(seen.observed(), Milestones("nebius"), None, {})
    failback = failback_of(seen.observed(), Milestones("nebius"), {})
    assert (failover.moves, failover.pods, failback.moves) == (0, 0, 0)
    assert not failover.all_left
    assert not failback.all_home


def test_a_pod_that_stays_on_the_failed_provider_is_a_trouble() -> None:
    seen = course()
    seen.make("z", "n-0", 9.0, born="nebius")
    assert report(seen).troubles == ["not every pod left nebius for another provider", "not all pods came home"]


def test_a_pod_that_went_past_the_eviction_api_violates_its_budget() -> None:
    seen = course()
    seen.evictions.append(Eviction(pod("x", "c-0"), BEGAN + 30, by_api=False, serving=9, wanted=8))
    assert moves_of(seen).pdb_violations == 1


def test_an_eviction_that_leaves_fewer_than_the_budget_wants_violates_it() -> None:
    seen = course()
    seen.evict(seen.make("x", "c-0", 29.0, born="crusoe")[0], 30.0, serving=7, wanted=8)
    assert moves_of(seen).pdb_violations == 1
    assert "1 pods went beyond the PodDisruptionBudget" in report(seen).troubles


def test_a_pod_that_leaves_the_primary_flaps() -> None:
    seen = course()
    seen.evict(seen.pods[0], 55.0)
    assert moves_of(seen).failback.flaps == 1


def test_a_pod_on_its_way_home_that_lands_on_a_standby_flaps() -> None:
    seen = course()
    seen.make("x", "c-0", 52.0, born="crusoe")
    assert moves_of(seen).failback.flaps == 1


def test_a_breaker_that_opens_a_second_time_flaps() -> None:
    seen = course()
    seen.status(55.0, nebius="Open")
    assert moves_of(seen).failback.flaps == 1
    assert not report(seen).succeeded


def test_more_at_once_than_the_spec_allows_is_too_fast() -> None:
    seen = course()
    told = failback_of(seen.observed(), seen.milestones, {"maxConcurrentMoves": 0, "perMinute": 30})
    assert not told.within_rate
    told = failback_of(seen.observed(), seen.milestones, {"maxConcurrentMoves": 1, "perMinute": 6})
    assert not told.within_rate


def test_pods_are_under_way_from_leaving_to_the_place_of_their_replacement() -> None:
    assert most_at_once([1.0, 2.0, 3.0], [2.5, 3.5, 4.0]) == 2
    assert most_at_once([], [1.0]) == 0
    # One that arrives as another leaves has made way for it.
    assert most_at_once([1.0, 2.0], [2.0, 3.0]) == 1


def test_most_within_a_minute_is_counted_over_any_minute() -> None:
    assert most_within([0.0, 30.0, 60.0, 61.0, 90.0], 60.0) == 4
    assert most_within([], 60.0) == 0


def test_a_status_is_read_as_it_stands_and_compared_without_its_time() -> None:
    status = {
        "conditions": [{"type": "Saturated", "status": "True", "reason": "PodsOverflow"}],
        "providers": [
            {"name": "nebius", "accelerators": {"allocatable": 8}, "breaker": {"state": "Open", "reason": "Drained"}}
        ],
        "costPerHour": "1.00",
    }
    seen = PoolSeen.of(status, 1.0)
    assert (seen.saturated, seen.breakers["nebius"].reason, seen.capacity) == ("True", "Drained", {"nebius": 8})
    assert seen.same_as(PoolSeen.of(status, 2.0))
    assert not seen.same_as(PoolSeen.of(status | {"costPerHour": "2.00"}, 1.0))


def test_every_new_number_says_how_it_was_got() -> None:
    assert {"failover_ms", "silence_ms", "moves", "pdb_violations", "failback"} <= METHOD.keys()
    written = msgspec.json.decode(msgspec.json.encode(report(course())))
    assert written["failback"]["flaps"] == written["pdb_violations"] == 0
    assert Course().evictions == []
