"""One read of the cluster, for commands that explain: the same store, filled once."""

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import msgspec
import yaml
from kubernetes.aio.config import ConfigException, list_kube_config_contexts

from computepool.app.caches import UNFINISHED
from computepool.app.settings import RESERVED_NAMESPACES
from computepool.cli.refused import Refusal, read_refusals
from computepool.kube import paths
from computepool.kube.access import load_access
from computepool.kube.client import ApiClient
from computepool.model.api import ComputePool, InvalidPool
from computepool.observe.records import Records
from computepool.observe.store import Store

_list_contexts = cast("Callable[[str], tuple[Any, Any]]", list_kube_config_contexts)


class NotFoundError(Exception):
    """What was asked for is not there; the message says what to check."""


class View:
    """A store, and the time it was read at (seconds since the epoch)."""

    def __init__(
        self, store: Store, now: float, reserved: Iterable[str] = (), refusals: tuple[Refusal, ...] | None = ()
    ) -> None:
        """All as read; `reserved` are the namespaces that are never managed.

        `refusals`: what was told of a pod's refused evictions; None where that may not be read.
        """
        self.store = store
        self.refusals = refusals
        self.now = now
        self.reserved = frozenset(reserved)


async def load_view(kubeconfig: str | None, operator_namespace: str, about: tuple[str, str]) -> View:
    """Read pools, namespaces, nodes and unfinished pods. Raises AccessError or ApiError.

    `about`: namespace and name of the pod whose events are read.
    """
    now = time.time()
    reserved = (*RESERVED_NAMESPACES, operator_namespace)
    store = Store(lambda _pool, _at: None, wall=lambda: now, reserved_namespaces=reserved)
    records = Records()
    async with ApiClient(await load_access(kubeconfig)) as client:
        for pool in await load_pools(client):
            store.put_pool(pool, 0.0)
        refusals, *_ = await asyncio.gather(
            read_refusals(client, *about),
            _fill(client, paths.NAMESPACES, lambda raw: store.put_namespace(records.namespace(raw), 0.0)),
            _fill(client, paths.NODES, lambda raw: store.put_node(records.node(raw), 0.0)),
            _fill(client, paths.PODS, lambda raw: store.put_pod(records.pod(raw), 0.0), UNFINISHED),
        )
    return View(store, now, reserved, refusals)


async def load_pools(client: ApiClient) -> list[ComputePool]:
    """Read all pools, by name; those that this version can't read are left out."""
    pools = []
    async for page in client.list_pages(paths.POOLS):
        for raw in page.items:
            pool = _pool(raw)
            if pool is not None:
                pools.append(pool)
    return sorted(pools, key=lambda pool: pool.name)


def current_namespace(kubeconfig: str | None) -> str:
    """Return the namespace of the kubeconfig's present context, as kubectl uses it: `default` where there is none."""
    paths = kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config"
    files = [str(Path(path).expanduser()) for path in paths.split(os.pathsep) if path]
    try:
        _, context = _list_contexts(os.pathsep.join(files))
    except (ConfigException, yaml.YAMLError, OSError, ValueError, TypeError, AttributeError):
        # The connection made with this file will say what is wrong with it.
        return "default"
    return str((context or {}).get("context", {}).get("namespace") or "default")


def _pool(raw: msgspec.Raw) -> ComputePool | None:
    try:
        return ComputePool.from_object(msgspec.json.decode(raw))
    except InvalidPool:
        return None


async def _fill(
    client: ApiClient, path: str, put: Callable[[bytes], None], query: Mapping[str, str] | None = None
) -> None:
    async for page in client.list_pages(path, query):
        for raw in page.items:
            try:
                put(bytes(raw))
            except (msgspec.ValidationError, ValueError):
                # The operator can't read it either, and goes on without it.
                continue
