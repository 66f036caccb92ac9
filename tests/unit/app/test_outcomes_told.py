"""Where the replacement of an evicted pod went is told as soon as the watch shows it."""

from __future__ import annotations

import logging

import pytest

from tests.fakes.apiserver import NODES, PODS, FakeApiServer
from tests.fakes.waiting import until
from tests.unit.act.objects import Json, pod
from tests.unit.app.cluster import conditions, make_pool
from tests.unit.app.playing import Day, play
from tests.unit.app.process import Process

OWNER = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "rs-1", "controller": True}


def owned(name: str, node: str) -> Json:
    item = pod(name, on=node)
    item["metadata"]["ownerReferences"] = [OWNER]
    return item


def notes(server: FakeApiServer, about: str) -> dict[str, str]:
    """The notes of the events about an object, by reason."""
    sent = [call.json for call in server.calls_of("create", "/events")]
    return {event["reason"]: event["note"] for event in sent if event["regarding"]["name"] == about}


@pytest.mark.parametrize(
    ("lands_on", "reason", "note"),
    [
        ("c1", "MoveCompleted", "1 running pod(s) moved: 1 from nebius to crusoe."),
        ("a1", "LandedElsewhere", "1 running pod(s) moved: 1 from nebius to aws (meant for crusoe)."),
        ("n2", "MoveReturned", "1 evicted pod(s) came back: 1 to nebius (meant for crusoe)."),
    ],
)
def test_a_move_is_told_by_where_its_replacement_went(
    lands_on: str, reason: str, note: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(server: FakeApiServer, process: Process, _day: Day) -> None:
        nodes = {item["metadata"]["name"]: item for item in server.items(NODES)}
        second = {**nodes["n1"], "metadata": {"name": "n2", "labels": nodes["n1"]["metadata"]["labels"]}}
        server.create(NODES, {**second, "spec": {**second["spec"], "unschedulable": True}})
        server.create(PODS, owned("web", "n1"))
        make_pool(server, failover={"silenceSeconds": 0})
        await until(lambda: conditions(server).get("Ready") == ("True", "Reconciled"), "it is dealt with")
        item = server.get(NODES, "n1")
        server.update(
            NODES, {**item, "status": {**item["status"], "conditions": [{"type": "Ready", "status": "Unknown"}]}}
        )
        await until(lambda: "web" not in {item["metadata"]["name"] for item in server.items(PODS)}, "it is evicted")
        await until(lambda: "meant for crusoe" in str(notes(server, "web")), "it is told where it is meant to go")
        assert "moved" not in str(notes(server, "inference"))
        server.create(PODS, owned("web-2", lands_on))
        await until(lambda: reason in notes(server, "inference"), "it is told where it went")
        assert notes(server, "inference")[reason].startswith(note)
        labels = {"pool": "inference", "from": "nebius", "to": "crusoe"}
        outcomes = {
            outcome: process.metrics.registry.get_sample_value(
                "computepool_move_outcomes_total", {**labels, "outcome": outcome}
            )
            for outcome in ("Replaced", "LandedElsewhere", "Returned", "NotReplaced")
        }
        assert sorted(map(float, filter(None, outcomes.values()))) == [1.0]
        assert None not in outcomes.values()

    with caplog.at_level(logging.INFO):
        play(scenario)
    told = [record for record in caplog.records if record.getMessage().startswith("moved pods")]
    assert len(told) == 1
