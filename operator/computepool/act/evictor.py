"""Carries out a plan's moves: lets running pods go by eviction, so that their controllers make others.

Invariant 5: each move is looked at once more just before its eviction, which names the pod's uid: another pod of the
same name is never touched. Invariant 9: pods are evicted, which PodDisruptionBudgets may refuse, and deleted only where
the plan says `release`: on lost nodes, as the node controller would.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import Any, Final, NamedTuple, Protocol

from computepool.act.fence import WriteAccess
from computepool.act.outcomes import joined
from computepool.act.tasks import BackgroundTasks
from computepool.decide.plan import Move
from computepool.kube import paths
from computepool.kube.errors import ApiError, Conflict, NotFound, Unavailable
from computepool.kube.retry import Backoffs
from computepool.model.cluster import Pod
from computepool.model.moves import PodMove
from computepool.model.reasons import Reason

PARALLEL: Final = 32
RETRY_BASE_SECONDS: Final = 1.0
RETRY_CAP_SECONDS: Final = 60.0
CROWDED_SECONDS: Final = 0.5
"""An eviction that took so long may have met others under the same disruption budget: the API server lets them try
again only after half a second. One by one they take a few milliseconds each."""
ALONE_SECONDS: Final = 0.1
"""One that took so long although it was alone shows that the API server is slow: turns would only make it slower."""
DOUBT_SECONDS: Final = 15.0
"""How long an eviction without a clear answer counts as under way: it may have been made all the same, and the watch
shows that within seconds."""
REMEMBERED: Final = 10_000
"""Owners whose pods take turns. They may be deleted, and nothing would say so."""
BUDGET_CAUSE: Final = "DisruptionBudget"
"""policy/v1 DisruptionBudgetCause: tells a disruption budget's refusal from that of an overloaded API server."""


class MoveCallbacks(Protocol):
    """What the mover tells as it goes: the events of a move's request (`model.moves.RequestEvent`).

    Each move that was started is answered by one of `let_go`, `refused`, `dropped` and `failed`, however long it takes,
    unless the process ends before. Pods are named by uid; times are in seconds since the epoch.
    """

    def start(self, pool: str, move: PodMove) -> None:
        """A pass decided the move."""

    def recorded(self, uid: str) -> None:
        """The status that counts it is written."""

    def asked(self, uid: str) -> None:
        """The eviction is sent."""

    def let_go(self, uid: str, at: float) -> None:
        """The API server has let the pod go."""

    def refused(self, uid: str, at: float) -> None:
        """A disruption budget keeps the pod."""

    def dropped(self, uid: str) -> None:
        """The last look found it wrong."""

    def failed(self, uid: str) -> None:
        """It came to nothing."""


class Moved(NamedTuple):
    """What became of one pass's moves; each field is in the plan's order."""

    done: tuple[Move, ...] = ()
    """Let go by the API server."""
    refused: tuple[tuple[Move, ApiError], ...] = ()
    """Held by a disruption budget."""
    failed: tuple[tuple[Move, ApiError], ...] = ()
    """Any other error, or no answer; decided anew later."""
    gone: tuple[Move, ...] = ()
    """The pod was gone already."""
    dropped: tuple[tuple[Move, Reason], ...] = ()
    """No longer right when their turn came, and why."""


class Evictor:
    """Evicts pods."""

    def __init__(
        self,
        access: WriteAccess,
        callbacks: MoveCallbacks,
        *,
        leaving: Callable[[str], bool],
    ) -> None:
        """`leaving(uid)` says whether a pod is seen to be terminating, or gone."""
        self._client = access.client
        self._fence = access.fence
        self._callbacks = callbacks
        self._leaving = leaving
        self._clock = access.runtime.steady
        self._wall = access.runtime.wall
        self._sleep = access.runtime.sleep
        self._slots = asyncio.Semaphore(PARALLEL)
        # By owner of pods whose evictions got in each other's way: they take turns.
        self._turns: dict[str, asyncio.Lock] = {}
        self._backoffs = Backoffs(base=RETRY_BASE_SECONDS, cap=RETRY_CAP_SECONDS, rng=access.runtime.rng)
        self._tasks = BackgroundTasks()
        # By uid: moves that were started and that have no answer yet.
        self._open: set[str] = set()

    def start(self, pool: str, moves: Iterable[Move]) -> tuple[Move, ...]:
        """Note the moves as under way, before anything is awaited, so that the next pass counts them.

        Returns the moves that were not under way already. Hand each of them to `move`, `put_off` or `drop`.
        """
        now = self._wall()
        started = tuple(move for move in moves if move.pod.uid not in self._open)
        for move in started:
            self._open.add(move.pod.uid)
            self._callbacks.start(pool, PodMove(move.pod, move.source, move.target, move.kind, at=now))
        return started

    def put_off(self, moves: Iterable[Move], error: ApiError) -> None:
        """Let moves that were started be decided again after a while: what had to be written before them was not."""
        for move in moves:
            self._later(move.pod.uid, error)

    def drop(self, moves: Iterable[Move]) -> None:
        """Take moves back that were started: nothing was asked for, and nothing is going to be."""
        for move in moves:
            self._failed(move.pod.uid)

    async def move(self, moves: Sequence[Move], *, why_not: Callable[[Move], Reason | None]) -> Moved:
        """Let the pods go, in this order, once the status counts them.

        When the turn of each has come, `why_not` says why it is no longer right, or nothing. Raises NotLeadingError as
        soon as leadership is in doubt.
        """
        for move in moves:
            self._callbacks.recorded(move.pod.uid)
        return joined(Moved, await asyncio.gather(*(self._move(move, why_not) for move in moves)))

    async def settle(self) -> None:
        """Drop the waits for retries; called at the end."""
        await self._tasks.cancel()

    async def _move(self, move: Move, why_not: Callable[[Move], Reason | None]) -> Moved:
        uid = move.pod.uid
        try:
            turn = self._turns.get(move.pod.owner)
            async with turn or nullcontext(), self._slots:
                why = why_not(move)
                if why is not None:
                    self._backoffs.reset(uid)
                    self._open.discard(uid)
                    self._callbacks.dropped(uid)
                    return Moved(dropped=((move, why),))
                self._fence.check()
                self._callbacks.asked(uid)
                began = self._clock()
                await self._let_go(move)
                self._learn(move.pod.owner, self._clock() - began, alone=turn is not None)
        except ApiError as error:
            return self._answered(move, error)
        except BaseException:
            # Leadership is over, or the process ends.
            self._failed(uid)
            raise
        self._evicted(uid, self._wall())
        return Moved(done=(move,))

    def _answered(self, move: Move, error: ApiError) -> Moved:
        uid = move.pod.uid
        if held_by_budget(error):
            self._open.discard(uid)
            self._callbacks.refused(uid, self._wall())
            return Moved(refused=((move, error),))
        if isinstance(error, NotFound | Conflict):
            # Until the watch says so too, the next pass would find it running and move it again.
            self._later(uid, error)
            return Moved(gone=(move,))
        self._later(uid, error, doubted=isinstance(error, Unavailable))
        return Moved(failed=((move, error),))

    def _learn(self, owner: str, took: float, *, alone: bool) -> None:
        if alone and took >= ALONE_SECONDS:
            self._turns.pop(owner, None)
        elif owner and not alone and took >= CROWDED_SECONDS:
            if len(self._turns) > REMEMBERED:
                self._turns.clear()
            self._turns.setdefault(owner, asyncio.Lock())

    async def _let_go(self, move: Move) -> None:
        pod = move.pod
        path = paths.pod(pod.namespace, pod.name)
        if move.release:
            # With the pod's own grace, as the node controller does: a kubelet that comes back ends it in good order.
            await self._client.delete(path, {"preconditions": {"uid": pod.uid}})
        else:
            await self._client.create(f"{path}/eviction", eviction(pod))

    def _evicted(self, uid: str, at: float) -> None:
        self._backoffs.reset(uid)
        self._open.discard(uid)
        self._callbacks.let_go(uid, at)

    def _failed(self, uid: str) -> None:
        self._open.discard(uid)
        self._callbacks.failed(uid)

    def _later(self, uid: str, error: ApiError, *, doubted: bool = False) -> None:
        """Let the move be decided again after a while; until then it counts as under way.

        `doubted`: it may have been made all the same.
        """
        delay = self._backoffs.next(uid, error, at_least=DOUBT_SECONDS if doubted else 0.0)
        self._tasks.spawn(self._release(uid, delay, doubted))

    async def _release(self, uid: str, delay: float, doubted: bool) -> None:
        asked = self._wall()
        await self._sleep(delay)
        if doubted and self._leaving(uid):
            self._evicted(uid, asked)
        else:
            self._failed(uid)


def eviction(pod: Pod) -> dict[str, Any]:
    """Return the Eviction of exactly this pod."""
    return {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod.name, "namespace": pod.namespace},
        "deleteOptions": {"preconditions": {"uid": pod.uid}},
    }


def held_by_budget(error: ApiError) -> bool:
    """Say whether a PodDisruptionBudget, or several of them, keeps the API server from letting the pod go.

    Source: pkg/registry/core/pod/storage/eviction.go. A pod with two budgets is answered 500 without any reason, and
    stays so: that is a refusal by budgets, not an API server in trouble.
    """
    several = error.status == 500 and "more than one PodDisruptionBudget" in error.message
    return several or any(cause.reason == BUDGET_CAUSE for cause in error.causes)


def budget_words(error: ApiError) -> str:
    """Return what the API server says of the budgets that keep a pod, as far as it names them."""
    return " ".join(cause.message for cause in error.causes if cause.reason == BUDGET_CAUSE) or error.message
