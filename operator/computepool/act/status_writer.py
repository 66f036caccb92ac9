"""Writes the pools' statuses: important changes at once, others at most once a second.

A change of admission or of a condition's status is written at once. Counts change with every pod that is bound, and
each write wakes all watches of the pools. So counts wait for up to a second.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

import msgspec

from computepool.act.tasks import BackgroundTasks, wait_at_most
from computepool.act.write_access import NotLeadingError, WriteAccess
from computepool.kube import paths
from computepool.kube.denial import is_denied, with_advice
from computepool.kube.errors import ApiError, Conflict, NotFound, decoded, garbled
from computepool.kube.retry import Backoff
from computepool.model.api import ComputePool, InvalidPool, PoolStatus

CALM_SECONDS: Final = 1.0
RETRY_SECONDS: Final = 2.0
RETRY_CAP_SECONDS: Final = 60.0
AT_ONCE: Final = 3
"""Number of conflicts in a row that are retried at once. After more of them, attempts wait for a growing delay."""

_logger = logging.getLogger(__name__)


class StatusWriter:
    """Keeps the latest wanted status of each pool, and writes it in one task for each pool."""

    def __init__(
        self,
        access: WriteAccess,
        written: Callable[[ComputePool], None],
        *,
        calm_seconds: float = CALM_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        """`written` gets the pool from the API server's answer, so that the next pass starts from it."""
        self._client = access.client
        self._writes = access.writes
        self._written = written
        self._rng = access.runtime.rng
        self._calm_seconds = calm_seconds
        self._retry_seconds = retry_seconds
        self._wanted: dict[str, tuple[ComputePool, PoolStatus]] = {}
        # By pool: the newest state from an answer to a write. Passes may still have an older one.
        self._answered: dict[str, ComputePool] = {}
        # Pools whose status is uncertain, because a write is under way or has failed.
        self._unsure: set[str] = set()
        self._urgent: dict[str, asyncio.Event] = {}
        # By pool: callers of `put` that wait until their status, or a later one, is written.
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}
        # By pool: why the API server does not let this process write its status.
        self._denied: dict[str, str] = {}
        # Pools whose task is running.
        self._busy: set[str] = set()
        self._tasks = BackgroundTasks()

    def want(self, pool: ComputePool, status: PoolStatus) -> None:
        """Have a status written soon, in place of an earlier status that is not written yet."""
        if status == pool.status and pool.name not in self._unsure and pool.name not in self._waiting:
            self._wanted.pop(pool.name, None)
            return
        self._wanted[pool.name] = (pool, status)
        urgent = self._urgent.setdefault(pool.name, asyncio.Event())
        if _is_important(pool.status, status):
            urgent.set()
        self._start(pool.name)

    async def put(self, pool: ComputePool, status: PoolStatus) -> None:
        """Write a status at once; return when the API server has it, or a later wanted status.

        Raises Conflict if the spec has changed and no newer status is wanted, NotFound if the pool is gone, and
        NotLeadingError. After any other ApiError the status is still wanted, and the write is tried again.
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
        """Drop a pool that is gone."""
        gone = NotFound(404, "NotFound", "the pool is gone", request=f"status of {pool}")
        _answer(self._waiting.pop(pool, []), gone)
        self._wanted.pop(pool, None)
        self._answered.pop(pool, None)
        self._denied.pop(pool, None)
        self._unsure.discard(pool)

    def trouble(self) -> str:
        """Return why the API server does not let this process write statuses; empty if it does."""
        return next((f"the status of pool {name} can't be written: {why}" for name, why in self._denied.items()), "")

    async def flush(self) -> None:
        """Write all wanted statuses now."""
        for urgent in self._urgent.values():
            urgent.set()
        await self._tasks.join()

    async def settle(self) -> None:
        """Cancel the writes that remain. Call this at the end."""
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
            # The status became wanted after the task's last check.
            self._start(name)
        else:
            del self._urgent[name]

    async def _write_all(self, name: str, urgent: asyncio.Event) -> None:
        backoff = Backoff(base=self._retry_seconds, cap=RETRY_CAP_SECONDS, rng=self._rng)
        conflicts = 0
        while name in self._wanted:
            if not urgent.is_set():
                await wait_at_most(urgent, self._calm_seconds)
            urgent.clear()
            wanted = self._wanted.pop(name, None)
            if wanted is None:
                return
            if conflicts > AT_ONCE:
                await asyncio.sleep(backoff.next())
            try:
                conflicts = 0 if await self._write_for_all(name, wanted, urgent) else conflicts + 1
            except NotFound:
                return
            except ApiError as error:
                if is_denied(error):
                    self._denied[name] = with_advice(error)
                _logger.warning("status of %s not written, trying again: %s", name, with_advice(error))
                self._wanted.setdefault(name, wanted)
                await asyncio.sleep(backoff.next(error))
            else:
                self._denied.pop(name, None)
                if not conflicts:
                    backoff.reset()

    async def _write_for_all(self, name: str, wanted: tuple[ComputePool, PoolStatus], urgent: asyncio.Event) -> bool:
        """Write once, and answer the waiting callers of `put`; return whether the API server has the status now."""
        waiting = self._waiting.pop(name, [])
        try:
            written = await self._write(*wanted, urgent)
        except (ApiError, NotLeadingError) as error:
            _answer(waiting, error)
            raise
        if written:
            _answer(waiting, None)
        elif name in self._wanted:
            self._waiting[name] = [*waiting, *self._waiting.get(name, [])]
        else:
            _answer(waiting, Conflict(409, "Conflict", "the spec has changed", request=f"status of {name}"))
        return written

    async def _write(self, pool: ComputePool, status: PoolStatus, urgent: asyncio.Event) -> bool:
        """Write once; return whether the API server has the status now.

        If the pool has changed since it was read, read it again. If its spec is the same, the status stays wanted.
        """
        pool = self._newest(pool)
        if status == pool.status and pool.name not in self._unsure:
            return True
        path = f"{paths.POOLS}/{pool.name}"
        self._unsure.add(pool.name)
        written = False
        try:
            answer = await self._writes.merge_patch(f"{path}/status", status_patch(pool, status))
        except Conflict:
            fresh = _pool(await self._client.get(path), f"GET {path}")
            if _same_spec(fresh, pool):
                self._wanted.setdefault(pool.name, (fresh, status))
                urgent.set()
        else:
            fresh = _pool(answer, f"PATCH {path}")
            written = True
        self._unsure.discard(pool.name)
        self._answered[pool.name] = fresh
        self._written(fresh)
        return written

    def _newest(self, pool: ComputePool) -> ComputePool:
        """Return the pool from the answer to the last write, if that is newer and has the same spec."""
        answered = self._answered.get(pool.name)
        return pool if answered is None or not _same_spec(answered, pool) or _is_newer(pool, answered) else answered


def _same_spec(pool: ComputePool, other: ComputePool) -> bool:
    return (pool.metadata.uid, pool.metadata.generation) == (other.metadata.uid, other.metadata.generation)


def _is_newer(pool: ComputePool, other: ComputePool) -> bool:
    return int(pool.metadata.resource_version or 0) > int(other.metadata.resource_version or 0)


_OBJECT: Final[msgspec.json.Decoder[dict[str, Any]]] = msgspec.json.Decoder(dict[str, Any])


def _pool(answer: bytes, request: str) -> ComputePool:
    try:
        obj = decoded(_OBJECT, answer, request=request)
        return ComputePool.from_object(obj)
    except InvalidPool as error:
        raise garbled(error, request=request) from error


def status_patch(pool: ComputePool, status: PoolStatus) -> dict[str, Any]:
    """Return the merge patch to `status`. The API server refuses it (409) if the pool has changed since it was read."""
    before, after = pool.status.to_object(), status.to_object()
    dropped = dict.fromkeys(before.keys() - after.keys())
    metadata = {"uid": pool.metadata.uid, "resourceVersion": pool.metadata.resource_version}
    return {"metadata": metadata, "status": {**after, **dropped}}


def _is_important(before: PoolStatus, after: PoolStatus) -> bool:
    return before.admission != after.admission or _turns(before) != _turns(after)


def _turns(status: PoolStatus) -> set[tuple[str, str]]:
    return {(condition.type, condition.status) for condition in status.conditions}


def _answer(waiting: Iterable[asyncio.Future[None]], error: BaseException | None) -> None:
    for answer in waiting:
        # The waiting task may have been cancelled.
        if answer.done():
            continue
        if error is None:
            answer.set_result(None)
        else:
            answer.set_exception(error)
