"""Whether decisions may rely on the view of the cluster, and what is missing from it."""

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from computepool.app.caches import Caches
from computepool.app.lease_reader import LeaseReader
from computepool.app.policy_keeper import PolicyKeeper
from computepool.app.pools import Pools


class View(Protocol):
    """The state of the view. Each text gives the problem, and is empty if there is none."""

    def stale(self) -> str:
        """Return why the view is not current."""

    def is_complete(self) -> bool:
        """Say whether the view was complete at least once."""

    def denied(self) -> bool:
        """Say whether the API server denies the operator a part of the view: a person has to change something."""

    def unreadable(self) -> str:
        """Return which objects can't be read, and so are missing from the view."""

    def unfollowed(self) -> str:
        """Return which signals are missing, and the effect."""

    def read_leases(self, names: Iterable[str]) -> None:
        """Have the Leases of these nodes read directly from the API server; the answer arrives as heartbeats."""

    def has_unread_pools(self) -> bool:
        """Say whether there are pools that can't be read."""

    def policy_missing(self) -> bool:
        """Say whether the cluster lacks the admission policy."""

    def policy_unserved(self) -> bool:
        """Say whether the API server does not serve such policies."""


class ViewFaults(NamedTuple):
    """What is wrong with the view at one moment. Each text is empty if there is no such problem."""

    stale: str
    unreadable: str
    unfollowed: str
    denied: bool = False
    """Whether the view is stale because the API server denies the operator a part of it."""

    def differ_from(self, other: "ViewFaults | None") -> bool:
        """Say whether a problem has begun or ended; its text may change at any time."""
        return other is None or [bool(fault) for fault in self] != [bool(fault) for fault in other]


def faults_of(view: View) -> ViewFaults:
    """Return what is wrong with the view now."""
    stale = view.stale()
    return ViewFaults(stale, view.unreadable(), view.unfollowed(), bool(stale) and view.denied())


class ClusterView:
    """The view as the caches, the pools and the policy show it."""

    def __init__(
        self, caches: Caches, leases: LeaseReader, pools: Pools, policy: PolicyKeeper, *, stale_seconds: float
    ) -> None:
        """A view that is not known to be current for `stale_seconds` is stale."""
        self._caches = caches
        self._leases = leases
        self._pools = pools
        self._policy = policy
        self._limit = stale_seconds

    def stale(self) -> str:
        """Return why nodes, pods, namespaces or pools are not current."""
        return self._caches.trouble(self._limit) or self._pools.trouble(self._limit)

    def is_complete(self) -> bool:
        """Say whether the view was complete at least once."""
        return self._caches.complete()

    def denied(self) -> bool:
        """Say whether the API server denies the operator nodes, pods, namespaces or pools."""
        return self._caches.denied() or self._pools.denied

    def unreadable(self) -> str:
        """Return which objects can't be read."""
        return self._caches.unreadable()

    def unfollowed(self) -> str:
        """Return which of heartbeats and failed pods are missing."""
        return "; ".join(filter(None, (self._caches.unfollowed(self._limit), self._leases.trouble())))

    def read_leases(self, names: Iterable[str]) -> None:
        """Have the Leases of these nodes read."""
        self._leases.want(names)

    def has_unread_pools(self) -> bool:
        """Say whether there are pools that can't be read."""
        return self._pools.unread()

    def policy_missing(self) -> bool:
        """Say whether the cluster lacks the admission policy."""
        return self._policy.missing

    def policy_unserved(self) -> bool:
        """Say whether the API server does not serve such policies."""
        return self._policy.unserved
