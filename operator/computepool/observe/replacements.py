"""Which pod replaces a moved pod, and what became of that pod: the events of a move's outcome, read from the pods.

No object says which pod replaces which. It follows from the owner and from the order of appearance: an owner's first
move is matched with the first pod that appeared since its pod left, and so on. Times can't show it: a pod's creation
time has whole seconds, by another clock, and the API server's answer may come long after the replacement.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from computepool.model.cluster import Pod
from computepool.model.moves import UNREPLACED, Outcome, OutcomeEvent, PodMove

_WATCHED: Final = frozenset({Outcome.READY, Outcome.UNREADY})
"""Outcomes of moves whose replacement has been Ready: of those by choice it is watched on."""

ProviderOf = Callable[[Pod], str | None]
"""Returns the provider of a bound pod's node: empty for a node of no provider, None while the node is not seen."""


def follow(
    moves: Sequence[PodMove],
    pods: Callable[[], Iterable[Pod]],
    pod_of: Callable[[str], Pod | None],
    provider_of: ProviderOf,
    now: float,
) -> list[PodMove]:
    """Return the moves of a pool with the outcomes that are seen by now.

    `pods` gives the pool's pods, bound and waiting; `pod_of` finds a pod by uid; `now` is in seconds since the epoch.
    """
    moved = {move.pod.uid: move for move in moves}
    after = [_seen(move, moved, pod_of, now) for move in moves]
    replacements = _matched(after, pods) if any(map(_awaits, after)) else {}
    return [
        # Most moves are over, and nothing is looked for.
        move
        if move.outcome not in UNREPLACED
        else _replaced(move, replacements[move.pod.uid], moved, provider_of, now)
        if move.pod.uid in replacements
        else _given_up(_unmatched(move), now)
        for move in after
    ]


def _seen(move: PodMove, moved: Mapping[str, PodMove], pod_of: Callable[[str], Pod | None], now: float) -> PodMove:
    """Note that the pod has left, and what became of the replacement that is known."""
    if move.outcome in _WATCHED:
        return _watched(move, moved, pod_of, now) if move.by_choice else move
    if move.outcome is Outcome.RUNS:
        pod = pod_of(move.pod.uid)
        if pod is not None and pod.deleting is None:
            return move
        move = move.on_outcome(OutcomeEvent.LEAVE)
    if move.outcome is Outcome.LEFT:
        return _ending(move, pod_of(move.pod.uid), now)
    if move.outcome is not Outcome.REPLACED:
        return move
    replacement = pod_of(move.replacement)
    if replacement is not None:
        return _ready(move, replacement, now) if replacement.ready else move
    # A replacement that was moved on has still replaced the pod.
    if move.replacement in moved:
        return move
    return move.on_outcome(OutcomeEvent.LOSE, replacement="", landed="", unwanted=True)


def _watched(move: PodMove, moved: Mapping[str, PodMove], pod_of: Callable[[str], Pod | None], now: float) -> PodMove:
    """Note whether the replacement that has become Ready is Ready still. A pod that terminates tells nothing."""
    replacement = pod_of(move.replacement)
    if replacement is None:
        next_move = moved.get(move.replacement)
        if move.outcome is Outcome.UNREADY or (next_move is not None and not next_move.by_choice):
            return move.on_outcome(OutcomeEvent.LOSE)
        return move
    if replacement.deleting is not None or replacement.ready is (move.outcome is Outcome.READY):
        return move
    return _ready(move, replacement, now) if replacement.ready else move.on_outcome(OutcomeEvent.BREAK)


def _ending(move: PodMove, pod: Pod | None, now: float) -> PodMove:
    """Note when the terminating pod should be gone; a pod that is gone has ended."""
    ends_by = min(move.ends_by, now) if pod is None or pod.deleting is None else pod.deleting
    return move if ends_by == move.ends_by else msgspec.structs.replace(move, ends_by=ends_by)


def _awaits(move: PodMove) -> bool:
    return move.outcome in UNREPLACED and bool(move.pod.owner) and move.counts


def _matched(moves: Sequence[PodMove], pods: Callable[[], Iterable[Pod]]) -> dict[str, Pod]:
    """Return the replacement of each moved pod that has left and is not replaced yet, by that pod's uid.

    Moves that were given up come last: most of their owners want fewer pods by now.
    """
    waiting = sorted((move for move in moves if move.outcome in UNREPLACED and move.pod.owner), key=_order)
    taken = {move.replacement for move in moves if move.outcome not in UNREPLACED}
    candidates: dict[str, list[Pod]] = {move.pod.owner: [] for move in waiting}
    # Moved pods come first, in their earlier state: a pod that was moved on has still replaced another pod.
    known = {move.pod.uid: move.pod for move in moves}
    known |= {pod.uid: pod for pod in pods() if pod.owner in candidates and pod.uid not in known}
    for pod in known.values():
        if pod.owner in candidates and pod.uid not in taken:
            candidates[pod.owner].append(pod)
    for found in candidates.values():
        # The first pod to appear is the last of the list; if that is unknown, bound pods came first.
        found.sort(key=lambda pod: (pod.appeared, pod.created, not pod.node, pod.uid), reverse=True)
    matched: dict[str, Pod] = {}
    for outcome in (Outcome.LEFT, Outcome.NOT_REPLACED):
        matched |= _in_turn([move for move in waiting if move.outcome is outcome], candidates)
    return matched


def _in_turn(waiting: Iterable[PodMove], candidates: dict[str, list[Pod]]) -> dict[str, Pod]:
    """Match each move, in order, with the first pod of its owner that appeared since; take that pod out."""
    matched: dict[str, Pod] = {}
    too_early: dict[str, list[Pod]] = {}
    for move in waiting:
        found = candidates[move.pod.owner]
        while found and found[-1].appeared < move.order:
            too_early.setdefault(move.pod.owner, []).append(found.pop())
        if found:
            matched[move.pod.uid] = found.pop()
    for owner, pods in too_early.items():
        candidates[owner].extend(reversed(pods))
    return matched


def _order(move: PodMove) -> int:
    return move.order


def _replaced(move: PodMove, by: Pod, moved: dict[str, PodMove], provider_of: ProviderOf, now: float) -> PodMove:
    """Note which pod replaces the moved pod, and where it is bound once it is."""
    found = msgspec.structs.replace(move, replacement=by.uid, unwanted=False)
    provider = None
    if by.node:
        provider = moved[by.uid].source if by.uid in moved else provider_of(by)
    if provider is None:
        return _given_up(found, now)
    bound = found.on_outcome(_bound_on(provider, move), landed=provider)
    return _ready(bound, by, now) if by.ready and bound.outcome is Outcome.REPLACED else bound


def _ready(move: PodMove, replacement: Pod, now: float) -> PodMove:
    since = now if replacement.ready_since is None else min(replacement.ready_since, now)
    return move.on_outcome(OutcomeEvent.BECOME_READY, ready_at=since)


def _bound_on(provider: str, move: PodMove) -> OutcomeEvent:
    if provider == move.target:
        return OutcomeEvent.BIND
    return OutcomeEvent.BIND_BACK if provider == move.source else OutcomeEvent.BIND_ELSEWHERE


def _given_up(move: PodMove, now: float) -> PodMove:
    """Give up waiting for a replacement once its time is over, or at once if no owner makes one."""
    over = not move.pod.owner or (move.let_go and now >= move.given_up_at)
    return move.on_outcome(OutcomeEvent.GIVE_UP) if over and move.outcome is Outcome.LEFT else move


def _unmatched(move: PodMove) -> PodMove:
    forgets = move.outcome in UNREPLACED and move.replacement
    return msgspec.structs.replace(move, replacement="", unwanted=True) if forgets else move
