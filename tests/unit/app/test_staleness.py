"""The operator notices without an event that a view becomes old, and current again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.apiserver import NODES, FakeApiServer
from tests.fakes.waiting import until
from tests.unit.act.objects import node
from tests.unit.app.cluster import conditions, full, make_pool, touch_node
from tests.unit.app.playing import Day, passes, play
from tests.unit.app.process import Process
from tests.unit.app.running import Running, Site


def test_a_pass_that_saw_other_faults_of_the_view_is_repeated_and_no_other_pass() -> None:
    async def scenario(server: FakeApiServer, process: Process, _day: Day) -> None:
        check = process.parts.reconciler.check_view
        await until(lambda: conditions(server).get("Degraded") == ("False", "AllWell"), "all is well")
        unusual = node("odd")
        unusual["metadata"]["labels"]["odd"] = 7
        server.create(NODES, unusual)
        await until(lambda: bool(process.parts.view.unreadable()), "it is read")
        touch_node(server, "c1", "wakes the passes")
        await until(lambda: conditions(server)["Degraded"] == ("True", "ObjectsUnreadable"), "a pass has seen it")
        before = passes(process)
        check()
        server.delete(NODES, "odd")
        await until(lambda: not process.parts.view.unreadable(), "it is gone")
        assert passes(process) == before, "nothing had changed since the last pass"
        # The fault came and went since the check before: only the pass has seen it.
        check()
        await until(lambda: conditions(server)["Degraded"] == ("False", "AllWell"), "it is taken back")

    def before(server: FakeApiServer, _day: Day) -> None:
        full(server)
        make_pool(server)

    play(scenario, before)


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
