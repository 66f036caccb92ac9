"""The time and the memory of a process that is measured, beside the least that could do the same."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from e2e.bench.report import Row
from e2e.spread import Spread, ratios


class Footprint(msgspec.Struct, frozen=True):
    """What one run took."""

    seconds: float
    cpu_seconds: float
    peak_mb: float


class Limits(msgspec.Struct, frozen=True):
    """What the middle run may take at most."""

    seconds: float
    megabytes: float


def rows_of(
    what: str, ours: Sequence[Footprint], bare: Sequence[Footprint], limits: Limits, *, beside: str, at_end: str
) -> list[Row]:
    """Return time, time beside the bare runs, and memory. `beside`: what those do; `at_end`: more about memory."""
    return [
        Row(
            what=f"{what}, time",
            unit="s",
            value=Spread.of(run.seconds for run in ours),
            limit=limits.seconds,
            detail=f"{Spread.of(run.cpu_seconds for run in ours).p50:.1f} s of processor time",
        ),
        Row(
            what=f"{what}, beside {beside}",
            unit="x",
            value=ratios([run.seconds for run in ours], [run.seconds for run in bare]),
            detail=f"{Spread.of(run.seconds for run in bare).p50:.1f} s for that",
        ),
        Row(
            what=f"{what}, memory",
            unit="MB",
            value=Spread.of(run.peak_mb for run in ours),
            limit=limits.megabytes,
            detail=f"at its peak; {at_end}",
        ),
    ]
