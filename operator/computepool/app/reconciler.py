"""Passes: take a snapshot of one pool, decide, act and report. The loop runs passes while this process leads."""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime

from computepool.act.write_access import NotLeadingError
from computepool.app.cluster_view import View, ViewFaults, faults_of
from computepool.app.executor import Executor
from computepool.app.pool_backoff import PoolBackoff
from computepool.app.work_queue import WorkQueue
from computepool.decide.invariants import InvariantBreachError
from computepool.decide.plan import Plan
from computepool.decide.reconcile import Reconciled, reconcile
from computepool.kube.runtime import Runtime
from computepool.model.api import ComputePool, Mode, PoolStatus
from computepool.model.snapshot import Snapshot
from computepool.model.state import PoolState, recorded_in, restarted
from computepool.observe.store import Store
from computepool.report.event_recorder import EventRecorder
from computepool.report.logs import log, log_failure
from computepool.report.pass_report import Gaps, PassReport, admission_gap
from computepool.report.status import status_of

_logger = logging.getLogger("computepool")
SHARE = 0.2
"""Part of the time that decisions take while changes keep coming. The rest is for reading and writing."""
PAUSE_SECONDS = 0.03
"""The longest pause after a pass."""
MOVING_PAUSE_SECONDS = 0.25
"""The longest pause after a pass that begins moves. Such a pass writes its status before its evictions, and the
replacements get their tolerations at admission. So nothing waits for the next pass, and fewer passes end sooner."""

Decide = Callable[[Snapshot, PoolState, float], Reconciled]


class Reconciler:
    """Makes a pass over every pool that changed, one pool after another."""

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
        """`decide` is `reconcile`, or a test's replacement of it."""
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
        self._reported: dict[str, PoolStatus] = {}
        self._view_faults: dict[str, ViewFaults] = {}

    async def run(self) -> None:
        """Run passes until cancelled, or until leadership is in doubt: then raise NotLeadingError."""
        while True:
            for pool, at in (await self._queue.take()).items():
                if self._executor.lost.is_set():
                    raise NotLeadingError("a write found that leadership is over")
                if pool in self._store.pools:
                    await self._guarded(pool, at)

    def stated(self, pool: ComputePool) -> None:
        """Queue a pool if its status in the cluster differs from the status that was reported last.

        The operator's own write can cause one such pass, which writes nothing new. There is no loop, even if the API
        server stores a status other than the one it got: answers to the operator's writes do not come here, and a write
        that changes nothing makes no event.
        """
        reported = self._reported.get(pool.name)
        if reported is not None and reported != pool.status:
            self._queue.add(pool.name, self._clock())

    def check_view(self) -> None:
        """Queue the pools whose last pass saw other faults of the view. Call this about once a second.

        No event shows that a view becomes old. Without this check the pools' conditions would stay as they are.
        """
        faults = faults_of(self._view)
        for pool in self._store.pools:
            if faults.differ_from(self._view_faults.get(pool)):
                self._queue.add(pool, self._clock())

    def forget(self, pool: str) -> None:
        """Drop everything about a pool that is gone."""
        self._backoff.forget(pool)
        self._states.pop(pool, None)
        self._reported.pop(pool, None)
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
            await self._run_pass(name, at)
        except NotLeadingError:
            raise
        except Exception as error:  # noqa: BLE001 - after any error the other pools go on
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

    async def _run_pass(self, name: str, at: float) -> None:
        began = self._clock()
        report = self._decide(name)
        pool, moves = report.snapshot.pool, report.plan.moves
        if self._backoff.failing(name):
            # A report that can't be made must fail before anything is written.
            self._status(report, pool)
        self._carry_out(report, at)
        # The status must count the moves before the first eviction.
        urgent = bool(moves) and pool.spec.mode is Mode.ENFORCE
        if urgent and (status := self._publish(report)) is not None:
            self._executor.move(pool, moves, status)
        # During the pause the writes begin, and changes arrive that the next pass shares.
        longest = MOVING_PAUSE_SECONDS if urgent else PAUSE_SECONDS
        await asyncio.sleep(min(longest, (self._clock() - began) * (1 / SHARE - 1)))
        if not urgent:
            self._publish(report)

    def _decide(self, name: str) -> PassReport:
        now = self._wall()
        faults = self._view_faults[name] = faults_of(self._view)
        snapshot = self._store.snapshot(name, stale=faults.stale)
        state = self._states.get(name)
        if state is None:
            state = restarted(recorded_in(snapshot.pool), snapshot.moves_since)
        with self._metrics.decision_seconds.time():
            decided = self._decide_pass(snapshot, state, now)
        self._states[name] = decided.state
        self._queue.add_at(name, decided.plan.recheck_at)
        self._executor.hold_verdicts(snapshot, decided.assessment, now)
        return self._report_of(snapshot, decided, faults)

    def _report_of(self, snapshot: Snapshot, decided: Reconciled, faults: ViewFaults) -> PassReport:
        pool, plan = snapshot.pool, decided.plan
        refused = self._executor.trouble(snapshot, plan)
        gap = admission_gap(
            pool.spec.admission.mode, missing=self._view.policy_missing(), unserved=self._view.policy_unserved()
        )
        observed = pool.spec.mode is Mode.OBSERVE
        announced_bursts = self._recorder.announced if observed else self._executor.are_known_refusals
        return PassReport(
            snapshot,
            decided.assessment,
            plan,
            decided.state,
            Gaps(faults.unreadable, faults.unfollowed, gap),
            refused,
            announced_bursts=announced_bursts(pool.name, plan.bursts),
            announced_moves=observed and self._recorder.announced(pool.name, plan.moves),
        )

    def _carry_out(self, report: PassReport, at: float) -> None:
        pool, plan = report.snapshot.pool, report.plan
        if pool.spec.mode is Mode.OBSERVE:
            # Nodes that were tainted in another mode are freed.
            self._executor.carry_out(pool, Plan(quarantine={}), at)
            self._recorder.observe(pool, plan)
        else:
            self._executor.carry_out(pool, plan, at)

    def _publish(self, report: PassReport) -> PoolStatus | None:
        """Publish a pass's report; return the new status, or None for a pool that is gone."""
        # Read the pool again: since the snapshot a status may have been written, or the pool deleted.
        pool = self._store.pools.get(report.snapshot.pool.name)
        if pool is None or pool.metadata.uid != report.snapshot.pool.metadata.uid:
            return None
        before, status = self._status(report, pool)
        self._reported[pool.name] = status
        self._metrics.passed(report, status.conditions)
        self._recorder.record_status(pool, before, status)
        recheck_at = self._recorder.record_nodes(report, self._wall())
        if recheck_at is not None:
            self._queue.add_by(pool.name, recheck_at)
        self._executor.want_status(pool, status)
        return status

    def _status(self, report: PassReport, pool: ComputePool) -> tuple[PoolStatus, PoolStatus]:
        """Return the status before the pass, and the status after it."""
        # The status before is the one reported last: the API server may hold an older one for a second.
        before = self._reported.get(pool.name, pool.status)
        return before, status_of(report, before, datetime.fromtimestamp(self._wall(), UTC))
