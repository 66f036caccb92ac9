"""The queue of pools to look at."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from computepool.app.work_queue import MINOR_SECONDS, WorkQueue

MONDAY = 1_800_000_000.0


@dataclass
class Times:
    """A monotonic clock and a time of day that stand still until they are moved."""

    clock: float = 100.0
    wall: float = MONDAY

    def pass_by(self, seconds: float) -> None:
        self.clock += seconds
        self.wall += seconds


def play(scenario: Callable[[WorkQueue, Times], Awaitable[None]]) -> None:
    async def run() -> None:
        times = Times()
        await scenario(WorkQueue(clock=lambda: times.clock, wall=lambda: times.wall), times)

    asyncio.run(run())


async def nothing_to_take(dirty: WorkQueue) -> bool:
    """Whether there is nothing now; whoever waits is turned away."""
    taking = asyncio.ensure_future(dirty.take())
    for _ in range(5):
        await asyncio.sleep(0)
    done = taking.done()
    taking.cancel()
    await asyncio.wait([taking])
    return not done


def test_marked_pools_are_handed_out_once_with_the_time_of_their_first_mark() -> None:
    async def scenario(dirty: WorkQueue, _: Times) -> None:
        dirty.add("a", 3.0)
        dirty.add("b", 4.0)
        dirty.add("a", 5.0)
        dirty.add("a", 2.0)
        assert await dirty.take() == {"a": 2.0, "b": 4.0}
        assert await nothing_to_take(dirty)

    play(scenario)


def test_a_minor_change_waits_for_others_unless_one_comes_that_may_not() -> None:
    async def scenario(dirty: WorkQueue, times: Times) -> None:
        dirty.add("a", 100.0, minor=True)
        dirty.add("a", 100.1, minor=True)
        dirty.add("b", 100.0, minor=True)
        assert await nothing_to_take(dirty)
        # The minor change that came before does not make the other one look old.
        dirty.add("b", 100.2)
        assert await dirty.take() == {"b": 100.2}
        assert await nothing_to_take(dirty)
        times.pass_by(MINOR_SECONDS)
        assert await dirty.take() == {"a": 100.0}
        assert await nothing_to_take(dirty)

    play(scenario)


def test_a_minor_change_is_looked_at_by_itself_once_its_time_is_over() -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        queue = WorkQueue(clock=loop.time, wall=loop.time)
        began = loop.time()
        queue.add("a", began, minor=True)
        assert await queue.take() == {"a": began}
        assert loop.time() >= began + MINOR_SECONDS

    asyncio.run(run())


def test_a_mark_wakes_who_waits() -> None:
    async def scenario(dirty: WorkQueue, _: Times) -> None:
        taking = asyncio.ensure_future(dirty.take())
        await asyncio.sleep(0)
        dirty.add("a", 1.0)
        assert await taking == {"a": 1.0}

    play(scenario)


def test_a_pool_marked_after_it_was_handed_out_is_handed_out_again() -> None:
    async def scenario(dirty: WorkQueue, _: Times) -> None:
        dirty.add("a", 1.0)
        await dirty.take()
        dirty.add("a", 2.0)
        assert await dirty.take() == {"a": 2.0}

    play(scenario)


def test_a_pool_is_looked_at_again_when_its_time_has_come_and_not_before() -> None:
    async def scenario(dirty: WorkQueue, times: Times) -> None:
        dirty.add_at("a", MONDAY + 5)
        times.pass_by(4.9)
        assert await nothing_to_take(dirty)
        times.pass_by(0.6)
        # The time it was set for, though it is seen half a second late.
        assert await dirty.take() == {"a": 105.0}
        assert await nothing_to_take(dirty)

    play(scenario)


def test_a_time_that_comes_while_nobody_does_anything_wakes_who_waits() -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        dirty = WorkQueue(clock=loop.time, wall=lambda: MONDAY + loop.time())
        due = loop.time() + 0.01
        dirty.add_at("a", MONDAY + due)
        dirty.add_at("later", MONDAY + due + 1000)
        (pool, at), *others = (await dirty.take()).items()
        assert (pool, others) == ("a", [])
        assert abs(at - due) < 1e-3
        assert loop.time() >= due

    asyncio.run(run())


def test_an_earlier_time_set_while_waiting_for_a_later_one_counts() -> None:
    async def scenario(dirty: WorkQueue, times: Times) -> None:
        dirty.add_at("late", MONDAY + 1000)
        taking = asyncio.ensure_future(dirty.take())
        await asyncio.sleep(0)
        times.pass_by(7)
        dirty.add_at("soon", MONDAY + 7)
        assert await taking == {"soon": 107.0}

    play(scenario)


def test_a_new_time_replaces_the_one_before_and_none_removes_it() -> None:
    async def scenario(dirty: WorkQueue, times: Times) -> None:
        dirty.add_at("a", MONDAY + 5)
        dirty.add_at("a", MONDAY + 50)
        dirty.add_at("b", MONDAY + 5)
        dirty.add_at("b", None)
        dirty.add_at("unknown", None)
        times.pass_by(10)
        assert await nothing_to_take(dirty)
        times.pass_by(40)
        assert await dirty.take() == {"a": 150.0}

    play(scenario)


def test_of_a_mark_and_a_time_the_earlier_is_told() -> None:
    async def scenario(dirty: WorkQueue, times: Times) -> None:
        dirty.add_at("a", MONDAY + 5)
        times.pass_by(6)
        dirty.add("a", times.clock)
        assert await dirty.take() == {"a": 105.0}

    play(scenario)


def test_a_pool_that_is_gone_is_forgotten() -> None:
    async def scenario(dirty: WorkQueue, times: Times) -> None:
        dirty.add("a", 1.0)
        dirty.add_at("a", MONDAY + 5)
        dirty.forget("a")
        dirty.forget("unknown")
        times.pass_by(10)
        assert await nothing_to_take(dirty)

    play(scenario)


def test_a_timer_that_is_set_beside_another_leaves_the_earlier_one_overdue_or_not() -> None:
    async def scenario(dirty: WorkQueue, times: Times) -> None:
        dirty.add_at("a", MONDAY + 1)
        times.pass_by(2.0)
        dirty.add_by("a", MONDAY + 5)
        assert await dirty.take() == {"a": 101.0}, "it has become due while the pass ran that sets the other"
        dirty.add_at("a", MONDAY + 9)
        dirty.add_by("a", MONDAY + 5)
        times.pass_by(3.0)
        assert await dirty.take() == {"a": 105.0}
        dirty.add_at("a", None)
        dirty.add_by("a", MONDAY + 5)
        assert await dirty.take() == {"a": 105.0}

    play(scenario)
