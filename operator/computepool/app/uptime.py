"""A clock that goes on while the machine sleeps."""

import time
from collections.abc import Callable
from typing import Any


def uptime_clock(source: Any = time) -> Callable[[], float]:
    """Return the clock of seconds since the machine was started, the time that it was suspended included.

    `time.monotonic` stands still meanwhile (clock_gettime(2), on Linux): a leader that was suspended for an hour would
    wake up sure that it still leads. Where the platform has no better one, monotonic it is; macOS and Windows have none
    that Python shows, and operators run on Linux. `source` is the module `time`.
    """
    which = getattr(source, "CLOCK_BOOTTIME", None)
    if which is None:
        return source.monotonic  # type: ignore[no-any-return]
    return lambda: float(source.clock_gettime(which))
