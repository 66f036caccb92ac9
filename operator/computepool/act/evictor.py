"""Carries out a plan's moves: evicts running pods, so that their controllers make replacements.

Invariant 5: each move is revalidated just before its eviction. The eviction names the pod's uid, so that another pod of
the same name is safe. Invariant 9: pods are evicted, which PodDisruptionBudgets may refuse. They are deleted only where
the plan says `release`: on lost nodes, as the node controller does.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import Any, Final, NamedTuple, Protocol

from computepool.act.outcomes import joined
from computepool.act.tasks import BackgroundTasks
from computepool.act.write_access import WriteAccess
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
"""After an eviction that took this long, its owner's evictions take turns. It may have met others under the same
disruption budget, which the API server repeats only after half a second. One by one, each takes a few milliseconds."""
ALONE_SECONDS: Final = 0.1
"""If an eviction in its turn took this long, the API server is slow. Then turns would only cost more time."""
DOUBT_SECONDS: Final = 15.0
"""How long an eviction without a clear answer counts as under way. If the API server has made it, the watch shows that
within seconds."""
REMEMBERED: Final = 10_000
"""Limit for remembered owners, because no event shows that an owner was deleted."""
BUDGET_CAUSE: Final = "DisruptionBudget"
"""policy/v1 DisruptionBudgetCause. An overloaded API server also answers 429, but without this cause."""


class MoveCallbacks(Protocol):
    """Gets the events of a move's request (`model.moves.RequestEvent`).

    Each started move ends with one of `let_go`, `refused`, `dropped` and `failed`, unless the process ends before.
    `uid` is the pod's; times are in seconds since the epoch.
    """

    def start(self, pool: str, move: PodMove) -> None:
        """A pass decided the move."""

    def recorded(self, uid: str) -> None:
        """The status that counts the move is written."""

    def asked(self, uid: str) -> None:
        """The eviction is sent."""

    def let_go(self, uid: str, at: float) -> None:
        """The API server has let the pod go."""

    def refused(self, uid: str, at: float) -> None:
        """A disruption budget keeps the pod."""

    def dropped(self, uid: str) -> None:
        """The revalidation rejected the move."""

    def failed(self, uid: str) -> None:
        """The eviction failed, or was never sent."""


class Moved(NamedTuple):
    """One pass's moves by result; each field is in the plan's order."""

    done: tuple[Move, ...] = ()
    """The API server has let the pod go."""
    refused: tuple[tuple[Move, ApiError], ...] = ()
    """A disruption budget keeps the pod."""
    failed: tuple[tuple[Move, ApiError], ...] = ()
    """Another error, or no answer; a later pass decides again."""
    gone: tuple[Move, ...] = ()
    """The pod was gone before."""
    dropped: tuple[tuple[Move, Reason], ...] = ()
    """The revalidation rejected the move for this reason."""


class Evictor:
    """Evicts pods."""

    def __init__(self, access: WriteAccess, callbacks: MoveCallbacks, *, leaving: Callable[[str], bool]) -> None:
        """`leaving(uid)` says whether the watch has shown that a pod is terminating or gone."""
        self._client = access.client
        self._fence = access.fence
        self._callbacks = callbacks
        self._leaving = leaving
        self._clock = access.runtime.steady
        self._wall = access.runtime.wall
        self._sleep = access.runtime.sleep
        self._slots = asyncio.Semaphore(PARALLEL)
        # By owner: the lock by which evictions that conflict with each other take turns.
        self._turns: dict[str, asyncio.Lock] = {}
        self._backoffs = Backoffs(base=RETRY_BASE_SECONDS, cap=RETRY_CAP_SECONDS, rng=access.runtime.rng)
        self._tasks = BackgroundTasks()
        # The uids of pods whose moves were started and have no answer yet.
        self._open: set[str] = set()

    def start(self, pool: str, moves: Iterable[Move]) -> tuple[Move, ...]:
        """Note the moves as under way, before anything is awaited, so that the next pass counts them.

        Returns the moves that were not under way already. Hand each of them to `move`, `put_off` or `drop`.
        """
        now = self._wall()
        started = tuple(move for move in moves if move.pod.uid not in self._open)
        for move in started:
            self._open.add(move.pod.uid)
            self._callbacks.start(pool, move.begin(now))
        return started

    def put_off(self, moves: Iterable[Move], error: ApiError) -> None:
        """Let passes decide started moves again after a delay, because the status that counts them is not written."""
        for move in moves:
            self._fail_later(move.pod.uid, error)

    def drop(self, moves: Iterable[Move]) -> None:
        """End started moves for which no eviction was sent."""
        for move in moves:
            self._fail(move.pod.uid)

    async def move(self, moves: Sequence[Move], *, why_not: Callable[[Move], Reason | None]) -> Moved:
        """Evict the pods in this order, after the status that counts the moves is written.

        `why_not` is called just before each eviction; a move for which it returns a reason is dropped. Raises
        NotLeadingError as soon as leadership is in doubt.
        """
        for move in moves:
            self._callbacks.recorded(move.pod.uid)
        return joined(Moved, await asyncio.gather(*(self._move(move, why_not) for move in moves)))

    async def settle(self) -> None:
        """Cancel the waits for retries. Call this at the end."""
        await self._tasks.cancel()

    async def _move(self, move: Move, why_not: Callable[[Move], Reason | None]) -> Moved:
        uid = move.pod.uid
        try:
            turn = self._turns.get(move.pod.owner)
            async with turn or nullcontext(), self._slots:
                reason = why_not(move)
                if reason is not None:
                    self._backoffs.reset(uid)
                    self._open.discard(uid)
                    self._callbacks.dropped(uid)
                    return Moved(dropped=((move, reason),))
                self._fence.check()
                self._callbacks.asked(uid)
                began = self._clock()
                await self._request(move)
                self._learn(move.pod.owner, self._clock() - began, alone=turn is not None)
        except ApiError as error:
            return self._answered(move, error)
        except BaseException:
            # Leadership is over, or the process ends.
            self._fail(uid)
            raise
        self._let_go(uid, self._wall())
        return Moved(done=(move,))

    def _answered(self, move: Move, error: ApiError) -> Moved:
        uid = move.pod.uid
        if held_by_budget(error):
            self._open.discard(uid)
            self._callbacks.refused(uid, self._wall())
            return Moved(refused=((move, error),))
        if isinstance(error, NotFound | Conflict):
            # Until the watch shows this, the next pass would see the pod run and move it again.
            self._fail_later(uid, error)
            return Moved(gone=(move,))
        self._fail_later(uid, error, doubted=isinstance(error, Unavailable))
        return Moved(failed=((move, error),))

    def _learn(self, owner: str, seconds: float, *, alone: bool) -> None:
        """Decide by the duration of one eviction whether the owner's evictions take turns."""
        if alone and seconds >= ALONE_SECONDS:
            self._turns.pop(owner, None)
        elif owner and not alone and seconds >= CROWDED_SECONDS:
            if len(self._turns) > REMEMBERED:
                self._turns.clear()
            self._turns.setdefault(owner, asyncio.Lock())

    async def _request(self, move: Move) -> None:
        pod = move.pod
        path = paths.pod(pod.namespace, pod.name)
        if move.release:
            # Keep the pod's grace period, as the node controller does: a kubelet that comes back ends the pod properly.
            await self._client.delete(path, {"preconditions": {"uid": pod.uid}})
        else:
            await self._client.create(f"{path}/eviction", eviction(pod))

    def _let_go(self, uid: str, at: float) -> None:
        self._backoffs.reset(uid)
        self._open.discard(uid)
        self._callbacks.let_go(uid, at)

    def _fail(self, uid: str) -> None:
        self._open.discard(uid)
        self._callbacks.failed(uid)

    def _fail_later(self, uid: str, error: ApiError, *, doubted: bool = False) -> None:
        """End the move after a delay, so that a pass can decide it again. Until then it counts as under way.

        `doubted`: the API server may have made the eviction.
        """
        delay = self._backoffs.next(uid, error, at_least=DOUBT_SECONDS if doubted else 0.0)
        self._tasks.spawn(self._end_after(delay, uid, doubted))

    async def _end_after(self, delay: float, uid: str, doubted: bool) -> None:
        asked_at = self._wall()
        await self._sleep(delay)
        if doubted and self._leaving(uid):
            self._let_go(uid, asked_at)
        else:
            self._fail(uid)


def eviction(pod: Pod) -> dict[str, Any]:
    """Return the Eviction of exactly this pod."""
    return {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod.name, "namespace": pod.namespace},
        "deleteOptions": {"preconditions": {"uid": pod.uid}},
    }


def held_by_budget(error: ApiError) -> bool:
    """Say whether the API server refuses an eviction because of one or more PodDisruptionBudgets.

    Source: pkg/registry/core/pod/storage/eviction.go. For a pod with two budgets the answer is always 500 without a
    reason. That is a refusal by budgets, and no trouble of the API server.
    """
    several = error.status == 500 and "more than one PodDisruptionBudget" in error.message
    return several or any(cause.reason == BUDGET_CAUSE for cause in error.causes)


def budget_words(error: ApiError) -> str:
    """Return the API server's message about the budgets, or its general message if it names none."""
    return " ".join(cause.message for cause in error.causes if cause.reason == BUDGET_CAUSE) or error.message
