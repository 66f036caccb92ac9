"""All paths of the API."""

from typing import Final

from computepool.model.api import API_VERSION, PLURAL

VERSION: Final = "/version"
POOLS: Final = f"/apis/{API_VERSION}/{PLURAL}"
NAMESPACES: Final = "/api/v1/namespaces"
NODES: Final = "/api/v1/nodes"
PODS: Final = "/api/v1/pods"
DISRUPTION_BUDGETS: Final = "/apis/policy/v1/poddisruptionbudgets"
ADMISSION_GROUP: Final = "/apis/admissionregistration.k8s.io/v1"
POLICY_RESOURCE: Final = "mutatingadmissionpolicies"
POLICIES: Final = f"{ADMISSION_GROUP}/{POLICY_RESOURCE}"
BINDINGS: Final = f"{ADMISSION_GROUP}/mutatingadmissionpolicybindings"


def pod(namespace: str, name: str) -> str:
    """Return the path of a pod."""
    return f"{pods(namespace)}/{name}"


def pods(namespace: str) -> str:
    """Return the path of a namespace's pods."""
    return f"{NAMESPACES}/{namespace}/pods"


def leases(namespace: str) -> str:
    """Return the path of a namespace's Leases."""
    return f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"


def service_account(namespace: str, name: str) -> str:
    """Return the path of a ServiceAccount."""
    return f"{NAMESPACES}/{namespace}/serviceaccounts/{name}"


def events(namespace: str) -> str:
    """Return the path to which a namespace's events are posted."""
    return f"/apis/events.k8s.io/v1/namespaces/{namespace}/events"


def core_events(namespace: str) -> str:
    """Return the path of a namespace's v1 events, which have field selectors for their object."""
    return f"{NAMESPACES}/{namespace}/events"


NODE_LEASES: Final = leases("kube-node-lease")


def node_lease(node: str) -> str:
    """Return the path of a node's Lease."""
    return f"{NODE_LEASES}/{node}"
