"""Decides which running pods may be moved, and which pods are bound to their node or their provider."""

from typing import Final

from computepool.model.cluster import Pod
from computepool.model.moves import MoveKind

STORAGE: Final = frozenset({"volumes", "resourceClaims"})
"""Fields of pods that `fit` does not model and that may bind a pod to its provider."""


def node_bound(pod: Pod) -> bool:
    """Say whether the pod belongs to its node, terminates or has finished. No such pod is moved."""
    return pod.belongs_to_node or pod.deleting is not None or pod.finished


def movable(pod: Pod, kind: MoveKind) -> bool:
    """Say whether the pod may be moved: it has a controller, or its annotation allows moves.

    A Job counts an eviction as a failure of the pod, and may fail for good. Its pods leave failing nodes, where they
    would fail anyway. Reschedule and failback move them only if their annotation allows moves.
    """
    if pod.movable is False or (not pod.owner and pod.movable is not True):
        return False
    if kind is MoveKind.FAILOVER:
        return True
    return not pod.do_not_disrupt and (pod.owner_kind != "Job" or pod.movable is True)


def storage_bound(pod: Pod) -> bool:
    """Say whether the pod's volumes or claims may bind it to its provider."""
    return pod.movable is not True and not STORAGE.isdisjoint(pod.shape.unmodelled)
