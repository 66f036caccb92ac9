"""Writes a pool's status: only what changed, at once where it matters, otherwise at most once a second.

Opening and closing admission and a condition that turns go out at once. Counts move with every pod that is bound, and
wait for the next second: a status that changes all the time helps no reader, and every write wakes every watch.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

import msgspec

from computepool.act.fence import NotLeadingError, WriteAccess
from computepool.act.tasks import BackgroundTasks, wait_at_most
from computepool.kube import paths
from computepool.kube.errors import ApiError, Conflict, NotFound, decoded, garbled
from computepool.kube.retry import Backoff
from computepool.model.api import ComputePool, InvalidPool, PoolStatus

CALM_SECONDS: Final = 1.0
RETRY_SECONDS: Final = 2.0
RETRY_CAP_SECONDS: Final = 60.0
AT_ONCE: Final = 3
"""Conflicts, one after another, after which it is tried again at once: others write the same pool all the time then."""

_logger = logging.getLogger(__name__)


class StatusWriter:
    """Keeps the latest status wanted of each pool, and one task a pool that writes it."""

    def __init__(
        self,
        access: WriteAccess,
        written: Callable[[ComputePool], None],
        *,
        calm_seconds: float = CALM_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        """`written` gets the pool as the API server answered, so that the next pass starts from it."""
        self._client = access.client
        self._fence = access.fence
        self._written = written
        self._rng = access.runtime.rng
        self._calm_seconds = calm_seconds
        self._retry_seconds = retry_seconds
        self._wanted: dict[str, tuple[ComputePool, PoolStatus]] = {}
        # The newest state of each pool that a write was answered with; passes may still hold the one before.
        self._answered: dict[str, ComputePool] = {}
        # Pools whose status is not known for certain: a write is under way, or no good answer came.
        self._unsure: set[str] = set()
        self._urgent: dict[str, asyncio.Event] = {}
        # Callers of `put`, each waiting until the status that it wanted, or a later one, is written.
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}
        # Pools whose task is running.
        self._busy: set[str] = set()
        self._tasks = BackgroundTasks()

    def want(self, pool: ComputePool, status: PoolStatus) -> None:
        """Have a status written; what was wanted before and not written yet is replaced."""
        waited_for = pool.name in self._waiting
        if status == pool.status and pool.name not in self._unsure and not waited_for:
            self._wanted.pop(pool.name, None)
            return
        self._wanted[pool.name] = (pool, status)
        urgent = self._urgent.setdefault(pool.name, asyncio.Event())
        if _matters(pool.status, status):
            urgent.set()
        self._start(pool.name)

    async def put(self, pool: ComputePool, status: PoolStatus) -> None:
        """Have a status written at once, and return when the API server holds it, or one that was wanted after it.

        For what has to be on record before something else is done. Raises ApiError where it is not: Conflict where the
        spec has changed and nothing newer is wanted, NotFound where the pool is gone; and NotLeadingError. After any
        other ApiError the status is still wanted, and tried again.
        """
        if status == self._newest(pool).status and pool.name not in self._unsure:
            return
        answered = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(pool.name, []).append(answered)
        self._wanted[pool.name] = (pool, status)
        self._urgent.setdefault(pool.name, asyncio.Event()).set()
        self._start(pool.name)
        await answered

    def forget(self, pool: str) -> None:
        """Drop what was wanted of a pool that is gone."""
        _answer(self._waiting.pop(pool, []), _gone(pool))
        self._wanted.pop(pool, None)
        self._answered.pop(pool, None)
        self._unsure.discard(pool)

    async def flush(self) -> None:
        """Write what is still wanted, now."""
        for urgent in self._urgent.values():
            urgent.set()
        await self._tasks.join()

    async def settle(self) -> None:
        """Give up what is not written yet; called at the end."""
        await self._tasks.cancel()

    def _start(self, name: str) -> None:
        if name not in self._busy:
            self._busy.add(name)
            self._tasks.spawn(self._write_all(name, self._urgent[name]), partial(self._ended, name))

    def _ended(self, name: str, error: BaseException | None) -> None:
        self._busy.discard(name)
        if error is not None:
            _answer(self._waiting.pop(name, []), error)
            _logger.warning("status of %s not written: %s", name, error)
        elif name in self._wanted:
            # Wanted after the task had looked for the last time.
            self._start(name)
        else:
            del self._urgent[name]

    async def _write_all(self, name: str, urgent: asyncio.Event) -> None:
        backoff = Backoff(base=self._retry_seconds, cap=RETRY_CAP_SECONDS, rng=self._rng)
        missed = 0
        while name in self._wanted:
            if not urgent.is_set():
                await wait_at_most(urgent, self._calm_seconds)
            urgent.clear()
            wanted = self._wanted.pop(name, None)
            if wanted is None:
                return
            if missed > AT_ONCE:
                await asyncio.sleep(backoff.next())
            try:
                missed = 0 if await self._write_for_all(name, wanted, urgent) else missed + 1
            except NotFound:
                return
            except ApiError as error:
                _logger.warning("status of %s not written, trying again: %s", name, error)
                self._wanted.setdefault(name, wanted)
                await asyncio.sleep(backoff.next(error))
            else:
                if not missed:
                    backoff.reset()

    async def _write_for_all(self, name: str, wanted: tuple[ComputePool, PoolStatus], urgent: asyncio.Event) -> bool:
        """Write once, and answer the callers of `put` that wait; return whether the API server holds the status now."""
        waiting = self._waiting.pop(name, [])
        try:
            held = await self._write(*wanted, urgent)
        except (ApiError, NotLeadingError) as error:
            _answer(waiting, error)
            raise
        if held:
            _answer(waiting, None)
        elif name in self._wanted:
            self._waiting[name] = [*waiting, *self._waiting.get(name, [])]
        else:
            _answer(waiting, Conflict(409, "Conflict", "the spec has changed", request=f"status of {name}"))
        return held

    async def _write(self, pool: ComputePool, status: PoolStatus, urgent: asyncio.Event) -> bool:
        """Write once; return whether the API server holds it now.

        Where the pool has changed since it was read, read it, and have the status tried again for the same spec.
        """
        self._fence.check()
        pool = self._newest(pool)
        if status == pool.status and pool.name not in self._unsure:
            return True
        path = f"{paths.POOLS}/{pool.name}"
        self._unsure.add(pool.name)
        held = False
        try:
            answer = await self._client.merge_patch(f"{path}/status", status_patch(pool, status))
        except Conflict:
            fresh = _pool(await self._client.get(path), f"GET {path}")
            if _same_spec(fresh, pool):
                self._wanted.setdefault(pool.name, (fresh, status))
                urgent.set()
        else:
            fresh = _pool(answer, f"PATCH {path}")
            held = True
        self._unsure.discard(pool.name)
        self._answered[pool.name] = fresh
        self._written(fresh)
        return held

    def _newest(self, pool: ComputePool) -> ComputePool:
        """Return the pool as our last write left it, if the given one is from before that write."""
        answered = self._answered.get(pool.name)
        return pool if answered is None or not _same_spec(answered, pool) or _later(pool, answered) else answered


def _same_spec(pool: ComputePool, other: ComputePool) -> bool:
    return (pool.metadata.uid, pool.metadata.generation) == (other.metadata.uid, other.metadata.generation)


def _later(pool: ComputePool, other: ComputePool) -> bool:
    return int(pool.metadata.resource_version or 0) > int(other.metadata.resource_version or 0)


_OBJECT: Final[msgspec.json.Decoder[dict[str, Any]]] = msgspec.json.Decoder(dict[str, Any])


def _pool(answer: bytes, request: str) -> ComputePool:
    try:
        obj = decoded(_OBJECT, answer, request=request)
        return ComputePool.from_object(obj)
    except InvalidPool as error:
        raise garbled(error, request=request) from error


def status_patch(pool: ComputePool, status: PoolStatus) -> dict[str, Any]:
    """Return the merge patch from the pool as it was read; refused (409) if it has changed since."""
    before, after = pool.status.to_object(), status.to_object()
    dropped = dict.fromkeys(before.keys() - after.keys())
    metadata = {"uid": pool.metadata.uid, "resourceVersion": pool.metadata.resource_version}
    return {"metadata": metadata, "status": {**after, **dropped}}


def _matters(before: PoolStatus, after: PoolStatus) -> bool:
    turned = {(c.type, c.status) for c in before.conditions} != {(c.type, c.status) for c in after.conditions}
    return turned or before.admission != after.admission


def _gone(pool: str) -> NotFound:
    return NotFound(404, "NotFound", "the pool is gone", request=f"status of {pool}")


def _answer(waiting: Iterable[asyncio.Future[None]], error: BaseException | None) -> None:
    for answer in waiting:
        # The waiting task may have given up.
        if answer.done():
            continue
        if error is None:
            answer.set_result(None)
        else:
            answer.set_exception(error)
