"""Background tasks: none is lost, none fails in silence, none outlives its owner."""

from __future__ import annotations

import asyncio
import logging

import pytest

from computepool.act.tasks import BackgroundTasks, wait_at_most


async def _fail() -> None:
    raise ValueError("broken")


async def _wait() -> None:
    await asyncio.Event().wait()


async def _nothing() -> None:
    """End at once."""


def test_the_callback_gets_what_a_task_failed_with_or_nothing() -> None:
    async def run() -> None:
        tasks, ends = BackgroundTasks(), list[BaseException | None]()
        tasks.spawn(_nothing(), ends.append)
        tasks.spawn(_fail(), ends.append)
        assert len(tasks) == 2
        await tasks.join()
        assert [repr(error) for error in ends] == ["None", "ValueError('broken')"]
        assert len(tasks) == 0

    asyncio.run(run())


def test_a_failure_that_nobody_asks_for_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        tasks = BackgroundTasks()
        tasks.spawn(_fail())
        await tasks.join()

    asyncio.run(run())
    ((_, level, message),) = caplog.record_tuples
    assert (level, message) == (logging.ERROR, "background task failed")
    assert "ValueError: broken" in caplog.text


def test_a_task_that_fails_ends_no_other() -> None:
    async def run() -> None:
        tasks, ends = BackgroundTasks(), list[BaseException | None]()
        waiting = tasks.spawn(_wait())
        failing = tasks.spawn(_fail(), ends.append)
        await asyncio.wait([failing])
        assert (len(ends), waiting.done(), len(tasks)) == (1, False, 1)
        await tasks.cancel()

    asyncio.run(run())


def test_cancelled_tasks_have_ended_once_cancel_returns_and_are_told_to_nobody() -> None:
    async def run() -> None:
        tasks, ends = BackgroundTasks(), list[BaseException | None]()
        cleaned: list[str] = []

        async def clean_up() -> None:
            try:
                await _wait()
            finally:
                await asyncio.sleep(0)
                cleaned.append("done")

        task = tasks.spawn(clean_up(), ends.append)
        await asyncio.sleep(0)
        await tasks.cancel()
        assert task.cancelled()
        assert (cleaned, ends, len(tasks)) == (["done"], [], 0)

    asyncio.run(run())


def test_a_task_that_another_starts_at_its_end_is_waited_for_too() -> None:
    async def run() -> None:
        tasks, ended = BackgroundTasks(), list[str]()

        async def second() -> None:
            ended.append("second")

        def go_on(_error: BaseException | None) -> None:
            tasks.spawn(second())

        tasks.spawn(_nothing(), go_on)
        await tasks.join()
        assert ended == ["second"]

    asyncio.run(run())


def test_a_task_that_another_starts_at_its_end_is_cancelled_too() -> None:
    async def run() -> None:
        tasks = BackgroundTasks()

        def go_on(_error: BaseException | None) -> None:
            tasks.spawn(_wait())

        ended = tasks.spawn(_nothing(), go_on)
        await asyncio.sleep(0)
        assert (ended.done(), len(tasks)) == (True, 1)
        await tasks.cancel()
        assert len(tasks) == 0
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())


def test_a_wait_for_all_that_is_given_up_leaves_them_running() -> None:
    async def run() -> None:
        tasks = BackgroundTasks()
        tasks.spawn(_wait())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await tasks.join()
        assert len(tasks) == 1
        await tasks.cancel()

    asyncio.run(run())


def test_a_wait_ends_with_the_event_or_with_the_time() -> None:
    async def run() -> None:
        event = asyncio.Event()
        await wait_at_most(event, 0)
        assert not event.is_set()
        event.set()
        await wait_at_most(event, None)

    asyncio.run(run())
