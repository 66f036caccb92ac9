"""Ready pods with constraints that fit does not model leave what fails one after another."""

from __future__ import annotations

from collections import Counter

import pytest

from computepool.model.cluster import Node, Pod
from computepool.model.reasons import Reason
from computepool.simulate.owners import PodTemplate
from computepool.simulate.simulation import Simulation
from tests.builders import NOW, node, pool, provider, shape

SPREAD = shape(1, unmodelled=["topologySpreadConstraints"])


def spread_over_providers(*, fails: str, crusoe: int = 0, dwell: int = 600, held: bool = False) -> Simulation:
    """Six pods on aws and six on nebius, as topologySpreadConstraints have it; four nodes of nebius fail."""
    nodes = [node("a1", 16), *(node(f"n{index}", 1) for index in range(6))]
    of = pool(
        *(provider(name) for name in ("aws", "nebius", *(["crusoe"] if crusoe else []))),
        failover={"runningPods": "Move", "silenceSeconds": 0},
        failback={"minDwellSeconds": dwell},
        health={"conditions": [{"type": "XIDErrors", "badStatus": "True"}]},
    )
    cluster = Simulation(of, nodes, NOW)
    zones = ["aws", "nebius"]

    def is_skewed(pod: Pod, to: Node) -> bool:
        provider_of = cluster.cluster.provider_of
        zone_of = {"crusoe": "nebius"}
        bound = (one for one in cluster.cluster.pods.values() if one.node and one.deleting is None and one is not pod)
        counts = Counter(zone_of.get(name, name) for name in (provider_of(one.node) for one in bound))
        zone = zone_of.get(provider_of(to.name), provider_of(to.name))
        return counts[zone] + 1 - min(counts[other] for other in zones) > 1

    cluster.scheduler.forbids = is_skewed
    cluster.owners.create(PodTemplate(SPREAD), 12)
    cluster.run(60)
    assert len(cluster.cluster.pods_on("nebius")) == 6
    cluster.owners.held = held
    if crusoe:
        cluster.cluster.add_node(node("c1", crusoe))
    for index in range(4):
        if fails == "condition":
            cluster.cluster.update_node(f"n{index}", conditions=(("XIDErrors", "True"),))
        else:
            cluster.cluster.update_node(f"n{index}", ready="Unknown")
    cluster.run(300)
    return cluster


def test_ready_pods_stay_while_the_replacement_of_the_first_finds_no_place() -> None:
    cluster = spread_over_providers(fails="condition")
    assert len(cluster.cluster.waiting_pods()) == 1
    assert len(cluster.cluster.pods_on("nebius")) == 5
    assert {blocked.reason for blocked in cluster.settle().plan.blocked} == {Reason.AWAITS_REPLACEMENT}


def test_they_all_leave_where_their_constraints_let_them() -> None:
    cluster = spread_over_providers(fails="condition", crusoe=8)
    cluster.run(300)
    assert len(cluster.cluster.pods_on("crusoe")) == 6
    assert not cluster.cluster.waiting_pods()


def test_an_owner_that_makes_no_replacement_keeps_its_other_pods_for_a_while_only() -> None:
    cluster = spread_over_providers(fails="condition", dwell=86_400, held=True)
    assert len(cluster.operator.moved) == 1
    cluster.run(200)
    assert len(cluster.operator.moved) == 2


def test_pods_of_dead_nodes_do_not_wait_for_one_another() -> None:
    cluster = spread_over_providers(fails="silence")
    assert {done.move.pod.node for done in cluster.operator.moved} >= {"n0", "n1", "n2", "n3"}


@pytest.mark.parametrize("is_ready", [True, False])
def test_a_pod_that_is_not_ready_has_nothing_to_lose(is_ready: bool) -> None:
    cluster = Simulation(
        pool(health={"sustainSeconds": 0, "conditions": [{"type": "XIDErrors", "badStatus": "True"}]}),
        [node("a1", 4), node("n1", 8)],
        NOW,
    )
    cluster.owners.create(PodTemplate(SPREAD), 4)
    cluster.settle()
    for pod in cluster.cluster.pods_on("aws"):
        cluster.cluster.update_pod(pod.uid, ready=is_ready, started=NOW + 1e9)
    cluster.scheduler.forbids = lambda _pod, to: to.name == "n1"
    cluster.cluster.update_node("a1", conditions=(("XIDErrors", "True"),))
    cluster.run(10)
    assert len(cluster.operator.moved) == (1 if is_ready else 4)
