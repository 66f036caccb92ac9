"""Node conditions of Kubernetes' node lifecycle: planned states, which are no failure of the provider."""

from __future__ import annotations

from typing import Any

import pytest

from computepool.assess.health.faults import AUTOSCALER_TAINTS, LIFECYCLE, Lifecycle
from computepool.model.reasons import Reason
from computepool.model.taints import Taint
from tests.builders import NOW, node, pod, pool, pool_state, snapshot
from tests.unit.core.moving import faults_of, moved_to, owned
from tests.unit.core.passes import Decided, decided, sent_to
from tests.unit.core.watching import Watch

ALL = pytest.mark.parametrize("kind", LIFECYCLE)


def of(effect: Lifecycle) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("kind", [kind for kind, found in LIFECYCLE.items() if found is effect])


def one_pass(kind: str, *, status: str = "True", quarantine: str | None = None) -> Decided:
    """The primary is full, and the first of two nodes of nebius has the condition and a pod."""
    nodes = [node("a1"), node("n1", conditions={kind: status}, quarantine=quarantine), node("n2"), node("c1")]
    pods = [pod("full", 8, on="a1"), owned("runs", on="n1", ready=True), pod("full-2", 8, on="n2"), pod("new")]
    return decided(snapshot(pool(), nodes, pods))


@ALL
def test_no_pod_is_sent_to_a_node_for_which_something_is_planned(kind: str) -> None:
    assert sent_to(one_pass(kind)) == {"new": "crusoe"}
    assert sent_to(one_pass(kind, status="False")) == {"new": "nebius"}
    assert sent_to(one_pass(kind, status="Unknown")) == {"new": "nebius"}


@of(Lifecycle.ENDS)
def test_pods_leave_a_node_that_ends_soon(kind: str) -> None:
    seen = one_pass(kind)
    assert seen.quarantine == {"n1": Reason.REMOVAL_ANNOUNCED}
    assert seen.assessment.health.nodes["n1"].detail == kind
    assert moved_to(one_pass(kind, quarantine="RemovalAnnounced")) == {"runs": "crusoe"}


@of(Lifecycle.IS_DRAINED)
def test_a_node_that_others_drain_has_no_fault_even_once_it_is_gone(kind: str) -> None:
    watch = Watch(pool(health={"sustainSeconds": 0}))
    others = [node("n1"), node("a1")]
    for now, ready in ((0, "True"), (10, "False"), (60, "Unknown")):
        watch.see(now, [*others, node("n2", ready=ready, conditions={kind: "True"})])
        assert watch.fault("n2") is None


@of(Lifecycle.IS_DRAINED)
def test_the_operator_moves_no_pod_off_a_node_that_others_drain(kind: str) -> None:
    plan = one_pass(kind)
    assert (plan.moves, plan.blocked, plan.quarantine) == ((), (), {})


LOST_WHILE_DRAINED = [
    *({"conditions": {kind: "True"}} for kind, effect in LIFECYCLE.items() if effect is Lifecycle.IS_DRAINED),
    *({"taints": [Taint(key, "", "NoSchedule")]} for key in sorted(AUTOSCALER_TAINTS)),
    {"deleting": True},
]


@pytest.mark.parametrize("fields", LOST_WHILE_DRAINED, ids=repr)
def test_pods_leave_a_node_that_is_lost_while_others_drain_it_and_its_provider_has_not_failed(
    fields: dict[str, Any],
) -> None:
    of = pool(failover={"silenceSeconds": 90})
    running, others = owned("runs", on="n1", ready=True), [node("a1"), node("n2")]
    state = None
    for now in (0, 89, 90):
        quarantine = "NodeUnknown" if now else None
        lost = node("n1", ready="Unknown", quarantine=quarantine, **fields)
        plan = decided(snapshot(of, [*others, lost], [running]), state, NOW + now)
        assert plan.quarantine == {"n1": Reason.NODE_UNKNOWN}
        assert moved_to(plan) == ({"runs": "aws"} if now == 90 else {})
        assert plan.state.breaker("nebius").closed
        state = plan.state
    answers = node("n1", ready="False", quarantine="NodeUnknown", **fields)
    plan = decided(snapshot(of, [*others, answers], [running]), state, NOW + 91)
    assert (moved_to(plan), plan.quarantine) == ({}, {})


@of(Lifecycle.IS_AVOIDED)
def test_a_node_whose_maintenance_is_planned_keeps_its_pods_until_it_has_a_fault(kind: str) -> None:
    plan = one_pass(kind)
    assert (plan.moves, plan.blocked, plan.quarantine) == ((), (), {})
    faulty = node("n1", ready="False", conditions={kind: "True"}, quarantine="NodeNotReady")
    seen = snapshot(pool(), [node("a1"), faulty, node("n2")], [owned("runs", on="n1")])
    assert moved_to(decided(seen, pool_state(node_faults=faults_of("n1")))) == {"runs": "aws"}


@pytest.mark.parametrize("kind", [kind for kind, effect in LIFECYCLE.items() if effect is not Lifecycle.IS_AVOIDED])
@pytest.mark.parametrize("ready", ["True", "False", "Unknown"])
def test_maintenance_of_all_nodes_of_a_provider_is_no_failure_of_it(kind: str, ready: str) -> None:
    watch = Watch(pool(health={"sustainSeconds": 0}))
    names = ("n1", "n2", "n3")
    watch.see(0, [node("a1"), *map(node, names)])
    for now in (1, 100):
        watch.see(now, [node("a1"), *(node(name, ready=ready, conditions={kind: "True"}) for name in names)])
        assert watch.provider("nebius").failing is None
        assert watch.breaker("nebius").closed


@of(Lifecycle.IS_AVOIDED)
def test_a_provider_that_fails_before_its_planned_maintenance_has_failed(kind: str) -> None:
    watch = Watch(pool())
    names = ("n1", "n2", "n3")
    watch.see(0, [node("a1"), *map(node, names)])
    watch.see(1, [node("a1"), *(node(name, ready="Unknown", conditions={kind: "True"}) for name in names)])
    assert watch.provider("nebius").failing is Reason.PROVIDER_UNHEALTHY


@ALL
def test_a_condition_that_the_spec_lists_is_a_fault(kind: str) -> None:
    watch = Watch(pool(health={"sustainSeconds": 0, "conditions": [{"type": kind, "badStatus": "True"}]}))
    others = [node(f"a{number}") for number in range(2, 6)]
    watch.see(0, [*others, node("a1", conditions={kind: "True"})])
    assert watch.unhealthy() == {"a1": Reason.NODE_CONDITION}
