"""The only readers of accelerators: how many a node has, and how many a pod requests. Amounts are in thousandths."""

from collections.abc import Iterable
from typing import Final

from computepool.model.cluster import Accelerators, NodeInfo, Pod, Shape, Share

NO_ACCELERATORS: Final = Accelerators()


def accelerators_of(info: NodeInfo, resource: str) -> Accelerators:
    """Return a node's accelerators. `resource`: the extended resource's name."""
    return info.accelerators.get(resource, NO_ACCELERATORS)


def request_of(subject: Pod | Shape, resource: str) -> int:
    """Return how much of the accelerator a pod requests."""
    shape = subject.shape if isinstance(subject, Pod) else subject
    for name, amount in shape.requests:
        if name == resource:
            return amount
    return 0


def requested_by(pods: Iterable[Pod], resource: str) -> int:
    """Return how much of the accelerator these pods request together."""
    return sum(request_of(pod, resource) for pod in pods)


def share_of(members: Iterable[Pod], resource: str) -> Share:
    """Sum up one pool's pods on one node."""
    pods = tuple(members)
    return Share(pods, requested_by(pods, resource), frozenset(pod.burst for pod in pods))
