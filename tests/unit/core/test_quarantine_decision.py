"""Which nodes should have the operator's taint."""

from __future__ import annotations

import pytest

from computepool.model.api import BreakerState
from computepool.model.reasons import Reason
from computepool.model.state import Breaker, Saturation
from tests.builders import node, pool, pool_state, provider, snapshot
from tests.unit.core.moving import QUARANTINE, faults_of, half_open, moved_to, opened, owned, unhealthy_node
from tests.unit.core.passes import decided

NODES = [node("a1"), unhealthy_node("n1"), node("n2"), node("n3"), node("c1")]


@pytest.mark.parametrize(
    ("breaker", "expected"),
    [
        (Breaker(), {"n1": Reason.NODE_NOT_READY}),
        (opened(), dict.fromkeys(("n1", "n2", "n3"), Reason.PROVIDER_UNHEALTHY)),
        (half_open("n2"), dict.fromkeys(("n1", "n3"), Reason.PROVIDER_UNHEALTHY)),
    ],
    ids=["closed", "open", "half-open"],
)
def test_unhealthy_nodes_and_nodes_of_unused_providers_are_in_quarantine(
    breaker: Breaker, expected: dict[str, Reason]
) -> None:
    state = pool_state(node_faults=faults_of("n1"), breakers={"nebius": breaker})
    for mode in ("Enforce", "Observe"):
        assert decided(snapshot(pool(mode=mode), NODES), state).quarantine == expected


def test_a_node_that_is_well_again_is_to_carry_none() -> None:
    seen = snapshot(pool(), [node("a1"), node("n1", taints=[QUARANTINE]), node("n2")])
    assert decided(seen, pool_state(node_faults=faults_of("n2"))).quarantine is not None
    assert "n2" in (decided(seen, pool_state(node_faults=faults_of("n2"))).quarantine or {})
    assert decided(snapshot(pool(), [node("a1"), node("n2")])).quarantine == {}


def test_a_drained_provider_is_quarantined() -> None:
    of = pool(provider("aws"), provider("nebius") | {"drain": True})
    plan = decided(snapshot(of, [node("a1"), node("n1")]))
    assert plan.state.breaker("nebius").state is BreakerState.OPEN
    assert plan.quarantine == {"n1": Reason.DRAINED}


def test_while_nothing_can_be_told_taints_stay_as_they_are() -> None:
    state = pool_state(node_faults=faults_of("n1"))
    assert decided(snapshot(pool(), NODES, stale="lost"), state).quarantine is None
    assert decided(snapshot(pool(), NODES[1:]), state).quarantine is None


def test_a_node_that_offers_no_accelerators_carries_none_so_that_what_brings_them_can_come() -> None:
    nodes = [node("a1"), node("n1", 0, capacity=8), node("n2"), node("n3", 0, ready="False")]
    gone = pool_state(node_faults=faults_of("n1", reason=Reason.DEVICE_PLUGIN_GONE), joined=frozenset({"n1"}))
    assert decided(snapshot(pool(), nodes), gone).quarantine == {}
    opening = pool_state(breakers={"nebius": opened()}, joined=frozenset({"n1"}))
    assert decided(snapshot(pool(), nodes), opening).quarantine == {"n2": Reason.PROVIDER_UNHEALTHY}


def test_pods_leave_a_node_that_offers_no_accelerators_without_a_taint() -> None:
    nodes = [node("a1", 0, capacity=8), node("a2"), node("a3"), node("n1")]
    state = pool_state(Saturation(False), node_faults=faults_of("a1", reason=Reason.DEVICE_PLUGIN_GONE))
    assert moved_to(decided(snapshot(pool(), nodes, [owned("p", on="a1", failing=True)]), state)) == {"p": "aws"}
