"""One read of the cluster, for commands that explain: the same store, filled once."""

import time
from collections.abc import Callable

import msgspec

from computepool.act.status import POOLS_PATH
from computepool.kube.access import load_access
from computepool.kube.client import ApiClient
from computepool.model.api import ComputePool, InvalidPool
from computepool.observe.records import Records
from computepool.observe.store import Store


class NotFoundError(Exception):
    """What was asked for is not there; the message says what to check."""


class View:
    """A store, and the time it was read at (seconds since the epoch)."""

    def __init__(self, store: Store, now: float) -> None:
        """Both as read."""
        self.store = store
        self.now = now


async def load_view(kubeconfig: str | None) -> View:
    """Read pools, namespaces, nodes and unfinished pods. Raises AccessError or ApiError."""
    now = time.time()
    store = Store(lambda _pool, _at: None, wall=lambda: now, reserved_namespaces=("kube-system",))
    records = Records()
    async with ApiClient(await load_access(kubeconfig)) as client:
        for pool in await load_pools(client):
            store.put_pool(pool, 0.0)
        await _fill(client, "/api/v1/namespaces", lambda raw: store.put_namespace(records.namespace(raw), 0.0))
        await _fill(client, "/api/v1/nodes", lambda raw: store.put_node(records.node(raw), 0.0))
        await _fill(client, "/api/v1/pods", lambda raw: store.put_pod(records.pod(raw), 0.0))
    return View(store, now)


async def load_pools(client: ApiClient) -> list[ComputePool]:
    """Read all pools; those that this version can't read are left out."""
    pools = []
    async for page in client.list_pages(POOLS_PATH):
        for raw in page.items:
            pool = _pool(raw)
            if pool is not None:
                pools.append(pool)
    return sorted(pools, key=lambda pool: pool.name)


def _pool(raw: msgspec.Raw) -> ComputePool | None:
    try:
        return ComputePool.from_object(msgspec.json.decode(raw))
    except InvalidPool:
        return None


async def _fill(client: ApiClient, path: str, put: Callable[[bytes], None]) -> None:
    async for page in client.list_pages(path):
        for raw in page.items:
            put(bytes(raw))
