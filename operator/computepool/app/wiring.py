"""Builds all parts of a process from its client, fence, clocks and settings. The tests use the same `build`."""

import logging
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from computepool.act.evictor import Evictor
from computepool.act.pod_patcher import PodPatcher
from computepool.act.policy_bindings import Bindings
from computepool.act.status_writer import CALM_SECONDS, RETRY_SECONDS, StatusWriter
from computepool.act.write_access import WriteAccess
from computepool.app.caches import Caches
from computepool.app.cluster_view import ClusterView
from computepool.app.executor import Executor, Writers
from computepool.app.lease_reader import LeaseReader
from computepool.app.policy_keeper import RETRY_SECONDS as POLICY_RETRY_SECONDS
from computepool.app.policy_keeper import PolicyKeeper
from computepool.app.pool_watch import REPEAT_SECONDS
from computepool.app.pools import Pools
from computepool.app.quarantine_keeper import QuarantineKeeper
from computepool.app.reconciler import Reconciler
from computepool.app.settings import Settings
from computepool.app.work_queue import MINOR_SECONDS, WorkQueue
from computepool.app.write_answers import BurstAnswers, MoveAnswers
from computepool.observe.demand_reader import AsksRanges, DemandReader
from computepool.observe.reflector import Tuning
from computepool.observe.signal_poller import INTERVAL_SECONDS, Asks, SignalPoller
from computepool.observe.store import Store
from computepool.report.event_recorder import EventRecorder
from computepool.report.events import EventSink
from computepool.report.logs import log
from computepool.report.metrics import Metrics

_logger = logging.getLogger("computepool")


class MetricsSource(Asks, AsksRanges, Protocol):
    """Answers queries of one moment, and of a range of time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Delays of the parts, which tests shorten."""

    reflectors: Tuning = field(default_factory=Tuning)
    status_calm_seconds: float = CALM_SECONDS
    status_retry_seconds: float = RETRY_SECONDS
    policy_retry_seconds: float = POLICY_RETRY_SECONDS
    minor_change_seconds: float = MINOR_SECONDS
    kopf_repeat_seconds: float = REPEAT_SECONDS


USUAL_PACE: Final = Pace()


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """All parts of one process, apart from leader election."""

    queue: WorkQueue
    store: Store
    caches: Caches
    leases: LeaseReader
    pools: Pools
    policy: PolicyKeeper
    view: ClusterView
    metrics: Metrics
    events: EventSink
    quarantine: QuarantineKeeper
    executor: Executor
    reconciler: Reconciler
    signals: SignalPoller
    demand: DemandReader


def build(
    settings: Settings,
    access: WriteAccess,
    pace: Pace = USUAL_PACE,
    *,
    metrics_source: MetricsSource | None = None,
    make_store: type[Store] = Store,
    make_metrics: type[Metrics] = Metrics,
) -> Parts:
    """Build the parts without starting them.

    `metrics_source`: answers the queries of signals; None if there is no source. `make_store` and `make_metrics` let
    tests replace these classes.
    """
    client, runtime = access.client, access.runtime
    metrics = make_metrics()
    queue = WorkQueue(clock=runtime.steady, wall=runtime.wall, minor_seconds=pace.minor_change_seconds)
    store = make_store(queue.add, wall=runtime.wall, clock=runtime.steady, reserved_namespaces=settings.reserved)

    def enqueue_all() -> None:
        store.enqueue_all(runtime.steady())

    caches = Caches(client, store, clock=runtime.steady, tuning=pace.reflectors)
    pools = Pools(client, store, clock=runtime.steady, retry_seconds=settings.retry_seconds)
    policy = PolicyKeeper(
        Bindings(client, access.fence, settings.reserved),
        store,
        on_change=enqueue_all,
        retry_seconds=pace.policy_retry_seconds,
    )
    leases = LeaseReader(client, store.heartbeats, clock=runtime.steady, on_answer=enqueue_all)
    view = ClusterView(caches, leases, pools, policy, stale_seconds=settings.stale_seconds)
    events = EventSink(client, settings.identity, wall=runtime.wall, dropped=metrics.events_dropped.inc)
    recorder = EventRecorder(metrics, events.queue)
    quarantine = QuarantineKeeper(access, store, view, on_change=enqueue_all)
    writers = Writers(
        patcher=PodPatcher(access, BurstAnswers(store, queue, clock=runtime.steady)),
        evictor=Evictor(access, MoveAnswers(store, queue, clock=runtime.steady), leaving=store.is_leaving),
        quarantine=quarantine,
        statuses=StatusWriter(
            access,
            pools.refresh,
            calm_seconds=pace.status_calm_seconds,
            retry_seconds=pace.status_retry_seconds,
        ),
    )
    executor = Executor(store, queue, writers, recorder, view, clock=runtime.steady)
    interval = INTERVAL_SECONDS if settings.metrics is None else settings.metrics.interval_seconds
    reconciler = Reconciler(store, queue, executor, recorder, view, runtime, signals_shown_seconds=interval)
    signals = SignalPoller(
        metrics_source,
        store,
        runtime,
        enforced=_enforced(settings),
        interval=interval,
        on_query=metrics.queried,
        on_change=reconciler.answered,
        on_failure=_log_failed_query,
    )
    pools.subscribe(gone=reconciler.forget, changed=policy.wake, stated=reconciler.stated)
    return Parts(
        queue=queue,
        store=store,
        caches=caches,
        leases=leases,
        pools=pools,
        policy=policy,
        view=view,
        metrics=metrics,
        events=events,
        quarantine=quarantine,
        executor=executor,
        reconciler=reconciler,
        signals=signals,
        demand=DemandReader(metrics_source, store, runtime, enforced=_enforced(settings), on_failure=_log_failed_query),
    )


def _enforced(settings: Settings) -> Mapping[str, str]:
    return {} if settings.metrics is None else settings.metrics.enforced_labels


def _log_failed_query(message: str, error: Exception) -> None:
    """Log an unexpected error without its text, which may repeat a credential of the source."""
    where = "".join(traceback.format_tb(error.__traceback__))
    log(_logger, logging.ERROR, message, error=type(error).__name__, traceback=where)
