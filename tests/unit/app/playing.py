"""Scenarios of an operator's passes: a process on a fake API server, and a time of day that a test can move on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from computepool.act.pod_patcher import PARALLEL
from tests.fakes.apiserver import FakeApiServer
from tests.fakes.waiting import until
from tests.unit.app.cluster import full
from tests.unit.app.process import Process, living

BASE = datetime(2026, 11, 23, 5, 0, tzinfo=UTC).timestamp()


class Day:
    """A time of day that runs on from its base, `ahead` of it and of a `silence` that the clock has seen pass too."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._still: float | None = None
        self.ahead = 0.0
        self.silence = 0.0

    def __call__(self) -> float:
        return BASE + self.ahead + self.clock() - self._start

    def clock(self) -> float:
        """The monotonic clock that goes with it."""
        return self.silence + (time.monotonic() if self._still is None else self._still)

    def stand_still(self) -> None:
        """Pass no more until `go_on`, however slow the machine is."""
        self._still = time.monotonic()

    def go_on(self) -> None:
        """Pass again."""
        self._still = None

    def stamp(self, seconds: float = 0.0) -> str:
        """A moment so many seconds from now, as the API server would write it, only finer."""
        return datetime.fromtimestamp(self() + seconds, UTC).isoformat().replace("+00:00", "Z")


def play(
    scenario: Callable[[FakeApiServer, Process, Day], Awaitable[None]],
    before: Callable[[FakeApiServer, Day], object] = lambda server, _: full(server),
    **how: Any,
) -> None:
    """Run an operator's process on a cluster that was made `before`."""

    async def run() -> None:
        day = Day()
        async with FakeApiServer() as server:
            before(server, day)
            async with living(server, day, clock=day.clock, **how) as process:
                await scenario(server, process, day)

    asyncio.run(run())


async def passes_of(process: Process, count: int = 1) -> None:
    """Wait for this number of further passes. The caller must have just caused one."""
    goal = passes(process) + count
    await until(lambda: passes(process) >= goal, f"{count} more passes")


def passes(process: Process) -> float:
    """How many passes have decided."""
    return process.metrics.registry.get_sample_value("computepool_decision_seconds_count") or 0.0


def many(server: FakeApiServer, _day: Day) -> None:
    """A full cluster with more pods to send on than may be patched at once, and room for all of them."""
    full(server, PARALLEL + 20, places=PARALLEL + 30)
