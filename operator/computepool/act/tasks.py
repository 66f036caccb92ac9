"""Background tasks: every one is held until it ends, no failure is lost, and none outlives its owner."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

_logger = logging.getLogger(__name__)


def _log_failure(error: BaseException | None) -> None:
    if error is not None:
        _logger.error("background task failed", exc_info=error)


class BackgroundTasks:
    """The background tasks of one owner, each on its own: one that fails does not end the others.

    `asyncio.TaskGroup` does not fit here: it cancels all tasks when one fails, and lives as long as a block of code.
    """

    def __init__(self) -> None:
        """Start with none."""
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """Return how many have not ended."""
        return len(self._tasks)

    def spawn(
        self, work: Coroutine[Any, Any, None], ended: Callable[[BaseException | None], None] = _log_failure
    ) -> asyncio.Task[None]:
        """Start a task. Once it has ended, `ended` gets its exception, or None; it is not called after a cancellation.

        Without `ended` a failure is logged.
        """
        # The loop itself holds tasks weakly: without this reference a task may be collected before it ends.
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, ended))
        return task

    async def join(self) -> None:
        """Wait until all have ended, also those started during the wait. Cancelling the wait leaves them running."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def cancel(self) -> None:
        """Cancel all, and wait until they have ended."""
        # Again while there are any: a task that has just ended may have started another.
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)

    def _ended(self, ended: Callable[[BaseException | None], None], task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            ended(task.exception())


async def wait_at_most(event: asyncio.Event, seconds: float | None) -> None:
    """Wait until the event is set, but no longer than so many seconds; None: however long it takes."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
