"""Pools that are edited, deleted or made anew in the middle of a burst."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from computepool.act.pod_patcher import PARALLEL
from tests.builders import POOL
from tests.fakes.apiserver import COMPUTEPOOLS, FakeApiServer
from tests.fakes.waiting import until
from tests.unit.act.objects import provider
from tests.unit.app.cluster import conditions, edit_pool, full, make_pool, sent
from tests.unit.app.playing import Day, many, play
from tests.unit.app.process import Process


@pytest.mark.parametrize(
    "edit",
    [
        lambda server: server.delete(COMPUTEPOOLS, POOL),
        lambda server: edit_pool(server, mode="Observe"),
        lambda server: edit_pool(server, providers=[provider("aws"), provider("crusoe")], mode="Observe"),
    ],
    ids=["deleted", "observed", "edited"],
)
def test_patches_that_wait_for_their_turn_end_with_the_pool_that_wanted_them(
    edit: Callable[[FakeApiServer], object],
) -> None:
    async def scenario(server: FakeApiServer, process: Process, _day: Day) -> None:
        answered = asyncio.Event()
        server.fault("patch", path="/pods/", times=1000, gate=answered)
        make_pool(server)
        await until(lambda: server.count("patch", "/pods/") == PARALLEL, "as many as may be at once")
        before = process.store.pools[POOL]
        edit(server)
        await until(lambda: _spec(process, POOL) != before.spec, "the edit is noticed")
        answered.set()
        await until(lambda: len(sent(server)) == PARALLEL, "those under way arrive")
        await process.stop()
        assert server.count("patch", "/pods/") == PARALLEL
        assert len(sent(server)) == PARALLEL

    play(scenario, many)


def test_pods_decided_for_a_provider_that_the_pool_has_lost_are_decided_again() -> None:
    async def scenario(server: FakeApiServer, process: Process, _day: Day) -> None:
        answered = asyncio.Event()
        server.fault("patch", path="/pods/", times=PARALLEL, gate=answered)
        make_pool(server)
        await until(lambda: server.count("patch", "/pods/") == PARALLEL, "as many as may be at once")
        before = process.store.pools[POOL]
        edit_pool(server, providers=[provider("aws"), provider("crusoe")])
        await until(lambda: _spec(process, POOL) != before.spec, "the edit is noticed")
        answered.set()
        await until(lambda: len(sent(server)) == PARALLEL + 20, "all sent")
        last = [found[-1] for found in sent(server).values()]
        assert last.count("crusoe") >= 20

    play(scenario, many)


def test_a_pool_made_anew_starts_anew() -> None:
    async def scenario(server: FakeApiServer, process: Process, _day: Day) -> None:
        make_pool(server, mode="Observe")
        await until(lambda: conditions(server).get("Ready") == ("True", "Observing"), "the first")
        server.delete(COMPUTEPOOLS, POOL)
        make_pool(server)
        await until(lambda: conditions(server).get("Ready") == ("True", "Reconciled"), "the second")
        await until(lambda: len(sent(server)) == 1, "it is acted upon")

    play(scenario, lambda server, _: full(server, 1))


def test_a_pool_that_is_gone_leaves_no_metrics_and_no_timers() -> None:
    async def scenario(server: FakeApiServer, process: Process, _day: Day) -> None:
        make_pool(server)
        await until(lambda: len(sent(server)) == 1, "it is acted upon")
        server.delete(COMPUTEPOOLS, POOL)
        await until(lambda: not process.store.pools, "it is gone")
        await process.stop()
        assert f'pool="{POOL}"' not in process.metrics.render().decode()

    play(scenario, lambda server, _: full(server, 1))


def _spec(process: Process, pool: str) -> object:
    """The spec that the process holds, or None once the pool is gone."""
    held = process.store.pools.get(pool)
    return None if held is None else held.spec
