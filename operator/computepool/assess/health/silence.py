"""Which nodes' heartbeats have stopped, and whether it is rather us who do not hear.

Heartbeats are the renewals of node Leases, by our own clock. A node whose Lease was never seen is not silent: it can't
be told. Nobody was silent before we listened. Where all heartbeats of the cluster stop at once, the trouble is on our
side (invariant 4): nobody counts as silent then.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

QUIET_SHARE: Final = 0.55
"""A node that is not heard for this share of `silent_seconds` is quiet: with the default, longer than kubelets take
between two heartbeats, and less than what two that died together may differ by."""


class Silence(msgspec.Struct, frozen=True):
    """Who is silent in the whole cluster."""

    silent: frozenset[str] = frozenset()
    """Names of nodes; none while we are blind."""
    quiet: frozenset[str] = frozenset()
    """Names of nodes that may be about to be silent; looked for only where others are."""
    beating: int = 0
    """How many nodes are heard."""
    all_silent: str = ""
    """Why no verdict can be trusted, for people; empty where they can."""
    recheck_at: float | None = None
    """When the next node falls silent, if it is not heard before."""


def silence_of(heartbeats: Mapping[str, float], listening_since: float, silent_seconds: int, now: float) -> Silence:
    """Return who is silent. `silent_seconds`: after how long; 0: never."""
    if not heartbeats or not silent_seconds:
        return Silence()
    last = now - silent_seconds
    if listening_since > last:
        return Silence(beating=len(heartbeats), recheck_at=listening_since + silent_seconds)
    silent = frozenset(name for name, at in heartbeats.items() if at <= last)
    if len(silent) == len(heartbeats):
        return Silence(all_silent=_blind(len(silent), silent_seconds))
    soonest = min(at for at in heartbeats.values() if at > last)
    quiet = _quiet(heartbeats, last, now - QUIET_SHARE * silent_seconds) if silent else frozenset()
    return Silence(silent, quiet, len(heartbeats) - len(silent), recheck_at=soonest + silent_seconds)


def _quiet(heartbeats: Mapping[str, float], after: float, until: float) -> frozenset[str]:
    return frozenset(name for name, at in heartbeats.items() if after < at <= until)


def _blind(count: int, seconds: int) -> str:
    whose = "the only node's heartbeat has" if count == 1 else f"the heartbeats of all {count} nodes have"
    return (
        f"{whose} stopped for {seconds} s: rather the operator does not see them. Check the API server, the operator's "
        "network and its right to read Leases in kube-node-lease"
    )
