"""The time of day as the operator reads it: in milliseconds, and never backwards."""

import time
from collections.abc import Callable
from typing import Final

from computepool.app.uptime_clock import uptime_clock

SLOWER: Final = 0.5
"""The clock's speed while the machine's time of day is behind it."""


class NeverBack:
    """The one clock of a process. Decisions rely on it: no recorded time lies ahead of it.

    The clock follows the machine's time of day when that is set forward. When that is set back, the clock goes on at
    half its speed: waits become longer, and nothing happens twice. After a restart the process starts with the
    machine's time of day, and `assess.clamp_future_times` brings back recorded times that lie ahead of it.
    """

    def __init__(self, wall: Callable[[], float] = time.time, steady: Callable[[], float] | None = None) -> None:
        """`wall` is the machine's time of day; `steady` is monotonic (by default the machine's uptime)."""
        self._wall = wall
        self._steady = steady or uptime_clock()
        self._now, self._at = wall(), self._steady()

    def __call__(self) -> float:
        """Return the seconds since the epoch, in whole milliseconds."""
        wall, at = self._wall(), self._steady()
        elapsed = max(0.0, at - self._at)
        self._now, self._at = max(wall, self._now + elapsed * SLOWER), at
        return int(self._now * 1000) / 1000
