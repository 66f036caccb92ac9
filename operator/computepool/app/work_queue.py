"""The queue of pools that need a pass: each pool at most once, however many changes concern it."""

import asyncio
from collections.abc import Callable
from typing import Final

from computepool.act.tasks import wait_at_most

MINOR_SECONDS: Final = 0.25
"""How long a minor change may wait for others. In a burst each pod makes two or three of them, and they allow no new
decision. Without the wait, a third of a burst's processor time went into passes that found nothing to do."""


class WorkQueue:
    """Pools that changed, with the time of the change, and pools with a timer for their next pass.

    A pool that is added while its pass runs is handed out again afterwards. Passes are level-triggered, so changes are
    not counted.
    """

    def __init__(
        self, *, clock: Callable[[], float], wall: Callable[[], float], minor_seconds: float = MINOR_SECONDS
    ) -> None:
        """`clock` is monotonic and stamps changes; `wall` is the time of day and serves the timers.

        `minor_seconds`: how long a minor change may wait.
        """
        self._clock = clock
        self._wall = wall
        self._minor_seconds = minor_seconds
        self._changed: dict[str, float] = {}
        self._minor: dict[str, float] = {}
        self._timers: dict[str, float] = {}
        self._wake = asyncio.Event()

    def add(self, pool: str, at: float, *, minor: bool = False) -> None:
        """Queue a pool. `at`: monotonic time of the change; of several changes the earliest counts.

        `minor`: the change may wait for others. A change that is not minor ends the wait.
        """
        changes = self._minor if minor else self._changed
        changes[pool] = min(at, changes.get(pool, at))
        self._wake.set()

    def add_at(self, pool: str, when: float | None) -> None:
        """Set a pool's timer to a time of day; None removes it."""
        if when is None:
            self._timers.pop(pool, None)
        else:
            self._timers[pool] = when
            self._wake.set()

    def add_by(self, pool: str, when: float) -> None:
        """Set a pool's timer to a time of day, unless it has an earlier one."""
        self.add_at(pool, min(when, self._timers.get(pool, when)))

    def forget(self, pool: str) -> None:
        """Drop a pool that is gone."""
        for pools in (self._changed, self._minor, self._timers):
            pools.pop(pool, None)

    async def take(self) -> dict[str, float]:
        """Wait until a pool needs a pass; return such pools, each with the monotonic time of its first change."""
        while True:
            self._move_due()
            if self._changed:
                taken, self._changed = self._changed, {}
                for pool in taken:
                    self._minor.pop(pool, None)
                return taken
            self._wake.clear()
            await wait_at_most(self._wake, self._seconds_to_next())

    def _move_due(self) -> None:
        """Queue the pools whose timer or minor change is due."""
        now = self._wall()
        for pool in [pool for pool, when in self._timers.items() if when <= now]:
            # The change happened when the timer was due, here on the monotonic clock.
            self.add(pool, self._clock() - (now - self._timers.pop(pool)))
        due = self._clock() - self._minor_seconds
        for pool in [pool for pool, at in self._minor.items() if at <= due]:
            self.add(pool, self._minor.pop(pool))

    def _seconds_to_next(self) -> float | None:
        times = [when - self._wall() for when in self._timers.values()]
        times += [at + self._minor_seconds - self._clock() for at in self._minor.values()]
        return max(0.0, min(times)) if times else None
