"""Failed writes to pods. The pool's status shows a failure until the write succeeds or is no longer wanted."""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from computepool.decide.plan import Burst, Move, Plan
from computepool.kube.denial import with_advice
from computepool.kube.errors import ApiError, Unavailable
from computepool.model.api import ComputePool
from computepool.model.reasons import Reason
from computepool.model.snapshot import Snapshot

_LATER = frozenset({Reason.AT_MOVE_LIMIT, Reason.EVICTION_REFUSED})
"""Reasons of blocked moves that are tried again."""
SHOWN_SECONDS: Final = 600.0
"""How long a refusal stands after its pod was sent to a less preferred provider."""


def refusal_text(burst: Burst, error: ApiError) -> str:
    """Say which patch was refused, and what the API server answered."""
    name = f"{burst.pod.namespace}/{burst.pod.name}"
    return f"the patch that sends pod {name} to {burst.provider} was refused: {with_advice(error)}"


class _Refusal(NamedTuple):
    """A refusal that stands although its pod was sent to a less preferred provider."""

    message: str
    generation: int
    """Of the pool's spec."""
    until: float
    """In seconds since the epoch."""


class Refusals:
    """The last refusal of each pod that should have been sent to a standby, by pool, uid and provider.

    Where the pod then went to a less preferred provider, the refusal stands for SHOWN_SECONDS more: the next pod would
    meet it too. It ends sooner if a patch for the provider is accepted, or if the spec changes.
    """

    def __init__(self) -> None:
        """Start with none."""
        self._messages: dict[str, dict[str, dict[str, str]]] = {}
        # By uid: the provider of a patch without a clear answer. The API server may have stored that patch.
        self._doubted: dict[str, str] = {}
        self._passed_over: dict[str, dict[str, _Refusal]] = {}

    def note(self, pool: str, burst: Burst, error: ApiError) -> None:
        """Remember a refusal."""
        uid = burst.pod.uid
        self._doubted.pop(uid, None)
        if isinstance(error, Unavailable):
            self._doubted[uid] = burst.provider
        self._messages.setdefault(pool, {}).setdefault(uid, {})[burst.provider] = refusal_text(burst, error)

    def written(self, pool: ComputePool, bursts: Iterable[Burst], now: float) -> None:
        """Forget bursts that were written later, but not the providers that these pods had to pass over.

        `now`: in seconds since the epoch.
        """
        for burst in bursts:
            messages = self._drop(pool.name, burst.pod.uid)
            self._passed_over.get(pool.name, {}).pop(burst.provider, None)
            for provider, why in burst.rejected:
                if why is Reason.WRITE_REFUSED and provider in messages:
                    shown = _Refusal(messages[provider], pool.metadata.generation, now + SHOWN_SECONDS)
                    self._passed_over.setdefault(pool.name, {})[provider] = shown

    def known(self, pool: str, bursts: Iterable[Burst]) -> bool:
        """Say whether all these bursts were refused before."""
        messages = self._messages.get(pool, {})
        return all(burst.provider in messages.get(burst.pod.uid, {}) for burst in bursts)

    def standing(self, snapshot: Snapshot, now: float) -> str:
        """Return the refusals that stand, as one text, empty if there are none; forget the others."""
        pool, messages = snapshot.pool, self._messages.get(snapshot.pool.name, {})
        if messages:
            unsent = {pod.uid for pod in snapshot.waiting if pod.offered(self._doubted.get(pod.uid, "")) is None}
            for uid in messages.keys() - unsent:
                self._drop(pool.name, uid)
        passed_over = self._passed_over.get(pool.name, {})
        for provider, refusal in list(passed_over.items()):
            if refusal.generation != pool.metadata.generation or not now < refusal.until <= now + SHOWN_SECONDS:
                del passed_over[provider]
        waiting = _said({uid: next(iter(by_provider.values())) for uid, by_provider in messages.items()})
        return "; ".join(filter(None, (waiting, *(refusal.message for refusal in passed_over.values()))))

    def recheck_at(self, pool: str) -> float | None:
        """Return when the first of the refusals ends by time alone, in seconds since the epoch; None if none does."""
        return min((refusal.until for refusal in self._passed_over.get(pool, {}).values()), default=None)

    def forget(self, pool: str) -> None:
        """Drop a pool that is gone."""
        for uid in self._messages.pop(pool, {}):
            self._doubted.pop(uid, None)
        self._passed_over.pop(pool, None)

    def _drop(self, pool: str, uid: str) -> Mapping[str, str]:
        """Forget the refusals of a pod; return their messages by provider."""
        self._doubted.pop(uid, None)
        return self._messages.get(pool, {}).pop(uid, {})


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
    """Return the first message, and the count if there are more. `messages`: by pod uid."""
    first = next(iter(messages.values()), "")
    return f"{len(messages)} pods, such as: {first}" if len(messages) > 1 else first
