"""Sees what happens to pods and when, independently of whoever makes it happen: a process with a watch of its own.

Its clock is the monotonic one, which all processes of a machine share.
"""

from __future__ import annotations

import asyncio

import msgspec

from e2e.bench.children import READY, Child, Connection, answer, messages, session, watch
from e2e.objects import PROVIDER_KEY


class Seen(msgspec.Struct):
    """When things were first seen of one pod, in seconds; None: never."""

    added: float
    unschedulable: float | None = None
    sent_on: float | None = None
    """When it was first seen with a toleration of a provider's taint."""
    bound: float | None = None
    node: str = ""


class Batch(msgspec.Struct, frozen=True):
    """Asks for all pods whose names begin with `prefix` and a dash, once `count` of them are bound."""

    prefix: str
    count: int
    timeout: float


class Quiet(msgspec.Struct, frozen=True, tag=True):
    """What the witness says of the present: pods that are there, and seconds since anything happened."""

    pods: int
    since: float


class Witness:
    """The witness, from outside."""

    def __init__(self, connection: Connection) -> None:
        """Start it; from now on it sees everything in the namespace."""
        self._child = Child(__name__, connection)

    def close(self) -> None:
        """End it."""
        self._child.close()

    def wait(self, prefix: str, count: int, timeout: float) -> dict[str, Seen]:
        """Wait until so many pods of a batch are bound, or the time is over; return what was seen, by pod name."""
        return msgspec.json.decode(self._child.ask(Batch(prefix, count, timeout)), type=dict[str, Seen])

    def quiet(self) -> Quiet:
        """Return how quiet it is."""
        return msgspec.json.decode(self._child.ask(Batch("", 0, 0)), type=Quiet)


# -- in the child --------------------------------------------------------------------------------------------------


class _Meta(msgspec.Struct):
    name: str


class _Toleration(msgspec.Struct):
    key: str = ""


class _Spec(msgspec.Struct, rename="camel"):
    node_name: str = ""
    tolerations: list[_Toleration] = []


class _Condition(msgspec.Struct):
    reason: str = ""


class _Status(msgspec.Struct):
    conditions: list[_Condition] = []


class _Pod(msgspec.Struct):
    metadata: _Meta
    spec: _Spec
    status: _Status


class _Event(msgspec.Struct):
    type: str
    object: _Pod


_decode = msgspec.json.Decoder(_Event).decode


class _Notes:
    """What was seen, by batch and pod."""

    def __init__(self) -> None:
        self._batches: dict[str, dict[str, Seen]] = {}
        self._bound: dict[str, int] = {}
        self._present: set[str] = set()
        self._last = 0.0
        self._changed = asyncio.Event()

    async def follow(self, connection: Connection) -> None:
        async with session(connection, 0) as http:
            async for at, lines in watch(http, connection.pods):
                if not lines:
                    answer(READY)
                for line in lines:
                    self._note(_decode(line), at)
                self._last = at
                self._changed.set()

    async def batch(self, wanted: Batch) -> dict[str, Seen]:
        try:
            async with asyncio.timeout(wanted.timeout):
                while self._bound.get(wanted.prefix, 0) < wanted.count:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pass  # What is missing is missing in the answer.
        return self._batches.pop(wanted.prefix, {})

    def quiet(self) -> Quiet:
        return Quiet(len(self._present), asyncio.get_running_loop().time() - self._last)

    def _note(self, event: _Event, at: float) -> None:
        pod = event.object
        name = pod.metadata.name
        if event.type == "DELETED":
            self._present.discard(name)
            return
        self._present.add(name)
        prefix = name.rpartition("-")[0]
        seen = self._batches.setdefault(prefix, {}).setdefault(name, Seen(at))
        if seen.sent_on is None and any(one.key == PROVIDER_KEY for one in pod.spec.tolerations):
            seen.sent_on = at
        if seen.bound is None and pod.spec.node_name:
            seen.bound, seen.node = at, pod.spec.node_name
            self._bound[prefix] = self._bound.get(prefix, 0) + 1
        if seen.unschedulable is None and any(one.reason == "Unschedulable" for one in pod.status.conditions):
            seen.unschedulable = at


async def _main() -> None:
    lines = messages()
    connection = msgspec.json.decode(await anext(lines), type=Connection)
    notes = _Notes()
    following = asyncio.create_task(notes.follow(connection))
    async for line in lines:
        if following.done():
            following.result()
        wanted = msgspec.json.decode(line, type=Batch)
        answer(await notes.batch(wanted) if wanted.prefix else notes.quiet())
    following.cancel()


if __name__ == "__main__":
    asyncio.run(_main())
