"""Standbys that fail one workload or one shape: who is kept away, for how long, and who is not."""

from __future__ import annotations

from typing import Any

import pytest

from computepool.model.reasons import Reason
from tests.builders import node, provider
from tests.unit.core.failing_site import FailingSite

AWS, NEBIUS, CRUSOE = provider("aws"), provider("nebius"), provider("crusoe")
GROWING = provider("nebius", on_demand=True)
NODES = [node("a1"), node("n1"), node("n2"), node("c1"), node("c2")]


def site(*standbys: dict[str, Any], nodes: list[Any] | None = None, **spec: Any) -> FailingSite:
    """A site whose primary is full."""
    made = FailingSite((AWS, *(standbys or (NEBIUS, CRUSOE))), NODES if nodes is None else nodes, **spec)
    made.fill()
    return made


# -- workloads


@pytest.mark.parametrize("admission", ["WhenSaturated", "Always", "Off"])
def test_a_workload_that_fails_on_a_standby_soon_runs_on_the_next(admission: str) -> None:
    there = site(admission=admission)
    there.fails = lambda pod, provider: pod.owner == job and provider == "nebius"
    job = there.create(4)
    there.run(10)
    assert there.providers_of(job) == ["crusoe"] * 4
    assert there.failures_of(job) <= 20
    rejected = [burst.rejected for burst in there.operator.bursts if burst.provider == "crusoe"]
    assert rejected[0] == (("aws", Reason.NO_ROOM), ("nebius", Reason.WORKLOAD_BACK_OFF))


def test_other_workloads_are_sent_there_as_before() -> None:
    there = site()
    there.fails = lambda pod, provider: pod.owner == job and provider == "nebius"
    job = there.create(4)
    there.run(10)
    other = there.create(4)
    there.run(10)
    assert there.providers_of(other) == ["nebius"] * 4


def test_a_workload_that_fails_everywhere_is_tried_less_and_less_often() -> None:
    there = site()
    there.fails = lambda pod, _provider: pod.owner == job
    job = there.create(4)
    there.run(30)
    at_first = there.failures_of(job)
    assert at_first <= 40
    assert {hold.reason for hold in there.holds_of(job)} == {Reason.WORKLOAD_BACK_OFF}
    there.run(3600)
    in_an_hour = there.failures_of(job) - at_first
    there.run(3600)
    in_the_next_hour = there.failures_of(job) - at_first - in_an_hour
    # One pod after each back-off of each of the two standbys: 60 s, 120 s, ...
    assert 2 * 4 <= in_an_hour <= 2 * 6
    assert 2 <= in_the_next_hour <= 2 * 2


def test_once_a_pod_of_it_is_ready_there_it_is_used_again() -> None:
    there = site()
    there.fails = lambda pod, provider: pod.owner == job and provider == "nebius"
    job = there.create(2)
    there.run(10)
    there.fails = lambda _pod, _provider: False
    failures = there.failures_of(job)
    there.cluster.delete_pod(there.pods_of(job)[0].uid)
    there.run(30)
    assert there.providers_of(job) == ["crusoe", "crusoe"]
    # The back-off is over, and one of two new pods is tried.
    there.run(60)
    for pod in there.pods_of(job):
        there.cluster.delete_pod(pod.uid)
    there.run(30)
    assert there.failures_of(job) == failures
    assert "nebius" in there.providers_of(job)
    for pod in there.pods_of(job):
        there.cluster.delete_pod(pod.uid)
    there.run(30)
    assert there.providers_of(job) == ["nebius", "nebius"]


def test_a_new_leader_needs_few_failed_pods_to_hold_it_off_again() -> None:
    there = site()
    there.fails = lambda pod, provider: pod.owner == job and provider == "nebius"
    job = there.create(4)
    for _ in range(5):
        there.run(7)
        there.operator.restart()
    there.run(10)
    assert there.providers_of(job) == ["crusoe"] * 4
    assert there.failures_of(job) <= 20


def test_the_primary_is_never_held_off() -> None:
    there = FailingSite((AWS, NEBIUS, CRUSOE), NODES, health={"blackHoles": {"pods": 0}})
    there.fails = lambda pod, provider: provider == "aws" and there.failures_of(pod.owner) < 10
    job = there.create(4)
    there.run(10)
    assert there.providers_of(job) == ["aws"] * 4


# -- shapes


def test_a_stock_out_sends_the_rest_on_and_leaves_the_full_node_alone() -> None:
    there = site(GROWING, CRUSOE, nodes=[node("a1"), node("n1"), node("c1"), node("c2")])
    job = there.create(20)
    there.run(605)
    assert there.providers_of(job) == ["crusoe"] * 12 + ["nebius"] * 8
    assert there.report.state.breaker("nebius").closed
    assert there.tainted() == []
    later = there.create(2)
    there.run(10)
    assert there.providers_of(later) == ["crusoe", "crusoe"]


def test_a_place_that_exists_is_used_in_spite_of_a_stock_out() -> None:
    there = site(GROWING, CRUSOE, nodes=[node("a1"), node("n1"), node("c1"), node("c2")], admission="Off")
    job = there.create(9)
    there.run(605)
    on_nebius = next(pod for pod in there.pods_of(job) if there.cluster.provider_of(pod.node) == "nebius")
    there.cluster.finish_pod(on_nebius.uid)
    later = there.create(2)
    there.run(10)
    assert there.providers_of(later) == ["crusoe", "nebius"]


def test_after_the_back_off_one_pod_waits_for_new_nodes_and_the_others_do_not() -> None:
    there = site(GROWING, CRUSOE, nodes=[node("a1"), node("n1"), node("c1"), node("c2")])
    there.create(9)
    there.run(605)
    there.run(120)
    later = there.create(4)
    there.run(30)
    assert there.providers_of(later) == ["", "crusoe", "crusoe", "crusoe"]
    (waits,) = there.holds_of(later)
    assert (waits.reason, waits.provider) == (Reason.AWAITING_NODES, "nebius")


@pytest.mark.parametrize("sizes", [(8, 8, 8), (8, 16, 32)])
def test_pods_for_which_no_node_comes_keep_no_smaller_pod_away(sizes: tuple[int, ...]) -> None:
    small = [node("a1"), node("n1", 1), node("n2", 1)]
    there = site(GROWING, nodes=small)
    first = there.create(1)
    big = [there.create(1, size) for size in sizes]
    there.run(650)
    assert there.providers_of(first) == ["nebius"]
    assert there.report.state.breaker("nebius").closed
    assert there.tainted() == []
    assert {hold.reason for owner in big for hold in there.holds_of(owner)} <= {Reason.NOT_BOUND_IN_TIME}
    little = there.create(1)
    there.run(6)
    assert there.providers_of(little) == ["nebius"]


def refuse(there: FailingSite, *owners: str) -> None:
    """Let the scheduler bind the pods of these owners nowhere on nebius, for a reason that nobody sees."""
    for owner in owners:
        for pod in there.pods_of(owner):
            there.scheduler.refused_by[pod.uid] = frozenset({"nebius"})


def test_a_place_that_stays_unused_keeps_the_workload_away_and_no_other() -> None:
    there = site(admission="Off")
    refused = there.create(1)
    refuse(there, refused)
    there.run(70)
    assert there.providers_of(refused) == ["crusoe"]
    (held,) = there.report.state.recorded.hold_offs
    assert held.unused_place
    assert held.subject.endswith(refused)
    alike = there.create(1)
    there.grow(refused, 1)
    there.run(6)
    assert there.providers_of(alike) == ["nebius"]
    assert there.providers_of(refused) == ["crusoe", "crusoe"]


def test_once_several_workloads_leave_a_place_unused_the_shape_is_kept_away_and_no_other() -> None:
    there = site(admission="Off")
    refuse(there, *(there.create(1) for _ in range(3)))
    there.run(70)
    alike, unlike = there.create(1), there.create(1, 2)
    there.run(6)
    assert there.providers_of(alike) == ["crusoe"]
    assert there.providers_of(unlike) == ["nebius"]


def test_a_workload_that_no_scheduler_binds_delays_nobody_else_however_long_it_goes_on() -> None:
    there = site(GROWING, admission="Off")
    refused = there.create(2)
    for _ in range(8):
        there.grow(refused, 1)
        refuse(there, refused)
        there.run(250)
        other = there.create(1)
        there.run(6)
        assert there.providers_of(other) == ["nebius"]
        there.cluster.finish_pod(there.pods_of(other)[0].uid)


@pytest.mark.parametrize("standby", [provider("nebius"), provider("nebius", on_demand=True, timeout=60)])
def test_a_closed_queue_of_another_scheduler_costs_no_provider_its_place(standby: dict[str, Any]) -> None:
    there = site(standby, admission="Off")
    queued = [there.create(1, gpus, scheduler="volcano", kind="Job") for gpus in (1, 2, 3, 4)]
    for owner in queued:
        there.cluster.update_pod(there.pods_of(owner)[0].uid, unschedulable=True)
    there.run(100)
    assert there.report.state.breaker("nebius").closed
    web = there.create(1)
    there.run(10)
    assert there.providers_of(web) == ["nebius"]


# -- schedulers


def test_pods_of_a_scheduler_that_binds_nobody_cost_no_provider_its_place() -> None:
    there = site()
    job = there.create(8, scheduler="volcano", kind="Job")
    there.run(100)
    assert {hold.reason for hold in there.holds_of(job)} == {Reason.SCHEDULER_ABSENT}
    assert {burst.provider for burst in there.operator.bursts} <= {"nebius"}
    web = there.create(1)
    there.run(10)
    assert there.providers_of(web) == ["nebius"]
    there.run(1000)
    assert all(there.report.state.breaker(name).closed for name in ("nebius", "crusoe"))
    assert {burst.provider for burst in there.operator.bursts} <= {"nebius"}
    assert there.tainted() == []


def test_pods_of_a_scheduler_at_work_are_sent_as_all_others() -> None:
    there = site(admission="Off")
    job = there.create(2, scheduler="volcano")
    first, second = there.pods_of(job)
    there.run(10)
    there.cluster.bind_pod(first.uid, "n1")
    there.run(600)
    assert there.holds_of(job)
    assert {burst.provider for burst in there.operator.bursts if burst.pod.uid == second.uid} == {"nebius", "crusoe"}


def test_a_scheduler_that_comes_late_is_seen_at_once() -> None:
    there = site(admission="Off")
    job = there.create(2, scheduler="volcano")
    there.run(100)
    assert {hold.reason for hold in there.holds_of(job)} == {Reason.SCHEDULER_ABSENT}
    there.cluster.update_pod(there.pods_of(job)[0].uid, unschedulable=True)
    there.run(70)
    assert Reason.SCHEDULER_ABSENT not in {hold.reason for hold in there.holds_of(job)}
