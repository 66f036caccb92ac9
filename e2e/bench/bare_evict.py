"""The eviction script that the operator is compared with: taints nodes, evicts pods, and patches each new pod.

No cache, no check of room, no budget, no account of anything: `python -m e2e.bench.bare_evict PROVIDER AT_ONCE
PER_MINUTE`. At most AT_ONCE pods are on their way: evicted, and another in their place not bound yet; and at most
PER_MINUTE are evicted in any minute.
"""

from __future__ import annotations

import asyncio
import sys

import msgspec

from e2e.bench.bare import JSON_PATCH, Pod, Script
from e2e.bench.children import Connection, received

MINUTE = 60.0
TAINT = {"key": "computepool.io/unavailable", "value": "Drained", "effect": "NoSchedule"}
JSON = {"Content-Type": "application/json"}


class Order(msgspec.Struct, frozen=True):
    """What to empty, at once."""

    nodes: list[str]
    pods: list[tuple[str, str]]
    """Name and uid of each."""


class EmptyingScript(Script):
    """Empties a provider when it is told to."""

    def __init__(self, connection: Connection, provider: str, at_once: int, per_minute: int) -> None:
        """New pods are sent to `provider`."""
        super().__init__(connection, provider)
        self._ways = asyncio.Semaphore(at_once)
        self._lately = asyncio.Semaphore(per_minute)
        self._new: set[str] = set()

    def note(self, change: str, pod: Pod) -> None:
        """Send a new pod on, and count it once it is bound."""
        name = pod.metadata.name
        if change == "ADDED":
            self._new.add(name)
            self.send_on(name)
        elif change == "MODIFIED" and pod.spec.node_name and name in self._new:
            self._new.discard(name)
            self._ways.release()

    async def obey(self) -> None:
        """Wait for the order, and carry it out."""
        await self._empty(await asyncio.to_thread(received, Order))

    async def _empty(self, order: Order) -> None:
        await asyncio.gather(*map(self._taint, order.nodes))
        for name, uid in order.pods:
            await self._ways.acquire()
            await self._lately.acquire()
            self.spawn(self._evict(name, uid))

    async def _taint(self, name: str) -> None:
        body = [{"op": "add", "path": "/spec/taints", "value": [TAINT]}]
        await self.request(
            "PATCH", f"{self._connection.url}/api/v1/nodes/{name}", msgspec.json.encode(body), JSON_PATCH
        )

    async def _evict(self, name: str, uid: str) -> None:
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": name},
            # The chart's guard asks for it.
            "deleteOptions": {"preconditions": {"uid": uid}},
        }
        await self.request("POST", f"{self._connection.pods}/{name}/eviction", msgspec.json.encode(body), JSON)
        asyncio.get_running_loop().call_later(MINUTE, self._lately.release)


async def main(provider: str, at_once: int, per_minute: int) -> None:
    """Run until the process is ended."""
    script = EmptyingScript(received(Connection), provider, at_once, per_minute)
    await asyncio.gather(script.run(), script.obey())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
