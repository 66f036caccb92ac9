"""Pools as they come: by watch, by list and by the answers to our own writes, in any order."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from computepool.app.pools import RELIST_SECONDS, Pools
from computepool.kube.client import ApiClient
from computepool.kube.credentials import static_access
from computepool.kube.errors import ApiError
from computepool.observe.store import Store
from tests.builders import NOW, POOL
from tests.fakes.apiserver import COMPUTEPOOLS, FakeApiServer
from tests.fakes.objectstore import CREATED_AT
from tests.fakes.waiting import until
from tests.unit.act.objects import Json, pool, pool_record


class Taking:
    """Pools in front of a fake API server, and their callbacks' calls; `now` is the time of their clock."""

    def __init__(self, server: FakeApiServer, client: ApiClient, relist_seconds: float) -> None:
        self.server = server
        self.now = 1.0
        self.queued: list[str] = []
        self.gone: list[str] = []
        self.changes = 0
        self.store = Store(lambda name, _at, **_: self.queued.append(name), wall=lambda: NOW)
        self.stated: list[str] = []
        self.pools = Pools(
            client,
            self.store,
            clock=lambda: self.now,
            retry_seconds=0.01,
            relist_seconds=relist_seconds,
        )
        self.pools.subscribe(
            gone=self.gone.append,
            changed=self._changed,
            stated=lambda pool: self.stated.append(pool.name),
        )

    def _changed(self) -> None:
        self.changes += 1

    def create(self, name: str = POOL, **how: Any) -> Json:
        return self.server.create(COMPUTEPOOLS, pool(name=name, **how))

    def edit(self, name: str = POOL, **spec: Any) -> Json:
        item = self.server.get(COMPUTEPOOLS, name)
        return self.server.update(COMPUTEPOOLS, {**item, "spec": {**item["spec"], **spec}})

    def mode(self, name: str = POOL) -> str:
        return str(self.store.pools[name].spec.mode)

    def forget_told(self) -> None:
        self.queued.clear()
        self.gone.clear()
        self.changes = 0


def play(scenario: Callable[[Taking], Awaitable[None]], *, relist_seconds: float = RELIST_SECONDS) -> None:
    async def run() -> None:
        async with FakeApiServer() as server, ApiClient(static_access(server.url)) as client:
            await scenario(Taking(server, client, relist_seconds))

    asyncio.run(run())


# -- pools that come


@pytest.mark.parametrize("kind", ["", "ADDED", "MODIFIED"])
def test_a_pool_that_is_heard_of_is_taken_in_and_looked_at(kind: str) -> None:
    async def scenario(t: Taking) -> None:
        t.pools.heard(kind, t.create())
        assert list(t.store.pools) == [POOL]
        assert t.queued == [POOL]
        assert t.changes == 1
        assert t.gone == []

    play(scenario)


def test_the_list_brings_what_is_there_and_takes_what_is_not() -> None:
    async def scenario(t: Taking) -> None:
        t.pools.heard("ADDED", t.create("old"))
        t.server.delete(COMPUTEPOOLS, "old")
        t.create("new")
        await t.pools.relist()
        assert list(t.store.pools) == ["new"]
        assert t.gone == ["old"]

    play(scenario)


def test_a_list_that_brings_nothing_new_changes_nothing() -> None:
    async def scenario(t: Taking) -> None:
        t.create()
        await t.pools.relist()
        t.forget_told()
        await t.pools.relist()
        assert (t.queued, t.gone, t.changes) == ([], [], 0)

    play(scenario)


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 404}, {"reset": True}, {"body": b"?"}])
def test_a_list_that_fails_takes_nothing_away(fault: dict[str, Any]) -> None:
    async def scenario(t: Taking) -> None:
        t.pools.heard("ADDED", t.create())
        t.server.fault("list", times=9, **fault)
        with pytest.raises(ApiError):
            await t.pools.relist()
        assert list(t.store.pools) == [POOL]

    play(scenario)


def test_an_edited_spec_is_taken_in_and_told() -> None:
    async def scenario(t: Taking) -> None:
        t.pools.heard("ADDED", t.create())
        t.forget_told()
        t.pools.heard("MODIFIED", t.edit(mode="Observe"))
        assert t.mode() == "Observe"
        assert t.queued == [POOL]
        assert t.changes == 1

    play(scenario)


def test_a_written_status_is_taken_in_without_another_look() -> None:
    async def scenario(t: Taking) -> None:
        t.pools.heard("ADDED", t.create())
        t.forget_told()
        item = t.server.get(COMPUTEPOOLS, POOL)
        written = t.server.update(COMPUTEPOOLS, {**item, "status": {"burstPods": 3}})
        t.pools.refresh(pool_record(written))
        assert t.store.pools[POOL].status.burst_pods == 3
        assert t.store.pools[POOL].metadata.resource_version == written["metadata"]["resourceVersion"]
        assert (t.queued, t.changes) == ([], 0)

    play(scenario)


# -- pools that go


def test_a_deleted_pool_is_forgotten() -> None:
    async def scenario(t: Taking) -> None:
        t.pools.heard("ADDED", t.create())
        t.forget_told()
        t.pools.heard("DELETED", t.server.delete(COMPUTEPOOLS, POOL))
        assert not t.store.pools
        assert t.gone == [POOL]
        assert t.changes == 1

    play(scenario)


def test_a_pool_that_waits_for_its_finalizers_is_forgotten() -> None:
    async def scenario(t: Taking) -> None:
        item = t.create()
        t.pools.heard("ADDED", item)
        t.pools.heard("MODIFIED", {**item, "metadata": {**item["metadata"], "deletionTimestamp": CREATED_AT}})
        assert not t.store.pools
        assert t.gone == [POOL]

    play(scenario)


def test_the_end_of_a_pool_never_heard_of_is_no_news() -> None:
    async def scenario(t: Taking) -> None:
        t.create()
        t.pools.heard("DELETED", t.server.delete(COMPUTEPOOLS, POOL))
        assert (t.gone, t.changes) == ([], 0)

    play(scenario)


@pytest.mark.parametrize(
    "broken",
    [
        {"spec": {}},
        {"spec": {"providers": [{"name": "aws"}]}},
        {"spec": {"providers": "aws"}},
        {"spec": None},
    ],
)
def test_a_pool_whose_spec_can_not_be_read_is_logged_and_left_alone(
    broken: Json, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(t: Taking) -> None:
        item = t.create()
        t.pools.heard("ADDED", item)
        t.pools.heard("MODIFIED", {**item, **broken})
        assert not t.store.pools
        assert t.gone == [POOL]
        (line,) = [record for record in caplog.records if "can't be read" in record.getMessage()]
        assert vars(line)["fields"]["pool"] == POOL
        assert vars(line)["fields"]["error"]

    play(scenario)


def test_one_pool_that_can_not_be_read_keeps_no_other_from_being_listed() -> None:
    async def scenario(t: Taking) -> None:
        t.server.create(COMPUTEPOOLS, {"metadata": {"name": "broken"}})
        t.create()
        await t.pools.relist()
        assert list(t.store.pools) == [POOL]

    play(scenario)


# -- news that comes late


def test_an_older_state_is_ignored() -> None:
    async def scenario(t: Taking) -> None:
        older = t.create()
        t.pools.heard("MODIFIED", t.edit(mode="Observe"))
        t.forget_told()
        t.pools.heard("MODIFIED", older)
        t.pools.refresh(pool_record(older))
        assert t.mode() == "Observe"
        assert (t.queued, t.changes) == ([], 0)

    play(scenario)


def test_a_pool_made_anew_under_the_same_name_is_another_pool() -> None:
    async def scenario(t: Taking) -> None:
        t.pools.heard("ADDED", t.create())
        t.server.delete(COMPUTEPOOLS, POOL)
        t.forget_told()
        anew = t.create()
        t.pools.heard("ADDED", anew)
        assert t.store.pools[POOL].metadata.uid == anew["metadata"]["uid"]
        assert t.gone == [POOL]
        assert t.queued == [POOL]
        assert t.changes == 1

    play(scenario)


def test_the_end_of_the_pool_before_does_not_end_the_one_that_took_its_name() -> None:
    async def scenario(t: Taking) -> None:
        t.pools.heard("ADDED", t.create())
        ended = t.server.delete(COMPUTEPOOLS, POOL)
        t.create()
        await t.pools.relist()
        t.pools.heard("DELETED", ended)
        assert list(t.store.pools) == [POOL]

    play(scenario)


def test_the_answer_to_a_write_does_not_bring_a_deleted_pool_back() -> None:
    async def scenario(t: Taking) -> None:
        item = t.create()
        t.pools.heard("ADDED", item)
        written = pool_record(t.server.update(COMPUTEPOOLS, {**item, "status": {"burstPods": 3}}))
        t.pools.heard("DELETED", t.server.delete(COMPUTEPOOLS, POOL))
        t.pools.refresh(written)
        assert not t.store.pools
        anew = t.create()
        t.pools.heard("ADDED", anew)
        t.pools.refresh(written)
        assert t.store.pools[POOL].metadata.uid == anew["metadata"]["uid"]

    play(scenario)


def test_a_list_does_not_bring_back_what_was_deleted_while_it_was_on_its_way() -> None:
    async def scenario(t: Taking) -> None:
        t.pools.heard("ADDED", t.create())
        stale = t.server.items(COMPUTEPOOLS)

        def deleted_meanwhile() -> None:
            t.pools.heard("DELETED", t.server.delete(COMPUTEPOOLS, POOL))

        await listed_while(t, stale, deleted_meanwhile)
        assert not t.store.pools

    play(scenario)


def test_a_list_does_not_take_away_what_was_created_while_it_was_on_its_way() -> None:
    async def scenario(t: Taking) -> None:
        t.pools.heard("ADDED", t.create("old"))
        stale = t.server.items(COMPUTEPOOLS)
        await listed_while(t, stale, lambda: t.pools.heard("ADDED", t.create("new")))
        assert sorted(t.store.pools) == ["new", "old"]

    play(scenario)


def test_a_list_does_not_take_away_what_was_made_anew_while_it_was_on_its_way() -> None:
    async def scenario(t: Taking) -> None:
        t.pools.heard("ADDED", t.create())
        t.pools.heard("DELETED", t.server.delete(COMPUTEPOOLS, POOL))
        stale = t.server.items(COMPUTEPOOLS)
        await listed_while(t, stale, lambda: t.pools.heard("ADDED", t.create()))
        assert list(t.store.pools) == [POOL]

    play(scenario)


async def listed_while(t: Taking, stale: list[Json], happens: Callable[[], object]) -> None:
    """List the pools; the answer holds the `stale` ones, and something happens before it arrives."""
    version = {"resourceVersion": str(t.server.store.version)}
    listed = {"kind": "ComputePoolList", "apiVersion": "computepool.io/v1alpha1", "metadata": version, "items": stale}
    answered = asyncio.Event()
    t.server.fault("list", gate=answered, body=msgspec.json.encode(listed))
    listing = asyncio.create_task(t.pools.relist())
    await until(lambda: t.server.count("list"), "the list is on its way")
    happens()
    answered.set()
    await listing


@pytest.mark.parametrize("way", ["mended", "deleted", "gone from the list"])
def test_a_pool_that_can_not_be_read_is_known_to_be_there_until_it_can_or_is_gone(way: str) -> None:
    async def scenario(t: Taking) -> None:
        item = t.create()
        t.pools.heard("ADDED", {**item, "spec": {"odd": True}})
        assert t.pools.unread()
        assert POOL not in t.store.pools
        if way == "mended":
            t.pools.heard("MODIFIED", item)
        elif way == "deleted":
            t.pools.heard("DELETED", item)
        else:
            t.server.delete(COMPUTEPOOLS, POOL)
            await t.pools.relist()
        assert not t.pools.unread()

    play(scenario)


# -- whether the view is current


def test_before_the_first_list_there_is_no_trouble_and_the_view_is_not_current() -> None:
    async def scenario(t: Taking) -> None:
        assert t.pools.trouble(60.0) == ""
        assert not t.pools.current.is_set()

    play(scenario)


def test_a_list_that_fails_is_told_and_repeated() -> None:
    async def scenario(t: Taking) -> None:
        t.server.fault("list", times=2, status=403, message="no right")
        async with listing(t):
            await until(lambda: t.pools.trouble(60.0), "it is told")
            assert re.match("pools are not listed yet: .*no right; check", t.pools.trouble(60.0))
            await until(t.pools.current.is_set, "they are listed")
            assert t.pools.trouble(60.0) == ""
        assert t.server.count("list") == 3

    play(scenario)


def test_a_deletion_that_the_watch_has_lost_is_noticed_by_the_next_list() -> None:
    async def scenario(t: Taking) -> None:
        t.create()
        async with listing(t):
            await until(lambda: POOL in t.store.pools, "it is listed")
            t.server.delete(COMPUTEPOOLS, POOL)
            await until(lambda: t.gone == [POOL], "it is gone")

    play(scenario, relist_seconds=0.01)


def test_when_the_watch_is_lost_the_view_is_stale_until_pools_are_listed_anew() -> None:
    async def scenario(t: Taking) -> None:
        t.create()
        async with listing(t):
            await until(t.pools.current.is_set, "they are listed")
            t.forget_told()
            answered = asyncio.Event()
            t.server.fault("list", gate=answered)
            t.pools.lost("kopf ended")
            assert t.pools.trouble(60.0).startswith("pools are not listed yet: kopf ended")
            await until(lambda: t.server.count("list") == 2, "they are listed anew at once")
            assert t.queued == []
            answered.set()
            await until(t.pools.current.is_set, "the list is complete")
            assert t.pools.trouble(60.0) == ""
            assert t.queued == [POOL], "a pass may have found the view stale"

    play(scenario)


def test_a_list_that_began_before_the_watch_was_lost_does_not_make_the_view_current() -> None:
    async def scenario(t: Taking) -> None:
        first, second = asyncio.Event(), asyncio.Event()
        t.server.fault("list", gate=first)
        t.server.fault("list", gate=second)
        async with listing(t):
            await until(lambda: t.server.count("list") == 1, "the first list is on its way")
            t.pools.lost("kopf ended")
            first.set()
            await until(lambda: t.server.count("list") == 2, "the second list is on its way")
            assert not t.pools.current.is_set()
            second.set()
            await until(t.pools.current.is_set, "they are listed")

    play(scenario)


def test_a_view_that_was_not_listed_for_too_long_is_stale_though_nothing_else_is_wrong() -> None:
    async def scenario(t: Taking) -> None:
        async with listing(t):
            await until(t.pools.current.is_set, "they are listed")
            t.server.fault("list", times=1000, status=503, message="etcd is away")
            t.now += 60.0
            assert t.pools.trouble(60.0) == ""
            t.now += 1.0
            assert t.pools.trouble(60.0).startswith("the view of pools is older than 60 s")
            await until(lambda: "etcd is away" in t.pools.trouble(60.0), "the reason is told")
            t.server.faults.clear()
            await until(lambda: t.pools.trouble(60.0) == "", "they are listed")

    play(scenario, relist_seconds=0.01)


@asynccontextmanager
async def listing(t: Taking) -> AsyncIterator[None]:
    """Keep the pools listed as long as the block."""
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(t.pools.run())
        yield
        running.cancel()
