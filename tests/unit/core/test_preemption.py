"""Preemption on standbys: a pod of higher priority gets the toleration of a full standby, and the scheduler does it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from computepool.assess.breakers.not_bound import digest_of
from computepool.model.cluster import Pod
from computepool.model.reasons import Reason
from computepool.model.state import HoldOff
from tests.builders import NOW, node, pod, pool, pool_state, provider, shape, snapshot
from tests.unit.core.passes import Decided, burst_of, decided, flying, hold_of, holds, sent_to

KEPT = {"preemption": "Never"}


def full(*, nebius: int = 0, crusoe: int = 0, aws: int = 1000) -> list[Pod]:
    """A pod of these priorities on each provider's only node, which it fills."""
    return [
        pod("home", 8, on="a1", priority=aws),
        pod("there", 8, on="n1", priority=nebius),
        pod("far", 8, on="c1", priority=crusoe),
    ]


def plan(*waiting: Pod, running: Sequence[Pod] | None = None, **of: Any) -> Decided:
    providers = of.pop("providers", ())
    in_flight = of.pop("in_flight", {})
    pods = [*(full() if running is None else running), *waiting]
    nodes = [node("a1"), node("n1"), node("c1")]
    return decided(snapshot(pool(*providers, **of), nodes, pods, in_flight=in_flight))


def urgent(name: str = "urgent", gpus: int = 1, **fields: Any) -> Pod:
    return pod(name, gpus, **{"priority": 1000, "unschedulable": True, **fields})


def preempting(name: str, **capacity: Any) -> dict[str, Any]:
    made = provider(name)
    return {**made, "capacity": {**made["capacity"], **capacity}}


def test_a_pod_of_higher_priority_than_pods_on_full_standbys_is_sent_to_the_first_of_them() -> None:
    found = plan(urgent())
    burst = burst_of(found, "urgent")
    assert (burst.provider, burst.reason) == ("nebius", Reason.SENT_TO_PREEMPT)
    assert burst.rejected == (("aws", Reason.NO_ROOM),)


@pytest.mark.parametrize(
    "waiting",
    [
        urgent(priority=0),
        urgent(preempts=False),
        urgent(waited=4),
        urgent(gpus=9),
        urgent(allowed=()),
        urgent(gated=True),
    ],
    ids=["equal priority", "preemptionPolicy Never", "pendingSeconds", "too large", "not allowed", "gated"],
)
def test_a_pod_that_may_not_preempt_waits(waiting: Pod) -> None:
    assert not plan(waiting).bursts


def test_a_pod_that_may_preempt_later_is_rechecked_in_time() -> None:
    pinned = urgent(waited=2, shaped=shape(1, selector={"computepool.io/provider": "nebius"}))
    found = plan(pinned)
    assert not found.bursts
    assert found.recheck_at == NOW + 3


def test_free_room_on_a_later_standby_comes_before_preemption_on_an_earlier_standby() -> None:
    running = [running for running in full() if running.node != "c1"]
    burst = burst_of(plan(urgent(), running=running), "urgent")
    assert (burst.provider, burst.reason) == ("crusoe", Reason.PRIMARY_SATURATED)


def test_a_standby_that_forbids_it_is_passed_over() -> None:
    providers = (provider("aws"), preempting("nebius", **KEPT), provider("crusoe"))
    assert sent_to(plan(urgent(), providers=providers)) == {"urgent": "crusoe"}
    providers = (provider("aws"), preempting("nebius", **KEPT), preempting("crusoe", **KEPT))
    assert holds(plan(urgent(), providers=providers)) == {"urgent": Reason.NO_ROOM}


def test_only_pods_of_lower_priority_make_room_whichever_pool_they_belong_to() -> None:
    mixed = [pod("home", 8, on="a1", priority=1000), pod("big", 6, on="n1", priority=1000), pod("low", 2, on="n1")]
    mixed.append(pod("far", 8, on="c1", priority=1000))
    assert sent_to(plan(urgent(gpus=2), running=mixed)) == {"urgent": "nebius"}
    assert holds(plan(urgent(gpus=3), running=mixed)) == {"urgent": Reason.NO_ROOM}


def test_each_place_is_given_away_once() -> None:
    pods = [urgent(f"u{i}", 4, waited=60 - i) for i in range(5)]
    found = plan(*pods)
    assert sent_to(found) == {"u0": "nebius", "u1": "nebius", "u2": "crusoe", "u3": "crusoe"}
    assert holds(found) == {"u4": Reason.NO_ROOM}


def test_a_pod_whose_patch_is_under_way_keeps_the_place_that_it_gets_by_preemption() -> None:
    first, second = urgent("first", 8), urgent("second", 8, waited=50)
    found = plan(first, second, in_flight=flying(first, to="nebius"))
    assert sent_to(found) == {"second": "crusoe"}


def test_a_pod_that_was_sent_waits_for_the_scheduler_and_goes_on_after_the_timeout() -> None:
    found = plan(urgent(sent=[("nebius", NOW - 20)]))
    hold = hold_of(found, "urgent")
    assert (hold.reason, hold.provider, hold.until) == (Reason.SENT_TO_PREEMPT, "nebius", NOW + 40)
    assert sent_to(plan(urgent(sent=[("nebius", NOW - 60)]))) == {"urgent": "crusoe"}


def test_a_pod_that_was_sent_takes_free_room_elsewhere_rather_than_preempt() -> None:
    running = [running for running in full() if running.node != "c1"]
    assert sent_to(plan(urgent(sent=[("nebius", NOW - 20)]), running=running)) == {"urgent": "crusoe"}


def test_where_the_scheduler_can_preempt_at_home_it_has_the_first_try() -> None:
    untried = urgent(unschedulable=False)
    assert not plan(untried, running=full(aws=0)).bursts
    assert sent_to(plan(urgent(), running=full(aws=0))) == {"urgent": "nebius"}
    assert sent_to(plan(untried)) == {"urgent": "nebius"}


def test_a_pod_that_home_refuses_for_an_unknown_reason_preempts_no_pod() -> None:
    refused = urgent()
    running = [pod("there", 8, on="n1"), pod("far", 8, on="c1")]
    first = plan(refused, running=running)
    late = decided(snapshot(pool(), [node("a1"), node("n1"), node("c1")], [*running, refused]), first.state, NOW + 60)
    assert holds(late) == {"urgent": Reason.NO_ROOM}


@pytest.mark.parametrize(("limit", "reason"), [(8, Reason.NO_PROVIDER_LEFT), (9, None)])
def test_max_accelerators_counts_the_pod_in_full_as_long_as_pods_that_make_room_are_there(
    limit: int, reason: Reason | None
) -> None:
    providers = (provider("aws"), preempting("nebius", maxAccelerators=limit), preempting("crusoe", **KEPT))
    found = plan(urgent(), providers=providers)
    assert sent_to(found) == ({} if reason else {"urgent": "nebius"})


def test_a_budget_counts_the_pod_in_full() -> None:
    providers = (provider("aws"), provider("nebius", price="1"), provider("crusoe", price="1"))
    assert not plan(urgent(gpus=8), providers=providers, budget={"perHour": "20"}).bursts
    assert plan(urgent(gpus=4), providers=providers, budget={"perHour": "20"}).bursts


@pytest.mark.parametrize(("priority", "to"), [(1000, "nebius"), (0, None)])
@pytest.mark.parametrize("unused_place", [False, True])
def test_a_provider_that_makes_no_node_for_a_shape_can_still_be_preempted_on(
    priority: int, to: str | None, unused_place: bool
) -> None:
    waiting = urgent(priority=priority)
    held = HoldOff(
        "nebius",
        Reason.INSUFFICIENT_CAPACITY,
        digest_of(waiting.shape),
        failures=5,
        since=NOW - 60,
        until=NOW + 3600,
        running=8,
        unused_place=unused_place,
    )
    of = pool(provider("aws"), provider("nebius", on_demand=True))
    seen = snapshot(of, [node("a1"), node("n1")], [*full()[:2], waiting])
    found = decided(seen, pool_state(hold_offs=(held,)))
    assert sent_to(found) == ({"urgent": to} if to and not unused_place else {})
    if not found.bursts:
        assert holds(found) == {"urgent": Reason.INSUFFICIENT_CAPACITY}
