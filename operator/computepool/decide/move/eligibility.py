"""Decides which running pods may be moved, and which pods are bound to their node or their provider."""

from typing import Final

from computepool.model.cluster import Pod

JOB: Final = "Job"
STORAGE: Final = frozenset({"volumes", "resourceClaims"})
"""Fields of pods that `fit` does not model and that may bind a pod to its provider."""


def node_bound(pod: Pod) -> bool:
    """Say whether the pod belongs to its node, terminates or has finished. No such pod is moved."""
    return pod.belongs_to_node or pod.deleting is not None or pod.finished


def movable(pod: Pod) -> bool:
    """Say whether the pod may be moved at all: it has a controller, or its annotation allows moves."""
    return pod.movable is not False and (bool(pod.owner) or pod.movable is True)


def movable_by_choice(pod: Pod, now: float) -> bool:
    """Say whether the pod may be moved although it could as well stay.

    A Job counts an eviction as a failure of the pod, and may fail for good. A gang stops when a single member leaves.
    Such pods move only if their annotation allows moves. No pod moves while it asks not to be disrupted.
    """
    alone = not (may_fail_for_good(pod) or pod.gang)
    return movable(pod) and pod.protected_until <= now and (alone or pod.movable is True)


def may_fail_for_good(pod: Pod) -> bool:
    """Say whether an eviction may make the pod's work fail for good: the operator does not know what its owner allows.

    Pods that run to completion belong to Jobs, or to other controllers that count a failure, such as workflow engines.
    """
    return (pod.owner_kind == JOB or pod.to_completion) and pod.movable is not True


def storage_bound(pod: Pod) -> bool:
    """Say whether the pod's volumes or claims may bind it to its provider."""
    return pod.movable is not True and not STORAGE.isdisjoint(pod.shape.unmodelled)
