"""The trend of demand: only growth in more than one step is a trend, and its line says when a capacity is full."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from computepool.assess.forecast.trend import full_in, trend_of

SAMPLES = st.lists(st.integers(0, 10_000).map(float), min_size=2, max_size=121)


def test_steady_growth_fills_the_capacity_when_its_line_reaches_it() -> None:
    trend = trend_of([float(4 * minute) for minute in range(15)])
    assert trend.slope == pytest.approx(4.0)
    found = full_in(trend, 100.0, 60)
    assert found is not None
    assert found.likely == 11
    assert found.earliest < 11
    assert found.latest is not None
    assert found.latest > 11


@pytest.mark.parametrize(
    "samples",
    [
        [8.0] * 15,
        [8.0] * 7 + [40.0] * 8,
        [80.0 - 4 * minute for minute in range(15)],
        [8.0, 40.0] * 7 + [8.0],
        [40.0, 8.0, 12.0, 16.0, 20.0, 24.0, 28.0, 32.0, 36.0, 40.0, 8.0, 12.0, 16.0, 20.0, 24.0],
    ],
    ids=["flat", "one step", "falling", "up and down", "a saw"],
)
def test_demand_without_a_trend_never_fills_the_capacity(samples: Sequence[float]) -> None:
    assert full_in(trend_of(samples), 100.0, 480) is None


def test_a_capacity_that_is_reached_is_full_now_whatever_the_trend() -> None:
    found = full_in(trend_of([100.0] * 15), 100.0, 60)
    assert found is not None
    assert (found.earliest, found.likely, found.latest) == (0, 0, 0)


def test_a_capacity_that_lies_far_ahead_is_not_told() -> None:
    trend = trend_of([float(minute) for minute in range(15)])
    assert full_in(trend, 1_000.0, 60) is None


@given(SAMPLES, st.floats(1.0, 10_000.0), st.integers(1, 480))
def test_the_likely_time_lies_within_its_range(samples: list[float], capacity: float, most: int) -> None:
    found = full_in(trend_of(samples), capacity, most)
    if found is not None:
        assert 0 <= found.earliest <= found.likely <= most
        assert found.latest is None or found.likely <= found.latest <= most


@given(SAMPLES, st.floats(1.0, 10_000.0))
def test_less_capacity_is_never_full_later(samples: list[float], capacity: float) -> None:
    more, less = (full_in(trend_of(samples), amount, 480) for amount in (capacity, capacity / 2))
    if more is not None:
        assert less is not None
        assert less.likely <= more.likely
