"""Pods that a virtual kubelet refuses and leaves pending, on the virtual node where other workloads run well."""

from __future__ import annotations

from collections import Counter

import pytest

from computepool.model.cluster import Pod
from computepool.model.reasons import Reason
from computepool.simulate.owners import PodTemplate
from computepool.simulate.simulation import Simulation
from tests.builders import NOW, node, pool, shape


class _VirtualNode:
    """A full primary, a virtual node on nebius beside crusoe, and an LLM that runs well on the virtual node."""

    def __init__(self, *, policy: str = "MoveFromUnhealthyNodes", crusoe: int = 8) -> None:
        of = pool(failover={"runningPods": policy})
        self.site = Simulation(of, [node("a1"), node("n1", 64), node("c1", crusoe)], NOW)
        self.refusing = ["nebius"]
        self._create(8, movable=False, priority=9)
        self.site.settle()
        self.llm = self._create(2)
        self.site.run(60)

    def _create(self, count: int, *, movable: bool | None = None, priority: int = 0) -> str:
        template = PodTemplate(shape(1), movable=movable, priority=priority)
        return self.site.owners.create(template, count)[0].owner

    def refused(self, count: int) -> str:
        self.site.cluster.start_seconds = 1e9
        return self._create(count)

    def run(self, owner: str, seconds: float, step: float = 5.0) -> None:
        cluster, end = self.site.cluster, self.site.clock.now + seconds
        while self.site.clock.now < end:
            self.site.run(step)
            for pod in self.pods(owner):
                refuses = bool(pod.node) and cluster.provider_of(pod.node) in self.refusing
                if pod.node and not pod.ready and pod.refused != refuses:
                    cluster.update_pod(pod.uid, refused=refuses, failing=refuses)
                if pod.node and not pod.ready and not refuses:
                    cluster.update_pod(pod.uid, ready=True, has_run=True)

    def pods(self, owner: str) -> list[Pod]:
        return [pod for pod in self.site.cluster.pods.values() if pod.owner == owner]

    def places(self, owner: str) -> Counter[str]:
        return Counter(self.site.cluster.provider_of(pod.node) for pod in self.pods(owner) if pod.node)

    def moved(self) -> Counter[str]:
        return Counter(done.move.pod.owner for done in self.site.operator.moved)


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("policy", ["MoveFromUnhealthyNodes", "Move"])
def test_refused_pods_leave_for_another_provider_and_others_stay(policy: str, count: int) -> None:
    story = _VirtualNode(policy=policy)
    owner = story.refused(count)
    story.run(owner, 120)
    assert story.places(owner) == {"crusoe": count}
    assert story.moved() == {owner: count}
    assert {done.move.reason for done in story.site.operator.moved} == {Reason.WORKLOAD_BACK_OFF}


def test_a_refused_pod_leaves_although_others_of_its_workload_run_well_there() -> None:
    story = _VirtualNode()
    story.refusing.clear()
    owner = story.refused(4)
    story.run(owner, 30)
    assert story.places(owner) == {"nebius": 4}
    story.refusing.append("nebius")
    story.site.cluster.delete_pod(story.pods(owner)[0].uid)
    story.run(owner, 120)
    assert story.places(owner) == {"nebius": 3, "crusoe": 1}
    assert story.moved() == {owner: 1}


def test_pods_stay_that_the_virtual_kubelet_accepts_after_a_while() -> None:
    story = _VirtualNode()
    owner = story.refused(4)
    story.run(owner, 20)
    story.refusing.clear()
    story.run(owner, 300)
    assert story.places(owner) == {"nebius": 4}
    assert not story.moved()


def test_refused_pods_stay_if_no_running_pod_may_be_moved() -> None:
    story = _VirtualNode(policy="Leave")
    owner = story.refused(2)
    story.run(owner, 120)
    assert story.places(owner) == {"nebius": 2}
    assert Reason.LEFT_BY_POLICY in {blocked.reason for blocked in story.site.step().plan.blocked}


def test_refused_pods_wait_for_room_elsewhere_for_as_long_as_it_takes() -> None:
    story = _VirtualNode(crusoe=1)
    owner = story.refused(2)
    story.run(owner, 2 * 3600, step=30.0)
    assert story.places(owner) == {"crusoe": 1, "nebius": 1}
    assert Reason.WOULD_STRAND in {blocked.reason for blocked in story.site.step().plan.blocked}
    story.site.cluster.add_node(node("c2"))
    story.run(owner, 60)
    assert story.places(owner) == {"crusoe": 2}


def test_pods_that_every_standby_refuses_go_back_and_forth_less_and_less_often() -> None:
    story = _VirtualNode()
    story.refusing.append("crusoe")
    owner = story.refused(2)
    story.run(owner, 3 * 3600, step=30.0)
    assert story.moved()[owner] <= 30
    assert story.moved()[story.llm] == 0


def test_the_pods_of_very_many_workloads_that_every_standby_refuses_do_not_go_back_and_forth_for_ever() -> None:
    story = _VirtualNode(crusoe=64)
    owners = {story.refused(1) for _ in range(40)}
    cluster = story.site.cluster
    for _ in range(90):
        story.site.run(10)
        for pod in [pod for pod in cluster.pods.values() if pod.owner in owners and pod.node and not pod.refused]:
            cluster.update_pod(pod.uid, refused=True, failing=True)
    assert len(story.site.operator.moved) <= 100


@pytest.mark.parametrize("is_ready", [True, False])
def test_a_pod_that_runs_stays_although_its_virtual_kubelet_refuses_a_change_of_it(is_ready: bool) -> None:
    story = _VirtualNode()
    runs = story.pods(story.llm)[0]
    story.site.cluster.update_pod(runs.uid, ready=is_ready, has_run=True, refused=True, failing=True)
    story.site.run(1200)
    assert story.places(story.llm) == {"nebius": 2}
    assert not story.site.operator.state.recorded.hold_offs
