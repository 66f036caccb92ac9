"""Leases of silent nodes are read directly: the answer arrives as heartbeats, and a failure confirms nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from computepool.app.lease_reader import TROUBLE_SECONDS, LeaseReader
from computepool.kube.client import ApiClient
from computepool.kube.credentials import static_access
from computepool.observe.heartbeats import Heartbeats, Lease
from tests.fakes.apiserver import LEASES, FakeApiServer
from tests.fakes.objectstore import JsonObject
from tests.fakes.waiting import until

NAMESPACE = "kube-node-lease"
SHOWN = "2026-11-23T05:00:00.000000Z"
NEWER = "2026-11-23T05:00:10.000000Z"


def lease(name: str, renewed: str = SHOWN) -> JsonObject:
    spec = {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": renewed}
    return {"metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}


@dataclass
class Reading:
    """A reader on a fake API server, and heartbeats that have shown the Leases of a1 and a2."""

    server: FakeApiServer
    reader: LeaseReader = field(init=False)
    beats: Heartbeats = field(init=False)
    answers: int = 0
    ahead: float = 0.0

    def clock(self) -> float:
        return time.monotonic() + self.ahead

    def answered(self) -> None:
        self.answers += 1


def play(scenario: Callable[[Reading], Awaitable[None]]) -> None:
    async def run() -> None:
        async with FakeApiServer() as server:
            reading = Reading(server)
            reading.beats = Heartbeats(clock=reading.clock, wall=reading.clock)
            for name in ("a1", "a2"):
                server.create(LEASES, lease(name))
                reading.beats.put(Lease(name, 1, SHOWN, 40), reading.clock())
            async with ApiClient(static_access(server.url)) as client:
                reading.reader = LeaseReader(client, reading.beats, clock=reading.clock, on_answer=reading.answered)
                task = asyncio.create_task(reading.reader.run())
                try:
                    await scenario(reading)
                finally:
                    task.cancel()

    asyncio.run(run())


def test_leases_without_news_confirm_silence_and_start_a_pass() -> None:
    async def scenario(r: Reading) -> None:
        r.reader.want(["a1", "a2"])
        await until(lambda: r.answers == 1, "it is read")
        assert set(r.beats.read_live()) == {"a1", "a2"}
        assert r.reader.trouble() == ""
        # The answer comes from the latest state: no version is named.
        assert [call.query for call in r.server.calls if call.verb == "get"] == [{}, {}]

    play(scenario)


def test_a_lease_that_the_watch_has_not_shown_is_a_heartbeat() -> None:
    async def scenario(r: Reading) -> None:
        r.ahead = 30.0
        r.server.update(LEASES, lease("a1", NEWER))
        r.reader.want(["a1", "a2"])
        await until(lambda: r.answers == 1, "it is read")
        assert dict(r.beats.read_live()) == {}
        assert r.beats.seen()["a1"] > r.beats.seen()["a2"]

    play(scenario)


def test_a_reading_that_fails_confirms_nothing_and_is_told_for_a_while() -> None:
    async def scenario(r: Reading) -> None:
        r.server.fault("get", path="/leases/", times=2, status=403, message="no right to get leases")
        r.reader.want(["a1", "a2"])
        await until(lambda: r.reader.trouble() != "", "it has failed")
        assert "no right to get leases" in r.reader.trouble()
        assert "a silent provider stays in use" in r.reader.trouble()
        assert (dict(r.beats.read_live()), r.answers) == ({}, 0)
        r.ahead = TROUBLE_SECONDS + 1
        assert r.reader.trouble() == ""
        r.reader.want(["a1", "a2"])
        await until(lambda: r.answers == 1, "it is read")

    play(scenario)


def test_leases_that_could_be_read_count_although_another_is_gone() -> None:
    async def scenario(r: Reading) -> None:
        r.reader.want(["a1", "gone"])
        await until(lambda: r.reader.trouble() != "", "it has failed")
        assert set(r.beats.read_live()) == {"a1"}
        assert r.answers == 0

    play(scenario)


def test_nodes_that_are_asked_for_meanwhile_are_read_next() -> None:
    async def scenario(r: Reading) -> None:
        r.reader.want([])
        r.reader.want(["a1"])
        await asyncio.sleep(0)
        r.reader.want(["a2"])
        await until(lambda: set(r.beats.read_live()) == {"a1", "a2"}, "both are read")

    play(scenario)
