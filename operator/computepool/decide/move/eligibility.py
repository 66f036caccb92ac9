"""Whether a running pod may be moved at all, and for how long it is left where it is after a move.

Invariant 6, one move per workload per minDwellSeconds, is kept by `Dwell`.
"""

from collections.abc import Mapping
from typing import Final

from computepool.decide.move.pending import SKEW_SECONDS, LatestMoves
from computepool.model.cluster import Pod
from computepool.model.moves import MoveKind
from computepool.model.snapshot import Snapshot
from computepool.model.state import PoolState

NODE_BOUND: Final = frozenset({"DaemonSet", "Node"})
"""Kinds of owners whose pods belong to their node."""
STORAGE: Final = frozenset({"volumes", "resourceClaims"})
"""What fit does not model and ties a pod to where it is."""


def node_bound(pod: Pod) -> bool:
    """Say whether the pod belongs to its node, or is about to leave it: nothing is decided about it."""
    return pod.owner_kind in NODE_BOUND or pod.deleting is not None or pod.finished


def movable(pod: Pod, kind: MoveKind) -> bool:
    """Say whether the pod may be moved: its controller makes another, or its annotation says so.

    A Job may count an eviction as one of its few tries, and fail for good. Its pods leave what fails all the same, as
    they would fail there anyway. By choice they are moved only if their annotation says that they may be.
    """
    if pod.movable is False or (not pod.owner and pod.movable is not True):
        return False
    if kind is MoveKind.FAILOVER:
        return True
    return not pod.do_not_disrupt and (pod.owner_kind != "Job" or pod.movable is True)


def storage_bound(pod: Pod) -> bool:
    """Say whether it is unknown that the pod would run on another provider."""
    return pod.movable is not True and not STORAGE.isdisjoint(pod.shape.unmodelled)


class Dwell:
    """Until when pods are left where they are."""

    def __init__(self, snapshot: Snapshot, seconds: float, moved_before: float | None, now: float) -> None:
        """`moved_before`: when an earlier leader last moved a pod, which may have been any pod."""
        self._seconds = seconds
        self._before = moved_before
        self._forgotten = snapshot.moves_forgotten
        self._now = now
        self._moved = LatestMoves(move for move in snapshot.moves if now < move.at + seconds and move.counts)

    def until(self, pod: Pod) -> float | None:
        """Return until when the pod counts as moved; None where it does not."""
        moved = self._moved.before(pod)
        times = [] if moved is None else [moved]
        if self._before is not None:
            # We do not know which pod the earlier leader moved. Assume this one, at its creation at the latest (times
            # are whole seconds, so add one).
            times.append(min(self._before, pod.created) + 1.0)
        if self._forgotten is not None:
            # Moves dropped from memory may include this pod's. Count it as moved at that time, or at its creation.
            times.append(min(self._forgotten, pod.created + SKEW_SECONDS))
        until = max(times, default=0.0) + self._seconds
        return until if until > self._now else None


def moved_before(snapshot: Snapshot, state: PoolState) -> float | None:
    """Return when an earlier leader last moved a pod of the pool, as far as it matters; None where none did."""
    times = [at for at, _ in state.recorded.recent_moves if at < snapshot.moves_since]
    known = () if state.memory.moved_before is None else (state.memory.moved_before,)
    return max((*times, *known), default=None)


def unknown_since(snapshot: Snapshot, before: Mapping[str, float], now: float) -> dict[str, float]:
    """Return since when nodes are Unknown, with the nodes that were Unknown before."""
    return {
        info.node.name: min(before.get(info.node.name, now), now)
        for info in snapshot.nodes
        if info.node.ready == "Unknown"
    }
