"""Following the changes through everything that can happen to a watch."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from computepool.observe.reflector import Tuning
from tests.fakes.apiserver import NODES, PODS, Behaviour, FakeApiServer
from tests.fakes.faults import Mischief
from tests.fakes.following import Following, following
from tests.fakes.sinks import Thing, things
from tests.fakes.waiting import until
from tests.unit.act.objects import pod, with_pods


def play(server: FakeApiServer, scenario: Callable[[Following], Awaitable[None]], **options: Any) -> None:
    async def run() -> None:
        async with server, following(server, **options) as f:
            await f.watching()
            await scenario(f)

    asyncio.run(run())


async def changes(f: Following) -> None:
    """Make one change of each kind, and wait until the sink has them."""
    f.server.create(PODS, pod("added"))
    f.server.update(PODS, pod("p0", nodeName="n1"))
    f.server.delete(PODS, "p1", "default")
    await f.caught_up()


def test_changes_arrive_once_and_in_order() -> None:
    async def scenario(f: Following) -> None:
        await changes(f)
        told = f.sink.told[-3:]
        assert [(t.what, t.key) for t in told] == [("upsert", "added"), ("upsert", "p0"), ("delete", "p1")]

    play(with_pods(3), scenario)


def test_events_carry_the_time_at_which_they_arrived() -> None:
    async def scenario(f: Following) -> None:
        f.clock.advance(5)
        f.server.create(PODS, pod("later"))
        await f.caught_up()
        assert f.sink.told[0].at == 1000.0
        assert f.sink.told[-1].at == 1005.0

    play(with_pods(1), scenario)


@pytest.mark.parametrize("mischief", ["end", "drop", "cut", "garbage", "error"])
def test_a_watch_that_ends_in_any_way_is_resumed_where_it_was_without_a_list(mischief: Mischief) -> None:
    async def scenario(f: Following) -> None:
        await changes(f)
        f.server.disturb(mischief)
        f.server.create(PODS, pod("while-it-broke"))
        await f.caught_up()
        await changes_again(f)
        assert f.sink.syncs == 1
        assert f.reflector.relists == 0
        assert f.server.calls_of("watch")[-1].query["resourceVersion"] == str(version_before_the_break)

    server = with_pods(3)
    version_before_the_break = server.store.version + 3
    play(server, scenario)


async def changes_again(f: Following) -> None:
    f.server.update(PODS, pod("p0", nodeName="n2"))
    f.server.delete(PODS, "added", "default")
    await f.caught_up()


def test_a_connection_that_falls_silent_is_given_up_and_resumed() -> None:
    async def scenario(f: Following) -> None:
        f.server.disturb("mute")
        await changes(f)
        assert f.sink.syncs == 1
        assert f.reflector.errors >= 1

    play(with_pods(3), scenario, tuning=Tuning(inactivity=0.2))


def test_bookmarks_keep_a_quiet_watch_alive_and_move_the_place_to_resume_from() -> None:
    async def scenario(f: Following) -> None:
        # Changes of other resources move the server's version on, and are not seen by this watch.
        for number in range(30):
            f.server.create(NODES, {"metadata": {"name": f"n{number}"}})
        f.server.bookmark()
        await until(lambda: f.reflector.resource_version == f.server.store.version)
        f.server.compact()
        f.server.disturb("drop")
        await until(lambda: f.server.count("watch") == 2)
        await changes(f)
        assert f.sink.syncs == 1

    play(with_pods(3), scenario)


def test_an_old_bookmark_moves_nothing_back() -> None:
    async def scenario(f: Following) -> None:
        version = f.reflector.resource_version
        f.clock.advance(1)
        f.server.disturb("bookmark")
        await until(lambda: f.reflector.last_contact == f.clock())
        await changes(f)
        assert f.reflector.resource_version == (version or 0) + 3

    play(with_pods(3), scenario)


def test_an_event_sent_again_changes_nothing() -> None:
    async def scenario(f: Following) -> None:
        f.server.update(PODS, pod("p0", nodeName="n0"))
        await f.caught_up()
        # The first line of this watch: p0 as it was at the very beginning.
        f.server.disturb("repeat")
        await changes(f)
        assert f.reflector.stale_events == 1
        assert f.sink.of("p0") == ["upsert", "upsert", "upsert"]

    play(with_pods(3), scenario)


def test_an_old_event_does_not_bring_a_deleted_object_back_to_life() -> None:
    async def scenario(f: Following) -> None:
        f.server.delete(PODS, "p0", "default")
        await f.caught_up()
        f.server.disturb("repeat")
        f.server.create(PODS, pod("later"))
        await f.caught_up()
        assert f.sink.of("p0") == ["upsert", "delete"]

    play(with_pods(3), scenario)


def test_a_delete_sent_again_does_not_delete_the_object_that_took_the_name() -> None:
    async def scenario(f: Following) -> None:
        f.server.disturb("end")
        f.server.delete(PODS, "p0", "default")
        await until(lambda: f.server.open_watches and not f.sink.items)
        # The first line of the resumed watch is the delete of the earlier p0.
        f.server.disturb("repeat")
        f.server.create(PODS, pod("p0"))
        await f.caught_up()
        f.server.disturb("repeat")
        f.server.create(PODS, pod("later"))
        await f.caught_up()
        assert f.sink.of("p0") == ["upsert", "delete", "upsert"]
        assert f.reflector.stale_events == 2

    play(with_pods(1), scenario)


def test_an_object_that_leaves_the_selection_is_deleted_and_one_that_enters_is_added() -> None:
    server = with_pods(3)

    async def run() -> None:
        async with server, following(server, resource=things(PODS, fieldSelector="spec.nodeName=")) as f:
            await until(lambda: f.server.open_watches and f.reflector.synced.is_set())
            server.update(PODS, pod("p0", nodeName="n1"))
            await until(lambda: set(f.sink.items) == {"p1", "p2"})
            server.update(PODS, pod("p0"))
            await until(lambda: set(f.sink.items) == {"p0", "p1", "p2"})

    asyncio.run(run())


@pytest.mark.parametrize("chop", [1, 7, 100])
def test_events_cut_anywhere_are_put_together(chop: int) -> None:
    play(with_pods(3, Behaviour(chop=chop)), changes)


def test_an_object_of_two_megabytes_is_a_line_like_any_other() -> None:
    async def scenario(f: Following) -> None:
        f.server.create(PODS, pod("large", filler="x" * 2_000_000))
        await f.caught_up()
        await changes(f)
        assert f.reflector.errors == 0

    play(with_pods(3), scenario)


def test_an_event_larger_than_any_line_may_be_is_got_by_a_list_instead() -> None:
    async def scenario(f: Following) -> None:
        f.server.create(PODS, pod("monstrous", filler="x" * 100_000))
        await f.caught_up()
        await changes(f)
        assert f.sink.syncs == 2

    play(with_pods(3), scenario, tuning=Tuning(streaming=False, max_line=50_000))


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
def test_a_watch_that_is_refused_is_tried_again(status: int) -> None:
    server = with_pods(3)

    async def scenario(f: Following) -> None:
        server.fault("watch", status=status, times=3)
        server.disturb("drop")
        await until(lambda: not f.server.faults)
        await changes(f)
        assert f.sink.syncs == 1
        assert len(f.delays) == 4

    play(server, scenario)


def test_a_server_that_asks_for_patience_gets_it() -> None:
    server = with_pods(1)

    async def scenario(f: Following) -> None:
        server.fault("watch", status=429, retry_after=17)
        server.fault("watch", then="error", code=429, retry_after=19)
        server.fault("watch", status=503, retry_after=100_000)
        server.disturb("drop")
        await until(lambda: not f.server.faults)
        await f.watching()
        assert f.delays[1:4] == [17, 19, 120]

    play(server, scenario)


def test_delays_grow_while_watches_fail_and_start_over_after_a_healthy_one() -> None:
    server = with_pods(1)

    async def scenario(f: Following) -> None:
        server.fault("watch", status=500, times=6)
        server.disturb("drop")
        await until(lambda: not server.faults)
        await f.watching()
        for delay, ceiling in zip(f.delays, [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8], strict=True):
            assert ceiling / 2 <= delay <= ceiling
        watches = server.count("watch")
        # An event that arrives shows that the client has noted when its watch began.
        await changes_of_one(f)
        f.clock.advance(11)
        server.disturb("drop")
        await until(lambda: server.count("watch") > watches)
        assert f.delays[-1] <= 0.2

    play(server, scenario)


def test_a_healthy_watch_that_the_server_ends_is_opened_again_at_once() -> None:
    server = with_pods(1)

    async def scenario(f: Following) -> None:
        f.clock.advance(300)
        server.disturb("end")
        await until(lambda: server.count("watch") == 2)
        await changes_of_one(f)
        assert f.delays == []

    play(server, scenario)


async def changes_of_one(f: Following) -> None:
    f.server.update(PODS, pod("p0", nodeName="n9"))
    await f.caught_up()


def test_watches_that_end_at_once_are_not_opened_again_in_a_hot_loop() -> None:
    server = with_pods(1)

    async def scenario(f: Following) -> None:
        server.fault("watch", then="end", times=5)
        server.disturb("end")
        await until(lambda: not server.faults)
        await changes_of_one(f)
        assert len(f.delays) == 6
        assert f.delays[-1] > 1

    play(server, scenario)


def test_watches_are_asked_to_end_at_different_times() -> None:
    server = with_pods(1)

    async def scenario(f: Following) -> None:
        server.fault("watch", status=500, times=10)
        server.disturb("drop")
        await until(lambda: not server.faults)
        asked = {int(call.query["timeoutSeconds"]) for call in server.calls_of("watch")}
        assert len(asked) > 5
        assert all(290 <= seconds <= 580 for seconds in asked)

    play(server, scenario)


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (
            403,
            "cannot watch pods: forbidden: told to fail; check that the ClusterRole allows list and watch on pods: "
            "helm upgrade restores the chart's roles (rbac.create)",
        ),
        (401, "cannot watch pods: the credentials are not accepted: told to fail; check the token or the kubeconfig"),
        (404, "cannot watch pods: the API server does not serve /api/v1/pods; check that its CRD is installed"),
        (500, "cannot watch pods: watch /api/v1/pods: 500: told to fail"),
    ],
)
def test_what_fails_is_said_in_words_until_it_works_again(status: int, sentence: str) -> None:
    server = with_pods(1)

    async def scenario(f: Following) -> None:
        server.fault("watch", status=status, times=10_000)
        server.disturb("drop")
        await until(lambda: len(f.delays) > 2)
        assert f.reflector.last_error == sentence
        server.faults.clear()
        await f.watching()
        await until(lambda: f.reflector.last_error is None)

    play(server, scenario)


def test_a_server_that_is_down_is_found_again() -> None:
    async def scenario(f: Following) -> None:
        await f.server.stop()
        await until(lambda: f.reflector.errors > 3)
        f.server.delete(PODS, "p2", "default")
        await f.server.start()
        await changes(f)
        assert f.sink.syncs == 1

    play(with_pods(3), scenario)


def test_a_sink_that_raises_ends_the_reflector() -> None:
    class OddError(Exception):
        pass

    async def scenario(f: Following) -> None:
        def refuse(key: str, item: Thing, at: float) -> None:
            raise OddError(key)

        f.sink.upsert = refuse  # type: ignore[method-assign]
        f.server.create(PODS, pod("later"))
        await until(f.task.done)

    with pytest.raises(OddError):
        play(with_pods(1), scenario)


def test_many_changes_in_a_row_all_arrive() -> None:
    async def scenario(f: Following) -> None:
        for number in range(500):
            f.server.create(PODS, pod(f"burst{number}"))
        for number in range(0, 500, 2):
            f.server.delete(PODS, f"burst{number}", "default")
        await f.caught_up()
        assert f.reflector.errors == 0

    play(with_pods(1), scenario)
