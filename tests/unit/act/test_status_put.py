"""`put` returns when the status is written, and raises if it can't be."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from computepool.act.write_access import NotLeadingError
from computepool.kube.errors import ApiError, Conflict, NotFound
from computepool.model.api import PoolStatus
from tests.builders import POOL
from tests.fakes.apiserver import COMPUTEPOOLS
from tests.fakes.waiting import until
from tests.unit.act.test_status_writer import NEVER, Writing, play, status


def _put(w: Writing, wanted: PoolStatus) -> asyncio.Task[None]:
    return asyncio.create_task(w.statuses.put(w.pool, wanted))


def test_it_is_written_at_once_and_returns_when_the_api_server_holds_it() -> None:
    async def scenario(w: Writing) -> None:
        await w.begin()
        gate = asyncio.Event()
        w.server.fault("patch", gate=gate)
        putting = _put(w, status(1))
        await until(lambda: w.writes == 2, "the write")
        assert not putting.done()
        gate.set()
        await putting
        assert w.stored() == status(1)

    play(scenario, calm=NEVER)


def test_what_the_api_server_holds_already_is_not_written_again() -> None:
    async def scenario(w: Writing) -> None:
        await w.statuses.put(w.pool, status(1))
        await w.statuses.put(w.pool, status(1))
        assert w.writes == 1

    play(scenario)


def test_it_is_in_the_place_of_what_waited_for_its_second() -> None:
    async def scenario(w: Writing) -> None:
        await w.begin()
        w.statuses.want(w.pool, status(1))
        await w.statuses.put(w.pool, status(2))
        assert w.stored() == status(2)
        assert w.writes == 2

    play(scenario, calm=NEVER)


def test_one_that_came_while_another_was_written_waits_for_its_own() -> None:
    async def scenario(w: Writing) -> None:
        gates = [asyncio.Event(), asyncio.Event()]
        for gate in gates:
            w.server.fault("patch", gate=gate)
        first = _put(w, status(1))
        await until(lambda: w.writes == 1, "the first write")
        second = _put(w, status(2))
        gates[0].set()
        await first
        await until(lambda: w.writes == 2, "the second write")
        assert not second.done()
        gates[1].set()
        await second
        assert w.stored() == status(2)

    play(scenario)


def test_a_later_status_will_do() -> None:
    async def scenario(w: Writing) -> None:
        gate = asyncio.Event()
        w.server.fault("patch", gate=gate)
        busy = _put(w, status(1))
        await until(lambda: w.writes == 1, "a write")
        putting = _put(w, status(2))
        await asyncio.sleep(0)
        w.statuses.want(w.pool, status(3))
        gate.set()
        await asyncio.gather(busy, putting)
        assert w.stored() == status(3)

    play(scenario, calm=NEVER)


def test_a_pool_whose_status_only_has_changed_is_read_and_the_status_put_all_the_same() -> None:
    async def scenario(w: Writing) -> None:
        item = w.server.get(COMPUTEPOOLS, POOL)
        w.server.update(COMPUTEPOOLS, {**item, "metadata": {**item["metadata"], "labels": {"a": "b"}}})
        await w.statuses.put(w.pool, status(1))
        assert w.stored() == status(1)
        assert w.writes == 2

    play(scenario)


def test_a_pool_whose_spec_has_changed_is_a_conflict() -> None:
    async def scenario(w: Writing) -> None:
        item = w.server.get(COMPUTEPOOLS, POOL)
        w.server.update(COMPUTEPOOLS, {**item, "spec": {**item["spec"], "mode": "Observe"}})
        with pytest.raises(Conflict, match="the spec has changed"):
            await w.statuses.put(w.pool, status(1))

    play(scenario)


def test_a_pool_that_is_gone_is_told() -> None:
    async def scenario(w: Writing) -> None:
        w.server.delete(COMPUTEPOOLS, POOL)
        with pytest.raises(NotFound):
            await w.statuses.put(w.pool, status(1))

    play(scenario)


def test_a_pool_that_is_forgotten_meanwhile_is_told() -> None:
    async def scenario(w: Writing) -> None:
        gate = asyncio.Event()
        w.server.fault("patch", gate=gate)
        busy = _put(w, status(1))
        await until(lambda: w.writes == 1, "a write")
        putting = _put(w, status(2))
        await asyncio.sleep(0)
        w.statuses.forget(POOL)
        with pytest.raises(NotFound, match="the pool is gone"):
            await putting
        gate.set()
        await busy

    play(scenario)


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 403}, {"reset": True}])
def test_a_failure_is_told_at_once_and_the_status_is_tried_again_all_the_same(fault: dict[str, Any]) -> None:
    async def scenario(w: Writing) -> None:
        w.server.fault("patch", **fault)
        with pytest.raises(ApiError):
            await w.statuses.put(w.pool, status(1))
        await w.shows(status(1))

    play(scenario)


def test_without_the_lease_it_says_so() -> None:
    async def scenario(w: Writing) -> None:
        w.lease.held = False
        with pytest.raises(NotLeadingError):
            await w.statuses.put(w.pool, status(1))
        assert w.writes == 0

    play(scenario)


def test_whoever_gives_up_waiting_harms_nobody() -> None:
    async def scenario(w: Writing) -> None:
        gate = asyncio.Event()
        w.server.fault("patch", gate=gate)
        putting = _put(w, status(1))
        await until(lambda: w.writes == 1, "a write")
        putting.cancel()
        await asyncio.wait([putting])
        gate.set()
        await w.shows(status(1))

    play(scenario)
