"""The history of demand: a step function with a point a minute, kept for a window; it begins anew after a gap."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from computepool.model.demand import GAP_SECONDS, MINUTE, DemandHistory, joined, noted, samples
from tests.builders import NOW

WINDOW = 10
NOTES = st.lists(st.tuples(st.floats(0.001, GAP_SECONDS), st.integers(0, 5)), min_size=1, max_size=80)


def history_of(notes: list[tuple[float, int]]) -> tuple[DemandHistory, list[tuple[float, int]]]:
    """The history, and all that was noted."""
    at, history, seen = NOW, None, []
    for seconds, amount in notes:
        at += seconds
        history = noted(history, amount, WINDOW, at)
        seen.append((at, amount))
    assert history is not None
    return history, seen


@given(NOTES)
def test_each_sample_is_a_demand_that_was_seen_within_a_minute_and_the_last_is_that_of_now(
    notes: list[tuple[float, int]],
) -> None:
    history, seen = history_of(notes)
    now = seen[-1][0]
    found = samples(history, WINDOW, now)
    assert (found is None) is (now - seen[0][0] < WINDOW * MINUTE)
    if found is None:
        return
    assert len(found) == WINDOW
    assert found[-1] == seen[-1][1]
    for minute, amount in zip(range(WINDOW - 1, -1, -1), found, strict=True):
        moment = now - minute * MINUTE
        before = [value for at, value in seen if at <= moment - MINUTE][-1:]
        near = [value for at, value in seen if moment - MINUTE < at <= moment + MINUTE]
        assert amount in (*before, *near)


@given(NOTES)
def test_it_has_a_point_a_minute_at_most_in_order_and_no_more_than_the_window_needs(
    notes: list[tuple[float, int]],
) -> None:
    history, _ = history_of(notes)
    times = [at for at, _ in history.points]
    assert times == sorted(times)
    assert len(times) <= WINDOW + 3


def test_a_short_loss_is_bridged_and_a_long_loss_begins_anew() -> None:
    history, seen = history_of([(MINUTE, amount) for amount in range(12)])
    now = seen[-1][0]
    assert samples(noted(history, 12, WINDOW, now + GAP_SECONDS), WINDOW, now + GAP_SECONDS) is not None
    anew = noted(history, 12, WINDOW, now + GAP_SECONDS + 1)
    assert (anew.since, anew.points) == (now + GAP_SECONDS + 1, ((now + GAP_SECONDS + 1, 12),))


def test_a_demand_that_stays_is_seen_too() -> None:
    history, seen = history_of([(MINUTE, 3)] * 12)
    assert history.seen_at == seen[-1][0]
    assert samples(history, WINDOW, seen[-1][0]) == [3] * WINDOW


PAST = st.lists(st.tuples(st.floats(-1_500.0, 100.0), st.integers(0, 5)), max_size=30)


@given(PAST, NOTES)
def test_a_past_counts_only_without_a_gap_from_the_begin_of_the_window(
    past: list[tuple[float, int]], notes: list[tuple[float, int]]
) -> None:
    history, seen = history_of(notes)
    now, known = seen[-1][0], tuple(sorted((NOW + at, amount) for at, amount in past))
    found = joined(history, known, WINDOW, now)
    if found is history:
        return
    begin = now - WINDOW * MINUTE
    times = [at for at, _ in known if at < history.since] + [history.since]
    assert times[0] <= begin + MINUTE
    assert all(later - earlier <= GAP_SECONDS for earlier, later in pairwise(times))
    assert samples(found, WINDOW, now) is not None
    assert [at for at, _ in found.points] == sorted(at for at, _ in found.points)
