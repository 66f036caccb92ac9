"""One read of the cluster, for `explain`: the operator's own store, filled once."""

import asyncio
import os
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import msgspec
import yaml
from kubernetes.aio.config import ConfigException, list_kube_config_contexts

from computepool.app.caches import UNFINISHED
from computepool.app.settings import RESERVED_NAMESPACES
from computepool.cli.errors import ToldError
from computepool.cli.refused_evictions import Refusal, read_refusals
from computepool.kube import paths
from computepool.kube.client import ApiClient
from computepool.kube.credentials import load_access, logged_errors
from computepool.kube.errors import Forbidden, NotFound
from computepool.model.api import ComputePool, InvalidPool
from computepool.model.labels import Labels
from computepool.observe.decode import Records
from computepool.observe.store import Store

_list_contexts = cast("Callable[[str], tuple[Any, Any]]", list_kube_config_contexts)


class NotFoundError(ToldError):
    """A pool or pod that does not exist; the message says what to check."""


@dataclass(frozen=True, slots=True)
class View:
    """One read of the cluster."""

    store: Store
    now: float
    """When it was read, in seconds since the epoch."""
    reserved: frozenset[str]
    """The namespaces that are never managed."""
    refusals: Mapping[str, Refusal] | None
    """Refused evictions by the pod's uid; None where events may not be listed."""
    namespaces: Mapping[str, Labels]
    """Labels of namespaces by name, as far as they may be read."""
    missing: Mapping[str, str]
    """By resource that may not be listed: the API server's message."""


async def load_view(kubeconfig: str | None, context: str | None, operator_namespace: str) -> View:
    """Read pools, namespaces, nodes and unfinished pods. Raises AccessError or ApiError, also for a missing right."""
    async with ApiClient(await load_access(kubeconfig, context)) as client:
        return await read_view(client, operator_namespace, None)


async def read_view(client: ApiClient, operator_namespace: str, about: tuple[str, str] | None) -> View:
    """Read pools, namespaces, nodes, unfinished pods, and the events about one pod. Raises ApiError.

    `about`: namespace and name of that pod. Where a right is missing, its namespace is read alone, and all else that
    may not be listed is left out. None: no events are read, and a missing right is an error.
    """
    now = time.time()
    missing: dict[str, str] = {}
    reserved = (*RESERVED_NAMESPACES, operator_namespace)
    store = Store(lambda _pool, _at, **_: None, wall=lambda: now, reserved_namespaces=reserved)
    records = Records()

    async def read(resource: str, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Forbidden as error:
            if about is None:
                raise
            missing[resource] = error.message

    async def fill_pools() -> None:
        for pool in await load_pools(client):
            store.put_pool(pool, 0.0)

    namespaces: dict[str, Labels] = {}

    def put_namespace(raw: bytes) -> None:
        namespace = records.namespace(raw)
        namespaces[namespace.name] = namespace.labels
        store.put_namespace(namespace, 0.0)

    await read("computepools", fill_pools())
    refusals, *_ = await asyncio.gather(
        _refusals(client, about),
        read("namespaces", _fill(client, paths.NAMESPACES, put_namespace)),
        read("nodes", _fill(client, paths.NODES, lambda raw: store.put_node(records.node(raw), 0.0))),
        read("pods", _fill(client, paths.PODS, lambda raw: store.put_pod(records.pod(raw), 0.0), UNFINISHED)),
    )
    if about is not None and "namespaces" in missing:
        await _read_namespace(client, about[0], put_namespace)
    return View(store, now, frozenset(reserved), refusals, namespaces, missing)


async def _read_namespace(client: ApiClient, name: str, put: Callable[[bytes], None]) -> None:
    """Read one namespace, which a person may do who has rights there only. Without the right it stays unknown."""
    with suppress(Forbidden, NotFound):
        put(await client.get(f"{paths.NAMESPACES}/{name}"))


async def _refusals(client: ApiClient, about: tuple[str, str] | None) -> Mapping[str, Refusal] | None:
    return None if about is None else await read_refusals(client, *about)


async def load_pools(client: ApiClient) -> list[ComputePool]:
    """Read all pools, sorted by name; pools that this version can't read are left out."""
    pools = []
    async for page in client.list_pages(paths.POOLS):
        for raw in page.items:
            try:
                pools.append(ComputePool.from_object(msgspec.json.decode(raw)))
            except InvalidPool:
                continue
    return sorted(pools, key=lambda pool: pool.name)


def current_namespace(kubeconfig: str | None, name: str | None = None) -> str:
    """Return the namespace of the kubeconfig's context of that name, as kubectl does; `default` where it has none.

    `name`: None for the current context.
    """
    given = kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config"
    try:
        files = [str(Path(path).expanduser()) for path in given.split(os.pathsep) if path]
        with logged_errors():
            contexts, current = _list_contexts(os.pathsep.join(files))
        context = current if name is None else next((found for found in contexts if found["name"] == name), None)
    except (ConfigException, yaml.YAMLError, OSError, RuntimeError, ValueError, TypeError, AttributeError):
        # Connecting with this file will report what is wrong with it.
        return "default"
    return str((context or {}).get("context", {}).get("namespace") or "default")


async def _fill(
    client: ApiClient, path: str, put: Callable[[bytes], None], query: Mapping[str, str] | None = None
) -> None:
    async for page in client.list_pages(path, query):
        for raw in page.items:
            try:
                put(bytes(raw))
            except (msgspec.ValidationError, ValueError):
                # The operator goes on without objects that it can't read.
                continue
