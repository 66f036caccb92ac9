"""A view of the cluster that is as a test says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class FakeView:
    """What is wrong with the view; nothing, unless told."""

    stale_because: str = ""
    unreadable_objects: str = ""
    lost_signals: str = ""
    unread_pools: bool = False
    without_policy: bool = False
    policy_unknown: bool = False

    def stale(self) -> str:
        return self.stale_because

    def unreadable(self) -> str:
        return self.unreadable_objects

    def unfollowed(self) -> str:
        return self.lost_signals

    def has_unread_pools(self) -> bool:
        return self.unread_pools

    def policy_missing(self) -> bool:
        return self.without_policy

    def policy_unserved(self) -> bool:
        return self.policy_unknown
