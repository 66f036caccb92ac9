"""The least that could empty a provider: taint its nodes, evict its pods, patch each new pod with one toleration.

No cache, no check of room, no budget, no account of anything: `python -m e2e.bench.bare_evict PROVIDER AT_ONCE
PER_MINUTE`. At most AT_ONCE pods are on their way: evicted, and another in their place not bound yet; and at most
PER_MINUTE are evicted in any minute.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine, Mapping
from typing import Any

import msgspec

from e2e.bench.children import READY, Connection, answer, messages, session, watch
from e2e.objects import provider_toleration

MINUTE = 60.0
# As many requests at once as the operator sends.
PARALLEL = 32
TAINT = {"key": "computepool.io/unavailable", "value": "Drained", "effect": "NoSchedule"}
JSON_PATCH = {
    "Content-Type": "application/json-patch+json",
    "Accept": "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
}
JSON = {"Content-Type": "application/json"}


class Order(msgspec.Struct, frozen=True):
    """What to empty, at once."""

    nodes: list[str]
    pods: list[tuple[str, str]]
    """Name and uid of each."""


class _Meta(msgspec.Struct):
    name: str


class _Spec(msgspec.Struct, rename="camel"):
    node_name: str = ""


class _Pod(msgspec.Struct):
    metadata: _Meta
    spec: _Spec


class _Event(msgspec.Struct):
    type: str
    object: _Pod


_decode = msgspec.json.Decoder(_Event).decode


class Script:
    """Empties a provider as it is told to."""

    def __init__(self, connection: Connection, provider: str, at_once: int, per_minute: int) -> None:
        """New pods are sent on to `provider`."""
        patch = [{"op": "add", "path": "/spec/tolerations/-", "value": provider_toleration(provider)}]
        self._toleration = msgspec.json.encode(patch)
        self._connection = connection
        self._http = session(connection, PARALLEL)
        self._ways = asyncio.Semaphore(at_once)
        self._lately = asyncio.Semaphore(per_minute)
        self._new: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def follow(self) -> None:
        """Send new pods on, and count those that are bound, until cancelled."""
        async with self._http, session(self._connection, 0) as streams:
            async for _, lines in watch(streams, self._connection.pods):
                if not lines:
                    answer(READY)
                for event in map(_decode, lines):
                    self._note(event)

    def empty(self, order: Order) -> None:
        """Begin to empty the nodes."""
        self._spawn(self._empty(order))

    def _note(self, event: _Event) -> None:
        name = event.object.metadata.name
        if event.type == "ADDED":
            self._new.add(name)
            self._spawn(self._send_on(name))
        elif event.type == "MODIFIED" and event.object.spec.node_name and name in self._new:
            self._new.discard(name)
            self._ways.release()

    async def _empty(self, order: Order) -> None:
        await asyncio.gather(*map(self._taint, order.nodes))
        for name, uid in order.pods:
            await self._ways.acquire()
            await self._lately.acquire()
            self._spawn(self._evict(name, uid))

    async def _taint(self, name: str) -> None:
        body = [{"op": "add", "path": "/spec/taints", "value": [TAINT]}]
        await self._send("PATCH", f"{self._connection.url}/api/v1/nodes/{name}", msgspec.json.encode(body), JSON_PATCH)

    async def _evict(self, name: str, uid: str) -> None:
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": name},
            # The chart's guard asks for it.
            "deleteOptions": {"preconditions": {"uid": uid}},
        }
        await self._send("POST", f"{self._connection.pods}/{name}/eviction", msgspec.json.encode(body), JSON)
        asyncio.get_running_loop().call_later(MINUTE, self._lately.release)

    async def _send_on(self, name: str) -> None:
        await self._send("PATCH", f"{self._connection.pods}/{name}", self._toleration, JSON_PATCH)

    async def _send(self, method: str, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        async with self._http.request(method, url, data=body, headers=headers) as done:
            text = await done.text()
            if done.status >= 300:
                print(f"bare script: {done.status} {text}", file=sys.stderr)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def main(provider: str, at_once: int, per_minute: int) -> None:
    """Run until the parent is done with us."""
    lines = messages()
    connection = msgspec.json.decode(await anext(lines), type=Connection)
    script = Script(connection, provider, at_once, per_minute)
    following = asyncio.create_task(script.follow())
    async for line in lines:
        script.empty(msgspec.json.decode(line, type=Order))
    following.cancel()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
