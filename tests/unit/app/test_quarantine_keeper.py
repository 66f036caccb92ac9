"""Which nodes carry the taint: the union over pools, and which taints a leader may remove."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import msgspec
import pytest

from computepool.act.write_access import NotLeadingError, WriteAccess
from computepool.app.quarantine_keeper import QuarantineKeeper
from computepool.kube.client import ApiClient
from computepool.kube.credentials import static_access
from computepool.kube.runtime import Runtime
from computepool.model.reasons import Reason
from computepool.observe.decode import Records
from computepool.observe.store import Store
from computepool.report.problems import NAMED_NODES
from tests.builders import NOW, pool, provider
from tests.fakes.apiserver import NODES, FakeApiServer
from tests.fakes.objectstore import Change
from tests.fakes.view import FakeView
from tests.fakes.waiting import until
from tests.unit.act.objects import Json, node
from tests.unit.act.writing import Delays, LatestDraw, Lease

KEY = "computepool.io/unavailable"
SILENT, UNHEALTHY = Reason.PROVIDER_SILENT, Reason.PROVIDER_UNHEALTHY
OLD, YOUNG = "old", "young"
NEVER = 1000.0


class Keeping:
    """A keeper whose store follows a fake API server's nodes, unless a test holds that up."""

    def __init__(self, server: FakeApiServer, client: ApiClient, refresh: float) -> None:
        self.server = server
        self.lease = Lease()
        self.delays = Delays()
        self.view = FakeView()
        self.turns = 0
        self.following = True
        self.now = 0.0
        self._witnesses = 0
        self.store = Store(lambda _pool, _at, **_: None, wall=lambda: NOW)
        runtime = Runtime(steady=lambda: self.now, wall=lambda: NOW, rng=LatestDraw(), sleep=self.delays)
        self.keeper = QuarantineKeeper(
            WriteAccess(client, self.lease, runtime, "me"),
            self.store,
            self.view,
            on_change=self._turned,
            refresh_seconds=refresh,
        )
        server.store.listeners.append(self._changed)
        for age, name in ((2000.0, OLD), (1000.0, YOUNG)):
            self.store.put_pool(pool(provider("aws"), provider("nebius"), name=name, created=NOW - age), 0.0)

    def _turned(self) -> None:
        self.turns += 1

    def _changed(self, _collection: str, change: Change) -> None:
        if self.following:
            self._see(change.item)

    def _see(self, item: Json) -> None:
        self.store.put_node(Records().node(msgspec.json.encode(item)), 0.0)

    def catch_up(self) -> None:
        """Follow again."""
        self.following = True
        for item in self.server.items(NODES):
            self._see(item)

    def add(self, *names: str, of: str = "nebius", carries: str | None = None) -> None:
        """Add nodes; they may carry the taint already, with an empty value too."""
        for name in names:
            item = node(name, of)
            if carries is not None:
                value = {"value": carries} if carries else {}
                item["spec"]["taints"].append({"key": KEY, **value, "effect": "NoSchedule"})
            self.server.create(NODES, item)

    def tainted(self) -> dict[str, str]:
        """The taints as they are in the cluster."""
        return {
            item["metadata"]["name"]: taint.get("value", "")
            for item in self.server.items(NODES)
            for taint in item["spec"]["taints"]
            if taint["key"] == KEY
        }

    def want(self, of: str, wanted: Mapping[str, Reason] | None) -> None:
        self.keeper.want(of, wanted)

    async def becomes(self, **tainted: Reason) -> None:
        await until(lambda: self.tainted() == {name: str(reason) for name, reason in tainted.items()}, f"{tainted}")

    async def blocked(self, **tainted: Reason) -> None:
        """See that nothing is written by the time that the taint of a node of no pool is taken off."""
        self._witnesses += 1
        name = f"witness-{self._witnesses}"
        self.add(name, of="nobody", carries="Drained")
        self.keeper.forget("nobody")
        await until(lambda: name not in self.tainted(), "a write that does not matter")
        await self.becomes(**tainted)


def play(scenario: Callable[[Keeping], Awaitable[None]], *, refresh: float = NEVER) -> None:
    async def run() -> None:
        async with FakeApiServer() as server, ApiClient(static_access(server.url)) as client:
            k = Keeping(server, client, refresh)
            running = asyncio.create_task(k.keeper.run())
            try:
                await scenario(k)
            finally:
                if running.done():
                    running.result()
                running.cancel()
                await asyncio.wait([running])

    asyncio.run(run())


# -- the pools' wants


def test_while_a_pool_can_not_be_read_only_nodes_of_other_pools_are_freed() -> None:
    async def scenario(k: Keeping) -> None:
        k.view.unread_pools = True
        k.add("n1", carries="ProviderSilent")
        k.add("l1", of="lost", carries="ProviderSilent")
        k.want(OLD, {})
        k.want(YOUNG, {})
        await k.becomes(l1=SILENT)
        k.view.unread_pools = False
        k.keeper.forget("lost")
        await k.becomes()

    play(scenario)


def test_nodes_get_the_taint_that_a_pool_wants_and_lose_it_when_it_wants_it_no_more() -> None:
    async def scenario(k: Keeping) -> None:
        k.add("n1", "n2", "n3")
        k.want(YOUNG, {})
        k.want(OLD, {"n1": SILENT, "n2": SILENT})
        await k.becomes(n1=SILENT, n2=SILENT)
        k.want(OLD, {"n2": UNHEALTHY})
        await k.becomes(n2=UNHEALTHY)

    play(scenario)


def test_the_log_names_the_first_nodes_that_get_or_lose_the_taint(caplog: pytest.LogCaptureFixture) -> None:
    names = [f"n{index}" for index in range(7)]

    async def scenario(k: Keeping) -> None:
        k.add(*names)
        k.want(YOUNG, {})
        k.want(OLD, dict.fromkeys(names, SILENT))
        await k.becomes(**dict.fromkeys(names, SILENT))
        k.want(OLD, {})
        await k.becomes()
        # The line about a write is made in the round after it.
        await until(lambda: _counted(caplog, "nodes freed") == len(names), "all to be told")

    with caplog.at_level("INFO", "computepool"):
        play(scenario)
    assert _counted(caplog, "nodes quarantined") == len(names)
    for line in _lines(caplog, "nodes quarantined", "nodes freed"):
        assert set(line["names"].split(" and ")[0].split(", ")) <= set(names)
        assert line["names"].count(", ") < NAMED_NODES


def _lines(caplog: pytest.LogCaptureFixture, *messages: str) -> list[Json]:
    return [vars(record)["fields"] for record in caplog.records if record.getMessage() in messages]


def _counted(caplog: pytest.LogCaptureFixture, message: str) -> int:
    return sum(line["nodes"] for line in _lines(caplog, message))


def test_of_two_pools_the_older_gives_the_reason_and_the_taint_stays_while_either_wants_it() -> None:
    async def scenario(k: Keeping) -> None:
        k.add("n1")
        k.want(YOUNG, {"n1": UNHEALTHY})
        await k.becomes(n1=UNHEALTHY)
        k.want(OLD, {"n1": SILENT})
        await k.becomes(n1=SILENT)
        k.want(YOUNG, {})
        await k.blocked(n1=SILENT)
        k.want(YOUNG, {"n1": UNHEALTHY})
        k.want(OLD, {})
        await k.becomes(n1=UNHEALTHY)

    play(scenario)


def test_a_new_leader_takes_nothing_off_before_every_pool_that_has_the_node_was_judged() -> None:
    async def scenario(k: Keeping) -> None:
        k.add("n1", "n2", carries=str(SILENT))
        await k.blocked(n1=SILENT, n2=SILENT)
        k.want(OLD, {"n2": SILENT})
        await k.blocked(n1=SILENT, n2=SILENT)
        k.want(YOUNG, {})
        await k.becomes(n2=SILENT)

    play(scenario)


def test_a_pool_that_is_frozen_keeps_its_nodes_as_they_are() -> None:
    async def scenario(k: Keeping) -> None:
        k.add("n1", "n2")
        k.want(YOUNG, {})
        k.want(OLD, {"n1": SILENT})
        await k.becomes(n1=SILENT)
        k.want(OLD, None)
        await k.blocked(n1=SILENT)
        k.server.update(NODES, {**k.server.get(NODES, "n1"), "spec": {"taints": []}})
        await k.blocked()
        k.want(OLD, {"n2": SILENT})
        await k.becomes(n2=SILENT)

    play(scenario)


def test_a_pool_that_is_frozen_from_the_start_was_not_judged() -> None:
    async def scenario(k: Keeping) -> None:
        k.add("n1", carries=str(SILENT))
        k.want(OLD, None)
        k.want(YOUNG, {})
        await k.blocked(n1=SILENT)

    play(scenario)


def test_a_pool_that_does_not_have_the_node_has_no_say_whether_it_loses_the_taint() -> None:
    async def scenario(k: Keeping) -> None:
        k.add("n1", carries=str(SILENT))
        k.store.put_pool(pool(provider("gcp"), provider("crusoe"), name="elsewhere"), 0.0)
        k.want(OLD, {})
        k.want(YOUNG, {})
        await k.becomes()

    play(scenario)


def test_with_a_view_that_is_not_current_all_is_left_as_it_is() -> None:
    async def scenario(k: Keeping) -> None:
        k.view.stale_because = "the view of nodes is 300 s old"
        k.add("n1")
        k.add("n2", of="nobody", carries=str(SILENT))
        k.want(OLD, {"n1": SILENT})
        k.want(YOUNG, {})
        await asyncio.sleep(0)
        assert k.server.calls == []
        k.view.stale_because = ""
        k.want(OLD, {"n1": SILENT})
        await k.becomes(n1=SILENT)

    play(scenario)


# -- nodes that left all pools


def test_a_pool_that_is_gone_takes_its_taints_with_it() -> None:
    async def scenario(k: Keeping) -> None:
        k.add("n1", "n2")
        k.want(YOUNG, {"n2": SILENT})
        k.want(OLD, {"n1": SILENT})
        await k.becomes(n1=SILENT, n2=SILENT)
        k.store.drop_pool(OLD, 0.0)
        k.keeper.forget(OLD)
        await k.becomes(n2=SILENT)
        k.store.drop_pool(YOUNG, 0.0)
        k.keeper.forget(YOUNG)
        await k.becomes()

    play(scenario)


def test_nodes_that_no_pool_has_are_freed_at_the_start_and_now_and_then() -> None:
    async def scenario(k: Keeping) -> None:
        k.add("left", of="nobody", carries=str(SILENT))
        await k.becomes()
        k.add("n1", carries=str(SILENT))
        item = k.server.get(NODES, "n1")
        k.server.update(NODES, {**item, "metadata": {**item["metadata"], "labels": {}}})
        await k.becomes()

    play(scenario, refresh=0.01)


# -- level-triggered


def test_a_taint_without_a_value_is_taken_off_or_given_one_as_any_other() -> None:
    async def scenario(k: Keeping) -> None:
        k.add("n1", "n2", carries="")
        k.want(OLD, {"n2": SILENT})
        k.want(YOUNG, {})
        await k.becomes(n2=SILENT)

    play(scenario)


def test_what_somebody_takes_off_is_put_back_on_the_next_pass() -> None:
    async def scenario(k: Keeping) -> None:
        k.add("n1")
        k.want(YOUNG, {})
        k.want(OLD, {"n1": SILENT})
        await k.becomes(n1=SILENT)
        k.server.update(NODES, {**k.server.get(NODES, "n1"), "spec": {"taints": []}})
        k.want(OLD, {"n1": SILENT})
        await k.becomes(n1=SILENT)

    play(scenario)


def test_what_was_written_is_not_written_again_before_the_watch_shows_it_or_for_too_long() -> None:
    async def scenario(k: Keeping) -> None:
        k.add("n1")
        k.following = False
        k.want(OLD, {"n1": SILENT})
        await k.becomes(n1=SILENT)
        for _ in range(5):
            k.want(OLD, {"n1": SILENT})
            await asyncio.sleep(0)
        assert k.server.count("patch") == 1
        k.now += 15.0
        k.catch_up()
        k.want(OLD, {"n1": SILENT})
        await k.blocked(n1=SILENT)
        assert k.server.count("patch", "n1") == 1

    play(scenario)


def test_a_node_that_can_not_be_written_is_told_for_its_pools_until_it_can() -> None:
    async def scenario(k: Keeping) -> None:
        k.add("n1", "n2")
        k.server.fault("patch", path="n1", status=403, message="no right to patch nodes")
        k.want(YOUNG, {})
        k.want(OLD, {"n1": SILENT, "n2": SILENT})
        await until(lambda: k.turns == 1, "it is told")
        assert "1 node(s)" in k.keeper.trouble(OLD)
        assert "no right to patch nodes" in k.keeper.trouble(OLD)
        assert k.keeper.trouble("elsewhere") == ""
        k.delays.over.set()
        await k.becomes(n1=SILENT, n2=SILENT)
        await until(lambda: k.turns == 2, "its end is told")
        assert k.keeper.trouble(OLD) == ""

    play(scenario)


def test_while_one_node_is_held_up_others_are_written() -> None:
    async def scenario(k: Keeping) -> None:
        k.add("n1", "n2")
        gate = asyncio.Event()
        k.server.fault("patch", path="n1", gate=gate)
        k.want(YOUNG, {})
        k.want(OLD, {"n1": SILENT})
        await until(lambda: k.server.count("patch", "n1"), "the one held up")
        k.want(OLD, {"n1": SILENT, "n2": SILENT})
        await k.becomes(n2=SILENT)
        gate.set()
        await k.becomes(n1=SILENT, n2=SILENT)

    play(scenario)


def test_what_is_wanted_otherwise_while_it_is_written_is_written_afterwards() -> None:
    async def scenario(k: Keeping) -> None:
        k.add("n1")
        gate = asyncio.Event()
        k.server.fault("patch", path="n1", gate=gate)
        k.want(YOUNG, {})
        k.want(OLD, {"n1": SILENT})
        await until(lambda: k.server.count("patch", "n1"), "the write is under way")
        k.want(OLD, {})
        gate.set()
        await until(lambda: k.tainted() == {} and k.server.count("patch", "n1") == 2, "it is taken back")

    play(scenario)


def test_without_the_lease_it_ends() -> None:
    async def scenario(k: Keeping) -> None:
        k.lease.held = False
        k.add("n1")
        k.want(OLD, {"n1": SILENT})
        await until(lambda: k.lease.checks, "a write that the fence stops")
        await asyncio.sleep(0.01)

    with pytest.raises(NotLeadingError):
        play(scenario)
