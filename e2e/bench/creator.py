"""Creates many pods at once over open connections, and notes when each was requested."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import aiohttp
import msgspec

from e2e.bench.children import Connection, session
from e2e.errors import E2EError

Json = dict[str, Any]
PARALLEL = 16


class Creator:
    """Creates pods; to be closed."""

    def __init__(self, connection: Connection) -> None:
        """Open nothing yet."""
        self._runner = asyncio.Runner()
        self._connection = connection
        self._http: aiohttp.ClientSession | None = None

    def close(self) -> None:
        """Close the connections."""
        if self._http is not None:
            self._runner.run(self._http.close())
        self._runner.close()

    def create(self, manifests: Sequence[Json]) -> dict[str, float]:
        """Create them, and return the monotonic time at which each request began, by name."""
        bodies = {pod["metadata"]["name"]: msgspec.json.encode(pod) for pod in manifests}
        return self._runner.run(self._create_all(bodies))

    async def _create_all(self, bodies: dict[str, bytes]) -> dict[str, float]:
        if self._http is None:
            self._http = session(self._connection, PARALLEL)
        workers = min(PARALLEL, len(bodies))
        # Connections are opened, or found closed, before anything is measured.
        await asyncio.gather(*(self._knock(self._http) for _ in range(workers)))
        queue = iter(bodies.items())
        asked: dict[str, float] = {}

        async def work(http: aiohttp.ClientSession) -> None:
            for name, body in queue:
                asked[name] = asyncio.get_running_loop().time()
                await self._post(http, body)

        await asyncio.gather(*(work(self._http) for _ in range(workers)))
        return asked

    async def _knock(self, http: aiohttp.ClientSession) -> None:
        async with http.get(f"{self._connection.url}/readyz") as done:
            await done.read()

    async def _post(self, http: aiohttp.ClientSession, body: bytes) -> None:
        headers = {"Content-Type": "application/json"}
        async with http.post(self._connection.pods, data=body, headers=headers) as done:
            text = await done.text()
            if done.status >= 300:
                raise E2EError(f"a pod was refused: {done.status} {text}")
