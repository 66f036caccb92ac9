"""Growing delays for pools whose passes fail in an unexpected way.

One broken pool must not end the leader, because the other pools need it.
"""

from collections.abc import Callable
from typing import Final

from computepool.kube.retry import doubled

FIRST_SECONDS: Final = 1.0
LONGEST_SECONDS: Final = 60.0


class PoolBackoff:
    """How often each pool's pass has failed in a row, and when it may be tried again."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` is monotonic."""
        self._clock = clock
        self._failures: dict[str, int] = {}
        self._due: dict[str, float] = {}

    def failed(self, pool: str) -> float:
        """Count a failure; return how many seconds to leave the pool alone."""
        count = self._failures[pool] = self._failures.get(pool, 0) + 1
        seconds = doubled(FIRST_SECONDS, LONGEST_SECONDS, count - 1)
        self._due[pool] = self._clock() + seconds
        return seconds

    def remaining(self, pool: str) -> float:
        """Return the seconds until the pool may be tried again; 0 if it may be tried now."""
        return max(0.0, self._due[pool] - self._clock()) if pool in self._due else 0.0

    def failing(self, pool: str) -> bool:
        """Say whether the pool's last pass failed."""
        return pool in self._failures

    def forget(self, pool: str) -> None:
        """Start over with a pool: its pass succeeded, or it is gone."""
        self._failures.pop(pool, None)
        self._due.pop(pool, None)
