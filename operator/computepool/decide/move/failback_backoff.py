"""Delays the failback of workloads whose replacements do not stay on the primary.

The template of such a workload may tolerate the standby, and the scheduler may prefer that provider. Then each failback
evicts a pod in vain. So the workload's pods stay on the standby: twice as long after each failed return, up to a day.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from computepool.decide.context import Context
from computepool.decide.move.pending_moves import LatestMoves
from computepool.model.cluster import Pod
from computepool.model.moves import MoveKind
from computepool.model.state import FailedReturn

SHORTEST_SECONDS: Final = 120.0
"""The least time that is doubled, if the dwell is shorter."""
LONGEST_SECONDS: Final = 86_400.0
"""The longest time for which a workload stays. Its count is kept for the same time after that."""
_DOUBLINGS: Final = 16


class FailbackBackoff:
    """The failed returns of a pool's workloads. A restart forgets them, so times begin with the shortest again."""

    def __init__(self, context: Context) -> None:
        """Begin with the failed returns in the memory."""
        dwell = float(context.spec.failback.min_dwell_seconds)
        self._base = max(dwell, SHORTEST_SECONDS)
        self._now = context.now
        self._known = {
            owner: relapse
            for owner, relapse in context.state.memory.failed_returns.items()
            if context.now < self._until(relapse) + LONGEST_SECONDS
        }
        moves = (move for move in context.snapshot.moves if move.kind is MoveKind.FAILBACK and move.let_go)
        self._home = LatestMoves(moves)

    def note(self, away: Iterable[Pod], stable_since: float | None) -> None:
        """Count the workloads whose pods came back to a standby. `away`: the pods on standbys.

        A pod that was sent to a standby does not count. Nor does a pod that was made before `stable_since`, since when
        the primary is healthy and not saturated: until then, admission may have allowed the standby.
        """
        if stable_since is None or not self._home:
            return
        for pod in away:
            if not pod.offers and pod.created >= stable_since and (latest := self._home.before(pod)) is not None:
                self._note(pod.owner, latest)

    def until(self, pod: Pod) -> float | None:
        """Return until when the pod's workload stays on standbys; None if it may come home."""
        relapse = self._known.get(pod.owner)
        until = 0.0 if relapse is None else self._until(relapse)
        return until if until > self._now else None

    def known(self) -> Mapping[str, FailedReturn]:
        """Return the failed returns by owner, for the next pass."""
        return self._known

    def _note(self, owner: str, latest: float) -> None:
        before = self._known.get(owner)
        # A move before the end of that time belongs to the failed return that is counted already.
        if before is None or latest >= self._until(before):
            self._known[owner] = FailedReturn(1 if before is None else before.times + 1, self._now)

    def _until(self, relapse: FailedReturn) -> float:
        return relapse.at + min(LONGEST_SECONDS, self._base * 2.0 ** min(relapse.times, _DOUBLINGS))
