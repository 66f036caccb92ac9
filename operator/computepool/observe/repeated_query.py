"""A query that is asked again and again: when it is due, whether it is under way, and the loop that looks."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from computepool.kube.retry import Backoff
from computepool.kube.runtime import Runtime

TICK_SECONDS: Final = 1.0
"""Time between two looks."""


class RepeatedQuery:
    """A query over time. It is never under way twice."""

    def __init__(self, backoff: Backoff) -> None:
        """It is due at once. `backoff`: of attempts that fail."""
        self.due = 0.0
        """When it is asked next, by the monotonic clock."""
        self.task: asyncio.Task[None] | None = None
        """The attempt that is under way."""
        self.backoff = backoff

    def is_due(self, now: float) -> bool:
        """Say whether it may be asked now."""
        return self.task is None and now >= self.due

    def stop(self) -> None:
        """End an attempt that is under way."""
        if self.task is not None:
            self.task.cancel()


async def look_until_cancelled(
    tick: Callable[[], None], queries: Callable[[], Iterable[RepeatedQuery]], runtime: Runtime
) -> None:
    """Call `tick` again and again; in the end stop all `queries` that are under way."""
    try:
        while True:
            tick()
            await runtime.sleep(TICK_SECONDS)
    finally:
        for query in queries():
            query.stop()
