"""Room is made on a saturated primary for a pod that can run nowhere else, with the fewest moves."""

from __future__ import annotations

from math import inf
from typing import Any

import msgspec
import pytest

from computepool.decide.move.owner_history import FIRST_DELAY_SECONDS
from computepool.decide.plan import Plan
from computepool.model.moves import MoveKind
from computepool.model.reasons import Reason
from computepool.model.signals import Answer, Samples, SignalData
from computepool.model.state import PoolState, Saturation
from tests.builders import NOW, node, pod, pod_move, pool, pool_state, provider, shape, snapshot
from tests.unit.core.moving import half_open, move_of, moved_to, opened, owned
from tests.unit.core.passes import Decided, decided, holds

WHEN = {"policy": "WhenSaturated"}
FULL = pool_state(Saturation(True))


def stuck(gpus: int = 2, priority: int = 5, **fields: Any) -> Any:
    """A waiting pod that may not leave the primary."""
    return pod("stuck", gpus, priority=priority, **{"allowed": (), **fields})


def room(*pods: Any, state: PoolState = FULL, nodes: Any = None, **spec: Any) -> Decided:
    fields = {key: spec.pop(key) for key in ("moves", "moves_since", "signals") if key in spec}
    there = nodes or [node("a1", 4), node("a2", 4), node("n1")]
    options = {"reschedule": WHEN, **spec}
    return decided(snapshot(pool(provider("aws"), provider("nebius"), **options), there, pods, **fields), state)


def full_primary(**fields: Any) -> list[Any]:
    return [owned("big", 4, on="a1", **fields), owned("s1", 2, on="a2", **fields), owned("s2", 2, on="a2", **fields)]


def test_the_fewest_pods_make_room() -> None:
    plan = room(stuck(4), *full_primary())
    move = move_of(plan, "big")
    assert moved_to(plan) == {"big": "nebius"}
    assert (move.source, move.kind, move.reason) == ("aws", MoveKind.RESCHEDULE, Reason.MAKES_ROOM)
    assert holds(plan) == {"stuck": Reason.NOT_ALLOWED}


def test_the_least_important_of_equal_numbers() -> None:
    pods = full_primary()
    pods[1] = msgspec.structs.replace(pods[1], priority=3)
    pods[0] = msgspec.structs.replace(pods[0], priority=4)
    assert moved_to(room(stuck(2), *pods)) == {"s2": "nebius"}


def test_no_pod_makes_room_unless_the_policy_says_so_or_while_the_primary_is_not_saturated() -> None:
    assert room(stuck(), *full_primary(), reschedule={"policy": "Never"}).moves == ()
    waits = stuck(waited=1)
    plan = room(waits, *full_primary(), state=pool_state(Saturation(False)))
    assert holds(plan) == {"stuck": Reason.BELOW_PENDING_SECONDS}
    assert plan.moves == ()


def test_room_is_made_at_once_while_a_signal_shows_pressure_and_not_while_it_is_unknown() -> None:
    busy = {"name": "busy", "query": "x", "labels": {"node": "node"}, "enter": "90", "exit": "50", "sustainSeconds": 0}
    how: dict[str, Any] = {"state": pool_state(Saturation(False)), "metrics": [busy]}
    high = SignalData(Answer(NOW, nodes=dict.fromkeys(("a1", "a2"), Samples((95.0,)))))
    pods = (stuck(4, waited=1), *full_primary())
    assert moved_to(room(*pods, **how, signals={"saturation/busy": high})) == {"big": "nebius"}
    assert room(*pods, **how, signals={"saturation/busy": SignalData(error="down")}).moves == ()


def test_room_is_made_on_the_full_nodes_of_a_free_primary_for_a_pod_that_is_confined_to_them() -> None:
    zoned = [node("a1", 4, labels={"zone": "x"}), node("a2", 4), node("a3"), node("n1")]
    plan = room(stuck(4, shaped=shape(4, selector={"zone": "x"})), *full_primary(), state=PoolState(), nodes=zoned)
    assert plan.assessment.saturation.saturated is False
    assert moved_to(plan) == {"big": "nebius"}


@pytest.mark.parametrize(
    "fields",
    [
        {"priority": 5},
        {"movable": False},
        {"owner": ""},
        {"protected_until": inf},
        {"owner_kind": "DaemonSet"},
        {"owner_kind": "Job"},
    ],
    ids=lambda fields: "-".join(map(str, *fields.items())),
)
def test_who_makes_no_room(fields: dict[str, Any]) -> None:
    assert room(stuck(), *full_primary(**fields)).moves == ()


def test_only_those_selected_make_room() -> None:
    chosen = {**WHEN, "podSelector": {"matchLabels": {"tier": "batch"}}}
    pods = full_primary()
    assert room(stuck(), *pods, reschedule=chosen).moves == ()
    pods[2] = msgspec.structs.replace(pods[2], labels={"tier": "batch"})
    assert moved_to(room(stuck(), *pods, reschedule=chosen)) == {"s2": "nebius"}


@pytest.mark.parametrize(
    ("waiting", "moves"),
    [
        (stuck(shaped=shape(2, selector={"computepool.io/provider": "aws"}), allowed=None), True),
        (stuck(allowed=None), False),
        (stuck(priority=0), False),
    ],
    ids=["pinned", "a standby will have it", "not more important"],
)
def test_for_whom_room_is_made(waiting: Any, moves: bool) -> None:
    nodes = [node("a1", 4), node("a2", 4), node("n1", 2)]
    assert bool(room(waiting, *full_primary(), nodes=nodes).moves) is moves


def test_there_is_never_a_chain_each_has_a_place_now_at_the_same_time_as_the_others() -> None:
    small = [node("a1", 4), node("n1", 3)]
    pods = [owned("x", 2, on="a1"), owned("y", 2, on="a1", owner="rs-2")]
    assert room(stuck(4), *pods, nodes=small).moves == ()
    assert set(moved_to(room(stuck(4), *pods, nodes=[node("a1", 4), node("n1", 4)]))) == {"x", "y"}
    # The failed trial has kept no place.
    of_two = [node("a1", 4), node("a2", 2), node("n1", 3)]
    other = pod("w", 2, priority=4, allowed=())
    assert len(room(stuck(4), other, *pods, owned("z", 2, on="a2"), nodes=of_two).moves) == 1


@pytest.mark.parametrize("breaker", [opened(), half_open("n1")])
def test_a_standby_that_is_not_used_as_it_fits_takes_no_pod(breaker: Any) -> None:
    state = pool_state(Saturation(True), breakers={"nebius": breaker})
    assert room(stuck(), *full_primary(), state=state).moves == ()


def test_one_that_is_served_by_moves_under_way_needs_no_more() -> None:
    pods = full_primary()
    evicted = pod_move(pods[1], "nebius", at=NOW - 1, kind=MoveKind.RESCHEDULE)
    assert room(stuck(), *pods, moves=(evicted,)).moves == ()
    leaving = [pods[0], msgspec.structs.replace(pods[1], deleting=NOW + 90), pods[2]]
    assert room(stuck(), *leaving).moves == ()
    another = pod("another", 2, priority=5, allowed=())
    assert moved_to(room(stuck(), another, *leaving)) == {"s2": "nebius"}


def test_no_pod_is_moved_whose_replacement_would_fit_on_its_node_again() -> None:
    pods = [owned("x", 1, on="a1"), owned("y", 2, on="a1")]
    assert room(stuck(4), *pods, nodes=[node("a1", 4), node("n1")]).moves == ()


def test_all_of_a_set_or_none_within_the_limits_of_failover() -> None:
    pods = [owned("x", 2, on="a1"), owned("y", 2, on="a1", owner="rs-2")]
    nodes = [node("a1", 4), node("n1")]
    assert room(stuck(4), *pods, nodes=nodes, failover={"maxConcurrentMoves": 1}).moves == ()
    assert len(room(stuck(4), *pods, nodes=nodes, failover={"maxConcurrentMoves": 2}).moves) == 2


def test_another_makes_room_where_one_may_not_go() -> None:
    pods = full_primary()
    refused = pod_move(pods[2], "nebius", at=NOW - 9, kind=MoveKind.RESCHEDULE, refused_since=NOW - 9)
    assert moved_to(room(stuck(), *pods, moves=(refused,))) == {"s1": "nebius"}
    dwelling = msgspec.structs.replace(pods[2], created=NOW - 60, ready=True, ready_since=NOW - 59)
    earlier = pod_move(owned("was", on="n1"), "aws", at=NOW - 61)
    assert moved_to(room(stuck(), pods[0], pods[1], dwelling, moves=(earlier,))) == {"s1": "nebius"}


def room_after_a_move(landed: str, ago: float = 30) -> Plan:
    """Make room without dwell, after a pod of the workload was moved to make room, and its replacement has landed."""
    moved = pod_move(owned("was", 2, on="a2"), "nebius", at=NOW - ago, source="aws", kind=MoveKind.RESCHEDULE, order=1)
    big, here, other = full_primary()
    replacement = msgspec.structs.replace(here, node=landed, appeared=1, ready=True, ready_since=NOW - 20)
    stands = [] if landed == "a2" else [owned("stands", 2, on="a2", owner="rs-2", movable=False)]
    return room(stuck(), big, replacement, other, *stands, moves=(moved,), failback={"minDwellSeconds": 0})


def test_a_workload_makes_room_again_once_its_moved_pod_runs_on_a_standby() -> None:
    assert moved_to(room_after_a_move("n1")) == {"s2": "nebius"}


def test_a_workload_whose_moved_pod_came_back_makes_no_room_for_a_while() -> None:
    plan = room_after_a_move("a2")
    assert moved_to(plan) == {}
    assert plan.recheck_at is not None
    assert plan.recheck_at <= NOW + FIRST_DELAY_SECONDS


def test_pods_without_an_owner_are_not_one_workload() -> None:
    moved = pod_move(
        owned("was", 2, on="a2", owner="", movable=True),
        "nebius",
        at=NOW - 10,
        source="aws",
        kind=MoveKind.RESCHEDULE,
        order=1,
    )
    big, here, other = full_primary(owner="", movable=True)
    plan = room(stuck(), big, here, other, moves=(moved,), failback={"minDwellSeconds": 0})
    assert moved_to(plan) == {"s1": "nebius"}
