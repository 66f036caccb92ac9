"""The only readers of accelerators: how many a node has, and how many a pod requests. Amounts are in thousandths."""

from collections.abc import Iterable
from typing import Final

from computepool.model.cluster import Accelerators, NodeInfo, Pod, Shape, Share
from computepool.model.quantity import MAX_AMOUNT, MILLI

NO_ACCELERATORS: Final = Accelerators()
MOST_ON_A_NODE: Final = 1_024 * MILLI
"""More than any node has whose size is not known, accelerators that are shared in time included."""


def accelerators_of(info: NodeInfo, resource: str) -> Accelerators:
    """Return a node's accelerators. `resource`: the extended resource's name."""
    return info.accelerators.get(resource, NO_ACCELERATORS)


def accelerators_on(infos: Iterable[NodeInfo], resource: str) -> list[Accelerators]:
    """Return the accelerators of each of these nodes. For thousands of nodes, a call for each costs too much."""
    return [info.accelerators.get(resource, NO_ACCELERATORS) for info in infos]


def held_by_claims(info: NodeInfo, pool: str, resource: str) -> bool:
    """Say whether pods on the node hold accelerators through resource claims (DRA), or the pool's pods may do so.

    The node's amounts do not show such accelerators. The scheduler uses claims for an extended resource only on nodes
    whose allocatable amount of the resource is 0 (KEP-5004), so ask this about no other node.
    """
    if any(resource in pod.claimed for pod in info.pods):
        return True
    return any("resourceClaims" in pod.shape.unmodelled for pod in info.members(pool))


def serves_other_kind(info: NodeInfo, resource: str) -> bool:
    """Say whether a node reports none of this accelerator, and others of its vendor (the part before the slash)."""
    if accelerators_of(info, resource).capacity:
        return False
    vendor = f"{resource.partition('/')[0]}/"
    return any(name.startswith(vendor) and found.allocatable for name, found in info.accelerators.items())


def largest_capacity(nodes: Iterable[Accelerators]) -> int:
    """Return the capacity of the largest of these nodes; 0 if none is known. A capped amount is no size of a node."""
    return max([node.capacity for node in nodes if node.capacity < MAX_AMOUNT], default=0)


def request_of(subject: Pod | Shape, resource: str) -> int:
    """Return how much of the accelerator a pod requests."""
    shape = subject.shape if isinstance(subject, Pod) else subject
    for name, amount in shape.requests:
        if name == resource:
            return amount
    return 0


def devices_of(shape: Shape) -> list[tuple[str, int]]:
    """Return the extended resources that a pod requests, such as nvidia.com/gpu, with their amounts."""
    return [(name, amount) for name, amount in shape.requests if "/" in name]


def requests_devices(shape: Shape) -> bool:
    """Say whether a pod requests any extended resource, which may be some pool's accelerator."""
    return any("/" in name for name, _ in shape.requests)


def requested_by(pods: Iterable[Pod], resource: str) -> int:
    """Return how much of the accelerator these pods request together."""
    return sum(request_of(pod, resource) for pod in pods)


def share_of(members: Iterable[Pod], resource: str) -> Share:
    """Sum up one pool's pods on one node."""
    pods = tuple(members)
    return Share(pods, requested_by(pods, resource), frozenset(pod.burst for pod in pods))
