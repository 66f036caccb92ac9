"""What RBAC gives the operator's ServiceAccount, tried with its own token: what it needs, and nothing else."""

from collections.abc import Iterator

import pytest

from e2e import chart, objects
from e2e.cluster import Access
from e2e.kubeapi import ApiError, KubeApi

NAMESPACE = "default"
POD = "pod"
LEASES = "coordination.k8s.io/leases"
POOLS = "computepool.io/computepools"
POLICIES = "admissionregistration.k8s.io/mutatingadmissionpolicies"
BINDINGS = "admissionregistration.k8s.io/mutatingadmissionpolicybindings"
GUARD_BINDINGS = "admissionregistration.k8s.io/validatingadmissionpolicybindings"
GUARDS = "admissionregistration.k8s.io/validatingadmissionpolicies"
OWN = chart.NAMESPACE


@pytest.fixture(scope="module")
def operator(cluster: Access) -> Iterator[KubeApi]:
    with chart.installed(cluster):
        cluster.api.create(objects.gpu_pod(POD, nodeSelector={"no-such": "node"}), NAMESPACE)
        yield cluster.api_for(chart.SERVICE_ACCOUNT, chart.NAMESPACE)
        cluster.api.delete("pods", POD, NAMESPACE, grace_seconds=0)


GRANTED: list[tuple[str, str, str, str]] = [
    *((verb, resource, "", "") for verb in ("list", "watch") for resource in ("nodes", "pods", "namespaces", POOLS)),
    ("get", POOLS, "", "inference"),
    ("patch", f"{POOLS}/status", "", "inference"),
    ("patch", "pods", NAMESPACE, POD),
    ("create", "pods/eviction", NAMESPACE, POD),
    ("patch", "nodes", "", "x"),
    *((verb, LEASES, "kube-node-lease", "") for verb in ("list", "watch")),
    ("create", "events.k8s.io/events", NAMESPACE, ""),
    ("create", LEASES, OWN, ""),
    *((verb, LEASES, OWN, "computepool") for verb in ("get", "patch")),
    *((verb, "serviceaccounts", OWN, "computepool-leader") for verb in ("get", "patch")),
    ("get", POLICIES, "", "computepool-burst"),
    *((verb, BINDINGS, "", "computepool-x") for verb in ("list", "create", "patch", "delete")),
]

DENIED: list[tuple[str, str, str, str]] = [
    *((verb, "secrets", OWN, "") for verb in ("get", "list", "create")),
    ("list", "configmaps", OWN, ""),
    *((verb, "pods", NAMESPACE, POD) for verb in ("create", "update", "delete", "deletecollection")),
    *((verb, "pods/eviction", NAMESPACE, POD) for verb in ("update", "patch", "delete")),
    ("create", "pods/binding", NAMESPACE, POD),
    ("create", "pods/exec", NAMESPACE, POD),
    ("patch", "pods/status", NAMESPACE, POD),
    ("patch", "pods/ephemeralcontainers", NAMESPACE, POD),
    *((verb, "nodes", "", "x") for verb in ("get", "create", "update", "delete", "deletecollection")),
    *(("patch", f"nodes/{part}", "", "x") for part in ("status", "proxy")),
    *((verb, LEASES, "kube-node-lease", "x") for verb in ("create", "update", "patch", "delete")),
    *((verb, "namespaces", "", "x") for verb in ("create", "patch", "delete")),
    *((verb, POOLS, "", "inference") for verb in ("create", "update", "patch", "delete")),
    ("update", f"{POOLS}/finalizers", "", "inference"),
    *((verb, LEASES, OWN, "another") for verb in ("get", "update", "patch", "delete")),
    *((verb, LEASES, OWN, "computepool") for verb in ("update", "delete")),
    *((verb, LEASES, "kube-system", "computepool") for verb in ("get", "create", "update")),
    ("get", POLICIES, "", "another"),
    *((verb, POLICIES, "", "computepool-burst") for verb in ("list", "update", "patch", "delete", "create")),
    *((verb, GUARDS, "", "computepool-guard-pods") for verb in ("get", "update", "patch", "delete")),
    ("delete", GUARD_BINDINGS, "", "computepool-guard-pods"),
    *((verb, "events.k8s.io/events", "default", "x") for verb in ("get", "list", "patch", "delete")),
    *((verb, BINDINGS, "", "computepool-x") for verb in ("get", "watch", "update")),
    ("deletecollection", BINDINGS, "", ""),
    ("list", "apiextensions.k8s.io/customresourcedefinitions", "", ""),
    ("list", "apps/deployments", OWN, ""),
    *((verb, "serviceaccounts", OWN, "computepool") for verb in ("get", "patch")),
    *(("create", "serviceaccounts/token", OWN, name) for name in ("computepool", "computepool-leader")),
    ("bind", "rbac.authorization.k8s.io/clusterroles", "", "cluster-admin"),
    ("impersonate", "users", "", "admin"),
]


def _may(operator: KubeApi, verb: str, resource: str, namespace: str, name: str) -> bool:
    """Ask the API server, as the operator, whether it may. Resources are written group/plural[/subresource]."""
    parts = resource.split("/")
    group = parts.pop(0) if "." in parts[0] or parts[0] == "apps" else ""
    attributes = {
        "verb": verb,
        "group": group,
        "resource": parts[0],
        "subresource": "/".join(parts[1:]),
        "namespace": namespace,
        "name": name,
    }
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "metadata": {},
        "spec": {"resourceAttributes": attributes},
    }
    return bool(operator.create(review)["status"]["allowed"])


def test_the_operator_has_the_rights_it_needs(operator: KubeApi) -> None:
    missing = [right for right in GRANTED if not _may(operator, *right)]
    assert not missing


def test_the_operator_has_no_right_it_does_not_need(operator: KubeApi) -> None:
    excess = [right for right in DENIED if _may(operator, *right)]
    assert not excess


def test_what_the_operator_has_no_right_to_is_refused(operator: KubeApi) -> None:
    for attempt in (
        lambda: operator.list("secrets", chart.NAMESPACE),
        lambda: operator.delete("pods", POD, NAMESPACE),
        lambda: operator.delete("nodes", "x"),
    ):
        with pytest.raises(ApiError, match="cannot"):
            attempt()


# -- what an uninstall runs afterwards


@pytest.fixture
def cleanup(operator: KubeApi, cluster: Access) -> Iterator[KubeApi]:
    """The ServiceAccount of the hook, made as Helm makes it while it runs."""
    rendered = chart.rendered(cluster, "cleanup.yaml")
    cluster.kubectl("create", "--filename", "-", input=rendered)
    yield cluster.api_for(chart.CLEANUP_ACCOUNT, OWN)
    cluster.kubectl("delete", "--filename", "-", input=rendered)


def test_the_cleanup_may_list_and_patch_nodes_and_nothing_else(cleanup: KubeApi) -> None:
    granted = [("list", "nodes", "", ""), ("patch", "nodes", "", "x")]
    assert [right for right in granted if not _may(cleanup, *right)] == []
    others = [right for right in (*GRANTED, *DENIED) if right not in granted]
    assert [right for right in others if _may(cleanup, *right)] == []
