"""Places of moved pods are kept until their replacements are demand themselves, and replacements are sent at once."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from computepool.model.reasons import Reason
from computepool.simulate.owners import PodTemplate
from computepool.simulate.simulation import Simulation
from tests.builders import NOW, node, pod, pod_move, pool, pool_state, provider, shape, snapshot
from tests.unit.core.moving import faults_of, moved_to, opened, owned, stay_of, unhealthy_node
from tests.unit.core.passes import decided, holds, sent_to


def test_the_place_of_an_evicted_pod_is_kept_until_its_replacement_is_seen() -> None:
    gone = owned("gone", 8, on="n1")
    of = pool(provider("aws"), provider("nebius"))
    nodes = [node("a1", 8), node("n2")]
    full = pod("full", 8, on="a1")
    under_way = (pod_move(gone, "nebius", at=NOW - 3),)
    other = pod("other", 8)
    assert sent_to(decided(snapshot(of, nodes, [full, other]))) == {"other": "nebius"}
    plan = decided(snapshot(of, nodes, [full, other], moves=under_way))
    assert holds(plan) == {"other": Reason.NO_ROOM}
    assert plan.recheck_at == NOW - 3 + 120
    late = decided(snapshot(of, nodes, [full, other], moves=(pod_move(gone, "nebius", at=NOW - 120),)))
    assert sent_to(late) == {"other": "nebius"}


def test_a_move_whose_target_fails_has_its_next_place_before_others_are_moved() -> None:
    # It was to go to the primary's other node, which fails a moment later: what is left is one place, and it is the
    # only one that the budget covers.
    gone, runs = owned("gone", on="a1", age=60), owned("runs", on="a2")
    dear = provider("nebius", price="1")
    state = pool_state(node_faults=faults_of("a1", "a2"), breakers={"aws": opened()})
    nodes = [unhealthy_node("a1"), unhealthy_node("a2"), node("n1")]
    for of, beside in (
        (pool(provider("aws"), dear, budget={"perHour": "1"}), ()),
        (pool(provider("aws"), dear), (pod("full", 7, on="n1"),)),
    ):
        seen = snapshot(of, nodes, [runs, *beside])
        assert moved_to(decided(seen, state)) == {"runs": "nebius"}
        plan = decided(msgspec.structs.replace(seen, moves=(pod_move(gone, "aws", at=NOW - 1, order=1),)), state)
        assert moved_to(plan) == {}
        assert stay_of(plan, "runs").reason is Reason.WOULD_STRAND
    # One that may not go there has no place to keep.
    tied = msgspec.structs.replace(gone, allowed=())
    flown = (pod_move(tied, "aws", at=NOW - 1, order=1),)
    assert moved_to(decided(msgspec.structs.replace(seen, moves=flown), state)) != {}


def test_a_move_whose_standby_fails_has_its_next_place_kept() -> None:
    gone, runs = owned("gone", on="n1", age=60), owned("runs", on="n2")
    of = pool(provider("aws"), provider("nebius"), provider("crusoe"))
    state = pool_state(node_faults=faults_of("n1", "n2"), breakers={"nebius": opened()})
    full = (pod("full", 8, on="a1"), pod("most", 7, on="c1"))
    seen = snapshot(of, [node("a1"), unhealthy_node("n1"), unhealthy_node("n2"), node("c1")], [runs, *full])
    assert moved_to(decided(seen, state)) == {"runs": "crusoe"}
    flown = (pod_move(gone, "nebius", at=NOW - 1, order=1),)
    assert moved_to(decided(msgspec.structs.replace(seen, moves=flown), state)) == {}


def test_the_replacement_is_sent_on_at_once() -> None:
    gone = owned("gone", 8, on="n1")
    new = pod("new", 8, owner="rs-1", waited=1)
    seen = snapshot(
        pool(), [node("a1"), node("n2")], [pod("full", 8, on="a1"), new], moves=(pod_move(gone, "nebius", at=NOW - 1),)
    )
    assert sent_to(decided(seen)) == {"new": "nebius"}
    assert holds(decided(msgspec.structs.replace(seen, moves=()))) == {"new": Reason.BELOW_PENDING_SECONDS}


def places_beside(*waiting: Any, ago: float) -> int:
    """How many pods may leave an unhealthy node for two places on a standby, after another pod was moved there."""
    gone = pod_move(owned("gone", on="a1", age=9000), "nebius", at=NOW - ago)
    pods = [*(owned(f"runs-{index}", on="a1") for index in range(4)), pod("full", 8, on="a2"), *waiting]
    of = pool(provider("aws"), provider("nebius"), failback={"policy": "Never", "minDwellSeconds": 0})
    seen = snapshot(of, [unhealthy_node("a1"), node("a2"), node("n1", 2)], pods, moves=(gone,))
    return len(moved_to(decided(seen, pool_state(node_faults=faults_of("a1")))))


@pytest.mark.parametrize(
    "held",
    [{"gated": True}, {"shaped": shape(1, scheduler="absent")}, {"gated": True, "deleting": NOW + 5}],
    ids=["gated", "no scheduler", "terminating"],
)
@pytest.mark.parametrize("ago", [60.0, 3600.0, 80_000.0])
def test_the_place_of_a_replacement_that_is_no_demand_is_kept_for_as_long_as_it_waits(
    held: dict[str, Any], ago: float
) -> None:
    assert places_beside(pod("new", owner="rs-1", waited=ago - 1, **held), ago=ago) == 1


def test_a_replacement_that_is_gone_keeps_no_place() -> None:
    assert places_beside(ago=3600) == 2
    assert places_beside(pod("other", owner="rs-2", waited=3599, gated=True), ago=3600) == 2


def test_a_replacement_whose_gate_is_lifted_late_takes_its_place_at_once() -> None:
    new = pod("new", owner="rs-1", waited=3599, since=NOW - 1)
    assert places_beside(new, ago=3600) == 1


@pytest.mark.parametrize(
    "held", [{"gated": True}, {"shape": shape(1, scheduler="absent")}], ids=["gated", "no scheduler"]
)
def test_pods_whose_replacements_wait_for_a_gate_or_a_scheduler_leave_one_for_each_place(
    held: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    of = pool(provider("aws"), provider("nebius"), health={"conditions": [{"type": "XidError", "badStatus": "True"}]})
    scene = Simulation(of, [node("a1", 8), node("n1", 2)], NOW)
    create, cluster = scene.cluster.create_pod, scene.cluster
    scene.owners.create(PodTemplate(shape(1)), 8)
    scene.run(900)
    monkeypatch.setattr(cluster, "create_pod", lambda new: create(msgspec.structs.replace(new, **held)))
    cluster.update_node("a1", conditions=(("XidError", "True"),))
    for _ in range(8):
        scene.run(600)
        assert len(cluster.pods_on("aws")) == 6
    for one in cluster.waiting_pods():
        cluster.update_pod(one.uid, gated=False, since=scene.clock.now)
    scene.run(60)
    assert len(cluster.pods_on("aws")) == 6
    assert len(cluster.pods_on("nebius")) == (2 if "gated" in held else 0)
