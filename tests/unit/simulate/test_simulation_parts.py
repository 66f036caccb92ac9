"""What the simulated cluster does, part by part: it answers as an API server does, and depends on its calls alone."""

from __future__ import annotations

import random
from typing import Any

import pytest

from computepool.model.state import recorded_in
from computepool.model.taints import Taint
from computepool.simulate.owners import PodTemplate
from computepool.simulate.simulation import Simulation
from tests.builders import NOW, node, pod, pool, provider, shape, standby_toleration

NEBIUS = standby_toleration("nebius")


def simulated(grace: float = 0.0, **spec: Any) -> Simulation:
    """A primary and a standby of four accelerators each."""
    options: dict[str, Any] = {"pending": 0, "admission": "Off", **spec}
    return Simulation(
        pool(provider("aws"), provider("nebius"), **options), [node("a1", 4), node("n1", 4)], NOW, grace_seconds=grace
    )


def where(simulation: Simulation) -> dict[str, str]:
    return {one.name: one.node for one in simulation.cluster.pods.values()}


# -- what the API server answers


def test_a_pod_is_created_in_whole_seconds_and_each_change_has_the_next_version() -> None:
    cluster = simulated().cluster
    cluster.pods.clear()
    created = cluster.create_pod(pod("p", created=0.0))
    assert (created.created, created.since) == (NOW, NOW)
    cluster.bind_pod(created.uid, "a1")
    assert cluster.pods[created.uid].resource_version == created.resource_version + 1 == cluster.version


def test_admission_gives_its_tolerations_to_pods_without_a_say_of_their_own() -> None:
    simulation = simulated(admission="Always")
    simulation.settle()
    cluster = simulation.cluster
    assert cluster.admission.provider == "nebius"
    assert cluster.create_pod(pod("any")).shape.tolerations == (NEBIUS,)
    assert cluster.create_pod(pod("bound-to-home", allowed=())).shape.tolerations == ()


def test_a_patch_that_takes_a_toleration_away_is_refused_and_so_is_the_patch_of_a_pod_that_is_gone() -> None:
    cluster = simulated().cluster
    created = cluster.create_pod(pod("p", tolerates=["nebius"]))
    assert cluster.update_pod(created.uid, shape=shape(1)) is None
    assert cluster.pods[created.uid] == created
    cluster.finish_pod(created.uid)
    assert cluster.update_pod(created.uid, labels={}) is None


def test_a_disruption_budget_refuses_evictions_but_no_deletion() -> None:
    cluster = simulated().cluster
    created = cluster.create_pod(pod("p", on="a1"))
    cluster.held_by_budget = lambda held: held.name == "p"
    assert not cluster.evict_pod(created.uid)
    assert created.uid in cluster.pods
    cluster.delete_pod(created.uid)
    assert created.uid not in cluster.pods


def test_an_evicted_pod_stays_for_its_grace_period_and_for_as_long_as_its_node_does_not_answer() -> None:
    simulation = simulated(grace=10.0)
    cluster = simulation.cluster
    first, second = cluster.create_pod(pod("p1", on="a1")), cluster.create_pod(pod("p2", on="n1"))
    waiting = cluster.create_pod(pod("p3"))
    cluster.update_node("n1", ready="Unknown")
    assert all(cluster.evict_pod(one.uid) for one in (first, second, waiting))
    assert where(simulation) == {"p1": "a1", "p2": "n1"}
    simulation.wait(9)
    assert where(simulation) == {"p1": "a1", "p2": "n1"}
    simulation.wait(1)
    assert where(simulation) == {"p2": "n1"}
    cluster.update_node("n1", ready="True")
    simulation.wait(1)
    assert where(simulation) == {}


# -- owners and the scheduler


def test_an_owner_replaces_a_pod_that_was_evicted_as_it_was_created_and_no_pod_that_has_finished() -> None:
    simulation = simulated()
    owners, cluster = simulation.owners, simulation.cluster
    first, second = owners.create(PodTemplate(shape(1), priority=7), 2)
    cluster.update_pod(first.uid, shape=shape(1, tolerations=[NEBIUS]), labels={"computepool.io/burst": "nebius"})
    cluster.finish_pod(second.uid)
    cluster.evict_pod(first.uid)
    assert owners.missing == [owners.lineage[first.uid]]
    assert owners.replace_missing() == 1
    (made,) = cluster.pods.values()
    assert (made.shape, made.labels, made.priority, made.owner) == (shape(1), {}, 7, first.owner)
    assert owners.lineage[made.uid] == owners.lineage[first.uid]
    assert made.uid != first.uid


def test_the_scheduler_binds_by_priority_on_the_primary_first_and_says_who_finds_no_place() -> None:
    simulation = simulated()
    both = PodTemplate(shape(3, tolerations=[NEBIUS]))
    simulation.owners.create(both, 2)
    (urgent,) = simulation.owners.create(PodTemplate(shape(3), priority=1), 1)
    assert simulation.scheduler.run() == 2
    assert simulation.cluster.pods[urgent.uid].node == "a1"
    assert where(simulation) == {"w0-0": "n1", "w0-1": "", "w1-0": "a1"}
    assert [one.name for one in simulation.cluster.waiting_pods() if one.unschedulable] == ["w0-1"]


@pytest.mark.parametrize(
    "state", [{"ready": "False"}, {"unschedulable": True}, {"taints": (Taint("team", "ml", "NoSchedule"),)}]
)
def test_the_scheduler_binds_no_pod_to_a_node_that_is_not_for_it(state: dict[str, Any]) -> None:
    simulation = simulated()
    simulation.cluster.update_node("a1", **state)
    simulation.owners.create(PodTemplate(shape(1)), 1)
    assert simulation.scheduler.run() == 0


def test_what_is_random_depends_on_the_given_random_numbers_alone() -> None:
    outcomes = []
    for _ in range(2):
        simulation = simulated()
        simulation.owners.create(PodTemplate(shape(1, tolerations=[NEBIUS])), 6)
        assert simulation.scheduler.run_at_random(random.Random(7), 0.5) == 3
        outcomes.append(where(simulation))
    assert outcomes[0] == outcomes[1]


# -- the operator


def test_the_operator_sees_only_what_was_delivered() -> None:
    simulation = simulated()
    simulation.owners.create(PodTemplate(shape(1)), 2)
    assert simulation.operator.decide().snapshot.waiting == ()
    simulation.operator.deliver(1)
    assert [one.name for one in simulation.operator.decide().snapshot.waiting] == ["w0-0"]
    simulation.operator.deliver()
    assert len(simulation.operator.decide().snapshot.waiting) == 2


@pytest.mark.parametrize(("arrives", "again"), [(True, 0), (False, 1)])
def test_a_write_in_doubt_is_made_again_only_if_it_was_not_made(arrives: bool, again: int) -> None:
    simulation = simulated()
    operator = simulation.operator
    simulation.owners.create(PodTemplate(shape(4)), 2)
    simulation.scheduler.run()
    operator.deliver()
    (burst,) = operator.decide().plan.bursts
    operator.doubt(burst, arrives=arrives)
    assert operator.decide().plan.bursts == ()
    operator.deliver()
    operator.give_up_doubted()
    assert len(operator.decide().plan.bursts) == again


def test_a_new_operator_goes_on_from_the_status_alone() -> None:
    simulation = simulated()
    simulation.owners.create(PodTemplate(shape(2)), 3)
    simulation.run(300)
    recorded = simulation.operator.state.recorded
    assert recorded_in(simulation.cluster.pool) == recorded
    simulation.operator.restart()
    assert simulation.operator.state.recorded == recorded
    version = simulation.cluster.version
    simulation.settle()
    assert simulation.cluster.version == version


def test_in_mode_observe_nothing_is_written_but_the_status() -> None:
    simulation = simulated(mode="Observe", admission="Always")
    simulation.cluster.update_node("n1", ready="False")
    simulation.owners.create(PodTemplate(shape(4)), 2)
    simulation.run(100)
    assert where(simulation) == {"w0-0": "a1", "w0-1": ""}
    assert (simulation.operator.bursts, simulation.operator.moved) == ([], [])
    assert not simulation.cluster.nodes["n1"].quarantined
    assert simulation.cluster.admission.tolerations == ()
    assert simulation.cluster.pool.status.pending.pods == 1


# -- all together


def played() -> Simulation:
    simulation = Simulation(
        pool(
            provider("aws"),
            provider("nebius"),
            provider("crusoe"),
            pending=0,
            health={"sustainSeconds": 0},
            failover={"runningPods": "Move"},
            failback={"policy": "WhenStable", "stableSeconds": 60, "minDwellSeconds": 60},
        ),
        [node(name, 4) for name in ("a1", "n1", "c1")],
        NOW,
        grace_seconds=20,
    )
    at_home = simulation.owners.create(PodTemplate(shape(1)), 7)[:4]
    simulation.run(400)
    simulation.cluster.update_node("n1", ready="False")
    simulation.run(100)
    simulation.operator.restart()
    for finished in at_home[:3]:
        simulation.cluster.finish_pod(finished.uid)
    simulation.run(1000)
    return simulation


def test_a_lost_standby_is_left_and_the_primary_filled_again() -> None:
    simulation = played()
    kinds = [str(moved.move.kind) for moved in simulation.operator.moved]
    assert kinds.count("Failover") == 3
    assert kinds.count("Failback") >= 1
    assert {one.node for one in simulation.cluster.pods.values()} == {"a1", "c1"}
    assert simulation.standby_seconds > 0
    # Every pod waited its 20 seconds out before it left, and no pass was missed on the way.
    assert not [one for one in simulation.cluster.pods.values() if one.deleting is not None]


def test_the_same_calls_have_the_same_outcome_to_the_letter() -> None:
    first, second = played(), played()
    assert first.cluster.pods == second.cluster.pods
    assert first.cluster.nodes == second.cluster.nodes
    assert first.cluster.pool.status == second.cluster.pool.status
    assert first.operator.moved == second.operator.moved
