"""Growing, jittered delays between attempts."""

from __future__ import annotations

import random


class Backoff:
    """Exponential backoff: each delay is drawn from the upper half of base, 2*base, 4*base ... up to the cap (seconds).

    The jitter keeps replicas and reflectors that failed together from coming back together; the lower bound keeps a
    failing server from being asked again at once.
    """

    def __init__(self, *, base: float, cap: float, rng: random.Random) -> None:
        """`rng` is injected so that tests draw the same delays each time."""
        self._base = base
        self._cap = cap
        self._rng = rng
        self._failures = 0

    @property
    def failures(self) -> int:
        """Attempts that failed since the last reset."""
        return self._failures

    def next(self, at_least: float | None = None) -> float:
        """Count a failure and return the seconds to wait; never less than what the server asked for (`at_least`)."""
        # The exponent is bounded because 2**n overflows a float after a day of failures.
        ceiling = min(self._cap, self._base * 2.0 ** min(self._failures, 32))
        self._failures += 1
        return max(at_least or 0.0, ceiling * self._rng.uniform(0.5, 1.0))

    def reset(self) -> None:
        """Start over after success."""
        self._failures = 0
