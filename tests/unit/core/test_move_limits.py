"""Moves stay within their limits, at once and in a minute, over restarts too."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from computepool.model.moves import MoveKind, PodMove, Request
from computepool.model.reasons import Reason
from computepool.model.state import PoolState
from tests.builders import NOW, changed, node, pod, pod_move, pool, pool_state, provider, snapshot
from tests.unit.core.moving import CALM, QUARANTINE, faults_of, owned, stay_of, unhealthy_node
from tests.unit.core.passes import Decided, decided

UNWELL = pool_state(node_faults=faults_of("n1"))
LEAVING = [owned(f"p{index}", on="n1", owner=f"rs-{index}") for index in range(6)]


def passed(
    *more: Any, at_once: int = 4, per_minute: int | None = 5, state: PoolState = UNWELL, **fields: Any
) -> Decided:
    """One pass with six pods on an unhealthy node, and room for all of them."""
    of = pool(failover={"maxConcurrentMoves": at_once, "perMinute": per_minute})
    return decided(snapshot(of, [node("a1", 16), unhealthy_node("n1")], [*LEAVING, *more], **fields), state)


def gone(index: int, *, ago: float, **fields: Any) -> Any:
    """A move of a seventh pod."""
    return pod_move(owned(f"g{index}", on="n9", owner=f"og-{index}"), "aws", at=NOW - ago, **fields)


def test_no_more_are_moved_at_once_than_may_be() -> None:
    assert len(passed().moves) == 4
    assert len(passed(moves=(gone(1, ago=100), gone(2, ago=1))).moves) == 2
    assert len(passed(moves=tuple(gone(index, ago=1) for index in range(9))).moves) == 0


def test_a_move_counts_until_its_replacement_is_bound_or_two_minutes_are_over() -> None:
    flown = (gone(1, ago=100),)
    assert len(passed(at_once=1, moves=flown).moves) == 0
    waiting = pod("new", owner="og-1", waited=99)
    assert len(passed(waiting, at_once=1, moves=flown).moves) == 0
    bound = owned("new", on="a1", owner="og-1", age=99)
    assert len(passed(bound, at_once=1, moves=flown).moves) == 1
    assert len(passed(at_once=1, moves=(gone(1, ago=120),)).moves) == 1


@pytest.mark.parametrize("again", [{}, {"refused_since": NOW - 900}], ids=["first", "once more"])
def test_a_move_that_is_not_answered_counts_however_long_it_waits_for_its_turn(again: dict[str, Any]) -> None:
    queued = tuple(pod_move(pod, "aws", at=NOW - 500, request=Request.ASKED, **again) for pod in LEAVING[:3])
    plan = passed(at_once=4, moves=queued)
    assert [move.pod.name for move in plan.moves] == ["p3"]
    assert plan.recheck_at is None or plan.recheck_at > NOW
    assert [move.pod.name for move in passed(at_once=9, per_minute=5, moves=queued).moves] == ["p3", "p4"]


def ends_late(index: int, *, ago: float, **fields: Any) -> PodMove:
    """A move of a pod that takes an hour to end, and is replaced only then."""
    move: PodMove = gone(index, ago=ago)
    return msgspec.structs.replace(
        move,
        pod=msgspec.structs.replace(move.pod, owner_kind="StatefulSet"),
        ends_by=NOW - ago + 3600,
        **fields,
    )


@pytest.mark.parametrize("drain", [True, False])
def test_a_move_counts_no_longer_because_its_pod_takes_long_to_end(drain: bool) -> None:
    def moved(ago: float) -> int:
        flown = tuple(ends_late(index, ago=ago, drain=drain) for index in range(4))
        ending = [msgspec.structs.replace(move.pod, node="a1", deleting=move.ends_by) for move in flown]
        return len(passed(*ending, moves=flown).moves)

    assert (moved(119), moved(121)) == (0, 4)


def test_pods_that_take_long_to_end_do_not_keep_all_others_from_coming_home() -> None:
    flown = tuple(ends_late(index, ago=121, kind=MoveKind.FAILBACK) for index in range(2))
    ending = [msgspec.structs.replace(move.pod, node="n1", deleting=move.ends_by) for move in flown]
    at_home = owned("web", on="n1", owner="rs-web", ready=True)
    of = pool(failback={"policy": "WhenStable", "maxConcurrentMoves": 2})
    plan = decided(snapshot(of, [node("a1"), node("n1")], [at_home, *ending], moves=flown), CALM)
    assert [move.pod.name for move in plan.moves] == ["web"]


def test_pods_that_have_to_leave_go_before_pods_of_a_drained_provider() -> None:
    of = pool(
        provider("aws"),
        provider("nebius", drain=True),
        provider("crusoe"),
        failover={"runningPods": "Move", "maxConcurrentMoves": 2},
    )
    drained = [owned(f"d{index}", on="n1", owner=f"rd-{index}", priority=9, ready=True) for index in range(2)]
    pods = [*drained, *(msgspec.structs.replace(one, node="c1") for one in LEAVING[:2])]
    seen = snapshot(of, [node("a1", 16), node("n1", taints=[QUARANTINE]), unhealthy_node("c1")], pods)
    plan = decided(seen, pool_state(node_faults=faults_of("c1")))
    assert [move.pod.name for move in plan.moves] == ["p0", "p1"]
    assert {move.pod.name: move.reason for move in plan.blocked} == dict.fromkeys(("d0", "d1"), Reason.AT_MOVE_LIMIT)


def test_a_sibling_that_was_there_before_replaces_no_pod() -> None:
    sibling = owned("old", on="a1", owner="og-1", age=500)
    assert len(passed(sibling, at_once=1, moves=(gone(1, ago=100),)).moves) == 0


def test_nor_does_one_that_was_seen_before_the_move_began_however_young_it_is() -> None:
    # Creation times have whole seconds, and another clock: by them it could have been made since.
    young = owned("young", on="a1", owner="og-1", age=0, appeared=6)
    assert len(passed(young, at_once=1, moves=(gone(1, ago=0, order=6),)).moves) == 1
    assert not passed(young, at_once=1, moves=(gone(1, ago=0, order=7),)).moves


def test_replacements_are_told_apart_by_when_they_appeared_where_all_are_of_one_second() -> None:
    flown = tuple(
        pod_move(owned(f"g{index}", on="n9", owner="rs-x"), "aws", at=NOW - 1 + index / 10, order=index + 1)
        for index in range(4)
    )
    # Their names say the reverse of the order in which they came.
    new = [owned(f"new{9 - index}", on="a1", owner="rs-x", age=0, appeared=index + 1) for index in range(4)]
    assert len(passed(*new, at_once=4, per_minute=None, moves=flown).moves) == 4


def test_answers_that_come_late_and_in_another_order_change_nothing() -> None:
    # Begun in one second; the replacements are there long before the answers, the first of which comes last.
    flown = tuple(
        pod_move(owned(f"g{index}", on="n9", owner="rs-x"), "aws", at=NOW - index, order=index + 1)
        for index in range(3)
    )
    new = [owned(f"new{index}", on="a1", owner="rs-x", age=30, appeared=index + 1) for index in range(3)]
    assert len(passed(*new, at_once=3, per_minute=None, moves=flown).moves) == 3
    assert len(passed(*new[:2], at_once=3, per_minute=None, moves=flown).moves) == 2


@pytest.mark.parametrize("ahead", [-600, 600])
def test_a_clock_that_is_not_the_api_servers_changes_nothing(ahead: float) -> None:
    bound = owned("new", on="a1", owner="og-1", age=50 - ahead, appeared=1)
    assert len(passed(bound, at_once=1, moves=(gone(1, ago=50, order=1),)).moves) == 1


def test_of_an_owners_moves_as_many_are_over_as_it_has_new_pods() -> None:
    flown = tuple(pod_move(owned(f"g{index}", on="n9", owner="rs-x"), "aws", at=NOW - 50) for index in range(3))
    new = [owned(f"new{index}", on="a1", owner="rs-x", age=49) for index in range(2)]
    assert len(passed(*new, at_once=4, per_minute=None, moves=flown).moves) == 3


def test_a_move_is_over_although_its_replacement_was_moved_on_since() -> None:
    first = owned("first", on="n9", owner="rs-x", age=500)
    second = owned("second", on="c9", owner="rs-x", age=60)
    flown = (pod_move(first, "crusoe", at=NOW - 61), pod_move(second, "aws", at=NOW - 20))
    third = owned("third", on="a1", owner="rs-x", age=19)
    assert len(passed(third, at_once=1, moves=flown).moves) == 1
    assert len(passed(at_once=1, moves=flown).moves) == 0


def test_pods_that_are_moved_at_the_same_time_do_not_replace_each_other() -> None:
    first, second = (owned(f"s{index}", on="n9", owner="rs-x", age=3 - index) for index in range(2))
    flown = (pod_move(first, "aws", at=NOW - 1), pod_move(second, "aws", at=NOW - 1))
    assert len(passed(at_once=2, moves=flown).moves) == 0


def test_a_pod_without_an_owner_is_over_once_it_is_gone() -> None:
    bare = pod_move(pod("bare", on="n9"), "aws", at=NOW - 5)
    assert len(passed(at_once=1, moves=(bare,)).moves) == 1
    assert len(passed(pod("bare", on="a1"), at_once=1, moves=(bare,)).moves) == 0


def test_no_more_are_moved_in_a_minute_than_may_be() -> None:
    done = tuple(gone(index, ago=59) for index in range(3))
    new = [owned(f"new{index}", on="a1", owner=f"og-{index}", age=58) for index in range(3)]
    plan = passed(*new, moves=done)
    assert len(plan.moves) == 2
    stay = next(blocked for blocked in plan.blocked if blocked.reason is Reason.AT_MOVE_LIMIT)
    assert stay.until == plan.recheck_at == NOW + 1
    over = tuple(gone(index, ago=60) for index in range(3))
    assert len(passed(*new, moves=over).moves) == 4
    assert len(passed(*new, moves=done, per_minute=None).moves) == 4


def test_refused_evictions_count_neither_way() -> None:
    refused = tuple(gone(index, ago=9, refused_since=NOW - 9) for index in range(9))
    assert len(passed(moves=refused).moves) == 4


def test_refused_ones_are_tried_again_within_the_limit_after_all_others_and_those_that_waited_longest_first() -> None:
    ago = {"p0": 30, "p1": 40, "p2": 20, "p3": 50}
    refused = tuple(
        pod_move(pod, "aws", at=NOW - ago[pod.name], refused_since=NOW - ago[pod.name])
        for pod in LEAVING
        if pod.name in ago
    )
    plan = passed(moves=refused)
    assert [move.pod.name for move in plan.moves] == ["p4", "p5", "p3", "p1"]
    assert {blocked.pod.name for blocked in plan.blocked} == {"p0", "p2"}


def test_moves_home_have_limits_of_their_own() -> None:
    home = tuple(gone(index, ago=5, kind=MoveKind.FAILBACK) for index in range(9))
    assert len(passed(moves=home).moves) == 4
    room = tuple(gone(index, ago=5, kind=MoveKind.RESCHEDULE) for index in range(3))
    assert len(passed(moves=room).moves) == 1


# -- after a restart


def recorded(*ago: float) -> PoolState:
    return changed(UNWELL, recent_moves=tuple((NOW - seconds, MoveKind.FAILOVER) for seconds in ago))


def test_what_an_earlier_leader_moved_in_the_last_minute_counts() -> None:
    state = recorded(70, 60, 60, 10)
    # Recorded by the second: one of 60 s ago may have been a little later.
    assert len(passed(state=state, moves_since=NOW - 5).moves) == 2
    assert len(passed(state=state, moves_since=NOW - 5, per_minute=None).moves) == 4


def test_what_of_it_is_on_its_way_is_told_by_the_pods_that_end_or_wait() -> None:
    state = recorded(10, 10, 10)
    waiting = pod("new", owner="og-1", waited=9)
    ending = owned("end", on="a1", owner="og-2", deleting=NOW + 9)
    assert len(passed(waiting, ending, state=state, moves_since=NOW - 5, per_minute=None).moves) == 2


def test_a_pod_that_should_have_ended_long_ago_is_on_a_dead_node_and_no_longer_on_its_way() -> None:
    state = recorded(40, 40, 40)
    dead = [owned(f"end{index}", on="a1", owner="og-2", deleting=NOW - 9) for index in range(3)]
    assert len(passed(*dead, state=state, moves_since=NOW - 5, per_minute=None).moves) == 4


def test_a_move_in_the_second_of_taking_over_is_not_read_as_an_earlier_leaders() -> None:
    took_over = NOW + 0.2
    seen = snapshot(pool(), [node("a1"), unhealthy_node("n1")], LEAVING[:1], moves_since=took_over)
    (recorded_at, _), *others = decided(seen, UNWELL, NOW + 0.4).state.recorded.recent_moves
    assert recorded_at >= took_over
    assert not others


@pytest.mark.parametrize("policy", ["Enforce", "Observe"])
def test_what_is_recorded(policy: str) -> None:
    of = pool(mode=policy)
    state = recorded(100, 40, 3)
    plan = decided(snapshot(of, [node("a1"), unhealthy_node("n1")], LEAVING[:2]), state, NOW + 0.7)
    own = ((NOW, MoveKind.FAILOVER),) * 2 if policy == "Enforce" else ()
    # Those more than a minute older than the latest are forgotten, and no others: a new leader goes by the latest.
    assert plan.state.recorded.recent_moves == (*recorded(40, 3).recorded.recent_moves, *own)


def test_one_that_is_tried_again_is_recorded_once_a_second() -> None:
    refused = pod_move(LEAVING[0], "aws", at=NOW - 11, refused_since=NOW - 11)
    of, nodes = pool(), [node("a1"), unhealthy_node("n1")]
    seen = snapshot(of, nodes, LEAVING[:1], moves=(refused,))
    state = UNWELL
    for tenth in range(5):
        plan = decided(seen, state, NOW + tenth / 10)
        assert len(plan.moves) == 1
        state = plan.state
    assert state.recorded.recent_moves == ((NOW, MoveKind.FAILOVER),)


def test_all_that_are_tried_again_together_are_recorded_beside_those_asked_for_in_the_same_second() -> None:
    def refused(ago: float) -> tuple[Any, ...]:
        return tuple(pod_move(pod, "aws", at=NOW - ago, refused_since=NOW - ago) for pod in LEAVING[:2])

    of, nodes = pool(), [node("a1"), unhealthy_node("n1")]
    plan = decided(snapshot(of, nodes, LEAVING[:2], moves=refused(11)), UNWELL)
    # Both may be let go at once: a successor has to count both.
    assert plan.state.recorded.recent_moves == ((NOW, MoveKind.FAILOVER),) * 2
    # They were refused, and two more are asked for in the same second: never more than two were let go.
    later = decided(snapshot(of, nodes, LEAVING[2:4], moves=refused(-0.2)), plan.state, NOW + 0.3)
    assert len(later.moves) == 2
    assert later.state.recorded.recent_moves == ((NOW, MoveKind.FAILOVER),) * 4
    # One is let go, and the other is tried once more.
    let_go, again = refused(11)
    let_go = msgspec.structs.replace(let_go, at=NOW, request=Request.LET_GO, refused_since=None)
    once_more = decided(snapshot(of, nodes, LEAVING[1:2], moves=(let_go, again)), plan.state, NOW + 0.6)
    assert once_more.state.recorded.recent_moves == ((NOW, MoveKind.FAILOVER),) * 2


def test_one_that_waits_for_its_turn_is_looked_at_once_a_move_counts_no_longer() -> None:
    plan = passed(at_once=1, moves=(gone(1, ago=100),))
    assert stay_of(plan, "p0").reason is Reason.AT_MOVE_LIMIT
    assert stay_of(plan, "p0").until == NOW + 20
