"""Whether a running pod may be moved at all, and for how long it is left where it is after a move.

Invariant 6, one move per workload per minDwellSeconds, is kept by `Dwell`.
"""

from collections.abc import Mapping
from typing import Final

from computepool.decide.flights import SKEW_SECONDS, Latest, is_asked
from computepool.model.snapshot import MoveKind, Pod, Snapshot
from computepool.model.state import PoolState

ROOTED: Final = frozenset({"DaemonSet", "Node"})
"""Kinds of owners whose pods belong to their node."""
TETHERS: Final = frozenset({"volumes", "resourceClaims"})
"""What fit does not model and ties a pod to where it is."""


def rooted(pod: Pod) -> bool:
    """Say whether the pod belongs to its node, or is about to leave it: nothing is decided about it."""
    return pod.owner_kind in ROOTED or pod.deleting is not None or pod.finished


def movable(pod: Pod, kind: MoveKind) -> bool:
    """Say whether the pod may be moved: something makes another in its place, or it says so itself.

    A Job may count an eviction as one of its few tries, and fail for good. Off what fails its pods are moved all the
    same, as they would fail there anyway; merely to be better off only if they say that they may.
    """
    if pod.movable is False or (not pod.owner and pod.movable is not True):
        return False
    if kind is MoveKind.FAILOVER:
        return True
    return not pod.undisturbed and (pod.owner_kind != "Job" or pod.movable is True)


def tethered(pod: Pod) -> bool:
    """Say whether it can't be told that the pod would run on another provider."""
    return pod.movable is not True and not TETHERS.isdisjoint(pod.shape.unmodelled)


class Dwell:
    """Until when pods are left where they are."""

    def __init__(self, snapshot: Snapshot, seconds: float, moved_before: float | None, now: float) -> None:
        """`moved_before`: when an earlier leader moved a pod last, which may have been any."""
        self._seconds = seconds
        self._before = moved_before
        self._forgotten = snapshot.moves_forgotten
        self._now = now
        self._moved = Latest(one for one in snapshot.moving if now < one.at + seconds and is_asked(one))

    def until(self, pod: Pod) -> float | None:
        """Return until when the pod counts as moved; None where it does not."""
        moved = self._moved.before(pod)
        times = [] if moved is None else [moved]
        if self._before is not None:
            # Whichever it was, it was made in that move's place at the latest now, and at the earliest when created.
            times.append(min(self._before, pod.created) + 1.0)
        if self._forgotten is not None:
            # So it may be of any move up to then; this process's own are known to the moment.
            times.append(min(self._forgotten, pod.created + SKEW_SECONDS))
        until = max(times, default=0.0) + self._seconds
        return until if until > self._now else None


def moved_before(snapshot: Snapshot, state: PoolState) -> float | None:
    """Return when an earlier leader moved a pod of the pool last, as far as it matters; None where none did."""
    times = [at for at, _ in state.recent_moves if at < snapshot.moving_since]
    known = () if state.moved_before is None else (state.moved_before,)
    return max((*times, *known), default=None)


def unknown_since(snapshot: Snapshot, before: Mapping[str, float], now: float) -> dict[str, float]:
    """Return since when nodes are Unknown, those that were before included."""
    return {
        use.node.name: min(before.get(use.node.name, now), now) for use in snapshot.nodes if use.node.ready == "Unknown"
    }
