"""How long a pod takes to be Ready on a standby, from the moment when it may go there to its Ready condition.

This is the horizon of a forecast, unless the spec gives another.
"""

from collections.abc import Iterable
from math import ceil
from typing import Final

from computepool.assess.capacity.supply import Supply
from computepool.model.cluster import members_on
from computepool.model.state import ReadyTimes

REMEMBERED: Final = 20
"""Number of pods that count: the pods that became Ready last."""
SHARE: Final = 90
"""Percent of these pods that were Ready within the time."""
LONGEST_SECONDS: Final = 3_600.0
"""A pod that became Ready later was not starting all the time: it may have lost its condition and got it again."""
ROUND_SECONDS: Final = 10


def ready_times(before: ReadyTimes, standbys: Iterable[Supply], pool: str, now: float) -> ReadyTimes:
    """Return the times of the pods that became Ready last. `before`: the times of the last pass.

    A time of the future, by the clock of a node that is ahead, counts once it is reached: each pod counts once.
    """
    latest = before[-1][0] if before else 0.0
    new = []
    for supply in standbys:
        name = supply.provider.name
        for pod in members_on(supply.nodes, pool):
            at = pod.ready_since
            if pod.ready and at is not None and latest < at <= now:
                seconds = at - pod.offered_since(name)
                if 0.0 <= seconds <= LONGEST_SECONDS:
                    new.append((at, seconds))
    return (*before, *sorted(new))[-REMEMBERED:] if new else before


def ready_seconds(times: ReadyTimes) -> int | None:
    """Return within how many seconds most of the pods were Ready, rounded up to tens; None without any."""
    if not times:
        return None
    ordered = sorted(seconds for _, seconds in times)
    found = ordered[ceil(SHARE * len(ordered) / 100) - 1]
    return max(ROUND_SECONDS, ceil(found / ROUND_SECONDS) * ROUND_SECONDS)
