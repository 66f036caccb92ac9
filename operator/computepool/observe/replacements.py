"""Which pod replaces a moved pod, and what became of that pod: the events of a move's outcome, read from the pods.

No object says which pod replaces which. It follows from the owner and from the order of appearance: an owner's first
move is matched with the first pod that appeared since its pod left, and so on. Times can't show it: a pod's creation
time has whole seconds, by another clock, and the API server's answer may come long after the replacement.
"""

from collections.abc import Callable, Iterable, Sequence

import msgspec

from computepool.model.cluster import Pod
from computepool.model.moves import Outcome, OutcomeEvent, PodMove

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
    after = [_seen(move, moved.keys(), pod_of) for move in moves]
    replacements = _matched(after, pods) if any(_awaits(move, now) for move in after) else {}
    return [
        _replaced(move, replacements[move.pod.uid], moved, provider_of)
        if move.pod.uid in replacements
        else _given_up(move, now)
        for move in after
    ]


def _seen(move: PodMove, moved: Iterable[str], pod_of: Callable[[str], Pod | None]) -> PodMove:
    """Note that the pod has left, and what became of the replacement that is known."""
    if move.outcome is Outcome.RUNS:
        pod = pod_of(move.pod.uid)
        return move if pod is not None and pod.deleting is None else move.on_outcome(OutcomeEvent.LEAVE)
    if move.outcome is not Outcome.REPLACED:
        return move
    replacement = pod_of(move.replacement)
    if replacement is not None:
        return move.on_outcome(OutcomeEvent.BECOME_READY) if replacement.ready else move
    # A replacement that was moved on has still replaced the pod.
    return move if move.replacement in moved else move.on_outcome(OutcomeEvent.LOSE, replacement="")


def _awaits(move: PodMove, now: float) -> bool:
    return move.outcome is Outcome.LEFT and bool(move.pod.owner) and move.is_recent(now)


def _matched(moves: Sequence[PodMove], pods: Callable[[], Iterable[Pod]]) -> dict[str, Pod]:
    """Return the replacement of each moved pod that has left and is not replaced yet, by that pod's uid."""
    waiting = sorted((move for move in moves if move.outcome is Outcome.LEFT and move.pod.owner), key=_order)
    taken = {move.replacement for move in moves if move.outcome is not Outcome.LEFT}
    candidates: dict[str, list[Pod]] = {move.pod.owner: [] for move in waiting}
    # Moved pods come first, in their earlier state: a pod that was moved on has still replaced another pod.
    known = {move.pod.uid: move.pod for move in moves}
    known |= {pod.uid: pod for pod in pods() if pod.uid not in known}
    for pod in known.values():
        if pod.owner in candidates and pod.uid not in taken:
            candidates[pod.owner].append(pod)
    for found in candidates.values():
        # The first pod to appear is the last of the list; if that is unknown, bound pods came first.
        found.sort(key=lambda pod: (pod.appeared, pod.created, not pod.node, pod.uid), reverse=True)
    matched: dict[str, Pod] = {}
    for move in waiting:
        found = candidates[move.pod.owner]
        while found and found[-1].appeared < move.order:
            found.pop()
        if found:
            matched[move.pod.uid] = found.pop()
    return matched


def _order(move: PodMove) -> int:
    return move.order


def _replaced(move: PodMove, by: Pod, moved: dict[str, PodMove], provider_of: ProviderOf) -> PodMove:
    """Note which pod replaces the moved pod, and where it is bound once it is."""
    found = msgspec.structs.replace(move, replacement=by.uid)
    if not by.node:
        return found
    provider = moved[by.uid].source if by.uid in moved else provider_of(by)
    if provider is None:
        return found
    return found.on_outcome(_bound_on(provider, move))


def _bound_on(provider: str, move: PodMove) -> OutcomeEvent:
    if provider == move.target:
        return OutcomeEvent.BIND
    return OutcomeEvent.BIND_BACK if provider == move.source else OutcomeEvent.BIND_ELSEWHERE


def _given_up(move: PodMove, now: float) -> PodMove:
    """Give up waiting for a replacement when its time is over, or at once if no owner makes one."""
    over = move.let_go and now >= move.expires_at
    if move.outcome is not Outcome.LEFT or not (over or not move.pod.owner):
        return msgspec.structs.replace(move, replacement="") if move.outcome is Outcome.LEFT else move
    return move.on_outcome(OutcomeEvent.GIVE_UP)
