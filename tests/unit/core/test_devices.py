"""Nodes without accelerators: nodes that join, and nodes whose device plugin is away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from computepool.decide.reconcile import reconcile
from computepool.model.api import UNAVAILABLE_KEY
from computepool.model.cluster import Node, Pod
from computepool.model.reasons import Reason
from computepool.model.state import PoolState, restarted
from computepool.model.taints import Taint
from tests.builders import NOW, node, pod, pool, snapshot
from tests.unit.core.moving import blocked, moved_to, owned
from tests.unit.core.passes import Decided, decided, sent_to
from tests.unit.core.watching import Watch

HOME = [node("a1"), node("a2")]
GONE = node("n1", 0, capacity=8)
RESTARTED_KUBELET = node("n1", 0, capacity=0)


class Story:
    """Passes over one pool, one after another; `now` is in seconds after NOW."""

    def __init__(self, **spec: Any) -> None:
        self.pool = pool(**spec)
        self.state = PoolState()

    def see(self, now: float, nodes: Sequence[Node], pods: Sequence[Pod] = ()) -> Decided:
        plan = decided(snapshot(self.pool, [*HOME, *nodes], pods), self.state, NOW + now)
        self.state = plan.state
        return plan

    def restart(self) -> None:
        self.state = restarted(self.state.recorded)


def quarantine(reason: str) -> Taint:
    return Taint(UNAVAILABLE_KEY, reason, "NoSchedule")


def ready(name: str, on: str = "n1") -> Pod:
    return owned(name, on=on, ready=True)


# -- nodes that join


@pytest.mark.parametrize("moving", ["MoveFromUnhealthyNodes", "Move"])
def test_a_provider_that_grows_by_nodes_whose_devices_come_later_is_neither_failing_nor_left(moving: str) -> None:
    story = Story(failover={"runningPods": moving})
    pods = [ready("p1", "n1"), ready("p2", "n2")]
    story.see(-60, [node("n1"), node("n2")], pods)
    joining = [node(f"n{number}", 0, capacity=8) for number in range(3, 7)]
    for now in (0, 30, 60, 180):
        plan = story.see(now, [node("n1"), node("n2"), *joining], pods)
        assert plan.assessment.health.providers["nebius"].unhealthy == {}
        assert plan.assessment.health.providers["nebius"].failing is None
        assert plan.assessment.supplies[1].unusable == 0
        assert (plan.quarantine, plan.moves) == ({}, ())
    grown = story.see(181, [node(f"n{number}") for number in range(1, 7)], pods)
    assert len(grown.assessment.supplies[1].usable) == 6


def test_joining_nodes_count_in_no_share_when_the_others_fail() -> None:
    watch = Watch(pool())
    joining = [node(f"n{number}", 0, capacity=8) for number in range(3, 7)]
    watch.see(0, [*HOME, node("n1"), node("n2"), *joining])
    watch.see(1, [*HOME, node("n1", ready="Unknown"), node("n2", ready="Unknown"), *joining])
    assert watch.provider("nebius").failing is Reason.PROVIDER_UNHEALTHY
    assert watch.provider("nebius").detail == "2 of 2 nodes are unhealthy"


def test_after_a_restart_a_node_without_devices_and_without_pods_is_joining_and_one_with_pods_is_not() -> None:
    story = Story(health={"sustainSeconds": 0})
    for _ in range(2):
        story.restart()
        plan = story.see(0, [GONE, node("n2", 0, capacity=8), node("n3")], [ready("p")])
        assert plan.assessment.health.providers["nebius"].joining == {"n2"}
        assert list(plan.assessment.health.providers["nebius"].unhealthy) == ["n1"]
        assert plan.moves == ()


def test_a_node_that_never_had_devices_is_no_place_for_new_pods() -> None:
    story = Story()
    full = [pod(f"full-{name}", 8, on=name) for name in ("a1", "a2")]
    plan = story.see(0, [node("n1", 0, capacity=8)], [*full, pod("waits")])
    assert sent_to(plan) == {}


# -- nodes whose device plugin is away


@pytest.mark.parametrize("without", [GONE, RESTARTED_KUBELET, node("n1", 2, capacity=8)])
def test_pods_that_are_ready_stay_for_the_time_of_a_rollout_and_leave_after_it(without: Node) -> None:
    story = Story()
    pods = [ready("p1"), ready("p2")]
    story.see(-10, [node("n1"), node("n2")], pods)
    for now in (0, 31, 45, 900, 1799):
        plan = story.see(now, [without, node("n2")], pods)
        assert plan.moves == ()
    assert blocked(plan) == dict.fromkeys(("p1", "p2"), Reason.AWAITING_VERDICT)
    assert plan.recheck_at == NOW + 1800
    # A node with accelerators left is seen with the taint before its pods leave.
    tainted = msgspec.structs.replace(without, taints=(*without.taints, quarantine("DevicesMissing")))
    assert set(moved_to(story.see(1800, [tainted, node("n2")], pods))) == {"p1", "p2"}


def test_the_time_of_a_rollout_is_a_field() -> None:
    story = Story(health={"deviceGoneSeconds": 60})
    story.see(-10, [node("n1"), node("n2")], [ready("p")])
    story.see(0, [GONE, node("n2")], [ready("p")])
    assert story.see(59, [GONE, node("n2")], [ready("p")]).moves == ()
    assert moved_to(story.see(60, [GONE, node("n2")], [ready("p")])) == {"p": "aws"}


def test_pods_that_fail_to_start_leave_after_the_usual_time_and_pods_that_take_long_to_start_stay() -> None:
    story = Story()
    pods = [ready("runs"), owned("fails", on="n1", failing=True), owned("loads-its-model", on="n1")]
    story.see(-10, [node("n1"), node("n2")], pods)
    story.see(0, [GONE, node("n2")], pods)
    assert story.see(29, [GONE, node("n2")], pods).moves == ()
    plan = story.see(30, [GONE, node("n2")], pods)
    assert moved_to(plan) == {"fails": "aws"}
    assert blocked(plan) == dict.fromkeys(("runs", "loads-its-model"), Reason.AWAITING_VERDICT)


def test_devices_that_come_and_go_begin_the_wait_anew() -> None:
    story = Story(health={"deviceGoneSeconds": 600})
    for began in (0, 500, 1000):
        story.see(began, [GONE, node("n2")], [ready("p")])
        assert story.see(began + 490, [GONE, node("n2")], [ready("p")]).moves == ()
        story.see(began + 495, [node("n1"), node("n2")], [ready("p")])


def test_a_node_that_comes_back_from_a_reboot_without_devices_yet_keeps_its_pods() -> None:
    story = Story(failover={"runningPods": "Leave"})
    story.see(0, [node("n1", ready="False"), node("n2")], [ready("p")])
    story.pool = pool()
    story.see(1000, [GONE, node("n2")], [ready("p")])
    assert blocked(story.see(1100, [GONE, node("n2")], [ready("p")])) == {"p": Reason.AWAITING_VERDICT}


def test_a_rollout_over_a_whole_provider_is_no_failure_of_it() -> None:
    story = Story(failover={"runningPods": "Move"})
    pods = [ready("p1", "n1"), ready("p2", "n2")]
    gone = [GONE, node("n2", 0, capacity=8)]
    story.see(-10, [node("n1"), node("n2")], pods)
    for now in (0, 45, 600, 1799):
        plan = story.see(now, gone, [*pods, pod("waits")])
        assert plan.state.breaker("nebius").closed
        assert plan.moves == ()
    plan = story.see(1800, gone, pods)
    assert plan.state.breaker("nebius").reason is Reason.PROVIDER_UNHEALTHY


def test_nodes_without_devices_do_not_keep_a_failure_of_their_provider_alive_for_running_pods() -> None:
    """All nodes of a provider reboot: once they are ready, pods that run there stay although devices are late."""
    story = Story(failover={"runningPods": "Move"}, health={"sustainSeconds": 0})
    pods = [ready("p1", "n1"), ready("p2", "n2")]
    story.see(-10, [node("n1"), node("n2")], pods)
    story.see(0, [node("n1", ready="False"), node("n2", ready="False")], pods)
    assert not story.state.breaker("nebius").closed
    plan = story.see(10, [GONE, node("n2", 0, capacity=8)], pods)
    assert plan.moves == ()
    assert set(blocked(plan).values()) == {Reason.AWAITING_VERDICT}


def test_a_pass_decides_the_same_for_equal_input() -> None:
    seen = snapshot(pool(), [*HOME, GONE, node("n2")], [ready("p")])
    assert reconcile(seen, PoolState(), NOW) == reconcile(seen, PoolState(), NOW)


@pytest.mark.parametrize("other", ["nvidia.com/mig-1g.10gb", "nvidia.com/gpu.shared"])
def test_nodes_that_were_set_up_for_another_kind_of_accelerator_lack_nothing(other: str) -> None:
    set_up = [node(name, 0, capacity=0, room={other: 7}) for name in ("n2", "n3")]
    story = Story(failover={"runningPods": "Move"})
    web = owned("web", on="n1", ready=True)
    story.see(0, [node("n1"), node("n2"), node("n3")], [web])
    for now in (60, 100, 1000, 4000):
        plan = story.see(now, [node("n1"), *set_up], [web])
    assert (plan.moves, plan.quarantine) == ((), {})
    assert plan.assessment.health.providers["nebius"].failing is None


def test_a_node_with_pods_of_the_pool_lacks_what_they_hold_whatever_else_it_serves() -> None:
    story = Story()
    web = owned("web", on="n1", ready=True)
    story.see(0, [node("n1")], [web])
    for now in (60, 100):
        plan = story.see(now, [node("n1", 0, capacity=0, room={"nvidia.com/hostdev": 7})], [web])
    assert set(plan.assessment.health.providers["nebius"].unhealthy) == {"n1"}
