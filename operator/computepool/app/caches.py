"""The reflectors of nodes, pods and namespaces, all feeding one store, and how current they are."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from computepool.app import collector
from computepool.kube.client import ApiClient
from computepool.model.snapshot import Node, Pod
from computepool.observe.records import Namespace, Records
from computepool.observe.reflector import Reflector, Resource, Tuning
from computepool.observe.store import Store

T = TypeVar("T", Namespace, Node, Pod)

PODS = "/api/v1/pods"
UNFINISHED = {"fieldSelector": "status.phase!=Succeeded,status.phase!=Failed"}


@dataclass(frozen=True)
class _StoreSink(Generic[T]):
    """Hands one resource's changes to the store; a finished sync has every pool looked at."""

    put: Callable[[T, float], None]
    drop: Callable[[str, float], None]
    synced: Callable[[float], None]

    def sync_started(self, at: float, /) -> None:
        """Nothing to prepare: the store is kept equal object by object."""

    def upsert(self, _key: str, item: T, at: float, /) -> None:
        """Store it."""
        self.put(item, at)

    def delete(self, key: str, at: float) -> None:
        """Forget it."""
        self.drop(key, at)

    def sync_finished(self, at: float) -> None:
        """Look at everything: a change missed in between shows in no single event."""
        self.synced(at)


class Caches:
    """Three reflectors; the view is current when all of them are."""

    def __init__(
        self, client: ApiClient, store: Store, *, clock: Callable[[], float], tuning: Tuning | None = None
    ) -> None:
        """Nothing runs yet. `tuning`: times and sizes of the reflectors, other than their defaults."""
        records = Records()
        self._clock = clock

        def follow(
            path: str, decode: Callable[[bytes], T], key: Callable[[T], str], sink: _StoreSink[T]
        ) -> Reflector[T]:
            query = UNFINISHED if path == PODS else {}
            resource: Resource[T] = Resource(path=path, decode=decode, key=key, version=_version, query=query)
            return Reflector(client, resource, sink, clock=clock, tuning=tuning)

        synced = store.mark_all
        self.reflectors: dict[str, Reflector[Any]] = {
            "namespaces": follow(
                "/api/v1/namespaces",
                records.namespace,
                lambda namespace: namespace.name,
                _StoreSink(store.put_namespace, store.drop_namespace, synced),
            ),
            "nodes": follow(
                "/api/v1/nodes",
                records.node,
                lambda node: node.name,
                _StoreSink(store.put_node, store.drop_node, synced),
            ),
            "pods": follow(PODS, records.pod, lambda pod: pod.uid, _StoreSink(store.put_pod, store.drop_pod, synced)),
        }

    async def run(self) -> None:
        """Follow all three until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for reflector in self.reflectors.values():
                tasks.create_task(reflector.run())
            tasks.create_task(self._settle())

    async def wait(self) -> None:
        """Wait until each has delivered its first complete list."""
        for reflector in self.reflectors.values():
            await reflector.synced.wait()

    def age(self, resource: str) -> float:
        """Return for how many seconds a resource's view is not known to be current."""
        return self.reflectors[resource].age(self._clock())

    def trouble(self, limit: float) -> str:
        """Say which view is missing or older than `limit` seconds and why; nothing where all are current."""
        for name, reflector in self.reflectors.items():
            if not reflector.synced.is_set():
                return f"{name} are not listed yet{_because(reflector)}"
            age = reflector.age(self._clock())
            if age > limit:
                return f"the view of {name} is {age:.0f} s old{_because(reflector)}"
        return ""

    def unreadable(self) -> str:
        """Say of which resources objects can't be read, and what is wrong with the first of each; or nothing."""
        return "; ".join(reflector.unread for reflector in self.reflectors.values() if reflector.unread)

    async def _settle(self) -> None:
        await self.wait()
        collector.settle()


def _version(item: Namespace | Node | Pod) -> int:
    return item.resource_version


def _because(reflector: Reflector[Any]) -> str:
    return f": {reflector.last_error}" if reflector.last_error else ""
