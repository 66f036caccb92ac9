"""The operator's working parts as one process in front of a fake API server, and a scheduler beside it.

A process can be killed: all that it was doing ends at that moment, and nothing that it knew is left. kopf is played by
the fake server itself, which tells the pools' changes as they happen; leadership is a fence that a test opens.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

from computepool.act.write_access import WriteAccess
from computepool.app.settings import Settings
from computepool.app.wiring import Pace, build
from computepool.kube.client import ApiClient
from computepool.kube.credentials import static_access
from computepool.kube.runtime import Runtime
from computepool.observe.reflector import Tuning
from computepool.observe.store import Store
from computepool.report.metrics import Metrics
from tests.fakes.apiserver import COMPUTEPOOLS, FakeApiServer
from tests.fakes.objectstore import Change
from tests.fakes.waiting import PATIENCE
from tests.unit.act.writing import Lease

RETRY = 0.01
"""Seconds between attempts, shorter than for a real API server."""
_owner: ContextVar[Process | None] = ContextVar("owner", default=None)


class Process:
    """One life of the operator; `wall` is the time of day, `calm` how long a status that is not urgent waits.

    `waits` counts the waits between attempts to patch that are over.
    """

    def __init__(
        self,
        server: FakeApiServer,
        wall: Callable[[], float],
        *,
        clock: Callable[[], float] = time.monotonic,
        calm: float = RETRY,
        store: type[Store] = Store,
        metrics: type[Metrics] = Metrics,
    ) -> None:
        self.server = server
        self.clock = clock
        self.tasks: set[asyncio.Task[Any]] = set()
        self.waits = 0
        self._life: list[asyncio.Task[None]] = []
        self.lease = Lease()
        self.client = ApiClient(static_access(server.url), timeout=PATIENCE)
        settings = Settings(
            namespace="computepool-system", identity="operator-1", retry_seconds=RETRY, stale_seconds=60.0
        )
        runtime = Runtime(wall=wall, steady=clock, rng=random.Random(1), sleep=self._wait)
        pace = Pace(
            reflectors=Tuning(backoff_base=RETRY, backoff_cap=RETRY, inactivity=PATIENCE, list_timeout=PATIENCE),
            status_calm_seconds=calm,
            status_retry_seconds=RETRY,
            policy_retry_seconds=RETRY,
            minor_change_seconds=RETRY,
        )
        access = WriteAccess(self.client, self.lease, runtime, "me")
        self.parts = build(settings, access, pace, make_store=store, make_metrics=metrics)
        self.store, self.metrics, self.pools = self.parts.store, self.parts.metrics, self.parts.pools

    def start(self) -> None:
        """Begin this life."""
        token = _owner.set(self)
        try:
            self.spawn(self._live())
        finally:
            _owner.reset(token)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Add a part that has no end."""
        self._life.append(asyncio.get_running_loop().create_task(work))

    @property
    def ended(self) -> BaseException | None:
        """What has ended one of its parts; None while nothing has."""
        failed = [part.exception() for part in self._life if part.done() and not part.cancelled()]
        return next((error for error in failed if error is not None), None)

    def kill(self) -> None:
        """End everything that it does, now."""
        self.server.store.listeners[:] = [known for known in self.server.store.listeners if known != self._pool_changed]
        for task in self.tasks:
            task.cancel()

    async def gone(self) -> None:
        """Wait until nothing of it is left."""
        self.kill()
        while pending := [task for task in self.tasks if not task.done()]:
            await asyncio.wait(pending)
            self.kill()
        await self.client.close()

    async def stop(self) -> None:
        """End in good order, as on SIGTERM."""
        await self.parts.executor.drain(PATIENCE)
        await self.parts.events.flush(PATIENCE)
        await self.gone()

    async def _live(self) -> None:
        self.spawn(self.parts.caches.run())
        self.spawn(self.parts.events.run())
        await self.parts.caches.wait()
        self.server.store.listeners.append(self._pool_changed)
        self.spawn(self.pools.run())
        await self.pools.current.wait()
        self.spawn(self.parts.policy.run())
        self.spawn(self.parts.reconciler.run())
        self.spawn(self.parts.quarantine.run())
        self.spawn(self.parts.leases.run())

    def _pool_changed(self, collection: str, change: Change) -> None:
        if collection == COMPUTEPOOLS:
            asyncio.get_running_loop().call_soon(self._heard, change)

    def _heard(self, change: Change) -> None:
        self.pools.heard(change.type, change.item)

    async def _wait(self, _seconds: float) -> None:
        await asyncio.sleep(RETRY)
        self.waits += 1


def _make_task(
    loop: asyncio.AbstractEventLoop,
    work: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
    **how: Any,
) -> asyncio.Task[Any]:
    """Make a task, and give it to the process that makes it."""
    task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **how)
    owner = _owner.get()
    if owner is not None:
        owner.tasks.add(task)
    return task


@asynccontextmanager
async def living(server: FakeApiServer, wall: Callable[[], float], **how: Any) -> AsyncIterator[Process]:
    """A process that lives as long as the block; an error that ended it is raised."""
    asyncio.get_running_loop().set_task_factory(_make_task)
    process = Process(server, wall, **how)
    process.start()
    try:
        yield process
    finally:
        error = process.ended
        await process.gone()
        if error is not None:
            raise error
