"""What shows in no event is noticed all the same: views that become old, and current again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from computepool.app.staleness import TICK_SECONDS, StalenessMonitor
from tests.fakes.apiserver import FakeApiServer
from tests.fakes.view import FakeView
from tests.fakes.waiting import until
from tests.unit.app.cluster import conditions, full, make_pool
from tests.unit.app.running import Running, Site

Words = tuple[str, ...]


def turns(*ticks: Words) -> list[int]:
    """At which of these ticks all pools were looked at; each tick is what the signs say then."""
    found: list[int] = []
    passed = 0

    async def sleep(seconds: float) -> None:
        nonlocal passed
        assert seconds == TICK_SECONDS
        passed += 1
        if passed == len(ticks):
            raise asyncio.CancelledError

    class Told(FakeView):
        def stale(self) -> str:
            return ticks[passed][0]

        def unreadable(self) -> str:
            return ticks[passed][1] if len(ticks[passed]) > 1 else ""

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(StalenessMonitor(Told(), on_change=lambda: found.append(passed), sleep=sleep).run())
    return found


def test_what_is_found_first_may_be_news() -> None:
    assert turns(("",)) == [0]
    assert turns(("old",)) == [0]


def test_each_turn_is_one_look_and_other_words_for_it_are_none() -> None:
    assert turns(("",), ("",), ("61 s old",), ("62 s old",), ("",), ("",)) == [0, 2, 4]


def test_each_sign_turns_by_itself() -> None:
    assert turns(("", ""), ("old", ""), ("old", "odd"), ("", "odd"), ("", "odd")) == [0, 1, 2, 3]


async def _lively(server: FakeApiServer) -> None:
    full(server)
    make_pool(server)
    server.behaviour.bookmark_seconds = 0.05
    await server.stop()
    await server.start()


def test_watches_that_fall_silent_are_told_though_nothing_happens(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "computepool")

    async def scenario(r: Running) -> None:
        await until(lambda: conditions(r.server).get("Ready") == ("True", "Reconciled"), "all is well")
        r.server.disturb("mute")
        await until(lambda: conditions(r.server)["Ready"] == ("Unknown", "CacheStale"), "the view is old")

    Site(tmp_path, caplog).play(scenario, _lively, stale_seconds=1.0)
