"""References to objects, as events carry them."""

from computepool.model.api import API_VERSION, KIND, ComputePool
from computepool.model.cluster import Pod


def pool_reference(pool: ComputePool) -> dict[str, str]:
    """Name a pool as an event's subject."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": pool.name,
        "uid": pool.metadata.uid,
        "resourceVersion": pool.metadata.resource_version,
    }


def pod_reference(pod: Pod) -> dict[str, str]:
    """Name a pod as an event's subject."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "namespace": pod.namespace,
        "name": pod.name,
        "uid": pod.uid,
        "resourceVersion": str(pod.resource_version),
    }
