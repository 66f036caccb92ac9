"""The cluster does what the other end-to-end tests, the demo and the benchmarks rely on."""

from __future__ import annotations

import threading

import pytest

from e2e import components, objects
from e2e.autoscaler import Autoscaler
from e2e.cluster import Cluster
from e2e.errors import CommandError, WaitTimeoutError
from e2e.kubeapi import ApiError
from e2e.site import Site

# -- placing ---------------------------------------------------------------------------------------------------------


def test_pods_beyond_the_primary_wait_until_they_tolerate_the_standby(site: Site) -> None:
    site.add_nodes("aws", 1, gpus=4)
    site.add_nodes("nebius", 1, gpus=4, taint=True)
    site.create(*objects.gpu_pods("p", 6))
    site.wait_bound(4)
    for pod in site.wait_unschedulable(2):
        toleration = [{"op": "add", "path": "/spec/tolerations/-", "value": objects.provider_toleration("nebius")}]
        site.api.patch("pods", pod["metadata"]["name"], toleration, site.namespace, how="json")
    assert site.providers_of(site.wait_bound(6)) == {"aws": 4, "nebius": 2}


def test_controllers_run(site: Site) -> None:
    site.add_nodes("aws", 1)
    site.create(objects.gpu_deployment("d", 2), objects.gpu_statefulset("s", 2), objects.gpu_job("j", 2, runs=0))
    site.api.wait_for("deployments.apps", lambda found: found[0]["status"].get("readyReplicas") == 2, site.namespace)
    site.api.wait_for("statefulsets.apps", lambda found: found[0]["status"].get("readyReplicas") == 2, site.namespace)
    site.api.wait_for("jobs.batch", lambda found: objects.condition_of(found[0], "Complete") == "True", site.namespace)


def test_an_autoscaler_makes_nodes_only_for_pods_that_tolerate_them(site: Site) -> None:
    tolerating = [objects.provider_toleration("crusoe")]
    with Autoscaler(site, "crusoe", delay=1, max_nodes=1, gpus=2) as autoscaler:
        site.create(objects.gpu_pod("stays"), *objects.gpu_pods("goes", 3, tolerations=tolerating))
        bound = site.wait_bound(2)
        assert [pod["metadata"]["name"][:4] for pod in bound] == ["goes", "goes"]
        site.wait_unschedulable(2)
    assert len(autoscaler.made) == 1


# -- behaviour of nodes and pods, set per test -----------------------------------------------------------------------


def test_a_node_can_take_its_time_to_become_ready(site: Site) -> None:
    (slow,) = site.add_nodes("aws", ready_after=2, wait=False)
    (quick,) = site.add_nodes("aws")
    assert not objects.is_ready(site.api.get("nodes", slow))
    assert objects.is_ready(site.api.get("nodes", quick))
    site.wait_schedulable([slow])


def test_a_node_can_break_and_mend(site: Site) -> None:
    (node,) = site.add_nodes("aws")
    site.break_nodes([node], "GpuFellOff")
    site.api.wait_for("nodes", lambda found: objects.condition_of(found[0], "Ready") == "False", name=node)
    site.mend_nodes([node])
    site.wait_schedulable([node])


def test_a_pod_that_was_marked_as_not_ready_is_ready_again_while_its_kubelet_lives(site: Site) -> None:
    """As the node controller marks pods of a node that it takes for not ready."""
    site.add_nodes("aws")
    site.create(objects.gpu_pod("p"))

    def wait_ready(*, ready: bool) -> None:
        site.api.wait_for("pods", lambda pods: objects.is_ready(pods[0]) == ready, site.namespace, what=f"{ready=}")

    wait_ready(ready=True)
    mark = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
    marked = site.api.patch("pods", "p", mark, site.namespace, how="strategic", subresource="status")
    assert not objects.is_ready(marked)
    wait_ready(ready=True)


def test_a_pod_can_take_its_time_to_become_ready(site: Site) -> None:
    site.add_nodes("aws")
    site.create(objects.gpu_pod("quick"), objects.gpu_pod("slow", ready_after=1))
    (first,) = site.api.wait_for(
        "pods", lambda pods: [pod for pod in pods if objects.is_ready(pod)], site.namespace, what="a ready pod"
    )
    assert first["metadata"]["name"] == "quick"
    site.api.wait_for("pods", lambda pods: all(map(objects.is_ready, pods)), site.namespace, what="both pods ready")


def test_a_pod_can_fail_as_soon_as_it_is_bound(site: Site) -> None:
    site.add_nodes("aws")
    site.create(objects.gpu_pod("p", fails="UnexpectedAdmissionError"))
    pod = site.api.wait_for(
        "pods", lambda pods: next((pod for pod in pods if pod["status"]["phase"] == "Failed"), None), site.namespace
    )
    assert pod["status"]["reason"] == "UnexpectedAdmissionError"


def test_a_pod_can_stay_terminating_and_hold_its_devices(site: Site) -> None:
    site.add_nodes("aws", gpus=1)
    site.create(objects.gpu_pod("leaving", terminates_for=2))
    site.wait_bound(1)
    site.api.delete("pods", "leaving", site.namespace)
    site.create(objects.gpu_pod("next"))
    site.wait_unschedulable(1)
    assert "deletionTimestamp" in site.api.get("pods", "leaving", site.namespace)["metadata"]
    site.api.wait_for(
        "pods", lambda pods: all(map(objects.is_bound, pods)), site.namespace, name="next", what="the next one bound"
    )


# -- users -----------------------------------------------------------------------------------------------------------


def test_kubectl_is_of_the_clusters_own_version(cluster: Cluster) -> None:
    said = cluster.kubectl("version", "--output=json")
    assert said.count(f'"gitVersion": "v{cluster.version}"') == 2


def test_kubectl_says_what_went_wrong(cluster: Cluster) -> None:
    with pytest.raises(CommandError, match="NotFound") as failed:
        cluster.kubectl("get", "node", "no-such-node")
    assert failed.value.code == 1
    assert "NotFound" in cluster.kubectl("get", "node", "no-such-node", check=False)


def test_helm_works_and_keeps_its_files_in_the_clusters_folder(cluster: Cluster) -> None:
    assert cluster.helm("list", "--short") == ""
    assert cluster.helm("env", "HELM_CACHE_HOME").startswith(str(cluster.layout.folder))


def test_a_service_accounts_kubeconfig_has_its_rights_and_no_more(site: Site) -> None:
    path = site.cluster.kubeconfig_for("default", site.namespace)
    said = site.cluster.kubectl("--kubeconfig", str(path), "auth", "whoami")
    assert f"system:serviceaccount:{site.namespace}:default" in said
    with pytest.raises(ApiError) as refused:
        site.cluster.api_for("default", site.namespace).list("nodes")
    assert (refused.value.status, refused.value.reason) == (403, "Forbidden")


# -- waiting, and components that go away ----------------------------------------------------------------------------


def never(_pods: list[dict[str, object]]) -> None:
    """A condition that does not come true."""


def test_waiting_in_vain_says_what_was_there(site: Site) -> None:
    site.create(objects.gpu_pod("lonely"))
    site.wait_unschedulable(1)
    with pytest.raises(WaitTimeoutError, match=r"waited 0.2 s for a miracle; (.|\n)*lonely Pending .*Unschedulable"):
        site.api.wait_for("pods", never, site.namespace, timeout=0.2, what="a miracle")


def test_a_paused_scheduler_binds_nothing_until_it_goes_on(cluster: Cluster, site: Site) -> None:
    site.add_nodes("aws")
    cluster.pause(components.SCHEDULER)
    site.create(objects.gpu_pod("p"))
    with pytest.raises(WaitTimeoutError):
        site.wait_bound(1, timeout=0.5)
    cluster.resume(components.SCHEDULER)
    site.wait_bound(1)


def test_waiting_goes_on_across_a_restart_of_the_api_server_and_nothing_is_lost(cluster: Cluster, site: Site) -> None:
    site.create(objects.gpu_pod("p"))
    waited: list[int] = []
    waiter = threading.Thread(target=lambda: waited.append(len(site.wait_bound(1))))
    waiter.start()
    cluster.restart_apiserver()
    site.add_nodes("aws")
    waiter.join()
    assert waited == [1]


def test_a_stopped_component_can_be_started_again(cluster: Cluster, site: Site) -> None:
    cluster.stop(components.KWOK)
    assert components.KWOK not in cluster.pids()
    (node,) = site.add_nodes("aws", wait=False)
    cluster.start(components.KWOK)
    site.wait_schedulable([node])


def test_hundreds_of_nodes_and_pods_are_a_matter_of_seconds(site: Site) -> None:
    site.add_nodes("aws", 100)
    site.create(*objects.gpu_pods("p", 200))
    assert len(site.wait_bound(200)) == 200
