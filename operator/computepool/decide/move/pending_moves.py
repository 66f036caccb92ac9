"""Finds the moves under way, the places to keep for them, and the pending pods that replace moved pods.

A move ends when its replacement is bound. If the replacement never comes (the owner was scaled down), limits count the
move until `PodMove.pending_until`. A move without an answer counts until the answer.

A replacement that is seen takes its place like every pending pod, unless it is no demand yet: a scheduling gate holds
it, or no scheduler looks at it. Then its place is kept for as long as it waits and its move is remembered.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import Final

import msgspec

from computepool.assess.demand.overflow import Demand
from computepool.model.cluster import Pod, members_on
from computepool.model.moves import PENDING_SECONDS, MoveKind, PodMove
from computepool.model.reasons import Reason
from computepool.model.snapshot import Snapshot
from computepool.model.state import RecentMoves

SKEW_SECONDS: Final = 2.0
"""Largest difference between this clock and a creationTimestamp, which another clock gives in whole seconds."""

Kinds = frozenset[MoveKind]
FORCED: Final = frozenset({MoveKind.FAILOVER, MoveKind.RESCHEDULE})
"""Moves under the limits of `failover`."""
HOMEWARD: Final = frozenset({MoveKind.FAILBACK})
"""Moves under the limits of `failback`."""
NO_DEMAND: Final = frozenset({Reason.GATED, Reason.SCHEDULER_ABSENT, Reason.TERMINATING})
"""Holds of pods that take no place, and that will need a place, or that another pod replaces."""


class PendingMoves(msgspec.Struct, frozen=True):
    """The moves under way. Made by `pending_moves`."""

    under_way: tuple[PodMove, ...]
    """Moves whose replacement is not bound yet."""
    limited: tuple[PodMove, ...]
    """Moves under way that limits count."""
    awaiting: tuple[PodMove, ...]
    """Moves whose replacement is not seen yet, or is seen and no demand yet. Its place is kept."""
    replacing: frozenset[str]
    """Uids of pending pods that replace a pod moved to a standby. They overflow without a delay."""
    returning: frozenset[str]
    """Uids of pending pods that replace a pod moved home."""
    pods: frozenset[str]
    """Uids of the pods that are being moved. They are no candidates."""
    refused: Mapping[str, PodMove]
    """By the pod's uid: moves whose eviction the API server refuses."""
    unknown: RecentMoves
    """Moves of an earlier leader that may still be under way."""
    still_bound: Mapping[str, Pod] = MappingProxyType({})
    """By uid: moved pods that are still seen on a node, terminating or not."""

    def count(self, kinds: Kinds) -> int:
        """Return how many moves of these kinds are under way."""
        known = sum(1 for move in self.limited if move.kind in kinds)
        return known + sum(1 for _, kind in self.unknown if kind in kinds)

    def ends(self, kinds: Kinds) -> float | None:
        """Return when the first move of these kinds stops counting at the latest; None if that is unknown."""
        ends = [move.pending_until for move in self.limited if move.kind in kinds and not move.unanswered]
        ends += [at + PENDING_SECONDS for at, kind in self.unknown if kind in kinds]
        return min(ends, default=None)


def pending_moves(snapshot: Snapshot, demand: Demand, recent_moves: RecentMoves, now: float) -> PendingMoves:
    """Return the pool's moves under way. Without moves that still count, this does not read the pool's pods."""
    recent = [move for move in snapshot.moves if move.is_recent(now)]
    refused = {move.pod.uid: move for move in snapshot.moves if move.refused}
    earlier = [(at, kind) for at, kind in recent_moves if at < snapshot.moves_since and now < at + PENDING_SECONDS]
    waiting = [move for move in snapshot.moves if move.has_waiting_replacement]
    if not recent and not earlier and not waiting:
        return PendingMoves((), (), (), frozenset(), frozenset(), frozenset(), refused, ())
    under_way = tuple(move for move in recent if move.is_under_way(now))
    no_demand = {hold.pod.uid for hold in demand.held if hold.reason in NO_DEMAND} if waiting else set()
    awaiting = [move for move in under_way if not move.replacement]
    awaiting += [move for move in waiting if move.replacement in no_demand]
    home = snapshot.pool.spec.providers[0].name
    uids = frozenset(move.pod.uid for move in recent)
    kept = uids.union(move.pod.uid for move in awaiting)
    return PendingMoves(
        under_way=under_way,
        limited=tuple(move for move in under_way if move.is_limited(now)),
        awaiting=tuple(awaiting),
        replacing=frozenset(move.replacement for move in waiting if move.target != home),
        returning=frozenset(
            move.replacement for move in under_way if move.replacement and move.kind is MoveKind.FAILBACK
        ),
        pods=uids,
        refused=refused,
        unknown=_unknown(earlier, snapshot, now),
        still_bound={pod.uid: pod for pod in _bound(snapshot) if pod.uid in kept} if kept else {},
    )


class LatestMoves:
    """Finds the latest move whose pod a given pod may replace.

    Both pods have the same owner, and the moved pod left before the given pod appeared (`PodMove.order`).
    """

    def __init__(self, moves: Iterable[PodMove]) -> None:
        """Index the moves by owner, so that many look-ups are quick."""
        self._by_owner: dict[str, tuple[list[int], list[float]]] = {}
        for move in sorted(moves, key=lambda move: move.order):
            if move.pod.owner:
                orders, times = self._by_owner.setdefault(move.pod.owner, ([], []))
                orders.append(move.order)
                times.append(max(move.at, times[-1]) if times else move.at)

    def __bool__(self) -> bool:
        """Say whether a pod with an owner was moved."""
        return bool(self._by_owner)

    def before(self, pod: Pod) -> float | None:
        """Return the time of the latest move that the pod may replace; None if there is no such move."""
        orders, times = self._by_owner.get(pod.owner, ((), ()))
        count = bisect_right(orders, pod.appeared)
        return times[count - 1] if count else None


def _bound(snapshot: Snapshot) -> Iterable[Pod]:
    return chain(snapshot.on_unknown_nodes, members_on(snapshot.nodes, snapshot.pool.name))


def _unknown(earlier: Sequence[tuple[float, MoveKind]], snapshot: Snapshot, now: float) -> RecentMoves:
    """Return the latest moves of an earlier leader, one for each pod that terminates or that has waited since.

    All other moves are over: owners make replacements within moments, and a change of leaders takes longer.
    """
    if not earlier:
        return ()
    since = min(at for at, _ in earlier) - SKEW_SECONDS
    ending = sum(1 for pod in _bound(snapshot) if pod.deleting is not None and pod.deleting > now - SKEW_SECONDS)
    waiting = sum(1 for pod in snapshot.waiting if pod.owner and pod.created >= since and not pod.gated)
    return tuple(earlier[-(ending + waiting) :]) if ending + waiting else ()
