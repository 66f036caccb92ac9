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

from computepool.act.bindings import Bindings
from computepool.act.evictor import Evictor
from computepool.act.pod_patcher import PodPatcher
from computepool.act.status_writer import StatusWriter
from computepool.app.caches import Caches
from computepool.app.callbacks import BurstAnswers, MoveAnswers
from computepool.app.executor import Executor
from computepool.app.policy import PolicyKeeper
from computepool.app.pools import Pools
from computepool.app.quarantine_keeper import Quarantine
from computepool.app.reconciler import Reconciler
from computepool.app.work_queue import WorkQueue
from computepool.kube.access import static_access
from computepool.kube.client import ApiClient
from computepool.observe.reflector import Tuning
from computepool.observe.store import Store
from computepool.report.events import EventSink
from computepool.report.metrics import Metrics
from computepool.report.recorder import EventRecorder
from tests.fakes.apiserver import COMPUTEPOOLS, FakeApiServer
from tests.fakes.objectstore import Change
from tests.fakes.waiting import PATIENCE
from tests.unit.act.writing import Lease

RETRY = 0.01
"""Seconds between attempts, in place of those that a real API server is given."""
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
        self._parts: list[asyncio.Task[None]] = []
        self.lease = Lease()
        self.metrics = metrics()
        self.client = ApiClient(static_access(server.url), timeout=PATIENCE)
        rng = random.Random(1)
        self.dirty = WorkQueue(clock=clock, wall=wall)
        self.store = store(self.dirty.add, wall=wall, reserved_namespaces=("kube-system",))
        tuning = Tuning(backoff_base=RETRY, backoff_cap=RETRY, inactivity=PATIENCE, list_timeout=PATIENCE)
        self.caches = Caches(self.client, self.store, clock=clock, tuning=tuning)
        self.events = EventSink(self.client, "operator-1", wall=wall, dropped=self.metrics.events_dropped.inc)
        bindings = Bindings(self.client, self.lease, ("kube-system",))
        self.policy = PolicyKeeper(bindings, self.store, on_change=self._look_at_all, retry_seconds=RETRY)
        statuses = StatusWriter(
            self.client,
            self.lease,
            lambda pool: self.pools.refresh(pool),
            rng=rng,
            calm_seconds=calm,
            retry_seconds=RETRY,
        )
        story = EventRecorder(self.metrics, self.events.queue)
        self.quarantine = Quarantine(
            self.client,
            self.lease,
            self.store,
            stale=self._stale,
            unread=lambda: self.pools.unread(),
            on_change=self._look_at_all,
            clock=clock,
            wall=wall,
            rng=rng,
            sleep=self._wait,
        )
        self.acting = Executor(
            self.store,
            self.dirty,
            PodPatcher(
                self.client,
                self.lease,
                BurstAnswers(self.store, self.dirty, clock=clock),
                wall=wall,
                rng=rng,
                sleep=self._wait,
            ),
            Evictor(
                self.client,
                self.lease,
                MoveAnswers(self.store, self.dirty, clock=clock),
                leaving=self.store.is_leaving,
                clock=clock,
                wall=wall,
                rng=rng,
                sleep=self._wait,
            ),
            self.quarantine,
            statuses,
            story,
            self.metrics,
            stale=self._stale,
            clock=clock,
        )
        self.passes = Reconciler(
            self.store,
            self.dirty,
            self.acting,
            statuses,
            story,
            self.metrics,
            stale=self._stale,
            unreadable=self.caches.unreadable,
            unfollowed=lambda: self.caches.unfollowed(60.0),
            policy_missing=lambda: self.policy.missing,
            policy_unserved=lambda: self.policy.unserved,
            clock=clock,
            wall=wall,
        )
        self.pools = Pools(
            self.client,
            self.store,
            clock=clock,
            gone=self.passes.forget,
            changed=self.policy.wake,
            stated=self.passes.stated,
            retry_seconds=RETRY,
        )

    def _stale(self) -> str:
        return self.caches.trouble(60.0)

    def start(self) -> None:
        """Begin this life."""
        token = _owner.set(self)
        try:
            self.spawn(self._live())
        finally:
            _owner.reset(token)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Add a part that has no end."""
        self._parts.append(asyncio.get_running_loop().create_task(work))

    @property
    def ended(self) -> BaseException | None:
        """What has ended one of its parts; None while nothing has."""
        failed = [part.exception() for part in self._parts if part.done() and not part.cancelled()]
        return next((error for error in failed if error is not None), None)

    def kill(self) -> None:
        """End everything that it does, now."""
        self.server.store.listeners[:] = [one for one in self.server.store.listeners if one != self._pool_changed]
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
        await self.acting.drain(PATIENCE)
        await self.events.flush(PATIENCE)
        await self.gone()

    async def _live(self) -> None:
        self.spawn(self.caches.run())
        self.spawn(self.events.run())
        await self.caches.wait()
        self.server.store.listeners.append(self._pool_changed)
        self.spawn(self.pools.run())
        await self.pools.current.wait()
        self.spawn(self.policy.run())
        self.spawn(self.passes.run())
        self.spawn(self.quarantine.run())

    def _pool_changed(self, collection: str, change: Change) -> None:
        if collection == COMPUTEPOOLS:
            asyncio.get_running_loop().call_soon(self._heard, change)

    def _heard(self, change: Change) -> None:
        self.pools.heard(change.type, change.item)

    async def _wait(self, _seconds: float) -> None:
        await asyncio.sleep(RETRY)
        self.waits += 1

    def _look_at_all(self) -> None:
        self.store.mark_all(self.clock())


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
