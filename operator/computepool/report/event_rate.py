"""The rate of events about single pods, so that thousands of waiting pods do not flood the API server."""

from typing import Final

CAPACITY: Final = 100.0
"""How many such events may follow at once: small beside the queue of events."""
PER_SECOND: Final = 5.0
"""How many more may follow each second, for all pools together."""
RETRY_SECONDS: Final = 10.0
"""When a pool with more such events asks again, if no other pass does before: each time costs a pass over the pool."""


class EventRate:
    """A token bucket that all pools share."""

    def __init__(self) -> None:
        """Start with a full bucket."""
        self._tokens = CAPACITY
        self._at: float | None = None

    def take(self, wanted: int, now: float) -> int:
        """Take at most half of the tokens, rounded up, so that no pool takes all of them. Return how many were taken.

        `now`: seconds since the epoch. A clock that was set back adds nothing.
        """
        if self._at is not None:
            self._tokens = min(CAPACITY, self._tokens + max(0.0, now - self._at) * PER_SECOND)
        self._at = now
        taken = min(wanted, (int(self._tokens) + 1) // 2)
        self._tokens -= taken
        return taken
