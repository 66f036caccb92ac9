"""The fake API server in a thread of its own, for code under test that runs its own event loop (commands, say)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from tests.fakes.apiserver import Behaviour, FakeApiServer

T = TypeVar("T")


class ThreadedApiServer:
    """Handle of a fake API server that runs elsewhere: whatever touches it goes through `do`."""

    def __init__(self, server: FakeApiServer, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._loop = loop
        self.url = server.url

    def do(self, action: Callable[[FakeApiServer], T]) -> T:
        """Run `action` in the server's loop and return what it returns: `server.do(lambda s: s.create(PODS, pod))`."""

        async def run() -> T:
            return action(self._server)

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(timeout=10)


@contextmanager
def serving(behaviour: Behaviour | None = None) -> Iterator[ThreadedApiServer]:
    """Serve until the context is left."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = FakeApiServer(behaviour)
    asyncio.run_coroutine_threadsafe(server.start(), loop).result(timeout=10)
    try:
        yield ThreadedApiServer(server, loop)
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(timeout=10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=10)
        loop.close()
