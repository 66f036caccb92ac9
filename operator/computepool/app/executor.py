"""Carries out plans in the background. Each write is a task, and is dropped if the pool's spec has changed since."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

from computepool.act.evictor import Evictor, budget_words
from computepool.act.pod_patcher import PodPatcher
from computepool.act.status_writer import StatusWriter
from computepool.act.tasks import BackgroundTasks
from computepool.act.write_access import NotLeadingError
from computepool.app.cluster_view import View
from computepool.app.quarantine_keeper import QuarantineKeeper
from computepool.app.refused_writes import FailedMoves, FailedPatches
from computepool.app.work_queue import WorkQueue
from computepool.assess.assessment import Assessment
from computepool.decide.move.revalidate import Revalidation
from computepool.decide.plan import Burst, LabelFix, Move, Plan
from computepool.kube.errors import ApiError
from computepool.model.api import ComputePool, Mode, PoolStatus
from computepool.model.reasons import Reason
from computepool.model.snapshot import Snapshot
from computepool.observe.store import Store
from computepool.report.event_recorder import EventRecorder
from computepool.report.logs import log
from computepool.report.metrics import MoveResult

_logger = logging.getLogger("computepool")


@dataclass(frozen=True, slots=True, kw_only=True)
class Writers:
    """The parts that write to the cluster."""

    patcher: PodPatcher
    evictor: Evictor
    quarantine: QuarantineKeeper
    statuses: StatusWriter


class Executor:
    """The writes under way."""

    def __init__(
        self,
        store: Store,
        queue: WorkQueue,
        writers: Writers,
        recorder: EventRecorder,
        view: View,
        *,
        clock: Callable[[], float],
    ) -> None:
        """Nothing is written yet. `clock` is monotonic."""
        self._store = store
        self._queue = queue
        self._patcher = writers.patcher
        self._evictor = writers.evictor
        self._quarantine = writers.quarantine
        self._statuses = writers.statuses
        self._recorder = recorder
        self._view = view
        self._clock = clock
        self._latest: dict[str, Revalidation] = {}
        self._left_alone: set[str] = set()
        self._tasks = BackgroundTasks()
        self._stopping = False
        self._unpatched = FailedPatches()
        self._unmoved = FailedMoves()
        self.lost = asyncio.Event()
        """Set when a write has found that leadership is over."""

    def hold_verdicts(self, snapshot: Snapshot, assessment: Assessment, now: float) -> None:
        """Keep the latest pass's verdicts, against which waiting moves are revalidated."""
        resource = snapshot.pool.spec.accelerator.resource_name
        self._latest[snapshot.pool.name] = Revalidation(assessment, resource, now)
        self._left_alone.discard(snapshot.pool.name)

    def leave_alone(self, pool: str) -> None:
        """Begin no more writes for a pool until its next pass; the taints of its nodes stay as they are."""
        self._left_alone.add(pool)
        self._quarantine.want(pool, None)

    def trouble(self, snapshot: Snapshot, plan: Plan) -> str:
        """Return which of the pool's writes fail; empty if there are none."""
        if snapshot.pool.spec.mode is Mode.OBSERVE:
            self._unmoved.forget(snapshot.pool.name)
        troubles = (
            self._unpatched.standing(snapshot),
            self._unmoved.standing(snapshot, plan),
            self._quarantine.trouble(snapshot.pool.name),
        )
        return "; ".join(filter(None, troubles))

    def are_known_failures(self, pool: str, bursts: Iterable[Burst]) -> bool:
        """Say whether all these bursts repeat failed ones, which were reported then."""
        return self._unpatched.known(pool, bursts)

    def carry_out(self, pool: ComputePool, plan: Plan, at: float) -> None:
        """Send pods to standbys, or correct labels, and quarantine nodes. `at`: monotonic time of the pass's cause."""
        self._quarantine.want(pool.name, plan.quarantine)
        if plan.bursts:
            self._spawn(self._burst(pool, self._patcher.start(plan.bursts), at))
        elif plan.label_fixes:
            self._spawn(self._fix_labels(pool, plan.label_fixes))

    def move(self, pool: ComputePool, moves: tuple[Move, ...], status: PoolStatus) -> None:
        """Evict pods after `status`, which counts these moves, is written."""
        started = self._evictor.start(pool.name, moves)
        if started:
            self._spawn(self._move(pool, started, status))

    def status_trouble(self) -> str:
        """Return why the API server does not let this process write statuses; empty if it does."""
        return self._statuses.trouble()

    def want_status(self, pool: ComputePool, status: PoolStatus) -> None:
        """Have a pool's status written soon."""
        self._statuses.want(pool, status)

    async def drain(self, seconds: float) -> None:
        """Wait at most `seconds` for the writes under way; the next leader makes those that have not begun."""
        self._stopping = True
        try:
            async with asyncio.timeout(seconds):
                await self._tasks.join()
                await self._statuses.flush()
        except TimeoutError:
            log(_logger, logging.WARNING, "writes left unfinished", tasks=len(self._tasks))
        finally:
            await self._tasks.cancel()
            await self._patcher.settle()
            await self._evictor.settle()
            await self._statuses.settle()

    def forget(self, pool: str) -> None:
        """Drop everything about a pool that is gone."""
        self._latest.pop(pool, None)
        self._left_alone.discard(pool)
        self._unpatched.forget(pool)
        self._unmoved.forget(pool)
        self._quarantine.forget(pool)
        self._statuses.forget(pool)

    async def _burst(self, pool: ComputePool, bursts: tuple[Burst, ...], at: float) -> None:
        outcome = await self._patcher.burst(
            bursts,
            wanted=lambda: self._still_wanted(pool),
            answered=lambda: self._recorder.metrics.burst_latency.observe(self._clock() - at),
        )
        self._unpatched.answered(pool.name, (*outcome.done, *(burst for burst, _ in outcome.refused)))
        if outcome.done:
            self._recorder.record_bursts(pool, outcome.done, self._clock() - at)
        if (outcome.refused or outcome.failed) and self._is_same(pool):
            self._unpatched.note(pool.name, outcome.failed)
            self._recorder.record_unsent(pool, outcome.refused, outcome.failed, self._clock())
            self._queue.add(pool.name, self._clock())
        self._forget_if_gone(pool)

    async def _fix_labels(self, pool: ComputePool, fixes: tuple[LabelFix, ...]) -> None:
        written = await self._patcher.fix_labels(fixes)
        if pool.name in self._store.pools and self._recorder.record_admitted(pool, written):
            self._queue.add(pool.name, self._clock(), minor=True)

    async def _move(self, pool: ComputePool, moves: tuple[Move, ...], status: PoolStatus) -> None:
        # Invariants 6 and 8: the count of moves is in the cluster before the first eviction, so that the next leader
        # keeps within the limits.
        try:
            await self._statuses.put(pool, status)
        except ApiError as error:
            # The cause may last, as where the pool is gone. So the retry is not immediate.
            self._evictor.put_off(moves, error)
            log(_logger, logging.WARNING, "moves put off, their count is not written", pool=pool.name, error=str(error))
            return
        except BaseException:
            self._evictor.drop(moves)
            raise
        outcome = await self._evictor.move(moves, why_not=lambda move: self._why_not(pool, move))
        words = {move.pod.uid: budget_words(error) for move, error in outcome.refused}
        words.update((move.pod.uid, f"{why}: {why.help}") for move, why in outcome.dropped)
        words.update((move.pod.uid, str(error)) for move, error in outcome.failed)
        refused = [move for move, _ in outcome.refused]
        for result, of_result in (
            (MoveResult.MOVED, [move for move in outcome.done if not move.release]),
            (MoveResult.RELEASED, [move for move in outcome.done if move.release]),
            (MoveResult.REFUSED, refused),
            (MoveResult.GONE, outcome.gone),
            (MoveResult.FAILED, [move for move, _ in outcome.failed]),
            (MoveResult.DROPPED, [move for move, _ in outcome.dropped]),
        ):
            if of_result:
                self._recorder.record_moves(pool, of_result, result, words)
        self._unmoved.answered(pool.name, (*outcome.done, *outcome.gone, *refused))
        if outcome.failed and self._is_same(pool):
            self._unmoved.note(pool.name, outcome.failed)
        if pool.name in self._store.pools:
            self._queue.add(pool.name, self._clock())
        self._forget_if_gone(pool)

    def _why_not(self, pool: ComputePool, move: Move) -> Reason | None:
        """Return why a move is no longer right just before the eviction, by the view, the spec, the pod, the target."""
        if self._view.stale():
            return Reason.CACHE_STALE
        latest = self._latest.get(pool.name)
        if latest is None or not self._still_wanted(pool):
            return Reason.SUPERSEDED
        pod = self._store.pod(move.pod.uid)
        if pod is None or pod.node != move.pod.node or pod.deleting is not None:
            return Reason.ALREADY_LEFT
        return latest.why_not(move)

    def _still_wanted(self, pool: ComputePool) -> bool:
        """Say whether a waiting write may be sent: only under the spec by which it was decided."""
        return not self._stopping and pool.name not in self._left_alone and self._is_same(pool)

    def _is_same(self, pool: ComputePool) -> bool:
        now = self._store.pools.get(pool.name)
        return now is not None and _spec_of(now) == _spec_of(pool)

    def _forget_if_gone(self, pool: ComputePool) -> None:
        if pool.name not in self._store.pools:
            # Otherwise the metrics of a deleted pool would stay.
            self._recorder.forget(pool.name)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.spawn(work, self._ended)

    def _ended(self, error: BaseException | None) -> None:
        if isinstance(error, NotLeadingError):
            self.lost.set()
        if error is not None:
            log(_logger, logging.ERROR, "write ended", error=repr(error))


def _spec_of(pool: ComputePool) -> tuple[str, int]:
    """Return the uid and generation, which identify one spec of a pool."""
    return pool.metadata.uid, pool.metadata.generation
