"""When an eviction that a disruption budget has refused is tried again."""

from collections.abc import Mapping
from typing import Final

from computepool.model.moves import PodMove

RETRY_SECONDS: Final = 10.0
"""Time between the first tries of a refused eviction."""
RETRY_SHARE: Final = 0.5
"""A refused eviction is tried again after this share of the time for which it has been refused."""
RETRY_CAP_SECONDS: Final = 60.0
"""The longest time between two tries, because a disruption budget may allow the eviction at any time."""


def retry_delay(refused: float) -> float:
    """Return the delay in seconds before the next try of an eviction that was refused for `refused` seconds so far."""
    return min(RETRY_CAP_SECONDS, max(RETRY_SECONDS, refused * RETRY_SHARE))


class EvictionRetries:
    """The refused evictions of one pass, by the pod's uid."""

    def __init__(self, refused: Mapping[str, PodMove], timeout: float, now: float) -> None:
        """`timeout`: evictionTimeoutSeconds. `now`: seconds since the epoch."""
        self._refused = refused
        self._timeout = timeout
        self._now = now

    def retry_at(self, uid: str) -> float | None:
        """Return the time of the next try of the pod's refused eviction; None if the pod need not wait."""
        move = self._refused.get(uid)
        if move is None:
            return None
        refused = move.at - (move.at if move.refused_since is None else move.refused_since)
        at = move.at + retry_delay(refused)
        return at if at > self._now else None

    def last_refused_at(self, uid: str) -> float:
        """Return when the pod's eviction was last refused; 0 if it never was.

        Sorted by this, the pods of one disruption budget do not block all other pods.
        """
        move = self._refused.get(uid)
        return 0.0 if move is None else move.at

    def overdue(self, uid: str) -> bool:
        """Say whether the pod's eviction has been refused for evictionTimeoutSeconds."""
        move = self._refused.get(uid)
        return move is not None and self._now >= (move.refused_since or 0.0) + self._timeout
