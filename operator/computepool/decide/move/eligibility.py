"""Decides which running pods may be moved, and how long a moved pod dwells.

`Dwell` keeps the part of invariant 6 that allows one move per workload in minDwellSeconds.
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
"""Fields of pods that `fit` does not model and that may bind a pod to its provider."""


def node_bound(pod: Pod) -> bool:
    """Say whether the pod belongs to its node, terminates or has finished. No such pod is moved."""
    return pod.owner_kind in NODE_BOUND or pod.deleting is not None or pod.finished


def movable(pod: Pod, kind: MoveKind) -> bool:
    """Say whether the pod may be moved: it has a controller, or its annotation allows moves.

    A Job counts an eviction as a failure of the pod, and may fail for good. Its pods leave failing nodes, where they
    would fail anyway. Reschedule and failback move them only if their annotation allows moves.
    """
    if pod.movable is False or (not pod.owner and pod.movable is not True):
        return False
    if kind is MoveKind.FAILOVER:
        return True
    return not pod.do_not_disrupt and (pod.owner_kind != "Job" or pod.movable is True)


def storage_bound(pod: Pod) -> bool:
    """Say whether the pod's volumes or claims may bind it to its provider."""
    return pod.movable is not True and not STORAGE.isdisjoint(pod.shape.unmodelled)


class Dwell:
    """The times until which moved pods dwell."""

    def __init__(self, snapshot: Snapshot, seconds: float, moved_before: float | None, now: float) -> None:
        """`seconds`: the dwell; `moved_before`: when an earlier leader last moved a pod, whose identity is unknown."""
        self._seconds = seconds
        self._before = moved_before
        self._forgotten = snapshot.moves_forgotten
        self._now = now
        self._moved = LatestMoves(move for move in snapshot.moves if now < move.at + seconds and move.counts)

    def until(self, pod: Pod) -> float | None:
        """Return until when the pod dwells, in seconds since the epoch; None if it does not dwell."""
        moved = self._moved.before(pod)
        times = [] if moved is None else [moved]
        if self._before is not None:
            # The earlier leader may have moved this pod's predecessor, but no later than this pod was created.
            times.append(min(self._before, pod.created) + 1.0)  # Recorded times are rounded down to seconds.
        if self._forgotten is not None:
            # The forgotten moves may include the move of this pod's predecessor.
            times.append(min(self._forgotten, pod.created + SKEW_SECONDS))
        until = max(times, default=0.0) + self._seconds
        return until if until > self._now else None


def moved_before(snapshot: Snapshot, state: PoolState) -> float | None:
    """Return when an earlier leader last moved a pod of the pool; None if no such move is known."""
    times = [at for at, _ in state.recorded.recent_moves if at < snapshot.moves_since]
    known = () if state.memory.moved_before is None else (state.memory.moved_before,)
    return max((*times, *known), default=None)


def unknown_since(snapshot: Snapshot, before: Mapping[str, float], now: float) -> dict[str, float]:
    """Return since when the status of each node is Unknown, by name. `before`: the result of the pass before."""
    return {
        info.node.name: min(before.get(info.node.name, now), now)
        for info in snapshot.nodes
        if info.node.ready == "Unknown"
    }
