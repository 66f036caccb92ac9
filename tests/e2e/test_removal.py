"""What is left when a pool or the release goes in the middle of a burst: nothing, and nothing is touched again."""

from __future__ import annotations

from typing import Any

import pytest

from e2e import chart, objects, pools
from e2e.operator import OperatorProcess
from e2e.site import Site

PODS = 300
POLICIES = (
    pools.BINDINGS,
    "mutatingadmissionpolicies.admissionregistration.k8s.io",
    "validatingadmissionpolicies.admissionregistration.k8s.io",
    "validatingadmissionpolicybindings.admissionregistration.k8s.io",
)


@pytest.fixture
def full(own_operator: OperatorProcess, site: Site) -> Site:
    """A site whose primary is taken, and whose standby has no room for all of the burst: some pods stay untouched."""
    site.add_taken_node("aws", gpus=4)
    site.add_nodes("nebius", count=16, gpus=8, taint=True)
    return site


def test_a_pool_deleted_in_the_middle_of_a_burst_leaves_no_binding_and_touches_no_pod_again(
    own_operator: OperatorProcess, full: Site
) -> None:
    name = full.api.create(pools.pool_of(full, ("aws", "nebius"), admission={"mode": "Always"}))["metadata"]["name"]
    full.api.wait_for(pools.BINDINGS, lambda found: found, name=f"computepool-{name}", what="its binding")
    _burst_begins(full)
    full.api.delete(pools.POOLS, name)
    full.api.wait_for(pools.BINDINGS, lambda found: not found, name=f"computepool-{name}", what="no binding")
    assert _own_taints(full) == []
    _assert_no_pod_is_touched(own_operator, full)


def test_an_uninstalled_release_leaves_no_policy_no_binding_and_no_taint(
    own_operator: OperatorProcess, full: Site
) -> None:
    name = full.api.create(pools.pool_of(full, ("aws", "nebius"), admission={"mode": "Always"}))["metadata"]["name"]
    full.api.wait_for(pools.BINDINGS, lambda found: found, name=f"computepool-{name}", what="its binding")
    _burst_begins(full)
    chart.uninstall(full.cluster)
    for kind in POLICIES:
        full.api.wait_for(kind, lambda found: not _ours(found), what=f"no {kind} of ours")
    assert _own_taints(full) == []
    own_operator.terminate()
    before = _versions(full)
    full.create(*objects.gpu_pods("late", 4, labels={"app": "late"}))
    late = full.wait_unschedulable(4, labels="app=late")
    assert not any(pools.OFFERS in pod["metadata"].get("annotations", {}) for pod in late)
    assert before.keys() <= _versions(full).keys()
    chart.install(full.cluster)


def _burst_begins(site: Site) -> None:
    site.create(*objects.gpu_pods("new", PODS, labels={"app": "new"}))
    site.api.wait_for(
        "pods",
        lambda pods: sum(objects.provider_toleration("nebius") in pod["spec"]["tolerations"] for pod in pods) > 0,
        site.namespace,
        labels="app=new",
        what="the first pod sent to a standby",
    )


def _assert_no_pod_is_touched(operator: OperatorProcess, site: Site) -> None:
    """Add room that the pool would have used, and see that no pod is sent there."""
    operator.wait_logged("pool gone")
    sent = _sent(site)
    site.add_nodes("nebius", count=4, gpus=8, taint=True)
    site.create(*objects.gpu_pods("late", 4, labels={"app": "late"}))
    late = site.wait_unschedulable(4, labels="app=late")
    assert not any(pools.OFFERS in pod["metadata"].get("annotations", {}) for pod in late)
    assert _sent(site) == sent


def _sent(site: Site) -> set[str]:
    return {pod["metadata"]["name"] for pod in pools.sent(site)}


def _versions(site: Site) -> dict[str, str]:
    return {pod["metadata"]["name"]: pod["metadata"]["resourceVersion"] for pod in site.pods("app=new")}


def _ours(found: list[dict[str, Any]]) -> list[str]:
    return [one["metadata"]["name"] for one in found if one["metadata"]["name"].startswith("computepool")]


def _own_taints(site: Site) -> list[dict[str, Any]]:
    taints = [taint for node in site.nodes() for taint in node["spec"].get("taints", [])]
    return [taint for taint in taints if taint["key"] == "computepool.io/unavailable"]
