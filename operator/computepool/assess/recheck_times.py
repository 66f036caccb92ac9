"""When to check again because time alone may change an outcome. Times are in seconds since the epoch."""

from collections.abc import Iterable


def soonest(now: float, times: Iterable[float | None]) -> float | None:
    """Return the earliest time after `now`. This pass has already taken in the times before."""
    return min((time for time in times if time is not None and time > now), default=None)
