"""What a part of the process gets from outside: clocks, a random source, and a way to wait. Tests give their own."""

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
    """A clock that is never set: for durations."""
    rng: random.Random = field(default_factory=random.Random)
    """Spreads retries."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    """Waits for so many seconds."""
