"""The burst script that the operator is compared with: watches pods, and patches each pod once.

No cache, no check, no account of anything: `python -m e2e.bench.bare added|unschedulable PROVIDER`. `added` patches
every new pod at once; `unschedulable` those that the scheduler has found no node for.
"""

from __future__ import annotations

import asyncio
import sys
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Mapping
from typing import Any

import msgspec

from e2e.bench.children import FIELD_MANAGER, READY, Connection, answer, received, session, watch
from e2e.objects import provider_toleration

# As many requests at once as the operator sends.
PARALLEL = 32
JSON_PATCH = {
    "Content-Type": "application/json-patch+json",
    # The answer is not looked at: the shortest will do.
    "Accept": "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
}


class _Meta(msgspec.Struct):
    name: str


class _Spec(msgspec.Struct, rename="camel"):
    node_name: str = ""


class _Condition(msgspec.Struct):
    reason: str = ""


class _Status(msgspec.Struct):
    conditions: list[_Condition] = []


class Pod(msgspec.Struct):
    """As little of a pod as a script can do with."""

    metadata: _Meta
    spec: _Spec
    status: _Status


class _Event(msgspec.Struct):
    type: str
    object: Pod


_decode = msgspec.json.Decoder(_Event).decode


class Script(ABC):
    """Watches pods, and patches some of them."""

    def __init__(self, connection: Connection, provider: str) -> None:
        """Send pods to `provider`."""
        # The API server has given each pod two tolerations already, so there is a list to add to.
        patch = [{"op": "add", "path": "/spec/tolerations/-", "value": provider_toleration(provider)}]
        self._toleration = msgspec.json.encode(patch)
        self._connection = connection
        self._http = session(connection, PARALLEL)
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Watch until the process ends; say when the watch has begun."""
        async with self._http, session(self._connection, 0) as streams:
            async for _, lines in watch(streams, self._connection.pods):
                if not lines:
                    answer(READY)
                for event in map(_decode, lines):
                    self.note(event.type, event.object)

    @abstractmethod
    def note(self, change: str, pod: Pod) -> None:
        """Do what an event of the watch calls for; `change` is ADDED, MODIFIED or DELETED."""

    def send_on(self, name: str) -> None:
        """Give a pod the toleration, in the background."""
        self.spawn(self.request("PATCH", f"{self._connection.pods}/{name}", self._toleration, JSON_PATCH))

    async def request(self, method: str, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Send a request; a refusal is shown, and that is all."""
        params = {"fieldManager": FIELD_MANAGER}
        async with self._http.request(method, url, params=params, data=body, headers=headers) as done:
            content = await done.read()
            if done.status >= 300:
                print(f"bare script: {done.status} {content.decode()}", file=sys.stderr)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin to do something."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class OnAdded(Script):
    """Patches each pod as it appears."""

    def note(self, change: str, pod: Pod) -> None:
        """Patch a new pod."""
        if change == "ADDED":
            self.send_on(pod.metadata.name)


class OnUnschedulable(Script):
    """Patches each pod once the scheduler has given up on it."""

    def __init__(self, connection: Connection, provider: str) -> None:
        """Send pods to `provider`."""
        super().__init__(connection, provider)
        self._seen: set[str] = set()

    def note(self, change: str, pod: Pod) -> None:
        """Patch a pod that is seen to be unschedulable for the first time."""
        name = pod.metadata.name
        if change != "MODIFIED" or name in self._seen:
            return
        if any(condition.reason == "Unschedulable" for condition in pod.status.conditions):
            self._seen.add(name)
            self.send_on(name)


async def main(when: str, provider: str) -> None:
    """Run until the process is ended."""
    kind = OnAdded if when == "added" else OnUnschedulable
    await kind(received(Connection), provider).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
