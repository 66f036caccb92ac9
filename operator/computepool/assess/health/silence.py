"""Which nodes' heartbeats have stopped, and whether the operator itself has lost sight of them all.

A heartbeat is the renewal of a node's Lease, timed by the operator's own clock. A node whose Lease was never seen can't
be judged, so it is not silent. A node counts as silent only for a time in which the operator was listening. If all
heartbeats of the cluster stop at once, the fault is on the operator's side (invariant 4), and no node counts as silent.
"""

from collections.abc import Mapping
from math import ceil
from types import MappingProxyType
from typing import Final

import msgspec
from msgspec.structs import replace

LATE_SHARE: Final = 0.55
"""A node is late when its last heartbeat is older than this share of `silent_seconds`. With the default, that is longer
than a kubelet takes between two heartbeats, and shorter than the last heartbeats of two nodes that died together can
lie apart."""


LEAST_HEARTBEATS: Final = 2
"""A node is not silent before it has missed so many heartbeats: a single one may be late."""


class Silence(msgspec.Struct, frozen=True):
    """The silent nodes of the whole cluster."""

    silent: frozenset[str] = frozenset()
    """Names of nodes; empty while all nodes are silent."""
    late: frozenset[str] = frozenset()
    """Names of nodes that may be about to fall silent; worked out only while other nodes are silent."""
    beating: int = 0
    """The number of nodes whose heartbeats go on."""
    all_silent: str = ""
    """Why no verdict can be trusted, for people; empty while verdicts can be trusted."""
    recheck_at: float | None = None
    """When the next node falls silent, unless its heartbeat comes before."""
    heartbeats: Mapping[str, float] = MappingProxyType({})
    """By node: the time of the last heartbeat."""
    listening_since: float = 0.0

    def dark_since(self, node: str, unknown_since: float | None) -> float:
        """Return since when nothing is heard of a node that is silent, or whose status is Unknown.

        `unknown_since`: since when this process sees the status Unknown; None for any other status. Kubernetes comes
        to that status by the node's Lease too. A heartbeat after that contradicts the status.
        """
        heard = self.heartbeats.get(node)
        if heard is None:
            return 0.0 if unknown_since is None else unknown_since
        if unknown_since is None or heard > unknown_since:
            return max(heard, self.listening_since)
        return min(max(heard, self.listening_since), unknown_since)


def counted_silence(silent_seconds: int, interval: float | None) -> int:
    """Return after how many seconds a node counts as silent, 0 for never.

    `interval`: seconds between two heartbeats; None if there are none. A silence of less than two heartbeats proves
    nothing (invariant 4).
    """
    if not silent_seconds or interval is None:
        return silent_seconds
    return max(silent_seconds, ceil(LEAST_HEARTBEATS * interval))


def silence_of(heartbeats: Mapping[str, float], listening_since: float, silent_seconds: int, now: float) -> Silence:
    """Return the silent nodes.

    `heartbeats`: by node, the time of the last one; `silent_seconds`: after how long a node is silent, 0 for never.
    """
    heard = Silence(heartbeats=heartbeats, listening_since=listening_since)
    if not heartbeats or not silent_seconds:
        return heard
    latest_silent = now - silent_seconds
    if listening_since > latest_silent:
        return replace(heard, beating=len(heartbeats), recheck_at=listening_since + silent_seconds)
    silent = frozenset(name for name, at in heartbeats.items() if at <= latest_silent)
    if len(silent) == len(heartbeats):
        return replace(heard, all_silent=_all_silent(len(silent), silent_seconds))
    oldest = min(at for at in heartbeats.values() if at > latest_silent)
    late = _last_seen(heartbeats, latest_silent, now - LATE_SHARE * silent_seconds) if silent else frozenset()
    beating = len(heartbeats) - len(silent)
    return replace(heard, silent=silent, late=late, beating=beating, recheck_at=oldest + silent_seconds)


def _last_seen(heartbeats: Mapping[str, float], after: float, until: float) -> frozenset[str]:
    return frozenset(name for name, at in heartbeats.items() if after < at <= until)


def _all_silent(count: int, seconds: int) -> str:
    whose = "the only node's heartbeat has" if count == 1 else f"the heartbeats of all {count} nodes have"
    return (
        f"{whose} stopped for {seconds} s: probably the operator can't see them. Check the API server, the operator's "
        "network and its right to read Leases in kube-node-lease"
    )
