"""One open watch of the fake API server: lines in order, and what goes wrong with them."""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web

from tests.fakes.faults import Fault, Mischief
from tests.fakes.objectstore import Change
from tests.fakes.selectors import JsonObject, Predicate


@dataclass(frozen=True, slots=True)
class Command:
    """Something to do with the watch between two lines."""

    mischief: Mischief
    code: int = 500
    retry_after: int | None = None
    line: bytes = b""


def line(kind: str, item: JsonObject) -> bytes:
    """Return a watch event as it goes over the wire."""
    return msgspec.json.encode({"type": kind, "object": item}) + b"\n"


def bookmark(meta: JsonObject, version: int, *, initial_end: bool = False) -> bytes:
    """Return a bookmark line; `meta` has the kind and apiVersion."""
    metadata: JsonObject = {"resourceVersion": str(version)}
    if initial_end:
        metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
    return line("BOOKMARK", {**meta, "metadata": metadata})


def status(code: int, reason: str, message: str, retry_after: int | None = None) -> JsonObject:
    """Return a Status object: the body of a refusal, and the object of an ERROR event."""
    body: JsonObject = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }
    if retry_after is not None:
        body["details"] = {"retryAfterSeconds": retry_after}
    return body


class Watch:
    """Sends what it is given, in order, until its end."""

    def __init__(
        self, collection: str, namespace: str, wanted: Predicate, meta: JsonObject, *, bookmarks: bool
    ) -> None:
        self.collection = collection
        self.namespace = namespace
        self.meta = meta
        self.bookmarks = bookmarks
        self.sent: list[bytes] = []
        self._wanted = wanted
        self._queue: asyncio.Queue[bytes | Command] = asyncio.Queue()

    def put(self, item: bytes | Command) -> None:
        """Queue a line or a command."""
        self._queue.put_nowait(item)

    def put_change(self, change: Change) -> None:
        """Queue what this change means to this watch: an object that leaves its selectors is deleted, to it."""
        after = change.type != "DELETED" and self._sees(change.item)
        before = change.before is not None and self._sees(change.before)
        if after:
            self.put(line("MODIFIED" if before else "ADDED", {**self.meta, **change.item}))
        elif before:
            gone: dict[str, Any] = change.before or {}
            metadata = {**gone["metadata"], "resourceVersion": str(change.version)}
            self.put(line("DELETED", {**self.meta, **gone, "metadata": metadata}))

    def put_bookmark(self, version: int) -> None:
        """Queue a bookmark, where this watch asked for them."""
        if self.bookmarks:
            self.put(bookmark(self.meta, version))

    async def serve(self, request: web.Request, response: web.StreamResponse, fault: Fault | None, chop: int) -> None:
        """Send until the end; `chop` > 0 cuts what is sent into pieces of so many bytes."""
        wire = _Wire(request, response, chop)
        while True:
            if fault is not None and fault.then is not None and len(self.sent) >= fault.after:
                command = Command(fault.then, fault.code, fault.retry_after)
                fault = None
            else:
                item = await self._queue.get()
                if isinstance(item, bytes):
                    await wire.send(item)
                    self.sent.append(item)
                    continue
                command = item
            if await self._over(command, wire):
                return

    async def _over(self, command: Command, wire: _Wire) -> bool:
        """Do what the command says; return whether the watch has ended."""
        match command.mischief:
            case "end":
                return True
            case "drop":
                wire.reset()
                return True
            case "cut":
                following = self._next_line()
                await wire.send(following[: len(following) // 2])
                wire.close()
                return True
            case "mute":
                await asyncio.Event().wait()
            case "garbage":
                await wire.send(command.line or b'{"type": "ADDED", "object": oops\n')
            case "error":
                reason = {410: "Expired", 429: "TooManyRequests"}.get(command.code, "InternalError")
                await wire.send(line("ERROR", status(command.code, reason, "told to fail", command.retry_after)))
                return True
            case "repeat":
                await wire.send(self.sent[0] if self.sent else self._next_line())
            case "bookmark":
                await wire.send(bookmark(self.meta, 1))
        return False

    def _sees(self, item: JsonObject) -> bool:
        return (not self.namespace or item["metadata"].get("namespace") == self.namespace) and self._wanted(item)

    def _next_line(self) -> bytes:
        while not self._queue.empty():
            item = self._queue.get_nowait()
            if isinstance(item, bytes):
                return item
        return bookmark(self.meta, 1)


class _Wire:
    """The connection under a watch."""

    def __init__(self, request: web.Request, response: web.StreamResponse, chop: int) -> None:
        self._request = request
        self._response = response
        self._chop = chop

    async def send(self, data: bytes) -> None:
        size = self._chop or len(data)
        for start in range(0, len(data), size):
            await self._response.write(data[start : start + size])
            # Lets the piece leave alone.
            await asyncio.sleep(0)

    def close(self) -> None:
        """End the connection; what was sent still arrives."""
        if self._request.transport is not None:
            self._request.transport.abort()

    def reset(self) -> None:
        """End the connection with a TCP reset."""
        if self._request.transport is not None:
            connection = self._request.transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._request.transport.abort()
