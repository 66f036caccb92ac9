"""Failed writes to pods. The pool's status shows a failure until the write succeeds or is no longer wanted."""

from collections.abc import Iterable, Mapping

from computepool.decide.plan import Burst, Move, Plan
from computepool.decide.refused_patches import patch_text
from computepool.kube.denial import with_advice
from computepool.kube.errors import ApiError, Unavailable
from computepool.model.reasons import Reason
from computepool.model.snapshot import Snapshot

_LATER = frozenset({Reason.AT_MOVE_LIMIT, Reason.EVICTION_REFUSED})
"""Reasons of blocked moves that are tried again."""


class FailedPatches:
    """The last error of each patch that sends a pod to a standby, by pool and uid.

    Patches that the API server does not accept as they are, are not among them: `decide/refused_patches.py`.
    """

    def __init__(self) -> None:
        """Start with none."""
        self._messages: dict[str, dict[str, str]] = {}
        # By uid: the provider of a patch without a clear answer. The API server may have stored that patch.
        self._doubted: dict[str, str] = {}

    def note(self, pool: str, failed: Iterable[tuple[Burst, ApiError]]) -> None:
        """Remember patches that failed."""
        for burst, error in failed:
            self._doubted.pop(burst.pod.uid, None)
            if isinstance(error, Unavailable):
                self._doubted[burst.pod.uid] = burst.provider
            text = patch_text(burst.pod, burst.provider, f"failed: {with_advice(error)}")
            self._messages.setdefault(pool, {})[burst.pod.uid] = text

    def answered(self, pool: str, bursts: Iterable[Burst]) -> None:
        """Forget bursts that were written or refused later."""
        for burst in bursts:
            self._drop(pool, burst.pod.uid)

    def known(self, pool: str, bursts: Iterable[Burst]) -> bool:
        """Say whether the patches of all these bursts have failed before."""
        return all(burst.pod.uid in self._messages.get(pool, {}) for burst in bursts)

    def standing(self, snapshot: Snapshot) -> str:
        """Return the errors of pods that still wait, as one text, empty if there are none; forget the others."""
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
    """The last error of each move that failed, by pool and uid. Refusals by disruption budgets are not among them."""

    def __init__(self) -> None:
        """Start with none."""
        self._messages: dict[str, dict[str, str]] = {}

    def note(self, pool: str, failed: Iterable[tuple[Move, ApiError]]) -> None:
        """Remember moves that failed."""
        messages = self._messages.setdefault(pool, {})
        for move, error in failed:
            write = "deletion" if move.release else "eviction"
            messages[move.pod.uid] = (
                f"the {write} of pod {move.pod.namespace}/{move.pod.name} failed: {with_advice(error)}"
            )

    def answered(self, pool: str, moves: Iterable[Move]) -> None:
        """Forget moves that got another answer later."""
        for move in moves:
            self._messages.get(pool, {}).pop(move.pod.uid, None)

    def standing(self, snapshot: Snapshot, plan: Plan) -> str:
        """Return the failures of moves still wanted, as one text, empty if there are none; forget the others."""
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
        """Drop a pool that is gone or no longer moves pods."""
        self._messages.pop(pool, None)


def _said(messages: Mapping[str, str]) -> str:
    """Return the first message, and the count if there are more."""
    first = next(iter(messages.values()), "")
    return f"{len(messages)} pods, such as: {first}" if len(messages) > 1 else first
