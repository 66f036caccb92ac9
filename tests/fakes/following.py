"""A reflector that follows a fake API server, with its delays recorded in place of waited for."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from computepool.kube.client import ApiClient
from computepool.kube.credentials import static_access
from computepool.observe.reflector import Reflector, Resource, Tuning
from tests.fakes.apiserver import PODS, FakeApiServer
from tests.fakes.sinks import RecordingSink, Thing, things
from tests.fakes.waiting import until

QUICK = Tuning(inactivity=5.0, list_timeout=5.0)


class HandClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class Following:
    """What a test looks at."""

    server: FakeApiServer
    reflector: Reflector[Thing]
    sink: RecordingSink
    clock: HandClock
    delays: list[float]
    task: asyncio.Task[None]

    async def caught_up(self) -> None:
        """Wait until the sink holds exactly what the server does."""
        await until(self.is_caught_up, "sink equals server")

    def is_caught_up(self) -> bool:
        """Whether the sink holds exactly what the server does."""
        held = {item["metadata"]["name"]: int(item["metadata"]["resourceVersion"]) for item in self.server.items(PODS)}
        return self.reflector.synced.is_set() and not self.sink.syncing and self.sink.versions == held

    async def watching(self) -> None:
        """Wait until the present state is known and a watch is open."""
        await until(lambda: self.server.open_watches and self.reflector.resource_version is not None, "a live watch")
        await self.caught_up()


@asynccontextmanager
async def following(
    server: FakeApiServer,
    *,
    tuning: Tuning = QUICK,
    resource: Resource[Thing] | None = None,
    on_delay: Callable[[], object] | None = None,
) -> AsyncIterator[Following]:
    """Run a reflector of the server's pods; an exception that ends it is raised on leaving."""
    clock, sink, delays = HandClock(), RecordingSink(), []

    async def sleep(seconds: float) -> None:
        delays.append(seconds)
        if on_delay is not None:
            on_delay()
        # Lets the server have its turn, in place of time.
        await asyncio.sleep(0.001)

    async with ApiClient(static_access(server.url)) as client:
        reflector = Reflector(
            client, resource or things(PODS), sink, tuning=tuning, clock=clock, sleep=sleep, rng=random.Random(1)
        )
        task = asyncio.create_task(reflector.run())
        try:
            yield Following(server, reflector, sink, clock, delays, task)
        finally:
            if task.done():
                task.result()
            task.cancel()
            await asyncio.wait([task])
