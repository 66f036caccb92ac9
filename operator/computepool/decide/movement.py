"""What failover, rescheduling and failback share: who is being moved already, where a pod may go, and what was decided.

Invariant 5, no eviction without a target that fits, is kept by `Movement.to`: a move has taken its place in the same
packing as everything else of the pass. Nodes that are being emptied give no room, so there is never a chain.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal

import msgspec

from computepool.assess.assessment import Assessment
from computepool.assess.supply import Supply
from computepool.assess.targets import Target
from computepool.decide.budget import cost_of
from computepool.decide.flights import Flights
from computepool.decide.governor import Governor
from computepool.decide.movable import Dwell, movable, rooted, tethered
from computepool.decide.plan import Move
from computepool.decide.room import Room
from computepool.decide.stays import Stays
from computepool.model.reasons import Reason
from computepool.model.snapshot import MoveKind, NodeUse, Pod, Snapshot

Rejected = tuple[tuple[str, Reason], ...]


class Leaver(msgspec.Struct, frozen=True):
    """A running pod that may be moved."""

    pod: Pod
    use: NodeUse
    supply: Supply


class Movement:
    """The state of one pass's moves."""

    def __init__(
        self,
        snapshot: Snapshot,
        assessment: Assessment,
        room: Room,
        flights: Flights,
        governor: Governor,
        dwell: Dwell,
        now: float,
    ) -> None:
        """`room`: with all that waits in it already."""
        self.snapshot = snapshot
        self.assessment = assessment
        self.room = room
        self.flights = flights
        self.governor = governor
        self.dwell = dwell
        self.now = now
        self.stays = Stays(now)
        self.moves: list[Move] = []
        self._moved: set[str] = set()

    @property
    def targets(self) -> tuple[Target, ...]:
        """The providers, most preferred first."""
        return (self.assessment.primary.target, *self.room.standbys)

    def leavers(self, supply: Supply, uses: Iterable[NodeUse] | None = None) -> Iterable[Leaver]:
        """Yield the pool's pods on a provider's nodes, or on these of them, that are not on their way already."""
        name = self.snapshot.pool.name
        for use in supply.nodes if uses is None else uses:
            share = use.shares.get(name)
            for pod in share.members if share is not None else ():
                if pod.uid not in self.flights.pods and not self.decided(pod) and not rooted(pod):
                    yield Leaver(pod, use, supply)

    def decided(self, pod: Pod) -> bool:
        """Say whether the pod is moved by this pass."""
        return pod.uid in self._moved

    def held(self, one: Leaver, kind: MoveKind, *, dwells: bool = True) -> bool:
        """Say whether a pod that should move can't be moved now, whatever the room; note why it stays."""
        pod = one.pod
        if not movable(pod, kind):
            self.stays.add(pod, Reason.NOT_MOVABLE)
            return True
        again = self.governor.retry(pod.uid)
        if self.governor.overdue(pod.uid):
            self.stays.add(pod, Reason.EVICTION_REFUSED, until=again)
        if again is not None:
            self.stays.later(again)
            return True
        until = self.dwell.until(pod) if dwells else None
        if until is not None:
            self.stays.add(pod, Reason.DWELLING, until=until)
            return True
        if not self.governor.left(kind):
            self.stays.add(pod, Reason.AT_MOVE_LIMIT, until=self.governor.again(kind))
            return True
        return False

    def to(self, one: Leaver, targets: Iterable[Target], room: Room | None = None) -> Target | Rejected:
        """Take a place for the pod at the first provider that can have it; return why none can otherwise."""
        account = self.room if room is None else room
        credit = self.cost(one)
        rejected: list[tuple[str, Reason]] = []
        for target in targets:
            why = self._rejects(one, target, account, credit)
            if why is None:
                account.charge(target, one.pod, credit, leaves=_leaves(one, target))
                account.enter(target)
                return target
            rejected.append((target.name, why))
        return tuple(rejected)

    def move(self, one: Leaver, target: Target, kind: MoveKind, reason: Reason, *, release: bool = False) -> None:
        """Decide a move whose place is taken."""
        self.governor.begin(kind)
        self._moved.add(one.pod.uid)
        self.moves.append(Move(one.pod, one.supply.target.name, target.name, kind, reason, release))

    def cost(self, one: Leaver) -> Decimal:
        """Return what the pod costs in an hour where it is, as far as budgets count it."""
        return cost_of(one.supply.target, one.pod, self.room.resource)

    def adopt(self, room: Room) -> None:
        """Go on from an account that was tried."""
        self.room = room

    def _rejects(self, one: Leaver, target: Target, room: Room, credit: Decimal) -> Reason | None:
        pod = one.pod
        if not target.primary and not pod.allows(target.name):
            return Reason.NOT_ALLOWED
        if target is not one.supply.target and tethered(pod):
            return Reason.MAY_NOT_FOLLOW
        why = room.barred(target) or room.beyond(target, pod, credit, leaves=_leaves(one, target))
        if why is not None:
            return why
        return None if room.take(target, pod) else room.why_not(target, pod.shape)


def _leaves(one: Leaver, target: Target) -> bool:
    """Say whether the pod stays with its provider, and makes room there by its end: on a lost node that is not seen."""
    return target is one.supply.target and one.use.node.ready != "Unknown"


def in_turn(leavers: Iterable[Leaver]) -> Sequence[Leaver]:
    """Sort by priority, then age; equal ones by name, so that every pass sees the same order."""
    return sorted(
        leavers, key=lambda one: (-one.pod.priority, one.pod.created, one.pod.namespace, one.pod.name, one.pod.uid)
    )
