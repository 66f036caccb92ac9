"""Pods that a standby did not bind in time: what opens its breaker, and what does not."""

from __future__ import annotations

from typing import Any

import pytest

from computepool.model.cluster import Pod
from computepool.model.labels import Requirement
from computepool.model.reasons import Reason
from computepool.model.state import Breaker
from tests.builders import NOW, node, pod, pool, pool_state, provider, term
from tests.builders import shape as shaped
from tests.unit.core.watching import Watch

NODES = [node("a1"), node("n1"), node("n2")]


def sent(name: str, at: float = 0, to: str = "nebius", **fields: Any) -> Pod:
    """A pod that was offered to a provider, and waits."""
    return pod(name, sent=[(to, NOW + at)], **fields)


def watching(*fitting: Pod, on_demand: bool = False, since: float = 0, **breaker: Any) -> Watch:
    """A watch whose passes have had a place at nebius for these pods all the while."""
    of = pool(
        provider("aws"),
        provider("nebius", on_demand=on_demand),
        provider("crusoe"),
        health={"breaker": {"failures": 3, **breaker}},
    )
    return Watch(of, pool_state(fitting={(fit_pod.uid, "nebius"): NOW + since for fit_pod in fitting}))


def test_so_many_pods_that_were_not_bound_in_time_open_the_breaker() -> None:
    pods = [sent(f"p{index}", index) for index in range(3)]
    watch = watching(*pods)
    found = watch.see(59, NODES, pods)
    assert dict(found.breakers.not_bound) == {}
    assert found.recheck_at == NOW + 60
    assert watch.see(61, NODES, pods).breakers.not_bound["nebius"] == {"uid-default-p0", "uid-default-p1"}
    assert watch.breaker("nebius").closed
    watch.see(62, NODES, pods)
    assert watch.breaker("nebius").reason is Reason.PROVISIONING_FAILED
    assert dict(watch.state.memory.not_bound) == {}


def test_a_provider_that_is_full_has_not_failed() -> None:
    pods = [sent(f"p{index}") for index in range(5)]
    watch = watching()
    watch.see(10_000, NODES, pods)
    assert watch.breaker("nebius").closed


def test_a_provider_that_became_free_is_given_its_time_from_then_on() -> None:
    pods = [sent(f"p{index}") for index in range(3)]
    watch = watching(*pods, since=500)
    watch.see(559, NODES, pods)
    assert watch.breaker("nebius").closed
    watch.see(560, NODES, pods)
    assert not watch.breaker("nebius").closed


def test_a_provider_that_makes_nodes_fails_when_they_do_not_come() -> None:
    pods = [sent(f"p{index}") for index in range(3)]
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
    pods = [sent(f"p{index}", 100 * index) for index in range(3)]
    watch = watching(*pods)
    watch.see(60, NODES, pods[:1])
    watch.see(160, NODES, pods[1:2])
    assert len(watch.state.memory.not_bound["nebius"]) == 2
    watch.see(260, NODES, pods[2:])
    assert not watch.breaker("nebius").closed


def test_a_pod_that_is_bound_there_ends_the_count() -> None:
    pods = [sent(f"p{index}", 10 * index) for index in range(3)]
    watch = watching(*pods)
    watch.see(70, NODES, pods[:2])
    assert len(watch.state.memory.not_bound["nebius"]) == 2
    bound = pod("bound", on="n1", sent=[("nebius", NOW + 65)])
    watch.see(80, NODES, [*pods, bound])
    assert dict(watch.state.memory.not_bound) == {}
    # Also after it has ended: what was offered before it is at fault itself.
    watch.see(90, NODES, pods)
    assert dict(watch.state.memory.not_bound) == {}


def test_pods_that_were_bound_before_say_nothing_about_now() -> None:
    pods = [sent(f"p{index}") for index in range(3)]
    watch = watching(*pods)
    watch.see(60, NODES, [*pods, pod("old", on="n1", sent=[("nebius", NOW - 1)])])
    assert watch.breaker("nebius").reason is Reason.PROVISIONING_FAILED


def test_pods_that_were_admitted_with_the_toleration_count_from_their_creation() -> None:
    pods = [pod(f"p{index}", tolerates=["nebius"], created=NOW, since=NOW) for index in range(3)]
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
    pods = [sent(f"p{index}") for index in range(3)]
    watch = watching(*pods)
    watch.state = pool_state(fitting=watch.state.memory.fitting, breakers={"nebius": Breaker(since=NOW + 1)})
    watch.see(1000, NODES, pods)
    assert watch.breaker("nebius") == Breaker(since=NOW + 1)


def test_the_primary_is_not_counted() -> None:
    pods = [pod(f"p{index}") for index in range(3)]
    watch = Watch(pool(), pool_state(fitting={(held_pod.uid, "aws"): NOW for held_pod in pods}))
    watch.see(1000, NODES, pods)
    assert watch.breaker("aws").closed
