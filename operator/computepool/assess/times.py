"""Times at which time alone may change an outcome. All are seconds since the epoch."""

from collections.abc import Iterable


def soonest(now: float, times: Iterable[float | None]) -> float | None:
    """Return the first of the times that is to come. A time that is over was looked at in this pass."""
    return min((time for time in times if time is not None and time > now), default=None)
