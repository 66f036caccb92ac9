"""The operator process, from start to clean stop.

1. Serve health and metrics.
2. Fill the caches, leading or not: a standby that takes over decides at once.
3. Wait for the Lease.
4. While leading: kopf brings the pools, passes decide, Bindings follow the pools.
5. On SIGTERM finish the writes under way, tell what is left to tell, give the Lease back. On a lost Lease end at once:
   a fresh process is the simplest state there is.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Coroutine
from typing import Any

from computepool.act.bindings import Bindings
from computepool.act.evictor import Evictor
from computepool.act.fence import NotLeadingError
from computepool.act.pod_patcher import PodPatcher
from computepool.act.status_writer import StatusWriter
from computepool.app import collector
from computepool.app.caches import Caches
from computepool.app.callbacks import BurstAnswers, MoveAnswers
from computepool.app.election import Election, LostLeadershipError, Timing
from computepool.app.endpoints import HealthServer
from computepool.app.executor import Executor
from computepool.app.policy import PolicyKeeper
from computepool.app.pool_watch import PoolWatch
from computepool.app.pools import Pools
from computepool.app.quarantine_keeper import Quarantine
from computepool.app.reconciler import Reconciler
from computepool.app.settings import Settings
from computepool.app.staleness import StalenessMonitor
from computepool.app.uptime import uptime_clock
from computepool.app.work_queue import WorkQueue
from computepool.kube.access import Access, load_access
from computepool.kube.client import ApiClient
from computepool.kube.retry import Backoff
from computepool.observe.store import Store
from computepool.report.events import EventSink
from computepool.report.logs import log
from computepool.report.metrics import Metrics
from computepool.report.recorder import EventRecorder

_logger = logging.getLogger("computepool")
DRAIN_SECONDS = 5.0
FLUSH_SECONDS = 3.0
KOPF_SECONDS = 60.0
"""Longest delay before kopf starts anew."""
WARM_CONNECTIONS = 8
"""Kept open while nothing happens: enough for the first pods of a burst, and few beside the API server's watches."""


class Operator:
    """All parts of one process, wired together."""

    def __init__(self, settings: Settings, access: Access, client: ApiClient, lease_client: ApiClient) -> None:
        """`lease_client` is the election's own, so that a burst of patches never delays a renewal."""
        clock, wall = time.monotonic, time.time
        self._settings = settings
        self._client = client
        self._clock = clock
        self._rng = random.Random()
        self.metrics = Metrics()
        self._queue = WorkQueue(clock=clock, wall=wall)
        self._store = Store(self._queue.add, wall=wall, clock=clock, reserved_namespaces=settings.reserved)
        self._caches = Caches(client, self._store, clock=clock)
        self.election = Election(
            lease_client,
            namespace=settings.namespace,
            name=settings.lease_name,
            identity=settings.identity,
            timing=_timing(settings.lease_seconds),
            clock=uptime_clock(),
            wall=wall,
            rng=self._rng,
        )
        self._events = EventSink(client, settings.identity, wall=wall, dropped=self.metrics.events_dropped.inc)
        story = EventRecorder(self.metrics, self._events.queue)
        self._policy = PolicyKeeper(
            Bindings(client, self.election, settings.reserved), self._store, on_change=self._look_at_all
        )
        statuses = StatusWriter(client, self.election, lambda pool: self._pools.refresh(pool), rng=self._rng)
        self._quarantine = Quarantine(
            client,
            self.election,
            self._store,
            stale=self._stale,
            unread=lambda: self._pools.unread(),
            on_change=self._look_at_all,
            clock=clock,
            wall=wall,
            rng=self._rng,
        )
        self._acting = Executor(
            self._store,
            self._queue,
            PodPatcher(
                client, self.election, BurstAnswers(self._store, self._queue, clock=clock), wall=wall, rng=self._rng
            ),
            Evictor(
                client,
                self.election,
                MoveAnswers(self._store, self._queue, clock=clock),
                leaving=self._store.is_leaving,
                clock=clock,
                wall=wall,
                rng=self._rng,
            ),
            self._quarantine,
            statuses,
            story,
            self.metrics,
            stale=self._stale,
            clock=clock,
        )
        self._passes = Reconciler(
            self._store,
            self._queue,
            self._acting,
            statuses,
            story,
            self.metrics,
            stale=self._stale,
            unreadable=self._caches.unreadable,
            unfollowed=self._unfollowed,
            policy_missing=lambda: self._policy.missing,
            policy_unserved=lambda: self._policy.unserved,
            clock=clock,
            wall=wall,
        )
        self._pools = Pools(
            client,
            self._store,
            clock=clock,
            gone=self._passes.forget,
            changed=self._policy.wake,
            stated=self._passes.stated,
            retry_seconds=settings.retry_seconds,
        )
        backoff = Backoff(base=settings.retry_seconds, cap=KOPF_SECONDS, rng=self._rng)
        self._pool_watch = PoolWatch(access, self._pools, identity=settings.identity, backoff=backoff)
        self._ticks = StalenessMonitor(
            self._stale, self._caches.unreadable, self._unfollowed, on_turn=self._look_at_all
        )
        self.health = HealthServer(
            settings.host, settings.port, alive=self._alive, ready=self._stale, metrics=self._render
        )
        self._beat = clock()
        for resource in self._caches.reflectors:
            self.metrics.follow_age(resource, _age_of(self._caches, resource))

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set; raises LostLeadershipError or NotLeadingError where leadership is over."""
        await self.health.start()
        log(_logger, logging.INFO, "serving health and metrics", port=self.health.port)
        async with asyncio.TaskGroup() as background:
            tasks = [
                background.create_task(self._heartbeat()),
                background.create_task(self._caches.run()),
                background.create_task(self._events.run()),
                background.create_task(self._client.keep_warm(WARM_CONNECTIONS)),
            ]
            try:
                await self._lead(stop)
            finally:
                await self._acting.drain(DRAIN_SECONDS)
                await self._events.flush(FLUSH_SECONDS if stop.is_set() else 0.1)
                await self.election.release()
                for task in tasks:
                    task.cancel()
                await self.health.close()

    async def _lead(self, stop: asyncio.Event) -> None:
        if not await _unless(stop, self._caches.wait()) or not await _unless(stop, self.election.acquire()):
            return
        if self._store.sizes()[0] and not self._unfollowed() and not self._store.heartbeats.seen():
            log(_logger, logging.WARNING, "no node leases in kube-node-lease: silence of nodes will not be noticed")
        self.metrics.leader.set(1)
        self._store.moves.begin()
        await self._work(stop)

    async def _work(self, stop: asyncio.Event) -> None:
        """Do what only the leader does until told to stop, or until one part of it ends."""
        # Where the pools can't be listed yet, the lease is kept all the same.
        listed = self._pools.current
        parts = [
            asyncio.create_task(work, name=name)
            for name, work in (
                ("lease", self.election.hold()),
                ("pools", self._pools.run()),
                ("kopf", self._pool_watch.run()),
                ("policy", _after(listed, self._policy.run)),
                ("passes", _after(listed, self._passes.run)),
                ("quarantine", _after(listed, self._quarantine.run)),
                ("ticks", _after(listed, self._ticks.run)),
                ("stop", stop.wait()),
            )
        ]
        try:
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if task.get_name() != "stop":
                    task.result()
                    raise NotLeadingError(f"{task.get_name()} ended by itself")
        finally:
            for task in parts:
                task.cancel()
            await asyncio.gather(*parts, return_exceptions=True)

    def _stale(self) -> str:
        limit = self._settings.stale_seconds
        return self._caches.trouble(limit) or self._pools.trouble(limit)

    def _unfollowed(self) -> str:
        return self._caches.unfollowed(self._settings.stale_seconds)

    def _look_at_all(self) -> None:
        self._store.mark_all(self._clock())

    async def _heartbeat(self) -> None:
        while True:
            self._beat = self._clock()
            self._caches.tick()
            await asyncio.sleep(1.0)

    def _alive(self) -> str:
        late = self._clock() - self._beat
        return f"the loop has not come round for {late:.0f} s" if late > self._settings.lease_seconds else ""

    def _render(self) -> bytes:
        self.metrics.leader.set(int(self.election.leading))
        return self.metrics.render()


async def run(settings: Settings, stop: asyncio.Event) -> int:
    """Run one operator process until `stop` is set; return its exit code."""
    collector.begin()
    access = await load_access(settings.kubeconfig)
    async with ApiClient(access) as client, ApiClient(access, pool_size=4) as lease_client:
        try:
            await Operator(settings, access, client, lease_client).run(stop)
        except* (LostLeadershipError, NotLeadingError) as group:
            log(_logger, logging.ERROR, "no longer leading, ending", error=str(group.exceptions[0]))
            return_code = 1
        else:
            return_code = 0
    return return_code


def _timing(duration: float) -> Timing:
    default = Timing()
    scale = duration / default.duration
    return Timing(duration=duration, renew=default.renew * scale, retry=default.retry * scale)


def _age_of(caches: Caches, resource: str) -> Callable[[], float]:
    return lambda: caches.age(resource)


async def _after(event: asyncio.Event, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    await event.wait()
    await work()


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Run something unless told to stop first; say whether it came to its end."""
    task, stopped = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([task, stopped], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
            return True
        return False
    finally:
        for one in (task, stopped):
            one.cancel()
        await asyncio.gather(task, stopped, return_exceptions=True)
