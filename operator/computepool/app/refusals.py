"""Writes on pods that the API server refused: the pool says so until they go through, or are not wanted any more."""

from collections.abc import Iterable, Mapping

from computepool.decide.plan import Burst, Move, Plan
from computepool.kube.errors import ApiError, Unavailable
from computepool.model.reasons import Reason
from computepool.model.snapshot import Snapshot

_LATER = frozenset({Reason.AT_MOVE_LIMIT, Reason.EVICTION_REFUSED})
"""Reasons of pods that stay for now, and whose move is tried again."""


class Refusals:
    """Of pods that should have been sent on, by pool and pod: what the API server said last."""

    def __init__(self) -> None:
        """Nothing was refused yet."""
        self._messages: dict[str, dict[str, str]] = {}
        # By pod: the provider it was sent to by a patch without a clear answer, which may have gone through.
        self._doubted: dict[str, str] = {}

    def note(self, pool: str, refused: Iterable[tuple[Burst, ApiError]]) -> str:
        """Remember refusals, at least one; return what is said of the first."""
        messages = {
            burst.pod.uid: f"the patch of pod {burst.pod.namespace}/{burst.pod.name} was refused: {error}"
            for burst, error in refused
        }
        for burst, error in refused:
            self._doubted.pop(burst.pod.uid, None)
            if isinstance(error, Unavailable):
                self._doubted[burst.pod.uid] = burst.provider
        self._messages.setdefault(pool, {}).update(messages)
        return next(iter(messages.values()))

    def written(self, pool: str, bursts: Iterable[Burst]) -> None:
        """Forget bursts that were written after all."""
        for burst in bursts:
            self._drop(pool, burst.pod.uid)

    def known(self, pool: str, bursts: Iterable[Burst]) -> bool:
        """Say whether all of these are attempts at what was refused before."""
        return all(burst.pod.uid in self._messages.get(pool, {}) for burst in bursts)

    def standing(self, snapshot: Snapshot) -> str:
        """Return what is refused of the pool's waiting pods; empty where nothing is. Others are forgotten."""
        messages = self._messages.get(snapshot.pool.name)
        if not messages:
            return ""
        unsent = {pod.uid for pod in snapshot.waiting if pod.offered(self._doubted.get(pod.uid, "")) is None}
        for uid in messages.keys() - unsent:
            self._drop(snapshot.pool.name, uid)
        return _said(messages)

    def forget(self, pool: str) -> None:
        """Drop a pool that is gone."""
        for uid in list(self._messages.get(pool, ())):
            self._drop(pool, uid)
        self._messages.pop(pool, None)

    def _drop(self, pool: str, uid: str) -> None:
        self._messages.get(pool, {}).pop(uid, None)
        self._doubted.pop(uid, None)


class FailedMoves:
    """Of running pods that should have been let go, and that no disruption budget holds: what was said last."""

    def __init__(self) -> None:
        """Nothing has failed yet."""
        self._messages: dict[str, dict[str, str]] = {}

    def note(self, pool: str, failed: Iterable[tuple[Move, ApiError]]) -> None:
        """Remember moves that failed."""
        messages = self._messages.setdefault(pool, {})
        for move, error in failed:
            what = "deletion" if move.release else "eviction"
            messages[move.pod.uid] = f"the {what} of pod {move.pod.namespace}/{move.pod.name} failed: {error}"

    def answered(self, pool: str, moves: Iterable[Move]) -> None:
        """Forget moves that got another answer since."""
        for move in moves:
            self._messages.get(pool, {}).pop(move.pod.uid, None)

    def standing(self, snapshot: Snapshot, plan: Plan) -> str:
        """Return what keeps the pool's running pods from leaving; empty where nothing does. Others are forgotten."""
        messages = self._messages.get(snapshot.pool.name)
        if not messages:
            return ""
        if not plan.frozen and not plan.blocked_left_out:
            wanted = {moving.pod.uid for moving in snapshot.moves if moving.unanswered}
            wanted.update(move.pod.uid for move in plan.moves)
            wanted.update(stay.pod.uid for stay in plan.blocked if stay.reason in _LATER)
            for uid in messages.keys() - wanted:
                del messages[uid]
        return _said(messages)

    def forget(self, pool: str) -> None:
        """Drop a pool that is gone, or does not move pods any more."""
        self._messages.pop(pool, None)


def _said(messages: Mapping[str, str]) -> str:
    """Return the first, and how many there are."""
    first = next(iter(messages.values()), "")
    return f"{len(messages)} pods, such as: {first}" if len(messages) > 1 else first
