"""A process tells pods why they wait: in time, although nothing changes, and not what an earlier process has told."""

from __future__ import annotations

from typing import Any

from tests.fakes.apiserver import FakeApiServer
from tests.fakes.waiting import until
from tests.unit.act.objects import pod as bound_pod
from tests.unit.app.cluster import conditions, full, make_pool, overflow, status
from tests.unit.app.playing import Day, play
from tests.unit.app.process import Process, living

EVENTS = "/apis/events.k8s.io/v1/events"


def told(server: FakeApiServer) -> list[tuple[str, str]]:
    """The pods that were told why they wait, with the reasons, in alphabetical order."""
    waits = [event for event in server.items(EVENTS) if event["action"] == "Wait"]
    return sorted((event["regarding"]["name"], event["reason"]) for event in waits)


def crowded(server: FakeApiServer, _day: Day) -> None:
    """A pool without a free place, and two pods that wait."""
    full(server, places=1)
    for name, node in (("old-3", "n1"), ("old-4", "c1")):
        server.create("/api/v1/pods", bound_pod(name, on=node))
    overflow(server, 2, "wait")
    make_pool(server)


def test_waiting_pods_are_told_although_nothing_changes_and_the_pool_says_so() -> None:
    async def scenario(server: FakeApiServer, process: Process, day: Day) -> None:
        await until(lambda: conditions(server).get("Degraded") == ("True", "PodsWaiting"), "the pool to say so")
        day.ahead += 5
        await until(lambda: len(told(server)) == 2, "an event on each pod")
        assert told(server) == [("wait-0", "NoRoom"), ("wait-1", "NoRoom")]
        assert status(server)["pending"]["pods"] == 2

    play(scenario, crowded)


def test_the_next_process_tells_only_pods_that_were_not_told() -> None:
    async def scenario(server: FakeApiServer, process: Process, day: Day) -> None:
        day.ahead += 5
        await until(lambda: len(told(server)) == 2, "an event on each pod")
        await process.stop()
        overflow(server, 1, "late")
        async with living(server, day, clock=day.clock) as second:
            await until(lambda: ("late-0", "NoRoom") in told(server), "the late pod to be told")
            await second.stop()
        names: list[Any] = [name for name, _ in told(server)]
        assert names == ["late-0", "wait-0", "wait-1"]

    play(scenario, crowded)
