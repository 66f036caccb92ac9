"""A scheduler that binds pods where they fit, as kube-scheduler's filters have it."""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence

from computepool.model.cluster import Node, Pod, Shape
from computepool.model.taints import tolerated
from computepool.simulate.cluster import Cluster

Left = dict[str, int]
"""By resource: thousandths that are left of a node."""


class Scheduler:
    """Binds the cluster's waiting pods, as Kubernetes' own scheduler: pods that name another scheduler just wait."""

    def __init__(self, cluster: Cluster) -> None:
        """It knows what the cluster holds at once."""
        self.refused_by: dict[str, frozenset[str]] = {}
        """By pod uid: providers that it never binds the pod to, for reasons that no part of the operator can see."""
        self.forbids: Callable[[Pod, Node], bool] | None = None
        """Says whether a constraint that the operator does not model keeps a pod off a node now."""
        self.packs = False
        """Whether it fills nodes one after another, as kube-scheduler's strategy MostAllocated does."""
        self._cluster = cluster

    def run(self) -> int:
        """Try every pod, in order of priority and age, on the most preferred provider first; return how many it binds.

        The operator's admission has new pods prefer the primary softly. Here every pod does.
        """
        waiting = self._schedulable()
        if not waiting:
            return 0
        nodes, left = self._in_preference(), self.left()
        waiting.sort(key=lambda pod: (-pod.priority, pod.created, pod.name))
        # Nothing becomes free while it tries one pod after the other, so an equal pod need not be tried in vain again.
        # By shape: where in the order of nodes the search for such a pod goes on.
        passed: dict[int, int] = {}
        bound = 0
        for pod in waiting:
            alike = id(pod.shape) if self.forbids is None and pod.uid not in self.refused_by else None
            start = 0 if alike is None else passed.get(alike, 0)
            at = next((at for at in range(start, len(nodes)) if self.takes(pod, nodes[at], left)), len(nodes))
            if alike is not None:
                passed[alike] = at
            bound += self._try(pod, self._choose(pod, nodes[at:], left), left)
        return bound

    def run_at_random(self, order: random.Random, share: float = 1.0) -> int:
        """Try a share of the pods, in any order, on any node that takes them; return how many it binds."""
        waiting, left = self._schedulable(), self.left()
        bound = 0
        for pod in order.sample(waiting, round(len(waiting) * share)):
            places = [node for node in self._cluster.nodes.values() if self.takes(pod, node, left)]
            bound += self._try(pod, order.choice(places) if places else None, left)
        return bound

    def takes(self, pod: Pod, node: Node, left: Mapping[str, Left]) -> bool:
        """Say whether a pod may be bound to a node. `left`: by node."""
        refused = self.refused_by.get(pod.uid)
        if refused and self._cluster.provider_of(node.name) in refused:
            return False
        return fits(pod.shape, node, left[node.name]) and not (self.forbids is not None and self.forbids(pod, node))

    def left(self) -> dict[str, Left]:
        """Return what is left of each node."""
        return left_of(self._cluster.nodes.values(), self._cluster.pods.values())

    def _schedulable(self) -> list[Pod]:
        return [pod for pod in self._cluster.waiting_pods() if not (pod.gated or pod.shape.scheduler)]

    def _in_preference(self) -> list[Node]:
        ranks = {provider.name: provider.index for provider in self._cluster.providers}
        last = len(ranks)
        nodes = self._cluster.nodes
        return [
            nodes[name]
            for name in sorted(nodes, key=lambda name: (ranks.get(self._cluster.provider_of(name), last), name))
        ]

    def _choose(self, pod: Pod, nodes: Sequence[Node], left: Mapping[str, Left]) -> Node | None:
        """Return the first of these nodes, or the fullest of its provider if the scheduler packs. `nodes`: in order, of
        which the first takes the pod.
        """
        if not nodes or not self.packs:
            return nodes[0] if nodes else None
        provider = self._cluster.provider_of(nodes[0].name)
        resource = self._cluster.pool.spec.accelerator.resource_name
        of_provider = (node for node in nodes if self._cluster.provider_of(node.name) == provider)
        taking = [node for node in of_provider if self.takes(pod, node, left)]
        return min(taking, key=lambda node: (left[node.name].get(resource, 0), node.name))

    def _try(self, pod: Pod, node: Node | None, left: Mapping[str, Left]) -> bool:
        """Bind a pod, or say that it is unschedulable; return whether it is bound."""
        if node is not None:
            take(pod, left[node.name])
            self._cluster.bind_pod(pod.uid, node.name)
        elif not pod.unschedulable:
            self._cluster.update_pod(pod.uid, unschedulable=True)
        return node is not None


def fits(shape: Shape, node: Node, left: Left) -> bool:
    """Say whether a pod of this shape fits on a node, by all that its spec and the node say."""
    return (
        node.usable
        and all(left.get(name, 0) >= amount for name, amount in shape.requests)
        and shape.admits(node.name, node.labels)
        and tolerated(node.taints, shape.tolerations)
    )


def left_of(nodes: Iterable[Node], pods: Iterable[Pod]) -> dict[str, Left]:
    """Return, by node, what the pods that are bound to it leave."""
    left = {node.name: dict(node.allocatable) for node in nodes}
    for pod in pods:
        if pod.node in left:
            take(pod, left[pod.node])
    return left


def take(pod: Pod, left: Left) -> None:
    """Take what a pod requests."""
    for name, amount in pod.shape.requests:
        left[name] = left.get(name, 0) - amount
