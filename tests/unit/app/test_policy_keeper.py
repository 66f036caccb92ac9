"""Bindings are synced when pools change, now and then, and again after a failure."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from computepool.act.policy_bindings import Bindings
from computepool.act.write_access import NotLeadingError
from computepool.app.policy_keeper import PolicyKeeper
from computepool.kube.client import ApiClient
from computepool.kube.credentials import static_access
from computepool.observe.store import Store
from tests.builders import NOW, POOL
from tests.fakes.apiserver import BINDINGS, POLICIES, FakeApiServer
from tests.fakes.waiting import until
from tests.unit.act.objects import stored_pool
from tests.unit.act.writing import Lease

NEVER = 1000.0


class Keeping:
    """A keeper in front of a fake API server."""

    def __init__(self, server: FakeApiServer, client: ApiClient, refresh: float) -> None:
        self.server = server
        self.lease = Lease()
        self.turns = 0
        self.store = Store(lambda _pool, _at, **_: None, wall=lambda: NOW)
        bindings = Bindings(client, self.lease, ("kube-system",))
        self.keeper = PolicyKeeper(
            bindings, self.store, on_change=self._turned, refresh_seconds=refresh, retry_seconds=0.01
        )

    def _turned(self) -> None:
        self.turns += 1

    def install(self) -> None:
        self.server.create(POLICIES, {"metadata": {"name": "computepool-burst"}})

    def take_pool(self) -> None:
        self.store.put_pool(stored_pool(self.server, admission="Always"), 0.0)

    def names(self) -> list[str]:
        return [item["metadata"]["name"] for item in self.server.items(BINDINGS)]

    async def synced(self) -> None:
        """Wait until the running sync has asked for the policy."""
        asked = self.server.count("get", POLICIES)
        await until(lambda: self.server.count("get", POLICIES) > asked, "another sync")


def play(
    scenario: Callable[[Keeping], Awaitable[None]], *, refresh: float = NEVER, policy: bool = True, absent: str = ""
) -> None:
    async def run() -> None:
        async with FakeApiServer() as server, ApiClient(static_access(server.url)) as client:
            k = Keeping(server, client, refresh)
            if policy:
                k.install()
            if absent:
                server.behaviour.absent.add(absent)
            running = asyncio.create_task(k.keeper.run())
            try:
                await scenario(k)
            finally:
                if running.done():
                    running.result()
                running.cancel()
                await asyncio.wait([running])

    asyncio.run(run())


def test_a_pool_that_comes_has_its_binding_made_at_once() -> None:
    async def scenario(k: Keeping) -> None:
        await k.synced()
        k.take_pool()
        k.keeper.wake()
        await until(lambda: k.names() == [f"computepool-{POOL}"], "its binding")

    play(scenario)


def test_what_somebody_deleted_is_made_again_in_time() -> None:
    async def scenario(k: Keeping) -> None:
        k.take_pool()
        await until(k.names, "its binding")
        k.server.delete(BINDINGS, f"computepool-{POOL}")
        await until(k.names, "its binding, again")

    play(scenario, refresh=0.01)


def test_a_sync_that_fails_is_tried_again_soon() -> None:
    async def scenario(k: Keeping) -> None:
        k.server.fault("create", path=BINDINGS, times=3, status=500)
        k.take_pool()
        k.keeper.wake()
        await until(k.names, "its binding")
        assert k.server.count("create", BINDINGS) == 4

    play(scenario)


def test_a_wake_during_a_sync_is_not_lost() -> None:
    async def scenario(k: Keeping) -> None:
        answered = asyncio.Event()
        k.server.fault("list", path=BINDINGS, gate=answered)
        await until(lambda: k.server.count("list", BINDINGS) == 1, "the sync is under way")
        k.take_pool()
        k.keeper.wake()
        answered.set()
        await until(k.names, "its binding")

    play(scenario)


def test_that_the_policy_is_missing_is_told_when_it_turns_and_only_then() -> None:
    async def scenario(k: Keeping) -> None:
        await until(lambda: k.keeper.missing, "it is missed")
        await k.synced()
        assert k.turns == 1
        k.install()
        await until(lambda: not k.keeper.missing, "it is there")
        await k.synced()
        assert k.turns == 2

    play(scenario, refresh=0.01, policy=False)


def test_that_the_api_server_knows_no_policies_is_told_as_that() -> None:
    async def scenario(k: Keeping) -> None:
        await until(lambda: k.keeper.unserved, "it is unknown")
        assert (k.keeper.missing, k.turns) == (True, 1)
        k.server.behaviour.absent.clear()
        await until(lambda: not k.keeper.unserved, "the API server is upgraded")
        assert (k.keeper.missing, k.turns) == (True, 2)
        k.install()
        await until(lambda: not k.keeper.missing, "it is there")
        assert k.turns == 3

    play(scenario, refresh=0.01, policy=False, absent=POLICIES)


def test_a_failure_says_nothing_about_the_policy() -> None:
    async def scenario(k: Keeping) -> None:
        await k.synced()
        k.server.fault("get", path=POLICIES, times=3, status=503)
        k.keeper.wake()
        await until(lambda: k.server.count("get", POLICIES) >= 5, "a sync after the failures")
        assert k.turns == 0

    play(scenario)


def test_without_the_lease_it_ends() -> None:
    async def scenario(k: Keeping) -> None:
        k.lease.held = False
        k.take_pool()
        k.keeper.wake()
        await until(lambda: k.lease.checks, "a write that the fence stops")

    with pytest.raises(NotLeadingError):
        play(scenario)
