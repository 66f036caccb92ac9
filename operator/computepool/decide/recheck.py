"""The last look before a running pod is evicted.

Invariant 5: no eviction without a target that fits, rechecked just before the act. A move may wait for its turn behind
others, or for its count to be written; by then a later pass may have found the target full, failed or drained, what was
to be left well again, or the view not to be trusted.
"""

from computepool.assess.assessment import Assessment
from computepool.assess.fit import Packer, label_keys
from computepool.assess.supply import Supply
from computepool.decide.failover import in_trouble
from computepool.decide.plan import Move
from computepool.model.snapshot import MoveKind


class Recheck:
    """Looks at moves against one pass's verdicts; each that passes takes its place from the next."""

    def __init__(self, assessment: Assessment, resource: str, now: float) -> None:
        """`assessment`: the latest there is; `resource`: the pool's accelerator; `now`: its time."""
        self._assessment = assessment
        self._resource = resource
        self._now = now
        self._packers: dict[tuple[str, frozenset[str]], Packer] = {}

    def holds(self, move: Move) -> bool:
        """Say whether there is still reason for the move, and a place for the pod at its target."""
        if self._assessment.blind or self._assessment.exceeded or not self._wanted(move):
            return False
        packer = self._packer(move.target, label_keys((move.pod,)))
        return packer is not None and packer.place(move.pod.shape)

    def _wanted(self, move: Move) -> bool:
        """Say whether what is to be left is still in trouble, or home still free."""
        match move.kind:
            case MoveKind.FAILOVER:
                source = self._supply(move.source)
                return source is not None and in_trouble(self._assessment, source, move.pod.node)
            case MoveKind.FAILBACK:
                # A half-open primary counts as saturated, and takes one pod to be tried with.
                free = self._assessment.saturation.saturated is False
                return free or not self._assessment.primary.breaker.closed
            case MoveKind.RESCHEDULE:
                return True

    def _supply(self, provider: str) -> Supply | None:
        return next((one for one in self._assessment.supplies if one.target.name == provider), None)

    def _packer(self, target: str, keys: frozenset[str]) -> Packer | None:
        """Return the provider's packing; pods that ask for other labels of nodes have one of their own."""
        packer = self._packers.get((target, keys))
        if packer is None:
            supply = self._supply(target)
            if supply is None:
                return None
            packer = self._packers[target, keys] = Packer(supply, self._resource, keys, self._now)
        return packer
