"""The only readers of an accelerator's amount: what a node has, and what a pod requests. Amounts are in thousandths."""

from collections.abc import Iterable

import msgspec

from computepool.model.snapshot import NodeUse, Pod, Shape, Share


class Accelerators(msgspec.Struct, frozen=True, gc=False):
    """One node's accelerators."""

    capacity: int
    """How many the node has: its capacity, or what is allocatable where that is more."""
    allocatable: int
    used: int
    """Held by pods that are bound to the node, of any pool."""
    free: int
    """Allocatable, and neither held nor promised to a nominated pod; never below zero."""

    @property
    def missing(self) -> int:
        """How many of them are not allocatable."""
        return self.capacity - self.allocatable


def accelerators_of(use: NodeUse, resource: str) -> Accelerators:
    """Return a node's accelerators. `resource`: the extended resource's name."""
    allocatable = use.node.allocatable.get(resource, 0)
    return Accelerators(
        capacity=max(use.node.capacity.get(resource, 0), allocatable),
        allocatable=allocatable,
        used=use.used.get(resource, 0),
        free=max(0, use.left.get(resource, 0)),
    )


def request_of(asking: Pod | Shape, resource: str) -> int:
    """Return how much of the accelerator a pod requests."""
    shape = asking.shape if isinstance(asking, Pod) else asking
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
