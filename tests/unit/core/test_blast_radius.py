"""If too many providers fail at once, the fault is probably on the operator's side: no breaker opens, no pod moves."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from computepool.model.api import BreakerState
from computepool.model.cluster import Node
from computepool.model.reasons import Reason
from computepool.model.state import Breaker
from tests.builders import NOW, node, pool, pool_state, provider
from tests.unit.core.watching import Watch

OPEN = BreakerState.OPEN


def nodes(*lost: str, of: str = "anc") -> list[Node]:
    """Two nodes of each provider, lost where their letter says so."""
    return [node(f"{name}{index}", ready="Unknown" if name in lost else "True") for name in of for index in range(2)]


def watching(*drained: str, **health: Any) -> Watch:
    of = [provider(name, drain=name in drained) for name in ("aws", "nebius", "crusoe")]
    watch = Watch(pool(*of, health=health))
    watch.see(-1000, nodes())
    return watch


def opened(watch: Watch) -> set[str]:
    return {name for name, one in watch.found.breakers.of.items() if one.state is OPEN}


def test_one_provider_may_fail() -> None:
    watch = watching()
    watch.see(0, nodes("a"))
    assert opened(watch) == {"aws"}
    assert not watch.found.exceeded


def test_the_only_two_may_not_fail_together_but_one_may() -> None:
    watch = Watch(pool(provider("aws"), provider("nebius")))
    watch.see(-1000, nodes(of="an"))
    watch.see(0, nodes("a", of="an"))
    assert opened(watch) == {"aws"}
    watch.see(1, nodes("a", "n", of="an"))
    assert opened(watch) == {"aws"}
    assert watch.found.exceeded


def test_two_of_three_that_fail_together_open_nothing_and_it_is_said() -> None:
    watch = watching(maxUnhealthyPercent=50)
    found = watch.see(0, nodes("n", "c"))
    assert opened(watch) == set()
    assert found.exceeded.startswith("2 of 3 providers have failed at once (crusoe, nebius)")
    # Their unhealthy nodes still give no supply.
    assert watch.usable("nebius") == []


def test_a_failed_provider_whose_nodes_are_gone_counts_no_more() -> None:
    watch = watching()
    watch.see(0, nodes("n"))
    for now in (60, 100_000):
        watch.see(now, nodes(of="ac"))
        assert opened(watch) == {"nebius"}
    watch.see(100_001, nodes("a", of="ac"))
    assert opened(watch) == {"nebius", "aws"}
    assert not watch.found.exceeded


def test_one_after_another_counts_as_together_while_the_first_is_open() -> None:
    watch = watching()
    watch.see(0, nodes("n"))
    watch.see(500, nodes("n", "c"))
    assert opened(watch) == {"nebius"}
    assert watch.found.exceeded


def test_once_it_is_less_the_rest_opens() -> None:
    watch = watching(clearSeconds=60)
    watch.see(0, nodes("n", "c"))
    watch.see(10, nodes("c"))
    assert watch.found.exceeded
    watch.see(70, nodes("c"))
    assert opened(watch) == {"crusoe"}
    assert not watch.found.exceeded


def test_more_may_fail_where_the_spec_allows_it() -> None:
    watch = watching(maxUnhealthyPercent=67)
    watch.see(0, nodes("n", "c"))
    assert opened(watch) == {"nebius", "crusoe"}


def test_providers_drained_by_hand_do_not_count_and_open_all_the_same() -> None:
    watch = watching("nebius")
    watch.see(0, nodes("c"))
    assert opened(watch) == {"nebius", "crusoe"}
    assert not watch.found.exceeded
    watch = watching("nebius")
    watch.see(0, nodes("a", "c"))
    assert opened(watch) == {"nebius"}
    assert watch.found.exceeded


def test_a_half_open_provider_that_fails_among_too_many_stays_half_open() -> None:
    watch = watching()
    half = Breaker(BreakerState.HALF_OPEN, Reason.PROVIDER_UNHEALTHY, NOW, failures=1, node="n0")
    watch.state = pool_state(breakers={"nebius": half}, joined=watch.state.memory.joined)
    watch.see(0, nodes("n", "c"))
    assert watch.breaker("nebius").state is BreakerState.HALF_OPEN
    assert watch.usable("nebius") == []


@pytest.mark.parametrize("reason", [Reason.PROVISIONING_FAILED, Reason.CANARY_FAILED])
def test_a_standby_that_has_no_capacity_does_not_keep_a_primary_that_fails_from_opening(reason: Reason) -> None:
    watch = watching()
    lacking = Breaker(OPEN, reason, NOW - 60, NOW + 3600, failures=4)
    watch.state = pool_state(breakers={"nebius": lacking}, joined=watch.state.memory.joined)
    watch.see(0, nodes("a"))
    assert opened(watch) == {"aws", "nebius"}
    assert not watch.found.exceeded


def test_a_provider_without_capacity_that_fails_as_well_counts() -> None:
    watch = watching()
    lacking = Breaker(OPEN, Reason.PROVISIONING_FAILED, NOW - 60, NOW + 3600, failures=4)
    watch.state = pool_state(breakers={"nebius": lacking}, joined=watch.state.memory.joined)
    watch.see(0, nodes("a", "n"))
    assert opened(watch) == {"nebius"}
    assert watch.found.exceeded


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.sets(st.sampled_from("anc"), max_size=3), st.sampled_from((1, 40, 200))), max_size=8),
    st.sampled_from((0, 30)),
)
def test_whatever_fails_when_two_failures_never_open_a_third(story: list[tuple[set[str], float]], sustain: int) -> None:
    """With room for one failure of three, at most one breaker is open at any time."""
    watch, now = watching(sustainSeconds=sustain, clearSeconds=60), 0.0
    for lost, passes in story:
        now += passes
        watch.see(now, nodes(*lost))
        assert len(opened(watch)) <= 1
        failing = {name for name, one in watch.found.health.providers.items() if one.failing}
        assert bool(watch.found.exceeded) is (len(failing | opened(watch)) >= 2)
