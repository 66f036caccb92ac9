"""Which pods the guard lets the operator's ServiceAccount evict and delete, tried with its own token."""

from collections.abc import Iterator
from typing import Any

import pytest

from e2e import chart, objects
from e2e.chart import DRY_RUN
from e2e.cluster import Access
from e2e.kubeapi import ApiError
from tests.e2e.guard.guarded import MOVABLE, NODE, OTHER_OWNER, POD, Guarded, Json


@pytest.fixture(scope="module")
def releasing(with_nodes: Guarded, cluster: Access) -> Iterator[Guarded]:
    """The release with the right to delete pods, and pods on a node that nobody hears of."""
    chart.install(cluster, values={**chart.NO_OPERATOR_PODS, "crds.keep": False, "failover.releaseLostPods": True})
    chart.until(lambda: "uid" in _deletion(with_nodes, POD, {}), "the right to delete and its guard")
    for name, (kind, movable) in BOUND.items():
        bound = objects.gpu_pod(name, annotations={MOVABLE: movable} if movable else {}, nodeName=NODE)
        if kind:
            # Of a group that the garbage collector does not know: it leaves what nobody can look up alone.
            owner = {"apiVersion": "example.com/v1", "kind": kind, "name": "owner", "uid": OTHER_OWNER["uid"]}
            bound["metadata"]["ownerReferences"] = [owner | {"controller": kind != "ConfigMap"}]
        with_nodes.admin.create(bound, with_nodes.namespace)
    yield with_nodes
    for name in BOUND:
        with_nodes.admin.delete("pods", name, with_nodes.namespace, grace_seconds=0)
    chart.install(cluster, values={**chart.NO_OPERATOR_PODS, "crds.keep": False})


BOUND = {
    "replicated": ("ReplicaSet", ""),
    "graced": ("ReplicaSet", ""),
    "says-so": ("", "true"),
    "bare": ("", ""),
    "owned": ("ConfigMap", ""),
    "held": ("ReplicaSet", "false"),
    "daemon": ("DaemonSet", "true"),
    "mirror": ("Node", ""),
}
"""By pod: the kind of its controller (of a mere owner, where that is a ConfigMap), and its say of whether it moves."""


def _evict(guarded: Guarded, pod: str, namespace: str = "", uid: str = "", **options: Any) -> None:
    namespace = namespace or guarded.namespace
    uid = uid or guarded.admin.get("pods", pod, namespace)["metadata"]["uid"]
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": namespace},
        "deleteOptions": ({"preconditions": {"uid": uid}} if uid != "none" else {}) | options,
    }
    path = guarded.operator.resource("pods").path(namespace, pod, "eviction")
    guarded.operator.request("POST", path, eviction, query=DRY_RUN)


def test_the_operator_may_evict_the_very_pod_that_it_has_seen(guarded: Guarded) -> None:
    _evict(guarded, POD)
    with pytest.raises(ApiError, match="the UID in the precondition") as other:
        _evict(guarded, POD, uid="00000000-0000-0000-0000-000000000001")
    assert other.value.status == 409
    with pytest.raises(ApiError, match="the pod that it has seen; this request does not name the pod's uid"):
        _evict(guarded, POD, uid="none")
    for seconds in (0, 30):
        with pytest.raises(ApiError, match="may not change a pod's grace period"):
            _evict(guarded, POD, gracePeriodSeconds=seconds)


@pytest.mark.parametrize("namespace", ["kube-system", chart.NAMESPACE])
def test_the_operator_evicts_no_pod_of_the_system_and_none_of_its_own(guarded: Guarded, namespace: str) -> None:
    with pytest.raises(ApiError, match=f"leaves pods in namespace {namespace} alone"):
        _evict(guarded, POD, namespace)


def _deletion(guarded: Guarded, pod: str, options: Json, namespace: str = "") -> str:
    """Try to delete a pod; return what speaks against it, or nothing."""
    path = guarded.operator.resource("pods").path(namespace or guarded.namespace, pod)
    try:
        guarded.operator.request("DELETE", path, options, query=DRY_RUN)
    except ApiError as refused:
        return refused.message
    return ""


def _exactly(guarded: Guarded, pod: str, namespace: str = "") -> Json:
    seen = guarded.admin.get("pods", pod, namespace or guarded.namespace)
    return {"preconditions": {"uid": seen["metadata"]["uid"]}}


def test_without_the_value_the_operator_deletes_no_pod(guarded: Guarded) -> None:
    assert "cannot delete resource" in _deletion(guarded, POD, _exactly(guarded, POD))


@pytest.mark.parametrize("pod", ["replicated", "says-so"])
def test_with_the_value_the_operator_may_delete_a_pod_that_is_not_ready_and_no_other(
    releasing: Guarded, pod: str
) -> None:
    assert "does not name the pod's uid" in _deletion(releasing, pod, {})
    for status, says in (("True", "pods on lost nodes; this pod is ready"), ("False", "")):
        ready = {"status": {"conditions": [{"type": "Ready", "status": status}]}}
        releasing.admin.patch("pods", pod, ready, releasing.namespace, subresource="status")
        refused = _deletion(releasing, pod, _exactly(releasing, pod))
        assert says in refused if says else not refused


@pytest.mark.parametrize("seconds", [0, 7])
def test_the_operator_may_not_cut_a_pods_grace_period(releasing: Guarded, seconds: int) -> None:
    says = _deletion(releasing, "graced", _exactly(releasing, "graced") | {"gracePeriodSeconds": seconds})
    assert "may not change a pod's grace period" in says


NOT_DELETED = {
    POD: "pods on lost nodes; this pod is on no node",
    "bare": "this pod has no controller",
    "owned": "this pod has no controller",
    "held": 'or its annotation is "false"',
    "daemon": "deletes no pod that belongs to its node; this pod belongs to a DaemonSet",
    "mirror": "deletes no pod that belongs to its node; this pod belongs to a Node",
}


@pytest.mark.parametrize(("pod", "says"), NOT_DELETED.items(), ids=NOT_DELETED.keys())
def test_even_with_the_value_the_operator_deletes_no_pod_that_may_not_move(
    releasing: Guarded, pod: str, says: str
) -> None:
    assert says in _deletion(releasing, pod, _exactly(releasing, pod))


@pytest.mark.parametrize("namespace", ["kube-system", chart.NAMESPACE])
def test_even_with_the_value_the_operator_deletes_no_pod_of_the_system(releasing: Guarded, namespace: str) -> None:
    says = f"leaves pods in namespace {namespace} alone"
    assert says in _deletion(releasing, POD, _exactly(releasing, POD, namespace), namespace)
