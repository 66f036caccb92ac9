"""A clock that goes on while the machine is suspended."""

import time
from collections.abc import Callable
from typing import Any


def uptime_clock(source: Any = time) -> Callable[[], float]:
    """Return a clock of the seconds since the machine started, including the time for which it was suspended.

    `time.monotonic` stops during suspension (clock_gettime(2), on Linux): a leader that was suspended for an hour would
    wake up and believe that it still leads. On macOS and Windows, where Python has no such clock, this is
    `time.monotonic`. `source` is the module `time`.
    """
    clock_id = getattr(source, "CLOCK_BOOTTIME", None)
    if clock_id is None:
        return source.monotonic  # type: ignore[no-any-return]
    return lambda: float(source.clock_gettime(clock_id))
