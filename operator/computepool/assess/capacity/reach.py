"""Which nodes the pool's pods could use, by the nodes' taints.

Free accelerators behind a taint that none of the pool's pods tolerates are no capacity of the pool: they count neither
for saturation, nor for the headroom of failback, nor for admission.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property

from computepool.assess.capacity.providers import Provider
from computepool.model.cluster import NodeInfo, Pod, members_on
from computepool.model.snapshot import Snapshot
from computepool.model.taints import Taint, Toleration, tolerance_of, tolerated


class Reach:
    """Finds the nodes whose taints keep all of the pool's pods off."""

    def __init__(self, snapshot: Snapshot) -> None:
        """The pool's pods, running and waiting, are read only if a node has a taint in question."""
        self._snapshot = snapshot
        # By provider: what says which taints a pod tolerates that is sent there, for each of the pool's tolerations.
        self._tolerances: dict[str, list[Callable[[Sequence[Taint]], bool]]] = {}

    def closed(self, provider: Provider, infos: Sequence[NodeInfo]) -> frozenset[str]:
        """Return the names of the provider's nodes that no pod of the pool could use, if it was sent there.

        A pool without pods could use untainted nodes. If all nodes are tainted, its next pods are taken to tolerate
        that.
        """
        answers: dict[tuple[Taint, ...], bool] = {}
        closed: set[str] = set()
        for info in infos:
            taints = info.node.taints
            if taints:
                # Most nodes have equal taints.
                is_open = answers.get(taints)
                if is_open is None:
                    is_open = answers[taints] = self._admits(provider, taints)
                if not is_open:
                    closed.add(info.node.name)
        unknown = len(closed) == len(infos) and not self.tolerations
        return frozenset() if unknown else frozenset(closed)

    def _admits(self, provider: Provider, taints: Sequence[Taint]) -> bool:
        if tolerated(taints, provider.tolerations):
            return True
        tolerances = self._tolerances.get(provider.name)
        if tolerances is None:
            tolerances = [tolerance_of(own + provider.tolerations) for own in self.tolerations]
            self._tolerances[provider.name] = tolerances
        return any(tolerates(taints) for tolerates in tolerances)

    @cached_property
    def running(self) -> tuple[Pod, ...]:
        """One of each kind of the pool's running pods that may run on more than one node: agents tolerate everything.

        Pods of a kind may use the same nodes.
        """
        return _kinds(members_on(self._snapshot.nodes, self._snapshot.pool.name))

    @cached_property
    def waiting(self) -> tuple[Pod, ...]:
        """One of each kind of the pool's waiting pods, likewise."""
        return _kinds(self._snapshot.waiting)

    @cached_property
    def tolerations(self) -> tuple[tuple[Toleration, ...], ...]:
        """The different tolerations of the pool's pods, running and waiting, that may run on more than one node."""
        return tuple({pod.shape.tolerations for pod in (*self.waiting, *self.running)})


def _kinds(pods: Iterable[Pod]) -> tuple[Pod, ...]:
    """Return the first pod of each kind. Equal snapshots have equal kinds, whether or not their shapes are shared."""
    # Thousands of pods share a few shapes, so the shapes themselves are compared only once each.
    shared: dict[tuple[object, ...], Pod] = {}
    for pod in pods:
        key = (id(pod.shape), pod.owner_kind, pod.allowed, pod.movable)
        if key not in shared:
            shared[key] = pod
    kinds: dict[tuple[object, ...], Pod] = {}
    for pod in shared.values():
        if not pod.node_bound:
            kinds.setdefault((pod.shape, pod.owner_kind, pod.allowed, pod.movable), pod)
    return tuple(kinds.values())
