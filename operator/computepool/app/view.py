"""What is known of the view of the cluster: whether decisions may rely on it, and what is missing from it."""

from typing import Protocol

from computepool.app.caches import Caches
from computepool.app.policy import PolicyKeeper
from computepool.app.pools import Pools


class View(Protocol):
    """Asked by whoever decides or writes. Each text says what is wrong, and is empty while nothing is."""

    def stale(self) -> str:
        """Return why the view is not current."""

    def unreadable(self) -> str:
        """Return which objects can't be read, and are missing from it."""

    def unfollowed(self) -> str:
        """Return which signals beside it do not come, and what is not noticed without them."""

    def has_unread_pools(self) -> bool:
        """Say whether there are pools that can't be read, so that it is unknown what they want."""

    def policy_missing(self) -> bool:
        """Say whether the cluster lacks the admission policy."""

    def policy_unserved(self) -> bool:
        """Say whether the API server knows no such policies."""


def faults_of(view: View) -> tuple[bool, bool, bool]:
    """Say whether the view is stale, whether objects in it can't be read, and whether signals do not come."""
    return bool(view.stale()), bool(view.unreadable()), bool(view.unfollowed())


class ClusterView:
    """The view as the caches, the pools and the policy show it."""

    def __init__(self, caches: Caches, pools: Pools, policy: PolicyKeeper, *, stale_seconds: float) -> None:
        """A view that is not known to be current for `stale_seconds` is stale."""
        self._caches = caches
        self._pools = pools
        self._policy = policy
        self._limit = stale_seconds

    def stale(self) -> str:
        """Return why nodes, pods, namespaces or pools are not current."""
        return self._caches.trouble(self._limit) or self._pools.trouble(self._limit)

    def unreadable(self) -> str:
        """Return which objects can't be read."""
        return self._caches.unreadable()

    def unfollowed(self) -> str:
        """Return which of heartbeats and failed pods do not come."""
        return self._caches.unfollowed(self._limit)

    def has_unread_pools(self) -> bool:
        """Say whether there are pools that can't be read."""
        return self._pools.unread()

    def policy_missing(self) -> bool:
        """Say whether the cluster lacks the admission policy."""
        return self._policy.missing

    def policy_unserved(self) -> bool:
        """Say whether the API server knows no such policies."""
        return self._policy.unserved
