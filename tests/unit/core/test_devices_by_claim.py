"""Accelerators that are served by DRA: the node's amounts do not show them, so they are unknown."""

from __future__ import annotations

from typing import Any

import pytest

from computepool.model.cluster import Node, Pod
from computepool.model.reasons import Reason
from computepool.model.state import PoolState
from tests.builders import GPU, NOW, node, pod, pool, pool_state, shape, snapshot
from tests.unit.core.moving import faults_of, moved_to, opened, owned
from tests.unit.core.passes import Decided, decided, sent_to
from tests.unit.report.passes import report_on, said

CAPACITIES = pytest.mark.parametrize("capacity", [0, 8], ids=["no capacity", "the capacity of an earlier plugin"])


def served(name: str, capacity: int = 0, **fields: Any) -> Node:
    return node(name, 0, capacity=capacity, **fields)


def claiming(name: str, on: str, gpus: int = 1) -> Pod:
    return owned(name, gpus, on=on, ready=True, claimed=(GPU,))


def over_time(nodes: list[Node], pods: list[Pod], *, last: float = 4000, state: PoolState | None = None) -> Decided:
    """The last of many passes over the same cluster; none of them moves a pod."""
    now = 0.0
    while True:
        plan = decided(snapshot(pool(failover={"runningPods": "Move"}), nodes, pods), state, NOW + now)
        state = plan.state
        assert plan.moves == ()
        if now >= last:
            return plan
        now += 30


@CAPACITIES
def test_a_primary_with_only_such_nodes_freezes_the_pool_with_a_sentence(capacity: int) -> None:
    nodes = [served("a1", capacity), served("a2", capacity), node("n1")]
    pods = [claiming(f"p{number}", on) for number, on in enumerate(("a1", "a1", "a1", "a2", "a2", "a2"))]
    plan = over_time(nodes, [*pods, pod("waits")])
    assert "dynamic resource allocation" in plan.frozen
    assert "'aws'" in plan.frozen
    assert sent_to(plan) == {}
    assert plan.assessment.health.providers["aws"].unhealthy == {}


@CAPACITIES
def test_standby_nodes_of_that_kind_are_neither_supply_nor_unhealthy(capacity: int) -> None:
    nodes = [node("a1"), served("n1", capacity), node("n2")]
    full = pod("full", 8, on="a1")
    plan = over_time(nodes, [full, claiming("p", "n1"), pod("big", 8), pod("more", 8)])
    (nebius,) = [supply for supply in plan.assessment.supplies if supply.provider.name == "nebius"]
    assert [info.node.name for info in nebius.usable] == ["n2"]
    assert (nebius.unusable, nebius.allocated) == (0, 0)
    assert not plan.frozen
    assert len(sent_to(plan)) == 1
    assert plan.quarantine == {}


def test_a_node_whose_plugin_gives_way_to_claims_is_not_sick() -> None:
    before = pool_state(node_faults=faults_of("n1", reason=Reason.DEVICE_PLUGIN_GONE), joined=frozenset({"n1"}))
    plan = over_time([node("a1"), served("n1", 8), node("n2")], [claiming("p", "n1")], state=before)
    assert plan.assessment.health.nodes == {}


def test_a_pod_of_the_pool_with_claims_of_its_own_makes_the_devices_unknown_too() -> None:
    web = owned("web", on="n1", ready=True, shaped=shape(1, unmodelled=["resourceClaims"]))
    plan = over_time([node("a1"), served("n1", 8), node("n2")], [web])
    assert plan.assessment.supplies[1].uncounted == {"n1"}


def test_claims_of_other_resources_say_nothing() -> None:
    web = owned("web", on="n1", ready=True, claimed=("example.com/nic",))
    plan = decided(snapshot(pool(), [node("a1"), served("n1", 8), node("n2")], [web]))
    assert plan.assessment.supplies[1].uncounted == frozenset()


def test_a_node_with_allocatable_devices_is_counted_whatever_claims_there_are() -> None:
    plan = decided(snapshot(pool(), [node("a1", 4), node("n1")], [claiming("p", "a1")]))
    assert not plan.frozen
    assert plan.assessment.primary.allocatable == 4000


def test_such_a_node_that_is_dead_is_tainted_and_left_like_any_other() -> None:
    web = claiming("web", "n1")
    faulty = pool_state(node_faults=faults_of("n1"))
    seen = snapshot(pool(), [node("a1"), served("n1", ready="False"), node("n2")], [web])
    plan = decided(seen, faulty)
    assert plan.quarantine == {"n1": Reason.NODE_NOT_READY}
    assert plan.moves == ()
    tainted = served("n1", ready="False", quarantine="NodeNotReady")
    assert moved_to(decided(snapshot(pool(), [node("a1"), tainted, node("n2")], [web]), faulty)) == {"web": "aws"}


def test_a_primary_of_that_kind_that_has_failed_freezes_nothing() -> None:
    seen = snapshot(pool(), [served("a1"), node("n1")], [claiming("p", "a1"), pod("waits")])
    plan = decided(seen, pool_state(breakers={"aws": opened()}))
    assert not plan.frozen
    assert sent_to(plan) == {"waits": "nebius"}


def test_the_conditions_name_the_nodes_and_say_why() -> None:
    nodes = [served("a1"), node("n1")]
    report = report_on(nodes=nodes, pods=[claiming("p", "a1")])
    status, reason, message = said(report, "Ready")
    assert (status, reason) == ("False", "DevicesUnknown")
    assert "dynamic resource allocation" in message
    status, reason, message = said(report, "Degraded")
    assert (status, reason) == ("True", "DevicesUnknown")
    assert "a1 of aws" in message
