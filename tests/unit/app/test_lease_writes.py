"""How the Lease is written: only over the version that was read, and with the fields of other clients kept."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from computepool.app.election import Election, LeaseCandidate
from computepool.kube.client import ApiClient
from computepool.kube.credentials import static_access
from computepool.kube.runtime import Runtime
from tests.fakes.apiserver import LEASES, FakeApiServer
from tests.fakes.waiting import until

PLACE = ("computepool", "computepool-system")
FOREIGN = {"labels": {"team": "platform"}, "annotations": {"example.com/note": "keep"}}


class Stage:
    """A fake API server with a Lease that others have a part in, and one candidate for it."""

    def __init__(self, server: FakeApiServer, client: ApiClient) -> None:
        self.server = server
        spec = {"holderIdentity": "", "leaseDurationSeconds": 15, "strategy": "OldestEmulationVersion"}
        meta = {"name": PLACE[0], "namespace": PLACE[1], **FOREIGN}
        server.create(LEASES, {"metadata": meta, "spec": spec})
        self.election = Election(
            client,
            LeaseCandidate(namespace=PLACE[1], lease=PLACE[0], identity="me"),
            Runtime(
                steady=lambda: 1000.0,
                wall=lambda: 1_800_000_000.0,
                sleep=lambda _: asyncio.sleep(0),
                rng=random.Random(1),
            ),
        )

    @property
    def lease(self) -> Any:
        return self.server.get(LEASES, *PLACE)


def play(scenario: Callable[[Stage], Awaitable[None]]) -> None:
    async def run() -> None:
        async with FakeApiServer() as server, ApiClient(static_access(server.url)) as client:
            await scenario(Stage(server, client))

    asyncio.run(run())


def test_what_others_have_put_on_the_lease_stays_when_it_is_taken_and_given_back() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.election.acquire()
        taken = stage.lease
        await stage.election.release()
        for lease, holder in ((taken, "me"), (stage.lease, "")):
            assert lease["spec"]["holderIdentity"] == holder
            assert lease["spec"]["strategy"] == "OldestEmulationVersion"
            assert {key: lease["metadata"][key] for key in FOREIGN} == FOREIGN

    play(scenario)


def test_it_is_written_only_over_the_version_that_was_read() -> None:
    async def scenario(stage: Stage) -> None:
        gate = asyncio.Event()
        stage.server.fault("patch", gate=gate)
        taking = asyncio.create_task(stage.election.acquire())
        await until(lambda: stage.server.count("patch") == 1, "it is about to be written")
        lease = stage.lease
        thief = {**lease["spec"], "holderIdentity": "thief", "leaseDurationSeconds": 60}
        stage.server.update(LEASES, {**lease, "spec": thief})
        gate.set()
        await until(lambda: stage.server.count("get") >= 3, "it is read again")
        assert stage.server.calls_of("patch")[0].status == 409
        assert stage.lease["spec"]["holderIdentity"] == "thief"
        assert not stage.election.leading
        taking.cancel()
        await asyncio.wait([taking])

    play(scenario)


@pytest.mark.parametrize("version", [b"", b', "resourceVersion": ""'])
def test_an_answer_without_a_version_is_never_written_over(version: bytes) -> None:
    async def scenario(stage: Stage) -> None:
        body = b'{"metadata": {"name": "computepool"%s}, "spec": {}}' % version
        stage.server.fault("get", body=body, times=3)
        await stage.election.acquire()
        assert len(stage.server.calls_of("patch")) == 1
        assert stage.server.count("get") == 4

    play(scenario)
