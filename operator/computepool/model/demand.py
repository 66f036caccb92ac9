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
    seen_at: float
    """When the demand was last seen. While no pass sees it, for whatever reason, this time stays."""


def noted(history: DemandHistory | None, amount: int, minutes: int, now: float) -> DemandHistory:
    """Return the history with the demand of now. It is kept for so many minutes."""
    if history is None or now - history.seen_at > GAP_SECONDS:
        return DemandHistory(now, ((now, amount),), now)
    begin = now - minutes * MINUTE
    points = history.points
    at, last = points[-1]
    if len(points) > 1 and at // MINUTE == now // MINUTE:
        points = (*points[:-1], (at, amount))
    elif amount != last:
        points = (*points, (now, amount))
    # The last point before the window says what the demand was when the window begins.
    first = max((index for index, (time, _) in enumerate(points) if time <= begin), default=0)
    return DemandHistory(max(history.since, points[first][0]), points[first:], now)


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
    since = min(begin, times[0])
    return DemandHistory(since, ((since, before[0][1]), *steps, *history.points), history.seen_at)


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
