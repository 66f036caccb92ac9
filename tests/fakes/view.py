"""A view of the cluster that is as a test says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass
class FakeView:
    """What is wrong with the view; nothing, unless told."""

    stale_because: str = ""
    unreadable_objects: str = ""
    lost_signals: str = ""
    unread_pools: bool = False
    without_policy: bool = False
    policy_unknown: bool = False
    complete: bool = True
    access_denied: bool = False
    leases_asked: set[str] = field(default_factory=set)

    def stale(self) -> str:
        return self.stale_because

    def is_complete(self) -> bool:
        return self.complete

    def denied(self) -> bool:
        return self.access_denied

    def unreadable(self) -> str:
        return self.unreadable_objects

    def unfollowed(self) -> str:
        return self.lost_signals

    def read_leases(self, names: Iterable[str]) -> None:
        self.leases_asked.update(names)

    def has_unread_pools(self) -> bool:
        return self.unread_pools

    def policy_missing(self) -> bool:
        return self.without_policy

    def policy_unserved(self) -> bool:
        return self.policy_unknown
