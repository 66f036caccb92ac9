"""What the API server of a simulated cluster holds, and what it answers to writes."""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from computepool.assess.capacity.providers import providers_of
from computepool.decide.plan import Admission
from computepool.model.api import ComputePool
from computepool.model.cluster import Node, Pod, Shape
from computepool.model.taints import Taint, Toleration
from computepool.simulate.clock import Clock
from computepool.simulate.pod_index import PodIndex


class PodChanged(msgspec.Struct, frozen=True):
    """A pod was created or changed."""

    pod: Pod


class PodGone(msgspec.Struct, frozen=True):
    """A pod is deleted."""

    pod: Pod
    finished: bool
    """Whether it ended by itself: then its owner creates no other pod in its place."""


class NodeChanged(msgspec.Struct, frozen=True):
    """A node was added or changed."""

    node: Node


Event = PodChanged | PodGone | NodeChanged


class Cluster:
    """Nodes, pods and one pool. Every change gets the next version, and every listener learns it at once."""

    def __init__(self, pool: ComputePool, nodes: Iterable[Node], clock: Clock, *, grace_seconds: float = 0.0) -> None:
        """`grace_seconds`: how long evicted pods take to end; 0: they are gone at once."""
        self.pool = pool
        """With the status that was written last."""
        self.providers = providers_of(pool)
        self.grace_seconds = grace_seconds
        self.start_seconds = 0.0
        """How long pods take from their binding until they are Ready."""
        self.nodes: dict[str, Node] = {}
        self.pods: dict[str, Pod] = {}
        """By uid."""
        self.admission = Admission()
        """What new pods are given that have no say of their own on standbys."""
        self.held_by_budget: Callable[[Pod], bool] = lambda _pod: False
        """Says whether a disruption budget refuses to let a pod be evicted."""
        self.listeners: list[Callable[[Event], None]] = []
        self.version = 0
        """The resourceVersion of the latest change."""
        self._clock = clock
        self._adopted: set[str] = set()
        self._index = PodIndex()
        # By name: at which version it was found, and the list.
        self._lists: dict[str, tuple[int, list[Pod]]] = {}
        self._shapes: dict[Shape, Shape] = {}
        self._taints: dict[tuple[Taint, ...], tuple[Taint, ...]] = {}
        self._provider_of: dict[str, str] = {}
        for node in nodes:
            self._put_node(node)

    # --- pods

    def adopt_pod(self, pod: Pod) -> None:
        """Take in a pod of a real cluster as it is. If it is not Ready, it stays so: nothing tells when it will be."""
        self._adopted.add(pod.uid)
        self._put_pod(pod)

    def create_pod(self, pod: Pod) -> Pod:
        """Create a pod as the API server does: with a time in whole seconds, and through admission."""
        created = float(int(self._clock.now))
        shape = pod.shape
        if pod.allowed is None and not pod.gated:
            missing = tuple(wanted for wanted in self.admission.tolerations if wanted not in shape.tolerations)
            shape = self.tolerating(shape, (*shape.tolerations, *missing))
        return self._put_pod(msgspec.structs.replace(pod, shape=shape, created=created, since=created))

    def update_pod(self, uid: str, **fields: Any) -> Pod | None:
        """Change fields of a pod; return it, or None where it is gone or would lose a toleration, which is refused."""
        before = self.pods.get(uid)
        if before is None:
            return None
        after = msgspec.structs.replace(before, **fields)
        if not set(after.shape.tolerations).issuperset(before.shape.tolerations):
            return None
        return self._put_pod(after)

    def bind_pod(self, uid: str, node: str) -> None:
        """Bind a pod to a node, where it is Ready after `start_seconds`."""
        ready = not self.start_seconds
        self._adopted.discard(uid)
        self.update_pod(
            uid,
            node=node,
            nominated="",
            unschedulable=False,
            ready=ready,
            has_run=ready,
            started=self._clock.now,
        )

    def make_pods_ready(self) -> None:
        """Make the pods Ready that have started for long enough and do not fail, on nodes that answer."""
        for pod in self._starting():
            if (pod.started or 0.0) + self.start_seconds <= self._clock.now:
                self.update_pod(pod.uid, ready=True, has_run=True)

    def next_ready(self) -> float | None:
        """Return when the next pod becomes Ready; None: no pod is about to."""
        return min(((pod.started or 0.0) + self.start_seconds for pod in self._starting()), default=None)

    def _starting(self) -> list[Pod]:
        return self._listed("starting", lambda: self._index.starting(self.is_answering))

    def evict_pod(self, uid: str) -> bool:
        """Ask a pod to end; return False where a disruption budget refuses. A pod that ends already may go on."""
        pod = self.pods[uid]
        if pod.deleting is None and self.held_by_budget(pod):
            return False
        self.delete_pod(uid)
        return True

    def delete_pod(self, uid: str) -> None:
        """Ask a pod to end. It stays for its grace period, and beyond that for as long as its node does not answer."""
        pod = self.pods[uid]
        if not pod.node or (self.is_answering(pod) and not self.grace_seconds):
            self._drop_pod(pod, finished=False)
        elif pod.deleting is None:
            self.update_pod(uid, deleting=self._clock.now + self.grace_seconds)

    def finish_pod(self, uid: str) -> None:
        """Let a pod end by itself."""
        self._drop_pod(self.pods[uid], finished=True)

    def end_deleted_pods(self) -> None:
        """Remove the pods whose grace period is over, on nodes that answer."""
        for pod in self._ending():
            if pod.deleting is not None and pod.deleting <= self._clock.now:
                self._drop_pod(pod, finished=False)

    def next_end(self) -> float | None:
        """Return when the next grace period is over on a node that answers; None: no pod is about to end."""
        return min((pod.deleting for pod in self._ending() if pod.deleting is not None), default=None)

    def _ending(self) -> list[Pod]:
        return self._listed("ending", lambda: self._index.ending(lambda pod: not pod.node or self.is_answering(pod)))

    def _listed(self, name: str, find: Callable[[], list[Pod]]) -> list[Pod]:
        """Return a list that is found anew after each change alone: pods on nodes that are gone end for ever."""
        version, found = self._lists.get(name, (-1, []))
        if version != self.version:
            found = find()
            self._lists[name] = self.version, found
        return found

    # --- nodes

    def add_node(self, node: Node) -> None:
        """Let a node join."""
        self._put_node(node)

    def update_node(self, name: str, **fields: Any) -> None:
        """Change fields of a node."""
        self._put_node(msgspec.structs.replace(self.nodes[name], **fields))

    # --- what is there

    def waiting_pods(self) -> list[Pod]:
        """Return the pods that are not bound."""
        return self._index.waiting()

    def pods_on(self, provider: str) -> list[Pod]:
        """Return the pods that are bound to a provider's nodes."""
        return [pod for pod in self.pods.values() if pod.node and self.provider_of(pod.node) == provider]

    def provider_of(self, node: str) -> str:
        """Return the name of the provider that has a node; empty for a node of no provider."""
        return self._provider_of[node]

    def is_answering(self, pod: Pod) -> bool:
        """Say whether the node that a pod is bound to answers."""
        return self.nodes[pod.node].ready != "Unknown"

    def tolerating(self, shape: Shape, tolerations: tuple[Toleration, ...]) -> Shape:
        """Return the shape with these tolerations in place of its own. Equal shapes are one, as in the operator."""
        made = msgspec.structs.replace(shape, tolerations=tolerations)
        return self._shapes.setdefault(made, made)

    # --- inside

    def _put_pod(self, pod: Pod) -> Pod:
        stored = msgspec.structs.replace(pod, resource_version=self._next_version())
        self.pods[pod.uid] = stored
        self._index.put(stored, starts=pod.uid not in self._adopted)
        self._publish(PodChanged(stored))
        return stored

    def _drop_pod(self, pod: Pod, *, finished: bool) -> None:
        del self.pods[pod.uid]
        self._index.drop(pod.uid)
        self._next_version()
        self._publish(PodGone(pod, finished))

    def _put_node(self, node: Node) -> None:
        # Equal taints are one object, as in the operator.
        taints = self._taints.setdefault(node.taints, node.taints)
        stored = msgspec.structs.replace(node, taints=taints, resource_version=self._next_version())
        self.nodes[node.name] = stored
        matching = (provider.name for provider in self.providers if provider.selector.matches(node.labels))
        self._provider_of[node.name] = next(matching, "")
        self._publish(NodeChanged(stored))

    def _next_version(self) -> int:
        self.version += 1
        return self.version

    def _publish(self, event: Event) -> None:
        for listener in self.listeners:
            listener(event)
