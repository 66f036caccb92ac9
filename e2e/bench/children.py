"""Processes of a benchmark, and lines of JSON to and from them.

What is measured and what measures each have a process of their own: none waits for another's interpreter.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec

from e2e import procs
from e2e.cluster import REPOSITORY
from e2e.errors import E2EError

END_SECONDS = 10.0
READY = b"ready\n"


class ChildError(E2EError):
    """A process of the benchmark ended too early."""


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


class Child:
    """A module of this package run as a process, until the block ends. It is ready once this is made."""

    def __init__(self, module: str, connection: Connection, arguments: Sequence[str] = ()) -> None:
        """Start it and wait until it says that it is ready."""
        self._module = module
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=REPOSITORY,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
            preexec_fn=procs.die_with_parent(),
            start_new_session=True,
        )
        self.send(connection)
        if self._line() != READY:
            raise ChildError(f"{module} did not become ready")

    def __enter__(self) -> Self:
        """Use it within a `with` block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self.close()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def send(self, message: Any) -> None:
        """Send one message."""
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(message) + b"\n")
        self._process.stdin.flush()

    def ask(self, message: Any) -> bytes:
        """Send one message and return the line that answers it."""
        self.send(message)
        return self._line()

    def close(self) -> None:
        """End it: its input ends, and so does it."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise ChildError(f"{self._module} ended with {self._process.wait()}")
        return line


# -- in the child --------------------------------------------------------------------------------------------------


async def messages() -> AsyncIterator[bytes]:
    """Yield the lines that the parent sends, until it is done with us."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield line


def answer(message: Any) -> None:
    """Answer the parent."""
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
    """Yield what happens from now on, as lines, with the monotonic time they came at; first no line, once it sees.

    A server that is short of processor time ends the watches that it finds too slow; they go on where they were.
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
