"""The demand of a pool over the last minutes: a step function, which changes at most once a minute.

Amounts are in thousandths of an accelerator, times in seconds since the epoch. A history that was interrupted for
longer than `GAP_SECONDS` starts anew, because the demand of that time is not known.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import msgspec

MINUTE: Final = 60.0
GAP_SECONDS: Final = 180.0
"""The longest interruption after which a history goes on."""

Points = tuple[tuple[float, int], ...]
"""Times and the demand from then on, oldest first."""


class DemandHistory(msgspec.Struct, frozen=True):
    """The demand since a moment. At least one point is in it."""

    since: float
    """The history has no gap since then."""
    points: Points
    lost_at: float | None = None
    """Since when the demand can't be seen; None while it is seen."""


def noted(history: DemandHistory | None, amount: int, minutes: int, now: float) -> DemandHistory:
    """Return the history with the demand of now. It is kept for so many minutes."""
    lost_at = None if history is None else history.lost_at
    if history is None or (lost_at is not None and now - lost_at > GAP_SECONDS):
        return DemandHistory(now, ((now, amount),))
    begin = now - minutes * MINUTE
    points = history.points
    at, last = points[-1]
    if len(points) > 1 and at // MINUTE == now // MINUTE:
        points = (*points[:-1], (at, amount))
    elif amount != last:
        points = (*points, (now, amount))
    # The last point before the window says what the demand was when the window begins.
    first = max((index for index, (time, _) in enumerate(points) if time <= begin), default=0)
    if points is history.points and not first and lost_at is None:
        return history
    return DemandHistory(max(history.since, points[first][0]), points[first:])


def lost(history: DemandHistory | None, now: float) -> DemandHistory | None:
    """Return the history while the demand can't be seen."""
    if history is None or history.lost_at is not None:
        return history
    return msgspec.structs.replace(history, lost_at=now)


def joined(history: DemandHistory, past: Points, minutes: int, now: float) -> DemandHistory:
    """Return the history with what another source knows of the time before it.

    `past` counts if it reaches from the start of the window to the start of the history without a gap.
    """
    begin = now - minutes * MINUTE
    before = tuple(point for point in past if point[0] < history.since)
    if history.since <= begin or not before:
        return history
    times = [at for at, _ in before] + [history.since]
    if times[0] > begin + MINUTE or any(after - at > GAP_SECONDS for at, after in pairwise(times)):
        return history
    steps = [point for point, (_, amount) in zip(before[1:], before, strict=False) if point[1] != amount]
    # The first value holds from the start of the window: it is less than a minute later.
    return DemandHistory(min(begin, times[0]), ((min(begin, times[0]), before[0][1]), *steps, *history.points))


def samples(history: DemandHistory, minutes: int, now: float) -> Sequence[int] | None:
    """Return the demand of each of the last minutes, the present demand last; None if the history is shorter."""
    if history.since > now - minutes * MINUTE:
        return None
    found = []
    points = list(history.points)
    value = points[0][1]
    for minute in range(minutes - 1, -1, -1):
        while points and points[0][0] <= now - minute * MINUTE:
            value = points.pop(0)[1]
        found.append(value)
    return found
