"""The least that could do what the operator does: watch pods, and send each on with one patch.

No cache, no check, no account of anything, no error handled: `python -m e2e.bench.bare added|unschedulable`.
`added` patches every new pod at once; `unschedulable` those that the scheduler has found no node for.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Literal

import msgspec

from e2e.bench.children import READY, Connection, answer, messages, session, watch
from e2e.objects import provider_toleration

# As many patches at once as the operator sends.
PARALLEL = 32
HEADERS = {
    "Content-Type": "application/json-patch+json",
    # The answer is not looked at: the shortest will do.
    "Accept": "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
}


class _Meta(msgspec.Struct):
    name: str


class _Condition(msgspec.Struct):
    type: str
    reason: str = ""


class _Status(msgspec.Struct):
    conditions: list[_Condition] = []


class _Pod(msgspec.Struct):
    metadata: _Meta
    status: _Status


class _Added(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _Named(msgspec.Struct):
    metadata: _Meta


_decode_event = msgspec.json.Decoder(_Added).decode
_decode_named = msgspec.json.Decoder(_Named).decode
_decode_pod = msgspec.json.Decoder(_Pod).decode


class Script:
    """Patches pods as a watch tells of them."""

    def __init__(self, connection: Connection, provider: str) -> None:
        """Send pods on to `provider`."""
        # The API server has given each pod two tolerations already, so there is a list to add to.
        patch = [{"op": "add", "path": "/spec/tolerations/-", "value": provider_toleration(provider)}]
        self._body = msgspec.json.encode(patch)
        self._connection = connection
        self._http = session(connection, PARALLEL)
        self._seen: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, on: Literal["added", "unschedulable"]) -> None:
        """Go on until cancelled."""
        pick = _added if on == "added" else self._unschedulable
        async with self._http, session(self._connection, 0) as streams:
            async for _, lines in watch(streams, self._connection.pods):
                if not lines:
                    answer(READY)
                for line in lines:
                    if name := pick(line):
                        task = asyncio.create_task(self._patch(name))
                        self._tasks.add(task)
                        task.add_done_callback(self._tasks.discard)

    def _unschedulable(self, line: bytes) -> str:
        event = _decode_event(line)
        if event.type != "MODIFIED":
            return ""
        pod = _decode_pod(event.object)
        name = pod.metadata.name
        if name in self._seen or not any(c.reason == "Unschedulable" for c in pod.status.conditions):
            return ""
        self._seen.add(name)
        return name

    async def _patch(self, name: str) -> None:
        async with self._http.patch(f"{self._connection.pods}/{name}", data=self._body, headers=HEADERS) as done:
            await done.read()


def _added(line: bytes) -> str:
    event = _decode_event(line)
    return _decode_named(event.object).metadata.name if event.type == "ADDED" else ""


async def main(on: Literal["added", "unschedulable"], provider: str) -> None:
    """Run until the parent is done with us."""
    lines = messages()
    connection = msgspec.json.decode(await anext(lines), type=Connection)
    script = asyncio.create_task(Script(connection, provider).run(on))
    end = asyncio.create_task(anext(lines, b""))
    done, _ = await asyncio.wait([script, end], return_when=asyncio.FIRST_COMPLETED)
    if script in done:
        script.result()
    script.cancel()


if __name__ == "__main__":
    asyncio.run(main("added" if sys.argv[1] == "added" else "unschedulable", sys.argv[2]))
