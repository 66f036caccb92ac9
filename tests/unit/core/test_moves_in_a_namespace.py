"""A move by choice of one owner tells something about its neighbours: stories of many owners in one namespace."""

from __future__ import annotations

import pytest

from computepool.decide.move.owner_history import START_SECONDS
from computepool.model.reasons import Reason
from computepool.simulate.owners import PodTemplate
from computepool.simulate.simulation import Simulation
from tests.builders import NOW, node, pool, provider, shape, standby_toleration

HOME = node("a1", 64)


def away(owners: int, namespace: str = "default", *, policy: str = "WhenStable") -> Simulation:
    """Owners of one pod each, which run on nebius because the primary was full; then it gets a large node."""
    cluster = Simulation(
        pool(
            provider("aws"),
            provider("nebius"),
            failback={"policy": policy, "minDwellSeconds": 60, "stableSeconds": 30},
            failover={"runningPods": "Move"},
        ),
        [node("a0", 1), node("n1", 64)],
        NOW,
    )
    cluster.owners.create(PodTemplate(shape(1), movable=False, priority=9), 1)
    cluster.settle()
    for _ in range(owners):
        cluster.owners.create(PodTemplate(shape(1), namespace=namespace), 1)
    cluster.run(60)
    assert len(cluster.cluster.pods_on("nebius")) == owners
    cluster.cluster.add_node(HOME)
    return cluster


def drain(cluster: Simulation, name: str) -> None:
    """Drain a provider."""
    spec = cluster.cluster.pool.spec
    providers = tuple(
        entry.model_copy(update={"drain": True}) if entry.name == name else entry for entry in spec.providers
    )
    cluster.cluster.pool = cluster.cluster.pool.model_copy(
        update={"spec": spec.model_copy(update={"providers": providers})}
    )
    cluster.operator.store.put_pool(cluster.cluster.pool, cluster.clock.now)


def reasons(cluster: Simulation) -> set[Reason]:
    """Why pods stay."""
    return {blocked.reason for blocked in cluster.settle().plan.blocked}


@pytest.mark.parametrize("cause", ["failback", "drain"])
@pytest.mark.parametrize("restarts", [False, True])
def test_a_quota_that_refuses_replacements_costs_two_owners_their_pod_and_not_all(cause: str, restarts: bool) -> None:
    cluster = away(8, policy="WhenStable" if cause == "failback" else "Never")
    cluster.owners.held = True
    if cause == "drain":
        cluster.run(120)
        drain(cluster, "nebius")
    cluster.run(200)
    if restarts:
        cluster.operator.restart()
    cluster.run(400)
    # A later leader does not know how the moves ended, and tries once more after a while.
    assert 2 <= len(cluster.owners.missing) <= 2 + restarts
    cluster.run(120)
    assert reasons(cluster) <= {Reason.MOVE_FAILED, Reason.AWAITS_REPLACEMENT}


def test_once_the_quota_is_lifted_all_owners_move_in_the_end() -> None:
    cluster = away(8)
    cluster.owners.held = True
    cluster.run(600)
    cluster.owners.held = False
    cluster.run(3600)
    assert not cluster.cluster.pods_on("nebius")


def test_a_primary_that_starts_no_pods_gets_two_and_not_all() -> None:
    cluster = away(12)
    cluster.cluster.start_seconds = 1e9
    cluster.run(1200)
    assert len(cluster.cluster.pods_on("nebius")) == 10
    assert reasons(cluster) == {Reason.AWAITS_REPLACEMENT}


def test_an_owner_whose_pod_never_starts_does_not_keep_its_neighbours_for_ever() -> None:
    cluster = away(12)
    cluster.cluster.start_seconds = 1e9
    cluster.run(600)
    cluster.cluster.start_seconds = 0.0
    stuck = {pod.uid for pod in cluster.cluster.pods.values() if pod.node == HOME.name}
    for uid in stuck:
        cluster.cluster.update_pod(uid, started=NOW + 1e9)
    cluster.run(START_SECONDS + 3600)
    assert not cluster.cluster.pods_on("nebius")


def test_after_a_move_that_ended_well_a_quarter_of_the_pods_may_be_under_way() -> None:
    cluster = away(40)
    cluster.cluster.start_seconds = 100
    cluster.run(240)
    assert len(cluster.operator.moved) == 2
    cluster.run(600)
    assert len(cluster.operator.moved) > 20


def test_an_owner_that_fails_by_its_own_fault_delays_no_neighbour() -> None:
    cluster = away(6)
    pods = sorted(cluster.cluster.pods_on("nebius"), key=lambda pod: pod.name)
    broken = cluster.owners.lineage[pods[0].uid]
    cluster.scheduler.forbids = lambda pod, to: to.name == HOME.name and cluster.owners.lineage[pod.uid] == broken
    cluster.run(600)
    assert [cluster.owners.lineage[pod.uid] for pod in cluster.cluster.pods_on("nebius")] == [broken]


def test_another_namespace_is_not_delayed() -> None:
    cluster = away(4)
    cluster.cluster.start_seconds = 1e9
    cluster.run(300)
    others = cluster.owners.create(PodTemplate(shape(1, tolerations=[standby_toleration("nebius")]), "other"), 1)
    cluster.cluster.bind_pod(others[0].uid, "n1")
    cluster.cluster.update_pod(others[0].uid, ready=True)
    cluster.run(120)
    moved = [done.move.pod for done in cluster.operator.moved]
    assert [pod.namespace for pod in moved] == ["default", "default", "other"]
