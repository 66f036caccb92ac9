"""One read of the cluster, for `explain`, `diff` and `signals`: the operator's own store, filled once."""

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
from computepool.cli.errors import NEEDS_CLUSTER, ToldError
from computepool.cli.refused_writes import RefusedWrites, read_refused_writes
from computepool.kube import paths
from computepool.kube.client import ApiClient
from computepool.kube.credentials import load_access, logged_errors
from computepool.kube.errors import Forbidden, NotFound
from computepool.model.api import ComputePool, InvalidPool
from computepool.model.labels import Labels
from computepool.observe.decode import Records
from computepool.observe.store import Store
from computepool.report.formatting import full_stop

_list_contexts = cast("Callable[[str], tuple[Any, Any]]", list_kube_config_contexts)


class NotFoundError(ToldError):
    """A pool or pod that does not exist; the message says what to check."""


class MissingRightsError(ToldError):
    """Some of the cluster may not be read; the message names each right that is missing."""


@dataclass(frozen=True, slots=True)
class View:
    """One read of the cluster."""

    store: Store
    now: float
    """When it was read, in seconds since the epoch."""
    reserved: frozenset[str]
    """The namespaces that are never managed."""
    refused: RefusedWrites | None
    """Refused writes to one pod; None where events may not be listed."""
    namespaces: Mapping[str, Labels]
    """Labels of namespaces by name, as far as they may be read."""
    missing: Mapping[str, str]
    """By resource that may not be listed: the API server's message."""
    unread_pools: tuple[str, ...] = ()
    """Names of the pools that this version can't read, sorted."""


async def load_view(kubeconfig: str | None, context: str | None, operator_namespace: str) -> View:
    """Read pools, namespaces, nodes and unfinished pods. Raises AccessError, ApiError or MissingRightsError."""
    async with ApiClient(await load_access(kubeconfig, context)) as client:
        view = await read_view(client, operator_namespace, None)
    if view.missing:
        raise MissingRightsError(f"{missing_rights(view)} This command needs the right to {NEEDS_CLUSTER}.")
    return view


def missing_rights(view: View) -> str:
    """Return a sentence for each right that is missing."""
    return " ".join(full_stop(message) for _, message in sorted(view.missing.items()))


async def read_view(client: ApiClient, operator_namespace: str, about: tuple[str, str] | None) -> View:
    """Read pools, namespaces, nodes, unfinished pods, and the events about one pod. Raises ApiError.

    `about`: namespace and name of that pod, None: no events are read. What may not be listed is left out. Where
    namespaces may not be listed, the pod's namespace is read alone.
    """
    now = time.time()
    missing: dict[str, str] = {}
    reserved = (*RESERVED_NAMESPACES, operator_namespace)
    store = Store(lambda _pool, _at, **_: None, wall=lambda: now, reserved_namespaces=reserved)
    records = Records()

    async def read(resource: str, work: Coroutine[Any, Any, object]) -> None:
        try:
            await work
        except Forbidden as error:
            missing[resource] = error.message

    unread: list[str] = []

    async def fill_pools() -> None:
        pools, names = await _read_pools(client)
        unread.extend(names)
        for pool in pools:
            store.put_pool(pool, 0.0)

    namespaces: dict[str, Labels] = {}

    def put_namespace(raw: bytes) -> None:
        namespace = records.namespace(raw)
        namespaces[namespace.name] = namespace.labels
        store.put_namespace(namespace, 0.0)

    await read("computepools", fill_pools())
    refused, *_ = await asyncio.gather(
        _refused_writes(client, about),
        read("namespaces", take_all(client, paths.NAMESPACES, put_namespace)),
        read("nodes", take_all(client, paths.NODES, lambda raw: store.put_node(records.node(raw), 0.0))),
        read("pods", take_all(client, paths.PODS, lambda raw: store.put_pod(records.pod(raw), 0.0), UNFINISHED)),
    )
    if about is not None and "namespaces" in missing:
        await _read_namespace(client, about[0], put_namespace)
    for uid, patches in (refused.patches if refused is not None else {}).items():
        for patch in patches:
            store.refused_offers.note(uid, patch.offer)
    return View(store, now, frozenset(reserved), refused, namespaces, missing, tuple(sorted(unread)))


async def _read_namespace(client: ApiClient, name: str, put: Callable[[bytes], None]) -> None:
    """Read one namespace, which a person may do who has rights there only. Without the right it stays unknown."""
    with suppress(Forbidden, NotFound):
        put(await client.get(f"{paths.NAMESPACES}/{name}"))


async def _refused_writes(client: ApiClient, about: tuple[str, str] | None) -> RefusedWrites | None:
    return None if about is None else await read_refused_writes(client, *about)


async def load_pools(client: ApiClient) -> list[ComputePool]:
    """Read all pools, sorted by name; pools that this version can't read are left out."""
    return (await _read_pools(client))[0]


async def _read_pools(client: ApiClient) -> tuple[list[ComputePool], list[str]]:
    """Return all pools, sorted by name, and the names of the pools that this version can't read."""
    pools, unread = list[ComputePool](), list[str]()
    async for page in client.list_pages(paths.POOLS):
        for raw in page.items:
            found = msgspec.json.decode(raw)
            try:
                pools.append(ComputePool.from_object(found))
            except InvalidPool:
                unread.append(found["metadata"]["name"])
    return sorted(pools, key=lambda pool: pool.name), unread


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


async def take_all(
    client: ApiClient, path: str, take: Callable[[bytes], None], query: Mapping[str, str] | None = None
) -> list[Exception]:
    """List objects, and take each as JSON. Return the errors of those that can't be read. Raises ApiError.

    The operator goes on without objects that it can't read, and so does a command.
    """
    unread: list[Exception] = []
    async for page in client.list_pages(path, query):
        for raw in page.items:
            try:
                take(bytes(raw))
            except (msgspec.ValidationError, ValueError) as error:
                unread.append(error)
    return unread
