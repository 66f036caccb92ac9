"""The reflectors of nodes, pods, namespaces and heartbeats, which feed one store, and how current they are.

Decisions need the view of nodes, pods and namespaces. Heartbeats and failed pods are evidence. Without it some
faults are not noticed. The pools report that, and passes go on.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final, Generic, Protocol, TypeVar

from computepool.app import garbage_collection
from computepool.kube import paths
from computepool.kube.client import ApiClient
from computepool.model.cluster import Pod
from computepool.observe.decode import Records, inexact_node, inexact_pod
from computepool.observe.failures import FailedPod, read_failed_pod
from computepool.observe.heartbeats import read_lease
from computepool.observe.reflector import Reflector, Resource, Sink, Tuning
from computepool.observe.store import Store


class _Versioned(Protocol):
    """A record of an object."""

    @property
    def resource_version(self) -> int: ...


T = TypeVar("T", bound=_Versioned)

UNFINISHED: Final = {"fieldSelector": "status.phase!=Succeeded,status.phase!=Failed"}
FAILED: Final = {"fieldSelector": "status.phase=Failed"}
LEASES_NAME: Final = "node leases"
FAILED_NAME: Final = "failed pods"
EVIDENCE: Final = {LEASES_NAME: "silence is not noticed", FAILED_NAME: "black holes are not noticed"}
"""The resources that decisions do not need, each with the effect of its absence. The others are the view."""
EVIDENCE_SECONDS: Final = 2.0
"""The longest wait for evidence at the start."""
DENIED_SECONDS: Final = 3.0
"""A right may come a moment after the operator has started, such as in the middle of an installation."""
POLL_SECONDS: Final = 0.25
LEASE_REST_SECONDS: Final = 0.5
"""Pause between two readings of heartbeats: 5,000 nodes send 500 a second."""


@dataclass(frozen=True)
class _StoreSink(Generic[T]):
    """Hands one resource's changes to the store."""

    put: Callable[[T, float], None]
    drop: Callable[[str, float], None]
    synced: Callable[[float], None] = lambda _at: None
    started: Callable[[float], None] = lambda _at: None

    def sync_started(self, at: float, /) -> None:
        """A list begins."""
        self.started(at)

    def upsert(self, _key: str, item: T, at: float, /) -> None:
        """Store the object."""
        self.put(item, at)

    def delete(self, key: str, at: float) -> None:
        """Forget the object."""
        self.drop(key, at)

    def sync_finished(self, at: float) -> None:
        """The list is complete."""
        self.synced(at)


@dataclass
class _Listing:
    """Knows which objects came from a list: their changes may have happened long ago."""

    store: Store
    listing: bool = field(default=True, init=False)

    def sync_started(self, _at: float, /) -> None:
        """From now on objects come from a list."""
        self.listing = True

    def sync_finished(self, _at: float, /) -> None:
        """From now on objects come from a watch."""
        self.listing = False


class _Pods(_Listing):
    """Hands pods to the store."""

    def upsert(self, _key: str, pod: Pod, at: float, /) -> None:
        """Store the pod."""
        self.store.put_pod(pod, at, listed=self.listing)

    def delete(self, key: str, at: float) -> None:
        """Forget the pod."""
        self.store.drop_pod(key, at, listed=self.listing)

    def sync_finished(self, at: float, /) -> None:
        """Queue all pools: no event shows a change that was missed."""
        super().sync_finished(at)
        self.store.enqueue_all(at)


class _FailedPods(_Listing):
    """Notes pods that failed."""

    def upsert(self, _key: str, pod: FailedPod, at: float, /) -> None:
        """Note the pod."""
        self.store.put_failed_pod(pod, at, listed=self.listing)

    def delete(self, key: str, at: float) -> None:
        """Keep the note: controllers delete failed pods at once."""


class Caches:
    """The reflectors. The view is current when the lists of nodes, pods and namespaces are."""

    def __init__(
        self, client: ApiClient, store: Store, *, clock: Callable[[], float], tuning: Tuning | None = None
    ) -> None:
        """`tuning` replaces the default times and sizes of the reflectors. `clock` is monotonic."""
        records = Records()
        self._clock = clock
        self._store = store
        common = tuning or Tuning()

        def follow(
            path: str,
            decode: Callable[[bytes], T],
            key: Callable[[T], str],
            sink: Sink[T],
            query: Mapping[str, str] = MappingProxyType({}),
            tuning: Tuning = common,
            inexact: Callable[[T], str] = lambda _item: "",
        ) -> Reflector[T]:
            resource: Resource[T] = Resource(
                path=path, decode=decode, key=key, version=_version, query=query, inexact=inexact
            )
            return Reflector(client, resource, sink, clock=clock, tuning=tuning)

        synced, beats = store.enqueue_all, store.heartbeats
        self.reflectors: dict[str, Reflector[Any]] = {
            "namespaces": follow(
                paths.NAMESPACES,
                records.namespace,
                lambda namespace: namespace.name,
                _StoreSink(store.put_namespace, store.drop_namespace, synced),
            ),
            "nodes": follow(
                paths.NODES,
                records.node,
                lambda node: node.name,
                _StoreSink(store.put_node, store.drop_node, synced),
                inexact=inexact_node,
            ),
            "pods": follow(paths.PODS, records.pod, lambda pod: pod.uid, _Pods(store), UNFINISHED, inexact=inexact_pod),
            FAILED_NAME: follow(
                paths.PODS,
                lambda raw: read_failed_pod(raw, records),
                lambda pod: pod.uid,
                _FailedPods(store),
                FAILED,
            ),
            LEASES_NAME: follow(
                paths.NODE_LEASES,
                read_lease,
                lambda lease: lease.name,
                _StoreSink(beats.put, lambda name, _at: beats.drop(name), beats.sync_finished, beats.sync_started),
                tuning=replace(common, rest=LEASE_REST_SECONDS),
            ),
        }

    async def run(self) -> None:
        """Follow all resources until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for reflector in self.reflectors.values():
                tasks.create_task(reflector.run())
            tasks.create_task(self._settle())

    async def wait(self) -> None:
        """Wait for the first complete list of each resource of the view, then at most EVIDENCE_SECONDS for evidence."""
        for reflector in self._view.values():
            await reflector.synced.wait()
        try:
            async with asyncio.timeout(EVIDENCE_SECONDS):
                for name in EVIDENCE:
                    await self.reflectors[name].synced.wait()
        except TimeoutError:
            return

    async def wait_unless_denied(self) -> None:
        """Wait as `wait` does, but no longer once the API server has denied a resource of the view for DENIED_SECONDS.

        Then no replica gets a view, and it is better to lead and to say so in the pools than to wait in silence.
        """
        complete, since = asyncio.create_task(self.wait()), None
        try:
            while not complete.done():
                await asyncio.wait([complete], timeout=POLL_SECONDS)
                now = self._clock()
                since = (now if since is None else since) if self.denied() else None
                if since is not None and now - since >= DENIED_SECONDS:
                    return
            complete.result()
        finally:
            complete.cancel()

    def complete(self) -> bool:
        """Say whether each resource of the view has been listed at least once."""
        return all(reflector.synced.is_set() for reflector in self._view.values())

    def denied(self) -> bool:
        """Say whether the API server denies a resource of the view: no later attempt succeeds by itself."""
        return any(reflector.denied for reflector in self._view.values())

    def age(self, resource: str) -> float:
        """Return the seconds since a resource's view was last known to be current."""
        return self.reflectors[resource].age(self._clock())

    def tick(self) -> None:
        """Have the store check for changes that no event shows. Call this about once a second."""
        self._store.tick(self._clock(), connected=self.reflectors[LEASES_NAME].connected)

    def trouble(self, limit: float) -> str:
        """Return which part of the view is missing, or older than `limit` seconds, and why; empty if none is."""
        for name, reflector in self._view.items():
            if not reflector.synced.is_set():
                return f"{name} are not listed yet{_because(reflector)}"
            if reflector.age(self._clock()) > limit:
                # A metric has the age itself. Here it would change the status in each pass.
                return f"the view of {name} is older than {limit:.0f} s{_because(reflector)}"
        return ""

    def unfollowed(self, limit: float) -> str:
        """Return which evidence is missing for `limit` seconds, why, and the effect; empty if none is."""
        return "; ".join(
            f"{name} can't be followed{_because(self.reflectors[name])}; {loss}"
            for name, loss in EVIDENCE.items()
            if self._is_lost(self.reflectors[name], limit)
        )

    def unreadable(self) -> str:
        """Return which resources have objects that can't be read, with the first error of each; empty if none has."""
        return "; ".join(reflector.unread for reflector in self.reflectors.values() if reflector.unread)

    @property
    def _view(self) -> dict[str, Reflector[Any]]:
        return {name: reflector for name, reflector in self.reflectors.items() if name not in EVIDENCE}

    def _is_lost(self, reflector: Reflector[Any], limit: float) -> bool:
        if not reflector.synced.is_set():
            # At the start the list is only late, unless there is an error.
            return reflector.last_error is not None
        return reflector.age(self._clock()) > limit

    async def _settle(self) -> None:
        await self.wait()
        garbage_collection.settle()


def _version(item: _Versioned) -> int:
    return item.resource_version


def _because(reflector: Reflector[Any]) -> str:
    return f": {reflector.last_error}" if reflector.last_error else ""
