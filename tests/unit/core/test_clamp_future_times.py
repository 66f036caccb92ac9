"""The clock is set back by hours, and nothing waits for hours because of it."""

from __future__ import annotations

import pytest

from computepool.assess.breakers.breaker import backoff
from computepool.assess.clamp_future_times import clamped_to
from computepool.model.api import BreakerState
from computepool.model.moves import MoveKind
from computepool.model.reasons import Reason
from computepool.model.state import Breaker, BreakerTimers, HoldOff, NodeFault, Saturation, SignalState, UnsettledMove
from tests.builders import NOW, node, pod, pool, pool_state, provider, snapshot
from tests.unit.core.moving import faults_of, moved_to, owned, unhealthy_node
from tests.unit.core.passes import decided
from tests.unit.core.watching import Watch

HOURS = 5 * 3600.0
NODES = [node("a1"), node("n1")]
TWO = pool(provider("aws"), provider("nebius"), health={"clearSeconds": 60, "sustainSeconds": 30})


def watching(**state: object) -> Watch:
    return Watch(TWO, pool_state(**{"joined": frozenset({"a1", "n1"}), **state}))  # type: ignore[arg-type]


def test_a_fault_has_to_last_no_longer_than_it_should() -> None:
    fault = NodeFault(Reason.NODE_NOT_READY, "", since=NOW + HOURS, unhealthy=False)
    watch, ill = watching(node_faults={"a1": fault}), [node("a1", ready="False"), node("n1")]
    for now, unhealthy in ((0, False), (29, False), (30, True)):
        watch.see(now, ill)
        assert ("a1" in watch.unhealthy()) is unhealthy


def test_a_recovery_takes_no_longer_than_it_should() -> None:
    gone = NodeFault(Reason.NODE_NOT_READY, "", since=NOW + HOURS, unhealthy=True, clear_since=NOW + HOURS)
    watch = watching(node_faults={"a1": gone})
    for now, unhealthy in ((0, True), (59, True), (60, False)):
        watch.see(now, NODES)
        assert ("a1" in watch.unhealthy()) is unhealthy


@pytest.mark.parametrize("failures", [0, 1, 3])
def test_an_open_breaker_is_tried_again_after_its_backoff_at_the_latest(failures: int) -> None:
    ahead = NOW + HOURS
    breaker = Breaker(BreakerState.OPEN, Reason.PROVIDER_UNHEALTHY, ahead, ahead + 60, failures)
    watch = watching(breakers={"nebius": (breaker, BreakerTimers(clear_since=ahead))})
    watch.see(0, NODES)
    due = backoff(TWO.spec.health.breaker, max(1, failures), f"{TWO.name}/nebius")
    assert watch.breaker("nebius").retry_at == pytest.approx(NOW + due, abs=1e-3)
    watch.see(max(due + 1e-3, 60), NODES)
    assert watch.breaker("nebius").state is BreakerState.HALF_OPEN


def test_a_hold_off_lasts_for_its_backoff_at_the_longest() -> None:
    ahead = HoldOff("nebius", Reason.WORKLOAD_BACK_OFF, "job", 2, NOW + HOURS, NOW + HOURS + 120)
    over = HoldOff("nebius", Reason.WORKLOAD_BACK_OFF, "old", 2, NOW - HOURS, NOW - 1)
    first, second = clamped_to(NOW, pool_state(hold_offs=(ahead, over)), TWO).recorded.hold_offs
    assert first.since == NOW
    assert NOW + 108 <= first.until <= NOW + 132
    assert second == over


def test_a_half_open_one_is_proved_by_a_pod_that_came_since_and_for_no_longer_than_it_should() -> None:
    ahead = NOW + HOURS
    breaker = Breaker(BreakerState.HALF_OPEN, Reason.PROVIDER_UNHEALTHY, ahead, failures=1, node="n1")
    tried = (breaker, BreakerTimers(proving_since=ahead))
    watch, new = watching(breakers={"nebius": tried}), [pod("new", on="n1", created=NOW + 1, ready=True)]
    watch.see(0, NODES)
    watch.see(2, NODES, new)
    watch.see(17, NODES, new)
    assert watch.breaker("nebius").closed


def test_the_primary_is_stable_from_now_on_and_saturation_is_timed_anew() -> None:
    ahead = NOW + HOURS
    state = pool_state(Saturation(False, pressure_since=ahead), stable_since=ahead, unknown_since={"n1": ahead})
    assert decided(snapshot(TWO, NODES), state).state.memory.stable_since == NOW
    back = clamped_to(NOW, state, TWO).memory
    assert (back.pressure_since, dict(back.unknown_since)) == (NOW, {"n1": NOW})


def test_a_place_counts_from_now_on() -> None:
    ahead = pool_state(fitting={("p", "nebius"): NOW + HOURS}, last_bound_offer={"nebius": NOW + HOURS})
    back = clamped_to(NOW, ahead, TWO).memory
    assert (dict(back.fitting), dict(back.last_bound_offer)) == ({("p", "nebius"): NOW}, {"nebius": NOW})


def test_an_owner_whose_move_came_to_nothing_waits_from_now_on() -> None:
    ahead = pool_state(unsettled={"rs-1": UnsettledMove(2, NOW + HOURS, 3)}, failed_at={"rs-1": NOW + HOURS})
    back = clamped_to(NOW, ahead, TWO)
    assert dict(back.recorded.unsettled) == {"rs-1": UnsettledMove(2, NOW - 1, 3)}
    assert dict(back.memory.failed_at) == {"rs-1": NOW}


def test_moves_of_the_future_count_as_made_just_now() -> None:
    recent = ((NOW - 30, MoveKind.FAILBACK), (NOW + HOURS, MoveKind.FAILOVER), (NOW + HOURS + 1, MoveKind.FAILBACK))
    back = clamped_to(NOW + 0.4, pool_state(recent_moves=recent), TWO).recorded
    assert back.recent_moves == (
        (NOW - 30, MoveKind.FAILBACK),
        (NOW - 1, MoveKind.FAILBACK),
        (NOW - 1, MoveKind.FAILOVER),
    )
    # The second in which a leader took over is rounded up.
    own = pool_state(recent_moves=((NOW + 1, MoveKind.FAILOVER),))
    assert clamped_to(NOW + 0.4, own, TWO) == own


def test_those_that_come_after_are_recorded_beside_them() -> None:
    state = pool_state(node_faults=faults_of("a1"), recent_moves=((NOW + HOURS, MoveKind.FAILOVER),))
    nodes = [unhealthy_node("a1"), node("a2")]
    plan = decided(snapshot(TWO, nodes, [owned("web", on="a1")]), state)
    assert moved_to(plan) == {"web": "aws"}
    assert plan.state.recorded.recent_moves == ((NOW - 1, MoveKind.FAILOVER), (NOW, MoveKind.FAILOVER))


def test_a_state_of_the_past_stays_as_it_is() -> None:
    breaker = Breaker(BreakerState.OPEN, Reason.PROVIDER_UNHEALTHY, NOW - 5, NOW + 40, 1)
    state = pool_state(
        Saturation(True, relief_since=NOW - 1),
        fitting={("p", "nebius"): NOW},
        node_faults={"a1": NodeFault(Reason.NODE_SILENT, "", NOW - 3, unhealthy=True, clear_since=NOW)},
        breakers={"nebius": (breaker, BreakerTimers(clear_since=NOW))},
        stable_since=NOW,
    )
    assert clamped_to(NOW, state, TWO) == state


def test_a_signal_is_at_its_threshold_since_now_at_the_latest() -> None:
    signals = {"saturation/a": SignalState(on=True, since=NOW + HOURS), "saturation/b": SignalState(since=NOW - 5)}
    found = clamped_to(NOW, pool_state(signals=signals), TWO).memory.signals
    assert found == {"saturation/a": SignalState(on=True, since=NOW), "saturation/b": SignalState(since=NOW - 5)}
