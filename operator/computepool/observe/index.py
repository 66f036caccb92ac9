"""Indexes of pods and nodes: what is bound where, what waits in which pool, and which nodes belong to which pool."""

from collections.abc import Iterable, Mapping

from computepool.assess.capacity.providers import Provider
from computepool.model.cluster import Node, Pod

PodsBy = dict[str, dict[str, Pod]]
"""By a key of the index: pods by uid. Only keys with pods are in it."""


class PodIndex:
    """Pods by what a pass asks for. The store tells it of every pod, and of the pools that select the pod."""

    def __init__(self) -> None:
        """Start empty."""
        self.bound: PodsBy = {}
        """By node, whether that node is seen or not."""
        self.nominated: PodsBy = {}
        """By node: pods that the scheduler will bind there after a preemption."""
        self.waiting: PodsBy = {}
        """By pool: pods that the pool selects and that are not bound, also pods that an older pool keeps."""
        self._in_namespace: dict[str, set[str]] = {}

    def in_namespace(self, namespace: str) -> Iterable[str]:
        """Return the uids of the pods in a namespace."""
        return self._in_namespace.get(namespace, ())

    def enter(self, pod: Pod) -> None:
        """Note the namespace of a new pod, which never changes."""
        self._in_namespace.setdefault(pod.namespace, set()).add(pod.uid)

    def leave(self, pod: Pod) -> None:
        """Forget the namespace of a pod that is gone."""
        uids = self._in_namespace[pod.namespace]
        uids.discard(pod.uid)
        if not uids:
            del self._in_namespace[pod.namespace]

    def add(self, pod: Pod, pools: tuple[str, ...]) -> None:
        """Add a pod, or its new state after `remove`. `pools`: the pools that select it."""
        uid = pod.uid
        if pod.node:
            self.bound.setdefault(pod.node, {})[uid] = pod
            return
        if pod.nominated:
            self.nominated.setdefault(pod.nominated, {})[uid] = pod
        for pool in pools:
            self.waiting.setdefault(pool, {})[uid] = pod

    def remove(self, pod: Pod, pools: tuple[str, ...]) -> None:
        """Remove a pod as it was added."""
        if pod.node:
            _remove(self.bound, pod.node, pod.uid)
            return
        if pod.nominated:
            _remove(self.nominated, pod.nominated, pod.uid)
        for pool in pools:
            _remove(self.waiting, pool, pod.uid)


class NodeIndex:
    """Nodes by name, and which pools have a provider that the node belongs to."""

    def __init__(self) -> None:
        """Start empty."""
        self.nodes: dict[str, Node] = {}
        self.tainted: dict[str, str] = {}
        """The nodes that carry the operator's own taint, and its value."""
        self._providers: dict[str, tuple[Provider, ...]] = {}
        self._pools_of: dict[str, tuple[str, ...]] = {}
        # By pool and node: the name of the node's provider.
        self._members: dict[str, dict[str, str]] = {}
        # By pool and provider: what `names` has returned since the pool's nodes have changed.
        self._names: dict[str, dict[str, tuple[str, ...]]] = {}

    def set_providers(self, providers: Mapping[str, tuple[Provider, ...]]) -> None:
        """Set the providers of each pool, and sort all nodes anew."""
        self._providers = dict(providers)
        self._members = {pool: {} for pool in providers}
        self._names.clear()
        self._pools_of.clear()
        for node in self.nodes.values():
            self._sort(node)

    def put(self, node: Node) -> set[str]:
        """Add or replace a node; return the pools that it belonged to or belongs to now."""
        before = self.pools_of(node.name)
        self.nodes[node.name] = node
        self._sort(node)
        if (value := node.quarantine) is None:
            self.tainted.pop(node.name, None)
        else:
            self.tainted[node.name] = value
        return {*before, *self.pools_of(node.name)}

    def drop(self, name: str) -> tuple[str, ...]:
        """Forget a node; return the pools that it belonged to."""
        self.nodes.pop(name, None)
        self.tainted.pop(name, None)
        pools = self._pools_of.pop(name, ())
        for pool in pools:
            del self._members[pool][name]
            self._names.pop(pool, None)
        return pools

    def pools_of(self, name: str) -> tuple[str, ...]:
        """Return the pools with a provider that the node belongs to."""
        return self._pools_of.get(name, ())

    def members(self, pool: str) -> Iterable[str]:
        """Return the names of the nodes that belong to a provider of the pool."""
        return self._members[pool]

    def names(self, pool: str, provider: str) -> tuple[str, ...]:
        """Return the names of a provider's nodes in alphabetical order. `provider`: empty for all of the pool.

        The same object is returned until the nodes change.
        """
        known = self._names.setdefault(pool, {})
        if provider not in known:
            own = (name for name, found in self._members[pool].items() if not provider or found == provider)
            known[provider] = tuple(sorted(own))
        return known[provider]

    def provider_of(self, name: str, pool: str) -> str | None:
        """Return the pool's provider that a node belongs to: empty for none, None while the node is not seen."""
        return self._members[pool].get(name, "") if name in self.nodes else None

    def _sort(self, node: Node) -> None:
        """Note which pools have a provider that the node belongs to. A node that stays keeps its place."""
        providers = {pool: _first_match(node, providers) for pool, providers in self._providers.items()}
        for pool, provider in providers.items():
            members = self._members[pool]
            if provider == members.get(node.name):
                continue
            self._names.pop(pool, None)
            if provider is None:
                del members[node.name]
            else:
                members[node.name] = provider
        self._pools_of[node.name] = tuple(pool for pool, provider in providers.items() if provider is not None)


def _first_match(node: Node, providers: Iterable[Provider]) -> str | None:
    return next((provider.name for provider in providers if provider.selector.matches(node.labels)), None)


def _remove(index: PodsBy, key: str, uid: str) -> None:
    pods = index.get(key)
    if pods is not None:
        pods.pop(uid, None)
        if not pods:
            del index[key]
