"""A provider's breaker: it opens on failure, for how long, and what a person or a free place changes."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from computepool.assess.breakers.breaker import backoff
from computepool.model.api import BreakerSpec, BreakerState
from computepool.model.cluster import Pod
from computepool.model.reasons import Reason
from computepool.model.snapshot import Failure
from computepool.model.state import Breaker
from tests.builders import NOW, changed, node, pod, pool_state
from tests.unit.core.breakers import AWS, CLOSED, HALF_OPEN, LOST, NEBIUS, OPEN, fresh, half_open, opened, two, watching
from tests.unit.core.watching import Watch

# -- closed


def test_a_provider_that_is_well_is_used_as_it_fits() -> None:
    watch = watching()
    watch.see(0, [*AWS, *NEBIUS])
    assert watch.breaker("nebius") == Breaker()
    assert watch.usable("nebius") == ["n0", "n1", "n2", "n3"]


def test_it_opens_when_the_provider_fails_and_says_when_it_is_tried_again() -> None:
    watch = watching(breaker={"backoffSeconds": 100})
    watch.see(0, [*AWS, *LOST])
    found = watch.breaker("nebius")
    assert (found.state, found.reason, found.since, found.failures) == (OPEN, Reason.PROVIDER_UNHEALTHY, NOW, 1)
    assert found.retry_at is not None
    assert NOW + 90 <= found.retry_at <= NOW + 110
    assert watch.usable("nebius") == []
    assert watch.breaker("aws").closed


def test_a_single_unhealthy_node_does_not_open_it() -> None:
    watch = watching()
    watch.see(0, [*AWS, *NEBIUS[:3], LOST[3]])
    assert watch.breaker("nebius").closed
    assert watch.usable("nebius") == ["n0", "n1", "n2"]


def test_while_it_is_open_nothing_but_its_recovery_is_noted() -> None:
    watch = watching()
    watch.see(0, [*AWS, *LOST])
    first = watch.breaker("nebius")
    for now in (10, 100, 10_000):
        watch.see(now, [*AWS, *LOST])
        assert watch.breaker("nebius") == first


# -- open


def test_it_is_half_open_once_its_time_is_over_and_nothing_was_wrong_for_clear_seconds() -> None:
    watch = watching(breaker={"backoffSeconds": 200}, clearSeconds=60)
    watch.see(0, [*AWS, *LOST])
    retry_at = watch.breaker("nebius").retry_at or 0.0
    watch.see(10, [*AWS, *NEBIUS])
    found = watch.see(70, [*AWS, *NEBIUS])
    assert watch.provider("nebius").failing is None
    assert watch.breaker("nebius").state is OPEN
    assert found.recheck_at == retry_at
    watch.see(retry_at - NOW, [*AWS, *NEBIUS])
    found_breaker = watch.breaker("nebius")
    assert (found_breaker.state, found_breaker.since, found_breaker.failures) == (HALF_OPEN, retry_at, 1)
    assert found_breaker.reason is Reason.PROVIDER_UNHEALTHY
    assert watch.usable("nebius") == [found_breaker.node] == ["n0"]


def test_its_time_runs_while_it_fails_but_its_recovery_is_awaited() -> None:
    watch = watching(breaker={"backoffSeconds": 1}, clearSeconds=60)
    watch.see(0, [*AWS, *LOST])
    watch.see(1000, [*AWS, *LOST])
    found = watch.see(1010, [*AWS, *NEBIUS])
    assert found.recheck_at == NOW + 1070
    watch.see(1069.9, [*AWS, *NEBIUS])
    assert watch.breaker("nebius").state is OPEN
    watch.see(1070, [*AWS, *NEBIUS])
    assert watch.breaker("nebius").state is HALF_OPEN


def test_a_fault_that_does_not_count_yet_holds_the_recovery_up_after_a_restart() -> None:
    watch, ill = opened(sustainSeconds=30), [node(f"n{index}", ready="False", quarantine="x") for index in range(4)]
    watch.see(0, [*AWS, *ill])
    assert watch.provider("nebius").failing is None
    watch.see(29, [*AWS, *ill])
    assert watch.breaker("nebius").state is OPEN
    assert watch.timers("nebius").clear_since is None


def test_the_node_that_is_tried_is_a_well_one_with_the_most_free() -> None:
    watch = opened()
    nodes = [node("n0", ready="False"), node("n1", cordoned=True), node("n2"), node("n3"), node("n4"), node("n5")]
    pods = [pod("x", 4, on="n2"), pod("y", 1, on="n3")]
    watch.see(0, [*AWS, *nodes], pods)
    watch.see(60, [*AWS, *nodes], pods)
    assert watch.breaker("nebius").node == "n4"


@pytest.mark.parametrize("on_demand", [False, True])
def test_after_a_trial_that_failed_another_node_is_tried_although_that_is_the_emptiest(on_demand: bool) -> None:
    busy = [pod(f"busy-{index}", 4, on=f"n{index}", created=NOW - 9000, ready=True) for index in (1, 2, 3)]
    tried = []
    for failures in (1, 2, 3, 4, 5):
        watch = opened(failures, on_demand=on_demand)
        for now in (0, 60, 61):
            watch.see(now, [*AWS, *NEBIUS], busy)
        tried.append(watch.breaker("nebius").node)
    assert tried == ["n0", "n1", "n2", "n3", "n0"]


def test_a_node_without_room_is_not_tried_while_another_has_some() -> None:
    watch, full = opened(2), [pod(f"full-{index}", 8, on=f"n{index}", created=NOW - 9000) for index in (1, 2, 3)]
    for now in (0, 60):
        watch.see(now, [*AWS, *NEBIUS], full)
    assert watch.breaker("nebius").node == "n0"


def test_a_provider_without_any_node_to_try_stays_open_unless_it_makes_nodes() -> None:
    for on_demand, state in ((False, OPEN), (True, HALF_OPEN)):
        watch = opened(on_demand=on_demand)
        watch.see(0, AWS)
        watch.see(60, AWS)
        assert (watch.breaker("nebius").state, watch.breaker("nebius").node) == (state, "")


# -- by hand


@pytest.mark.parametrize("state", [CLOSED, HALF_OPEN])
def test_drain_opens_it_for_as_long_as_it_is_set_and_is_no_failure(state: BreakerState) -> None:
    before = Breaker(state, since=NOW - 10, failures=2, node="n0" if state is HALF_OPEN else "")
    watch = Watch(two(drain=True), pool_state(breakers={"nebius": before}))
    watch.see(0, [*AWS, *NEBIUS])
    assert watch.breaker("nebius") == Breaker(OPEN, Reason.DRAINED, NOW, failures=2)
    watch.see(100_000, [*AWS, *NEBIUS])
    assert watch.breaker("nebius").state is OPEN
    watch.pool = two(drain=False)
    watch.see(100_001, [*AWS, *NEBIUS])
    assert (watch.breaker("nebius").state, watch.breaker("nebius").failures) == (HALF_OPEN, 2)


def test_a_drained_provider_that_fails_meanwhile_stays_open_when_drain_is_lifted() -> None:
    watch = watching(drain=True)
    watch.see(0, [*AWS, *NEBIUS])
    watch.see(10, [*AWS, *LOST])
    assert watch.breaker("nebius").reason is Reason.DRAINED
    watch.pool = two(drain=False)
    watch.see(20, [*AWS, *LOST])
    assert (watch.breaker("nebius").reason, watch.breaker("nebius").failures) == (Reason.PROVIDER_UNHEALTHY, 1)


def test_a_provider_that_is_drained_while_open_is_not_tried() -> None:
    watch = opened(drain=True)
    for now in (0, 60, 10_000):
        watch.see(now, [*AWS, *NEBIUS])
        assert watch.breaker("nebius").state is OPEN


def test_a_breaker_that_opened_for_a_fault_says_drained_once_only_the_drain_is_left() -> None:
    watch = opened(failures=2, retry_at=100, drain=True, clearSeconds=60)
    for now, reason in ((0, Reason.PROVIDER_UNHEALTHY), (99, Reason.PROVIDER_UNHEALTHY), (100, Reason.DRAINED)):
        watch.see(now, [*AWS, *NEBIUS])
        assert watch.breaker("nebius").reason is reason
    assert watch.breaker("nebius") == Breaker(OPEN, Reason.DRAINED, NOW + 100, failures=2)
    watch.see(10_000, [*AWS, *NEBIUS])
    assert watch.breaker("nebius").since == NOW + 100
    watch.pool = two(drain=False)
    watch.see(10_001, [*AWS, *NEBIUS])
    assert watch.breaker("nebius").state is HALF_OPEN


def test_a_drained_provider_that_is_still_unhealthy_says_that() -> None:
    watch = opened(drain=True, clearSeconds=60)
    nodes = [node(f"n{index}", ready="Unknown", quarantine="x") for index in range(4)]
    for now in (0, 60, 10_000):
        watch.see(now, [*AWS, *nodes])
        assert watch.breaker("nebius").reason is Reason.PROVIDER_UNHEALTHY


# -- for how long


def test_the_time_is_doubled_each_time_and_never_longer_than_the_longest() -> None:
    spec = BreakerSpec(backoff_seconds=60, max_backoff_seconds=1000)
    times = [backoff(spec, failures, "inference/nebius") for failures in range(1, 40)]
    for failures, time in enumerate(times[:4]):
        assert 0.9 * 60 * 2**failures <= time <= 1.1 * 60 * 2**failures
    assert set(times[5:]) == {1000.0}


@pytest.mark.parametrize("why", ["does not start", "is not bound"])
def test_each_trial_that_fails_keeps_it_open_for_twice_as_long_until_one_proves_it(why: str) -> None:
    watch = half_open(failures=1, breaker={"backoffSeconds": 100, "maxBackoffSeconds": 1000})
    now = 0.0
    for failures, least, most in ((2, 180, 220), (3, 360, 440), (4, 720, 880), (5, 1000, 1000), (6, 1000, 1000)):
        new, reason = fresh(f"new-{failures}", created=now + 1, failing=True), Reason.CANARY_FAILED
        if why == "is not bound":
            new = pod(f"new-{failures}", sent=[("nebius", NOW + now + 1)], unschedulable=True)
            reason = Reason.PROVISIONING_FAILED
            watch.state = changed(watch.state, fitting={(new.uid, "nebius"): NOW + now + 1})
            now += 61
        watch.see(now + 1, [*AWS, *NEBIUS], [new])
        found = watch.breaker("nebius")
        assert (found.state, found.reason, found.failures) == (OPEN, reason, failures)
        assert found.retry_at is not None
        assert least <= found.retry_at - found.since <= most
        # Another leader, in the middle, takes up the count where it is.
        watch.restart()
        watch.see(now + 2, [*AWS, *NEBIUS])
        watch.see(found.retry_at - NOW - 1, [*AWS, *NEBIUS])
        assert watch.breaker("nebius").state is OPEN
        now = found.retry_at - NOW
        watch.see(now, [*AWS, *NEBIUS])
        assert (watch.breaker("nebius").state, watch.breaker("nebius").failures) == (HALF_OPEN, failures)
    good = fresh("good", created=now + 1, ready=True)
    watch.see(now + 2, [*AWS, *NEBIUS], [good])
    watch.see(now + 100, [*AWS, *NEBIUS], [good])
    assert watch.breaker("nebius") == Breaker(since=NOW + now + 100)


def test_breakers_that_open_together_are_not_tried_together() -> None:
    spec = BreakerSpec()
    times = {backoff(spec, 1, f"pool-{index}/nebius") for index in range(50)}
    assert len(times) == 50
    assert backoff(spec, 1, "pool-1/nebius") == backoff(spec, 1, "pool-1/nebius")


def test_what_is_refused_on_nodes_that_are_not_tried_tells_nothing() -> None:
    watch = half_open()
    watch.see(10, [*AWS, *NEBIUS], failures=(Failure("daemon", "n3", "ds", NOW + 5, refused=True),))
    assert watch.breaker("nebius").state is HALF_OPEN


def test_a_node_that_is_made_for_the_first_pod_is_tried_in_place_of_one_that_has_no_room_for_it() -> None:
    watch, nodes = half_open(on_demand=True), [*AWS, node("n0"), node("n9")]
    busy, big = pod("busy", 5, on="n0"), pod("big", 8, sent=[("nebius", NOW + 1)])
    watch.see(5, nodes[:-1], [busy, big])
    assert watch.breaker("nebius").node == "n0"
    watch.see(10, nodes, [busy, big])
    assert watch.usable("nebius") == ["n9"]
    watch.see(15, nodes, [busy, fresh("big", on="n9")])
    assert watch.breaker("nebius").node == "n9"


def test_a_provider_that_has_lost_its_nodes_is_not_trusted_for_want_of_a_pod() -> None:
    watch = half_open()
    watch.see(10_000, AWS)
    assert watch.breaker("nebius").state is HALF_OPEN


# -- a provider that makes no nodes


def out_of_nodes(reason: Reason = Reason.PROVISIONING_FAILED, *, on_demand: bool = True) -> Watch:
    """A watch over a provider whose breaker opened just now, for an hour."""
    breaker = Breaker(OPEN, reason, NOW, NOW + 3600, failures=6)
    return Watch(two(on_demand=on_demand), pool_state(breakers={"nebius": breaker}))


def filling(names: Iterable[str] = ("n0", "n1", "n2", "n3")) -> list[Pod]:
    """Pods that fill these nodes since long ago."""
    return [pod(f"fills-{name}", 8, on=name, waited=9000, ready=True) for name in names]


def test_a_provider_that_made_no_nodes_is_used_again_as_soon_as_it_has_a_free_place() -> None:
    watch = out_of_nodes()
    watch.see(1, [*AWS, *NEBIUS], filling())
    watch.see(60, [*AWS, *NEBIUS], filling())
    assert watch.breaker("nebius").state is OPEN
    watch.see(61, [*AWS, *NEBIUS], filling(["n0", "n1", "n2"]))
    assert watch.breaker("nebius") == Breaker(since=NOW + 61, failures=6)


def test_a_node_that_comes_late_closes_the_breaker_of_a_provider_without_nodes() -> None:
    watch = out_of_nodes()
    watch.see(1, AWS)
    watch.see(61, [*AWS, NEBIUS[0]])
    assert watch.breaker("nebius").closed


def test_a_free_place_that_was_there_all_the_while_closes_no_breaker() -> None:
    watch = out_of_nodes()
    for seconds in (1, 60, 120):
        watch.see(seconds, [*AWS, *NEBIUS], filling(["n0", "n1", "n2"]))
    assert watch.breaker("nebius").state is OPEN


def test_a_new_leader_has_to_see_the_provider_full_first() -> None:
    watch = out_of_nodes()
    watch.see(1, [*AWS, *NEBIUS], filling())
    watch.restart()
    watch.see(61, [*AWS, *NEBIUS], filling(["n0"]))
    assert watch.breaker("nebius").state is OPEN


@pytest.mark.parametrize(
    ("reason", "on_demand"), [(Reason.PROVISIONING_FAILED, False), (Reason.PROVIDER_UNHEALTHY, True)]
)
def test_a_free_place_tells_nothing_of_other_failures(reason: Reason, on_demand: bool) -> None:
    watch = out_of_nodes(reason, on_demand=on_demand)
    watch.see(1, [*AWS, *NEBIUS], filling())
    watch.see(61, [*AWS, *NEBIUS], filling(["n0"]))
    assert watch.breaker("nebius").state is OPEN
