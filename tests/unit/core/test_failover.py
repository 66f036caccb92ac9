"""Running pods leave failing nodes and providers, only if another provider has room for them."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any

import msgspec
import pytest

from computepool.model.cluster import Pod
from computepool.model.moves import MoveKind, Request
from computepool.model.reasons import Reason
from computepool.model.state import HoldOff, NodeFault, PoolState
from computepool.model.taints import Toleration
from tests.builders import NOW, changed, node, pod, pod_move, pool, pool_state, provider, shape, snapshot
from tests.unit.core.moving import (
    QUARANTINE,
    blocked,
    faults_of,
    half_open,
    move_of,
    moved_to,
    opened,
    owned,
    stay_of,
    unhealthy_node,
)
from tests.unit.core.passes import Decided, decided, holds, sent_to

UNHEALTHY = pool_state(node_faults=faults_of("n1"))


def off_n1(
    *pods: Any,
    more: Any = (),
    state: PoolState = UNHEALTHY,
    seen: bool = True,
    ready: str = "False",
    heard: Mapping[str, float] | None = None,
    **spec: Any,
) -> Decided:
    """One pass where nebius's first node is unhealthy, its second node, `more` nodes and the primary are healthy.

    `heard`: heartbeats, by node.
    """
    nodes = [node("a1"), unhealthy_node("n1", seen=seen, ready=ready), node("n2"), *more]
    of = spec.pop("of", None) or pool(**spec)
    return decided(snapshot(of, nodes, pods, heartbeats=heard or {}), state)


def test_a_pod_leaves_a_unhealthy_node_for_the_primary_if_that_has_room() -> None:
    plan = off_n1(owned("web", on="n1"))
    assert moved_to(plan) == {"web": "aws"}
    move = move_of(plan, "web")
    assert (move.source, move.kind, move.reason, move.release) == (
        "nebius",
        MoveKind.FAILOVER,
        Reason.LEAVES_SICK_NODE,
        False,
    )
    assert plan.state.recorded.recent_moves == ((NOW, MoveKind.FAILOVER),)


def test_the_other_nodes_of_the_same_provider_count_in_their_turn() -> None:
    full = pod("full", 8, on="a1")
    assert moved_to(off_n1(owned("web", on="n1"), full)) == {"web": "nebius"}
    assert moved_to(off_n1(owned("web", on="n1"), full, pod("n2", 8, on="n2"), more=[node("c1")])) == {"web": "crusoe"}


def test_a_pod_without_another_place_stays_and_every_provider_says_why() -> None:
    limited = pool(provider("aws"), provider("nebius"), provider("crusoe", max_accelerators=4))
    plan = off_n1(owned("web", 8, on="n1"), pod("f1", on="a1"), pod("f2", on="n2"), more=[node("c1")], of=limited)
    assert plan.moves == ()
    assert stay_of(plan, "web").reason is Reason.WOULD_STRAND
    assert stay_of(plan, "web").rejected == (
        ("aws", Reason.NO_ROOM),
        ("nebius", Reason.NO_ROOM),
        ("crusoe", Reason.AT_MAX_ACCELERATORS),
    )


@pytest.mark.parametrize(
    ("limit", "ready", "moves"),
    [(8, "False", True), (7, "False", False), (8, "Unknown", False)],
    ids=["at the limit", "beyond it", "from a lost node, on which it counts for as long as that is seen"],
)
def test_a_move_within_a_provider_takes_no_more_of_its_limit(limit: int, ready: str, moves: bool) -> None:
    of = pool(provider("aws"), provider("nebius", max_accelerators=limit), failover={"silenceSeconds": 0})
    plan = off_n1(owned("big", 6, on="n1"), owned("small", 2, on="n1"), pod("full", 8, on="a1"), of=of, ready=ready)
    assert moved_to(plan) == ({"big": "nebius", "small": "nebius"} if moves else {})
    if not moves:
        assert stay_of(plan, "small").rejected[-1] == ("nebius", Reason.AT_MAX_ACCELERATORS)


def test_no_place_is_given_to_two() -> None:
    plan = off_n1(owned("one", 8, on="n1"), owned("two", 8, on="n1", age=60), pod("f", on="n2"))
    assert moved_to(plan) == {"one": "aws"}
    assert blocked(plan) == {"two": Reason.WOULD_STRAND}


def test_waiting_pods_have_their_places_first() -> None:
    plan = off_n1(owned("web", 8, on="n1"), pod("home", 8), pod("away", 8))
    assert holds(plan)["away"] is Reason.FITS_ON_PREFERRED
    assert sent_to(plan) == {"home": "nebius"}
    assert blocked(plan) == {"web": Reason.WOULD_STRAND}


def test_the_most_important_leave_first_and_of_those_the_oldest() -> None:
    pods = [owned("young", on="n1", age=60), owned("old", on="n1", age=600), owned("vip", on="n1", priority=5)]
    plan = off_n1(*pods, failover={"maxConcurrentMoves": 2})
    assert [move.pod.name for move in plan.moves] == ["vip", "old"]
    assert blocked(plan) == {"young": Reason.AT_MOVE_LIMIT}


def test_a_pod_stays_until_its_node_is_seen_with_the_taint() -> None:
    assert blocked(off_n1(owned("web", on="n1"), seen=False)) == {"web": Reason.QUARANTINE_PENDING}


def test_a_node_that_is_merely_silent_is_quarantined_and_not_left_before_its_status_or_its_provider_says_more() -> None:
    silent = pool_state(node_faults=faults_of("n1", reason=Reason.NODE_SILENT))
    heard = {"a1": NOW, "n1": NOW - 100, "n2": NOW}
    for seen in (False, True):
        restarted = off_n1(owned("web", on="n1"), state=silent, seen=seen, ready="True", heard=heard)
        assert restarted.moves == ()
        assert blocked(restarted) == {"web": Reason.AWAITING_VERDICT}
        assert restarted.quarantine == {"n1": Reason.NODE_SILENT}
    for ready in ("Unknown", "False"):
        assert moved_to(off_n1(owned("web", on="n1"), state=silent, ready=ready, heard=heard)) == {"web": "aws"}
    whole = changed(silent, breakers={"nebius": opened(Reason.PROVIDER_SILENT)})
    assert moved_to(off_n1(owned("web", on="n1"), state=whole, ready="True", heard=heard)) == {"web": "aws"}


@pytest.mark.parametrize(
    ("toleration", "moves"),
    [
        (Toleration(operator="Exists"), False),
        (Toleration("computepool.io/unavailable", "Exists", "", "NoSchedule"), False),
        (Toleration("computepool.io/unavailable", "Equal", "NodeNotReady"), False),
        (Toleration("computepool.io/unavailable", "Equal", "Drained"), True),
        (Toleration(operator="Exists", effect="NoExecute"), True),
    ],
    ids=str,
)
def test_a_pod_that_would_come_back_to_the_same_node_stays(toleration: Toleration, moves: bool) -> None:
    web = owned("web", on="n1", shaped=shape(1, tolerations=[toleration]))
    plan = off_n1(web)
    assert blocked(plan) == ({} if moves else {"web": Reason.TOLERATES_QUARANTINE})
    assert bool(plan.moves) is moves
    # A node without accelerators takes no pod, whatever the pod tolerates.
    bare = unhealthy_node("n1", 0)
    assert decided(snapshot(pool(), [node("a1"), bare, node("n2")], [web]), UNHEALTHY).moves


def test_who_only_observes_does_not_wait_for_a_taint_and_records_no_move() -> None:
    plan = off_n1(owned("web", on="n1"), seen=False, mode="Observe")
    assert moved_to(plan) == {"web": "aws"}
    assert plan.state.recorded.recent_moves == ()


@pytest.mark.parametrize(
    ("fields", "moves", "why"),
    [
        ({"owner": ""}, False, Reason.NOT_MOVABLE),
        ({"owner": "", "movable": True}, True, None),
        ({"movable": False}, False, Reason.NOT_MOVABLE),
        ({"owner_kind": "DaemonSet"}, False, None),
        ({"owner_kind": "Node"}, False, None),
        ({"deleting": NOW + 5}, False, None),
        ({"protected_until": inf}, True, None),
        ({"owner_kind": "Job"}, False, Reason.NOT_MOVABLE),
        ({"owner_kind": "Job", "movable": True}, True, None),
    ],
    ids=[
        "bare",
        "bare and says so",
        "says no",
        "of a daemon set",
        "static",
        "on its way",
        "asks not to be disrupted",
        "of a job",
        "of a job that can afford it",
    ],
)
def test_who_may_be_moved(fields: dict[str, Any], moves: bool, why: Reason | None) -> None:
    plan = off_n1(owned("web", on="n1", **fields))
    assert bool(plan.moves) is moves
    assert blocked(plan).get("web") is why


def test_a_pod_with_volumes_moves_within_its_provider_only_unless_it_says_that_they_follow() -> None:
    stateful = shape(1, unmodelled=["volumes"])
    assert moved_to(off_n1(owned("db", on="n1", shaped=stateful))) == {"db": "nebius"}
    stranded = off_n1(owned("db", on="n1", shaped=stateful), pod("f", 8, on="n2"))
    assert stay_of(stranded, "db").rejected[0] == ("aws", Reason.MAY_NOT_FOLLOW)
    assert moved_to(off_n1(owned("db", on="n1", shaped=stateful, movable=True))) == {"db": "aws"}


def test_a_pod_goes_only_where_its_owner_lets_it() -> None:
    plan = off_n1(
        owned("web", on="n1", allowed=("nebius",)), pod("f", 8, on="a1"), pod("g", 8, on="n2"), more=[node("c1")]
    )
    assert stay_of(plan, "web").rejected[-1] == ("crusoe", Reason.NOT_ALLOWED)


@pytest.mark.parametrize(
    ("policy", "moved"),
    [
        ("Leave", set()),
        ("MoveFromUnhealthyNodes", {"unhealthy"}),
        ("Move", {"unhealthy", "well"}),
    ],
)
def test_what_becomes_of_pods_of_a_provider_that_has_failed(policy: str, moved: set[str]) -> None:
    state = pool_state(node_faults=faults_of("n1", "n3"), breakers={"nebius": opened()})
    nodes = [node("a1"), unhealthy_node("n1"), unhealthy_node("n3"), node("n2", taints=[QUARANTINE])]
    pods = [owned("unhealthy", on="n1"), owned("well", on="n2")]
    plan = decided(snapshot(pool(failover={"runningPods": policy}), nodes, pods), state)
    assert set(moved_to(plan)) == moved
    assert set(blocked(plan)) == {"unhealthy", "well"} - moved
    assert all(why is Reason.LEFT_BY_POLICY for why in blocked(plan).values())


RECOVERED = {"n1": NodeFault(Reason.NODE_NOT_READY, "", NOW - 100, unhealthy=True, clear_since=NOW - 10)}


@pytest.mark.parametrize("policy", ["MoveFromUnhealthyNodes", "Move"])
def test_a_node_that_is_well_again_keeps_its_pods_and_its_quarantine(policy: str) -> None:
    plan = off_n1(
        owned("web", on="n1"), state=pool_state(node_faults=RECOVERED), ready="True", failover={"runningPods": policy}
    )
    assert plan.moves == ()
    assert blocked(plan) == {"web": Reason.RECOVERING}
    assert plan.quarantine == {"n1": Reason.NODE_NOT_READY}


def test_pods_leave_a_node_that_comes_and_goes_in_every_moment_in_which_it_is_bad() -> None:
    state = UNHEALTHY
    for ready, moves in (("True", False), ("False", True), ("True", False), ("False", True)):
        plan = off_n1(owned("web", on="n1"), state=state, ready=ready)
        assert bool(plan.moves) is moves
        state = changed(plan.state, recent_moves=())


def test_a_provider_that_has_failed_and_is_well_again_keeps_the_pods_that_it_still_has_unless_it_is_drained() -> None:
    pods = [owned("was-unhealthy", on="n1"), owned("well", on="n2", owner="rs-2")]
    nodes = [node("a1"), unhealthy_node("n1", ready="True"), node("n2", taints=[QUARANTINE])]
    state = pool_state(node_faults=RECOVERED, breakers={"nebius": opened()})

    def plan(policy: str, *, drain: bool) -> Decided:
        of = pool(provider("aws"), provider("nebius", drain=drain), failover={"runningPods": policy})
        return decided(snapshot(of, nodes, pods), state)

    kept = plan("Move", drain=False)
    assert blocked(kept) == {"was-unhealthy": Reason.RECOVERING, "well": Reason.RECOVERING}
    assert set(kept.quarantine or ()) == {"n1", "n2"}
    assert set(moved_to(plan("Move", drain=True))) == {"was-unhealthy", "well"}
    by_hand = plan("MoveFromUnhealthyNodes", drain=True)
    assert blocked(by_hand) == {"was-unhealthy": Reason.RECOVERING, "well": Reason.LEFT_BY_POLICY}


def test_a_provider_that_binds_no_more_pods_keeps_those_it_has() -> None:
    state = pool_state(breakers={"nebius": opened(Reason.PROVISIONING_FAILED)})
    seen = snapshot(
        pool(failover={"runningPods": "Move"}), [node("a1"), node("n1", taints=[QUARANTINE])], [owned("web", on="n1")]
    )
    plan = decided(seen, state)
    assert (plan.moves, plan.blocked) == ((), ())
    # The node is at no fault: it runs its pods, and other controllers may evict them because of a taint.
    assert plan.quarantine == {}


def test_a_drained_provider_is_left_by_all_if_the_policy_says_move() -> None:
    of = pool(provider("aws"), provider("nebius") | {"drain": True}, failover={"runningPods": "Move"})
    seen = snapshot(of, [node("a1"), node("n1", taints=[QUARANTINE])], [owned("web", on="n1")])
    plan = decided(seen)
    assert move_of(plan, "web").reason is Reason.LEAVES_PROVIDER


@pytest.mark.parametrize("policy", ["Move", "MoveFromUnhealthyNodes", "Leave"])
@pytest.mark.parametrize("drained", ["Move", "Leave", None])
def test_the_drain_itself_may_say_what_becomes_of_running_pods(policy: str, drained: str | None) -> None:
    of = pool(
        provider("aws"),
        provider("nebius", drain=True, drain_running_pods=drained),
        failover={"runningPods": policy},
    )
    by_hand = msgspec.structs.replace(QUARANTINE, value="Drained")
    nodes = [node("a1"), node("n1", taints=[by_hand]), unhealthy_node("n2")]
    pods = [owned("well", on="n1", ready=True), owned("ill", on="n2", owner="rs-2", ready=True)]
    plan = decided(snapshot(of, nodes, pods), pool_state(node_faults=faults_of("n2")))
    leaves_all = drained == "Move" or (drained is None and policy == "Move")
    expected = {"well", "ill"} if leaves_all else set() if policy == "Leave" else {"ill"}
    assert set(moved_to(plan)) == expected
    assert {name for name, why in blocked(plan).items() if why is Reason.LEFT_BY_POLICY} == {"well", "ill"} - expected
    if leaves_all:
        assert (move_of(plan, "well").by_choice, move_of(plan, "ill").by_choice) == (True, False)


@pytest.mark.parametrize("reason", [Reason.PROVISIONING_FAILED, Reason.CANARY_FAILED])
def test_a_drained_provider_is_left_although_its_breaker_is_open_for_pods_that_did_not_start(reason: Reason) -> None:
    of = pool(provider("aws"), provider("nebius") | {"drain": True}, failover={"runningPods": "Move"})
    seen = snapshot(of, [node("a1"), node("n1", taints=[QUARANTINE])], [owned("web", on="n1")])
    plan = decided(seen, pool_state(breakers={"nebius": opened(reason)}))
    assert set(plan.quarantine or ()) == {"n1"}
    assert move_of(plan, "web").reason is Reason.LEAVES_PROVIDER


def test_a_half_open_provider_is_not_tried_with_a_pod_that_fails_while_others_have_to_leave() -> None:
    of = pool(failover={"runningPods": "Move"})
    nodes = [unhealthy_node("n1"), node("a1", 2), node("c1")]
    full = [owned("own", 2, on="a1", ready=True)]
    crashing = owned("crashing", on="n1", owner="bad", failing=True, priority=10)
    state = pool_state(node_faults=faults_of("n1"), breakers={"crusoe": half_open("c1")})

    def first(*pods: Pod) -> dict[str, str]:
        return moved_to(decided(snapshot(of, nodes, [*full, *pods]), state))

    assert first(crashing, owned("well", on="n1", owner="good", ready=True)) == {"well": "crusoe"}
    assert first(crashing) == {"crashing": "crusoe"}


def test_pods_of_a_node_that_fails_leave_before_pods_that_a_virtual_kubelet_refuses() -> None:
    stuck: dict[str, Any] = {"owner": "bad", "priority": 9, "failing": True, "refused": True}
    refused = [owned(f"refused{index}", on="n1", **stuck) for index in range(4)]
    running = [owned(f"web{index}", on="n2", ready=True) for index in range(2)]
    held = HoldOff("nebius", Reason.WORKLOAD_BACK_OFF, "bad", 1, NOW - 60, NOW + 60)
    state = pool_state(hold_offs=(held,), node_faults=faults_of("n2"))
    of = pool(failover={"runningPods": "Move", "maxConcurrentMoves": 2})
    nodes = [node("a1"), node("n1", 64), unhealthy_node("n2"), node("n3"), node("c1")]
    seen = snapshot(of, nodes, [owned("steady", 8, on="a1", ready=True), *refused, *running])
    assert moved_to(decided(seen, state)).keys() == {"web0", "web1"}


# -- evictions that are refused


@pytest.mark.parametrize(
    ("asked", "since", "moves", "reported"),
    [
        (NOW - 9, NOW - 9, False, False),
        (NOW - 10, NOW - 30, True, False),
        (NOW - 29, NOW - 89, False, False),
        (NOW - 30, NOW - 90, True, False),
        (NOW - 59, NOW - 301, False, True),
        (NOW - 60, NOW - 400, True, True),
    ],
    ids=["too soon", "again", "not yet so soon", "more seldom", "for too long", "now and then"],
)
def test_a_refused_eviction_is_tried_again_and_reported_in_the_end(
    asked: float, since: float, moves: bool, reported: bool
) -> None:
    web = owned("web", on="n1")
    refused = pod_move(web, "aws", at=asked, refused_since=since)
    plan = decided(snapshot(pool(), [node("a1"), unhealthy_node("n1")], [web], moves=(refused,)), UNHEALTHY)
    assert bool(plan.moves) is moves
    assert blocked(plan) == ({"web": Reason.EVICTION_REFUSED} if reported else {})
    assert moves or (plan.recheck_at is not None and plan.recheck_at <= asked + 60)


def test_a_pod_whose_eviction_is_asked_for_is_left_alone() -> None:
    web = owned("web", on="n1")
    tries: list[dict[str, Any]] = [{}, {"refused_since": NOW - 10}]
    for fields in tries:
        asked = pod_move(web, "aws", at=NOW - 1, request=Request.ASKED, **fields)
        plan = decided(snapshot(pool(), [node("a1"), unhealthy_node("n1")], [web], moves=(asked,)), UNHEALTHY)
        assert (plan.moves, plan.blocked) == ((), ())


# -- lost nodes


def test_pods_on_a_node_that_is_lost_are_released_if_the_policy_says_so() -> None:
    web = owned("web", on="n1")
    nodes = [node("a1"), unhealthy_node("n1", ready="Unknown")]
    seen = snapshot(pool(failover={"lostPods": "Release", "silenceSeconds": 30}), nodes, [web])
    state = changed(UNHEALTHY, unknown_since={"n1": NOW - 59})
    plan = decided(seen, state)
    assert not move_of(plan, "web").release
    assert plan.recheck_at == NOW + 1
    lost = changed(UNHEALTHY, unknown_since={"n1": NOW - 60})
    assert move_of(decided(seen, lost), "web").release
    assert move_of(decided(seen, lost), "web").reason is Reason.LOST_NODE
    kept = snapshot(pool(failover={"silenceSeconds": 30}), nodes, [web])
    assert not move_of(decided(kept, lost), "web").release


def test_a_node_is_unknown_since_it_was_first_seen_so() -> None:
    seen = snapshot(pool(), [node("a1"), node("n1", ready="Unknown")])
    first = decided(seen).state
    assert first.memory.unknown_since == {"n1": NOW}
    assert decided(seen, first, NOW + 5).state.memory.unknown_since == {"n1": NOW}
    assert decided(snapshot(pool(), [node("a1"), node("n1")]), first, NOW + 5).state.memory.unknown_since == {}


# -- holding back


def test_while_too_many_have_failed_nothing_is_moved_and_bursting_goes_on() -> None:
    state = pool_state(node_faults=faults_of("n1", "c1"), breakers={"nebius": opened(), "crusoe": opened()})
    nodes = [node("a1"), unhealthy_node("n1"), unhealthy_node("c1"), node("l1", of="lambda")]
    of = pool(
        provider("aws"), provider("nebius"), provider("crusoe"), provider("lambda"), health={"maxUnhealthyPercent": 40}
    )
    pods = [owned("web", on="n1"), pod("full", 8, on="a1"), pod("waits")]
    plan = decided(snapshot(of, nodes, pods), state)
    assert plan.held_back
    assert (plan.moves, plan.blocked, plan.quarantine) == ((), (), None)
    assert sent_to(plan) == {"waits": "lambda"}


def test_a_view_that_is_stale_moves_no_pod() -> None:
    seen = snapshot(pool(), [node("a1"), unhealthy_node("n1")], [owned("web", on="n1")], stale="lost")
    plan = decided(seen, UNHEALTHY)
    assert plan.frozen
    assert (plan.moves, plan.blocked, plan.quarantine) == ((), (), None)
