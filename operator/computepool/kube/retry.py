"""Delays before another attempt. They grow, have jitter, and respect the server's Retry-After."""

import random
from typing import Final

from computepool.kube.errors import ApiError

MAX_RETRY_AFTER: Final = 120.0
"""Limit in seconds for the delay that a server asks for."""
REMEMBERED: Final = 10_000
"""Limit for the keys whose failures are counted, because no event shows that their objects were deleted."""


def doubled(base: float, cap: float, failures: int) -> float:
    """Return base, 2*base, 4*base ... up to the cap, after 0, 1, 2 ... earlier failures."""
    # The exponent is bounded because 2**n overflows a float after a day of failures.
    return min(cap, base * 2.0 ** min(failures, 32))


def jittered(base: float, cap: float, failures: int, rng: random.Random) -> float:
    """Return a delay from the upper half of `doubled`: the jitter separates retries that began together."""
    return doubled(base, cap, failures) * rng.uniform(0.5, 1.0)


class Backoff:
    """Exponential backoff: each delay is drawn from the upper half of base, 2*base, 4*base ... up to the cap (seconds).

    The jitter separates the retries of replicas and reflectors that failed together. The lower bound spares a failing
    server.
    """

    def __init__(self, *, base: float, cap: float, rng: random.Random) -> None:
        """`base` and `cap` are in seconds; `rng` gives the jitter."""
        self._base = base
        self._cap = cap
        self._rng = rng
        self._failures = 0

    @property
    def failures(self) -> int:
        """Number of failures since the last reset."""
        return self._failures

    def next(self, error: ApiError | None = None, *, at_least: float = 0.0) -> float:
        """Count a failure and return the seconds to wait.

        That is at least `at_least`, and at least the delay that `error` asks for, which counts up to MAX_RETRY_AFTER.
        """
        delay = jittered(self._base, self._cap, self._failures, self._rng)
        self._failures += 1
        retry_after = (error and error.retry_after) or 0.0
        return max(delay, at_least, min(MAX_RETRY_AFTER, retry_after))

    def reset(self) -> None:
        """Start again after success."""
        self._failures = 0


class Backoffs:
    """A Backoff for each of many keys, such as the uids of pods."""

    def __init__(self, *, base: float, cap: float, rng: random.Random) -> None:
        """As for `Backoff`."""
        self._base = base
        self._cap = cap
        self._rng = rng
        self._by_key: dict[str, Backoff] = {}

    def next(self, key: str, error: ApiError, *, at_least: float = 0.0) -> float:
        """Count a failure of this key and return the seconds to wait, as `Backoff.next` does."""
        if len(self._by_key) > REMEMBERED:
            self._by_key.clear()
        if key not in self._by_key:
            self._by_key[key] = Backoff(base=self._base, cap=self._cap, rng=self._rng)
        return self._by_key[key].next(error, at_least=at_least)

    def reset(self, key: str) -> None:
        """Start again with this key."""
        self._by_key.pop(key, None)
