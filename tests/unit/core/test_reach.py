"""Free accelerators that the pool's pods can't use are no capacity of the pool."""

from __future__ import annotations

from typing import Any

from computepool.model.cluster import Node, Pod
from computepool.model.quantity import MILLI
from computepool.model.reasons import Reason
from computepool.model.taints import Taint, Toleration
from tests.builders import node, pod, pool, provider, shape, snapshot
from tests.unit.core.moving import CALM, blocked, moved_to, owned
from tests.unit.core.passes import Decided, decided, sent_to

TEAM = Taint("team", "vision", "NoSchedule")
OF_TEAM = Toleration("team", "Equal", "vision", "NoSchedule")
HEADROOM = {"policy": "WhenStable", "headroomPercent": 20}


def free_of(plan: Decided, name: str) -> tuple[int, int]:
    supply = plan.assessment.supply(name)
    assert supply is not None
    return supply.allocatable // MILLI, supply.free // MILLI


def home(second: Node, *pods: Pod, **spec: Any) -> Decided:
    """A pass in which seven of a1's eight accelerators are used, and a pod on a standby may come home."""
    of = pool(failback=HEADROOM, **spec)
    return decided(snapshot(of, [node("a1"), second, node("n1")], [pod("x", 7, on="a1"), *pods]), CALM)


def test_devices_behind_another_teams_taint_are_no_headroom() -> None:
    plan = home(node("a2", taints=[TEAM]), owned("web", on="n1"))
    assert free_of(plan, "aws") == (8, 1)
    assert blocked(plan) == {"web": Reason.WOULD_STRAND}


def test_devices_on_a_cordoned_node_are_no_headroom() -> None:
    assert not home(node("a2", cordoned=True), owned("web", on="n1")).moves


def test_devices_behind_a_taint_are_headroom_only_for_pods_that_tolerate_it() -> None:
    runs = pod("vision", shaped=shape(1, tolerations=[OF_TEAM]), on="a2")
    back = owned("back", on="n1", shaped=shape(1, tolerations=[OF_TEAM]), owner="rs-2")
    plan = home(node("a2", taints=[TEAM]), runs, back, owned("web", on="n1"))
    assert free_of(plan, "aws") == (16, 8)
    assert (moved_to(plan), blocked(plan)) == ({"back": "aws"}, {"web": Reason.WOULD_STRAND})


def test_devices_that_selectors_exclude_are_no_headroom() -> None:
    zoned = [owned(f"web-{zone}", on="n1", owner=zone, shaped=shape(1, selector={"zone": zone})) for zone in ("a", "b")]
    of = pool(failback=HEADROOM)
    nodes = [node("a1", labels={"zone": "a"}), node("a2", labels={"zone": "b"}), node("n1")]
    plan = decided(snapshot(of, nodes, [pod("x", 7, on="a1"), *zoned]), CALM)
    assert (moved_to(plan), blocked(plan)) == ({"web-b": "aws"}, {"web-a": Reason.WOULD_STRAND})


def test_devices_of_a_node_without_any_cpu_left_are_no_headroom() -> None:
    for cpu, moved in ((0, {}), (4, {"web": "aws"})):
        web = owned("web", on="n1", shaped=shape(1, more={"cpu": 1}))
        assert moved_to(home(node("a2", room={"cpu": cpu}), web)) == moved


def test_pods_that_come_home_in_one_pass_use_up_the_headroom() -> None:
    webs = [owned(f"web-{index}", on="n1", owner=f"rs-{index}", namespace=f"team-{index}") for index in range(9)]
    of = pool(failback={**HEADROOM, "maxConcurrentMoves": 20, "perMinute": None})
    plan = decided(snapshot(of, [node("a1"), node("a2"), node("n1", 16)], [pod("x", 7, on="a1"), *webs]), CALM)
    # Of 16 accelerators, four stay free.
    assert len(plan.moves) == 5


def test_a_taint_that_only_prefers_keeps_no_device_from_the_pool() -> None:
    soft = Taint("team", "vision", "PreferNoSchedule")
    assert moved_to(home(node("a2", taints=[soft]), owned("web", on="n1"))) == {"web": "aws"}


def test_an_agent_that_tolerates_everything_opens_no_node_to_the_pool() -> None:
    agent = pod("agent", shaped=shape(1, tolerations=[Toleration("", "Exists")]), on="a2", owner_kind="DaemonSet")
    assert blocked(home(node("a2", taints=[TEAM]), agent, owned("web", on="n1"))) == {"web": Reason.WOULD_STRAND}


def test_a_primary_whose_usable_nodes_are_full_is_saturated_whatever_is_free_behind_a_taint() -> None:
    nodes = [node("a1"), node("a2", taints=[TEAM]), node("n1")]
    plan = decided(snapshot(pool(sustain=0), nodes, [pod("x", 8, on="a1")]))
    assert plan.assessment.saturation.saturated is True
    assert plan.admission.provider == "nebius"


def test_admission_lists_no_standby_whose_free_nodes_the_pool_cannot_use() -> None:
    nodes = [node("a1"), node("n1"), node("n2", taints=[TEAM]), node("c1")]
    plan = decided(snapshot(pool(sustain=0), nodes, [pod("x", 8, on="a1"), pod("y", 8, on="n1"), pod("w", 1, on="a1")]))
    assert free_of(plan, "nebius") == (8, 0)
    assert plan.admission.provider == "crusoe"


def test_without_pods_tainted_nodes_count_only_if_no_other_nodes_are_there() -> None:
    mixed = decided(snapshot(pool(), [node("a1"), node("a2", taints=[TEAM]), node("n1")]))
    assert free_of(mixed, "aws") == (8, 8)
    tainted = decided(snapshot(pool(), [node("a1", taints=[TEAM]), node("a2", taints=[TEAM]), node("n1")]))
    assert free_of(tainted, "aws") == (16, 16)


def test_a_pod_that_none_of_the_primarys_nodes_admits_is_still_told_of_the_taint() -> None:
    plan = decided(snapshot(pool(provider("aws"), provider("nebius")), [node("a1", taints=[TEAM])], [pod("web")]))
    assert dict(plan.holds[0].rejected) == {"aws": Reason.TAINTED, "nebius": Reason.NO_NODES}
    assert sent_to(plan) == {}
