"""What failover, rescheduling and failback share: which pods may move, where they may go, and what was decided.

Invariant 5, no eviction without a target that fits, is kept by `MovePlanner.reserve_target`: a move has taken its place
in the same account as everything else of the pass. Nodes that are being emptied give no room, so no move makes another
one necessary.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal

import msgspec

from computepool.assess.capacity.providers import Provider
from computepool.assess.capacity.supply import Supply
from computepool.decide.account.account import MOVED, Account, Request
from computepool.decide.account.budget import cost_of
from computepool.decide.context import Context
from computepool.decide.move.blocked import BlockedMoves
from computepool.decide.move.eligibility import Dwell, movable, node_bound, storage_bound
from computepool.decide.move.limits import MoveLimits
from computepool.decide.move.pending import PendingMoves
from computepool.decide.plan import Move
from computepool.model.cluster import NodeInfo, Pod
from computepool.model.moves import MoveKind
from computepool.model.reasons import Reason

Rejected = tuple[tuple[str, Reason], ...]


class Candidate(msgspec.Struct, frozen=True):
    """A running pod that may be moved."""

    pod: Pod
    info: NodeInfo
    supply: Supply

    def stays_at(self, target: Provider) -> bool:
        """Say whether the pod stays with its provider, and its end makes room there: on a lost node it is not seen."""
        return target is self.supply.provider and self.info.node.ready != "Unknown"


class MovePlanner:
    """The moves of one pass."""

    def __init__(
        self, context: Context, account: Account, pending: PendingMoves, limits: MoveLimits, dwell: Dwell
    ) -> None:
        """`account`: after all pending pods have had their turn."""
        self.context = context
        self.account = account
        self.pending = pending
        self.limits = limits
        self.blocked = BlockedMoves(context.now)
        self.moves: list[Move] = []
        self._dwell = dwell
        self._moved: set[str] = set()

    @property
    def targets(self) -> tuple[Provider, ...]:
        """All providers, most preferred first."""
        return (self.context.primary, *self.context.standbys)

    def candidates(self, supply: Supply, infos: Iterable[NodeInfo]) -> Iterable[Candidate]:
        """Yield the pool's pods on these nodes of a provider that are not being moved already."""
        for info in infos:
            for pod in info.members(self.context.pool):
                if pod.uid not in self.pending.pods and not self.is_decided(pod) and not node_bound(pod):
                    yield Candidate(pod, info, supply)

    def is_decided(self, pod: Pod) -> bool:
        """Say whether this pass moves the pod."""
        return pod.uid in self._moved

    def may_leave(self, candidate: Candidate, kind: MoveKind, *, dwells: bool = True) -> bool:
        """Say whether a pod that should move may do so now, whatever the room; note why it stays otherwise."""
        pod = candidate.pod
        if not movable(pod, kind):
            self.blocked.add(pod, Reason.NOT_MOVABLE)
            return False
        retry_at = self.limits.retry_at(pod.uid)
        if self.limits.overdue(pod.uid):
            self.blocked.add(pod, Reason.EVICTION_REFUSED, until=retry_at)
        if retry_at is not None:
            self.blocked.recheck(retry_at)
            return False
        until = self.dwells_until(pod) if dwells else None
        if until is not None:
            self.blocked.add(pod, Reason.DWELLING, until=until)
            return False
        if not self.limits.remaining(kind):
            self.blocked.add(pod, Reason.AT_MOVE_LIMIT, until=self.limits.recheck_at(kind))
            return False
        return True

    def dwells_until(self, pod: Pod) -> float | None:
        """Return until when the pod is left where it is since it was moved; None where it is not."""
        return self._dwell.until(pod)

    def reserve_target(self, candidate: Candidate, targets: Iterable[Provider]) -> Provider | Rejected:
        """Take a place for the pod at the first provider that can have it; return why none can otherwise."""
        rejected: list[tuple[str, Reason]] = []
        for target in targets:
            why = self._why_not(candidate, target)
            if why is None:
                return target
            rejected.append((target.name, why))
        return tuple(rejected)

    def move(
        self, candidate: Candidate, target: Provider, kind: MoveKind, reason: Reason, *, release: bool = False
    ) -> None:
        """Decide a move whose place is taken."""
        self.limits.count(kind)
        self._moved.add(candidate.pod.uid)
        source = candidate.supply.provider.name
        self.moves.append(Move(candidate.pod, source, target.name, kind, reason, release))

    def cost(self, candidate: Candidate) -> Decimal:
        """Return what the pod costs in an hour where it is, as far as budgets count it."""
        return cost_of(candidate.supply.provider, candidate.pod, self.context.resource)

    def _why_not(self, candidate: Candidate, target: Provider) -> Reason | None:
        pod = candidate.pod
        if not target.primary and not pod.allows(target.name):
            return Reason.NOT_ALLOWED
        if target is not candidate.supply.provider and storage_bound(pod):
            return Reason.MAY_NOT_FOLLOW
        request = Request(pod, saves=self.cost(candidate), hands_over=candidate.stays_at(target))
        return self.account.reserve([request], target, MOVED)


def in_turn(candidates: Iterable[Candidate]) -> Sequence[Candidate]:
    """Sort by priority, then age, then name, so that every pass sees the same order."""
    return sorted(
        candidates,
        key=lambda one: (-one.pod.priority, one.pod.created, one.pod.namespace, one.pod.name, one.pod.uid),
    )
