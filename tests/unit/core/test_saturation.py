"""Whether the primary is saturated: two ways in and one way out, each after it has lasted long enough."""

from typing import Any

import pytest

from computepool.assess.assessment import assess
from computepool.model.cluster import Node, Pod
from computepool.model.reasons import Reason
from computepool.model.snapshot import Snapshot
from computepool.model.state import Saturation
from tests.builders import NOW, node, pod, pool, pool_state, provider, snapshot

HOME = Reason.PRIMARY_HAS_ROOM
YES = Saturation(True, Reason.PODS_OVERFLOW)
NO = Saturation(False, HOME)


def seen(*pods: Pod, nodes: tuple[Node, ...] = (node("a1"), node("a2"), node("n1")), **of: Any) -> Snapshot:
    providers = of.pop("providers", (provider("aws"), provider("nebius")))
    return snapshot(pool(*providers, **of), nodes, pods)


def verdict(at: Snapshot, before: Saturation, now: float = NOW) -> tuple[Saturation, float | None]:
    found = assess(at, pool_state(before), now)
    return found.saturation, found.recheck_at


def load(gpus: int) -> tuple[Pod, ...]:
    """Pods that hold so many of the primary's 16 accelerators."""
    return tuple(pod(f"x{i}", 1, on="a1" if i < 8 else "a2") for i in range(gpus))


def test_a_quiet_primary_has_room() -> None:
    assert verdict(seen(*load(8)), Saturation()) == (NO, None)


# -- in


@pytest.mark.parametrize("before", [Saturation(), NO], ids=["unknown", "not saturated"])
def test_pods_that_overflow_saturate_at_once(before: Saturation) -> None:
    assert verdict(seen(*load(16), pod("p")), before) == (YES, None)


def test_pods_overflow_although_most_is_free_where_nothing_of_their_size_is() -> None:
    assert verdict(seen(*load(1), pod("x", 1, on="a2"), pod("p", 8)), NO) == (YES, None)


def test_pods_that_have_not_waited_long_enough_do_not_saturate() -> None:
    found, _ = verdict(seen(*load(16), pod("p", waited=1)), NO)
    assert found.saturated is False


def test_a_full_primary_saturates_after_sustain_seconds() -> None:
    full = seen(*load(16), sustain=30)
    first, again = verdict(full, NO)
    assert first == Saturation(False, HOME, pressure_since=NOW)
    assert again == NOW + 30
    assert verdict(full, first, NOW + 29.9) == (first, NOW + 30)
    assert verdict(full, first, NOW + 30) == (Saturation(True, Reason.PRIMARY_ALLOCATED), None)


def test_a_full_primary_saturates_at_once_where_nothing_has_to_be_sustained() -> None:
    assert verdict(seen(*load(16), sustain=0), NO)[0] == Saturation(True, Reason.PRIMARY_ALLOCATED)


@pytest.mark.parametrize(("gpus", "pressure"), [(15, False), (16, True)])
def test_pressure_begins_at_enter_percent(gpus: int, pressure: bool) -> None:
    found, _ = verdict(seen(*load(gpus), enter=94), NO)
    assert (found.pressure_since is not None) is pressure


def test_a_share_is_rounded_down_so_that_no_pressure_is_made_up() -> None:
    found, _ = verdict(seen(*load(15), enter=93, leave=80), NO)
    assert found.pressure_since == NOW


def test_a_moment_without_pressure_starts_its_time_anew() -> None:
    before = Saturation(False, HOME, pressure_since=NOW - 29)
    assert verdict(seen(*load(8)), before) == (NO, None)


def test_pods_of_any_pool_or_none_fill_the_primary() -> None:
    assert verdict(seen(*load(8), *(pod(f"y{i}", on="a2") for i in range(8)), sustain=0), NO)[0].saturated


# -- out


def test_a_primary_with_room_is_saturated_no_more_after_clear_seconds() -> None:
    calm = seen(*load(12), clear=120)
    first, again = verdict(calm, YES)
    assert first == Saturation(True, Reason.PRIMARY_CLEARING, relief_since=NOW)
    assert again == NOW + 120
    assert verdict(calm, first, NOW + 119.9) == (first, NOW + 120)
    assert verdict(calm, first, NOW + 120) == (NO, None)


def test_between_the_two_thresholds_what_was_stays() -> None:
    between = seen(*load(14), enter=95, leave=80)
    assert verdict(between, YES) == (Saturation(True, Reason.PRIMARY_ALLOCATED), None)
    assert verdict(between, NO) == (NO, None)


@pytest.mark.parametrize(("gpus", "reason"), [(12, Reason.PRIMARY_CLEARING), (13, Reason.PRIMARY_ALLOCATED)])
def test_relief_begins_at_exit_percent(gpus: int, reason: Reason) -> None:
    assert verdict(seen(*load(gpus), leave=75), YES)[0].reason is reason


def test_new_overflow_ends_the_relief() -> None:
    clearing = Saturation(True, Reason.PRIMARY_CLEARING, relief_since=NOW - 119)
    assert verdict(seen(*load(4), pod("x", 1, on="a2"), pod("p", 8)), clearing) == (YES, None)


def test_a_moment_of_load_starts_the_relief_anew() -> None:
    clearing = Saturation(True, Reason.PRIMARY_CLEARING, relief_since=NOW - 119)
    assert verdict(seen(*load(16)), clearing) == (Saturation(True, Reason.PRIMARY_ALLOCATED), None)


def test_relief_without_clear_seconds_counts_at_once() -> None:
    assert verdict(seen(*load(1), clear=0), YES) == (NO, None)


# -- unknown


@pytest.mark.parametrize("before", [YES, NO, Saturation(False, HOME, pressure_since=NOW - 20)], ids=str)
def test_a_primary_of_unknown_capacity_is_neither_and_every_timer_starts_anew(before: Saturation) -> None:
    unknown, again = verdict(seen(pod("p"), nodes=(node("n1"),)), before)
    assert unknown == Saturation(None, Reason.PRIMARY_UNKNOWN)
    assert again is None
    found, _ = verdict(seen(*load(16)), unknown)
    assert found == Saturation(False, HOME, pressure_since=NOW)


# -- an on-demand primary


def on_demand(*pods: Pod, **of: Any) -> Snapshot:
    return seen(*pods, providers=(provider("aws", on_demand=True), provider("nebius")), **of)


def test_an_on_demand_primary_that_is_full_is_as_it_should_be() -> None:
    assert verdict(on_demand(*load(16), sustain=0), NO) == (NO, None)
    assert verdict(on_demand(nodes=()), NO) == (NO, None)


def test_an_on_demand_primary_saturates_when_its_nodes_do_not_come_in_time() -> None:
    assert verdict(on_demand(*load(16), pod("p", waited=599)), NO)[0].saturated is False
    assert verdict(on_demand(*load(16), pod("p", waited=600)), NO) == (YES, None)


def test_an_on_demand_primary_clears_by_its_queue_alone() -> None:
    first, again = verdict(on_demand(*load(16), clear=120), YES)
    assert (first.reason, again) == (Reason.PRIMARY_CLEARING, NOW + 120)
