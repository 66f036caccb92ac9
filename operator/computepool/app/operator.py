"""The operator process, from start to clean stop.

1. Serve health and metrics.
2. Fill the caches, so that a replica that takes over decides at once.
3. Wait for the Lease, and record the leader for the API server's fence.
4. While leading: kopf brings the pools, passes decide, Bindings follow the pools.
5. On SIGTERM finish the writes under way, send the remaining events, give the Lease back. On a lost Lease end at once,
   because a new process has the simplest state.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

from computepool.act.write_access import NotLeadingError, WriteAccess
from computepool.app import garbage_collection
from computepool.app.clock import NeverBack
from computepool.app.election import Election, LeaseCandidate, LostLeadershipError, Timing
from computepool.app.endpoints import HealthServer
from computepool.app.leader_record import LeaderRecord
from computepool.app.pool_watch import PoolWatch
from computepool.app.settings import Settings
from computepool.app.trouble_log import TroubleLog
from computepool.app.uptime_clock import uptime_clock
from computepool.app.wiring import USUAL_PACE, MetricsSource, Pace, build
from computepool.kube.client import ApiClient
from computepool.kube.credentials import Access, load_access
from computepool.kube.retry import Backoff
from computepool.kube.runtime import Runtime
from computepool.prometheus.client import PrometheusClient
from computepool.report.logs import log

_logger = logging.getLogger("computepool")
DRAIN_SECONDS = 5.0
FLUSH_SECONDS = 3.0
KOPF_SECONDS = 60.0
"""Longest delay before kopf starts again."""
WARM_CONNECTIONS = 8
"""Connections kept open while nothing happens: enough for the first pods of a burst, and few for the API server."""


class Operator:
    """One process, which leads or waits for the Lease."""

    def __init__(
        self,
        settings: Settings,
        access: Access,
        client: ApiClient,
        lease_client: ApiClient,
        pace: Pace,
        metrics_source: MetricsSource | None = None,
    ) -> None:
        """Only the election uses `lease_client`, so that a burst of patches never delays a renewal.

        `pace`: the delays of the parts; `metrics_source`: answers the queries of signals.
        """
        runtime = Runtime(wall=NeverBack())
        uptime = replace(runtime, steady=uptime_clock())
        candidate = LeaseCandidate(namespace=settings.namespace, lease=settings.lease_name, identity=settings.identity)
        self._client = client
        self._clock = runtime.steady
        self._max_beat_seconds = settings.lease_seconds
        self.election = Election(
            lease_client, candidate, uptime, timing=_timing(settings.lease_seconds), trouble=self._trouble
        )
        write_access = WriteAccess(client, self.election, runtime, settings.identity)
        self.parts = build(settings, write_access, pace, metrics_source=metrics_source)
        self._record = LeaderRecord(write_access, namespace=settings.namespace, lease=settings.lease_name)
        backoff = Backoff(base=settings.retry_seconds, cap=KOPF_SECONDS, rng=runtime.rng)
        self._pool_watch = PoolWatch(
            access,
            self.parts.pools,
            identity=settings.identity,
            backoff=backoff,
            repeat_seconds=pace.kopf_repeat_seconds,
        )
        self.health = HealthServer(
            settings.host, settings.port, alive=self._alive, ready=self._unready, metrics=self._render
        )
        self._told = TroubleLog(self._clock)
        self._beat = self._clock()
        for resource in self.parts.caches.reflectors:
            self.parts.metrics.follow_age(resource, partial(self.parts.caches.age, resource))

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set. Raises LostLeadershipError or NotLeadingError when leadership is over."""
        await self.health.start()
        log(_logger, logging.INFO, "serving health and metrics", port=self.health.port)
        async with asyncio.TaskGroup() as background:
            tasks = [
                background.create_task(self._heartbeat()),
                background.create_task(self.parts.caches.run()),
                background.create_task(self.parts.events.run()),
                background.create_task(self._client.keep_warm(WARM_CONNECTIONS)),
            ]
            try:
                await self._lead(stop)
            finally:
                await self.parts.executor.drain(DRAIN_SECONDS)
                await self.parts.events.flush(FLUSH_SECONDS if stop.is_set() else 0.1)
                await self.election.release()
                for task in tasks:
                    task.cancel()
                await self.health.close()

    async def _lead(self, stop: asyncio.Event) -> None:
        if not await _unless(stop, self.parts.caches.wait_unless_denied()) or not await _unless(
            stop, self.election.acquire()
        ):
            return
        if self.parts.store.sizes()[0] and not self.parts.view.unfollowed() and not self.parts.store.heartbeats.seen():
            log(_logger, logging.WARNING, "no node leases in kube-node-lease: silence of nodes will not be noticed")
        self.parts.metrics.leader.set(1)
        self.parts.store.moves.begin()
        await self._work(stop)

    async def _work(self, stop: asyncio.Event) -> None:
        """Run the leader's tasks until `stop` is set or one of them ends."""
        # The other tasks wait for the record, and then for the first list of pools. The Lease is renewed meanwhile.
        recorded, listed = self._record.settled, self.parts.pools.current
        tasks = [
            asyncio.create_task(work, name=name)
            for name, work in (
                ("lease", self.election.hold()),
                ("record", self._record.run()),
                ("pools", _after(recorded, self.parts.pools.run)),
                ("kopf", _after(recorded, self._pool_watch.run)),
                ("policy", _after(listed, self.parts.policy.run)),
                ("passes", _after(listed, self.parts.reconciler.run)),
                ("quarantine", _after(listed, self.parts.quarantine.run)),
                ("leases of silent nodes", _after(listed, self.parts.leases.run)),
                ("signals", _after(listed, self.parts.signals.run)),
                ("demand", _after(listed, self.parts.demand.run)),
                ("ticks", _after(listed, self._check_view)),
                ("stop", stop.wait()),
            )
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if task.get_name() != "stop":
                    task.result()
                    raise NotLeadingError(f"{task.get_name()} ended by itself")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _check_view(self) -> None:
        while True:
            self.parts.reconciler.check_view()
            await asyncio.sleep(1.0)

    async def _heartbeat(self) -> None:
        while True:
            self._beat = self._clock()
            self.parts.caches.tick()
            self._told.note(self._unready() or self.parts.view.unfollowed())
            await asyncio.sleep(1.0)

    def _alive(self) -> str:
        silent = self._clock() - self._beat
        return f"the event loop has not run for {silent:.0f} s" if silent > self._max_beat_seconds else ""

    def _unready(self) -> str:
        refused = "" if self.election.leading else self.election.denied
        election = f"this process can't be elected: {refused}" if refused else ""
        return election or self._trouble()

    def _trouble(self) -> str:
        """Return why this process can't do the work of a leader; empty if it can."""
        return self._record.trouble() or self.parts.view.stale() or self.parts.executor.status_trouble()

    def _render(self) -> bytes:
        self.parts.metrics.leader.set(int(self.election.leading))
        return self.parts.metrics.render()


async def run(settings: Settings, stop: asyncio.Event, pace: Pace = USUAL_PACE) -> int:
    """Run one operator process until `stop` is set; return its exit code."""
    garbage_collection.begin()
    access = await load_access(settings.kubeconfig, settings.context)
    async with (
        ApiClient(access) as client,
        ApiClient(access, pool_size=4) as lease_client,
        nullcontext() if settings.metrics is None else PrometheusClient(settings.metrics) as metrics_source,
    ):
        try:
            await Operator(settings, access, client, lease_client, pace, metrics_source).run(stop)
        except* (LostLeadershipError, NotLeadingError) as group:
            log(_logger, logging.ERROR, "no longer leading, ending", error=str(group.exceptions[0]))
            exit_code = 1
        else:
            exit_code = 0
    return exit_code


def _timing(duration: float) -> Timing:
    default = Timing()
    scale = duration / default.duration
    return Timing(duration=duration, renew=default.renew * scale, retry=default.retry * scale)


async def _after(event: asyncio.Event, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    await event.wait()
    await work()


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Run `work` until it ends or `stop` is set; return whether it ended. Raises the errors of `work`."""
    tasks = worker, _ = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if worker.done():
            worker.result()
            return True
        return False
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
