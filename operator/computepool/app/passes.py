"""One pass over one pool: observe, assess, decide, act, report; and the loop that runs passes while we lead."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

from computepool.act.fence import NotLeadingError
from computepool.act.status import StatusWriter
from computepool.act.writer import Writer
from computepool.app.dirty import DirtyPools
from computepool.app.refusals import Refusals
from computepool.assess.assessment import assess
from computepool.decide.decision import decide
from computepool.decide.plan import Burst, Plan
from computepool.model.api import AdmissionMode, ComputePool, Mode, PoolStatus
from computepool.model.snapshot import Snapshot
from computepool.model.state import PoolState, recorded_state
from computepool.observe.store import Store
from computepool.report.logs import log
from computepool.report.metrics import Metrics
from computepool.report.outcome import Outcome
from computepool.report.status import status_of
from computepool.report.story import Story

_logger = logging.getLogger("computepool")
SHARE = 0.2
"""Of the time, about this much goes into deciding while changes keep coming; the rest is for reading and writing."""
PAUSE_SECONDS = 0.03
"""However long a pass took, the next one waits no longer."""


class Passes:
    """Looks at every pool that changed, one after another, and carries out what is decided."""

    def __init__(
        self,
        store: Store,
        dirty: DirtyPools,
        writer: Writer,
        statuses: StatusWriter,
        story: Story,
        metrics: Metrics,
        *,
        stale: Callable[[], str],
        unreadable: Callable[[], str],
        policy_missing: Callable[[], bool],
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        """`stale` says why the view is not current, `unreadable` what of it can't be read; or nothing."""
        self._store = store
        self._dirty = dirty
        self._writer = writer
        self._statuses = statuses
        self._story = story
        self._metrics = metrics
        self._stale = stale
        self._unreadable = unreadable
        self._policy_missing = policy_missing
        self._clock = clock
        self._wall = wall
        self._states: dict[str, PoolState] = {}
        self._told: dict[str, PoolStatus] = {}
        self._refusals = Refusals()
        self._tasks: set[asyncio.Task[None]] = set()
        self._lost = asyncio.Event()
        self._stopping = False

    async def run(self) -> None:
        """Run passes until cancelled, or until leadership is in doubt: then raise NotLeadingError."""
        while True:
            for pool, at in (await self._dirty.take()).items():
                if self._lost.is_set():
                    raise NotLeadingError("a write found that leadership is over")
                if pool in self._store.pools:
                    await self._one(pool, at)

    async def drain(self, seconds: float) -> None:
        """Wait for the writes under way, at most so long; those that have not begun are left to the next leader."""
        self._stopping = True
        try:
            async with asyncio.timeout(seconds):
                while self._tasks:
                    await asyncio.gather(*self._tasks, return_exceptions=True)
                await self._statuses.flush()
        except TimeoutError:
            log(_logger, logging.WARNING, "writes left unfinished", tasks=len(self._tasks))
        await self._writer.settle()

    def stated(self, pool: ComputePool) -> None:
        """Look at a pool whose status in the cluster is not what was told of it last, so that it is put right.

        Our own write may be seen so too, where more was told since: that costs a pass, which finds nothing to write
        that is not wanted already. An answer to a write does not come here, and what changes nothing is no news; so
        even a status that the API server stores otherwise than it was sent makes no circle.
        """
        told = self._told.get(pool.name)
        if told is not None and told != pool.status:
            self._dirty.mark(pool.name, self._clock())

    def forget(self, pool: str) -> None:
        """Drop everything about a pool that is gone."""
        self._states.pop(pool, None)
        self._told.pop(pool, None)
        self._refusals.forget(pool)
        self._statuses.forget(pool)
        self._dirty.forget(pool)
        self._story.forget(pool)

    async def _one(self, name: str, at: float) -> None:
        began = self._clock()
        outcome = self._decide(name, at)
        # Changes that came meanwhile are read before the next pass, and share one. And what was decided is on its way
        # before anybody is told of it.
        await asyncio.sleep(min(PAUSE_SECONDS, (self._clock() - began) * (1 / SHARE - 1)))
        self._report(outcome)

    def _decide(self, name: str, at: float) -> Outcome:
        now = self._wall()
        snapshot = self._store.snapshot(name, stale=self._stale())
        state = self._states.get(name)
        if state is None:
            state = recorded_state(snapshot.pool)
        with self._metrics.decision_seconds.time():
            assessment = assess(snapshot, state, now)
            plan = decide(snapshot, assessment, state, now)
        self._states[name] = plan.state
        self._dirty.again(name, plan.look_again)
        return Outcome(
            snapshot,
            assessment,
            plan,
            refused=self._refusals.standing(snapshot),
            told=not self._act(snapshot, plan, at),
            unreadable=self._unreadable(),
            policy_missing=self._wants_policy(snapshot.pool),
        )

    def _act(self, snapshot: Snapshot, plan: Plan, at: float) -> bool:
        """Carry a plan out, as far as the pool's mode lets us; return whether its bursts are news."""
        pool = snapshot.pool
        if plan.frozen:
            return False
        if pool.spec.mode is Mode.OBSERVE:
            return self._story.would_burst(pool, plan.bursts)
        if plan.bursts:
            self._spawn(self._burst(pool, self._writer.start(plan.bursts), at))
        elif plan.marks:
            self._spawn(self._writer.mark(plan.marks))
        return not self._refusals.known(pool.name, plan.bursts)

    async def _burst(self, pool: ComputePool, bursts: tuple[Burst, ...], at: float) -> None:
        outcome = await self._writer.burst(
            bursts,
            wanted=lambda: self._still_wanted(pool),
            answered=lambda: self._metrics.burst_latency.observe(self._clock() - at),
        )
        if outcome.done:
            self._refusals.written(pool.name, outcome.done)
            self._story.burst(pool, outcome.done, self._clock() - at)
        if outcome.refused and self._is_same(pool):
            message = self._refusals.note(pool.name, outcome.refused)
            self._story.refused(pool, message, len(outcome.refused))
            self._dirty.mark(pool.name, self._clock())
        if pool.name not in self._store.pools:
            # What was counted of a pool that is gone by now would stay for ever.
            self._story.forget(pool.name)

    def _still_wanted(self, pool: ComputePool) -> bool:
        """Say whether a patch that waited for its turn is to be sent: not under another spec than it was decided by."""
        return not self._stopping and self._is_same(pool)

    def _is_same(self, pool: ComputePool) -> bool:
        now = self._store.pools.get(pool.name)
        return now is not None and _spec_of(now) == _spec_of(pool)

    def _report(self, outcome: Outcome) -> None:
        # As it is by now: a status written meanwhile has given it another version, and it may be gone.
        pool = self._store.pools.get(outcome.snapshot.pool.name)
        if pool is None or pool.metadata.uid != outcome.snapshot.pool.metadata.uid:
            return
        # What was told last, written or not: the status that the API server holds may lag behind by a second.
        before = self._told.get(pool.name, pool.status)
        status = self._told[pool.name] = status_of(outcome, before, datetime.fromtimestamp(self._wall(), UTC))
        self._metrics.passed(outcome)
        self._story.turned(pool, before, status)
        self._statuses.want(pool, status)

    def _wants_policy(self, pool: ComputePool) -> bool:
        return pool.spec.admission.mode is not AdmissionMode.OFF and self._policy_missing()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if isinstance(error, NotLeadingError):
            self._lost.set()
        log(_logger, logging.ERROR, "write ended", error=repr(error))


def _spec_of(pool: ComputePool) -> tuple[str, int]:
    """Return what tells one spec of a pool from another."""
    return pool.metadata.uid, pool.metadata.generation
