"""When a node counts as unhealthy, and when it counts as healthy again."""

from __future__ import annotations

from typing import Any

import pytest

from computepool.model.api import BreakerState
from computepool.model.cluster import Node
from computepool.model.reasons import Reason
from computepool.model.state import Breaker, NodeFault
from computepool.model.taints import Taint
from tests.builders import NOW, node, pod, pool, pool_state
from tests.unit.core.watching import Watch

WELL = [node(f"a{index}") for index in range(2, 10)]
"""Others, so that one unhealthy node is no failure of its provider."""


def watching(first: Node | None = None, **health: Any) -> Watch:
    """A watch that has seen the node healthy."""
    watch = Watch(pool(health=health))
    watch.see(-1000, [first or node("a1"), *WELL])
    return watch


AT_ONCE = {
    "unknown": (node("a1", ready="Unknown"), Reason.NODE_UNKNOWN),
    "about to go": (node("a1", taints=[Taint("node.kubernetes.io/out-of-service")]), Reason.REMOVAL_ANNOUNCED),
    "spot": (node("a1", taints=[Taint("aws-node-termination-handler/spot-itn")]), Reason.REMOVAL_ANNOUNCED),
}
SUSTAINED = {
    "not ready": (node("a1", ready="False"), Reason.NODE_NOT_READY),
    "bad where true": (node("a1", conditions={"XIDErrors": "True"}), Reason.NODE_CONDITION),
    "bad where false": (node("a1", conditions={"AcceleratedHardwareReady": "False"}), Reason.NODE_CONDITION),
    "no device left": (node("a1", 0, capacity=8), Reason.DEVICE_PLUGIN_GONE),
    "most devices gone": (node("a1", 3, capacity=8), Reason.DEVICES_MISSING),
}
NO_FAULT = {
    "well": node("a1"),
    "good where false": node("a1", conditions={"XIDErrors": "False"}),
    "good where true": node("a1", conditions={"AcceleratedHardwareReady": "True"}),
    "can't be told": node("a1", conditions={"XIDErrors": "Unknown", "AcceleratedHardwareReady": "Unknown"}),
    "not listed": node("a1", conditions={"DiskPressure": "True"}),
    "some devices gone": node("a1", 4, capacity=8),
    "cordoned": node("a1", cordoned=True),
    "going": node("a1", ready="False", deleting=True),
    "scaled down": node("a1", ready="Unknown", taints=[Taint("ToBeDeletedByClusterAutoscaler", "1", "NoSchedule")]),
    "consolidated": node("a1", ready="False", taints=[Taint("karpenter.sh/disrupted", "", "NoSchedule")]),
}


@pytest.mark.parametrize(("faulty", "reason"), AT_ONCE.values(), ids=AT_ONCE.keys())
def test_what_was_waited_for_already_counts_at_once(faulty: Node, reason: Reason) -> None:
    watch = watching()
    watch.see(0, [faulty, *WELL])
    assert watch.unhealthy() == {"a1": reason}


@pytest.mark.parametrize(("faulty", "reason"), SUSTAINED.values(), ids=SUSTAINED.keys())
def test_other_faults_count_once_they_have_lasted(faulty: Node, reason: Reason) -> None:
    watch = watching(sustainSeconds=30)
    found = watch.see(0, [faulty, *WELL])
    assert watch.unhealthy() == {}
    assert found.recheck_at == NOW + 30
    watch.see(29.9, [faulty, *WELL])
    assert watch.unhealthy() == {}
    watch.see(30, [faulty, *WELL])
    assert watch.unhealthy() == {"a1": reason}


@pytest.mark.parametrize("fine", NO_FAULT.values(), ids=NO_FAULT.keys())
def test_these_are_no_faults(fine: Node) -> None:
    watch = watching()
    for now in (0, 1000):
        watch.see(now, [fine, *WELL])
        assert watch.fault("a1") is None


def test_a_fault_says_what_it_is_about() -> None:
    watch = watching(sustainSeconds=0)
    watch.see(0, [node("a1", conditions={"GPUMissing": "True", "XIDErrors": "True"}), *WELL])
    assert watch.provider().unhealthy["a1"].detail == "GPUMissing=True, XIDErrors=True"
    watch.see(1, [node("a1", 2, capacity=8), *WELL])
    assert watch.provider().unhealthy["a1"].detail == "6 of 8"


def test_conditions_and_taints_are_those_of_the_spec() -> None:
    watch = watching(
        sustainSeconds=0,
        conditions=[{"type": "Haunted", "badStatus": "True"}],
        removalTaints=["karpenter.sh/disrupted"],
    )
    watch.see(0, [node("a1", conditions={"Haunted": "True"}), *WELL])
    assert watch.unhealthy() == {"a1": Reason.NODE_CONDITION}
    watch.see(1, [node("a1", taints=[Taint("karpenter.sh/disrupted")]), *WELL])
    assert watch.unhealthy() == {"a1": Reason.REMOVAL_ANNOUNCED}


def test_the_worst_fault_is_reported() -> None:
    watch = watching(sustainSeconds=0)
    bad = {"XIDErrors": "True"}
    watch.see(0, [node("a1", 0, capacity=8, ready="Unknown", conditions=bad), *WELL])
    assert watch.unhealthy() == {"a1": Reason.NODE_UNKNOWN}
    watch.see(1, [node("a1", 0, capacity=8, ready="False", conditions=bad), *WELL])
    assert watch.unhealthy() == {"a1": Reason.NODE_NOT_READY}
    watch.see(2, [node("a1", 0, capacity=8, conditions=bad), *WELL])
    assert watch.unhealthy() == {"a1": Reason.NODE_CONDITION}


def test_a_node_whose_pods_hold_devices_that_it_does_not_have_has_lost_its_plugin() -> None:
    watch = watching(sustainSeconds=0)
    watch.see(0, [node("a1", 0), *WELL], [pod("p", 8, on="a1")])
    assert watch.unhealthy() == {"a1": Reason.DEVICE_PLUGIN_GONE}


# -- how long


def test_one_fault_after_another_is_one_trouble() -> None:
    watch = watching(sustainSeconds=30)
    watch.see(0, [node("a1", ready="False"), *WELL])
    watch.see(20, [node("a1", conditions={"XIDErrors": "True"}), *WELL])
    watch.see(30, [node("a1", conditions={"GPUMissing": "True"}), *WELL])
    assert watch.fault("a1") == NodeFault(Reason.NODE_CONDITION, "GPUMissing=True", NOW, unhealthy=True, run_since=NOW)


def test_a_gap_neither_restarts_the_timer_nor_counts() -> None:
    watch, ill = watching(sustainSeconds=30, clearSeconds=120), node("a1", ready="False")
    for since in (0, 40, 80):
        watch.see(since, [ill, *WELL])
        watch.see(since + 9.9, [ill, *WELL])
        assert watch.unhealthy() == {}
        watch.see(since + 10, [node("a1"), *WELL])
    watch.see(120, [ill, *WELL])
    assert watch.unhealthy() == {"a1": Reason.NODE_NOT_READY}


def test_a_long_gap_restarts_the_timer() -> None:
    watch, ill = watching(sustainSeconds=30, clearSeconds=120), node("a1", ready="False")
    watch.see(0, [ill, *WELL])
    watch.see(29, [node("a1"), *WELL])
    watch.see(149, [ill, *WELL])
    began = NOW + 149
    again = NodeFault(Reason.NODE_NOT_READY, "", began, unhealthy=False, confirm_at=began + 30, run_since=began)
    assert watch.fault("a1") == again


def test_an_unhealthy_node_is_healthy_after_clear_seconds_without_a_fault() -> None:
    watch, ill = watching(clearSeconds=120), node("a1", ready="Unknown")
    watch.see(0, [ill, *WELL])
    found = watch.see(10, [node("a1"), *WELL])
    assert watch.unhealthy() == {"a1": Reason.NODE_UNKNOWN}
    assert found.recheck_at == NOW + 130
    watch.see(100, [ill, *WELL])
    watch.see(110, [node("a1"), *WELL])
    watch.see(229.9, [node("a1"), *WELL])
    assert watch.provider().unhealthy["a1"].since == NOW
    watch.see(230, [node("a1"), *WELL])
    assert watch.fault("a1") is None


def test_a_node_that_is_gone_is_forgotten() -> None:
    watch = watching()
    watch.see(0, [node("a1", ready="Unknown"), *WELL])
    watch.see(1, WELL)
    assert dict(watch.state.memory.node_faults) == {}


def test_a_node_that_is_unhealthy_or_in_quarantine_or_taken_away_is_no_supply() -> None:
    watch = watching()
    leaving = node("a2", taints=[Taint("karpenter.sh/disrupted", "", "NoSchedule")])
    watch.see(0, [node("a1", taints=[Taint("node.kubernetes.io/out-of-service")]), leaving, *WELL[1:]])
    assert watch.usable() == [f"a{index}" for index in range(3, 10)]
    watch.see(1000, [node("a1", quarantine="NodeUnknown"), *WELL])
    assert "a1" not in watch.usable()


# -- nodes that come


@pytest.mark.parametrize("young", [node("a1", 0, ready="False"), node("a1", 0, ready="Unknown"), node("a1", 0)])
def test_a_node_that_is_just_joining_is_not_unhealthy(young: Node) -> None:
    watch = Watch(pool(health={"sustainSeconds": 0}))
    watch.see(0, WELL)
    for now in (1, 500):
        watch.see(now, [young, *WELL])
        assert watch.fault("a1") is None
    watch.see(501, [node("a1"), *WELL])
    watch.see(502, [node("a1", ready="False"), *WELL])
    assert watch.unhealthy() == {"a1": Reason.NODE_NOT_READY}


def test_a_provider_whose_nodes_are_all_just_joining_can_not_be_judged() -> None:
    watch = Watch(pool())
    watch.see(0, WELL)
    watch.see(1, [*WELL, node("n1", ready="Unknown"), node("n2", ready="False")])
    assert not watch.provider("nebius").known
    assert watch.provider("nebius").failing is None


def test_a_new_node_whose_hardware_reports_a_fault_is_unhealthy() -> None:
    watch = Watch(pool(health={"sustainSeconds": 0}))
    watch.see(0, WELL)
    watch.see(1, [node("a1", conditions={"XIDErrors": "True"}), *WELL])
    assert watch.unhealthy() == {"a1": Reason.NODE_CONDITION}


# -- after a restart


def test_in_the_first_pass_a_lost_node_with_pods_is_unhealthy_and_a_node_without_may_just_be_joining() -> None:
    watch = Watch()
    watch.see(0, [node("a1", ready="Unknown"), node("a0", ready="Unknown"), *WELL], [pod("p", on="a1")])
    assert watch.unhealthy() == {"a1": Reason.NODE_UNKNOWN}


def test_a_node_found_in_quarantine_is_unhealthy_until_clear_seconds_passed_without_a_fault() -> None:
    watch = Watch(pool(health={"clearSeconds": 120}))
    tainted = node("a1", quarantine="NodeNotReady")
    watch.see(0, [tainted, *WELL])
    assert watch.unhealthy() == {"a1": Reason.NODE_NOT_READY}
    watch.see(119.9, [tainted, *WELL])
    assert watch.unhealthy() == {"a1": Reason.NODE_NOT_READY}
    # The node has its taint until it is removed, and the removal does not make the node unhealthy.
    for now in (120, 121):
        watch.see(now, [tainted, *WELL])
        assert watch.fault("a1") is None


def test_a_quarantine_that_the_breaker_explains_makes_no_node_unhealthy() -> None:
    opened = Breaker(BreakerState.OPEN, Reason.PROVIDER_SILENT, NOW - 10, NOW + 50, 1)
    for value, state in (
        ("ProviderSilent", pool_state()),
        ("NodeUnknown", pool_state(breakers={"aws": opened})),
        ("Haunted", pool_state()),
    ):
        watch = Watch(state=state)
        watch.see(0, [node("a1", quarantine=value), *WELL])
        assert watch.fault("a1") is None
