"""No breaker opens on heartbeats alone: a sample of the Leases is read directly first, because a watch may be stale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from computepool.assess.health.providers import LIVE_SECONDS, SAMPLE
from computepool.model.reasons import Reason
from computepool.model.state import PoolState
from computepool.model.taints import Taint
from tests.builders import NOW, changed, node, pool, pool_state, provider, snapshot
from tests.unit.core.moving import half_open, opened, owned
from tests.unit.core.passes import Decided, decided
from tests.unit.core.watching import beating

OTHERS = ("a1", "a2")


def seen(
    silent: int,
    read: Mapping[str, float],
    *,
    state: PoolState | None = None,
    more: Mapping[str, float] | None = None,
    ready: str = "True",
    now: float = 30,
    **spec: Any,
) -> Decided:
    """A pass at `now` over a nebius whose nodes were last heard at 0. `read`: when their Leases were read."""
    names = [f"n{number:03}" for number in range(silent)]
    nodes = [*map(node, OTHERS), *(node(name, ready=ready) for name in names), node("c1"), node("c2")]
    heard = {**beating(now, *OTHERS), **beating(0, *names), **beating(now, "c1", "c2"), **(more or {})}
    live = {name: NOW + at for name, at in read.items()}
    return decided(snapshot(pool(**spec), nodes, heartbeats=heard, read_live=live), state, NOW + now)


def test_a_silent_provider_is_in_use_until_its_leases_were_read() -> None:
    plan = seen(3, {})
    assert plan.leases_to_read == {"n000", "n001", "n002"}
    assert plan.state.breaker("nebius").closed
    assert plan.recheck_at is not None
    assert plan.recheck_at <= NOW + 31
    # Single nodes are avoided by what the watch shows.
    assert set(plan.quarantine or {}) == {"n000", "n001", "n002"}


def test_once_they_were_read_the_breaker_opens() -> None:
    plan = seen(3, dict.fromkeys(("n000", "n001", "n002"), 29.0))
    assert plan.leases_to_read == frozenset()
    assert plan.state.breaker("nebius").reason is Reason.PROVIDER_SILENT


@pytest.mark.parametrize(
    ("read", "asked"),
    [
        (dict.fromkeys(("n000", "n001"), 29.0), {"n002"}),
        (dict.fromkeys(("n000", "n001", "n002"), 29.9 - LIVE_SECONDS), {"n000", "n001", "n002"}),
    ],
    ids=["one was not read", "they were read too long ago"],
)
def test_a_reading_that_is_not_complete_or_too_old_confirms_nothing(read: dict[str, float], asked: set[str]) -> None:
    plan = seen(3, read)
    assert plan.state.breaker("nebius").closed
    assert plan.leases_to_read == asked


def test_many_nodes_are_confirmed_by_a_sample() -> None:
    asked = seen(300, {}).leases_to_read
    assert len(asked) == SAMPLE
    # Nodes from all over the list: one rack's Leases need not speak for all.
    assert min(asked) < "n020"
    assert max(asked) > "n270"
    plan = seen(300, dict.fromkeys(asked, 29.0))
    assert plan.leases_to_read == frozenset()
    assert not plan.state.breaker("nebius").closed
    assert len(seen(300, dict.fromkeys(sorted(asked)[1:], 29.0)).leases_to_read) == 1


def test_a_node_that_an_autoscaler_takes_away_confirms_the_silence_of_no_other_node() -> None:
    taken = node("n009", taints=[Taint("ToBeDeletedByClusterAutoscaler", "", "NoSchedule")])
    nodes = [*map(node, OTHERS), *map(node, _names(2)), taken, node("c1"), node("c2")]
    heard = {**beating(30, *OTHERS, "c1", "c2"), **beating(0, *_names(2), taken.name)}
    left = owned("left", on=taken.name)
    plan = decided(snapshot(pool(), nodes, [left], heartbeats=heard, read_live={}), None, NOW + 30)
    assert set(plan.assessment.health.nodes) == {*_names(2), taken.name}
    assert plan.leases_to_read == set(_names(2))


def test_silence_that_makes_most_nodes_unhealthy_is_confirmed_too() -> None:
    plan = seen(3, {}, more=beating(30, "n000"), health={"unhealthyPercent": 60})
    assert plan.leases_to_read == {"n001", "n002"}
    assert plan.state.breaker("nebius").closed


def test_what_the_control_plane_says_of_the_nodes_needs_no_reading() -> None:
    known = pool_state(joined=frozenset(_names(3)))
    for seconds, reason in ((0, Reason.PROVIDER_UNHEALTHY), (25, Reason.PROVIDER_SILENT)):
        plan = seen(3, {}, ready="Unknown", health={"silentSeconds": seconds}, state=known)
        assert plan.leases_to_read == frozenset()
        assert plan.state.breaker("nebius").reason is reason


def test_nodes_that_are_heard_again_open_no_breaker_while_they_recover() -> None:
    before = seen(3, {}).state
    assert set(before.memory.node_faults) == set(_names(3))
    plan = seen(3, {}, more=beating(31, *_names(3)), now=31, state=before)
    assert plan.leases_to_read == frozenset()
    assert plan.state.breaker("nebius").closed
    assert set(plan.quarantine or {}) == set(_names(3))


def test_an_open_breaker_asks_no_more_and_a_half_open_one_does() -> None:
    assert seen(3, {}, state=pool_state(breakers={"nebius": opened(Reason.PROVIDER_SILENT)})).leases_to_read == set()
    trying = seen(3, {}, state=pool_state(breakers={"nebius": half_open("n000")}))
    assert trying.leases_to_read == set(_names(3))
    assert trying.state.breaker("nebius").reason is Reason.PROVIDER_UNHEALTHY


def test_a_drain_that_ends_does_not_make_a_silent_provider_half_open() -> None:
    drained = pool_state(breakers={"nebius": opened(Reason.DRAINED)})
    waiting = seen(3, {}, state=drained)
    assert waiting.state.breaker("nebius").reason is Reason.DRAINED
    assert waiting.leases_to_read == set(_names(3))
    read = seen(3, dict.fromkeys(_names(3), 29.0), state=drained)
    assert read.state.breaker("nebius").reason is Reason.PROVIDER_SILENT


def test_a_provider_that_is_not_confirmed_yet_counts_where_too_many_have_failed() -> None:
    of = pool(provider("aws"), provider("nebius"), provider("crusoe"))
    nodes = [node(name) for name in ("a1", "a2", "n1", "n2", "c1", "c2")]
    heard = {**beating(0, "n1", "n2", "c1", "c2"), **beating(30, "a1", "a2")}
    live = dict.fromkeys(("n1", "n2"), NOW + 29)
    plan = decided(snapshot(of, nodes, heartbeats=heard, read_live=live), now=NOW + 30)
    assert "crusoe, nebius" in plan.held_back
    assert plan.state.breaker("nebius").closed
    assert plan.leases_to_read == {"c1", "c2"}


def test_a_frozen_pool_asks_too_so_that_its_breakers_go_on() -> None:
    heard = {**beating(0, "n1", "n2"), **beating(30, "x1")}
    plan = decided(snapshot(pool(), [node("n1"), node("n2")], heartbeats=heard, read_live={}), now=NOW + 30)
    assert plan.frozen
    assert plan.leases_to_read == {"n1", "n2"}


def test_a_view_that_is_not_current_asks_for_nothing() -> None:
    state = changed(PoolState(), joined=frozenset())
    heard = {**beating(0, "n1"), **beating(30, "a1")}
    stale = snapshot(pool(), [node("a1"), node("n1")], heartbeats=heard, read_live={}, stale="lost")
    assert decided(stale, state, NOW + 30).leases_to_read == frozenset()


def _names(count: int) -> list[str]:
    return [f"n{number:03}" for number in range(count)]
