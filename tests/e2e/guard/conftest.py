"""An installation of the chart, and the objects that the tests of the guard write to."""

from collections.abc import Iterator

import pytest

from e2e import chart, objects
from e2e.cluster import Access
from e2e.kubeapi import ApiError, KubeApi
from tests.e2e.guard.guarded import GATED, NAMESPACE, NODE, POD, Guarded, node, pod_of, try_patch


@pytest.fixture(scope="module")
def guarded(cluster: Access) -> Iterator[Guarded]:
    with chart.installed(cluster):
        own = Guarded(cluster)
        own.admin.create(objects.namespace(NAMESPACE))
        owner = own.admin.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owner"}}, NAMESPACE)
        own.admin.create(pod_of(POD, owner), NAMESPACE)
        own.admin.create(pod_of(GATED, owner, schedulingGates=[{"name": "mine/wait"}]), NAMESPACE)
        others = ("kube-system", chart.NAMESPACE)
        for namespace in others:
            own.admin.create(objects.gpu_pod(POD, nodeSelector={"no-such": "node"}), namespace)
        chart.until(lambda: _guards(own.operator), "the guard to take effect")
        yield own
        for name in (POD, GATED):
            own.admin.patch("pods", name, {"metadata": {"finalizers": None}}, NAMESPACE)
        for namespace in others:
            own.admin.delete("pods", POD, namespace, grace_seconds=0)
        own.admin.delete("namespaces", NAMESPACE)
        own.admin.wait_for("namespaces", lambda found: found == [], name=NAMESPACE, what="the namespace to be gone")


def _guards(operator: KubeApi) -> bool:
    try:
        try_patch(operator, "pods", POD, {"metadata": {"labels": {"computepool.io/probe": "x"}}}, NAMESPACE)
    except ApiError as refused:
        return "computepool-guard-pods" in refused.message
    return False


@pytest.fixture(scope="module")
def with_nodes(guarded: Guarded) -> Iterator[Guarded]:
    guarded.admin.create(node())
    chart.until(lambda: _guards_nodes(guarded.operator), "the guard to take effect")
    yield guarded
    guarded.admin.delete("nodes", NODE)


def _guards_nodes(operator: KubeApi) -> bool:
    try:
        try_patch(operator, "nodes", NODE, {"metadata": {"labels": {"computepool.io/probe": "x"}}})
    except ApiError as refused:
        return "computepool-guard-nodes" in refused.message
    return False
