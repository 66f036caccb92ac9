"""The last look before a running pod is evicted.

Invariant 5: no eviction without a target that fits, rechecked just before the act. A move may wait for its turn behind
other moves, or for its count to be written. By then a later pass may have found that the target is full, failed or
drained, that the pod's node is well again, or that the view is not to be trusted.
"""

from computepool.assess.assessment import Assessment
from computepool.assess.capacity.fit import Packer, label_keys
from computepool.decide.move.failover import in_trouble
from computepool.decide.plan import Move
from computepool.model.moves import MoveKind
from computepool.model.reasons import Reason


class Revalidation:
    """Looks at moves against one pass's verdicts; each move that is still right takes its place from the next."""

    def __init__(self, assessment: Assessment, resource: str, now: float) -> None:
        """`assessment`: the latest there is; `resource`: the pool's accelerator; `now`: its time."""
        self._assessment = assessment
        self._resource = resource
        self._now = now
        self._packers: dict[tuple[str, frozenset[str]], Packer] = {}

    def why_not(self, move: Move) -> Reason | None:
        """Return why the move is no longer right; None: there is still reason for it, and a place for the pod."""
        if self._assessment.all_silent:
            return Reason.ALL_SILENT
        if self._assessment.exceeded:
            return Reason.TOO_MANY_FAILED
        why = self._why_not_wanted(move)
        if why is not None:
            return why
        packer = self._packer(move.target, label_keys((move.pod,)))
        if packer is None:
            return Reason.NO_NODES
        return None if packer.place(move.pod.shape) else packer.why_not(move.pod.shape)

    def _why_not_wanted(self, move: Move) -> Reason | None:
        """Return why the pod may stay: what it leaves is no longer in trouble, or its home is no longer free."""
        match move.kind:
            case MoveKind.FAILOVER:
                source = self._assessment.supply(move.source)
                troubled = source is not None and in_trouble(self._assessment, source, move.pod.node)
                return None if troubled else Reason.RECOVERING
            case MoveKind.FAILBACK:
                # A half-open primary counts as saturated, and takes one pod to be tried with.
                free = self._assessment.saturation.saturated is False
                return None if free or not self._assessment.primary.breaker.closed else Reason.NOT_STABLE
            case MoveKind.RESCHEDULE:
                return None

    def _packer(self, target: str, keys: frozenset[str]) -> Packer | None:
        """Return the provider's packing; pods that ask for other labels of nodes have a packing of their own."""
        packer = self._packers.get((target, keys))
        if packer is None:
            supply = self._assessment.supply(target)
            if supply is None:
                return None
            packer = self._packers[target, keys] = Packer(supply, self._resource, keys, self._now)
        return packer
