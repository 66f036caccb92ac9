"""Numbers of several rounds, and the few of them that are shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

import msgspec

RESOLUTION = 0.01


class Spread(msgspec.Struct, frozen=True):
    """The least, the middle and the greatest of some measurements."""

    low: float
    mid: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Sum up at least one value."""
        ordered = sorted(values)
        return cls(ordered[0], median(ordered), ordered[-1])


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` (0 to 1) of all values do not exceed: the nearest rank."""
    ordered = sorted(values)
    return ordered[max(0, -(-round(share * 1_000_000) * len(ordered) // 1_000_000) - 1)]


def ratios(ours: Iterable[float], bare: Iterable[float]) -> Spread:
    """Compare round by round: what both did a moment apart, on the same machine in the same mood.

    What is below what can be told apart, such as two events that came in one piece, counts as just that.
    """
    return Spread.of(max(a, RESOLUTION) / max(b, RESOLUTION) for a, b in zip(ours, bare, strict=True))
