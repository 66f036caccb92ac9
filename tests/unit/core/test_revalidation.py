"""The revalidation just before a running pod is evicted: of the view, its source and its target."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from computepool.assess.assessment import Assessment, assess
from computepool.decide.move.revalidate import Revalidation
from computepool.decide.plan import Move
from computepool.model.cluster import Node, Pod
from computepool.model.moves import MoveKind
from computepool.model.reasons import Reason
from computepool.model.signals import Answer, Samples, SignalData
from computepool.model.state import Breaker, Saturation
from tests.builders import GPU, NOW, node, pool, pool_state, snapshot
from tests.unit.core.moving import faults_of, half_open, opened, owned, unhealthy_node

UNHEALTHY, WELL = unhealthy_node("a1"), node("a1")
LEAVES = Move(owned("p", 2, on="a1"), "aws", "nebius", MoveKind.FAILOVER, Reason.LEAVES_SICK_NODE)
COMES = Move(owned("p", 2, on="n1"), "nebius", "aws", MoveKind.FAILBACK, Reason.COMES_HOME)


def found(
    nodes: Sequence[Node],
    pods: Sequence[Pod] = (),
    saturated: bool = False,
    unhealthy: Sequence[str] = (),
    **breakers: Breaker,
) -> Assessment:
    """The verdicts of the latest pass."""
    state = pool_state(Saturation(saturated), node_faults=faults_of(*unhealthy), breakers=breakers)
    return assess(snapshot(pool(), nodes, pods), state, NOW)


def holds(move: Move, assessment: Assessment) -> bool:
    return Revalidation(assessment, GPU, NOW).why_not(move) is None


def test_a_pod_leaves_a_node_that_is_still_unhealthy_for_one_that_still_has_room() -> None:
    assert holds(LEAVES, found([UNHEALTHY, node("n1")], [LEAVES.pod], unhealthy=["a1"]))
    assert not holds(LEAVES, found([UNHEALTHY, node("n1", 1)], [LEAVES.pod], unhealthy=["a1"]))


def test_each_that_passes_takes_its_place_from_the_next() -> None:
    recheck = Revalidation(found([UNHEALTHY, node("n1", 3)], [LEAVES.pod], unhealthy=["a1"]), GPU, NOW)
    assert [recheck.why_not(LEAVES), recheck.why_not(LEAVES)] == [None, Reason.NO_ROOM]


def test_a_pod_stays_on_a_node_that_is_well_by_now() -> None:
    assert not holds(LEAVES, found([WELL, node("a2"), node("n1")], [LEAVES.pod]))


def test_a_pod_leaves_a_well_node_only_while_its_provider_has_failed() -> None:
    lost = [unhealthy_node("a2"), unhealthy_node("a3")]
    failing = found([WELL, *lost, node("n1")], [LEAVES.pod], unhealthy=["a2", "a3"], aws=opened())
    assert holds(LEAVES, failing)
    assert not holds(LEAVES, found([WELL, node("n1")], [LEAVES.pod], aws=opened()))
    assert not holds(LEAVES, found([WELL, node("n1")], [LEAVES.pod], aws=half_open("a1")))


def test_a_pod_stays_on_a_node_that_was_unhealthy_and_is_well_since_a_moment() -> None:
    assert not holds(LEAVES, found([WELL, node("n1")], [LEAVES.pod], unhealthy=["a1"]))


def test_no_pod_is_moved_by_a_view_that_is_not_trusted() -> None:
    seen = found([UNHEALTHY, node("n1")], [LEAVES.pod], unhealthy=["a1"])
    replace = msgspec.structs.replace
    all_silent = replace(seen, health=replace(seen.health, all_silent="all heartbeats have stopped"))
    exceeded = replace(seen, breakers=replace(seen.breakers, exceeded="2 of 3 providers have failed"))
    assert not holds(LEAVES, all_silent)
    assert not holds(LEAVES, exceeded)


def test_no_pod_comes_home_to_a_saturated_primary_except_its_canary() -> None:
    nodes = [WELL, node("n1")]
    assert holds(COMES, found(nodes, [COMES.pod]))
    assert not holds(COMES, found(nodes, [COMES.pod], saturated=True))
    assert holds(COMES, found(nodes, [COMES.pod], aws=half_open("a1")))
    assert not holds(COMES, found(nodes, [COMES.pod], aws=opened()))


def test_a_provider_that_the_pool_has_lost_takes_no_pod() -> None:
    lost = msgspec.structs.replace(LEAVES, target="elsewhere")
    assert not holds(lost, found([UNHEALTHY, node("n1")], [LEAVES.pod], unhealthy=["a1"]))


def test_nobody_comes_home_if_a_signal_has_become_unknown_since() -> None:
    of = pool(metrics=[{"name": "backlog", "query": "backlog", "enter": "5", "exit": "1"}])
    nodes, known = [node("a1"), node("n1")], SignalData(Answer(NOW, whole=Samples((0.0,))))
    for data, moves in ((known, True), (SignalData(error="down"), False)):
        view = snapshot(of, nodes, [COMES.pod], signals={"saturation/backlog": data})
        for breakers in ({}, {"aws": half_open("a1")}):
            assert holds(COMES, assess(view, pool_state(breakers=breakers), NOW)) is moves
