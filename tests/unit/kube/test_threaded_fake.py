"""The fake API server for code that runs its own event loop."""

from __future__ import annotations

import asyncio

import msgspec

from computepool.kube.client import ApiClient
from computepool.kube.credentials import static_access
from tests.fakes.apiserver import PODS
from tests.fakes.threaded import serving


async def names(url: str) -> list[str]:
    async with ApiClient(static_access(url)) as client:
        return [item["metadata"]["name"] for item in msgspec.json.decode(await client.get(PODS))["items"]]


def test_a_server_in_a_thread_serves_any_loop_and_is_changed_from_outside() -> None:
    with serving() as server:
        server.do(lambda s: s.create(PODS, {"metadata": {"name": "p", "namespace": "default"}}))
        assert asyncio.run(names(server.url)) == ["p"]
        assert server.do(lambda s: s.count("list", PODS)) == 1
