"""How long a pod dwells that was moved or sent to a standby. Invariant 6: one move per workload in minDwellSeconds."""

from computepool.decide.move.pending_moves import SKEW_SECONDS, LatestMoves
from computepool.model.cluster import Pod
from computepool.model.snapshot import Snapshot
from computepool.model.state import PoolState


class Dwell:
    """The times until which moved pods dwell."""

    def __init__(self, snapshot: Snapshot, seconds: float, moved_before: float | None, now: float) -> None:
        """`seconds`: the dwell; `moved_before`: when an earlier leader last moved a pod, whose identity is unknown."""
        self._seconds = seconds
        self._before = moved_before
        self._forgotten = snapshot.moves_forgotten
        self._now = now
        self._moved = LatestMoves(move for move in snapshot.moves if now < move.at + seconds and move.counts)

    def on_standby_until(self, pod: Pod) -> float | None:
        """Return until when a pod on a standby stays before a move by choice; None if it may leave.

        However it came there, its start on another provider costs as much as after a move.
        """
        arrived = max((pod.created, *(offer.at for offer in pod.offers))) if pod.started is None else pod.started
        until = min(arrived, self._now) + self._seconds
        return until if until > self._now else None

    def until(self, pod: Pod) -> float | None:
        """Return until when a moved pod dwells, in seconds since the epoch; None if it does not dwell."""
        moved = self._moved.before(pod)
        if self._before is None and self._forgotten is None:
            # Most pods of most passes: a pass asks for each pod that should leave.
            return moved + self._seconds if moved is not None and moved + self._seconds > self._now else None
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
