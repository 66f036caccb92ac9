"""Writes a pool's status: only what changed, at once where it matters, otherwise at most once a second.

Opening and closing admission and a condition that turns go out at once. Counts move with every pod that is bound, and
wait for the next second: a status that ticks helps nobody, and every write wakes all who watch.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

import msgspec

from computepool.act.fence import Fence
from computepool.kube.client import ApiClient
from computepool.kube.errors import ApiError, Conflict, NotFound
from computepool.model.api import API_VERSION, PLURAL, ComputePool, PoolStatus

POOLS_PATH: Final = f"/apis/{API_VERSION}/{PLURAL}"
CALM_SECONDS: Final = 1.0
RETRY_SECONDS: Final = 2.0

_logger = logging.getLogger(__name__)


class StatusWriter:
    """Keeps the latest status wanted of each pool, and one task a pool that writes it."""

    def __init__(self, client: ApiClient, fence: Fence, written: Callable[[ComputePool], None]) -> None:
        """`written` gets the pool as the API server answered, so that the next pass starts from it."""
        self._client = client
        self._fence = fence
        self._written = written
        self._wanted: dict[str, tuple[ComputePool, PoolStatus]] = {}
        self._urgent: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def want(self, pool: ComputePool, status: PoolStatus) -> None:
        """Have a status written; what was wanted before and not written yet is replaced."""
        if status == pool.status:
            self._wanted.pop(pool.name, None)
            return
        self._wanted[pool.name] = (pool, status)
        urgent = self._urgent.setdefault(pool.name, asyncio.Event())
        if _matters(pool.status, status):
            urgent.set()
        self._start(pool.name)

    def forget(self, pool: str) -> None:
        """Drop what was wanted of a pool that is gone."""
        self._wanted.pop(pool, None)

    async def flush(self) -> None:
        """Write what is still wanted, now."""
        for urgent in self._urgent.values():
            urgent.set()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _start(self, name: str) -> None:
        if name not in self._tasks:
            task = self._tasks[name] = asyncio.create_task(self._write_all(name, self._urgent[name]))
            task.add_done_callback(lambda done: self._ended(name, done))

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        del self._tasks[name]
        if not task.cancelled() and (error := task.exception()) is not None:
            _logger.warning("status of %s not written: %s", name, error)
        elif name in self._wanted:
            # Wanted after the task had looked for the last time.
            self._start(name)

    async def _write_all(self, name: str, urgent: asyncio.Event) -> None:
        while name in self._wanted:
            if not urgent.is_set():
                await _first(urgent, CALM_SECONDS)
            urgent.clear()
            wanted = self._wanted.pop(name, None)
            if wanted is None:
                return
            try:
                await self._write(*wanted)
            except NotFound:
                return
            except ApiError as error:
                _logger.warning("status of %s not written, trying again: %s", name, error)
                await asyncio.sleep(error.retry_after or RETRY_SECONDS)
                self._wanted.setdefault(name, wanted)

    async def _write(self, pool: ComputePool, status: PoolStatus) -> None:
        """Write once. Where the pool has changed since it was read, read it and try again for the same spec."""
        self._fence.check()
        path = f"{POOLS_PATH}/{pool.name}"
        try:
            answer = await self._client.merge_patch(f"{path}/status", status_patch(pool, status))
        except Conflict:
            fresh = _pool(await self._client.get(path))
            self._written(fresh)
            if (fresh.metadata.uid, fresh.metadata.generation) == (pool.metadata.uid, pool.metadata.generation):
                self._wanted.setdefault(pool.name, (fresh, status))
            return
        self._written(_pool(answer))


def _pool(answer: bytes) -> ComputePool:
    return ComputePool.from_object(msgspec.json.decode(answer))


def status_patch(pool: ComputePool, status: PoolStatus) -> dict[str, Any]:
    """Return the merge patch from the pool as it was read; refused (409) if it has changed since."""
    before, after = pool.status.to_object(), status.to_object()
    dropped = dict.fromkeys(before.keys() - after.keys())
    metadata = {"uid": pool.metadata.uid, "resourceVersion": pool.metadata.resource_version}
    return {"metadata": metadata, "status": {**after, **dropped}}


def _matters(before: PoolStatus, after: PoolStatus) -> bool:
    turned = {(c.type, c.status) for c in before.conditions} != {(c.type, c.status) for c in after.conditions}
    return turned or before.admission != after.admission


async def _first(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
