"""Sums up many measured numbers: the least, the greatest, and percentiles by the nearest rank."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

RESOLUTION = 0.01


class Spread(msgspec.Struct, frozen=True):
    """The least, the middle, the value that 99 of 100 do not exceed, and the greatest."""

    min: float
    p50: float
    p99: float
    max: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Sum up values in any unit; all is 0 where there are none."""
        ordered = sorted(values) or [0.0]
        return cls(ordered[0], percentile(ordered, 0.5), percentile(ordered, 0.99), ordered[-1])


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` (0 to 1) of all values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-round(share * 1_000_000) * len(ordered) // 1_000_000) - 1)]


def ratios(ours: Iterable[float], bare: Iterable[float]) -> Spread:
    """Compare round by round: what both did a moment apart, on the same machine in the same state.

    A value below RESOLUTION counts as RESOLUTION: such as the time between two events that came in one piece.
    """
    return Spread.of(max(a, RESOLUTION) / max(b, RESOLUTION) for a, b in zip(ours, bare, strict=True))
