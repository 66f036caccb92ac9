"""Moves under way: which of them count, whose places are kept, and which waiting pods replace moved pods.

A move is over once its replacement is bound. A move whose replacement never comes (the owner was scaled down) counts
for PENDING_SECONDS. A move that is not answered yet counts until it is.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import Final

import msgspec

from computepool.model.cluster import Pod, members_on
from computepool.model.moves import PENDING_SECONDS, MoveKind, PodMove
from computepool.model.snapshot import Snapshot
from computepool.model.state import RecentMoves

SKEW_SECONDS: Final = 2.0
"""A creationTimestamp has whole seconds of another clock: a pod may be created after a moment that is so much later."""

Kinds = frozenset[MoveKind]
FORCED: Final = frozenset({MoveKind.FAILOVER, MoveKind.RESCHEDULE})
"""Moves under the limits of `failover`."""
HOMEWARD: Final = frozenset({MoveKind.FAILBACK})
"""Moves under the limits of `failback`."""


class PendingMoves(msgspec.Struct, frozen=True):
    """What is under way. Made by `pending_moves`."""

    under_way: tuple[PodMove, ...]
    """Their replacements are awaited."""
    awaiting: tuple[PodMove, ...]
    """Moves under way whose replacement is not seen yet: no other pod may take its place."""
    replacing: frozenset[str]
    """Uids of waiting pods that replace a pod moved to a standby: they need not wait to overflow."""
    returning: frozenset[str]
    """Uids of waiting pods that replace a pod moved home."""
    pods: frozenset[str]
    """Uids of the pods that are being moved: nothing else is decided about them."""
    refused: Mapping[str, PodMove]
    """By uid: pods whose eviction the API server refuses."""
    unknown: RecentMoves
    """Moves of an earlier leader that may not be over."""
    there: Mapping[str, Pod] = MappingProxyType({})
    """By uid: moved pods that are still seen on a node, terminating or not."""

    def count(self, kinds: Kinds) -> int:
        """Return how many moves of these kinds are under way."""
        known = sum(1 for move in self.under_way if move.kind in kinds)
        return known + sum(1 for _, kind in self.unknown if kind in kinds)

    def ends(self, kinds: Kinds) -> float | None:
        """Return when the first of them counts no longer, whatever happens; unanswered moves have no such time."""
        begun = [move.at for move in self.under_way if move.kind in kinds and not move.unanswered]
        begun += [at for at, kind in self.unknown if kind in kinds]
        return min(begun) + PENDING_SECONDS if begun else None


def pending_moves(snapshot: Snapshot, recent_moves: RecentMoves, now: float) -> PendingMoves:
    """Return what of the pool's moves is under way. Looks at its pods only if any pod was moved lately."""
    recent = [move for move in snapshot.moves if move.is_recent(now)]
    refused = {move.pod.uid: move for move in snapshot.moves if move.refused}
    earlier = [(at, k) for at, k in recent_moves if at < snapshot.moves_since and now < at + PENDING_SECONDS]
    if not recent and not earlier:
        return PendingMoves((), (), frozenset(), frozenset(), frozenset(), refused, ())
    under_way = tuple(move for move in recent if move.is_under_way(now))
    seen = [move for move in under_way if move.replacement]
    home = snapshot.pool.spec.providers[0].name
    uids = frozenset(move.pod.uid for move in recent)
    return PendingMoves(
        under_way=under_way,
        awaiting=tuple(move for move in under_way if not move.replacement),
        replacing=frozenset(move.replacement for move in seen if move.target != home),
        returning=frozenset(move.replacement for move in seen if move.kind is MoveKind.FAILBACK),
        pods=uids,
        refused=refused,
        unknown=_unknown(earlier, snapshot, now),
        there={pod.uid: pod for pod in _bound(snapshot) if pod.uid in uids} if uids else {},
    )


class LatestMoves:
    """For each owner: the time of the latest move that a given pod may replace.

    That is each move whose pod had left before the given pod appeared, as far as is known (`PodMove.order`).
    """

    def __init__(self, moves: Iterable[PodMove]) -> None:
        """Take in the moves, each once; then any number of pods is looked up quickly."""
        self._by_owner: dict[str, tuple[list[int], list[float]]] = {}
        for move in sorted(moves, key=lambda move: move.order):
            if move.pod.owner:
                orders, times = self._by_owner.setdefault(move.pod.owner, ([], []))
                orders.append(move.order)
                times.append(max(move.at, times[-1]) if times else move.at)

    def __bool__(self) -> bool:
        """Say whether any pod was moved that has an owner."""
        return bool(self._by_owner)

    def before(self, pod: Pod) -> float | None:
        """Return when that move was made; None where the pod replaces none."""
        orders, times = self._by_owner.get(pod.owner, ((), ()))
        count = bisect_right(orders, pod.appeared)
        return times[count - 1] if count else None


def _bound(snapshot: Snapshot) -> Iterable[Pod]:
    return chain(snapshot.on_unknown_nodes, members_on(snapshot.nodes, snapshot.pool.name))


def _unknown(earlier: Sequence[tuple[float, MoveKind]], snapshot: Snapshot, now: float) -> RecentMoves:
    """Return as many of an earlier leader's moves as there are pods that end, or wait, since: no others are left.

    Owners make other pods within moments of an eviction, and a change of leaders takes longer than that.
    """
    if not earlier:
        return ()
    since = min(at for at, _ in earlier) - SKEW_SECONDS
    ending = sum(1 for pod in _bound(snapshot) if pod.deleting is not None and pod.deleting > now - SKEW_SECONDS)
    waiting = sum(1 for pod in snapshot.waiting if pod.owner and pod.created >= since and not pod.gated)
    return tuple(earlier[-(ending + waiting) :]) if ending + waiting else ()
