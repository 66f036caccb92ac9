"""Clocks, random numbers and waiting, which tests replace."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """The outside world of one process."""

    wall: Callable[[], float] = time.time
    """The time of day, in seconds since the epoch."""
    steady: Callable[[], float] = time.monotonic
    """Monotonic seconds, for durations."""
    rng: random.Random = field(default_factory=random.Random)
    """Gives the jitter of retries."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    """Waits for a number of seconds."""
