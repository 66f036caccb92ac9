"""Puts ComputePools into the store, from kopf's watch and from lists.

kopf does not report a pool that was deleted while its watch was broken. The operator must not act for a deleted pool,
so it lists all pools at the start, once a minute, and whenever kopf ends.

Watch events, lists and the answers to the operator's writes come in any order. In each order a deleted pool stays
deleted, and an older state never replaces a newer one.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import msgspec

from computepool.kube import paths
from computepool.kube.client import ApiClient
from computepool.kube.denial import is_denied, with_advice
from computepool.kube.errors import ApiError
from computepool.model.api import ComputePool, InvalidPool
from computepool.observe.store import Store
from computepool.report.logs import LimitedLog, log

RELIST_SECONDS: Final = 60.0
CHECK: Final = "check that the chart's CRD and roles are there: helm upgrade restores them (crds.enabled, rbac.create)"
_logger = logging.getLogger("computepool")


class Pools:
    """Takes pools in, reports which are gone, and knows whether the view of pools is current."""

    def __init__(
        self,
        client: ApiClient,
        store: Store,
        *,
        clock: Callable[[], float],
        retry_seconds: float,
        relist_seconds: float = RELIST_SECONDS,
    ) -> None:
        """A failed list is repeated after `retry_seconds`. `clock` is monotonic."""
        self._client = client
        self._store = store
        self._clock = clock
        self._gone: Callable[[str], None] = _ignored
        self._changed: Callable[[], None] = _ignored
        self._stated: Callable[[ComputePool], None] = _ignored
        self._retry_seconds = retry_seconds
        self._relist_seconds = relist_seconds
        self.current = asyncio.Event()
        """Set by a complete list; cleared when the watch is lost."""
        self._listed_at = 0.0
        self._error = ""
        self._failures = LimitedLog(_logger, clock)
        self.denied = False
        """Whether the last list failed with an answer that no later attempt gets past by itself."""
        self._relist_now = asyncio.Event()
        # The uids of pools that were deleted since the last list began: the list may still contain them.
        self._deleted: set[str] = set()
        # The uids of existing pools that can't be read.
        self._unread: set[str] = set()

    def subscribe(
        self, *, gone: Callable[[str], None], changed: Callable[[], None], stated: Callable[[ComputePool], None]
    ) -> None:
        """Set the callbacks.

        `gone(name)`: a pool was deleted; `changed()`: the set of pools or a spec has changed; `stated(pool)`: a pool
        has changed in the cluster, perhaps because another client wrote its status.
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
        """Read all pools. Raises ApiError."""
        before = {pool.metadata.uid for pool in self._store.pools.values()}
        self._deleted.clear()
        items = [msgspec.json.decode(raw) async for page in self._client.list_pages(paths.POOLS) for raw in page.items]
        listed = {item["metadata"]["uid"] for item in items}
        self._unread &= listed
        for pool in list(self._store.pools.values()):
            # A pool that came during the list may be newer than the list.
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
                self._error, delay = with_advice(error), self._retry_seconds
                self.denied = is_denied(error)
                self._failures.warn("pools not listed, trying again", error=self._error, advice=_advice(error))
            else:
                self.denied = False
                self._failures.over()
                self._listed(began)
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._relist_now.wait()

    def lost(self, problem: str) -> None:
        """Note that the watch is lost: the view is stale until all pools have been listed again."""
        self._error = problem
        self.current.clear()
        self._relist_now.set()

    def trouble(self, limit: float) -> str:
        """Return why the view is stale, or was not listed for `limit` seconds; empty if it is current.

        Also empty before the first attempt to list, because only the leader lists pools.
        """
        because = f": {self._error}" if self._error else ""
        if not self.current.is_set():
            return because and f"pools are not listed yet{because}; {CHECK}"
        late = self._clock() - self._listed_at > limit
        return f"the view of pools is older than {limit:.0f} s{because}" if late else ""

    def _listed(self, began: float) -> None:
        # A list that was under way when `lost` was called may lack later changes. Another list follows.
        if self._relist_now.is_set():
            return
        self._listed_at = began
        self.current.set()
        if self._error:
            self._error = ""
            # A pass may have found the view stale.
            self._store.enqueue_all(self._clock())

    def take(self, obj: Mapping[str, Any]) -> None:
        """Take one pool's object in. A pool that can't be read is logged, and the operator does nothing for it."""
        meta = obj["metadata"]
        name = meta["name"]
        try:
            pool = ComputePool.from_object({"metadata": meta, "spec": obj["spec"], "status": obj.get("status", {})})
        except (InvalidPool, KeyError) as problem:
            log(_logger, logging.ERROR, "pool can't be read, nothing is done for it", pool=name, error=str(problem))
            # Note this first: from now on the taints of its nodes must stay as they are.
            self._unread.add(meta["uid"])
            self.remove(name)
            return
        self._unread.discard(meta["uid"])
        if meta.get("deletionTimestamp"):
            self.remove(name)
        elif self._put(pool):
            self._stated(pool)

    def refresh(self, pool: ComputePool) -> None:
        """Take in a pool as the operator's own write left it, unless the pool is gone."""
        held = self._store.pools.get(pool.name)
        if held is not None and held.metadata.uid == pool.metadata.uid:
            self._put(pool)

    def _put(self, pool: ComputePool) -> bool:
        """Take a pool in unless the store has a newer state; return whether the state is new."""
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


def _advice(error: ApiError) -> str | None:
    return CHECK if is_denied(error) else None


def _ignored(*_: object) -> None:
    """Stands for a callback before `subscribe`."""


def _version(pool: ComputePool) -> int:
    return int(pool.metadata.resource_version or 0)
