"""A half-open breaker: a provider whose failure has passed proves itself with a pod, or opens again."""

from __future__ import annotations

from typing import Any

import pytest

from computepool.assess.breakers.not_bound import digest_of
from computepool.model.cluster import Pod
from computepool.model.reasons import Reason
from computepool.model.snapshot import Failure
from computepool.model.state import Breaker, HoldOff
from tests.builders import NOW, node, pod, pool, pool_state, shape, snapshot
from tests.unit.core.breakers import AWS, HALF_OPEN, LOST, NEBIUS, OPEN, fresh, half_open, two
from tests.unit.core.passes import decided, sent_to


def test_it_closes_when_a_new_pod_was_ready_for_prove_seconds_and_has_never_failed_then() -> None:
    watch = half_open(failures=3, breaker={"proveSeconds": 15})
    watch.see(2, [*AWS, *NEBIUS], [fresh()])
    assert watch.breaker("nebius").state is HALF_OPEN
    found = watch.see(10, [*AWS, *NEBIUS], [fresh(ready=True)])
    assert found.recheck_at == NOW + 25
    watch.see(24.9, [*AWS, *NEBIUS], [fresh(ready=True)])
    assert watch.breaker("nebius").state is HALF_OPEN
    watch.see(25, [*AWS, *NEBIUS], [fresh(ready=True)])
    assert watch.breaker("nebius") == Breaker(since=NOW + 25)
    assert watch.usable("nebius") == ["n0", "n1", "n2", "n3"]


def test_a_pod_that_is_not_ready_all_the_while_proves_nothing() -> None:
    watch = half_open(breaker={"proveSeconds": 15})
    for now, ready in ((1, True), (10, False), (16, True), (30, True)):
        watch.see(now, [*AWS, *NEBIUS], [fresh(ready=ready)])
    assert watch.breaker("nebius").state is HALF_OPEN
    watch.see(31, [*AWS, *NEBIUS], [fresh(ready=True)])
    assert watch.breaker("nebius").closed


def test_pods_from_before_prove_nothing() -> None:
    watch = half_open()
    watch.see(100, [*AWS, *NEBIUS], [fresh(created=-10, ready=True), fresh("leaving", ready=True, deleting=NOW + 130)])
    assert watch.timers("nebius").proving_since is None


def test_a_pod_from_before_that_was_sent_there_since_is_as_good_as_a_new_one() -> None:
    watch = half_open()
    watch.see(100, [*AWS, *NEBIUS], [fresh(created=-10, sent=[("nebius", NOW + 1)], ready=True)])
    assert watch.timers("nebius").proving_since == NOW + 100


def test_where_no_node_has_room_for_a_new_pod_those_that_run_prove_it() -> None:
    watch = half_open()
    full = [pod(f"old{index}", 8, on=f"n{index}", created=NOW - 500, ready=True) for index in range(4)]
    watch.see(1, [*AWS, *NEBIUS], full[1:])
    assert watch.timers("nebius").proving_since is None
    watch.see(2, [*AWS, *NEBIUS], full)
    assert watch.timers("nebius").proving_since == NOW + 2


def test_the_node_to_try_stays_the_same_until_it_can_not_be_tried_any_more() -> None:
    watch = half_open()
    watch.see(1, [*AWS, *NEBIUS], [fresh(ready=True), fresh("more", on="n0")])
    assert watch.breaker("nebius").node == "n0"
    watch.see(10, [*AWS, LOST[0], *NEBIUS[1:]], [fresh("other", on="n1", ready=True)])
    assert watch.breaker("nebius").node == "n2"
    # What it has to prove starts anew there.
    assert watch.timers("nebius").proving_since == NOW + 10


@pytest.mark.parametrize(
    ("pods", "failures"),
    [
        ([fresh(failing=True)], []),
        ([], [Failure("gone", "n0", "web", NOW + 5, refused=True)]),
    ],
    ids=["does not start", "was refused"],
)
def test_it_opens_again_for_twice_as_long_when_the_new_pod_fails(pods: list[Pod], failures: list[Failure]) -> None:
    watch = half_open(failures=2, breaker={"backoffSeconds": 100})
    watch.see(10, [*AWS, *NEBIUS], pods, failures=tuple(failures))
    found = watch.breaker("nebius")
    assert (found.state, found.reason, found.since, found.failures) == (OPEN, Reason.CANARY_FAILED, NOW + 10, 3)
    assert found.retry_at is not None
    assert NOW + 10 + 360 <= found.retry_at <= NOW + 10 + 440


def test_a_pod_that_fails_beside_a_ready_pod_does_not_fail_the_canary() -> None:
    watch = half_open()
    watch.see(10, [*AWS, *NEBIUS], [fresh(failing=True), fresh("good", on="n0", ready=True)])
    assert watch.timers("nebius").proving_since == NOW + 10


def test_pods_that_failed_before_do_not_count() -> None:
    watch = half_open()
    old = Failure("gone", "n0", "web", NOW - 5, refused=True)
    watch.see(10, [*AWS, *NEBIUS], [fresh(created=-100, failing=True)], failures=(old,))
    assert watch.breaker("nebius").state is HALF_OPEN


def test_it_opens_again_when_the_provider_fails_again() -> None:
    watch = half_open()
    nodes = [node(f"n{index}", ready="Unknown", quarantine="x") for index in range(4)]
    watch.see(10, [*AWS, *nodes])
    found = watch.breaker("nebius")
    assert (found.state, found.reason, found.failures) == (OPEN, Reason.PROVIDER_UNHEALTHY, 2)


def test_it_opens_again_when_a_pod_was_not_bound_in_time() -> None:
    watch = half_open()
    stuck = pod("stuck", sent=[("nebius", NOW + 1)], unschedulable=True)
    watch.state = pool_state(breakers=watch.state.recorded.breakers, fitting={(stuck.uid, "nebius"): NOW + 1})
    watch.see(60, [*AWS, *NEBIUS], [stuck])
    assert watch.breaker("nebius").state is HALF_OPEN
    watch.see(61, [*AWS, *NEBIUS], [stuck])
    assert watch.breaker("nebius").reason is Reason.PROVISIONING_FAILED
    assert dict(watch.state.memory.not_bound) == {}


# -- which pod is tried

STEADY = [pod("steady", 8, on="a0", ready=True, created=NOW - 500)]


def tried(*pods: Pod, hold_offs: tuple[HoldOff, ...] = ()) -> list[str]:
    """The pods that are sent to nebius, which is half-open since a moment ago. aws is full."""
    breaker = Breaker(HALF_OPEN, Reason.PROVIDER_UNHEALTHY, NOW - 1, failures=1, node="n0")
    seen = snapshot(two(), [AWS[0], *NEBIUS], [*STEADY, *pods])
    return list(sent_to(decided(seen, pool_state(breakers={"nebius": breaker}, hold_offs=hold_offs))))


def test_a_workload_that_fails_there_is_tried_only_if_no_other_pod_waits() -> None:
    crashed = pod("bad-0", on="n1", owner="bad", failing=True, created=NOW - 300)
    bad, good = pod("bad-1", owner="bad", priority=10), pod("good", owner="good")
    assert tried(crashed, bad, good) == ["good"]
    assert tried(crashed, bad) == ["bad-1"]
    assert tried(bad, good) == ["bad-1"]


def test_a_workload_that_fails_there_preempts_no_pod_elsewhere_before_it_is_tried() -> None:
    breaker = Breaker(HALF_OPEN, Reason.PROVIDER_UNHEALTHY, NOW - 1, failures=1, node="n0")
    full = [pod(f"low{index}", on="c0", priority=0, ready=True, created=NOW - 500) for index in range(8)]
    crashed = pod("bad-0", on="n1", owner="bad", failing=True, created=NOW - 300)
    steady = pod("steady", 8, on="a0", priority=1000, ready=True, created=NOW - 500)
    bad = pod("bad-1", owner="bad", priority=10, unschedulable=True, waited=60)
    seen = snapshot(pool(), [AWS[0], *NEBIUS, node("c0")], [steady, crashed, *full, bad])
    assert sent_to(decided(seen, pool_state(breakers={"nebius": breaker}))) == {"bad-1": "nebius"}


@pytest.mark.parametrize("of_shape", [False, True])
def test_pods_whose_hold_off_is_over_are_tried_only_if_no_other_pod_waits(*, of_shape: bool) -> None:
    bad, good = pod("bad-1", 2, owner="bad", priority=10), pod("good", owner="good")
    digest = digest_of(bad.shape)
    held = HoldOff(
        "nebius",
        Reason.INSUFFICIENT_CAPACITY,
        digest if of_shape else f"{digest}/bad",
        1,
        NOW - 200,
        NOW - 80,
        unused_place=not of_shape,
    )
    assert tried(bad, good, hold_offs=(held,)) == ["good"]
    assert tried(bad, hold_offs=(held,)) == ["bad-1"]


# -- half-open, and nothing to try it with


def test_where_no_pod_comes_for_as_long_as_it_was_open_it_closes_and_has_not_proved_itself() -> None:
    watch = half_open(failures=2, breaker={"backoffSeconds": 100})
    found = watch.see(1, [*AWS, *NEBIUS])
    assert found.recheck_at is not None
    assert NOW + 180 <= found.recheck_at <= NOW + 220
    watch.see(179, [*AWS, *NEBIUS])
    assert watch.breaker("nebius").state is HALF_OPEN
    watch.see(221, [*AWS, *NEBIUS])
    assert watch.breaker("nebius") == Breaker(since=NOW + 221, failures=2)
    nodes = [node(f"n{index}", ready="Unknown", quarantine="x") for index in range(4)]
    watch.see(222, [*AWS, *nodes])
    assert watch.breaker("nebius").failures == 3


@pytest.mark.parametrize(
    "pods",
    [[fresh()], [pod("coming", sent=[("nebius", NOW + 1)])]],
    ids=["not ready yet", "waits for a node"],
)
def test_it_does_not_while_a_pod_is_on_its_way_until_that_has_had_its_time(pods: list[Pod]) -> None:
    watch = half_open(failures=2, breaker={"backoffSeconds": 100})
    found = watch.see(300, [*AWS, *NEBIUS], pods)
    assert watch.breaker("nebius").state is HALF_OPEN
    assert found.recheck_at is not None
    assert NOW + 360 <= found.recheck_at <= NOW + 440
    watch.see(found.recheck_at - NOW, [*AWS, *NEBIUS], pods)
    assert watch.breaker("nebius") == Breaker(since=found.recheck_at, failures=2)


def test_a_pod_has_its_provision_timeout_at_least_to_be_ready_in() -> None:
    watch = half_open(timeout=1000)
    watch.see(1059, [*AWS, *NEBIUS], [fresh()])
    assert watch.breaker("nebius").state is HALF_OPEN
    watch.see(1067, [*AWS, *NEBIUS], [fresh()])
    assert watch.breaker("nebius") == Breaker(since=NOW + 1067, failures=1)


def test_a_pod_that_is_ready_in_the_end_has_its_time_to_prove_it() -> None:
    watch = half_open(breaker={"proveSeconds": 15})
    for now in (300, 314):
        watch.see(now, [*AWS, *NEBIUS], [fresh(ready=True)])
        assert watch.breaker("nebius").state is HALF_OPEN
    watch.see(315, [*AWS, *NEBIUS], [fresh(ready=True)])
    assert watch.breaker("nebius") == Breaker(since=NOW + 315)


@pytest.mark.parametrize("fields", [{"gated": True}, {"deleting": NOW + 40}], ids=["gated", "terminating"])
def test_a_pod_that_the_scheduler_does_not_look_at_is_not_waited_for(fields: dict[str, Any]) -> None:
    watch = half_open()
    watch.see(70, [*AWS, *NEBIUS], [pod("stuck", sent=[("nebius", NOW + 1)], **fields)])
    assert watch.breaker("nebius").closed


def test_a_pod_that_waits_for_more_than_room_is_not_waited_for() -> None:
    watch = half_open()
    bound_to_a_volume = pod("stuck", sent=[("nebius", NOW + 1)], shaped=shape(unmodelled=["volumes"]))
    watch.see(10_000, [*AWS, *NEBIUS], [bound_to_a_volume])
    assert watch.breaker("nebius").closed


def test_it_does_not_while_something_is_wrong_that_does_not_count_yet() -> None:
    watch = half_open(sustainSeconds=3600)
    watch.see(10_000, [*AWS, *(node(f"n{index}", ready="False", quarantine="x") for index in range(4))])
    assert watch.breaker("nebius").state is HALF_OPEN
