"""Moves under way: which of them still count, whose places are to be kept, and which waiting pods are their outcome.

A move is over once the pod that takes the moved one's place is bound. Which pod that is can only be told by its owner
and by when it appeared: of an owner's moves, the first is matched with the first pod seen since its pod left, and so
on. One whose replacement never comes (the owner was scaled down) counts for `PENDING_SECONDS`. One that is not answered
yet counts until it is.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import Final

import msgspec

from computepool.model.snapshot import MoveKind, Moving, Pod, Snapshot, members_on
from computepool.model.state import RecentMoves

PENDING_SECONDS: Final = 120.0
"""A move that has not come to an end so long after its answer counts no longer."""
SKEW_SECONDS: Final = 2.0
"""A pod may be created after a moment if its creationTimestamp, whole seconds of another clock, is so much before."""

Kinds = frozenset[MoveKind]
FORCED: Final = frozenset({MoveKind.FAILOVER, MoveKind.RESCHEDULE})
"""Moves under the limits of `failover`."""
HOMEWARD: Final = frozenset({MoveKind.FAILBACK})
"""Moves under the limits of `failback`."""


class PendingMoves(msgspec.Struct, frozen=True):
    """What is under way. Made by `pending_moves`."""

    under_way: tuple[Moving, ...]
    """Asked for, or evicted and not over."""
    awaiting: tuple[Moving, ...]
    """Those of them whose replacement is not seen yet: nobody else may take its place."""
    replacing: frozenset[str]
    """Uids of waiting pods that replace one moved to a standby: they need not wait to overflow."""
    returning: frozenset[str]
    """Uids of waiting pods that replace one moved home."""
    pods: frozenset[str]
    """Uids of the pods that are being moved: nothing else is decided about them."""
    refused: Mapping[str, Moving]
    """By uid: pods whose eviction the API server refuses."""
    unknown: tuple[tuple[float, MoveKind], ...]
    """Moves of an earlier leader that may not be over."""
    there: Mapping[str, Pod] = MappingProxyType({})
    """By uid: those of the moved pods that are still seen on a node, terminating or not."""

    def count(self, kinds: Kinds) -> int:
        """Return how many moves of these kinds are on their way."""
        known = sum(1 for one in self.under_way if one.kind in kinds)
        return known + sum(1 for _, kind in self.unknown if kind in kinds)

    def ends(self, kinds: Kinds) -> float | None:
        """Return when the first of them counts no longer, whatever happens; of those not answered that is not known."""
        begun = [one.at for one in self.under_way if one.kind in kinds and not one.unanswered]
        begun += [at for at, kind in self.unknown if kind in kinds]
        return min(begun) + PENDING_SECONDS if begun else None


def pending_moves(snapshot: Snapshot, recent_moves: RecentMoves, now: float) -> PendingMoves:
    """Match the pool's moves with what has become of them. Looks at its pods only if any was moved lately."""
    # However long it waits for its turn: one that is not answered will be, and may be made at any time.
    recent = [one for one in snapshot.moving if one.unanswered or (now < one.at + PENDING_SECONDS and is_asked(one))]
    refused = {one.pod.uid: one for one in snapshot.moving if is_refused(one)}
    old = [(at, k) for at, k in recent_moves if at < snapshot.moving_since and now < at + PENDING_SECONDS]
    if not recent and not old:
        return PendingMoves((), (), frozenset(), frozenset(), frozenset(), refused, ())
    bound = {pod.uid: pod for pod in _bound(snapshot)}
    gone = {one.pod.uid for one in recent if _gone(bound.get(one.pod.uid))}
    replaced = _matched([one for one in recent if one.pod.uid in gone], bound, snapshot.waiting)
    pairs = [(one, replaced.get(one.pod.uid)) for one in recent]
    under_way = [(one, by) for one, by in pairs if not _over(one, by, one.pod.uid in gone)]
    return PendingMoves(
        under_way=tuple(one for one, _ in under_way),
        awaiting=tuple(one for one, by in under_way if by is None),
        replacing=_uids(by for one, by in under_way if not _home(snapshot, one)),
        returning=_uids(by for one, by in under_way if one.kind is MoveKind.FAILBACK),
        pods=frozenset(one.pod.uid for one in recent),
        refused=refused,
        unknown=_unknown(old, snapshot, bound, now),
        there={one.pod.uid: bound[one.pod.uid] for one in recent if one.pod.uid in bound},
    )


class LatestMoves:
    """For each owner: the time of the latest move that a given pod may replace.

    That is each whose pod had left before this one appeared, as far as is known. Times do not tell it: a pod's creation
    has whole seconds, of another clock, and the API server's answer may come long after the replacement.
    """

    def __init__(self, moves: Iterable[Moving]) -> None:
        """Take in the moves, each once; then any number of pods is looked up quickly."""
        self._by_owner: dict[str, tuple[list[int], list[float]]] = {}
        for one in sorted(moves, key=_left):
            if one.pod.owner:
                lefts, times = self._by_owner.setdefault(one.pod.owner, ([], []))
                lefts.append(one.left)
                times.append(max(one.at, times[-1]) if times else one.at)

    def __bool__(self) -> bool:
        """Say whether any pod was moved that has an owner."""
        return bool(self._by_owner)

    def before(self, pod: Pod) -> float | None:
        """Return when that move was made; None where the pod replaces none."""
        lefts, times = self._by_owner.get(pod.owner, ((), ()))
        count = bisect_right(lefts, pod.appeared)
        return times[count - 1] if count else None


def _left(one: Moving) -> int:
    return one.left


def is_asked(one: Moving) -> bool:
    """Say whether the pod is evicted, or is about to be as far as is known."""
    return one.evicted or one.asking or one.refused_since is None


def is_refused(one: Moving) -> bool:
    """Say whether the API server did not let the pod go when it was asked last."""
    return not one.evicted and one.refused_since is not None


def _bound(snapshot: Snapshot) -> Iterable[Pod]:
    return chain(snapshot.astray, members_on(snapshot.nodes, snapshot.pool.name))


def _gone(pod: Pod | None) -> bool:
    return pod is None or pod.deleting is not None


def _matched(moves: Sequence[Moving], bound: Mapping[str, Pod], waiting: Sequence[Pod]) -> dict[str, Pod]:
    """Return the replacement of each moved pod, by that pod's uid, as far as they are seen.

    One that was moved on since has replaced another all the same: it was bound before.
    """
    moves = sorted((one for one in moves if one.pod.owner), key=_left)
    moved = {one.pod.uid: one.pod for one in moves}
    candidates: dict[str, list[Pod]] = {one.pod.owner: [] for one in moves}
    for pod in chain(moved.values(), (pod for pod in chain(bound.values(), waiting) if pod.uid not in moved)):
        if pod.owner in candidates:
            candidates[pod.owner].append(pod)
    for pods in candidates.values():
        # The first to appear is the last of the list; where that can't be told, the bound ones were first.
        pods.sort(key=lambda pod: (pod.appeared, pod.created, not pod.node, pod.uid), reverse=True)
    found: dict[str, Pod] = {}
    for one in moves:
        pods = candidates[one.pod.owner]
        while pods and pods[-1].appeared < one.left:
            pods.pop()
        if pods:
            found[one.pod.uid] = pods.pop()
    return found


def _over(one: Moving, by: Pod | None, gone: bool) -> bool:
    if by is not None:
        return bool(by.node)
    return gone and not one.pod.owner


def _home(snapshot: Snapshot, one: Moving) -> bool:
    return one.target == snapshot.pool.spec.providers[0].name


def _uids(pods: Iterable[Pod | None]) -> frozenset[str]:
    return frozenset(pod.uid for pod in pods if pod is not None)


def _unknown(
    old: Sequence[tuple[float, MoveKind]], snapshot: Snapshot, bound: Mapping[str, Pod], now: float
) -> tuple[tuple[float, MoveKind], ...]:
    """Return as many of an earlier leader's moves as there are pods that end, or wait, since: no others are left.

    Owners make other pods within moments of an eviction, and a change of leaders takes longer than that.
    """
    if not old:
        return ()
    first = min(at for at, _ in old)
    ending = sum(1 for pod in bound.values() if pod.deleting is not None and pod.deleting > now - SKEW_SECONDS)
    since = first - SKEW_SECONDS
    waiting = sum(1 for pod in snapshot.waiting if pod.owner and pod.created >= since and not pod.gated)
    return tuple(old[-(ending + waiting) :]) if ending + waiting else ()
