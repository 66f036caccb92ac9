"""How long to wait before another attempt: growing, jittered delays that heed what the server asks for."""

import random
from typing import Final

from computepool.kube.errors import ApiError

MAX_RETRY_AFTER: Final = 120.0
"""Seconds: no server is believed when it asks for more."""
REMEMBERED: Final = 10_000
"""Keys whose failures are counted. Their objects may be deleted at any time, and nothing would say so."""


def doubled(base: float, cap: float, failures: int) -> float:
    """Return base, 2*base, 4*base ... up to the cap, after 0, 1, 2 ... earlier failures."""
    # The exponent is bounded because 2**n overflows a float after a day of failures.
    return min(cap, base * 2.0 ** min(failures, 32))


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

    def next(self, error: ApiError | None = None, *, at_least: float = 0.0) -> float:
        """Count a failure and return the seconds to wait.

        Never less than `at_least`, nor than the server asked for in `error`, as far as it is believed.
        """
        delay = doubled(self._base, self._cap, self._failures) * self._rng.uniform(0.5, 1.0)
        self._failures += 1
        asked = (error and error.retry_after) or 0.0
        return max(delay, at_least, min(MAX_RETRY_AFTER, asked))

    def reset(self) -> None:
        """Start over after success."""
        self._failures = 0


class Backoffs:
    """A Backoff for each of many keys, such as the uids of pods."""

    def __init__(self, *, base: float, cap: float, rng: random.Random) -> None:
        """As for a Backoff."""
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
        """Start over with this key."""
        self._by_key.pop(key, None)
