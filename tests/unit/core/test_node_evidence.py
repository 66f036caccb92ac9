"""What pods that fail say about their node, in stories on the simulated cluster: who stays, who leaves, who is sent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from computepool.decide.move.revalidate import Revalidation
from computepool.decide.reconcile import reconcile
from computepool.model.cluster import Node, Pod, Shape
from computepool.model.reasons import Reason
from computepool.observe.failures import FailedPod
from computepool.simulate.owners import PodTemplate
from computepool.simulate.simulation import Simulation
from tests.builders import NOW, node, pod, pool, shape
from tests.unit.core.moving import blocked, moved_to

NODES = [node(name) for name in ("a1", "a2", "n1", "n2", "c1")]


class Story:
    """A cluster in which pods fail. Their owners replace them at once."""

    def __init__(self, nodes: Iterable[Node] = NODES, **spec: Any) -> None:
        """Nothing runs yet."""
        self.simulation = Simulation(pool(pending=0, **spec), nodes, NOW)
        self.cluster = self.simulation.cluster

    def deploy(self, count: int, of: Shape | None = None, **template: Any) -> list[Pod]:
        """Let a new workload have so many pods, and wait until they run."""
        created = self.simulation.owners.create(PodTemplate(of or shape(), **template), count)
        self.simulation.settle()
        self.simulation.wait(1)
        return [self.cluster.pods[one.uid] for one in created]

    def on(self, name: str) -> list[Pod]:
        """The pods on a node."""
        return [one for one in self.cluster.pods.values() if one.node == name]

    def refuse(self, pods: Iterable[Pod], *, gone_first: bool = False, unclear: bool = False) -> None:
        """Let the node refuse these pods. `gone_first`: one watch shows that they are gone before another shows why."""
        for one in pods:
            failed = FailedPod(one, refused=True, unclear=unclear)
            if gone_first:
                self.cluster.delete_pod(one.uid)
                self.simulation.operator.deliver()
            self.simulation.operator.store.put_failed_pod(failed, self.simulation.clock.now, listed=False)
            if not gone_first:
                self.cluster.delete_pod(one.uid)

    def crash(self, pods: Iterable[Pod]) -> None:
        """Let the containers of these pods end again and again."""
        for one in pods:
            self.cluster.update_pod(one.uid, ready=False, ready_since=None, failing=True)

    def new_on(self, name: str, count: int, owner: str = "rs-new", **fields: Any) -> list[Pod]:
        """Bind so many new pods to a node, where they have not started."""
        return [
            self.cluster.create_pod(pod(f"{owner}-{name}-{index}", on=name, owner=owner, **fields))
            for index in range(count)
        ]

    @property
    def evicted(self) -> list[str]:
        """The pods that were moved."""
        return [done.move.pod.name for done in self.simulation.operator.moved]

    @property
    def faults(self) -> dict[str, Reason]:
        """The faults of nodes."""
        return {name: fault.reason for name, fault in self.simulation.operator.state.memory.node_faults.items()}


# -- a kubelet that restarts


@pytest.mark.parametrize("gone_first", [False, True])
def test_a_kubelet_that_restarts_and_refuses_pods_that_ran_makes_no_black_hole(gone_first: bool) -> None:
    story = Story()
    story.deploy(7)
    assert {one.node for one in story.cluster.pods.values()} <= {"a1", "a2"}
    story.simulation.run(600)
    story.refuse(story.on("a1")[:3], gone_first=gone_first)
    story.simulation.run(600)
    assert (story.faults, story.evicted) == ({}, [])
    assert len(story.cluster.pods) == 7


def test_a_node_that_starts_the_replacements_of_refused_pods_is_no_black_hole_any_more() -> None:
    story = Story()
    story.deploy(2)
    story.refuse(story.new_on("a1", 3))
    story.simulation.step()
    assert story.faults == {"a1": Reason.BLACK_HOLE}
    story.simulation.wait(1)
    (started,) = story.new_on("a1", 1, owner="rs-other")
    story.cluster.bind_pod(started.uid, "a1")
    story.simulation.step()
    assert story.simulation.operator.state.memory.node_faults["a1"].clear_since is not None
    story.simulation.run(300)
    assert (story.faults, story.evicted) == ({}, [])


def test_pods_that_never_ran_and_are_refused_make_a_black_hole_whose_ready_pods_stay() -> None:
    story = Story()
    resident = story.deploy(4)
    held = {one.node for one in resident}
    (hole,) = held
    story.simulation.run(600)
    starting = story.new_on(hole, 1, owner="rs-slow")
    story.refuse(story.new_on(hole, 3))
    report = story.simulation.step()
    assert story.faults == {hole: Reason.BLACK_HOLE}
    story.simulation.run(60)
    report = story.simulation.settle()
    assert story.evicted == [one.name for one in starting]
    assert blocked(report.plan) == dict.fromkeys((one.name for one in resident), Reason.UNAFFECTED)
    assert {one.node for one in story.deploy(1)}.isdisjoint(held)


def test_pods_that_run_and_are_not_ready_yet_stay_on_a_black_hole() -> None:
    story = Story(failover={"runningPods": "Move"})
    loading = story.new_on("n1", 2, owner="rs-llm", started=NOW - 600)
    story.simulation.step()
    for one in loading:
        story.cluster.update_pod(one.uid, has_run=True)
    stuck = story.new_on("n1", 1, owner="rs-stuck", has_run=True, failing=True, started=NOW - 600)
    story.refuse(story.new_on("n1", 3))
    story.simulation.run(60)
    assert story.faults == {"n1": Reason.BLACK_HOLE}
    assert story.evicted == [one.name for one in stuck]
    assert {one.name for one in story.on("n1")} == {one.name for one in loading}


def test_a_node_that_has_started_pods_since_is_no_black_hole_although_they_are_not_ready_yet() -> None:
    story = Story()
    story.refuse(story.new_on("n1", 3))
    story.new_on("n1", 3, owner="rs-llm", has_run=True, started=NOW + 1)
    story.simulation.run(60)
    assert (story.faults, story.evicted) == ({}, [])


def test_a_provider_of_black_holes_gets_no_new_pods_and_keeps_its_ready_pods() -> None:
    story = Story()
    resident = story.deploy(12)
    assert {one.node for one in resident} == {"a1", "a2"}
    story.simulation.run(600)
    for hole in ("a1", "a2"):
        for owner in ("rs-x", "rs-y"):
            story.refuse(story.new_on(hole, 2, owner=owner))
    story.simulation.run(120)
    report = story.simulation.settle()
    assert report.assessment.primary.breaker.reason is Reason.PROVIDER_UNHEALTHY
    assert story.evicted == []
    assert set(blocked(report.plan).values()) == {Reason.UNAFFECTED}
    assert {one.node for one in story.deploy(2)}.isdisjoint({"a1", "a2"})


def test_pods_on_the_sound_nodes_of_a_provider_of_black_holes_stay_too() -> None:
    story = Story([node(name, 4) for name in ("a1", "a2", "a3", "n1", "c1")])
    resident = story.deploy(12)
    assert {one.node for one in resident} == {"a1", "a2", "a3"}
    for hole in ("a1", "a2"):
        for owner in ("rs-x", "rs-y"):
            story.refuse(story.new_on(hole, 2, owner=owner))
    story.simulation.run(120)
    assert story.simulation.settle().assessment.primary.breaker.reason is Reason.PROVIDER_UNHEALTHY
    assert story.evicted == []


def test_ready_pods_leave_a_black_hole_that_has_another_fault_too() -> None:
    story = Story()
    story.deploy(4)
    (hole,) = {one.node for one in story.cluster.pods.values()}
    story.refuse(story.new_on(hole, 3))
    story.simulation.run(60)
    assert story.evicted == []
    story.cluster.update_node(hole, ready="Unknown")
    story.simulation.run(120)
    assert len(story.evicted) == 4


# -- workloads that crash by their own fault


def crashing(**labels: str) -> tuple[Story, list[Pod]]:
    """A large model runs on n1, and so do three workers of a workload whose head runs on aws."""
    story = Story()
    llm = [
        story.cluster.create_pod(pod(f"llm-{index}", on="n1", owner="rs-llm", tolerates=["nebius"])) for index in (0, 1)
    ]
    for one in llm:
        story.cluster.bind_pod(one.uid, "n1")
    head = story.cluster.create_pod(pod("head", on="a1", owner="ray", labels={"role": "head"}))
    story.cluster.bind_pod(head.uid, "a1")
    story.simulation.run(600)
    story.crash(story.new_on("n1", 3, owner="ray", tolerates=["nebius"], labels={"role": "worker", **labels}))
    return story, llm


def test_workers_that_crash_by_their_own_arguments_convict_no_node() -> None:
    story, llm = crashing()
    story.simulation.run(600)
    assert story.faults == {}
    assert not {one.name for one in llm} & set(story.evicted)


def test_workers_that_crash_convict_no_node_even_if_another_worker_runs_on_aws_because_the_model_runs_there() -> None:
    story, llm = crashing()
    worker = story.cluster.create_pod(pod("worker-9", on="a1", owner="ray", labels={"role": "worker"}))
    story.cluster.bind_pod(worker.uid, "a1")
    story.simulation.run(600)
    assert story.faults == {}
    for one in llm:
        story.cluster.delete_pod(one.uid)
    story.simulation.run(60)
    assert story.faults == {"n1": Reason.BLACK_HOLE}


# -- virtual nodes


def test_a_virtual_node_whose_provider_fails_every_pod_is_a_black_hole() -> None:
    story = Story([node("n1", of="nebius"), node("a1", 0), node("c1")])
    story.refuse(story.new_on("n1", 3, tolerates=["nebius"]), unclear=True)
    story.simulation.step()
    assert story.faults == {"n1": Reason.BLACK_HOLE}


def test_a_virtual_node_that_leaves_its_pods_pending_is_a_black_hole() -> None:
    story = Story([node("n1", of="nebius"), node("a1", 0), node("c1")])
    for one in story.new_on("n1", 3, tolerates=["nebius"]):
        story.cluster.update_pod(one.uid, failing=True, refused=True)
    story.simulation.step()
    assert story.faults == {"n1": Reason.BLACK_HOLE}
    # They never ran, so they leave.
    story.simulation.run(30)
    assert len(story.evicted) == 3


# -- the last check before an eviction


def test_a_pod_that_became_ready_since_its_move_was_decided_stays() -> None:
    story = Story()
    story.deploy(1)
    (starting,) = story.new_on("a1", 1, owner="rs-slow")
    story.refuse(story.new_on("a1", 3))
    story.simulation.step()
    store, state = story.simulation.operator.store, story.simulation.operator.state
    story.simulation.operator.deliver()
    snapshot = store.snapshot("inference")
    outcome = reconcile(snapshot, state, story.simulation.clock.now)
    assert moved_to(outcome.plan) == {starting.name: "aws"}
    (move,) = outcome.plan.moves
    assert Revalidation(outcome.assessment, "nvidia.com/gpu", NOW).why_not(move) is None
    ready = msgspec.structs.replace(starting, ready=True)
    nodes = [
        msgspec.structs.replace(info, pods=tuple(ready if one.uid == ready.uid else one for one in info.pods))
        for info in snapshot.nodes
    ]
    later = reconcile(msgspec.structs.replace(snapshot, nodes=tuple(nodes)), state, story.simulation.clock.now)
    assert Revalidation(later.assessment, "nvidia.com/gpu", NOW).why_not(move) is Reason.RECOVERING
