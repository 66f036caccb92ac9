"""Evictions that the API server refuses, and no disruption budget: pool and pod say so until they go through."""

from __future__ import annotations

from tests.builders import POOL
from tests.fakes.apiserver import COMPUTEPOOLS, NODES, PODS, FakeApiServer
from tests.fakes.waiting import until
from tests.unit.act.objects import pod
from tests.unit.app.cluster import conditions, make_pool
from tests.unit.app.playing import Day, play
from tests.unit.app.process import Process


def degraded(server: FakeApiServer) -> str:
    found = server.get(COMPUTEPOOLS, POOL)["status"]["conditions"]
    return next(str(condition["message"]) for condition in found if condition["type"] == "Degraded")


def turn_unknown(server: FakeApiServer, name: str) -> None:
    item = server.get(NODES, name)
    conditions = [{"type": "Ready", "status": "Unknown"}]
    server.update(NODES, {**item, "status": {**item["status"], "conditions": conditions}})


def test_an_eviction_that_a_guard_denies_is_told_until_it_goes_through() -> None:
    async def scenario(server: FakeApiServer, process: Process, _day: Day) -> None:
        item = pod("web", on="n1")
        owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "rs-1", "controller": True}
        item["metadata"]["ownerReferences"] = [owner]
        server.create(PODS, item)
        make_pool(server, failover={"silenceSeconds": 0})
        await until(lambda: conditions(server).get("Ready") == ("True", "Reconciled"), "it is dealt with")
        server.fault("create", path="/eviction", times=2, status=403, message="denied by a guard")
        turn_unknown(server, "n1")
        await until(lambda: conditions(server)["Degraded"] == ("True", "WriteRefused"), "it is told")
        assert degraded(server).startswith("the eviction of pod default/web failed: ")
        assert "denied by a guard" in degraded(server)
        await until(lambda: "web" not in {item["metadata"]["name"] for item in server.items(PODS)}, "it goes through")
        await until(lambda: conditions(server)["Degraded"][1] != "WriteRefused", "and is told no more")
        await process.stop()
        told = [call.json for call in server.calls_of("create", "/events")]
        (event,) = [sent for sent in told if sent["regarding"]["name"] == "web" and sent["reason"] == "WriteRefused"]
        assert "denied by a guard" in event["note"]

    play(scenario)
