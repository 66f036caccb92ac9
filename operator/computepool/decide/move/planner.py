"""The common part of failover, reschedule and failback: which pods may move, their targets, and the decided moves.

`MovePlanner.reserve_target` keeps invariant 5, no eviction without a target that fits: each move takes its place in the
account of the pass. Failing nodes give no places, so no move makes another move necessary. `reserve_new_node` is the
exception for providers that make nodes on demand: such a node comes only after a pod waits for it.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from math import inf

import msgspec

from computepool.assess.capacity.providers import Provider
from computepool.assess.capacity.supply import Supply
from computepool.assess.demand.overflow import FULL
from computepool.decide.account.budget import cost_of
from computepool.decide.account.capacity_account import MOVED, MOVED_TO_NEW_NODE, Account, PlaceRequest, Terms
from computepool.decide.context import Context
from computepool.decide.move.blocked import BlockedMoves
from computepool.decide.move.dwell import Dwell
from computepool.decide.move.eligibility import movable, movable_by_choice, node_bound, storage_bound
from computepool.decide.move.eviction_retries import EvictionRetries
from computepool.decide.move.limits import MoveLimits
from computepool.decide.move.owner_history import OwnerHistory
from computepool.decide.move.pending_moves import PendingMoves
from computepool.decide.plan import Move
from computepool.model.cluster import NodeInfo, Pod
from computepool.model.moves import KEPT_SECONDS, OPEN, MoveKind, is_by_choice
from computepool.model.reasons import Reason

Rejected = tuple[tuple[str, Reason], ...]


class MoveCandidate(msgspec.Struct, frozen=True):
    """A running pod that may be moved."""

    pod: Pod
    info: NodeInfo
    supply: Supply

    def stays_at(self, target: Provider) -> bool:
        """Say whether the target is the pod's provider, and the pod's devices there become free when it leaves."""
        return target is self.supply.provider and self.info.node.ready != "Unknown"


class MovePlanner:
    """The moves of one pass."""

    def __init__(
        self,
        context: Context,
        account: Account,
        pending: PendingMoves,
        limits: MoveLimits,
        dwell: Dwell,
        history: OwnerHistory,
        blocked: BlockedMoves,
    ) -> None:
        """`account`: with the places of all pending pods taken; `blocked`: still empty."""
        self.context = context
        self.account = account
        self.pending = pending
        self.limits = limits
        self.history = history
        timeout = float(context.spec.failover.eviction_timeout_seconds)
        self.retries = EvictionRetries(pending.refused, timeout, context.now)
        self.blocked = blocked
        self.moves: list[Move] = []
        self._dwell = dwell
        self._moved: set[str] = set()
        # If its owner has removed the pod that waited for a node, it wants fewer pods, and another pod may go ahead.
        ahead = [
            move for move in context.snapshot.moves if move.room_seconds and move.is_unreplaced and not move.unwanted
        ]
        self._goes_ahead = any(move.outcome in OPEN or bool(move.replacement) for move in ahead)
        # If no replacement is seen in time, the owner may have been scaled down: its other pods wait a while only.
        self._awaiting = {
            move.pod.owner
            for move in context.snapshot.moves
            if move.is_unreplaced and move.pod.shape.unmodelled
            if move.outcome in OPEN or move.replacement or context.now < move.given_up_at + KEPT_SECONDS
        }
        # The owners of pods that were moved to a new node, and for which no other pod is seen.
        self._lost_owners = {move.pod.owner for move in ahead}

    @property
    def targets(self) -> tuple[Provider, ...]:
        """All providers, most preferred first."""
        return (self.context.primary, *self.context.standbys)

    def candidates(self, supply: Supply, infos: Iterable[NodeInfo]) -> Iterable[MoveCandidate]:
        """Yield the pool's pods on these nodes of a provider that may be moved and are not being moved already."""
        for info in infos:
            for pod in info.members(self.context.pool):
                if pod.uid not in self.pending.pods and not self.is_decided(pod) and not node_bound(pod):
                    yield MoveCandidate(pod, info, supply)

    def tries_another(self, pod: Pod) -> bool:
        """Say whether the pod has constraints that fit does not model, and another of its owner shows if these hold.

        That pod was moved, and its replacement is not bound yet.
        """
        return bool(pod.shape.unmodelled) and pod.owner in self._awaiting

    def is_decided(self, pod: Pod) -> bool:
        """Say whether this pass has decided to move the pod."""
        return pod.uid in self._moved

    def may_leave(self, candidate: MoveCandidate, kind: MoveKind, *, drain: bool = False, dwells: bool = True) -> bool:
        """Say whether the rules and limits allow the move now. If not, the pod becomes a blocked move."""
        pod = candidate.pod
        by_choice = is_by_choice(kind, drain=drain)
        if not movable(pod):
            self.blocked.add(pod, Reason.NOT_MOVABLE)
            return False
        retry_at = self.retries.retry_at(pod.uid)
        if self.retries.overdue(pod.uid):
            self.blocked.add(pod, Reason.EVICTION_REFUSED, until=retry_at)
        if retry_at is not None:
            self.blocked.recheck(retry_at)
            return False
        stays = self.why_not_by_choice(candidate) if by_choice else None
        until = self._dwell.until(pod) if dwells and not by_choice else None
        if stays is None and until is not None:
            stays = Reason.DWELLING, until
        if stays is not None:
            self.blocked.add(pod, stays[0], until=stays[1])
            return False
        if not self.limits.remaining(kind):
            self.blocked.add(pod, Reason.AT_MOVE_LIMIT, until=self.limits.recheck_at(kind))
            return False
        return True

    def why_not_by_choice(self, candidate: MoveCandidate) -> tuple[Reason, float | None] | None:
        """Return why the pod stays where nothing forces it to leave, and until when at least; None if it may leave."""
        pod, now = candidate.pod, self.context.now
        if not movable_by_choice(pod, now):
            return Reason.NOT_MOVABLE, pod.protected_until if now < pod.protected_until < inf else None
        until = self._dwell.until(pod)
        if not candidate.supply.provider.primary:
            until = max(until or 0.0, self._dwell.on_standby_until(pod) or 0.0) or None
        return self.history.why_not(pod) if until is None else (Reason.DWELLING, until)

    def reserve_target(
        self, candidate: MoveCandidate, targets: Sequence[Provider], terms: Terms = MOVED
    ) -> Provider | Rejected:
        """Take a place at the first provider that can take the pod. If there is none, return all rejections."""
        rejected: list[tuple[str, Reason]] = []
        for target in targets:
            why = self._why_not(candidate, target, terms)
            if why is None:
                return target
            rejected.append((target.name, why))
        return tuple(rejected)

    def reserve_new_node(self, candidate: MoveCandidate, rejected: Rejected, *, in_turn: bool) -> Provider | Rejected:
        """Choose the first provider that makes a node for the pod, among the providers that are only full.

        `rejected`: by `reserve_target`; `in_turn`: the pod runs, so it waits until the pod before it has its node, and
        while other pods wait for a node there. If there is no such provider, return all rejections.
        """
        by_name = {target.name: target for target in self.targets}
        goes_ahead = in_turn and self._another_goes_ahead(candidate.pod)
        updated: list[tuple[str, Reason]] = []
        for name, full in rejected:
            target, why = by_name[name], full
            if full in FULL and target.kind.before_room:
                waits = in_turn and (goes_ahead or self.account.awaits_room(candidate.pod, target))
                found = Reason.AWAITING_NODES if waits else self._why_not(candidate, target, MOVED_TO_NEW_NODE)
                if found is None:
                    return target
                why = found
            updated.append((name, why))
        return tuple(updated)

    def move(
        self,
        candidate: MoveCandidate,
        target: Provider,
        kind: MoveKind,
        reason: Reason,
        *,
        room_seconds: float = 0.0,
        **flags: bool,
    ) -> None:
        """Add a move. `reserve_target` or `reserve_new_node` has made the reservation before.

        `room_seconds`: as in `Move`; `flags`: `release` and `drain` of the move.
        """
        self.limits.count(kind)
        self._moved.add(candidate.pod.uid)
        source = candidate.supply.provider.name
        move = Move(candidate.pod, source, target.name, kind, reason, room_seconds=room_seconds, **flags)
        self.moves.append(move)
        self._goes_ahead = self._goes_ahead or room_seconds > 0.0
        if move.pod.shape.unmodelled:
            self._awaiting.add(move.pod.owner)
        if move.by_choice:
            self.history.begin(move.pod)

    def cost(self, candidate: MoveCandidate) -> Decimal:
        """Return the pod's hourly cost on its provider."""
        return cost_of(candidate.supply.provider, candidate.pod, self.context.resource)

    def _another_goes_ahead(self, pod: Pod) -> bool:
        """Say whether a pod was moved to a new node, wherever it was meant to be, and its replacement is not bound.

        If no replacement is seen in time, only the same owner waits: the owner may have been scaled down.
        """
        return self._goes_ahead or pod.owner in self._lost_owners

    def _why_not(self, candidate: MoveCandidate, target: Provider, terms: Terms) -> Reason | None:
        pod = candidate.pod
        if not target.primary and not pod.allows(target.name):
            return Reason.NOT_ALLOWED
        if target is not candidate.supply.provider and storage_bound(pod):
            return Reason.MAY_NOT_FOLLOW
        request = PlaceRequest(pod, saves=self.cost(candidate), hands_over=candidate.stays_at(target))
        return self.account.reserve([request], target, terms)


def in_turn(candidates: Iterable[MoveCandidate]) -> Sequence[MoveCandidate]:
    """Sort by priority, then age, then name, so that every pass sees the same order."""
    return sorted(
        candidates,
        key=lambda found: (-found.pod.priority, found.pod.created, found.pod.namespace, found.pod.name, found.pod.uid),
    )
