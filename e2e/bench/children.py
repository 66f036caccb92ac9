"""Runs the scripts of a benchmark as processes, and exchanges lines of JSON with them.

What is measured and what measures each have a process of their own: none waits for another's interpreter.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import msgspec

from e2e.child import ChildError, ChildProcess
from e2e.cluster import REPOSITORY
from e2e.kubeapi import KubeApi

T = TypeVar("T")

READY = b"ready\n"
FIELD_MANAGER = "bare-script"
"""By this name the API server knows the writes of the scripts."""


class Connection(msgspec.Struct, frozen=True):
    """How a child reaches the API server."""

    url: str
    token: str
    ca_file: str
    namespace: str

    @property
    def pods(self) -> str:
        """The URL of the namespace's pods."""
        return f"{self.url}/api/v1/namespaces/{self.namespace}/pods"

    def api(self) -> KubeApi:
        """A client with these rights."""
        return KubeApi(self.url, self.token, Path(self.ca_file))


class ScriptProcess(ChildProcess):
    """A module of this package as a process, which reads and answers lines of JSON. It is ready once this is made."""

    def __init__(self, module: str, connection: Connection, arguments: Sequence[str] = ()) -> None:
        """Start it and wait until it says that it is ready."""
        argv = [sys.executable, "-m", module, *arguments]
        env = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        super().__init__(argv, env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=REPOSITORY)
        if self.ask(connection) != READY:
            raise self._error("did not become ready")

    def send(self, message: Any) -> None:
        """Send one message."""
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(message) + b"\n")
        self._process.stdin.flush()

    def ask(self, message: Any) -> bytes:
        """Send one message and return the line that answers it. Raises ChildError where the script ends instead."""
        assert self._process.stdout is not None
        self.send(message)
        if line := self._process.stdout.readline():
            return bytes(line)
        raise self._error(f"ended with {self._process.wait()}")


# -- in the child --------------------------------------------------------------------------------------------------


def received(kind: type[T]) -> T:
    """Wait for the next message from the parent."""
    return msgspec.json.decode(sys.stdin.buffer.readline(), type=kind)


def answer(message: Any) -> None:
    """Answer the parent, in JSON unless the message is a line already."""
    line = message if isinstance(message, bytes) else msgspec.json.encode(message) + b"\n"
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


def session(connection: Connection, parallel: int) -> aiohttp.ClientSession:
    """Open a pool of connections that stay."""
    context = ssl.create_default_context(cafile=connection.ca_file)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=parallel, ssl=context, keepalive_timeout=60),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Authorization": f"Bearer {connection.token}", "Accept-Encoding": "identity"},
        timeout=aiohttp.ClientTimeout(total=None),
    )


class _Meta(msgspec.Struct, rename="camel"):
    resource_version: str = ""


class _Versioned(msgspec.Struct):
    metadata: _Meta


class _Event(msgspec.Struct):
    type: str
    object: _Versioned


async def watch(http: aiohttp.ClientSession, url: str) -> AsyncIterator[tuple[float, list[bytes]]]:
    """Yield what happens from now on, as lines, with the monotonic time at which they came.

    The first list is empty: it says that the watch has begun. A server that is short of processor time ends the watches
    that it finds too slow; they go on where they were.
    """
    async with http.get(url, params={"limit": "1"}) as listed:
        version = msgspec.json.decode(await listed.read(), type=_Versioned).metadata.resource_version
    yield asyncio.get_running_loop().time(), []
    while True:
        last = b""
        async for at, lines in _stream(http, url, version):
            last = lines[-1]
            yield at, lines
        if last:
            event = msgspec.json.decode(last, type=_Event)
            if event.type == "ERROR":
                raise ChildError(f"the watch has ended: {last.decode()}")
            version = event.object.metadata.resource_version


async def _stream(http: aiohttp.ClientSession, url: str, version: str) -> AsyncIterator[tuple[float, list[bytes]]]:
    loop = asyncio.get_running_loop()
    async with http.get(url, params={"watch": "1", "resourceVersion": version}) as stream:
        rest = b""
        async for chunk in stream.content.iter_any():
            at = loop.time()
            *lines, rest = (rest + chunk).split(b"\n")
            if lines:
                yield at, lines
