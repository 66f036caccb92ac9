"""What counts as demand and as capacity on its way, and how waits end, on a real control plane."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from e2e import objects, pools
from e2e.operator import OperatorProcess
from e2e.site import Site

Json = dict[str, Any]

NEW = "app=new"
LABELS = {"app": "new"}
STARTUP_TAINT = "node.cilium.io/agent-not-ready"
PATIENT = {"pendingSeconds": 5, "sustainSeconds": 0, "clearSeconds": 1}
FINALIZER = "e2e.computepool.io/stays"


@pytest.fixture
def urgent(operator: OperatorProcess, site: Site) -> Iterator[str]:
    """The name of a PriorityClass above that of other pods."""
    name = f"{site.namespace}-urgent"
    site.api.create(
        {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": 1000}
    )
    yield name
    site.api.delete("priorityclasses.scheduling.k8s.io", name)


def _daemon_set(site: Site, node_selector: Json) -> Json:
    template = objects.gpu_pod("agent", labels={"app": "agent"}, nodeSelector={**node_selector, **site.labels})
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "agent"},
        "spec": {
            "selector": {"matchLabels": {"app": "agent"}},
            "template": {"metadata": {"labels": {"app": "agent"}}, "spec": template["spec"]},
        },
    }


def _allocated(status: Json) -> int:
    return int(pools.provider_in(status, "aws").get("accelerators", {}).get("allocated", 0))


def _is_burst(pod: Json) -> bool:
    return pools.BURST_LABEL in pod["metadata"].get("labels", {})


def test_a_daemon_sets_pod_for_a_full_node_saturates_no_primary(operator: OperatorProcess, site: Site) -> None:
    site.add_taken_node("aws", gpus=2)
    site.add_nodes("aws", gpus=8)
    site.add_nodes("nebius", gpus=4, taint=True)
    with pools.pool(site, ("aws", "nebius"), saturation=dict(pools.AT_ONCE)) as pool:
        site.create(_daemon_set(site, {objects.PROVIDER_KEY: "aws"}))
        site.wait_unschedulable(1, labels="app=agent")
        # The pass that sees the next pods has seen the agent's pod too.
        site.create(*objects.gpu_pods("new", 2, labels=LABELS))
        assert site.providers_of(site.wait_bound(2, labels=NEW)) == {"aws": 2}
        # Two residents, the agent's other pod, and the two new pods.
        status = pools.wait_status(
            site.api,
            pool["metadata"]["name"],
            lambda status: status if _allocated(status) == 5 else None,
            "five accelerators allocated",
        )
        assert status["pending"]["pods"] == 0
        pools.wait_condition(site, pool["metadata"]["name"], "Saturated", "False")
        assert not any(_is_burst(found) for found in site.pods("app=agent"))


def test_pods_wait_for_an_on_demand_node_while_its_startup_taint_is_there(
    operator: OperatorProcess, site: Site
) -> None:
    site.add_nodes("nebius", gpus=8, taint=True)
    grows = pools.provider(site, "aws", capacity={"type": "OnDemand"})
    with pools.pool(site, (grows, "nebius")) as pool:
        site.create(*objects.gpu_pods("new", 4, labels=LABELS))
        taint = {"key": STARTUP_TAINT, "effect": "NoSchedule"}
        (joined,) = site.add_nodes("aws", gpus=8, taints=[taint])
        pools.wait_status(
            site.api,
            pool["metadata"]["name"],
            lambda status: pools.provider_in(status, "aws").get("nodes") == 1,
            "the operator to see the node",
        )
        assert not any(_is_burst(found) for found in site.pods(NEW))
        site.untaint([joined], STARTUP_TAINT)
        assert site.providers_of(site.wait_bound(4, labels=NEW)) == {"aws": 4}
        assert not any(_is_burst(found) for found in site.pods(NEW))


def test_the_scheduler_preempts_on_a_full_standby_for_a_pod_of_higher_priority(site: Site, urgent: str) -> None:
    site.add_nodes("aws", gpus=2)
    site.create(*objects.gpu_pods("home", 2, labels={"app": "home"}, priorityClassName=urgent))
    site.wait_bound(2, labels="app=home")
    site.add_nodes("nebius", gpus=2, taint=True)
    tolerant = [objects.provider_toleration("nebius")]
    site.create(*objects.gpu_pods("low", 2, labels={"app": "low"}, tolerations=tolerant))
    site.wait_bound(2, labels="app=low")
    with pools.pool(site, ("aws", "nebius")):
        site.create(objects.gpu_pod("new", labels=LABELS, priorityClassName=urgent))
        assert site.providers_of(site.wait_bound(1, labels=NEW)) == {"nebius": 1}
        site.api.wait_for(
            "events.events.k8s.io",
            lambda found: [event for event in found if event["reason"] == "SentToPreempt"],
            site.namespace,
            what="an event on the pod",
        )


def test_a_pod_whose_preempted_pod_never_ends_runs_on_a_standby(site: Site, urgent: str) -> None:
    site.add_nodes("aws", gpus=1)
    stays = objects.gpu_pod("stays", labels={"app": "stays"})
    stays["metadata"]["finalizers"] = [FINALIZER]
    site.create(stays)
    site.wait_bound(1, labels="app=stays")
    site.add_nodes("nebius", gpus=1, taint=True)
    home = pools.provider(site, "aws", provisionTimeoutSeconds=4)
    try:
        with pools.pool(site, (home, "nebius"), saturation=PATIENT):
            site.create(objects.gpu_pod("new", labels=LABELS, priorityClassName=urgent))
            site.api.wait_for(
                "pods",
                lambda found: any(pod["status"].get("nominatedNodeName") for pod in found),
                site.namespace,
                labels=NEW,
                what="a nominated pod",
            )
            assert site.providers_of(site.wait_bound(1, labels=NEW)) == {"nebius": 1}
    finally:
        site.api.patch("pods", "stays", {"metadata": {"finalizers": None}}, site.namespace)
