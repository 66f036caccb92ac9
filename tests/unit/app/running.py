"""One whole operator process in front of a fake API server: how a test starts it, asks it and ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from computepool.app.operator import run as run_operator
from computepool.app.settings import Settings
from computepool.app.wiring import Pace
from tests.fakes.apiserver import LEASES, FakeApiServer
from tests.fakes.waiting import PATIENCE, until
from tests.unit.app.cluster import full

KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{{name: c, cluster: {{server: "{url}"}}}}]
users: [{{name: u, user: {{}}}}]
contexts: [{{name: x, context: {{cluster: c, user: u}}}}]
current-context: x
"""
NAMESPACE = "computepool-system"


@dataclass
class Running:
    """A process, its stop event, and its log."""

    server: FakeApiServer
    stop: asyncio.Event
    task: asyncio.Task[int]
    caplog: pytest.LogCaptureFixture

    async def port(self) -> int:
        """Where it serves, once it does."""
        await until(self._ports, "it serves")
        return self._ports()[-1]

    def _ports(self) -> list[int]:
        lines = [vars(record).get("fields", {}) for record in self.caplog.records if "serving" in record.getMessage()]
        return [int(fields["port"]) for fields in lines]

    async def get(self, path: str) -> tuple[int, str]:
        url = f"http://127.0.0.1:{await self.port()}{path}"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return answer.status, await answer.text()

    async def says(self, path: str, status: int, words: str) -> str:
        """Wait until an endpoint answers so, and return its whole text."""
        async with asyncio.timeout(PATIENCE):
            while True:
                code, text = await self.get(path)
                if code == status and words in text:
                    return text
                await asyncio.sleep(0.01)

    async def leads(self) -> None:
        await self.says("/metrics", 200, "computepool_leader 1.0")

    async def ended(self) -> int:
        """Its exit code, once it has ended by itself."""
        async with asyncio.timeout(PATIENCE):
            return await self.task

    async def end(self) -> int:
        """Its exit code after it was told to stop."""
        self.stop.set()
        return await self.ended()

    def holder(self) -> str:
        lease = self.server.get(LEASES, "computepool", NAMESPACE)
        return str(lease["spec"].get("holderIdentity"))


BRISK = Pace(status_calm_seconds=0.05, minor_change_seconds=0.01, kopf_repeat_seconds=0.01)


@dataclass
class Site:
    """What a test starts operators with."""

    folder: Path
    caplog: pytest.LogCaptureFixture

    def settings(self, server: FakeApiServer, **how: Any) -> Settings:
        file = self.folder / "kubeconfig"
        file.write_text(KUBECONFIG.format(url=server.url))
        settings = Settings(
            namespace=NAMESPACE,
            identity="operator-1",
            lease_seconds=3.0,
            host="127.0.0.1",
            port=0,
            kubeconfig=str(file),
            retry_seconds=0.01,
        )
        return replace(settings, **how)

    def play(
        self,
        scenario: Callable[[Running], Awaitable[None]],
        before: Callable[[FakeApiServer], object] = full,
        **how: Any,
    ) -> None:
        """Run a scenario against a process; it is ended in any case."""

        async def play() -> None:
            async with FakeApiServer() as server:
                settings = self.settings(server, **how)
                if (made := before(server)) is not None:
                    assert isinstance(made, Awaitable)
                    await made
                stop = asyncio.Event()
                task = asyncio.create_task(run_operator(settings, stop, BRISK))
                running = Running(server, stop, task, self.caplog)
                try:
                    await scenario(running)
                finally:
                    stop.set()
                    await asyncio.wait([task])

        asyncio.run(play())
