"""Passes over a store that follows a fake API server: what is seen, decided, written and reported, end to end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from computepool.act.fence import NotLeadingError
from computepool.act.writer import PARALLEL
from tests.builders import POOL
from tests.fakes.apiserver import COMPUTEPOOLS, NODES, PODS, FakeApiServer
from tests.fakes.waiting import until
from tests.unit.act.objects import Json, node, pod, provider
from tests.unit.app.cluster import (
    BURST,
    Scheduler,
    conditions,
    edit_pool,
    full,
    make_pool,
    offers,
    overflow,
    patches_of,
    sent,
    status,
    touch_node,
)
from tests.unit.app.process import Process, living

BASE = datetime(2026, 11, 23, 5, 0, tzinfo=UTC).timestamp()


class Day:
    """A time of day that runs on from its base, `ahead` of it and of a `silence` that the clock has seen pass too."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self.ahead = 0.0
        self.silence = 0.0

    def __call__(self) -> float:
        return BASE + self.ahead + self.clock() - self._start

    def clock(self) -> float:
        """The monotonic clock that goes with it."""
        return self.silence + time.monotonic()

    def stamp(self, seconds: float = 0.0) -> str:
        """A moment so many seconds from now, as the API server would write it, only finer."""
        return datetime.fromtimestamp(self() + seconds, UTC).isoformat().replace("+00:00", "Z")


def play(
    scenario: Callable[[FakeApiServer, Process, Day], Awaitable[None]],
    before: Callable[[FakeApiServer, Day], object] = lambda server, _: full(server),
    **how: Any,
) -> None:
    """Run an operator's process on a cluster that was made `before`."""

    async def run() -> None:
        day = Day()
        async with FakeApiServer() as server:
            before(server, day)
            async with living(server, day, clock=day.clock, **how) as process:
                await scenario(server, process, day)

    asyncio.run(run())


async def passes_of(process: Process, count: int = 1) -> None:
    """Wait for so many further passes."""
    goal = _passes(process) + count
    await until(lambda: _passes(process) >= goal, f"{count} more passes")


def _passes(process: Process) -> float:
    found = process.metrics.registry.get_sample_value("computepool_decision_seconds_count")
    return found or 0.0


# -- a burst


def test_a_burst_from_the_first_pod_to_the_last_report() -> None:
    async def scenario(server: FakeApiServer, process: Process, _day: Day) -> None:
        Scheduler(server)
        make_pool(server)
        overflow(server, 6)
        await until(lambda: conditions(server).get("Bursting") == ("True", "PodsOnStandby"), "the pool bursts")
        await until(lambda: status(server)["burstPods"] == 6, "all of them")
        assert sent(server) == {
            **{f"new-{number}": ["nebius"] for number in range(4)},
            **{f"new-{number}": ["crusoe"] for number in (4, 5)},
        }
        assert conditions(server)["Saturated"][0] == "True"
        assert conditions(server)["Ready"] == ("True", "Reconciled")
        assert status(server)["lastDecision"]["action"] == "Burst"
        assert status(server)["pending"] == {"pods": 0, "accelerators": 0}
        await process.stop()
        told = [call.json for call in server.calls_of("create", "/events")]
        assert {one["regarding"]["name"] for one in told} == {POOL, *sent(server)}
        assert server.count("create", "/events") < 20
        assert process.metrics.registry.get_sample_value("computepool_burst_latency_seconds_count") == 6

    play(scenario)


def test_what_fits_at_home_is_left_alone() -> None:
    async def scenario(server: FakeApiServer, process: Process, _day: Day) -> None:
        server.create(NODES, node("a2", "aws", 8))
        make_pool(server)
        overflow(server, 3)
        await until(lambda: status(server).get("pending") == {"pods": 3, "accelerators": 3}, "they are seen")
        await passes_of(process, 0)
        assert sent(server) == {}

    play(scenario)


def test_observe_reports_and_touches_nothing() -> None:
    async def scenario(server: FakeApiServer, process: Process, _day: Day) -> None:
        make_pool(server, mode="Observe", admission="Always")
        await until(lambda: status(server).get("lastDecision"), "a decision")
        assert status(server)["lastDecision"]["message"].startswith("Observe: 3 pod(s)")
        assert conditions(server)["Ready"] == ("True", "Observing")
        written = server.get(COMPUTEPOOLS, POOL)["metadata"]["resourceVersion"]
        for turn in range(5):
            touch_node(server, "c1", str(turn))
            await passes_of(process)
        await process.stop()
        assert server.get(COMPUTEPOOLS, POOL)["metadata"]["resourceVersion"] == written, "nothing new was decided"
        assert server.count("patch", "/pods/") == 0
        assert not status(server)["admission"]["tolerations"]

    play(scenario, lambda server, _: full(server, 3, policy=True))


# -- exactly once


def test_a_pod_is_not_patched_again_while_its_patch_is_under_way() -> None:
    async def scenario(server: FakeApiServer, process: Process, _day: Day) -> None:
        answered = asyncio.Event()
        server.fault("patch", path="/pods/", times=3, gate=answered)
        make_pool(server)
        await until(lambda: server.count("patch", "/pods/") == 3, "the patches are under way")
        for turn in range(5):
            touch_node(server, "c1", str(turn))
            await passes_of(process)
        assert sent(server) == {}, "still under way"
        answered.set()
        await until(lambda: len(sent(server)) == 3, "all sent")
        await passes_of(process)
        assert {patches_of(server, f"new-{number}") for number in range(3)} == {1}

    play(scenario, lambda server, _: full(server, 3))


def test_a_pod_is_not_patched_again_while_its_patch_is_not_seen_yet() -> None:
    async def scenario(server: FakeApiServer, process: Process, _day: Day) -> None:
        await until(lambda: server.open_watches == 3, "all is watched")
        server.disturb("mute", PODS)
        make_pool(server)
        await until(lambda: len(sent(server)) == 3, "all sent")
        for turn in range(5):
            touch_node(server, "c1", str(turn))
            await passes_of(process)
        assert {patches_of(server, f"new-{number}") for number in range(3)} == {1}
        assert {tuple(one) for one in sent(server).values()} == {("nebius",)}

    play(scenario, lambda server, _: full(server, 3))


def test_places_of_pods_under_way_are_given_to_nobody_else() -> None:
    async def scenario(server: FakeApiServer, process: Process, _day: Day) -> None:
        make_pool(server)
        answered = asyncio.Event()
        server.fault("patch", path="/pods/first", times=4, gate=answered)
        overflow(server, 4, "first")
        await until(lambda: server.count("patch", "/pods/first") == 4, "the first are under way")
        overflow(server, 2, "second")
        await until(lambda: len(sent(server)) == 2, "the second are sent")
        answered.set()
        await until(lambda: len(sent(server)) == 6, "all sent")
        assert [offers(server, f"second-{number}") for number in range(2)] == [["crusoe"]] * 2

    play(scenario)


def test_a_pod_that_is_gone_before_its_patch_is_not_patched_over_and_over() -> None:
    async def scenario(server: FakeApiServer, process: Process, _day: Day) -> None:
        await until(lambda: server.open_watches == 3, "all is watched")
        server.disturb("mute", PODS)
        server.delete(PODS, "new-0", "default")
        make_pool(server)
        await until(lambda: patches_of(server, "new-0"), "the patch that comes too late")
        for turn in range(3):
            touch_node(server, "c1", str(turn))
            await passes_of(process)
        # One for each wait that is over.
        assert patches_of(server, "new-0") <= 10
        assert server.calls_of("patch", "/pods/new-0")[0].status == 404

    play(scenario, lambda server, _: full(server, 1))


# -- level-triggered


def test_pods_that_came_while_nothing_was_heard_are_found_by_the_next_list() -> None:
    async def scenario(server: FakeApiServer, process: Process, _day: Day) -> None:
        make_pool(server)
        await until(lambda: conditions(server), "the first look")
        await server.stop()
        overflow(server, 3)
        server.compact()
        await server.start()
        await until(lambda: len(sent(server)) == 3, "all sent")

    play(scenario)


def test_a_watch_that_breaks_in_the_middle_of_a_burst_leaves_nobody_behind() -> None:
    async def scenario(server: FakeApiServer, process: Process, _day: Day) -> None:
        make_pool(server, "aws", "nebius")
        await until(lambda: conditions(server) and server.open_watches == 3, "the first look")
        names = overflow(server, 20, "first")
        server.disturb("cut", PODS)
        names += overflow(server, 20, "second")
        await until(lambda: sorted(sent(server)) == sorted(names), "all sent")
        assert {patches_of(server, name) for name in names} == {1}

    play(scenario, lambda server, _: full(server, places=40))


def test_room_that_comes_up_at_home_is_used_before_a_standbys() -> None:
    async def scenario(server: FakeApiServer, process: Process, day: Day) -> None:
        Scheduler(server)
        make_pool(server, saturation={"pendingSeconds": 600})
        overflow(server, 2, created=day.stamp())
        await until(lambda: status(server).get("pending", {}).get("pods") == 2, "they wait")
        server.create(NODES, node("a2", "aws", 8))
        await until(lambda: status(server)["pending"]["pods"] == 0, "the scheduler has bound them")
        assert sent(server) == {}

    play(scenario)


# -- timers


def test_a_pod_is_sent_on_when_its_time_is_over_though_nothing_happens() -> None:
    async def scenario(server: FakeApiServer, process: Process, day: Day) -> None:
        overflow(server, 1, created=day.stamp(-599.7))
        make_pool(server, saturation={"pendingSeconds": 600})
        await until(lambda: status(server).get("pending", {}).get("pods") == 1, "it waits")
        assert sent(server) == {}
        await until(lambda: sent(server) == {"new-0": ["nebius"]}, "its time is over")

    play(scenario)


def test_a_pod_not_bound_in_time_is_offered_to_the_next_provider_though_nothing_happens() -> None:
    # Since when a pod has had its place is remembered by the process, so it is the day that goes on.
    async def scenario(server: FakeApiServer, process: Process, day: Day) -> None:
        make_pool(server)
        await until(lambda: sent(server) == {"new-0": ["nebius"]}, "sent on")
        for turn in range(2):
            touch_node(server, "c1", str(turn))
            await passes_of(process)
        day.ahead += 3600
        touch_node(server, "c1", "wakes the timers")
        await until(lambda: sent(server) == {"new-0": ["nebius", "crusoe"]}, "sent on again")

    play(scenario, lambda server, _: full(server, 1))


# -- pools that change in the middle of it


def many(server: FakeApiServer, _day: Day) -> None:
    full(server, PARALLEL + 20, places=PARALLEL + 30)


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


# -- refusals


def test_a_refused_patch_is_reported_tried_again_and_reported_to_be_over() -> None:
    async def scenario(server: FakeApiServer, process: Process, _day: Day) -> None:
        server.fault("patch", path="/pods/new-0", times=1000, status=422, message="spec.tolerations: the guard says no")
        make_pool(server)
        await until(lambda: conditions(server).get("Degraded") == ("True", "WriteRefused"), "the refusal")
        server.faults.clear()
        await until(lambda: sent(server) == {"new-0": ["nebius"]}, "sent after all")
        await until(lambda: conditions(server)["Degraded"] == ("False", "AllWell"), "the end of it")

    play(scenario, lambda server, _: full(server, 1))


def test_a_refusal_is_over_when_its_pod_is() -> None:
    async def scenario(server: FakeApiServer, process: Process, _day: Day) -> None:
        server.fault("patch", path="/pods/new-0", times=1000, status=422, message="the guard says no")
        make_pool(server)
        await until(lambda: conditions(server).get("Degraded") == ("True", "WriteRefused"), "the refusal")
        server.delete(PODS, "new-0", "default")
        await until(lambda: conditions(server)["Degraded"] == ("False", "AllWell"), "the end of it")

    play(scenario, lambda server, _: full(server, 1))


def test_attempts_that_fail_again_are_no_new_decisions() -> None:
    async def scenario(server: FakeApiServer, process: Process, _day: Day) -> None:
        server.fault("patch", path="/pods/new-0", times=1000, status=422, message="the guard says no")
        make_pool(server)
        await until(lambda: conditions(server).get("Degraded") == ("True", "WriteRefused"), "the refusal")
        decided = status(server)["lastDecision"]
        tried = patches_of(server, "new-0")
        await until(lambda: patches_of(server, "new-0") >= tried + 5, "more attempts")
        await process.stop()
        assert decided["action"] == "Burst"
        assert status(server)["lastDecision"] == decided

    play(scenario, lambda server, _: full(server, 1, policy=True))


# -- blindness


def test_while_the_view_is_not_current_nothing_is_changed_and_the_pool_says_so() -> None:
    async def scenario(server: FakeApiServer, process: Process, day: Day) -> None:
        overflow(server, 1, created=day.stamp())
        make_pool(server, saturation={"pendingSeconds": 3600})
        await until(lambda: status(server).get("pending", {}).get("pods") == 1, "it waits")
        # Its time to leave is over, and nothing was heard meanwhile of anything but one node.
        day.silence += 7200
        touch_node(server, "c1", "wakes the timers")
        await until(lambda: conditions(server)["Ready"] == ("Unknown", "CacheStale"), "the pool says so")
        assert conditions(server)["Saturated"][0] == "Unknown"
        assert sent(server) == {}
        server.bookmark()
        touch_node(server, "c1", "wakes the passes")
        await until(lambda: sent(server) == {"new-0": ["nebius"]}, "the view is current again")
        await until(lambda: conditions(server)["Ready"] == ("True", "Reconciled"), "the pool says so")

    play(scenario)


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


def test_bound_pods_get_the_label_of_where_they_run() -> None:
    def before(server: FakeApiServer, _day: Day) -> None:
        full(server)
        server.create(PODS, pod("admitted", on="n1", tolerations=[_toleration("nebius")]))
        server.create(PODS, pod("came-home", on="a1", labels={BURST: "nebius"}))

    async def scenario(server: FakeApiServer, process: Process, _day: Day) -> None:
        make_pool(server)
        await until(lambda: _label(server, "admitted") == "nebius", "the label of one that was admitted")
        await until(lambda: _label(server, "came-home") is None, "no label of one at home")

    play(scenario, before)


def test_a_label_that_could_not_be_put_right_is_tried_again_though_nothing_happens() -> None:
    def before(server: FakeApiServer, _day: Day) -> None:
        full(server, policy=True)
        server.create(PODS, pod("admitted", on="n1"))

    async def scenario(server: FakeApiServer, process: Process, _day: Day) -> None:
        server.fault("patch", path="/pods/", times=3, status=500)
        make_pool(server)
        await until(lambda: _label(server, "admitted") == "nebius", "the label")
        assert patches_of(server, "admitted") == 4
        assert conditions(server)["Degraded"] == ("False", "AllWell")

    play(scenario, before)


def _label(server: FakeApiServer, name: str) -> str | None:
    found: dict[str, str] = server.get(PODS, name, "default")["metadata"]["labels"]
    return found.get(BURST)


def _toleration(to: str) -> Json:
    return {"key": "computepool.io/provider", "operator": "Equal", "value": to, "effect": "NoSchedule"}


def _spec(process: Process, pool: str) -> object:
    """The spec that the process holds, or None once the pool is gone."""
    held = process.store.pools.get(pool)
    return None if held is None else held.spec
