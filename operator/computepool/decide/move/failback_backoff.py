"""Workloads that are brought home in vain: the pod in the moved pod's place goes to a standby again by itself.

The template of such a workload tolerates the standby, say, and the scheduler prefers it there. Each time the pod would
be evicted for nothing. So all pods of the workload are left there for a while: twice as long each time, up to a day.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from computepool.decide.context import Context
from computepool.decide.move.pending import LatestMoves
from computepool.model.cluster import Pod
from computepool.model.moves import MoveKind
from computepool.model.state import FailedReturn

SHORTEST_SECONDS: Final = 120.0
"""What is doubled, at least, however short the dwell."""
LONGEST_SECONDS: Final = 86_400.0
"""The longest time that a workload is left. For the same time after that its count is remembered."""
_DOUBLINGS: Final = 16


class FailbackBackoff:
    """What is known of a pool's workloads in one pass. A restart forgets it, and begins with the shortest time."""

    def __init__(self, context: Context) -> None:
        """Go on from what the pass before has left."""
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
        """Look for workloads that came back among the pods that run on standbys.

        A pod that was sent on has its reason to be there. So may a pod that was made while the primary was not well, or
        saturated: new pods are admitted to a standby then. `stable_since`: since when the primary is neither.
        """
        if stable_since is None or not self._home:
            return
        for pod in away:
            if not pod.offers and pod.created >= stable_since and (latest := self._home.before(pod)) is not None:
                self._note(pod.owner, latest)

    def until(self, pod: Pod) -> float | None:
        """Return until when the pod's workload is left where it is; None where it is not."""
        relapse = self._known.get(pod.owner)
        until = 0.0 if relapse is None else self._until(relapse)
        return until if until > self._now else None

    def known(self) -> Mapping[str, FailedReturn]:
        """Return what the next pass goes on from."""
        return self._known

    def _note(self, owner: str, latest: float) -> None:
        before = self._known.get(owner)
        # Moves before the end of its time belong to the turn that is counted already.
        if before is None or latest >= self._until(before):
            self._known[owner] = FailedReturn(1 if before is None else before.times + 1, self._now)

    def _until(self, relapse: FailedReturn) -> float:
        return relapse.at + min(LONGEST_SECONDS, self._base * 2.0 ** min(relapse.times, _DOUBLINGS))
