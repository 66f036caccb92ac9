"""The first list and every later one: streamed or by pages, never losing a delete."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from computepool.observe.reflector import Tuning
from tests.fakes.apiserver import PODS, Behaviour, FakeApiServer
from tests.fakes.following import Following, following
from tests.fakes.sinks import things
from tests.fakes.waiting import until
from tests.unit.act.objects import pod, with_pods

PAGES = Tuning(inactivity=5.0, list_timeout=5.0, page_size=2, streaming=False)


def play(server: FakeApiServer, scenario: Callable[[Following], Awaitable[None]], **options: Any) -> None:
    async def run() -> None:
        async with server, following(server, **options) as f:
            await scenario(f)

    asyncio.run(run())


async def unseen(f: Following, *changes: Callable[[], object]) -> None:
    """Change objects while nobody can watch, and forget the history."""
    await f.server.stop()
    for change in changes:
        change()
    f.server.compact()
    await f.server.start()


def test_the_first_list_is_streamed_and_goes_on_as_a_watch_on_the_same_connection() -> None:
    async def scenario(f: Following) -> None:
        await f.watching()
        f.server.create(PODS, pod("later"))
        await f.caught_up()
        assert f.server.count("list") == 0
        assert f.server.count("watch") == 1
        assert [told.what for told in f.sink.told] == ["start", *["upsert"] * 5, "finish", "upsert"]

    play(with_pods(5), scenario)


@pytest.mark.parametrize("streaming", [True, False])
def test_an_empty_resource_is_synced_too(streaming: bool) -> None:
    async def scenario(f: Following) -> None:
        await f.watching()
        assert [told.what for told in f.sink.told] == ["start", "finish"]
        f.server.create(PODS, pod("first"))
        await f.caught_up()

    play(with_pods(0), scenario, tuning=Tuning(streaming=streaming))


def test_a_server_without_streaming_lists_is_asked_once_and_then_listed_by_pages() -> None:
    async def scenario(f: Following) -> None:
        await f.watching()
        assert not f.reflector.streaming
        assert f.delays == []
        await unseen(f, lambda: f.server.create(PODS, pod("later")))
        await until(lambda: f.sink.syncs == 2)
        await f.caught_up()
        asked = [call for call in f.server.calls_of("watch") if "sendInitialEvents" in call.query]
        assert len(asked) == 1
        assert f.server.count("list") == 3 + 3

    play(with_pods(5, Behaviour(streaming_lists=False)), scenario, tuning=Tuning(page_size=2))


@pytest.mark.parametrize("status", [400, 405, 406, 415, 422])
def test_every_way_of_refusing_a_streaming_list_leads_to_pages(status: int) -> None:
    server = with_pods(3)
    server.fault("watch", status=status)

    async def scenario(f: Following) -> None:
        await f.watching()
        assert f.server.count("list") == 1

    play(server, scenario)


def test_a_server_that_does_not_know_the_query_and_just_watches_leads_to_pages() -> None:
    server = with_pods(3)
    # The objects come, and then an ordinary bookmark in place of the one that ends a streaming list.
    server.fault("watch", then="bookmark", after=3)

    async def scenario(f: Following) -> None:
        await f.watching()
        assert not f.reflector.streaming
        assert f.server.count("list") == 1

    play(server, scenario)


def test_streaming_lists_that_keep_breaking_off_lead_to_pages_once() -> None:
    server = with_pods(4)
    server.fault("watch", then="drop", after=2, times=2)

    async def scenario(f: Following) -> None:
        await f.watching()
        assert f.reflector.streaming
        assert f.server.count("list") == 1
        assert f.sink.of("p0") == ["upsert"] * 3

    play(server, scenario)


def test_a_streaming_list_that_is_ended_early_in_good_order_is_no_complete_list() -> None:
    server = with_pods(4)
    server.fault("watch", then="end", after=2)

    async def scenario(f: Following) -> None:
        await f.watching()
        assert [told.what for told in f.sink.told].count("finish") == 1
        assert f.sink.told[3].what == "start"

    play(server, scenario)


def test_pages_are_put_together_to_one_list() -> None:
    async def scenario(f: Following) -> None:
        await f.watching()
        assert [call.query.get("limit") for call in f.server.calls_of("list")] == ["2"] * 3
        assert [told.what for told in f.sink.told] == ["start", *["upsert"] * 5, "finish"]

    play(with_pods(5), scenario, tuning=PAGES)


@pytest.mark.parametrize("page", [1, 2, 3])
@pytest.mark.parametrize("status", [410, 429, 500, 503, 403])
def test_a_list_refused_on_any_page_is_started_over_without_wrong_deletes(page: int, status: int) -> None:
    server = with_pods(5)
    server.fault("list", status=status, page=page)

    async def scenario(f: Following) -> None:
        await f.watching()
        assert not [told for told in f.sink.told if told.what == "delete"]
        assert [told.what for told in f.sink.told].count("start") == 2
        assert f.sink.syncs == 1
        assert len(f.delays) == 1

    play(server, scenario, tuning=PAGES)


def test_an_object_that_vanishes_while_a_list_is_started_over_is_deleted() -> None:
    server = with_pods(5)
    server.fault("list", status=410, page=3)

    async def scenario(f: Following) -> None:
        await f.watching()
        assert f.sink.of("p0") == ["upsert", "delete"]
        assert f.sink.told[-1].what == "finish"

    play(server, scenario, tuning=PAGES, on_delay=lambda: server.delete(PODS, "p0", "default"))


def test_a_connection_that_breaks_between_pages_starts_the_list_over() -> None:
    server = with_pods(5)
    server.fault("list", reset=True, page=2)
    server.fault("list", reset=True, page=2)

    async def scenario(f: Following) -> None:
        await f.watching()
        assert f.sink.syncs == 1

    play(server, scenario, tuning=PAGES)


@pytest.mark.parametrize("body", [b"<html>a proxy's page</html>", b"", b'{"metadata": {"resourceVersion": "abc"}}'])
def test_an_answer_that_is_no_list_is_asked_for_again(body: bytes) -> None:
    server = with_pods(5)
    server.fault("list", body=body)

    async def scenario(f: Following) -> None:
        await f.watching()
        assert f.reflector.errors == 1

    play(server, scenario, tuning=PAGES)


def test_a_relist_brings_what_changed_and_vanished_without_a_watch_and_every_other_object_again() -> None:
    async def scenario(f: Following) -> None:
        await f.watching()
        await unseen(
            f,
            lambda: f.server.delete(PODS, "p1", "default"),
            lambda: f.server.update(PODS, pod("p2", nodeName="n")),
            lambda: f.server.create(PODS, pod("new")),
        )
        await until(lambda: f.sink.syncs == 2)
        await f.caught_up()
        assert f.sink.of("p1") == ["upsert", "delete"]
        # Every object counts as changed after a relist, also those that did not change.
        assert f.sink.of("p0") == ["upsert", "upsert"]
        assert f.sink.of("new") == ["upsert"]
        assert f.reflector.relists == 1

    play(with_pods(3), scenario)


@pytest.mark.parametrize("gone_in_event", [True, False])
@pytest.mark.parametrize("streaming", [True, False])
def test_gone_leads_to_a_relist_whichever_way_it_is_said(gone_in_event: bool, streaming: bool) -> None:
    async def scenario(f: Following) -> None:
        await f.watching()
        await unseen(f, lambda: f.server.delete(PODS, "p0", "default"))
        await until(lambda: f.sink.syncs == 2)
        await f.caught_up()

    play(with_pods(3, Behaviour(gone_in_event=gone_in_event)), scenario, tuning=Tuning(streaming=streaming))


def test_a_server_restored_from_a_backup_is_listed_anew() -> None:
    server = with_pods(3)

    async def scenario(f: Following) -> None:
        await f.watching()
        backup = server.backup()
        for number in range(20):
            server.create(PODS, pod(f"lost{number}"))
        await f.caught_up()
        server.restore(backup)
        # Its versions now count on from far below what was seen: the watch is accepted, and silent.
        server.create(PODS, pod("after"))
        await until(lambda: f.sink.syncs == 2)
        await f.caught_up()
        assert f.reflector.relists == 1

    play(server, scenario, tuning=Tuning(inactivity=0.1))


def test_selectors_are_sent_with_every_list_and_watch() -> None:
    async def scenario(f: Following) -> None:
        await until(f.reflector.synced.is_set)
        assert set(f.sink.items) == {"p0", "p2"}
        await until(lambda: f.server.open_watches)
        assert {call.query.get("fieldSelector") for call in f.server.calls} == {"metadata.name!=p1"}

    play(with_pods(3), scenario, tuning=PAGES, resource=things(PODS, fieldSelector="metadata.name!=p1"))


def test_an_object_that_cannot_be_read_is_counted_and_costs_no_other() -> None:
    server = with_pods(2)
    server.create(PODS, {"metadata": {"name": "odd", "namespace": "default", "labels": {"a": 7}}})

    async def scenario(f: Following) -> None:
        await until(f.reflector.synced.is_set)
        assert set(f.sink.items) == {"p0", "p1"}
        assert f.reflector.undecodable == 1
        # The view lacks it, and says so until a list without it.
        assert f.reflector.last_error is not None
        assert f.reflector.last_error.startswith("cannot read one of the pods: Expected `str`, got `int`")
        await unseen(f, lambda: server.delete(PODS, "odd", "default"))
        await until(lambda: f.reflector.last_error is None)

    play(server, scenario)


def test_age_counts_from_the_last_time_the_sink_was_known_to_be_current() -> None:
    async def scenario(f: Following) -> None:
        assert f.reflector.age(f.clock()) == math.inf
        await f.watching()
        assert f.reflector.age(f.clock()) == 0
        f.clock.advance(50)
        assert f.reflector.age(f.clock()) == 50
        f.server.bookmark()
        await until(lambda: f.reflector.age(f.clock()) == 0)

        f.clock.advance(7)
        f.server.behaviour.streaming_lists = False
        f.server.fault("list", status=500, page=2, times=200)
        await unseen(f, lambda: f.server.create(PODS, pod("missed")))
        await until(lambda: f.reflector.errors >= 2)
        # Pages arrive, so the server is there; but what the sink holds is not known to be whole.
        assert f.reflector.last_contact == f.clock()
        assert f.reflector.age(f.clock()) == 7
        f.server.faults.clear()
        await f.caught_up()
        assert f.reflector.age(f.clock()) == 0

    play(with_pods(4), scenario, tuning=Tuning(page_size=2))


def test_a_long_list_leaves_the_loop_to_others_every_few_milliseconds() -> None:
    server = with_pods(4000)

    async def scenario(f: Following) -> None:
        most = 0
        while not f.reflector.synced.is_set():
            told = len(f.sink.told)
            await asyncio.sleep(0)
            most = max(most, len(f.sink.told) - told)
        # In one slice of half a millisecond at most a part of the page was taken in.
        assert 0 < most < 1000

    play(server, scenario, tuning=Tuning(page_size=4000, streaming=False, slice_seconds=0.0005))
