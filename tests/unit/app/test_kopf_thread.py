"""kopf ends, and the operator process lives on: it leads, sees all changes of pools, and freezes while it can't."""

from __future__ import annotations

import asyncio
import random
import signal
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import kopf
import pytest

from computepool.app.pool_watch import PoolWatch
from computepool.kube.credentials import Access, AccessError, Credentials, static_access
from computepool.kube.retry import Backoff
from tests.builders import POOL
from tests.fakes.apiserver import COMPUTEPOOLS, FakeApiServer
from tests.fakes.waiting import until
from tests.unit.app.cluster import conditions, edit_pool, full, make_pool, overflow, sent
from tests.unit.app.running import Running, Site
from tests.unit.app.test_pools import Taking, listing, play

ALWAYS = 10_000
DISCOVERY = "/apis/computepool.io/v1alpha1"


@pytest.fixture
def site(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Site:
    caplog.set_level("INFO", "computepool")
    return Site(tmp_path, caplog)


def with_pool(server: FakeApiServer) -> None:
    full(server)
    make_pool(server)


def logged(r: Running, message: str) -> list[dict[str, Any]]:
    """The fields of each line with this message."""
    return [vars(record)["fields"] for record in r.caplog.records if record.getMessage() == message]


def ends(r: Running) -> list[dict[str, Any]]:
    return logged(r, "kopf ended, starting it anew")


async def watched(r: Running) -> None:
    await until(lambda: conditions(r.server).get("Ready") == ("True", "Reconciled"), "the pool is acted upon")
    await until(lambda: r.server.count("watch", COMPUTEPOOLS), "pools are watched")


async def is_seen(r: Running, mode: str, reason: str) -> None:
    edit_pool(r.server, mode=mode)
    await until(lambda: conditions(r.server)["Ready"] == ("True", reason), f"mode {mode} is seen")


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"then": "error", "code": 500}, "told to fail"),
        ({"then": "garbage"}, "JSONDecodeError"),
        ({"status": 503}, "APIServerError"),
        ({"status": 403}, "APIForbiddenError"),
        ({"status": 404}, "APINotFoundError"),
        ({"status": 401}, "LoginError"),
    ],
    ids=["an ERROR event", "no JSON", "503", "403", "404", "401"],
)
def test_the_process_lives_on_when_kopf_ends_and_sees_all_changes(
    site: Site, fault: dict[str, Any], error: str
) -> None:
    async def scenario(r: Running) -> None:
        await watched(r)
        r.server.fault("watch", path=COMPUTEPOOLS, times=ALWAYS, **fault)
        r.server.disturb("end", COMPUTEPOOLS)
        await until(lambda: ends(r), "kopf ends")
        assert error in ends(r)[0]["error"]
        # While kopf fails each time, the lists show what changes.
        await is_seen(r, "Observe", "Observing")
        r.server.faults.clear()
        watches = r.server.count("watch", COMPUTEPOOLS)
        await until(lambda: r.server.count("watch", COMPUTEPOOLS) > watches, "pools are watched again")
        await is_seen(r, "Enforce", "Reconciled")
        assert r.holder() == "operator-1"
        assert await r.end() == 0

    site.play(scenario, with_pool)


def test_each_end_is_logged_once_and_the_delays_grow(site: Site) -> None:
    async def scenario(r: Running) -> None:
        await watched(r)
        watches = r.server.count("watch", COMPUTEPOOLS)
        r.server.fault("watch", path=COMPUTEPOOLS, times=4, then="error")
        r.server.disturb("end", COMPUTEPOOLS)
        await until(lambda: r.server.count("watch", COMPUTEPOOLS) == watches + 5, "kopf is started anew until it works")
        delays = [fields["seconds"] for fields in ends(r)]
        assert len(delays) == 4
        assert delays == sorted(delays)
        assert delays[-1] > delays[0]

    site.play(scenario, with_pool, retry_seconds=0.04)


def test_a_pool_that_is_deleted_while_kopf_is_down_is_gone(site: Site) -> None:
    async def scenario(r: Running) -> None:
        await watched(r)
        r.server.fault("watch", path=COMPUTEPOOLS, times=ALWAYS, status=404)
        r.server.disturb("end", COMPUTEPOOLS)
        await until(lambda: ends(r), "kopf ends")
        r.server.delete(COMPUTEPOOLS, POOL)
        await until(lambda: logged(r, "pool gone"), "it is gone")
        r.server.faults.clear()
        make_pool(r.server)
        await until(lambda: conditions(r.server), "one of the same name is acted upon")

    site.play(scenario, with_pool)


def test_kopf_is_started_when_its_resource_is_served_again(site: Site) -> None:
    # If kopf starts where its resource is not served, it never looks again.
    async def scenario(r: Running) -> None:
        await watched(r)
        r.server.behaviour.absent.add(DISCOVERY)
        r.server.disturb("end", COMPUTEPOOLS)
        await r.says("/readyz", 503, "pools are not listed yet")
        discoveries = r.server.count("get", DISCOVERY)
        lists = r.server.count("list", COMPUTEPOOLS)
        await until(lambda: r.server.count("list", COMPUTEPOOLS) > lists + 3, "it goes on listing")
        assert len(logged(r, "pools not listed, trying again")) == 1, "and does not fill the log"
        assert r.server.count("get", DISCOVERY) == discoveries
        r.server.behaviour.absent.clear()
        await is_seen(r, "Observe", "Observing")

    site.play(scenario, with_pool)


def test_without_watch_and_list_the_view_is_stale_and_nothing_is_decided_until_pools_are_listed(site: Site) -> None:
    async def scenario(r: Running) -> None:
        await watched(r)
        r.server.fault("list", path=COMPUTEPOOLS, times=ALWAYS, status=503)
        r.server.fault("watch", path=COMPUTEPOOLS, times=ALWAYS, status=503)
        r.server.disturb("end", COMPUTEPOOLS)
        await r.says("/readyz", 503, "pools are not listed yet")
        await until(lambda: conditions(r.server)["Ready"] == ("Unknown", "CacheStale"), "the pool says so")
        overflow(r.server, 3)
        renewals = r.server.count("patch", "/leases/")
        await until(lambda: r.server.count("patch", "/leases/") >= renewals + 2, "leadership stays meanwhile")
        assert sent(r.server) == {}
        r.server.faults.clear()
        await until(lambda: len(sent(r.server)) == 3, "all sent")
        await r.says("/readyz", 200, "ok\n")
        await until(lambda: conditions(r.server)["Ready"] == ("True", "Reconciled"), "the pool says so")

    site.play(scenario, with_pool, lease_seconds=1.5)


def test_kopf_takes_no_signals(site: Site) -> None:
    taken = (signal.SIGTERM, signal.SIGINT)
    handlers: list[Any] = []

    async def scenario(r: Running) -> None:
        handlers.extend(signal.getsignal(number) for number in taken)
        await watched(r)
        assert [signal.getsignal(number) for number in taken] == handlers

    site.play(scenario, with_pool)


def test_tasks_of_kopf_that_never_end_keep_neither_kopf_from_starting_nor_the_operator_from_ending(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()

    async def never_ends() -> None:
        while not over.is_set():
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)

    async def fails() -> None:
        raise LookupError("told to fail")

    async def tasks(**_: Any) -> list[asyncio.Task[None]]:
        stubborn = asyncio.create_task(never_ends())
        await asyncio.sleep(0)
        return [stubborn, asyncio.create_task(fails())]

    async def scenario(t: Taking) -> None:
        monkeypatch.setattr(kopf, "spawn_tasks", tasks)
        backoff = Backoff(base=0.01, cap=0.01, rng=random.Random(1))
        async with listing(t):
            watch = PoolWatch(static_access(t.server.url), t.pools, identity="x", backoff=backoff)
            watching = asyncio.create_task(watch.run())
            await until(lambda: len(ended()) >= 3, "kopf is started anew")
            watching.cancel()
            await asyncio.wait([watching])

    def ended() -> list[str]:
        return [line for line in caplog.messages if line == "kopf ended, starting it anew"]

    try:
        play(scenario)
    finally:
        over.set()
        for thread in threading.enumerate():
            if thread.name == "kopf":
                thread.join()


def test_kopf_starts_anew_until_its_credentials_can_be_loaded(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(t: Taking) -> None:
        loads = 0

        async def load() -> Credentials:
            nonlocal loads
            loads += 1
            if loads < 3:
                raise AccessError("the plugin fails")
            return Credentials(t.server.url)

        access = Access(load, Credentials(t.server.url, expires_at=0.0))
        backoff = Backoff(base=0.01, cap=0.01, rng=random.Random(1))
        async with listing(t):
            watching = asyncio.create_task(PoolWatch(access, t.pools, identity="x", backoff=backoff).run())
            await until(lambda: t.server.count("watch", COMPUTEPOOLS), "pools are watched")
            watching.cancel()
        assert loads == 3
        assert sum(record.getMessage() == "kopf ended, starting it anew" for record in caplog.records) == 2

    play(scenario)
