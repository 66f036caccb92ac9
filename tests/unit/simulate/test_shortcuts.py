"""What the simulation keeps up to date by itself is what a reader of the whole cluster finds, at every change."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from computepool.model.accelerators import requested_by
from computepool.model.cluster import Node, Pod
from computepool.model.labels import Requirement, Selector
from computepool.model.quantity import MILLI
from computepool.model.state import recorded_in, restarted
from computepool.observe.disruption_budgets import DisruptionBudget
from computepool.simulate.cluster import Cluster
from computepool.simulate.drill import How, Seed, play
from computepool.simulate.owners import PodTemplate
from computepool.simulate.simulation import Simulation
from tests.builders import GPU, NOW, node, pod, pool, provider, shape

SPEC: dict[str, Any] = {
    "failover": {"runningPods": "Move", "maxConcurrentMoves": 4, "perMinute": 20},
    "failback": {"policy": "WhenStable", "stableSeconds": 60, "minDwellSeconds": 60},
}


def nodes() -> list[Node]:
    return [node(name, 4) for name in ("a1", "a2", "n1", "n2", "c1")]


def waiting_by_hand(cluster: Cluster) -> list[Pod]:
    return [one for one in cluster.pods.values() if not one.node]


def answering(cluster: Cluster, pods: Iterable[Pod]) -> list[Pod]:
    return [one for one in pods if not one.node or cluster.is_answering(one)]


def next_end_by_hand(cluster: Cluster) -> float | None:
    ending = answering(cluster, (one for one in cluster.pods.values() if one.deleting is not None))
    return min((one.deleting for one in ending if one.deleting is not None), default=None)


def next_ready_by_hand(cluster: Cluster) -> float | None:
    starting = (
        one
        for one in cluster.pods.values()
        if one.node and one.started is not None and one.deleting is None and not (one.ready or one.failing)
    )
    at = [(one.started or 0.0) + cluster.start_seconds for one in answering(cluster, starting)]
    return min(at, default=None)


def held_by_hand(cluster: Cluster) -> int:
    there = (one for one in cluster.pods.values() if one.node and cluster.provider_of(one.node) != "aws")
    return requested_by(there, GPU) // MILLI


def disturb(simulation: Simulation, order: random.Random) -> None:
    """Let one thing happen to the cluster."""
    cluster = simulation.cluster
    pods, names = sorted(cluster.pods), sorted(cluster.nodes)
    match order.randrange(5):
        case 0:
            simulation.owners.create(PodTemplate(shape(order.choice((1, 2)))), order.randint(1, 3))
        case 1 if pods:
            cluster.evict_pod(order.choice(pods))
        case 2 if pods:
            cluster.finish_pod(order.choice(pods))
        case 3:
            cluster.update_node(order.choice(names), ready=order.choice(("True", "Unknown")))
        case 4:
            moved = order.choice(names)
            of = order.choice(("aws", "nebius"))
            cluster.update_node(moved, labels={**cluster.nodes[moved].labels, "computepool.io/provider": of})


@pytest.mark.parametrize("number", range(12))
def test_the_lists_of_a_cluster_are_those_that_a_reader_of_all_pods_finds(number: int) -> None:
    order = random.Random(number)
    simulation = Simulation(pool(pending=0, **SPEC), nodes(), NOW, grace_seconds=order.choice((0.0, 20.0)))
    cluster = simulation.cluster
    cluster.start_seconds = order.choice((0.0, 15.0))
    expected = 0.0
    for _ in range(60):
        disturb(simulation, order)
        simulation.settle()
        assert cluster.waiting_pods() == waiting_by_hand(cluster)
        assert cluster.next_end() == next_end_by_hand(cluster)
        assert cluster.next_ready() == next_ready_by_hand(cluster)
        seconds = order.choice((1.0, 7.0, 25.0))
        expected += seconds * held_by_hand(cluster)
        simulation.wait(seconds)
        assert simulation.standby_seconds == expected


def test_a_pod_of_a_real_cluster_that_is_not_ready_stays_so_until_it_is_bound_anew() -> None:
    simulation = Simulation(pool(), nodes(), NOW)
    simulation.cluster.adopt_pod(pod("p", on="a1", started=NOW - 60))
    assert simulation.cluster.next_ready() is None
    simulation.wait(600)
    assert not simulation.cluster.pods["uid-default-p"].ready


@pytest.mark.parametrize("number", range(6))
def test_whether_the_status_is_written_changes_nothing_else(number: int) -> None:
    played = []
    for writes in (True, False):
        order = random.Random(number)
        simulation = Simulation(pool(pending=0, **SPEC), nodes(), NOW)
        simulation.operator.writes_status = writes
        for _ in range(40):
            disturb(simulation, order)
            simulation.run(order.choice((5.0, 40.0)))
        assert bool(simulation.cluster.pool.status.conditions) is writes
        operator = simulation.operator
        played.append((simulation.cluster.pods, simulation.cluster.nodes, operator.moved, operator.state))
    assert played[0] == played[1]


# -- a drill


def seeded(number: int) -> Seed:
    """A cluster with pods of several owners, some with a budget, some that wait, and some that are not Ready."""
    order = random.Random(number)
    free = {one.name: 4 for one in nodes()}
    pods: list[Pod] = []
    for serial in range(order.randint(6, 14)):
        on, size = order.choice(sorted(free)), order.choice((1, 1, 2))
        bound = free[on] >= size
        free[on] -= size if bound else 0
        own = {"n": "nebius", "c": "crusoe"}.get(on[0])
        ready = bound and order.random() < 0.9
        pods.append(
            pod(
                f"p{serial}",
                size,
                on=on if bound else "",
                owner=f"o{serial % 4}",
                owner_kind=order.choice(("ReplicaSet", "ReplicaSet", "StatefulSet")),
                labels={"app": f"a{serial % 4}"},
                sent=[(own, NOW - 950)] if bound and own else [],
                ready=ready,
                has_run=ready,
                started=NOW - 900 if bound else None,
                ready_since=NOW - 880 if ready else None,
                waited=1000,
            )
        )
    made = pool(provider("aws", price="2"), provider("nebius", price="3"), provider("crusoe", price="4"), **SPEC)
    guarded = Selector((Requirement("app", "In", ("a0",)),))
    return Seed(
        made,
        tuple(nodes()),
        tuple(pods),
        NOW,
        restarted(recorded_in(made)),
        budgets=(DisruptionBudget("default", "guard", guarded, desired=order.choice((0, 1, 2))),),
        start_seconds=order.choice((0.0, 20.0)),
    )


@pytest.mark.parametrize("number", range(8))
@pytest.mark.parametrize("how", list(How))
def test_a_drill_tells_of_its_progress_as_it_counts_at_the_end(number: int, how: How) -> None:
    told: list[tuple[float, int, int]] = []
    course = play(seeded(number), "nebius", how, lambda *now: told.append(now))
    # It tells after the wait that follows a pass, and the pass before was made when it told before.
    passes = [0.0, *(seconds for seconds, _, _ in told)]
    ready_at = [fate.ready_at for fate in course.fates if fate.ready_at is not None]
    counted = [sum(at <= seconds for at in ready_at) for seconds, _ in zip(passes, told, strict=False)]
    assert [ready for _, ready, _ in told] == counted


@pytest.mark.parametrize("how", list(How))
def test_equal_parts_need_not_be_one_object(how: How) -> None:
    found = seeded(3)
    parted = msgspec.structs.replace(
        found,
        nodes=tuple(
            msgspec.structs.replace(one, taints=tuple(msgspec.structs.replace(taint) for taint in one.taints))
            for one in found.nodes
        ),
        pods=tuple(msgspec.structs.replace(one, shape=msgspec.structs.replace(one.shape)) for one in found.pods),
    )
    assert play(parted, "aws", how) == play(found, "aws", how)
