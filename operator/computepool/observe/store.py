"""The view of the cluster: what the reflectors delivered, indexed by what a pass asks for.

Everything handed out is frozen; an object that changes is replaced as a whole, so an earlier snapshot stays as it was.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

import msgspec

from computepool.assess.capacity.providers import Provider, providers_of
from computepool.assess.demand.claims import Claimant, claim, claimants
from computepool.model.accelerators import share_of
from computepool.model.api import ComputePool
from computepool.model.cluster import Node, NodeInfo, Pod, node_info
from computepool.model.moves import PodMove
from computepool.model.snapshot import Snapshot
from computepool.observe.failures import LONGEST_SECONDS, FailedPod, Failures
from computepool.observe.heartbeats import Heartbeats
from computepool.observe.inflight import InFlight
from computepool.observe.moves import Moves
from computepool.observe.records import Namespace

LabelFix = Callable[[str, float], None]


class Store:
    """Nodes, pods, namespaces and pools, and which pools a change concerns."""

    def __init__(
        self,
        mark: LabelFix,
        *,
        wall: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
        reserved_namespaces: Iterable[str] = (),
    ) -> None:
        """Start empty. `mark(pool, at)` is called for each pool that a change concerns.

        `wall` is the time of day, `clock` the steady one that stamps what comes in. Pods in `reserved_namespaces` count
        where they run, and belong to no pool.
        """
        self._mark = mark
        self._wall = wall
        self._reserved = frozenset(reserved_namespaces)
        self._nodes: dict[str, Node] = {}
        self._pods: dict[str, Pod] = {}
        self._namespaces: dict[str, Mapping[str, str]] = {}
        self._pools: dict[str, ComputePool] = {}
        self._by_age: tuple[Claimant, ...] = ()
        self._targets: dict[str, tuple[Provider, ...]] = {}
        self._claims: dict[str, tuple[str, ...]] = {}
        # The pods that wait and may go to a standby of their pool by their own tolerations, labelled or not.
        self._may_burst_unpatched: set[str] = set()
        # By namespace: the uids of its pods.
        self._in_namespace: dict[str, set[str]] = {}
        self._bound: dict[str, dict[str, Pod]] = {}
        self._nominated: dict[str, dict[str, Pod]] = {}
        self._waiting: dict[str, dict[str, Pod]] = {}
        # By pool that selects pods and does not keep them: how many each older pool keeps.
        self._lost: dict[str, Counter[str]] = {}
        self._uses: dict[str, NodeInfo] = {}
        self._node_pools: dict[str, tuple[str, ...]] = {}
        self._members: dict[str, dict[str, None]] = {}
        # The nodes that carry the operator's own taint, and its value.
        self._tainted: dict[str, str] = {}
        self.in_flight = InFlight()
        self.moves = Moves(wall)
        self.heartbeats = Heartbeats(clock=clock, wall=wall)
        self.failures = Failures(wall)

    # --- pools

    @property
    def pools(self) -> Mapping[str, ComputePool]:
        """The pools by name."""
        return self._pools

    def put_pool(self, pool: ComputePool, at: float) -> None:
        """Add or replace a pool; claims and memberships are worked out anew where its spec changed."""
        before = self._pools.get(pool.name)
        self._pools[pool.name] = pool
        if before is None:
            self.moves.take(pool.name)
        if before is None or before.metadata.uid != pool.metadata.uid or before.spec != pool.spec:
            self._pools_changed(at)

    def drop_pool(self, name: str, at: float) -> None:
        """Forget a pool; its pods may now belong to another."""
        if self._pools.pop(name, None) is not None:
            self.moves.forget(name)
            self._pools_changed(at)

    def _pools_changed(self, at: float) -> None:
        self._by_age = claimants(self._pools.values())
        self._targets = {name: providers_of(pool) for name, pool in self._pools.items()}
        self._members = {name: {} for name in self._pools}
        self._uses.clear()
        for node in self._nodes.values():
            self._place(node)
        self._reclaim(self._pods.values())
        windows = [pool.spec.health.black_holes.window_seconds for pool in self._pools.values()]
        self.failures.keep(max(windows, default=LONGEST_SECONDS))
        self.mark_all(at)

    def mark_all(self, at: float) -> None:
        """Have every pool looked at again."""
        for name in self._pools:
            self._mark(name, at)

    # --- namespaces

    def put_namespace(self, namespace: Namespace, at: float) -> None:
        """Add or replace a namespace; where its labels changed, its pods may change pools."""
        if self._namespaces.get(namespace.name) == namespace.labels:
            return
        self._namespaces[namespace.name] = namespace.labels
        self._namespace_changed(namespace.name, at)

    def drop_namespace(self, name: str, at: float) -> None:
        """Forget a namespace; pods still in it belong to the pools that do not ask for its labels."""
        if self._namespaces.pop(name, None) is not None:
            self._namespace_changed(name, at)

    def _namespace_changed(self, name: str, at: float) -> None:
        concerned = [self._pods[uid] for uid in self._in_namespace.get(name, ())]
        if concerned and self._reclaim(concerned):
            self.mark_all(at)

    # --- nodes

    def put_node(self, node: Node, at: float) -> None:
        """Add or replace a node."""
        before = self._nodes.get(node.name)
        self._nodes[node.name] = node
        if before is not None and msgspec.structs.replace(before, resource_version=node.resource_version) == node:
            return
        concerned = set(self._node_pools.get(node.name, ()))
        self._place(node)
        self._note_taint(node)
        self._uses.pop(node.name, None)
        if before is None:
            concerned.update(self._owners(node.name))
        for pool in concerned.union(self._node_pools[node.name]):
            self._mark(pool, at)

    def drop_node(self, name: str, at: float) -> None:
        """Forget a node; pods bound to it stay until they are deleted themselves."""
        self._nodes.pop(name, None)
        self._tainted.pop(name, None)
        self._uses.pop(name, None)
        concerned = self._node_pools.pop(name, ())
        for pool in concerned:
            self._members[pool].pop(name, None)
        for pool in self._owners(name).union(concerned):
            self._mark(pool, at)

    def _note_taint(self, node: Node) -> None:
        if (value := node.quarantine) is None:
            self._tainted.pop(node.name, None)
        else:
            self._tainted[node.name] = value

    def _owners(self, node: str) -> set[str]:
        """Return the pools whose pods are bound to a node: astray while it is not seen."""
        return {self._claims[uid][0] for uid in self._bound.get(node, ()) if self._claims.get(uid)}

    def _place(self, node: Node) -> None:
        for pool in self._node_pools.get(node.name, ()):
            if pool in self._members:
                self._members[pool].pop(node.name, None)
        names = tuple(
            pool for pool, targets in self._targets.items() if any(t.selector.matches(node.labels) for t in targets)
        )
        self._node_pools[node.name] = names
        for pool in names:
            self._members[pool][node.name] = None

    # --- pods

    def put_pod(self, pod: Pod, at: float, *, listed: bool = False) -> None:
        """Add or replace a pod. What comes is news: that versions only grow is the reflector's care.

        `listed`: it was found in a list, so that what has happened to it may be older than what was seen before.
        """
        if pod.finished:
            self.drop_pod(pod.uid, at, listed=listed)
            return
        before = self._pods.get(pod.uid)
        if before is not None:
            pod = self._since(before, pod)
            if pod.deleting is not None and before.deleting is None and not listed:
                self.moves.left(pod.uid)
            if pod.resource_version < before.resource_version:
                # The cluster was restored from a backup: what was under way may be lost with the rest.
                self.in_flight.drop(pod.uid)
        else:
            self._in_namespace.setdefault(pod.namespace, set()).add(pod.uid)
            if self.moves.order:
                pod = msgspec.structs.replace(pod, appeared=self.moves.order)
        self._pods[pod.uid] = pod
        landed = self.in_flight.seen(pod.uid, pod.resource_version) or self.in_flight.shown(pod)
        self._note_failing(before, pod, at)
        if before is not None and not landed and _same(before, pod, claimed=bool(self._claims[pod.uid])):
            return
        if before is not None:
            self._unindex(before, at)
        if before is None or before.labels is not pod.labels or before.shape is not pod.shape:
            self._claims[pod.uid] = self._claim(pod)
        self._note_may_burst_unpatched(pod)
        self._index(pod, at)

    def drop_pod(self, uid: str, at: float, *, listed: bool = False) -> None:
        """Forget a pod. `listed`: because a list lacks it."""
        pod = self._pods.pop(uid, None)
        if pod is not None:
            if pod.deleting is None and not listed:
                self.moves.left(uid)
            self._unindex(pod, at)
            self._claims.pop(uid, None)
            self._may_burst_unpatched.discard(uid)
            _remove_from(self._in_namespace, pod.namespace, uid)
            self.failures.recovered(uid)
        self.in_flight.drop(uid)

    def put_failed_pod(self, pod: FailedPod, at: float, *, listed: bool) -> None:
        """Note a pod that has ended as Failed; `listed`: it was found in a list, and may have been so for long."""
        if self.failures.ended(pod, listed=listed):
            self._mark_pools(self._node_pools.get(pod.node, ()), at)

    def _note_failing(self, before: Pod | None, pod: Pod, at: float) -> None:
        """Note a pod whose containers do not start, or start again: of any pool, as it says something of the node."""
        if pod.failing == (before is not None and before.failing):
            return
        if pod.failing and pod.node:
            self.failures.stuck(pod)
            self._mark_pools(self._node_pools.get(pod.node, ()), at)
        else:
            self.failures.recovered(pod.uid)

    def _since(self, before: Pod, pod: Pod) -> Pod:
        """Return a pod's new state with what is only known of the one before."""
        since = self._wall() if before.gated and not pod.gated else before.since
        if since == pod.since and before.appeared == pod.appeared:
            return pod
        return msgspec.structs.replace(pod, since=since, appeared=before.appeared)

    def _claim(self, pod: Pod) -> tuple[str, ...]:
        return () if pod.namespace in self._reserved else claim(pod, self._by_age, self._namespaces)

    def _reclaim(self, pods: Iterable[Pod]) -> bool:
        changed = False
        for pod in list(pods):
            claims = self._claim(pod)
            if claims != self._claims.get(pod.uid):
                changed = True
                self._unindex(pod, None)
                self._claims[pod.uid] = claims
                self._index(pod, None)
            self._note_may_burst_unpatched(pod)
        return changed

    def _note_may_burst_unpatched(self, pod: Pod) -> None:
        """Note whether the policy, or its owner, has let a waiting pod go to a standby: it may land there any time."""
        claims = self._claims.get(pod.uid)
        waits = not (pod.node or pod.gated) and pod.deleting is None
        if claims and waits and any(target.tolerated_by(pod.shape) for target in self._targets[claims[0]][1:]):
            self._may_burst_unpatched.add(pod.uid)
        else:
            self._may_burst_unpatched.discard(pod.uid)

    def _index(self, pod: Pod, at: float | None) -> None:
        claims = self._claims.get(pod.uid, ())
        if pod.node:
            self._bound.setdefault(pod.node, {})[pod.uid] = pod
            self._node_changed(pod.node, at)
        elif pod.nominated:
            self._nominated.setdefault(pod.nominated, {})[pod.uid] = pod
            self._node_changed(pod.nominated, at)
        for pool in claims if not pod.node else ():
            self._waiting.setdefault(pool, {})[pod.uid] = pod
        for pool in claims[1:]:
            self._lost.setdefault(pool, Counter())[claims[0]] += 1
        self._mark_pools(claims, at)

    def _unindex(self, pod: Pod, at: float | None) -> None:
        if pod.node:
            _remove(self._bound, pod.node, pod.uid)
            self._node_changed(pod.node, at)
        elif pod.nominated:
            _remove(self._nominated, pod.nominated, pod.uid)
            self._node_changed(pod.nominated, at)
        claims = self._claims.get(pod.uid, ())
        for pool in claims if not pod.node else ():
            _remove(self._waiting, pool, pod.uid)
        for pool in claims[1:]:
            self._lost[pool][claims[0]] -= 1
        if self._reserves(pod) and at is not None:
            # The place that every other pool has kept for it may be free now.
            self.mark_all(at)
        self._mark_pools(claims, at)

    def _reserves(self, pod: Pod) -> bool:
        sent = pod.burst or pod.uid in self.in_flight or pod.uid in self._may_burst_unpatched
        return bool(not pod.node and self._claims.get(pod.uid) and sent)

    def _node_changed(self, node: str, at: float | None) -> None:
        self._uses.pop(node, None)
        self._mark_pools(self._node_pools.get(node, ()), at)

    def _mark_pools(self, pools: Iterable[str], at: float | None) -> None:
        if at is not None:
            for pool in pools:
                self._mark(pool, at)

    # --- what time brings

    def tick(self, at: float, *, connected: bool) -> None:
        """Look, about once a second, for what shows in no event: nodes that fell silent, and what is too old to matter.

        `connected`: whether heartbeats come in as they happen.
        """
        self.heartbeats.tick(connected=connected)
        patient: dict[int, list[str]] = {}
        for name, pool in self._pools.items():
            patient.setdefault(pool.spec.health.silent_seconds, []).append(name)
            self.moves.prune(name, float(pool.spec.failback.min_dwell_seconds))
        self.heartbeats.asked_for(patient)
        for seconds, names in patient.items():
            if seconds:
                self._mark_turned(seconds, names, at)

    def _mark_turned(self, seconds: int, names: list[str], at: float) -> None:
        """Mark those of the pools that have a node which fell silent for so long, or was heard again."""
        turned, concerns_all = self.heartbeats.turned(seconds)
        concerned = {pool for node in turned for pool in self._node_pools.get(node, ())}
        self._mark_pools((name for name in names if concerns_all or name in concerned), at)

    # --- what a pass reads

    def pod(self, uid: str) -> Pod | None:
        """Return a pod by uid."""
        return self._pods.get(uid)

    def is_leaving(self, uid: str) -> bool:
        """Say whether a pod is seen to be terminating, or is gone."""
        pod = self._pods.get(uid)
        return pod is None or pod.deleting is not None

    def pods(self) -> Iterable[Pod]:
        """Return all pods."""
        return self._pods.values()

    def claims_of(self, uid: str) -> tuple[str, ...]:
        """Return the pools that select a pod, the one that keeps it first."""
        return self._claims.get(uid, ())

    def node(self, name: str) -> Node | None:
        """Return a node by name."""
        return self._nodes.get(name)

    def tainted(self) -> Mapping[str, str]:
        """Return the nodes that carry the operator's own taint, and its value."""
        return self._tainted

    def pools_of_node(self, name: str) -> tuple[str, ...]:
        """Return the pools one of whose providers has the node."""
        return self._node_pools.get(name, ())

    def sizes(self) -> tuple[int, int]:
        """Return how many nodes and pods are held."""
        return len(self._nodes), len(self._pods)

    def snapshot(self, name: str, *, stale: str = "") -> Snapshot:
        """Freeze what a pass over one pool decides on. Raises KeyError for a pool that is not there."""
        pool = self._pools[name]
        lost = self._lost.get(name, Counter())
        return Snapshot(
            pool=pool,
            nodes=tuple(self._use(node) for node in self._members[name]),
            waiting=tuple(pod for uid, pod in self._waiting.get(name, {}).items() if self._claims[uid][0] == name),
            foreign=tuple(self._foreign(name)),
            in_flight=self.in_flight.offers(),
            on_unknown_nodes=tuple(self._astray(name)),
            conflicts=lost.total(),
            conflicting_pool=next((claimant.pool for claimant in self._by_age if lost[claimant.pool]), ""),
            stale=stale,
            moves=self._moves(name),
            moves_since=self.moves.since(name),
            moves_forgotten=self.moves.forgotten(name),
            heartbeats=self.heartbeats.seen(),
            listening_since=self.heartbeats.listening_since,
            failures=self.failures.all(),
        )

    def _moves(self, name: str) -> tuple[PodMove, ...]:
        targets = self._targets[name]

        def provider_of(pod: Pod) -> str | None:
            node = self._nodes.get(pod.node)
            if node is None:
                return None
            return next((target.name for target in targets if target.selector.matches(node.labels)), "")

        return self.moves.followed(name, lambda: self._own(name), self._pods.get, provider_of)

    def _own(self, name: str) -> Iterable[Pod]:
        """Yield the pool's pods, waiting and bound."""
        for uid, pod in self._waiting.get(name, {}).items():
            if self._claims[uid][0] == name:
                yield pod
        for node in self._members[name]:
            yield from self._use(node).members(name)
        yield from self._astray(name)

    def _foreign(self, name: str) -> Iterable[Pod]:
        for pool, pods in self._waiting.items():
            if pool != name:
                for uid, pod in pods.items():
                    if self._claims[uid][0] == pool and self._reserves(pod):
                        yield pod

    def _astray(self, name: str) -> Iterable[Pod]:
        for node in self._bound.keys() - self._nodes.keys():
            for uid, pod in self._bound[node].items():
                if self._claims.get(uid, ())[:1] == (name,):
                    yield pod

    def _use(self, name: str) -> NodeInfo:
        info = self._uses.get(name)
        if info is None:
            info = self._uses[name] = self._sum_up(name)
        return info

    def _sum_up(self, name: str) -> NodeInfo:
        pods = self._bound.get(name, {})
        members: dict[str, list[Pod]] = {}
        for uid, pod in pods.items():
            if claims := self._claims.get(uid):
                members.setdefault(claims[0], []).append(pod)
        resource = {pool: self._pools[pool].spec.accelerator.resource_name for pool in members}
        return node_info(
            self._nodes[name],
            pods.values(),
            self._nominated.get(name, {}).values(),
            {pool: share_of(own, resource[pool]) for pool, own in members.items()},
        )


def _remove(index: dict[str, dict[str, Pod]], key: str, uid: str) -> None:
    pods = index.get(key)
    if pods is not None:
        pods.pop(uid, None)
        if not pods:
            del index[key]


def _remove_from(index: dict[str, set[str]], key: str, uid: str) -> None:
    uids = index.get(key)
    if uids is not None:
        uids.discard(uid)
        if not uids:
            del index[key]


def _same(before: Pod, after: Pod, *, claimed: bool) -> bool:
    """Say whether nothing that decisions read has changed. Of a pod that is no pool's they read less."""
    if not claimed and (before.ready is not after.ready or before.failing is not after.failing):
        before = msgspec.structs.replace(before, ready=after.ready, failing=after.failing)
    return msgspec.structs.replace(before, resource_version=after.resource_version) == after
