"""The last check of a move, just before the eviction.

Invariant 5: no eviction without a target that fits. A move may wait behind other moves, or until the status records it.
In that time a later pass may find that the target is full, failed or drained, that the node's fault is gone, or that
the view can't be trusted.
"""

from computepool.assess.assessment import Assessment
from computepool.assess.capacity.fit import Packer, label_keys
from computepool.assess.demand.overflow import FULL
from computepool.decide.move.failover import in_trouble
from computepool.decide.plan import Move
from computepool.model.cluster import NodeInfo, Pod
from computepool.model.moves import MoveKind
from computepool.model.reasons import Reason


class Revalidation:
    """Checks moves by the assessment of one pass. Each move that passes takes its place before the next move."""

    def __init__(self, assessment: Assessment, resource: str, now: float) -> None:
        """`assessment`: the pool's latest; `resource`: the name of its accelerator; `now`: the assessment's time."""
        self._assessment = assessment
        self._resource = resource
        self._now = now
        self._packers: dict[tuple[str, frozenset[str]], Packer] = {}
        self._infos: dict[str, NodeInfo] = {}

    def why_not(self, move: Move) -> Reason | None:
        """Return the reason why the move must not happen; None if it still has a cause and a place."""
        if self._assessment.all_silent:
            return Reason.ALL_SILENT
        if self._assessment.exceeded:
            return Reason.TOO_MANY_FAILED
        why = self._why_cause_is_gone(move)
        if why is not None:
            return why
        packer = self._packer(move.target, label_keys((move.pod,)))
        if packer is None:
            return Reason.NO_NODES
        if packer.place(move.pod.shape):
            return None
        why = packer.why_not(move.pod.shape)
        return None if move.room_seconds and why in FULL else why

    def _why_cause_is_gone(self, move: Move) -> Reason | None:
        """Return why the cause of the move is gone; None if it remains."""
        match move.kind:
            case MoveKind.FAILOVER:
                source = self._assessment.supply(move.source)
                troubled = source is not None and in_trouble(self._assessment, source, self._latest(move.pod))
                return None if troubled else Reason.RECOVERING
            case MoveKind.FAILBACK:
                # A half-open primary counts as saturated, and takes one pod as its canary.
                free = self._assessment.saturation.saturated is False or not self._assessment.primary.breaker.closed
                return None if free and not self._assessment.keeps_away else Reason.NOT_STABLE
            case MoveKind.RESCHEDULE:
                return None

    def _latest(self, pod: Pod) -> Pod:
        """Return the pod as the assessment saw it: it may have become ready since the move was decided."""
        if not self._infos:
            self._infos = {info.node.name: info for supply in self._assessment.supplies for info in supply.nodes}
        info = self._infos.get(pod.node)
        return next((found for found in (info.pods if info else ()) if found.uid == pod.uid), pod)

    def _packer(self, provider: str, keys: frozenset[str]) -> Packer | None:
        """Return a provider's packer for pods whose selectors read the node labels `keys`; None: no such provider."""
        packer = self._packers.get((provider, keys))
        if packer is None:
            supply = self._assessment.supply(provider)
            if supply is None:
                return None
            packer = self._packers[provider, keys] = Packer(supply, self._resource, keys, self._now)
        return packer
