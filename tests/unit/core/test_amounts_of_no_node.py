"""A user may write any amount into a pod, and a node may report any: nobody else's pods wait for that."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from computepool.model.cluster import Pod, Shape
from computepool.model.quantity import MAX_AMOUNT, MILLI
from computepool.model.reasons import Reason
from tests.builders import GPU, NOW, node, pod, pool, provider, shape, snapshot, standby_toleration
from tests.unit.core.passes import decided, holds, sent_to

BOUNDS: dict[str, dict[str, Any]] = {
    "perHour": {"budget": {"perHour": "100"}},
    "perDay": {"budget": {"perDay": "100"}},
    "maxAccelerators": {},
}


def of_amount(amount: int, **fields: Any) -> Pod:
    """A pod of that many accelerators that tolerates nebius' taint."""
    shape = Shape((("nvidia.com/gpu", min(MAX_AMOUNT, amount * MILLI)),), tolerations=(standby_toleration("nebius"),))
    return pod(f"of-{amount}", shaped=shape, **fields)


def bounded_by(bound: str, *, on_demand: bool = False) -> Any:
    """A pool whose standby has this bound."""
    standby = provider("nebius", price="2", max_accelerators=16 if bound == "maxAccelerators" else None)
    standby["capacity"]["type"] = "OnDemand" if on_demand else "Standing"
    return pool(provider("aws"), standby, **BOUNDS[bound])


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("amount", [16, 10**6, 10**400])
@pytest.mark.parametrize("where", ["waits", "n1", "a node that is not there"])
def test_a_pod_larger_than_any_node_uses_up_no_budget_and_no_limit(bound: str, amount: int, where: str) -> None:
    if where == "a node that is not there":
        amount *= 1000  # Such a node might be larger than all others.
    large = of_amount(amount, on="n1" if where == "n1" else "")
    there = (large,) if where != "a node that is not there" else ()
    gone = () if there else (of_amount(amount, on="gone"),)
    seen = snapshot(
        bounded_by(bound),
        [node("a1"), node("n1"), node("n2")],
        [pod("full", 8, on="a1"), pod("mine"), *there],
        on_unknown_nodes=gone,
    )
    plan = decided(seen)
    assert sent_to(plan) == {"mine": "nebius"}
    assert holds(plan) == ({large.name: Reason.TOO_LARGE} if where == "waits" else {})


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize(
    ("why", "fields"),
    [
        (Reason.PINNED, {"selector": {"disk": "nvme"}}),
        (Reason.TOO_LARGE, {"more": {"cpu": 1000}}),
    ],
)
def test_pods_that_no_node_of_a_standby_admits_use_up_nothing_there(
    bound: str, why: Reason, fields: dict[str, Any]
) -> None:
    never = [pod(f"never-{index}", shaped=shape(8, **fields), tolerates=["nebius"]) for index in range(10)]
    seen = snapshot(bounded_by(bound), [node("a1"), node("n1")], [pod("full", 8, on="a1"), *never, pod("mine")])
    plan = decided(seen)
    assert sent_to(plan) == {"mine": "nebius"}
    assert set(holds(plan).values()) == {why}


@pytest.mark.parametrize("bound", BOUNDS)
def test_a_provider_that_makes_nodes_may_make_a_larger_one_but_no_such_one(bound: str) -> None:
    def sent(amount: int) -> dict[str, str]:
        pods = [pod("full", 8, on="a1"), pod("mine", 2), of_amount(amount, on="gone")]
        seen = snapshot(
            bounded_by(bound, on_demand=True), [node("a1"), node("n1", 2)], pods[:2], on_unknown_nodes=(pods[2],)
        )
        return sent_to(decided(seen))

    assert sent(64) == {}
    assert sent(10**6) == {"mine": "nebius"}


def test_many_pods_that_are_bound_by_hand_hold_no_more_than_their_node_has() -> None:
    pods = [of_amount(8, on="n1", uid=f"uid-{index}") for index in range(20)]
    supply = decided(snapshot(bounded_by("perDay"), [node("a1"), node("n1"), node("n2")], pods)).assessment.supplies[1]
    assert (supply.pods, supply.accelerators, supply.held) == (20, 8 * MILLI, 8 * MILLI)


def test_a_node_that_has_lost_its_capacity_for_a_moment_still_holds_its_pods() -> None:
    pods = [of_amount(8, on="n1")]
    supply = decided(snapshot(bounded_by("perDay"), [node("a1"), node("n1", 0)], pods)).assessment.supplies[1]
    assert supply.held == 8 * MILLI


@pytest.mark.parametrize("ready", ["True", "False"])
def test_a_node_of_a_senseless_size_does_not_outweigh_all_others(ready: str) -> None:
    amounts = {GPU: 8 * MILLI, "pods": 110 * MILLI}
    odd = msgspec.structs.replace(node("n1"), allocatable=amounts, capacity={**amounts, GPU: MAX_AMOUNT})
    others = [node("a1"), *(node(f"n{index}") for index in range(2, 6))]
    state = decided(snapshot(pool(), [odd, *others])).state
    for at in (NOW + 10, NOW + 4000):
        plan = decided(snapshot(pool(), [msgspec.structs.replace(odd, ready=ready), *others], at=at), state, at)
        state = plan.state
    assert plan.assessment.health.providers["nebius"].failing is None
    assert set(plan.assessment.health.providers["nebius"].unhealthy) == {"n1"}
