"""Objects that the operator can't read are told in the pools' status."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders import GPU, POOL
from tests.fakes.apiserver import COMPUTEPOOLS, NODES, PODS, FakeApiServer
from tests.fakes.waiting import until
from tests.unit.act.objects import node, pod
from tests.unit.app.cluster import conditions, full, make_pool, sent
from tests.unit.app.running import Running, Site


def _full_with_pool(server: FakeApiServer) -> None:
    full(server)
    make_pool(server)


def _degraded(server: FakeApiServer) -> str:
    found = server.get(COMPUTEPOOLS, POOL)["status"]["conditions"]
    return next(str(condition["message"]) for condition in found if condition["type"] == "Degraded")


def test_a_node_that_can_not_be_read_is_told_though_nothing_else_happens_until_it_is_gone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "computepool")

    async def scenario(r: Running) -> None:
        await until(lambda: conditions(r.server).get("Degraded") == ("False", "AllWell"), "all is well")
        unusual = node("odd")
        unusual["metadata"]["labels"]["odd"] = 7
        r.server.create(NODES, unusual)
        await until(lambda: conditions(r.server)["Degraded"] == ("True", "ObjectsUnreadable"), "it is told")
        assert _degraded(r.server).startswith("cannot read one of the nodes: ")
        assert "(odd)" in _degraded(r.server)
        r.server.delete(NODES, "odd")
        await until(lambda: conditions(r.server)["Degraded"] == ("False", "AllWell"), "and taken back")

    Site(tmp_path, caplog).play(scenario, _full_with_pool)


def test_a_pod_that_requests_more_than_there_can_be_is_told_and_stops_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "computepool")

    async def scenario(r: Running) -> None:
        await until(lambda: conditions(r.server).get("Degraded") == ("False", "AllWell"), "all is well")
        greedy = pod("greedy", 1, on="a1")
        greedy["spec"]["containers"][0]["resources"]["requests"][GPU] = "1e400"
        r.server.create(PODS, greedy)
        await until(lambda: conditions(r.server)["Degraded"] == ("True", "ObjectsUnreadable"), "it is told")
        assert "nvidia.com/gpu counts as 9223372036854775807" in _degraded(r.server)
        assert "(default/greedy)" in _degraded(r.server)
        r.server.create(PODS, pod("web", 1))
        await until(lambda: "web" in sent(r.server), "another pod is sent on")
        r.server.delete(PODS, "greedy", "default")
        await until(lambda: conditions(r.server)["Degraded"] == ("False", "AllWell"), "and taken back")

    Site(tmp_path, caplog).play(scenario, _full_with_pool)


def test_a_missing_right_to_node_leases_is_told_and_keeps_nobody_from_leading_and_bursting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "computepool")

    def before(server: FakeApiServer) -> None:
        full(server, 1)
        make_pool(server)
        refusal = {"path": "/kube-node-lease/", "times": 1000, "status": 403, "reason": "Forbidden", "message": "no"}
        server.fault("list", **refusal)
        server.fault("watch", **refusal)

    async def scenario(r: Running) -> None:
        await until(lambda: conditions(r.server).get("Degraded") == ("True", "EvidenceMissing"), "it is told")
        assert "node leases can't be followed: " in _degraded(r.server)
        await until(lambda: conditions(r.server)["Saturated"][0] == "True", "it decides all the same")
        await r.says("/readyz", 200, "")

    Site(tmp_path, caplog).play(scenario, before)
