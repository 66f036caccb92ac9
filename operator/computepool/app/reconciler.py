"""Passes: take a snapshot of one pool, decide, act and report. The loop runs passes while this process leads."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from computepool.act.write_access import NotLeadingError
from computepool.app.cluster_view import View, ViewFaults, faults_of
from computepool.app.executor import Executor
from computepool.app.pool_backoff import PoolBackoff
from computepool.app.work_queue import WorkQueue
from computepool.assess.signals.answers_due import answers_due
from computepool.assess.signals.pool_signals import Signals
from computepool.decide.invariants import InvariantBreachError
from computepool.decide.plan import Plan
from computepool.decide.reconcile import Reconciled, reconcile
from computepool.decide.refused_patches import is_repeated
from computepool.kube.runtime import Runtime
from computepool.model.api import ComputePool, Mode, PoolStatus
from computepool.model.snapshot import Snapshot
from computepool.model.state import PoolState, recorded_in, restarted
from computepool.observe.signal_poller import INTERVAL_SECONDS
from computepool.observe.store import Store
from computepool.report.event_recorder import EventRecorder
from computepool.report.logs import log, log_failure
from computepool.report.pass_report import Gaps, PassReport, admission_gap
from computepool.report.status import failed_status, status_of, unseen_status

_logger = logging.getLogger("computepool")
SHARE = 0.1
"""Part of the time that decisions take while changes keep coming. The rest is for reading and writing."""
PAUSE_SECONDS = 0.05
"""The longest pause after a round of passes."""
MOVING_PAUSE_SECONDS = 0.25
"""The longest pause after a round in which each pass begins moves. Such a pass writes its status before its evictions,
and the replacements get their tolerations at admission. So nothing waits for the next pass, and fewer passes end
sooner."""

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
        signals_shown_seconds: float = INTERVAL_SECONDS,
    ) -> None:
        """`decide` is `reconcile`, or a test's replacement of it. `signals_shown_seconds`: how long a new answer
        that changes no verdict may wait for a pass, and people for its value.
        """
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
        self._signals: dict[str, Signals] = {}
        self._signals_shown_seconds = signals_shown_seconds

    async def run(self) -> None:
        """Run passes until cancelled, or until leadership is in doubt: then raise NotLeadingError."""
        while True:
            await self._round(await self._queue.take())

    def stated(self, pool: ComputePool) -> None:
        """Queue a pool if its status in the cluster differs from the status that was reported last.

        The operator's own write can cause one such pass, which writes nothing new. There is no loop, even if the API
        server stores a status other than the one it got: answers to the operator's writes do not come here, and a write
        that changes nothing makes no event.
        """
        reported = self._reported.get(pool.name)
        if reported is not None and reported != pool.status:
            self._queue.add(pool.name, self._clock())

    def answered(self, name: str) -> None:
        """Queue a pool whose signals from metrics have new answers: at once if they may change a verdict."""
        now, verdicts = self._wall(), self._signals.get(name)
        try:
            pool, data = self._store.pools[name], self._store.signals(name)
            due = now if verdicts is None else answers_due(verdicts, pool, data, now, self._signals_shown_seconds)
        except Exception:  # noqa: BLE001 - the pass over the pool meets the same error, and reports it
            due = now
        if due > now:
            self._queue.add_by(name, due)
        else:
            self._queue.add(name, self._clock(), minor=True)

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
        self._signals.pop(pool, None)
        self._executor.forget(pool)
        self._queue.forget(pool)
        self._recorder.forget(pool)

    async def _round(self, changed: dict[str, float]) -> None:
        """Run a pass over each pool, pause once for all of them, then publish the reports that could wait.

        During the pause the writes begin, and changes arrive that the next passes share.
        """
        reports, seconds = list[PassReport](), 0.0
        for name, at in changed.items():
            if self._executor.lost.is_set():
                raise NotLeadingError("a write found that leadership is over")
            began = self._clock()
            if self._is_ready(name):
                with self._guarded(name):
                    if self._view.is_complete():
                        reports.append(self._run_pass(name, at))
                    else:
                        self._report_unseen(self._store.pools[name])
            seconds += self._clock() - began
            await asyncio.sleep(0)
        longest = MOVING_PAUSE_SECONDS if all(map(_evicts, reports)) else PAUSE_SECONDS
        await asyncio.sleep(min(longest, seconds * (1 / SHARE - 1)))
        for report in reports:
            with self._guarded(report.snapshot.pool.name):
                if not _evicts(report):
                    self._publish(report)
                self._backoff.forget(report.snapshot.pool.name)

    def _is_ready(self, name: str) -> bool:
        """Say whether the pool still exists and may be tried now; if it may be tried later, set its timer."""
        if name not in self._store.pools:
            return False
        remaining = self._backoff.remaining(name)
        if remaining > 0.0:
            self._queue.add_at(name, self._wall() + remaining)
        return remaining == 0.0

    @contextmanager
    def _guarded(self, name: str) -> Iterator[None]:
        """Leave the pool alone for a while if the block ends in an unexpected error."""
        try:
            yield
        except NotLeadingError:
            raise
        except Exception as error:  # noqa: BLE001 - after any error the other pools go on
            if name in self._store.pools:
                self._leave_alone(name, error)

    def _leave_alone(self, name: str, error: Exception) -> None:
        seconds = self._backoff.failed(name)
        self._executor.leave_alone(name)
        self._queue.add_at(name, self._wall() + seconds)
        self._metrics.pass_failures.labels(name).inc()
        for breach in error.breaches if isinstance(error, InvariantBreachError) else ():
            self._metrics.invariant_breached(name, breach.invariant)
            facts = {"invariant": breach.invariant, "facts": breach.facts}
            log(_logger, logging.ERROR, "decision breaks an invariant, nothing of it is done", pool=name, **facts)
        facts = {"seconds": seconds, "advice": "nothing changes for this pool until a pass succeeds: report this line"}
        log_failure(_logger, "pass failed, the pool is left alone for a while", error, pool=name, **facts)
        try:
            self._publish_failure(self._store.pools[name], error)
        except NotLeadingError:
            raise
        except Exception as second:  # noqa: BLE001 - a report that can't be made must not end the leader either
            log_failure(_logger, "the failed pass can't be reported in the pool's status", second, pool=name)

    def _publish_failure(self, pool: ComputePool, error: Exception) -> None:
        """Have the pool's status say that its pass failed. The next pass that succeeds replaces that."""
        before = self._reported.get(pool.name, pool.status)
        self._put_status(pool, before, failed_status(pool, error, before, datetime.fromtimestamp(self._wall(), UTC)))

    def _put_status(self, pool: ComputePool, before: PoolStatus, status: PoolStatus) -> None:
        """Have a status written that no pass has made."""
        self._metrics.show_conditions(pool.name, status.conditions)
        self._reported[pool.name] = status
        self._recorder.record_status(pool, before, status)
        self._executor.want_status(pool, status)

    def _report_unseen(self, pool: ComputePool) -> None:
        """Have the status of a pool say that nothing of the cluster was seen yet. Its other figures stay.

        A process leads without a view only where the API server denies it a part of the view.
        """
        faults = self._view_faults[pool.name] = faults_of(self._view)
        self._executor.leave_alone(pool.name)
        before = self._reported.get(pool.name, pool.status)
        now = datetime.fromtimestamp(self._wall(), UTC)
        self._put_status(pool, before, unseen_status(pool, faults.stale, before, now, denied=faults.denied))

    def _run_pass(self, name: str, at: float) -> PassReport:
        # Before anything can fail, and be counted.
        self._metrics.begin(self._store.pools[name])
        report = self._decide(name)
        pool = report.snapshot.pool
        if self._backoff.failing(name):
            # A report that can't be made must fail before anything is written.
            self._status(report, pool)
        self._carry_out(report, at)
        # The status must count the moves before the first eviction.
        if _evicts(report) and (status := self._publish(report)) is not None:
            self._executor.move(pool, report.plan.moves, status)
        return report

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
        self._signals[name] = decided.assessment.signals
        self._queue.add_at(name, decided.plan.recheck_at)
        self._view.read_leases(decided.plan.leases_to_read)
        self._executor.hold_verdicts(snapshot, decided.assessment, now)
        return self._report_of(snapshot, decided, faults)

    def _report_of(self, snapshot: Snapshot, decided: Reconciled, faults: ViewFaults) -> PassReport:
        pool, plan = snapshot.pool, decided.plan
        failed = self._executor.trouble(snapshot, plan)
        gap = admission_gap(
            pool.spec.admission.mode, missing=self._view.policy_missing(), unserved=self._view.policy_unserved()
        )
        observed = pool.spec.mode is Mode.OBSERVE
        if observed:
            announced_bursts = self._recorder.announced(pool.name, plan.bursts)
        else:
            new = [burst for burst in plan.bursts if not is_repeated(snapshot, burst)]
            announced_bursts = self._executor.are_known_failures(pool.name, new)
        return PassReport(
            snapshot,
            decided.assessment,
            plan,
            decided.state,
            Gaps(faults.unreadable, faults.unfollowed, gap, faults.denied),
            failed,
            announced_bursts=announced_bursts,
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
        self._metrics.passed(report, status.conditions)
        self._reported[pool.name] = status
        self._recorder.record_status(pool, before, status)
        self._recorder.record_outcomes(pool, report.snapshot.moves)
        self._recorder.record_unknown_providers(report)
        now = self._wall()
        self._recorder.note_admission(report, now)
        for recheck_at in (
            self._recorder.record_nodes(report, now),
            self._recorder.record_waiting(report, now),
            self._recorder.record_admitted_pods(pool, now),
        ):
            if recheck_at is not None:
                self._queue.add_by(pool.name, recheck_at)
        self._executor.want_status(pool, status)
        return status

    def _status(self, report: PassReport, pool: ComputePool) -> tuple[PoolStatus, PoolStatus]:
        """Return the status before the pass, and the status after it."""
        # The status before is the one reported last: the API server may hold an older one for a second.
        before = self._reported.get(pool.name, pool.status)
        return before, status_of(report, before, datetime.fromtimestamp(self._wall(), UTC))


def _evicts(report: PassReport) -> bool:
    """Say whether the pass begins moves, so that its status can't wait."""
    return bool(report.plan.moves) and report.snapshot.pool.spec.mode is Mode.ENFORCE
