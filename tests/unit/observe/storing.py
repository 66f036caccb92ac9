"""A store filled with objects, and the pools that it enqueued for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from computepool.model.api import ComputePool
from computepool.model.cluster import NodeInfo, Pod
from computepool.observe.decode import Namespace
from computepool.observe.store import Store
from tests.builders import NOW, namespace, node, pod, pool

AT = 5.0
WORLD = (pool(), namespace(), node("a1"), node("n1"), node("x1", of="elsewhere"), pod("p"), pod("q", on="a1"))


class Enqueued(list[tuple[str, float]]):
    """The pools that were enqueued, each with the time."""

    def pools(self) -> set[str]:
        return {name for name, _ in self}


@dataclass
class Clock:
    now: float = NOW

    def __call__(self) -> float:
        return self.now


def new_store(enqueued: Enqueued | None = None, wall: Callable[[], float] | None = None) -> Store:
    calls = Enqueued() if enqueued is None else enqueued
    return Store(
        lambda name, at, **_: calls.append((name, at)), wall=wall or Clock(), reserved_namespaces=["kube-system"]
    )


def filled(*items: Any, enqueued: Enqueued | None = None, wall: Callable[[], float] | None = None) -> Store:
    """A store with these objects, put in this order."""
    store = new_store(enqueued, wall)
    for item in items:
        put(store, item)
    if enqueued is not None:
        enqueued.clear()
    return store


def put(store: Store, item: Any) -> None:
    if isinstance(item, ComputePool):
        store.put_pool(item, AT)
    elif isinstance(item, Namespace):
        store.put_namespace(item, AT)
    elif isinstance(item, Pod):
        store.put_pod(item, AT)
    else:
        store.put_node(item, AT)


def changed(before: Pod, **fields: Any) -> Pod:
    return msgspec.structs.replace(before, resource_version=before.resource_version + 1, **fields)


def info_of(store: Store, name: str, of: str = "inference") -> NodeInfo:
    (found,) = [info for info in store.snapshot(of).nodes if info.node.name == name]
    return found


def waiting(store: Store, of: str = "inference") -> list[str]:
    return sorted(pod.name for pod in store.snapshot(of).waiting)
