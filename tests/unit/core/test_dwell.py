"""One move per workload per minDwellSeconds: a moved pod stays for that time."""

from __future__ import annotations

import msgspec
import pytest

from computepool.model.moves import MoveKind, Request
from computepool.model.reasons import Reason
from tests.builders import NOW, changed, node, pod_move, pool, pool_state, provider, snapshot
from tests.unit.core.moving import QUARANTINE, blocked, faults_of, moved_to, owned, stay_of, unhealthy_node
from tests.unit.core.passes import decided

UNHEALTHY = pool_state(node_faults=faults_of("n1"))


def test_what_was_moved_lately_dwells() -> None:
    gone = owned("gone", on="n2")
    new = owned("new", on="n1", created=NOW - 30)
    seen = snapshot(pool(), [node("a1"), unhealthy_node("n1")], [new], moves=(pod_move(gone, "nebius", at=NOW - 30.4),))
    plan = decided(seen, UNHEALTHY)
    assert stay_of(plan, "new").reason is Reason.DWELLING
    assert stay_of(plan, "new").until == NOW - 30.4 + 600
    assert plan.recheck_at is not None
    assert plan.recheck_at <= NOW - 30.4 + 600


def test_a_replacement_dwells_however_soon_after_the_moved_pods_creation_it_was_made() -> None:
    # Creation times have whole seconds.
    gone = owned("gone", on="n2", created=NOW - 30)
    new = owned("new", on="n1", created=NOW - 30, appeared=1)
    flown = (pod_move(gone, "nebius", at=NOW - 29.5, order=1),)
    seen = snapshot(pool(), [node("a1"), unhealthy_node("n1")], [new], moves=flown)
    assert blocked(decided(seen, UNHEALTHY)) == {"new": Reason.DWELLING}


def test_of_an_owners_moves_the_latest_counts_that_a_pod_may_be_the_outcome_of() -> None:
    flown = tuple(
        pod_move(owned(f"gone{left}", on="n2"), "nebius", at=at, order=left)
        for left, at in ((2, NOW - 100), (1, NOW - 60), (3, NOW - 40))
    )
    new = [owned(f"new{appeared}", on="n1", created=NOW - 200, appeared=appeared) for appeared in range(4)]
    seen = snapshot(pool(failover={"maxConcurrentMoves": 100}), [node("a1"), unhealthy_node("n1")], new, moves=flown)
    plan = decided(seen, UNHEALTHY)
    assert moved_to(plan) == {"new0": "aws"}
    # Answers may come in another order than that in which pods leave.
    assert {blocked.pod.name: NOW + 600 - (blocked.until or 0) for blocked in plan.blocked} == {
        "new1": 60,
        "new2": 60,
        "new3": 40,
    }


@pytest.mark.parametrize(
    ("request_", "dwells"), [(Request.REFUSED, False), (Request.ASKED, True)], ids=["refused", "asked for again"]
)
def test_what_is_refused_is_no_move_until_it_is_asked_for_again(request_: Request, dwells: bool) -> None:
    held = pod_move(owned("held", on="n2"), "nebius", at=NOW - 30, order=1, refused_since=NOW - 90, request=request_)
    new = owned("new", on="n1", created=NOW - 20, appeared=1)
    plan = decided(snapshot(pool(), [node("a1"), unhealthy_node("n1")], [new], moves=(held,)), UNHEALTHY)
    assert (blocked(plan).get("new") is Reason.DWELLING) is dwells


def test_its_siblings_that_were_there_before_do_not() -> None:
    gone = owned("gone", on="n2")
    old = owned("old", on="n1", created=NOW - 60)
    seen = snapshot(pool(), [node("a1"), unhealthy_node("n1")], [old], moves=(pod_move(gone, "nebius", at=NOW - 30),))
    assert moved_to(decided(seen, UNHEALTHY)) == {"old": "aws"}


@pytest.mark.parametrize("reason", [Reason.NODE_SILENT, Reason.NODE_UNKNOWN])
def test_a_pod_on_a_node_that_does_not_answer_need_not_dwell(reason: Reason) -> None:
    gone = owned("gone", on="n2")
    new = owned("new", on="n1", created=NOW - 30)
    state = pool_state(node_faults=faults_of("n1", reason=reason), unknown_since={"n1": NOW - 100})
    nodes = [node("a1"), unhealthy_node("n1", ready="Unknown")]
    seen = snapshot(pool(), nodes, [new], moves=(pod_move(gone, "nebius", at=NOW - 30),))
    assert moved_to(decided(seen, state)) == {"new": "aws"}


def test_once_its_node_answers_again_it_has_to_even_where_it_is_drained() -> None:
    gone = owned("gone", on="n2")
    new = owned("new", on="n1", created=NOW - 30)
    silent = faults_of("n1", reason=Reason.NODE_SILENT)
    clearing = {"n1": msgspec.structs.replace(silent["n1"], clear_since=NOW - 10)}
    nodes = [node("a1"), unhealthy_node("n1", ready="True")]
    drained = pool(provider("aws"), provider("nebius", drain=True), failover={"runningPods": "Move"})
    seen = snapshot(drained, nodes, [new], moves=(pod_move(gone, "nebius", at=NOW - 30),))
    assert blocked(decided(seen, pool_state(node_faults=clearing))) == {"new": Reason.DWELLING}


@pytest.mark.parametrize(("age", "dwells"), [(30, True), (100, False)])
def test_a_pod_that_started_on_a_drained_standby_lately_dwells_there(age: int, dwells: bool) -> None:
    drained = pool(
        provider("aws"),
        provider("nebius", drain=True, drain_running_pods="Move"),
        failback={"minDwellSeconds": 60},
    )
    sent = owned("sent", on="n1", created=NOW - age)
    plan = decided(snapshot(drained, [node("a1"), node("n1", taints=[QUARANTINE])], [sent]), pool_state())
    assert (blocked(plan).get("sent") is Reason.DWELLING) is dwells
    assert ("sent" in moved_to(plan)) is not dwells


def test_a_new_leader_takes_young_pods_for_moved_if_the_one_before_has_moved_any() -> None:
    before = changed(UNHEALTHY, recent_moves=((NOW - 200, MoveKind.FAILOVER),))
    pods = [owned("young", on="n1", created=NOW - 300), owned("old", on="n1", created=NOW - 900)]
    seen = snapshot(pool(), [node("a1"), unhealthy_node("n1")], pods, moves_since=NOW - 5)
    plan = decided(seen, before)
    assert moved_to(plan) == {"old": "aws"}
    assert blocked(plan) == {"young": Reason.DWELLING}
    assert plan.state.memory.moved_before == NOW - 200


def test_where_moves_are_forgotten_young_pods_count_as_moved_until_the_last_of_them_is_long_ago() -> None:
    pods = [owned("young", on="n1", created=NOW - 300), owned("old", on="n1", created=NOW - 900)]
    seen = snapshot(pool(), [node("a1"), unhealthy_node("n1")], pods, moves_forgotten=NOW - 200)
    plan = decided(seen, UNHEALTHY)
    assert moved_to(plan) == {"old": "aws"}
    assert stay_of(plan, "young").reason is Reason.DWELLING
    assert stay_of(plan, "young").until == NOW - 300 + 2 + 600
    long_ago = msgspec.structs.replace(seen, moves_forgotten=NOW - 600)
    assert set(moved_to(decided(long_ago, UNHEALTHY))) == {"young", "old"}


def test_a_new_leader_whose_predecessors_moved_no_pod_need_not() -> None:
    seen = snapshot(
        pool(), [node("a1"), unhealthy_node("n1")], [owned("young", on="n1", created=NOW - 300)], moves_since=NOW - 5
    )
    assert moved_to(decided(seen, UNHEALTHY)) == {"young": "aws"}
