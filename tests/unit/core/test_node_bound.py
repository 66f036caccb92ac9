"""Pods that a single node can take are no demand of the pool."""

from __future__ import annotations

from typing import Any

import pytest

from computepool.model.cluster import Node, Pod, Shape
from computepool.model.labels import Requirement
from computepool.model.reasons import Reason
from computepool.model.taints import Taint, Toleration
from tests.builders import node, pod, pool, provider, shape, snapshot, term
from tests.unit.core.moving import CALM, moved_to, owned
from tests.unit.core.passes import decided, holds, sent_to

HOSTNAME = "kubernetes.io/hostname"
EVERYTHING = Toleration("", "Exists")
IN_A1 = Requirement(HOSTNAME, "In", ("a1",))


def of_daemon_set(name: str, on: str, **fields: Any) -> Pod:
    """A DaemonSet's pod, as its controller makes it: it names its node, and tolerates everything here."""
    shaped = shape(1, affinity=[term(name=on)], tolerations=[EVERYTHING])
    return pod(name, shaped=shaped, owner="ds", owner_kind="DaemonSet", **fields)


def eight_nodes_with_one_full() -> list[Node]:
    return [*(node(f"a{i}") for i in range(1, 9)), node("n1"), node("c1")]


# -- which pods


@pytest.mark.parametrize(
    ("asks", "named"),
    [
        (shape(), None),
        (shape(selector={HOSTNAME: "a1"}), "a1"),
        (shape(selector={"zone": "a"}), None),
        (shape(affinity=[term(name="a1")]), "a1"),
        (shape(affinity=[term(IN_A1)]), "a1"),
        (shape(affinity=[term(IN_A1), term(name="a1")]), "a1"),
        (shape(affinity=[term(name="a1"), term(name="a2")]), None),
        (shape(affinity=[term(name="a1"), term(Requirement("zone", "In", ("a",)))]), None),
        (shape(affinity=[term(Requirement(HOSTNAME, "In", ("a1", "a2")))]), None),
        (shape(affinity=[term(Requirement(HOSTNAME, "NotIn", ("a1",)))]), None),
        (shape(affinity=[]), None),
    ],
)
def test_selectors_name_a_single_node_or_none(asks: Shape, named: str | None) -> None:
    assert asks.only_node == named
    assert pod("p", shaped=asks).node_bound is (named is not None)


# -- what they do not do


@pytest.mark.parametrize(
    "waiting",
    [
        of_daemon_set("agent", on="a1", waited=600),
        pod("pinned", shaped=shape(1, selector={HOSTNAME: "a1"}), waited=600, unschedulable=True),
        pod("named", shaped=shape(2, affinity=[term(name="a1")]), waited=600),
    ],
    ids=lambda waiting: waiting.name,
)
def test_a_pod_that_waits_for_its_full_node_neither_saturates_the_primary_nor_keeps_others_from_home(
    waiting: Pod,
) -> None:
    burst = [owned(f"web{i}", on="n1", owner=f"rs-{i}") for i in range(2)]
    of = pool(failback={"policy": "WhenStable", "maxConcurrentMoves": 3})
    plan = decided(
        snapshot(of, eight_nodes_with_one_full(), [pod("full", 8, on="a1"), waiting, *burst]),
        CALM,
    )
    assert plan.assessment.saturation.saturated is False
    assert not plan.admission.tolerations
    assert holds(plan) == {waiting.name: Reason.NODE_BOUND}
    assert moved_to(plan) == {"web0": "aws", "web1": "aws"}


def test_a_pod_of_a_node_that_is_gone_waits_and_is_sent_nowhere() -> None:
    plan = decided(snapshot(pool(), [node("a1"), node("n1")], [of_daemon_set("agent", on="a9", waited=600)]))
    assert holds(plan) == {"agent": Reason.NODE_BOUND}
    assert not plan.bursts


def test_a_pod_of_its_own_node_takes_its_place_there_before_pods_of_the_pool() -> None:
    agent, web = of_daemon_set("agent", on="a1", priority=9), pod("web", 8)
    plan = decided(snapshot(pool(), [node("a1"), node("n1")], [agent, web]))
    assert holds(plan) == {"agent": Reason.NODE_BOUND}
    assert sent_to(plan) == {"web": "nebius"}


def test_a_pod_of_a_standbys_node_takes_its_place_there() -> None:
    agent, web = of_daemon_set("agent", on="n1"), pod("web", 8)
    plan = decided(snapshot(pool(), [node("a1"), node("n1"), node("c1")], [agent, web, pod("x", 8, on="a1")]))
    assert sent_to(plan) == {"web": "crusoe"}


def test_an_agent_that_tolerates_everything_counts_against_no_standbys_limit() -> None:
    limited = (provider("aws"), provider("nebius", max_accelerators=8))
    seen = snapshot(
        pool(*limited), [node("a1"), node("n1")], [pod("x", 8, on="a1"), of_daemon_set("agent", on="a1"), pod("web", 8)]
    )
    assert sent_to(decided(seen)) == {"web": "nebius"}


def test_a_pod_that_names_a_node_of_a_standby_gets_the_standbys_toleration() -> None:
    named = pod("named", shaped=shape(1, selector={HOSTNAME: "n1"}))
    plan = decided(snapshot(pool(), [node("a1"), node("n1")], [named]))
    assert sent_to(plan) == {"named": "nebius"}
    assert plan.assessment.saturation.saturated is False


def test_a_pod_that_names_a_node_behind_a_taint_of_its_own_team_is_sent_there() -> None:
    team = Taint("team", "vision", "NoSchedule")
    nodes = [node("a1"), node("n1"), node("n2", taints=[team], labels={"kubernetes.io/hostname": "n2"})]
    tolerated = Toleration("team", "Equal", "vision", "NoSchedule")
    mine = pod("mine", shaped=shape(1, selector={"kubernetes.io/hostname": "n2"}, tolerations=[tolerated]))
    plan = decided(snapshot(pool(), nodes, [pod("x", 8, on="a1"), pod("y", 8, on="n1"), mine, pod("ordinary")]))
    assert sent_to(plan)["mine"] == "nebius"
