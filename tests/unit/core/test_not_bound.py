"""Pods that a standby did not bind in time: what opens its breaker, and what does not."""

from __future__ import annotations

from typing import Any

import pytest

from computepool.assess.breakers.not_bound import MOST
from computepool.model.cluster import Pod
from computepool.model.labels import Requirement
from computepool.model.reasons import Reason
from computepool.model.state import Breaker
from computepool.simulate.owners import PodTemplate
from computepool.simulate.simulation import Simulation
from tests.builders import NOW, node, pod, pool, pool_state, provider, term
from tests.builders import shape as shaped
from tests.unit.core.watching import Watch

NODES = [node("a1"), node("n1"), node("n2")]
FULL = [pod("a", 8, on="a1", waited=1000), pod("n", 8, on="n1", waited=1000), pod("m", 8, on="n2", waited=1000)]


def sent(name: str, at: float = 0, to: str = "nebius", **fields: Any) -> Pod:
    """A pod that was offered to a provider, and that the scheduler finds no node for."""
    return pod(name, sent=[(to, NOW + at)], **{"unschedulable": True, **fields})


def unlike(count: int = 3, apart: float = 0, **fields: Any) -> list[Pod]:
    """Bare pods of as many shapes, which were offered one after another."""
    return [sent(f"p{index}", apart * index, shaped=shaped(1 + index), **fields) for index in range(count)]


def counted(watch: Watch) -> set[str]:
    """The workloads that count against nebius."""
    return {workload for workload, _ in watch.state.memory.not_bound.get("nebius", ())}


def watching(*fitting: Pod, on_demand: bool = False, since: float = 0, **breaker: Any) -> Watch:
    """A watch whose passes have had a place at nebius for these pods all the while."""
    of = pool(
        provider("aws"),
        provider("nebius", on_demand=on_demand),
        provider("crusoe"),
        health={"breaker": {"failures": 3, **breaker}},
    )
    return Watch(of, pool_state(fitting={(fit_pod.uid, "nebius"): NOW + since for fit_pod in fitting}))


def test_so_many_unlike_pods_that_were_not_bound_in_time_open_the_breaker() -> None:
    pods = unlike(apart=1)
    watch = watching(*pods)
    found = watch.see(59, NODES, pods)
    assert dict(found.breakers.not_bound) == {}
    assert found.recheck_at == NOW + 60
    watch.see(61, NODES, pods)
    assert counted(watch) == {"uid-default-p0", "uid-default-p1"}
    assert watch.breaker("nebius").closed
    watch.see(62, NODES, pods)
    assert watch.breaker("nebius").reason is Reason.PROVISIONING_FAILED
    assert dict(watch.state.memory.not_bound) == {}


def test_a_provider_that_is_full_has_not_failed() -> None:
    pods = unlike(5)
    watch = watching()
    watch.see(10_000, NODES, pods)
    assert watch.breaker("nebius").closed


def test_a_provider_that_became_free_is_given_its_time_from_then_on() -> None:
    pods = unlike()
    watch = watching(*pods, since=500)
    watch.see(559, NODES, pods)
    assert watch.breaker("nebius").closed
    watch.see(560, NODES, pods)
    assert not watch.breaker("nebius").closed


def test_a_provider_that_makes_nodes_fails_when_they_do_not_come() -> None:
    pods = [*unlike(), *FULL]
    watch = watching(on_demand=True)
    watch.see(599, NODES, pods)
    assert watch.breaker("nebius").closed
    watch.see(600, NODES, pods)
    assert watch.breaker("nebius").reason is Reason.PROVISIONING_FAILED


def test_pods_that_its_nodes_can_never_take_do_not_count() -> None:
    elsewhere = term(Requirement("computepool.io/provider", "In", ("crusoe",)))
    pods = [sent(f"p{index}", shaped=shaped(affinity=[elsewhere])) for index in range(3)]
    watch = watching(on_demand=True)
    watch.see(10_000, NODES, pods)
    assert watch.breaker("nebius").closed


@pytest.mark.parametrize("on_demand", [False, True])
def test_pods_with_constraints_that_fit_does_not_model_do_not_count(on_demand: bool) -> None:
    pods = [sent(f"p{index}", shaped=shaped(unmodelled=["volumes"])) for index in range(3)]
    watch = watching(*pods, on_demand=on_demand)
    watch.see(10_000, NODES, pods)
    assert watch.breaker("nebius").closed
    assert dict(watch.state.memory.not_bound) == {}


def test_pods_that_found_a_place_elsewhere_since_have_still_not_been_bound_in_time() -> None:
    pods = unlike(apart=100)
    watch = watching(*pods)
    watch.see(60, NODES, pods[:1])
    watch.see(160, NODES, pods[1:2])
    assert len(counted(watch)) == 2
    watch.see(260, NODES, pods[2:])
    assert not watch.breaker("nebius").closed


def test_a_pod_that_is_bound_there_ends_the_count() -> None:
    pods = unlike(apart=10)
    watch = watching(*pods)
    watch.see(70, NODES, pods[:2])
    assert len(counted(watch)) == 2
    bound = pod("bound", on="n1", sent=[("nebius", NOW + 65)])
    watch.see(80, NODES, [*pods, bound])
    assert dict(watch.state.memory.not_bound) == {}
    # Also after it has ended: what was offered before it is at fault itself.
    watch.see(90, NODES, pods)
    assert dict(watch.state.memory.not_bound) == {}


def test_pods_that_were_bound_before_say_nothing_about_now() -> None:
    pods = unlike()
    watch = watching(*pods)
    watch.see(60, NODES, [*pods, pod("old", on="n1", sent=[("nebius", NOW - 1)])])
    assert watch.breaker("nebius").reason is Reason.PROVISIONING_FAILED


def test_pods_that_were_admitted_with_the_toleration_count_from_their_creation() -> None:
    pods = [
        pod(f"p{index}", shaped=shaped(1 + index), tolerates=["nebius"], created=NOW, since=NOW, unschedulable=True)
        for index in range(3)
    ]
    watch = watching(*pods)
    watch.see(59, NODES, pods)
    assert watch.breaker("nebius").closed
    watch.see(60, NODES, pods)
    assert not watch.breaker("nebius").closed


def test_pods_in_other_hands_do_not_count() -> None:
    pods = [sent("gated", gated=True), sent("ending", deleting=NOW + 100), sent("promised", nominated="n1")]
    watch = watching(*pods, failures=1)
    watch.see(1000, NODES, pods)
    assert watch.breaker("nebius").closed


def test_what_was_offered_before_the_breaker_changed_is_not_counted_again() -> None:
    pods = unlike()
    watch = watching(*pods)
    watch.state = pool_state(fitting=watch.state.memory.fitting, breakers={"nebius": Breaker(since=NOW + 1)})
    watch.see(1000, NODES, pods)
    assert watch.breaker("nebius") == Breaker(since=NOW + 1)


def test_the_primary_is_not_counted() -> None:
    pods = [pod(f"p{index}") for index in range(3)]
    watch = Watch(pool(), pool_state(fitting={(held_pod.uid, "aws"): NOW for held_pod in pods}))
    watch.see(1000, NODES, pods)
    assert watch.breaker("aws").closed


# -- whose fault it is


def test_many_pods_of_one_workload_tell_of_this_workload() -> None:
    pods = unlike(owner="job")
    watch = watching(*pods)
    watch.see(60, NODES, pods)
    watch.see(61, NODES, pods)
    assert watch.breaker("nebius").closed
    assert counted(watch) == {"job"}


def test_many_workloads_of_one_shape_tell_of_this_shape() -> None:
    pods = [sent(f"p{index}", owner=f"job-{index}") for index in range(5)]
    watch = watching(*pods)
    watch.see(60, NODES, pods)
    assert watch.breaker("nebius").closed


def test_a_provider_with_free_accelerators_is_good_for_other_pods_than_those_that_need_new_nodes() -> None:
    pods = [sent(f"p{index}", shaped=shaped(16 + index), owner=f"job-{index}") for index in range(5)]
    watch = watching(on_demand=True)
    watch.see(600, NODES, pods)
    assert watch.breaker("nebius").closed
    watch.see(601, NODES, [*pods, *FULL])
    assert watch.breaker("nebius").reason is Reason.PROVISIONING_FAILED


def test_a_toleration_that_is_added_makes_no_other_shape() -> None:
    pods = [
        sent(f"p{index}", owner=f"job-{index}", tolerates=["crusoe"] if index else [], burst="nebius")
        for index in range(3)
    ]
    watch = watching(*pods)
    watch.see(60, NODES, pods)
    assert len({shape for _, shape in watch.state.memory.not_bound["nebius"]}) == 1


def test_the_pairs_that_are_kept_have_a_limit() -> None:
    pods = [sent(f"p{index}", index / 1000) for index in range(MOST + 10)]
    watch = watching(*pods)
    watch.see(60.999, NODES, pods)
    watch.see(70, NODES, pods)
    assert len(watch.state.memory.not_bound["nebius"]) == MOST


def test_pods_that_their_scheduler_has_not_judged_tell_nothing_of_the_provider() -> None:
    pods = unlike(5, unschedulable=False)
    watch = watching(*pods)
    watch.see(10_000, NODES, pods)
    assert watch.breaker("nebius").closed
    assert watch.state.recorded.hold_offs == ()


def test_while_the_scheduler_is_down_no_provider_is_convicted_and_all_pods_run_soon_afterwards() -> None:
    nodes = [node("a1"), node("n1"), node("n2"), node("c1"), node("c2")]
    simulation = Simulation(pool(), nodes, NOW)
    simulation.owners.create(PodTemplate(shaped(8)), 1)
    simulation.run(10)
    runs, simulation.scheduler.run = simulation.scheduler.run, lambda: 0  # type: ignore[method-assign]
    for gpus in (1, 2, 3, 4):
        simulation.owners.create(PodTemplate(shaped(gpus)), 1)
    simulation.run(300)
    recorded = simulation.operator.state.recorded
    assert recorded.hold_offs == ()
    assert all(breaker.closed for breaker in recorded.breakers.values())
    simulation.scheduler.run = runs  # type: ignore[method-assign]
    simulation.owners.create(PodTemplate(shaped(1)), 1)
    simulation.run(10)
    assert simulation.cluster.waiting_pods() == []
