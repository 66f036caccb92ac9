"""An installation of the chart, and the objects that the tests of the guard write to."""

from collections.abc import Iterator

import pytest

from e2e import chart, objects
from e2e.cluster import Access
from e2e.kubeapi import ApiError, KubeApi
from tests.e2e.guard.guarded import GATED, NODE, POD, Guarded, node, pod_of, try_patch


@pytest.fixture(scope="module")
def guarded(cluster: Access) -> Iterator[Guarded]:
    with chart.installed(cluster):
        own = Guarded(cluster)
        own.admin.create(objects.namespace(own.namespace))
        owner = own.admin.create(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owner"}}, own.namespace
        )
        own.admin.create(pod_of(POD, owner), own.namespace)
        own.admin.create(pod_of(GATED, owner, schedulingGates=[{"name": "mine/wait"}]), own.namespace)
        others = ("kube-system", chart.NAMESPACE)
        for namespace in others:
            own.admin.create(objects.gpu_pod(POD, nodeSelector={"no-such": "node"}), namespace)
        chart.until(lambda: _guards(own), "the guard to take effect")
        yield own
        for name in (POD, GATED):
            own.admin.patch("pods", name, {"metadata": {"finalizers": None}}, own.namespace)
        for namespace in others:
            own.admin.delete("pods", POD, namespace, grace_seconds=0)
        own.admin.delete("namespaces", own.namespace)


def _guards(guarded: Guarded) -> bool:
    patch = {"metadata": {"labels": {"computepool.io/probe": "x"}}}
    try:
        try_patch(guarded.operator, "pods", POD, patch, guarded.namespace)
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
