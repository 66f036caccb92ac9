"""The three endpoints."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import aiohttp
import pytest

from computepool.app.endpoints import HealthServer, ServeError


class Serving:
    """A health server whose checks return the values that a test sets."""

    def __init__(self) -> None:
        self.dead = ""
        self.unready = ""
        self.server = HealthServer(
            "127.0.0.1", 0, alive=lambda: self.dead, ready=lambda: self.unready, metrics=lambda: b"up 1\n"
        )

    async def get(self, path: str) -> tuple[int, str, str]:
        """Status, text and content type."""
        url = f"http://127.0.0.1:{self.server.port}{path}"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return answer.status, await answer.text(), answer.headers["Content-Type"]


def play(scenario: Callable[[Serving], Awaitable[None]]) -> None:
    async def run() -> None:
        serving = Serving()
        await serving.server.start()
        try:
            await scenario(serving)
        finally:
            await serving.server.close()

    asyncio.run(run())


def test_where_nothing_is_wrong_both_checks_say_ok() -> None:
    async def scenario(s: Serving) -> None:
        for path in ("/healthz", "/readyz"):
            assert (await s.get(path))[:2] == (200, "ok\n")

    play(scenario)


def test_what_is_wrong_is_answered_in_words_and_only_where_it_belongs() -> None:
    async def scenario(s: Serving) -> None:
        s.unready = "pods are not listed yet: cannot list pods: forbidden"
        assert (await s.get("/readyz"))[:2] == (503, "pods are not listed yet: cannot list pods: forbidden\n")
        assert (await s.get("/healthz"))[0] == 200
        s.unready, s.dead = "", "the event loop has not run for 20 s"
        assert (await s.get("/healthz"))[:2] == (503, "the event loop has not run for 20 s\n")
        assert (await s.get("/readyz"))[0] == 200

    play(scenario)


def test_metrics_come_with_their_content_type() -> None:
    async def scenario(s: Serving) -> None:
        status, text, kind = await s.get("/metrics")
        assert (status, text) == (200, "up 1\n")
        assert kind.startswith("text/plain; version=0.0.4")

    play(scenario)


@pytest.mark.parametrize("path", ["/", "/debug", "/healthz/x"])
def test_nothing_else_is_served(path: str) -> None:
    async def scenario(s: Serving) -> None:
        assert (await s.get(path))[0] == 404

    play(scenario)


def test_nothing_can_be_sent() -> None:
    async def scenario(s: Serving) -> None:
        url = f"http://127.0.0.1:{s.server.port}/metrics"
        async with aiohttp.ClientSession() as session, session.post(url) as answer:
            assert answer.status == 405

    play(scenario)


def test_a_port_that_is_taken_is_an_error_that_says_what_to_do() -> None:
    async def run(port: int) -> None:
        server = HealthServer("127.0.0.1", port, alive=str, ready=str, metrics=bytes)
        with pytest.raises(ServeError, match=rf"127\.0\.0\.1:{port} .*in use.*--http-port"):
            await server.start()

    with socket.create_server(("127.0.0.1", 0)) as taken:
        asyncio.run(run(taken.getsockname()[1]))
