"""The queue of pools to look at: each pool at most once, however many changes concern it."""

import asyncio
from collections.abc import Callable

from computepool.act.tasks import wait_at_most


class WorkQueue:
    """Pools that changed, since when, and pools to be looked at again at a time.

    A pool marked while its pass runs is handed out again afterwards; level-triggered, so marks are not counted.
    """

    def __init__(self, *, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        """`clock` is monotonic and stamps marks; `wall` is the time of day and rules the timers."""
        self._clock = clock
        self._wall = wall
        self._marked: dict[str, float] = {}
        self._timers: dict[str, float] = {}
        self._wake = asyncio.Event()

    def add(self, pool: str, at: float) -> None:
        """Have a pool looked at; of several marks the earliest time is kept."""
        self._marked[pool] = min(at, self._marked.get(pool, at))
        self._wake.set()

    def add_at(self, pool: str, when: float | None) -> None:
        """Have a pool looked at again at a time of day; None: only when it changes. Replaces what was set before."""
        if when is None:
            self._timers.pop(pool, None)
        else:
            self._timers[pool] = when
            self._wake.set()

    def add_by(self, pool: str, when: float) -> None:
        """Have a pool looked at again by that time of day; an earlier one that was set stays, overdue or not."""
        self.add_at(pool, min(when, self._timers.get(pool, when)))

    def forget(self, pool: str) -> None:
        """Drop a pool that is gone."""
        self._marked.pop(pool, None)
        self._timers.pop(pool, None)

    async def take(self) -> dict[str, float]:
        """Wait until there is something to look at; return those pools, each with the time of its first mark."""
        while True:
            self._ring()
            if self._marked:
                taken, self._marked = self._marked, {}
                return taken
            self._wake.clear()
            await wait_at_most(self._wake, self._idle())

    def _ring(self) -> None:
        now = self._wall()
        for pool in [pool for pool, when in self._timers.items() if when <= now]:
            # A timer is its own event: the time it was set for, on the monotonic clock.
            self.add(pool, self._clock() - (now - self._timers.pop(pool)))

    def _idle(self) -> float | None:
        return max(0.0, min(self._timers.values()) - self._wall()) if self._timers else None
