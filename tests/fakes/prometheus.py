"""A server with Prometheus' HTTP API that answers what a test tells it to. It is for faults that no real server makes
at will; the end-to-end tests ask a real Prometheus.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs

import msgspec
from aiohttp import web


def vector(*series: tuple[Mapping[str, str], str]) -> bytes:
    """The body of an answer: each series' labels, and its value as text."""
    result = [{"metric": dict(labels), "value": [1_800_000_000.0, value]} for labels, value in series]
    return msgspec.json.encode({"status": "success", "data": {"resultType": "vector", "result": result}})


def matrix(*series: tuple[Mapping[str, str], str]) -> bytes:
    """The body of an answer to a query over a range of one moment."""
    result = [{"metric": dict(labels), "values": [[1_800_000_000.0, value]]} for labels, value in series]
    return msgspec.json.encode({"status": "success", "data": {"resultType": "matrix", "result": result}})


@dataclass
class Request:
    """What a client has sent."""

    path: str
    headers: Mapping[str, str]
    form: Mapping[str, Any]


@dataclass
class FakePrometheus:
    """Use it as an async context manager."""

    tls: ssl.SSLContext | None = None
    status: int = 200
    body: bytes = vector(({"pod": "s-0"}, "1"))
    headers: Mapping[str, str] = field(default_factory=dict)
    hold: asyncio.Event | None = None
    requests: list[Request] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0
    url: str = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self.tls)
        await site.start()
        port = self._runner.addresses[0][1]
        self.url = f"{'https' if self.tls else 'http'}://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.hold is not None:
            self.hold.set()
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            self.requests.append(Request(request.path, dict(request.headers), dict(await request.post())))
            if self.hold is not None:
                await self.hold.wait()
            return web.Response(status=self.status, body=self.body, headers=self.headers)
        finally:
            self.under_way -= 1


@contextmanager
def answering(
    values: bytes | Callable[[str], bytes], ages: bytes = b"", status: int = 200, port: int = 0
) -> Iterator[tuple[str, list[str]]]:
    """A server in a thread of its own, for code under test that runs its own event loop: its address, and the queries
    that it has got. It answers `values`, which may depend on the query, and `ages` to queries about ages.
    """
    queries: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            queries.append(form["query"][0])
            told = values(queries[-1]) if callable(values) else values
            body = ages if "timestamp(" in queries[-1] else told
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", queries
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
