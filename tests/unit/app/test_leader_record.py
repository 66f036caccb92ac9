"""The record of the leader: it names this process before this process acts, and a later leader's name stays."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from computepool.act.write_access import NotLeadingError, WriteAccess
from computepool.app.leader_record import CHECK_SECONDS, LeaderRecord
from computepool.kube.client import ApiClient
from computepool.kube.credentials import static_access
from computepool.kube.runtime import Runtime
from computepool.model.well_known_keys import LEADER_ANNOTATION
from tests.fakes.apiserver import FakeApiServer
from tests.fakes.waiting import until
from tests.unit.act.writing import Lease

ACCOUNTS = "/api/v1/serviceaccounts"
PLACE = "computepool-leader", "computepool-system"


class Recording:
    """The record of process `me` in front of a fake API server. `next_look` lets the next look at it happen."""

    def __init__(self, server: FakeApiServer, client: ApiClient) -> None:
        self.server = server
        self.lease = Lease()
        self.delays: list[float] = []
        self.settled_at_delay: list[bool] = []
        """For each delay, whether the record was settled when it began."""
        self._may_go = asyncio.Event()
        runtime = Runtime(sleep=self._sleep)
        self.record = LeaderRecord(
            WriteAccess(client, self.lease, runtime, "me"), namespace="computepool-system", lease="computepool"
        )

    async def _sleep(self, seconds: float) -> None:
        self.delays.append(seconds)
        self.settled_at_delay.append(self.record.settled.is_set())
        if seconds == CHECK_SECONDS:
            await self._may_go.wait()
            self._may_go.clear()

    async def next_look(self) -> None:
        looks = len(self.delays)
        self._may_go.set()
        await until(lambda: len(self.delays) > looks, "another look at the record")

    def make(self, leader: str = "") -> None:
        annotations = {"example.com/other": "x"} | ({LEADER_ANNOTATION: leader} if leader else {})
        name, namespace = PLACE
        self.server.create(ACCOUNTS, {"metadata": {"name": name, "namespace": namespace, "annotations": annotations}})

    def rename(self, leader: str) -> None:
        account = self.server.get(ACCOUNTS, *PLACE)
        annotations = {**account["metadata"]["annotations"], LEADER_ANNOTATION: leader}
        self.server.update(ACCOUNTS, {**account, "metadata": {**account["metadata"], "annotations": annotations}})

    def annotations(self) -> dict[str, Any]:
        annotations: dict[str, Any] = self.server.get(ACCOUNTS, *PLACE)["metadata"]["annotations"]
        return annotations

    def version(self) -> str:
        return str(self.server.get(ACCOUNTS, *PLACE)["metadata"]["resourceVersion"])

    def leader(self) -> str:
        return str(self.annotations().get(LEADER_ANNOTATION, ""))


def play(
    scenario: Callable[[Recording, asyncio.Task[None]], Awaitable[None]], before: Callable[[Recording], None]
) -> None:
    async def run() -> None:
        async with FakeApiServer() as server, ApiClient(static_access(server.url)) as client:
            recording = Recording(server, client)
            before(recording)
            running = asyncio.create_task(recording.record.run())
            try:
                await scenario(recording, running)
            finally:
                running.cancel()
                await asyncio.wait([running])

    asyncio.run(run())


async def settled(recording: Recording) -> None:
    await until(recording.record.settled.is_set, "the record to be settled")


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


@pytest.mark.parametrize("before", ["", "earlier-leader"])
def test_a_new_leader_puts_its_name_in_the_place_of_the_last_and_leaves_other_annotations(before: str) -> None:
    async def scenario(r: Recording, _running: asyncio.Task[None]) -> None:
        await settled(r)
        assert r.leader() == "me"
        assert r.annotations()["example.com/other"] == "x"

    play(scenario, lambda r: r.make(before))


def test_the_record_of_a_process_of_the_same_name_is_written_once_so_that_an_older_write_fails() -> None:
    async def scenario(r: Recording, _running: asyncio.Task[None]) -> None:
        await settled(r)
        assert r.version() != before[0]
        await r.next_look()
        assert r.server.count("patch") == 1

    before: list[str] = []

    def make(r: Recording) -> None:
        r.make("me")
        before.append(r.version())

    play(scenario, make)


def test_a_name_that_somebody_changed_is_put_right_at_the_next_look() -> None:
    async def scenario(r: Recording, _running: asyncio.Task[None]) -> None:
        await settled(r)
        r.rename("somebody")
        await r.next_look()
        assert r.leader() == "me"

    play(scenario, Recording.make)


def test_without_a_record_there_is_no_fence_to_wait_for(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(r: Recording, _running: asyncio.Task[None]) -> None:
        await settled(r)
        assert not warned(caplog)
        r.make("earlier-leader")
        await r.next_look()
        assert r.leader() == "me", "the chart's guard came later"

    play(scenario, lambda _r: None)


@pytest.mark.parametrize("status", [400, 403, 422])
def test_a_refusal_is_told_once_with_the_next_step_and_stops_nobody(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    # RBAC refuses with 403, webhooks usually with 400, and policies usually with 422.
    async def scenario(r: Recording, _running: asyncio.Task[None]) -> None:
        await settled(r)
        await r.next_look()
        (said,) = warned(caplog)
        assert "get and patch the record" in said

    def before(r: Recording) -> None:
        r.make("earlier-leader")
        r.server.fault("patch", status=status, message="refused", times=2)

    play(scenario, before)


def test_nothing_begins_before_the_record_could_be_written() -> None:
    async def scenario(r: Recording, _running: asyncio.Task[None]) -> None:
        await settled(r)
        assert r.leader() == "me"
        assert r.settled_at_delay[:5] == [False] * 5

    def before(r: Recording) -> None:
        r.make("earlier-leader")
        for status in (500, 409, 429, 401):
            r.server.fault("patch", status=status, reason="Conflict" if status == 409 else "")
        r.server.fault("get", body=b"<html>")

    play(scenario, before)


def test_a_process_that_slept_does_not_overwrite_the_name_of_the_next_leader() -> None:
    async def scenario(r: Recording, running: asyncio.Task[None]) -> None:
        await until(lambda: r.server.count("patch") == 1, "the write to be under way")
        r.rename("next-leader")
        r.lease.held = False
        answered.set()
        await until(running.done, "the process to learn that it leads no longer")
        with pytest.raises(NotLeadingError):
            running.result()
        assert r.leader() == "next-leader"

    answered = asyncio.Event()

    def before(r: Recording) -> None:
        r.make("earlier-leader")
        r.server.fault("patch", gate=answered)

    play(scenario, before)
