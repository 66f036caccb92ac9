"""Writes through both fences: this process's own, and the API server's, which sees a new holder a moment late."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from computepool.act.write_access import LAG_SECONDS, LEADER_POLICY, FencedWrites, NotLeadingError, WriteAccess
from computepool.kube import paths
from computepool.kube.client import ApiClient
from computepool.kube.credentials import static_access
from computepool.kube.errors import Forbidden
from computepool.kube.runtime import Runtime
from tests.fakes.apiserver import PODS, FakeApiServer

REFUSED = f"ValidatingAdmissionPolicy '{LEADER_POLICY}' denied request: only the replica that holds the Lease writes"
PATH = paths.pod("default", "p")


class Leading:
    """A fence that is open until it is closed."""

    def __init__(self) -> None:
        self.open = True

    def check(self) -> None:
        if not self.open:
            raise NotLeadingError("the Lease has passed")


class Stage:
    """A server with a pod, a fence, and what was waited for."""

    def __init__(self, server: FakeApiServer, client: ApiClient) -> None:
        self.server = server
        self.fence = Leading()
        self.delays: list[float] = []
        self.on_delay: Callable[[], None] = lambda: None
        server.create(PODS, {"metadata": {"name": "p", "namespace": "default"}, "spec": {}})
        self.writes: FencedWrites = WriteAccess(client, self.fence, Runtime(sleep=self._sleep), "me").writes

    async def _sleep(self, seconds: float) -> None:
        self.delays.append(seconds)
        self.on_delay()

    def refuse(self, times: int, message: str = REFUSED, status: int = 403) -> None:
        """Refuse so many patches."""
        self.server.fault("patch", path="/pods/p", times=times, status=status, message=message)

    async def label(self) -> None:
        await self.writes.merge_patch(PATH, {"metadata": {"labels": {"a": "b"}}})


def play(scenario: Callable[[Stage], Awaitable[Any]]) -> None:
    async def run() -> None:
        async with FakeApiServer() as server, ApiClient(static_access(server.url)) as client:
            await scenario(Stage(server, client))

    asyncio.run(run())


def test_a_write_names_the_process_as_in_the_lease() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.label()
        (call,) = stage.server.calls_of("patch")
        assert call.query == {"fieldManager": "me"}

    play(scenario)


def test_a_process_that_does_not_lead_sends_nothing() -> None:
    async def scenario(stage: Stage) -> None:
        stage.fence.open = False
        with pytest.raises(NotLeadingError):
            await stage.label()
        assert stage.server.count("patch") == 0

    play(scenario)


@pytest.mark.parametrize("status", [403, 422])
def test_a_new_leader_waits_until_the_api_server_has_seen_that_it_leads(status: int) -> None:
    async def scenario(stage: Stage) -> None:
        stage.refuse(2, status=status)
        await stage.label()
        assert stage.delays == list(LAG_SECONDS[:2])
        assert stage.server.get(PODS, "p", "default")["metadata"]["labels"] == {"a": "b"}

    play(scenario)


def test_a_process_that_was_stopped_past_its_lease_learns_it_from_the_refusal() -> None:
    async def scenario(stage: Stage) -> None:
        stage.refuse(1)
        stage.on_delay = lambda: setattr(stage.fence, "open", False)
        with pytest.raises(NotLeadingError):
            await stage.label()
        assert stage.server.count("patch") == 1

    play(scenario)


def test_a_refusal_that_lasts_is_told_as_any_other() -> None:
    async def scenario(stage: Stage) -> None:
        stage.refuse(100)
        with pytest.raises(Forbidden, match=LEADER_POLICY):
            await stage.label()
        assert stage.server.count("patch") == len(LAG_SECONDS) + 1

    play(scenario)


def test_another_refusal_is_told_at_once() -> None:
    async def scenario(stage: Stage) -> None:
        stage.refuse(
            1, "ValidatingAdmissionPolicy 'computepool-guard-pods' denied request: a change of spec.containers"
        )
        with pytest.raises(Forbidden, match=r"spec\.containers"):
            await stage.label()
        assert stage.delays == []

    play(scenario)
