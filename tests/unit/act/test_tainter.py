"""The patches of nodes' taints, which leave other taints alone, and the handling of each failure."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from computepool.act.tainter import PARALLEL, PATIENCE, RETRY_BASE_SECONDS, Tainter, removal_patch, taint_patch
from computepool.act.write_access import NotLeadingError, WriteAccess
from computepool.kube.client import ApiClient
from computepool.kube.credentials import static_access
from computepool.kube.runtime import Runtime
from computepool.model.cluster import Node
from computepool.model.taints import Taint
from computepool.observe.decode import Records
from tests.builders import NOW
from tests.builders import node as node_record
from tests.fakes.apiserver import NODES, FakeApiServer
from tests.fakes.patches import PatchError, json_patched
from tests.fakes.waiting import until
from tests.unit.act.objects import Json, node
from tests.unit.act.writing import Delays, LatestDraw, Lease

KEY = "computepool.io/unavailable"
ADDED = "2027-01-15T08:00:00Z"
OTHER = {"key": "maintenance", "value": "x", "effect": "NoExecute", "timeAdded": "2026-11-23T05:00:00Z"}
OWN = {"key": KEY, "value": "NodeSilent", "effect": "NoSchedule", "timeAdded": "2026-11-23T05:00:00Z"}
BARE = {"key": KEY, "effect": "NoSchedule"}
SOMEBODYS = {"key": KEY, "value": "mine", "effect": "NoExecute"}


def with_taints(*taints: Json) -> Json:
    """A node as the API server has it."""
    return {"metadata": {"name": "n1", "resourceVersion": "7"}, "spec": {"taints": list(taints)} if taints else {}}


def read(item: Json) -> Node:
    return Records().node(msgspec.json.encode(item))


def patched(seen: Json, value: str, present: Json | None = None) -> list[Json]:
    """The taints of a node after the patch, which was made from an earlier view of the node."""
    after = json_patched(present or seen, taint_patch(read(seen), value, NOW))
    taints: list[Json] = after["spec"].get("taints", [])
    return taints


# -- the patch


@pytest.mark.parametrize(
    ("before", "value", "after"),
    [
        ([], "NodeSilent", [OWN | {"timeAdded": ADDED}]),
        ([OTHER], "NodeSilent", [OTHER, OWN | {"timeAdded": ADDED}]),
        ([OTHER, OWN], "NodeUnknown", [OTHER, OWN | {"value": "NodeUnknown"}]),
        ([OWN, OTHER], "", [OTHER]),
        ([OWN], "", []),
        ([SOMEBODYS], "NodeSilent", [SOMEBODYS, OWN | {"timeAdded": ADDED}]),
        ([SOMEBODYS, OWN], "", [SOMEBODYS]),
        ([OTHER, BARE], "", [OTHER]),
        ([BARE], "NodeSilent", [BARE | {"value": "NodeSilent"}]),
    ],
    ids=[
        *("none", "another's", "another reason", "away", "the last one", "its key, not its effect", "only its own"),
        *("without a value", "given a value"),
    ],
)
def test_the_taint_is_made_what_is_wanted_and_others_stay_as_they_are(
    before: list[Json], value: str, after: list[Json]
) -> None:
    assert patched(with_taints(*before), value) == after


@pytest.mark.parametrize(
    ("before", "value"), [([OWN], "NodeSilent"), ([OTHER], ""), ([], ""), ([SOMEBODYS], "")], ids=str
)
def test_nothing_is_written_where_it_is_so_already(before: list[Json], value: str) -> None:
    assert taint_patch(read(with_taints(*before)), value, NOW) == []


def test_a_taint_that_somebody_added_meanwhile_stays() -> None:
    seen, present = with_taints(OTHER), with_taints(OTHER, SOMEBODYS)
    assert patched(seen, "NodeSilent", present) == [OTHER, SOMEBODYS, OWN | {"timeAdded": ADDED}]


@pytest.mark.parametrize(
    ("seen", "value", "present"),
    [
        ([], "NodeSilent", [OTHER]),
        ([OTHER], "NodeSilent", []),
        ([OTHER, OWN], "", [OWN]),
        ([OWN], "", [OTHER, OWN]),
        ([OWN], "NodeUnknown", [SOMEBODYS]),
    ],
    ids=["one more than none", "none left", "one less", "one before", "its effect is another"],
)
def test_a_list_that_is_not_as_it_was_seen_refuses_the_patch(seen: list[Json], value: str, present: list[Json]) -> None:
    now = with_taints(*present)
    now["metadata"]["resourceVersion"] = "8"
    with pytest.raises(PatchError):
        patched(with_taints(*seen), value, now)


def test_a_cleanup_takes_off_all_with_the_key_whatever_their_effect() -> None:
    seen = with_taints(OWN, OTHER, SOMEBODYS)
    taints = [Taint(taint["key"], taint["value"], taint["effect"]) for taint in seen["spec"]["taints"]]
    assert json_patched(seen, removal_patch(taints))["spec"]["taints"] == [OTHER]
    assert removal_patch([Taint("maintenance", "x", "NoExecute")]) == []


def test_a_record_knows_only_the_operators_own_taint_as_its_quarantine() -> None:
    assert node_record("n1").quarantine is None
    assert read(with_taints(SOMEBODYS)).quarantine is None
    assert read(with_taints(SOMEBODYS, OWN)).quarantine == "NodeSilent"


# -- written


class Tainting:
    """A tainter in front of a fake API server whose nodes are seen as they are, unless a test holds the view back."""

    def __init__(self, server: FakeApiServer, client: ApiClient) -> None:
        self.server = server
        self.lease = Lease()
        self.delays = Delays()
        self.wishes: dict[str, str | None] = {}
        self.behind: dict[str, Node] = {}
        self.done: list[tuple[str, str, int]] = []
        self.failures = 0
        runtime = Runtime(wall=lambda: NOW, rng=LatestDraw(), sleep=self.delays)
        self.tainter = Tainter(WriteAccess(client, self.lease, runtime, "me"), self)

    def wanted(self, name: str) -> str | None:
        return self.wishes.get(name, "")

    def written(self, node: Node, value: str, version: int) -> None:
        self.done.append((node.name, value, version))

    def failed(self) -> None:
        self.failures += 1

    def node(self, name: str) -> Node | None:
        if name in self.behind:
            return self.behind[name]
        found = [item for item in self.server.items(NODES) if item["metadata"]["name"] == name]
        return read(found[0]) if found else None

    def add(self, name: str, *taints: Json) -> None:
        item = node(name)
        self.server.create(NODES, {**item, "spec": {"taints": list(taints)}})

    def taint(self, name: str, *taints: Json) -> None:
        item = self.server.get(NODES, name)
        self.server.update(NODES, {**item, "spec": {"taints": list(taints)}})

    def value(self, name: str) -> str | None:
        return read(self.server.get(NODES, name)).quarantine

    def at_once(self) -> None:
        """Have waits be over at once from now on."""
        self.delays.over.set()


def play(scenario: Callable[[Tainting], Awaitable[None]]) -> None:
    async def run() -> None:
        async with FakeApiServer() as server, ApiClient(static_access(server.url), timeout=5.0) as client:
            await scenario(Tainting(server, client))

    asyncio.run(run())


def test_a_node_is_tainted_and_freed_again() -> None:
    async def scenario(t: Tainting) -> None:
        t.add("n1", OTHER)
        t.wishes["n1"] = "NodeSilent"
        await t.tainter.make("n1")
        assert t.value("n1") == "NodeSilent"
        t.wishes["n1"] = ""
        await t.tainter.make("n1")
        item = t.server.get(NODES, "n1")
        assert item["spec"]["taints"] == [OTHER]
        assert [value for _, value, _ in t.done] == ["NodeSilent", ""]
        assert t.done[-1][2] == int(item["metadata"]["resourceVersion"])

    play(scenario)


def test_a_node_that_is_as_wanted_or_gone_or_to_be_left_alone_is_not_written() -> None:
    async def scenario(t: Tainting) -> None:
        t.add("n1", OWN)
        t.wishes |= {"n1": "NodeSilent", "gone": "NodeSilent"}
        await t.tainter.make("n1")
        await t.tainter.make("gone")
        t.wishes["n1"] = None
        await t.tainter.make("n1")
        assert t.server.count("patch") == 0

    play(scenario)


def test_a_list_that_has_changed_is_tried_again_as_it_is_then() -> None:
    async def scenario(t: Tainting) -> None:
        t.add("n1")
        t.behind["n1"] = read(t.server.get(NODES, "n1"))
        t.taint("n1", OTHER)
        t.wishes["n1"] = "NodeSilent"
        making = asyncio.create_task(t.tainter.make("n1"))
        await until(lambda: t.delays.asked == [RETRY_BASE_SECONDS], "the wait")
        assert t.tainter.failing == {}
        t.behind.clear()
        t.at_once()
        await making
        assert [taint["key"] for taint in t.server.get(NODES, "n1")["spec"]["taints"]] == ["maintenance", KEY]

    play(scenario)


@pytest.mark.parametrize(
    "fault", [{"status": 403}, {"status": 500}, {"status": 429, "retry_after": 7}, {"reset": True}]
)
def test_a_failure_is_told_and_tried_again_for_as_long_as_it_is_wanted(fault: dict[str, Any]) -> None:
    async def scenario(t: Tainting) -> None:
        t.add("n1")
        t.wishes["n1"] = "NodeSilent"
        t.server.fault("patch", **fault)
        making = asyncio.create_task(t.tainter.make("n1"))
        await until(lambda: t.delays.asked == [max(RETRY_BASE_SECONDS, fault.get("retry_after", 0))], "the wait")
        assert list(t.tainter.failing) == ["n1"]
        assert t.failures == 1
        t.at_once()
        await making
        assert t.value("n1") == "NodeSilent"
        assert t.tainter.failing == {}

    play(scenario)


def test_what_is_wanted_no_more_is_not_tried_again() -> None:
    async def scenario(t: Tainting) -> None:
        t.add("n1")
        t.wishes["n1"] = "NodeSilent"
        t.server.fault("patch", status=503)
        making = asyncio.create_task(t.tainter.make("n1"))
        await until(lambda: t.delays.asked, "the wait")
        t.wishes["n1"] = ""
        t.at_once()
        await making
        assert t.value("n1") is None
        assert t.server.count("patch") == 1

    play(scenario)


def test_a_patch_that_is_refused_again_and_again_is_told_too() -> None:
    async def scenario(t: Tainting) -> None:
        t.add("n1")
        t.wishes["n1"] = "NodeSilent"
        t.server.fault("patch", status=422, times=PATIENCE)
        t.at_once()
        await t.tainter.make("n1")
        assert t.failures == 1
        assert t.value("n1") == "NodeSilent"

    play(scenario)


def test_a_node_that_is_seen_and_gone_is_not_asked_for_in_a_loop() -> None:
    async def scenario(t: Tainting) -> None:
        t.add("n1")
        t.behind["n1"] = read(t.server.get(NODES, "n1"))
        t.server.delete(NODES, "n1")
        t.wishes["n1"] = "NodeSilent"
        making = asyncio.create_task(t.tainter.make("n1"))
        await until(lambda: t.delays.asked, "the wait")
        t.behind.clear()
        t.at_once()
        await making
        assert t.server.count("patch") == 1

    play(scenario)


def test_many_are_written_at_once_within_the_limit() -> None:
    async def scenario(t: Tainting) -> None:
        names = [f"n{number}" for number in range(PARALLEL + 5)]
        for name in names:
            t.add(name)
        t.wishes |= dict.fromkeys(names, "NodeSilent")
        gate = asyncio.Event()
        t.server.fault("patch", times=1000, gate=gate)
        making = asyncio.gather(*map(t.tainter.make, names))
        await until(lambda: t.server.count("patch") == PARALLEL, "as many as may be")
        gate.set()
        await making
        assert {t.value(name) for name in names} == {"NodeSilent"}

    play(scenario)


def test_without_the_lease_nothing_is_written() -> None:
    async def scenario(t: Tainting) -> None:
        t.add("n1")
        t.wishes["n1"] = "NodeSilent"
        t.lease.held = False
        with pytest.raises(NotLeadingError):
            await t.tainter.make("n1")
        assert t.server.calls == []

    play(scenario)
