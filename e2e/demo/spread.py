"""Numbers that sum up many."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec


class Spread(msgspec.Struct, frozen=True):
    """Milliseconds: the middle, what 99 of 100 do not exceed (nearest rank), and the greatest. 0 where nothing was."""

    p50: float
    p99: float
    max: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Sum up milliseconds."""
        ordered = sorted(values) or [0.0]
        return cls(*(round(value, 1) for value in (_rank(ordered, 50), _rank(ordered, 99), ordered[-1])))


def _rank(ordered: Sequence[float], percent: int) -> float:
    return ordered[max(0, -(-percent * len(ordered) // 100) - 1)]
