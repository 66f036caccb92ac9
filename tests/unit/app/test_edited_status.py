"""The operator corrects a status that another client wrote at once; its own writes cause no further passes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.builders import POOL
from tests.fakes.apiserver import COMPUTEPOOLS, FakeApiServer
from tests.fakes.waiting import until
from tests.unit.act.objects import pool_record
from tests.unit.app.cluster import conditions, make_pool, overflow, status, touch_node
from tests.unit.app.playing import Day, passes, passes_of, play
from tests.unit.app.process import Process
from tests.unit.app.test_pools import Taking
from tests.unit.app.test_pools import play as play_pools


def write_status(server: FakeApiServer, **edit: Any) -> None:
    item = server.get(COMPUTEPOOLS, POOL)
    server.update(COMPUTEPOOLS, {**item, "status": {**item["status"], **edit}})


def writes(server: FakeApiServer) -> int:
    return server.count("patch", "/status")


@pytest.mark.parametrize(
    "edit",
    [{"burstPods": 77}, {"conditions": []}, {"admission": {"tolerations": [{"key": "mine", "operator": "Exists"}]}}],
    ids=["a count", "no conditions", "admission"],
)
def test_a_status_edited_by_hand_is_put_right_though_nothing_else_happens(edit: dict[str, Any]) -> None:
    async def scenario(server: FakeApiServer, process: Process, _day: Day) -> None:
        make_pool(server)
        await until(lambda: conditions(server).get("Ready") == ("True", "Reconciled"), "it is told")
        told, count = status(server), passes(process)
        write_status(server, **edit)
        await until(lambda: status(server) == told, "it is put right")
        assert passes(process) <= count + 2

    play(scenario)


def test_what_the_operator_has_written_itself_makes_no_further_passes() -> None:
    async def scenario(server: FakeApiServer, process: Process, _day: Day) -> None:
        make_pool(server, mode="Observe")
        overflow(server, 3)
        await until(lambda: status(server).get("pending", {}).get("pods") == 3, "all is told")
        for number in range(5):
            count, written = passes(process), writes(server)
            touch_node(server, "n1", f"{number}")
            await passes_of(process)
            assert (passes(process), writes(server)) == (count + 1, written)

    play(scenario)


def test_a_pool_that_has_changed_in_the_cluster_is_compared_and_an_answer_or_old_news_is_not() -> None:
    async def scenario(t: Taking) -> None:
        first = t.create()
        t.pools.heard("ADDED", first)
        second = t.edit(mode="Observe")
        t.pools.heard("MODIFIED", second)
        assert t.stated == [POOL, POOL]
        t.pools.heard("MODIFIED", second)
        t.pools.heard("MODIFIED", first)
        await t.pools.relist()
        third = t.edit(mode="Enforce")
        t.pools.refresh(pool_record(third))
        t.pools.heard("MODIFIED", third)
        assert t.stated == [POOL, POOL]

    play_pools(scenario)
