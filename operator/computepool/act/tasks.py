"""Background tasks whose failures are reported, and which end with their owner."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

_logger = logging.getLogger(__name__)


def _log_failure(error: BaseException | None) -> None:
    if error is not None:
        _logger.error("background task failed", exc_info=error)


class BackgroundTasks:
    """The background tasks of one owner. When one fails, the others go on.

    `asyncio.TaskGroup` does not fit: it cancels all tasks when one fails, and is bound to a block of code.
    """

    def __init__(self) -> None:
        """Start with none."""
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """Return the number of tasks that have not ended."""
        return len(self._tasks)

    def spawn(
        self, work: Coroutine[Any, Any, None], ended: Callable[[BaseException | None], None] = _log_failure
    ) -> asyncio.Task[None]:
        """Start a task. When it ends, `ended` gets its exception, or None. After a cancellation `ended` is not called.

        By default a failure is logged.
        """
        # The event loop holds tasks weakly. Without this reference a task may be collected before it ends.
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, ended))
        return task

    async def join(self) -> None:
        """Wait until all tasks have ended, also new ones. If the wait is cancelled, the tasks go on."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def cancel(self) -> None:
        """Cancel all tasks, and wait until they have ended."""
        # A task that has just ended may have started another.
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)

    def _ended(self, ended: Callable[[BaseException | None], None], task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            ended(task.exception())


async def wait_at_most(event: asyncio.Event, seconds: float | None) -> None:
    """Wait until the event is set, at most for `seconds`; None: without a limit."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
