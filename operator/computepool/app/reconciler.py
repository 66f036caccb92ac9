"""One pass over one pool: observe, assess, decide, act, report; and the loop that runs passes while we lead."""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime

from computepool.act.fence import NotLeadingError
from computepool.app.executor import Executor
from computepool.app.pool_backoff import PoolBackoff
from computepool.app.view import View, faults_of
from computepool.app.work_queue import WorkQueue
from computepool.decide.invariants import InvariantBreachError
from computepool.decide.plan import Plan
from computepool.decide.reconcile import Reconciled, reconcile
from computepool.kube.runtime import Runtime
from computepool.model.api import ComputePool, Mode, PoolStatus
from computepool.model.snapshot import Snapshot
from computepool.model.state import PoolState, recorded_in, restarted
from computepool.observe.store import Store
from computepool.report.logs import log, log_failure
from computepool.report.pass_report import Gaps, PassReport, admission_gap
from computepool.report.recorder import EventRecorder
from computepool.report.status import status_of

_logger = logging.getLogger("computepool")
SHARE = 0.2
"""Of the time, about this much goes into deciding while changes keep coming; the rest is for reading and writing."""
PAUSE_SECONDS = 0.03
"""However long a pass took, the next one waits no longer."""
MOVING_PAUSE_SECONDS = 0.25
"""Save after one that begins moves. Each such pass has its status written first, and what replaces pods that are moved
is admitted as it should be: nothing waits for passes then, and the fewer there are, the faster all is over."""


Decide = Callable[[Snapshot, PoolState, float], Reconciled]


class Reconciler:
    """Looks at every pool that changed, one after another, and carries out what is decided."""

    def __init__(
        self,
        store: Store,
        queue: WorkQueue,
        executor: Executor,
        recorder: EventRecorder,
        view: View,
        runtime: Runtime,
        *,
        decide: Decide = reconcile,
    ) -> None:
        """Nothing is decided yet. `decide` is `reconcile`, or what a test puts in its place."""
        self._store = store
        self._queue = queue
        self._executor = executor
        self._recorder = recorder
        self._metrics = recorder.metrics
        self._view = view
        self._clock = runtime.steady
        self._wall = runtime.wall
        self._decide_pass = decide
        self._backoff = PoolBackoff(runtime.steady)
        self._states: dict[str, PoolState] = {}
        self._told: dict[str, PoolStatus] = {}
        self._view_faults: dict[str, tuple[bool, bool, bool]] = {}

    async def run(self) -> None:
        """Run passes until cancelled, or until leadership is in doubt: then raise NotLeadingError."""
        while True:
            for pool, at in (await self._queue.take()).items():
                if self._executor.lost.is_set():
                    raise NotLeadingError("a write found that leadership is over")
                if pool in self._store.pools:
                    await self._guarded(pool, at)

    def stated(self, pool: ComputePool) -> None:
        """Have a pool looked at whose status in the cluster differs from what was reported last.

        Our own write can cause this once, which costs a pass that writes nothing new. It can't loop, even if the API
        server stores a status otherwise than it was sent: answers to our writes do not come here, and a write that
        changes nothing makes no event.
        """
        told = self._told.get(pool.name)
        if told is not None and told != pool.status:
            self._queue.add(pool.name, self._clock())

    def check_view(self) -> None:
        """Have the pools looked at whose last pass saw other faults of the view. To be called about once a second.

        No event shows that a view becomes old: without this the pools would go on saying that all is in order.
        """
        faults = faults_of(self._view)
        for pool in self._store.pools:
            if self._view_faults.get(pool) != faults:
                self._queue.add(pool, self._clock())

    def forget(self, pool: str) -> None:
        """Drop everything about a pool that is gone."""
        self._backoff.forget(pool)
        self._states.pop(pool, None)
        self._told.pop(pool, None)
        self._view_faults.pop(pool, None)
        self._executor.forget(pool)
        self._queue.forget(pool)
        self._recorder.forget(pool)

    async def _guarded(self, name: str, at: float) -> None:
        """Run one pass; if it ends in an unexpected error, leave that pool alone for a while."""
        remaining = self._backoff.remaining(name)
        if remaining > 0.0:
            self._queue.add_at(name, self._wall() + remaining)
            return
        try:
            await self._one(name, at)
        except NotLeadingError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the other pools go on
            if name in self._store.pools:
                self._leave_alone(name, error)
        else:
            self._backoff.forget(name)

    def _leave_alone(self, name: str, error: Exception) -> None:
        seconds = self._backoff.failed(name)
        self._executor.leave_alone(name)
        self._queue.add_at(name, self._wall() + seconds)
        self._metrics.pass_failures.labels(name).inc()
        for breach in error.breaches if isinstance(error, InvariantBreachError) else ():
            self._metrics.invariant_breached(name, breach.invariant)
            facts = {"invariant": breach.invariant, "facts": breach.facts}
            log(_logger, logging.ERROR, "decision breaks an invariant, nothing of it is done", pool=name, **facts)
        log_failure(_logger, "pass failed, the pool is left alone for a while", error, pool=name, seconds=seconds)

    async def _one(self, name: str, at: float) -> None:
        began = self._clock()
        outcome = self._decide(name, at)
        pool, moves = outcome.snapshot.pool, outcome.plan.moves
        # How many are moved is told, and written, before the first of them is.
        urgent = bool(moves) and pool.spec.mode is Mode.ENFORCE
        if urgent and (status := self._report(outcome)) is not None:
            self._executor.move(pool, moves, status)
        # Changes that came in the meantime are read before the next pass, and share it. And what was decided is on its
        # way before it is reported.
        longest = MOVING_PAUSE_SECONDS if urgent else PAUSE_SECONDS
        await asyncio.sleep(min(longest, (self._clock() - began) * (1 / SHARE - 1)))
        if not urgent:
            self._report(outcome)

    def _decide(self, name: str, at: float) -> PassReport:
        now = self._wall()
        self._view_faults[name] = faults_of(self._view)
        snapshot = self._store.snapshot(name, stale=self._view.stale())
        pool = snapshot.pool
        state = self._states.get(name)
        if state is None:
            state = restarted(recorded_in(pool), snapshot.moves_since)
        with self._metrics.decision_seconds.time():
            outcome = self._decide_pass(snapshot, state, now)
        assessment, plan = outcome.assessment, outcome.plan
        self._states[name] = outcome.state
        self._queue.add_at(name, plan.recheck_at)
        self._executor.look(snapshot, assessment, now)
        refused = self._executor.trouble(snapshot, plan)
        gap = admission_gap(
            pool.spec.admission.mode, missing=self._view.policy_missing(), unserved=self._view.policy_unserved()
        )
        observed = pool.spec.mode is Mode.OBSERVE
        announced_bursts = self._recorder.announced if observed else self._executor.no_news
        report = PassReport(
            snapshot,
            assessment,
            plan,
            outcome.state,
            Gaps(self._view.unreadable(), self._view.unfollowed(), gap),
            refused,
            announced_bursts=announced_bursts(name, plan.bursts),
            announced_moves=observed and self._recorder.announced(name, plan.moves),
        )
        if self._backoff.failing(name):
            # If it is the report that fails, it is to fail before anything is written.
            self._status(report, pool)
        if observed:
            # What was tainted in another mode is freed.
            self._executor.carry_out(pool, Plan(quarantine={}), at)
            self._recorder.observe(pool, plan)
        else:
            self._executor.carry_out(pool, plan, at)
        return report

    def _report(self, outcome: PassReport) -> PoolStatus | None:
        """Tell what a pass found and did; return the status told, or None for a pool that is gone."""
        # Read again: a status written in the meantime has given it another version, and it may be gone.
        pool = self._store.pools.get(outcome.snapshot.pool.name)
        if pool is None or pool.metadata.uid != outcome.snapshot.pool.metadata.uid:
            return None
        before, status = self._status(outcome, pool)
        self._told[pool.name] = status
        self._metrics.passed(outcome, status.conditions)
        self._recorder.record_status(pool, before, status)
        self._tell_of_nodes(outcome)
        self._executor.want_status(pool, status)
        return status

    def _status(self, outcome: PassReport, pool: ComputePool) -> tuple[PoolStatus, PoolStatus]:
        """Return the status before, and what it is to be."""
        # What was told last, written or not: the status that the API server holds may lag behind by a second.
        before = self._told.get(pool.name, pool.status)
        return before, status_of(outcome, before, datetime.fromtimestamp(self._wall(), UTC))

    def _tell_of_nodes(self, outcome: PassReport) -> None:
        again = self._recorder.record_nodes(outcome, self._wall())
        if again is not None:
            self._queue.add_by(outcome.snapshot.pool.name, again)
