"""ComputePools into the store, from kopf's watch and from lists.

kopf does not report a pool that was deleted while its watch was broken. A deleted pool must not be acted upon, so all
pools are listed at the start, once a minute, and whenever kopf ends.

Watch events, lists and the answers to our own writes come in any order. What always holds: a deleted pool does not come
back, and an older state never replaces a newer one.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import msgspec

from computepool.kube import paths
from computepool.kube.client import ApiClient
from computepool.kube.errors import ApiError
from computepool.model.api import ComputePool, InvalidPool
from computepool.observe.store import Store
from computepool.report.logs import log

RELIST_SECONDS: Final = 60.0
_logger = logging.getLogger("computepool")


class Pools:
    """Takes pools in, from wherever they come, says which are gone, and whether the view of them is current."""

    def __init__(
        self,
        client: ApiClient,
        store: Store,
        *,
        clock: Callable[[], float],
        retry_seconds: float,
        relist_seconds: float = RELIST_SECONDS,
    ) -> None:
        """A list that failed is repeated after `retry_seconds`."""
        self._client = client
        self._store = store
        self._clock = clock
        self._gone: Callable[[str], None] = _ignored
        self._changed: Callable[[], None] = _ignored
        self._stated: Callable[[ComputePool], None] = _ignored
        self._retry_seconds = retry_seconds
        self._relist_seconds = relist_seconds
        self.current = asyncio.Event()
        """Set by a complete list; cleared when changes are no longer followed."""
        self._listed_at = 0.0
        self._error = ""
        self._relist_now = asyncio.Event()
        # The uids of pools that were deleted since the last list began: it may still have them.
        self._deleted: set[str] = set()
        # By uid: pools that are there and can't be read; what they want is not known.
        self._unread: set[str] = set()

    def subscribe(
        self, *, gone: Callable[[str], None], changed: Callable[[], None], stated: Callable[[ComputePool], None]
    ) -> None:
        """Have it told to others what changes.

        `gone(name)`: a pool is no more; `changed()`: the set of pools or a spec has changed; `stated(pool)`: a pool has
        changed in the cluster, so that its status may be written by somebody else.
        """
        self._gone, self._changed, self._stated = gone, changed, stated

    def unread(self) -> bool:
        """Say whether there is a pool that can't be read."""
        return bool(self._unread)

    def heard(self, kind: str, obj: Mapping[str, Any]) -> None:
        """Take one watch event in."""
        meta = obj["metadata"]
        if kind != "DELETED":
            self.take(obj)
            return
        self._deleted.add(meta["uid"])
        self._unread.discard(meta["uid"])
        held = self._store.pools.get(meta["name"])
        if held is not None and held.metadata.uid == meta["uid"]:
            self.remove(held.name)

    async def relist(self) -> None:
        """Read all pools; raises ApiError where that fails."""
        before = {pool.metadata.uid for pool in self._store.pools.values()}
        self._deleted.clear()
        items = [msgspec.json.decode(raw) async for page in self._client.list_pages(paths.POOLS) for raw in page.items]
        listed = {item["metadata"]["uid"] for item in items}
        self._unread &= listed
        for pool in list(self._store.pools.values()):
            # One that came while the list was under way may be younger than the list.
            if pool.metadata.uid in before - listed:
                self.remove(pool.name)
        for item in items:
            if item["metadata"]["uid"] not in self._deleted:
                self.take(item)

    async def run(self) -> None:
        """Keep the pools listed, until cancelled."""
        while True:
            self._relist_now.clear()
            began, delay = self._clock(), self._relist_seconds
            try:
                await self.relist()
            except ApiError as error:
                self._error, delay = str(error), self._retry_seconds
                log(_logger, logging.WARNING, "pools not listed, trying again", error=self._error)
            else:
                self._listed(began)
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._relist_now.wait()

    def lost(self, problem: str) -> None:
        """Note that changes are not followed: the view is stale until all pools have been listed anew."""
        self._error = problem
        self.current.clear()
        self._relist_now.set()

    def trouble(self, limit: float) -> str:
        """Say why the view is stale or was not listed for `limit` seconds; nothing if it is current.

        Nothing either before the first list is tried: a standby lists no pools.
        """
        because = f": {self._error}" if self._error else ""
        if not self.current.is_set():
            return because and f"pools are not listed yet{because}; check that the chart's CRD and roles are there"
        late = self._clock() - self._listed_at > limit
        return f"the view of pools is older than {limit:.0f} s{because}" if late else ""

    def _listed(self, began: float) -> None:
        # A list that was under way when `lost` was called may lack what has happened since; another list follows.
        if self._relist_now.is_set():
            return
        self._listed_at = began
        self.current.set()
        if self._error:
            self._error = ""
            # A pass may have found the view stale.
            self._store.enqueue_all(self._clock())

    def take(self, obj: Mapping[str, Any]) -> None:
        """Take one pool's object in. A spec that can't be read is logged, and the pool is left alone."""
        meta = obj["metadata"]
        name = meta["name"]
        try:
            pool = ComputePool.from_object({"metadata": meta, "spec": obj["spec"], "status": obj.get("status", {})})
        except (InvalidPool, KeyError) as problem:
            log(_logger, logging.ERROR, "pool can't be read, nothing is done for it", pool=name, error=str(problem))
            # Before its nodes are looked at, which are to stay as they are.
            self._unread.add(meta["uid"])
            self.remove(name)
            return
        self._unread.discard(meta["uid"])
        if meta.get("deletionTimestamp"):
            self.remove(name)
        elif self._put(pool):
            self._stated(pool)

    def refresh(self, pool: ComputePool) -> None:
        """Take in how a write of ours left a pool, unless it is gone by now."""
        held = self._store.pools.get(pool.name)
        if held is not None and held.metadata.uid == pool.metadata.uid:
            self._put(pool)

    def _put(self, pool: ComputePool) -> bool:
        """Take a pool in; an older state than the one held is ignored. Return whether it was news."""
        before = self._store.pools.get(pool.name)
        same = before is not None and before.metadata.uid == pool.metadata.uid
        if before is not None and same and _version(pool) < _version(before):
            return False
        if before is not None and not same:
            self._gone(pool.name)
        self._store.put_pool(pool, self._clock())
        if before is None or not same or before.metadata.generation != pool.metadata.generation:
            log(_logger, logging.INFO, "pool taken in", pool=pool.name, generation=pool.metadata.generation)
            self._changed()
        return before is None or not same or _version(pool) > _version(before)

    def remove(self, name: str) -> None:
        """Forget a pool."""
        if name in self._store.pools:
            self._store.drop_pool(name, self._clock())
            self._gone(name)
            log(_logger, logging.INFO, "pool gone", pool=name)
            self._changed()


def _ignored(*_: object) -> None:
    """Nobody has subscribed."""


def _version(pool: ComputePool) -> int:
    return int(pool.metadata.resource_version or 0)
