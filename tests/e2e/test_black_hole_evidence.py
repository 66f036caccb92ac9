"""What pods that fail say about their node, and that no object of a user stops a pool, on a real control plane."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from e2e import brisk, objects, pools
from e2e.operator import OperatorProcess
from e2e.scene import FIRST, LABELS, SECOND, THIRD, WORK, home, work
from e2e.site import Site

Json = dict[str, Any]

HOLES = {"unhealthyPercent": 100, "blackHoles": {"pods": 3, "windowSeconds": 60}}
REFUSED = {"phase": "Failed", "reason": "UnexpectedAdmissionError", "message": "told by a test"}


def _refuse(site: Site, name: str) -> None:
    """Let a pod's status be what a restarted kubelet writes, which names no container any more."""
    status = {**REFUSED, "containerStatuses": None, "conditions": None}
    site.api.patch("pods", name, {"status": status}, site.namespace, subresource="status")


def _wait_running(site: Site, fits: Callable[[dict[str, int]], bool], what: str) -> None:
    """Wait until the ready pods of the workload are spread over the providers in a way that fits."""

    def turned(found: list[Json]) -> bool:
        staying = [pod for pod in found if objects.is_ready(pod) and "deletionTimestamp" not in pod["metadata"]]
        return fits(site.providers_of(staying))

    site.api.wait_for("pods", turned, site.namespace, labels=WORK, what=what)


@pytest.mark.usefixtures("operator")
def test_a_kubelet_that_restarts_and_refuses_pods_that_ran_makes_no_black_hole(site: Site) -> None:
    with home(site, count=5, health=HOLES) as scene:
        node = max(scene.nodes[FIRST], key=lambda name: sum(life.node == name for life in scene.history.here("work")))
        running = [pod["metadata"]["name"] for pod in site.pods(WORK) if pod["spec"].get("nodeName") == node]
        for name in running[:3]:
            _refuse(site, name)
        site.api.wait_for(
            "pods",
            lambda found: sum(objects.is_ready(pod) for pod in found) == 5,
            site.namespace,
            labels=WORK,
            what="five ready pods again",
        )
        # The operator has seen everything by the time that it has sent another pod on.
        site.create(*objects.gpu_pods("filler", 4, labels={"app": "filler"}))
        pools.wait_sent(site, "app=filler")
        assert scene.evicted() == 0
        assert brisk.quarantine_of(site.nodes()) == {}


@pytest.mark.usefixtures("operator")
def test_a_virtual_node_whose_provider_fails_every_pod_gets_no_more_of_them(site: Site) -> None:
    with home(site, [], count=0, standby=1, health=HOLES) as scene:
        site.make_black_holes(scene.nodes[SECOND], "ProviderFailed")
        # Eight run on the primary.
        site.create(work(10))
        _wait_running(site, lambda where: where == {FIRST: 8, THIRD: 2}, "two to run on the third provider")
        brisk.wait_quarantined(site, scene.nodes[SECOND])
        failed = [pod for pod in site.pods(WORK) if pod["status"].get("phase") == "Failed"]
        assert 0 < len(failed) <= 40
        assert scene.evicted() == 0


def test_a_pod_that_requests_more_than_there_can_be_is_told_and_stops_no_pool(
    site: Site, operator: OperatorProcess
) -> None:
    with home(site, [], count=0) as scene:
        greedy = objects.gpu_pod("greedy", labels={"app": "greedy"}, nodeName=scene.nodes[FIRST][0])
        amounts = {objects.ACCELERATOR: "1e400"}
        greedy["spec"]["containers"][0]["resources"] = {"requests": amounts, "limits": amounts}
        site.create(greedy)
        pools.wait_condition(site, scene.pool, "Degraded", "True", "ObjectsUnreadable")
        # The scheduler may count another amount than the largest, so it is open how many run on that node.
        site.create(work(10))
        _wait_running(site, lambda where: sum(where.values()) == 10 and SECOND in where, "all to run")
        brisk.drain(site, scene.pool, SECOND)
        _wait_running(site, lambda where: sum(where.values()) == 10 and SECOND not in where, "the drained to be left")
        site.api.delete("pods", "greedy", site.namespace, grace_seconds=0)
        pools.wait_condition(site, scene.pool, "Degraded", "False", "Drained")
        assert operator.value("computepool_pass_failures_total", pool=scene.pool) == 0


@pytest.mark.usefixtures("operator")
def test_ready_pods_on_a_black_hole_stay(site: Site) -> None:
    with home(site, count=3, health=HOLES) as scene:
        (hole, *_) = [life.node for life in scene.history.here("work")]
        refused = objects.gpu_pods(
            "refused", 3, labels={"app": "refused"}, fails="UnexpectedAdmissionError", nodeName=hole
        )
        site.create(*refused)
        brisk.wait_quarantined(site, [hole], "BlackHole")
        more = objects.gpu_deployment("more", 4, labels=LABELS)
        site.create(more)
        site.wait_bound(4, labels="app=more")
        assert hole not in {life.node for life in scene.history.here("more")}
        assert scene.evicted() == 0
