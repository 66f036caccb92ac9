"""Running pods leave a failed provider for a provider that makes nodes on demand, and no more of them than is safe."""

from __future__ import annotations

from typing import Any

import pytest

from computepool.model.api import BreakerState
from computepool.model.moves import MoveKind
from computepool.model.reasons import Reason
from computepool.simulate.owners import PodTemplate
from computepool.simulate.simulation import Simulation
from tests.builders import NOW, node, pool, pool_state, provider, shape, snapshot
from tests.unit.core.moving import blocked, faults_of, moved_to, owned, stay_of, unhealthy_node
from tests.unit.core.passes import decided

TIMEOUT = 300


def simulated(pods: int = 12, nodes: int = 2, **standby: Any) -> Simulation:
    """A standing primary with two pods of four accelerators on each node, and a standby without any node yet."""
    simulation = Simulation(
        pool(
            provider("aws"),
            provider("nebius", on_demand=True, timeout=TIMEOUT, **standby),
            health={"sustainSeconds": 0},
            failover={"runningPods": "Move", "silenceSeconds": 0, "maxConcurrentMoves": 10, "perMinute": None},
        ),
        [node(f"a{index}", 8) for index in range(nodes)],
        NOW,
    )
    simulation.owners.create(PodTemplate(shape(1)), pods)
    simulation.run(60)
    return simulation


def fail(simulation: Simulation, ready: str, *names: str) -> None:
    for name in names:
        simulation.cluster.update_node(name, ready=ready)


def running_on(simulation: Simulation, provider_name: str) -> int:
    return len([one for one in simulation.cluster.pods_on(provider_name) if one.deleting is None])


def waiting(simulation: Simulation) -> int:
    return len(simulation.cluster.waiting_pods())


def join(simulation: Simulation, name: str, gpus: int = 8) -> None:
    simulation.cluster.add_node(node(name, gpus, of="nebius"))


def test_pods_of_dead_nodes_leave_at_once_within_the_limits() -> None:
    simulation = simulated()
    fail(simulation, "Unknown", "a0", "a1")
    simulation.run(20)
    assert waiting(simulation) == 10  # maxConcurrentMoves
    join(simulation, "n1")
    join(simulation, "n2")
    simulation.run(60)
    assert (waiting(simulation), running_on(simulation, "nebius")) == (0, 12)


def test_one_dead_node_of_three_is_left_too() -> None:
    simulation = simulated(pods=24, nodes=3)
    fail(simulation, "Unknown", "a1")
    simulation.run(20)
    assert waiting(simulation) == 8
    join(simulation, "n1")
    simulation.run(20)
    assert (running_on(simulation, "aws"), running_on(simulation, "nebius")) == (16, 8)


def test_no_more_pods_leave_than_the_provider_may_hold() -> None:
    simulation = simulated(max_accelerators=5)
    fail(simulation, "Unknown", "a0", "a1")
    simulation.run(60)
    assert waiting(simulation) == 5
    assert set(blocked(simulation.step().plan).values()) == {Reason.WOULD_STRAND}


def test_of_pods_that_still_run_a_single_pod_goes_first_and_the_others_follow_as_nodes_come() -> None:
    simulation = simulated()
    fail(simulation, "False", "a0", "a1")
    simulation.run(200)
    assert (waiting(simulation), running_on(simulation, "aws")) == (1, 11)
    assert ("nebius", Reason.AWAITING_NODES) in stay_of(simulation.step().plan, "w0-2").rejected
    join(simulation, "n1")
    simulation.run(5)
    # Seven pods take the rest of the node. One more goes ahead to the node after it.
    assert (running_on(simulation, "nebius"), waiting(simulation)) == (8, 1)
    join(simulation, "n2")
    simulation.run(5)
    assert (running_on(simulation, "nebius"), waiting(simulation)) == (12, 0)


def test_a_provider_that_delivers_nothing_in_time_gets_no_second_pod_that_still_runs() -> None:
    simulation = simulated()
    fail(simulation, "False", "a0", "a1")
    simulation.run(4 * TIMEOUT)
    assert (waiting(simulation), running_on(simulation, "aws")) == (1, 11)


def test_a_restart_lets_no_second_pod_go_ahead() -> None:
    simulation = simulated()
    fail(simulation, "False", "a0", "a1")
    simulation.run(20)
    simulation.operator.restart()
    simulation.run(TIMEOUT / 2)
    assert (waiting(simulation), running_on(simulation, "aws")) == (1, 11)


def test_a_move_is_under_way_for_as_long_as_its_new_node_may_take() -> None:
    simulation = simulated()
    fail(simulation, "False", "a0", "a1")
    simulation.run(TIMEOUT - 10)
    (move,) = simulation.operator.store.snapshot(simulation.cluster.pool.name).moves
    assert (move.stage, move.is_under_way(simulation.clock.now)) == ("Left", True)


def test_a_second_provider_on_demand_lets_no_second_pod_go_ahead() -> None:
    crusoe = provider("crusoe", on_demand=True, timeout=TIMEOUT)
    pool_with = pool(
        provider("aws"),
        provider("nebius", on_demand=True, timeout=TIMEOUT),
        crusoe,
        health={"sustainSeconds": 0},
        failover={"runningPods": "Move"},
    )
    simulation = Simulation(pool_with, [node("a0", 8), node("a1", 8)], NOW)
    simulation.owners.create(PodTemplate(shape(1)), 12)
    simulation.run(60)
    fail(simulation, "False", "a0", "a1")
    simulation.run(4 * TIMEOUT)
    assert (waiting(simulation), running_on(simulation, "aws")) == (1, 11)


def test_a_primary_that_makes_no_node_costs_a_single_pod() -> None:
    of = pool(
        provider("aws", on_demand=True, timeout=TIMEOUT),
        provider("nebius"),
        health={"sustainSeconds": 0},
        failover={"runningPods": "Move"},
    )
    simulation = Simulation(of, [node("n0", 8), node("n1", 8)], NOW)
    simulation.owners.create(PodTemplate(shape(1)), 12)
    simulation.run(2 * TIMEOUT)
    assert running_on(simulation, "nebius") == 12
    fail(simulation, "False", "n0", "n1")
    for _ in range(2):
        simulation.run(2 * TIMEOUT)
        simulation.operator.restart()
        assert (waiting(simulation), running_on(simulation, "nebius")) == (1, 11)


def test_an_owner_that_makes_no_replacement_loses_no_second_pod() -> None:
    simulation = simulated()
    simulation.owners.held = True
    fail(simulation, "False", "a0", "a1")
    simulation.run(4 * TIMEOUT)
    assert (waiting(simulation), running_on(simulation, "aws")) == (0, 11)


@pytest.mark.parametrize("fewer", [1, 3])
def test_after_its_owner_has_removed_the_pod_that_goes_ahead_another_pod_does(fewer: int) -> None:
    simulation = simulated()
    fail(simulation, "False", "a0", "a1")
    simulation.run(100)
    for _ in range(fewer):
        (ahead,) = simulation.cluster.waiting_pods()
        simulation.owners.want_fewer(ahead.uid)
        simulation.run(TIMEOUT)
    assert (waiting(simulation), running_on(simulation, "aws")) == (1, 11 - fewer)
    join(simulation, "n1", 16)
    simulation.run(60)
    assert (running_on(simulation, "aws"), running_on(simulation, "nebius")) == (0, 12 - fewer)


def test_a_pod_that_no_node_can_ever_take_keeps_no_smaller_pod_from_leaving() -> None:
    simulation = simulated()
    simulation.owners.create(PodTemplate(shape(64)), 1)
    simulation.run(2 * TIMEOUT)
    fail(simulation, "False", "a0", "a1")
    simulation.run(20)
    assert running_on(simulation, "aws") == 11
    join(simulation, "n1")
    join(simulation, "n2")
    simulation.run(20)
    assert running_on(simulation, "nebius") == 12


def test_a_pod_that_names_its_node_stays_because_no_new_node_has_that_name() -> None:
    of = pool(provider("aws"), provider("nebius", on_demand=True), failover={"silenceSeconds": 0})
    nodes = [unhealthy_node("a1", ready="Unknown", labels={"kubernetes.io/hostname": "a1"})]
    state = pool_state(node_faults=faults_of("a1", reason=Reason.NODE_UNKNOWN))
    named = owned("web", on="a1", shaped=shape(1, selector={"kubernetes.io/hostname": "a1"}))
    plan = decided(snapshot(of, nodes, [named]), state)
    assert moved_to(plan) == {}
    assert ("nebius", Reason.PINNED) in stay_of(plan, "web").rejected


def test_a_free_place_anywhere_is_taken_before_a_new_node() -> None:
    of = pool(provider("aws"), provider("nebius", on_demand=True), provider("crusoe"), failover={"silenceSeconds": 0})
    nodes = [unhealthy_node("a1", ready="Unknown"), node("c1", 1)]
    pods = [owned("one", on="a1"), owned("two", on="a1")]
    plan = decided(snapshot(of, nodes, pods), pool_state(node_faults=faults_of("a1", reason=Reason.NODE_UNKNOWN)))
    assert moved_to(plan) == {"one": "crusoe", "two": "nebius"}
    assert {move.pod.name: move.room_seconds > 0 for move in plan.moves} == {"one": False, "two": True}


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ({"shaped": shape(1, selector={"gpu": "b300"})}, None),
        ({"shaped": shape(1, selector={"computepool.io/provider": "aws"})}, Reason.PINNED),
        ({"tolerates": ["nebius"]}, None),
    ],
    ids=["a label that a new node may have", "a label that no node there can have", "a toleration from before"],
)
def test_a_pod_leaves_only_for_a_provider_whose_nodes_it_may_use(template: dict[str, Any], why: Reason | None) -> None:
    of = pool(provider("aws"), provider("nebius", on_demand=True), failover={"silenceSeconds": 0})
    nodes = [unhealthy_node("a1", ready="Unknown", labels={"gpu": "b300"})]
    state = pool_state(node_faults=faults_of("a1", reason=Reason.NODE_UNKNOWN))
    plan = decided(snapshot(of, nodes, [owned("web", on="a1", **template)]), state)
    assert moved_to(plan) == ({} if why else {"web": "nebius"})
    if why:
        assert ("nebius", why) in stay_of(plan, "web").rejected


def test_an_open_breaker_makes_no_node() -> None:
    simulation = simulated()
    fail(simulation, "False", "a0", "a1")
    simulation.run(20)
    spec = simulation.cluster.pool.spec
    drained = spec.providers[1].model_copy(update={"drain": True})
    simulation.cluster.pool = simulation.cluster.pool.model_copy(
        update={"spec": spec.model_copy(update={"providers": (spec.providers[0], drained)})}
    )
    simulation.operator.restart()
    fail(simulation, "Unknown", "a0", "a1")
    simulation.run(60)
    assert simulation.operator.state.breaker("nebius").state is BreakerState.OPEN
    assert [found.move.kind for found in simulation.operator.moved] == [MoveKind.FAILOVER]
