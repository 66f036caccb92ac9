"""Standbys that fail one workload, one shape, or nobody but a scheduler that is not there."""

from __future__ import annotations

from typing import Any

import pytest

from e2e import objects, pools
from e2e.operator import OperatorProcess
from e2e.site import Site

ALL = ("aws", "nebius", "crusoe")
NEW = "app=new"
QUARANTINE = "computepool.io/unavailable"


@pytest.fixture
def full(operator: OperatorProcess, site: Site) -> Site:
    """A site whose primary is taken, with free nodes of two standbys."""
    site.add_taken_node("aws", gpus=4)
    site.add_nodes("crusoe", 2, gpus=8, taint=True)
    return site


def wait_held_off(site: Site, name: str, reason: str) -> dict[str, Any]:
    """Wait until the pool's status tells of a hold-off; return it."""

    def told(status: dict[str, Any]) -> dict[str, Any] | None:
        return next((dict(one) for one in status.get("holdOffs", []) if one["reason"] == reason), None)

    return pools.wait_status(site.api, name, told, f"a hold-off with reason {reason}")


def tainted(site: Site) -> list[str]:
    """The site's nodes in quarantine."""
    return [
        node["metadata"]["name"]
        for node in site.nodes()
        if any(taint["key"] == QUARANTINE for taint in node["spec"].get("taints", []))
    ]


def breakers(site: Site, name: str) -> set[str]:
    """The states of the pool's breakers."""
    status = site.api.get(pools.POOLS, name)["status"]
    return {provider["breaker"]["state"] for provider in status["providers"]}


def running(site: Site, labels: str) -> list[dict[str, Any]]:
    """The pods that are neither failed nor unbound."""
    return [pod for pod in site.pods(labels) if pod["status"]["phase"] == "Running"]


@pytest.mark.parametrize("admission", ["Off", "WhenSaturated"])
def test_a_workload_that_fails_on_all_nodes_of_a_standby_runs_on_the_next(full: Site, admission: str) -> None:
    holes = full.add_nodes("nebius", 3, gpus=8, taint=True)
    full.make_black_holes(holes)
    # The nodes count as healthy, whatever fails there.
    spec: dict[str, Any] = {"health": {"blackHoles": {"pods": 0}}, "admission": {"mode": admission}}
    with pools.pool(full, ALL, **spec) as pool:
        name = pool["metadata"]["name"]
        pools.wait_admission(full, name, is_open=admission != "Off")
        full.create(objects.gpu_deployment("new", 4))
        full.api.wait_for(
            "pods",
            lambda _: len(running(full, NEW)) == 4,
            full.namespace,
            labels=NEW,
            what="four running pods",
        )
        assert full.providers_of(running(full, NEW)) == {"crusoe": 4}
        failed = [pod for pod in full.pods(NEW) if pod["status"]["phase"] == "Failed"]
        assert 3 <= len(failed) <= 20
        held = wait_held_off(full, name, "WorkloadBackOff")
        assert held["provider"] == "nebius"
        pools.wait_admission(full, name, is_open=False)
        assert tainted(full) == []


def test_a_stock_out_sends_the_rest_on_and_leaves_the_full_node_alone(full: Site) -> None:
    full.add_nodes("nebius", gpus=4, taint=True)
    nebius = pools.provider(full, "nebius", capacity={"type": "OnDemand"}, provisionTimeoutSeconds=5)
    with pools.pool(full, ("aws", nebius, "crusoe"), health={"breaker": {"failures": 2}}) as pool:
        name = pool["metadata"]["name"]
        full.create(objects.gpu_deployment("new", 10))
        assert full.providers_of(full.wait_bound(10, labels=NEW)) == {"nebius": 4, "crusoe": 6}
        assert wait_held_off(full, name, "InsufficientCapacity")["provider"] == "nebius"
        full.create(objects.gpu_deployment("late", 2))
        # Sooner than nebius' timeout.
        assert full.providers_of(full.wait_bound(2, labels="app=late", timeout=4)) == {"crusoe": 2}
        assert breakers(full, name) == {"Closed"}
        assert tainted(full) == []


def test_pods_of_a_scheduler_that_binds_nobody_keep_no_other_pod_away(full: Site) -> None:
    full.add_nodes("nebius", gpus=8, taint=True)
    standbys = [pools.provider(full, name, provisionTimeoutSeconds=3) for name in ALL]
    with pools.pool(full, standbys, health={"breaker": {"failures": 1}}) as pool:
        name = pool["metadata"]["name"]
        job = objects.gpu_job("gang", 4)
        job["spec"]["template"]["spec"]["schedulerName"] = "volcano"
        full.create(job)
        pools.wait_sent(full, "app=gang")
        pools.wait_condition(full, name, "Degraded", "True", "SchedulerAbsent")
        full.create(*objects.gpu_pods("new", 1, labels={"app": "new"}))
        assert full.providers_of(full.wait_bound(1, labels=NEW, timeout=10)) == {"nebius": 1}
        assert breakers(full, name) == {"Closed"}
        tolerated = {t.get("value") for pod in full.pods("app=gang") for t in pod["spec"]["tolerations"]}
        assert "crusoe" not in tolerated
        assert tainted(full) == []
