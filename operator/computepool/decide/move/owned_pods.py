"""The pool's pods by owner and by namespace: how many there are, and which of them are not Ready."""

from bisect import bisect_left, bisect_right
from itertools import chain
from math import inf
from typing import Final

import msgspec

from computepool.decide.move.pending_moves import SKEW_SECONDS
from computepool.model.cluster import Pod, members_on
from computepool.model.snapshot import Snapshot

NAMESPACE_PREFIX: Final = "namespace/"


class OwnedPods(msgspec.Struct):
    """The pods of one owner, or in one namespace, in the pool that have an owner and do not terminate."""

    count: int = 0
    unready: list[float] = []
    """When the pods that are not Ready were created, sorted."""

    def not_ready(self, since: float, until: float = inf) -> int:
        """Return how many pods are not Ready that were created in this time."""
        begin = bisect_left(self.unready, since - SKEW_SECONDS)
        return max(0, bisect_right(self.unready, until + SKEW_SECONDS) - begin)


NO_PODS: Final = OwnedPods()


def namespace_key(pod: Pod) -> str:
    """Return the name under which the history of the pod's namespace is kept. No uid has a slash."""
    return f"{NAMESPACE_PREFIX}{pod.namespace}"


def owned_pods(snapshot: Snapshot, pool: str) -> dict[str, OwnedPods]:
    """Return the pool's pods by owner, and by namespace (`namespace_key`).

    It reads all pods of the pool, so a pass asks for it only before a move.
    """
    together: dict[tuple[str, str], list[Pod]] = {}
    for pod in chain(snapshot.waiting, snapshot.on_unknown_nodes, members_on(snapshot.nodes, pool)):
        if pod.owner and pod.deleting is None:
            key = (pod.owner, pod.namespace)
            if key in together:
                together[key].append(pod)
            else:
                together[key] = [pod]
    owned: dict[str, OwnedPods] = {}
    for members in together.values():
        unready = [pod.created for pod in members if not pod.ready]
        for name in (members[0].owner, namespace_key(members[0])):
            pods = owned.setdefault(name, OwnedPods())
            pods.count += len(members)
            pods.unready += unready
    for pods in owned.values():
        pods.unready.sort()
    return owned
