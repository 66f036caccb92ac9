"""Connections that are open before they are needed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from computepool.kube.client import ApiClient
from computepool.kube.credentials import static_access


class _Server:
    """Counts connections, and answers a request only when as many wait as were asked for at once."""

    def __init__(self, together: int, status: str) -> None:
        self.connections = 0
        self.url = ""
        self._barrier = asyncio.Barrier(together)
        self._status = status

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                await self._barrier.wait()
                writer.write(f"HTTP/1.1 {self._status}\r\nContent-Length: 2\r\n\r\n{{}}".encode())
        except asyncio.IncompleteReadError:
            writer.close()


@asynccontextmanager
async def _serving(together: int, status: str = "200 OK") -> AsyncIterator[_Server]:
    server = _Server(together, status)
    async with await asyncio.start_server(server.serve, "127.0.0.1") as listening:
        server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        yield server


async def _connections(status: str = "200 OK") -> int:
    async with _serving(4, status) as server, ApiClient(static_access(server.url)) as client:
        async with asyncio.timeout(10):
            await client.warm(4)
            await asyncio.gather(*(client.get("/version") for _ in range(4)), return_exceptions=True)
        return server.connections


def test_calls_at_once_find_their_connections_open() -> None:
    assert asyncio.run(_connections()) == 4


def test_a_server_that_refuses_the_call_keeps_the_connection_all_the_same() -> None:
    assert asyncio.run(_connections("403 Forbidden")) == 4


def test_a_server_that_is_away_is_no_error() -> None:
    async def scenario() -> None:
        async with _serving(4) as server:
            gone = server.url
        async with ApiClient(static_access(gone)) as client:
            await client.warm(4)

    asyncio.run(scenario())
