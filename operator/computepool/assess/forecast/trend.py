"""A straight line through the demand of the last minutes, and when it reaches a capacity.

The line goes through the last value and has the slope of the least squares fit. A demand that has risen in one minute
only is a step, and a fit that explains less than half of the variance says nothing: then there is no trend, and the
forecast is that nothing changes.

The range around the line is that of a random walk with drift: demand moves in steps, and is as likely to go on from
where it is as to return to the line. The prediction interval of the fit, which expects a return, held one value in ten
on recorded demand where it promised eight.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import sqrt
from typing import Final

import msgspec

LEAST_FIT: Final = 0.5
"""Part of the variance that the fit explains at least (r squared)."""
LEAST_RISES: Final = 2
"""Minutes in which the demand rose, at least."""
RANGE: Final = 1.2816
"""Half the width of the range, in standard errors: four of five normally distributed values lie within."""


class Trend(msgspec.Struct, frozen=True):
    """A line through the last value. Amounts are in the unit of the samples."""

    level: float
    """The last value."""
    slope: float = 0.0
    """Change a minute; 0 without a trend."""
    step: float = 0.0
    """Root mean square of the change from minute to minute."""
    samples: int = 0
    """Number of samples, a minute apart."""

    def after(self, minutes: float) -> float:
        """Return the likely value after so many minutes."""
        return self.level + self.slope * minutes

    def spread(self, minutes: float) -> float:
        """Return half the width of the range after so many minutes."""
        return RANGE * self.step * sqrt(minutes + minutes * minutes / max(1, self.samples))


class FullIn(msgspec.Struct, frozen=True):
    """In how many whole minutes a demand reaches a capacity."""

    likely: int
    earliest: int
    latest: int | None
    """None: perhaps not within the time that the forecast looks ahead."""


def trend_of(samples: Sequence[float]) -> Trend:
    """Return the trend of one value a minute, oldest first. The last sample is the value of now."""
    level, count = samples[-1], len(samples)
    changes = [after - before for before, after in pairwise(samples)]
    if sum(1 for change in changes if change > 0) < LEAST_RISES:
        return Trend(level)
    middle, mean = (count - 1) / 2, sum(samples) / count
    squares = _squares(count)
    together = sum((index - middle) * (value - mean) for index, value in enumerate(samples))
    variance = sum((value - mean) * (value - mean) for value in samples)
    if together <= 0 or together * together < LEAST_FIT * squares * variance:
        return Trend(level)
    step = sqrt(sum(change * change for change in changes) / len(changes))
    return Trend(level, together / squares, step, count)


def full_in(trend: Trend, capacity: float, most: int) -> FullIn | None:
    """Return when the demand reaches the capacity; None if it does not within `most` minutes."""
    if trend.level >= capacity:
        return FullIn(0, 0, 0)
    if not trend.slope:
        return None
    minutes = range(1, most + 1)
    likely = next((at for at in minutes if trend.after(at) >= capacity), None)
    if likely is None:
        return None
    return FullIn(
        likely,
        next(at for at in minutes if trend.after(at) + trend.spread(at) >= capacity),
        next((at for at in minutes if trend.after(at) - trend.spread(at) >= capacity), None),
    )


def _squares(count: int) -> float:
    """Return the sum of squares of the minutes from their middle."""
    return count * (count * count - 1) / 12
