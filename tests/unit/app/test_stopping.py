"""The end of the passes: a lost lease, and a clean stop."""

from __future__ import annotations

import asyncio

import pytest

from computepool.act.pod_patcher import PARALLEL
from computepool.act.write_access import NotLeadingError
from tests.builders import POOL
from tests.fakes.apiserver import NODES, FakeApiServer
from tests.fakes.waiting import until
from tests.unit.act.objects import node
from tests.unit.app.cluster import conditions, full, make_pool, sent, status, touch_node
from tests.unit.app.playing import Day, many, play
from tests.unit.app.process import Process

# -- leadership


def test_without_the_lease_the_passes_end_and_nothing_was_written() -> None:
    async def scenario(server: FakeApiServer, process: Process, _day: Day) -> None:
        process.lease.held = False
        make_pool(server)
        await until(lambda: process.lease.checks > 0, "a write that is refused by the fence")
        touch_node(server, "c1", "another pass")
        await until(lambda: process.ended, "the passes' end")
        assert [call for call in server.calls if call.verb in ("patch", "create", "delete")] == []

    with pytest.raises(NotLeadingError):
        play(scenario, lambda server, _: full(server, 1))


# -- the end


def test_a_clean_stop_ends_the_patches_under_way_and_begins_no_other() -> None:
    async def scenario(server: FakeApiServer, process: Process, _day: Day) -> None:
        answered = asyncio.Event()
        server.fault("patch", path="/pods/", times=1000, gate=answered)
        make_pool(server)
        await until(lambda: server.count("patch", "/pods/") == PARALLEL, "as many as may be at once")
        stopping = asyncio.create_task(process.stop())
        # The stop has begun before the first answer comes.
        await asyncio.sleep(0)
        answered.set()
        await stopping
        assert server.count("patch", "/pods/") == PARALLEL == len(sent(server))

    play(scenario, many)


def test_a_clean_stop_writes_the_status_that_was_still_waiting() -> None:
    free = "computepool_provider_accelerators"
    labels = {"pool": POOL, "provider": "crusoe", "state": "free"}

    async def scenario(server: FakeApiServer, process: Process, _day: Day) -> None:
        make_pool(server)
        await until(lambda: conditions(server), "the first look")
        server.create(NODES, node("c2", "crusoe", 8))
        await until(lambda: process.metrics.registry.get_sample_value(free, labels) == 12, "it was looked at")
        assert status(server)["providers"][2]["accelerators"]["free"] == 4
        await process.stop()
        assert status(server)["providers"][2]["accelerators"]["free"] == 12

    play(scenario, lambda server, _: full(server, policy=True), calm=1000.0)
