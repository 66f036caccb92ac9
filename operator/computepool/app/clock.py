"""The time of day as the operator reads it: in milliseconds, and never backwards."""

import time
from collections.abc import Callable
from typing import Final

from computepool.app.uptime import uptime_clock

SLOWER: Final = 0.5
"""How fast the clock goes while the machine's time of day is behind it, until the two agree again."""


class NeverBack:
    """A clock for all parts of one process, made once at the edge. Decisions rely on it: no recorded time lies ahead.

    It follows the machine's time of day. Where that is set forward, so is this clock. Where it is set back, this clock
    goes on at half its speed: whatever waits for a time waits longer, and nothing happens twice. After a restart the
    process starts with the time of day as it is, and times ahead of it are brought back (`assess.clamp`).
    """

    def __init__(self, wall: Callable[[], float] = time.time, steady: Callable[[], float] | None = None) -> None:
        """`wall` is the machine's time of day, `steady` a clock that goes on whatever happens (uptime by default)."""
        self._wall = wall
        self._steady = steady or uptime_clock()
        self._now, self._at = wall(), self._steady()

    def __call__(self) -> float:
        """Return the seconds since the epoch, in whole milliseconds."""
        wall, at = self._wall(), self._steady()
        gone_by = max(0.0, at - self._at)
        self._now, self._at = max(wall, self._now + gone_by * SLOWER), at
        return int(self._now * 1000) / 1000
