"""The view of the cluster: what the reflectors delivered, indexed by what a pass asks for.

Everything handed out is frozen; an object that changes is replaced as a whole, so an earlier snapshot stays as it was.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import msgspec

from computepool.assess.capacity.providers import Provider, providers_of
from computepool.assess.health.silence import counted_silence
from computepool.model.accelerators import requests_devices, share_of
from computepool.model.api import ComputePool
from computepool.model.cluster import Node, NodeInfo, Offer, Pod, RefusedOffer, node_info
from computepool.model.demand import Points
from computepool.model.moves import PodMove
from computepool.model.signals import SignalData
from computepool.model.snapshot import Snapshot
from computepool.observe.crashes import Crashes
from computepool.observe.decode import Namespace
from computepool.observe.failures import LONGEST_SECONDS, FailedPod, Failures
from computepool.observe.heartbeats import Heartbeats
from computepool.observe.in_flight_offers import InFlight
from computepool.observe.index import NodeIndex, PodIndex
from computepool.observe.moves import Moves
from computepool.observe.pod_claims import Claims
from computepool.observe.refused_offers import RefusedOffers
from computepool.observe.selections import Selections
from computepool.prometheus.promql import Names


class Enqueue(Protocol):
    """Has a pool looked at because of a change; `minor`: the change lets nothing be decided, and may wait."""

    def __call__(self, pool: str, at: float, /, *, minor: bool = False) -> None:
        """Take a pool, by name, and the time of the change on the monotonic clock."""


class Store:
    """Nodes, pods, namespaces and pools, and which pools a change concerns."""

    def __init__(
        self,
        enqueue: Enqueue,
        *,
        wall: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
        reserved_namespaces: Iterable[str] = (),
    ) -> None:
        """Start empty. `enqueue` is called for each pool that a change concerns.

        `wall` is the time of day, `clock` the steady clock that stamps what comes in. Pods in `reserved_namespaces`
        count where they run, and belong to no pool.
        """
        self._enqueue = enqueue
        self._wall = wall
        self._pools: dict[str, ComputePool] = {}
        self._providers: dict[str, tuple[Provider, ...]] = {}
        self._pods: dict[str, Pod] = {}
        self._claims = Claims(reserved_namespaces)
        self._pod_index = PodIndex()
        self._node_index = NodeIndex()
        self._infos: dict[str, NodeInfo] = {}
        # The pods that wait and may go to a standby of their pool by their own tolerations, labelled or not.
        self._may_burst_unpatched: set[str] = set()
        self.in_flight = InFlight()
        self.refused_offers = RefusedOffers()
        self.moves = Moves(wall)
        self.heartbeats = Heartbeats(clock=clock, wall=wall)
        self.failures = Failures(wall)
        self.crashes = Crashes(wall)
        self._schedulers: set[str] = set()
        self._signals: dict[str, Mapping[str, SignalData]] = {}
        self._past_demand: dict[str, Points] = {}
        self._selections = Selections(self._claims, self._pods_in)

    # --- pools

    @property
    def pools(self) -> Mapping[str, ComputePool]:
        """The pools by name."""
        return self._pools

    def put_pool(self, pool: ComputePool, at: float) -> None:
        """Add or replace a pool; claims and memberships are worked out anew if its spec changed."""
        before = self._pools.get(pool.name)
        self._pools[pool.name] = pool
        if before is None:
            self.moves.take(pool.name)
        if before is None or before.metadata.uid != pool.metadata.uid or before.spec != pool.spec:
            self._forget_refusals(pool.name)
            self._pools_changed(at)

    def drop_pool(self, name: str, at: float) -> None:
        """Forget a pool; its pods may now belong to another pool."""
        if self._pools.pop(name, None) is not None:
            self.moves.forget(name)
            self._signals.pop(name, None)
            self._past_demand.pop(name, None)
            self._selections.forget(name)
            self._forget_refusals(name)
            self._pools_changed(at)

    def _forget_refusals(self, pool: str) -> None:
        """Forget the refusals of the pool's pods: under another spec the next patches may be other patches."""
        for uid in self.refused_offers.uids():
            if pool in self._claims.of(uid):
                self.refused_offers.drop(uid)

    def _pools_changed(self, at: float) -> None:
        self._claims.set_pools(self._pools.values())
        self._providers = {name: providers_of(pool) for name, pool in self._pools.items()}
        self._node_index.set_providers(self._providers)
        self._infos.clear()
        self._reclaim(self._pods.values())
        windows = [pool.spec.health.black_holes.window_seconds for pool in self._pools.values()]
        self.failures.keep(max(windows, default=LONGEST_SECONDS))
        self.enqueue_all(at)

    def enqueue_all(self, at: float, *, minor: bool = False) -> None:
        """Have every pool looked at again."""
        self._enqueue_pools(self._pools, at, minor=minor)

    # --- namespaces

    def put_namespace(self, namespace: Namespace, at: float) -> None:
        """Add or replace a namespace; if its labels changed, its pods may change pools."""
        if self._claims.put_namespace(namespace):
            self._namespace_changed(namespace.name, at)

    def drop_namespace(self, name: str, at: float) -> None:
        """Forget a namespace; pods still in it belong to the pools that do not ask for its labels."""
        if self._claims.drop_namespace(name):
            self._namespace_changed(name, at)

    def _namespace_changed(self, name: str, at: float) -> None:
        concerned = [self._pods[uid] for uid in self._pod_index.in_namespace(name)]
        if concerned and self._reclaim(concerned):
            self.enqueue_all(at)
        self._enqueue_pools(self._selections.pools, at, minor=True)

    def _pods_in(self, namespace: str) -> Iterable[Pod]:
        return (self._pods[uid] for uid in self._pod_index.in_namespace(namespace))

    # --- nodes

    def put_node(self, node: Node, at: float) -> None:
        """Add or replace a node."""
        before = self._node_index.nodes.get(node.name)
        if before is not None and msgspec.structs.replace(before, resource_version=node.resource_version) == node:
            self._node_index.nodes[node.name] = node
            return
        concerned = self._node_index.put(node)
        self._infos.pop(node.name, None)
        if before is None:
            concerned |= self._owners_on(node.name)
        self._enqueue_pools(concerned, at)

    def drop_node(self, name: str, at: float) -> None:
        """Forget a node; pods bound to it stay until they are deleted themselves."""
        self._infos.pop(name, None)
        self._enqueue_pools(self._owners_on(name).union(self._node_index.drop(name)), at)

    def _owners_on(self, node: str) -> set[str]:
        """Return the pools with pods on a node: their pods are on an unknown node until it is seen."""
        return {pool for uid in self._pod_index.bound.get(node, ()) if (pool := self._claims.owner(uid))}

    # --- pods

    def put_pod(self, pod: Pod, at: float, *, listed: bool = False) -> None:
        """Add or replace a pod. The reflector sees to it that versions only grow.

        `listed`: it was found in a list, so that what has happened to it may be older than what was seen before.
        """
        self._note_scheduler(pod, at)
        if pod.finished:
            self.drop_pod(pod.uid, at, listed=listed)
            return
        before = self._pods.get(pod.uid)
        if before is None:
            self._enter(pod, at)
        else:
            self._change(before, self._with_history(before, pod), at, listed=listed)
        if pod.node:
            # No pod is moved while its patch is under way (invariant 8). So without this, a patch without an answer
            # would keep a bound pod on a failed node.
            self.in_flight.drop(pod.uid)
            self.refused_offers.drop(pod.uid)

    def _note_scheduler(self, pod: Pod, at: float) -> None:
        """Note that the pod's scheduler is at work: it has bound the pod, or judged the pod unschedulable."""
        name = pod.shape.scheduler
        if name and (pod.node or pod.unschedulable) and name not in self._schedulers:
            self._schedulers.add(name)
            self.enqueue_all(at)

    def _enter(self, pod: Pod, at: float) -> None:
        """Add a pod that is not known yet."""
        if self.moves.order:
            pod = msgspec.structs.replace(pod, appeared=self.moves.order)
        self._pod_index.enter(pod)
        self._pods[pod.uid] = pod
        self._note_failing(None, pod, at)
        self._add(pod, self._claim(pod), at)
        self._enqueue_pools(self._selections.changed_by(None, pod), at, minor=True)

    def _change(self, before: Pod, pod: Pod, at: float, *, listed: bool) -> None:
        """Replace a pod, and enqueue the pools if decisions read anything of what changed."""
        if pod.deleting is not None and before.deleting is None and not listed:
            self.moves.left(pod.uid)
        self._pods[pod.uid] = pod
        if before.labels is not pod.labels or before.shape is not pod.shape:
            self._enqueue_pools(self._selections.changed_by(before, pod), at, minor=True)
        held_place = self._holds_place(before)
        ours = self.in_flight.carried_by(pod)
        settled = self._offer_settled(before, pod)
        self._note_failing(before, pod, at)
        pools = self._claims.of(pod.uid)
        if not settled and _same(before, pod, claimed=bool(pools)):
            return
        minor = _is_minor(before, pod, ours=ours) and not any(map(self.moves.any_under_way, pools))
        self._remove(before, pools, at, minor=minor)
        if before.labels is not pod.labels or before.shape is not pod.shape:
            earlier, pools = pools, self._claim(pod)
            if pools != earlier or before.shape != pod.shape:
                # The next patch is another patch.
                self.refused_offers.drop(pod.uid)
        self._add(pod, pools, at, minor=minor)
        if held_place and not (ours and not pod.node and not before.burst):
            # The place that every other pool has kept for it may be free now. Our first patch alone frees no place.
            self.enqueue_all(at, minor=minor)

    def _offer_settled(self, before: Pod, pod: Pod) -> bool:
        """Say whether the new state of a pod ends the wait for an offer that is under way."""
        if pod.resource_version < before.resource_version and pod.uid in self.in_flight:
            # The cluster was restored from a backup: what was under way may be lost with the rest.
            self.in_flight.drop(pod.uid)
            return True
        return self.in_flight.seen(pod.uid, pod.resource_version) or self.in_flight.shown(pod)

    def drop_pod(self, uid: str, at: float, *, listed: bool = False) -> None:
        """Forget a pod. `listed`: because a list lacks it."""
        pod = self._pods.pop(uid, None)
        if pod is not None:
            if pod.deleting is None and not listed:
                self.moves.left(uid)
            if self._holds_place(pod):
                self.enqueue_all(at)
            self._remove(pod, self._claims.of(uid), at)
            self._claims.drop(uid)
            self._may_burst_unpatched.discard(uid)
            self._pod_index.leave(pod)
            self._enqueue_pools(self._selections.changed_by(pod, None), at, minor=True)
            self.failures.recovered(uid)
            if pod.has_run:
                self.failures.started(uid)
        self.in_flight.drop(uid)
        self.refused_offers.drop(uid)

    def start_offer(self, uid: str, offer: Offer) -> None:
        """Note that the patch of a pod begins, unless the pod is bound or gone by now."""
        pod = self._pods.get(uid)
        if pod is not None and not pod.node:
            self.in_flight.start(uid, offer)

    def refuse_offer(self, uid: str, refused: RefusedOffer) -> None:
        """Note that the API server has refused the patch of a pod, unless the pod is bound or gone by now."""
        pod = self._pods.get(uid)
        if pod is not None and not pod.node:
            self.refused_offers.note(uid, refused)

    def put_failed_pod(self, pod: FailedPod, at: float, *, listed: bool) -> None:
        """Note a pod that has ended as Failed. `listed`: it was found in a list, and may have failed long ago."""
        known, failed = self._pods.get(pod.uid), pod.pod
        crashed_at = min(self._wall(), failed.created) if listed else self._wall()
        started = known is not None and known.has_run
        denied = pod.denied and bool(failed.node) and not self.failures.had_run(pod, listed=listed, started=started)
        crashed = (pod.crashed or denied) and self.crashes.add(pod.uid, failed.node, failed.owner, crashed_at)
        if self.failures.ended(pod, listed=listed, started=started) or crashed:
            self._enqueue_pools(self._node_index.pools_of(failed.node), at)

    def _note_failing(self, before: Pod | None, pod: Pod, at: float) -> None:
        """Note that a pod's containers do not start, or start again. The pod of any pool tells of the node's health."""
        if pod.failing == (before is not None and before.failing):
            return
        if pod.failing and pod.node:
            self.failures.stuck(pod, first_seen=before is None)
            self._enqueue_pools(self._node_index.pools_of(pod.node), at)
        else:
            self.failures.recovered(pod.uid)

    def _with_history(self, before: Pod, pod: Pod) -> Pod:
        """Return a pod's new state with what the object itself does not tell."""
        now = self._wall()
        since = now if before.gated and not pod.gated else before.since
        ready_since = None if not pod.ready else before.ready_since if before.ready else now
        has_run = before.has_run or pod.has_run
        if (
            since == pod.since
            and before.appeared == pod.appeared
            and ready_since == pod.ready_since
            and has_run == pod.has_run
        ):
            return pod
        return msgspec.structs.replace(
            pod, since=since, appeared=before.appeared, ready_since=ready_since, has_run=has_run
        )

    def _reclaim(self, pods: Iterable[Pod]) -> bool:
        """Find the claims of these pods anew; return whether any changed."""
        changed = False
        for pod in list(pods):
            before, pools = self._claims.of(pod.uid), self._claims.find(pod)
            if before != pools:
                changed = True
                self._remove(pod, before, None)
                self._claims.put(pod.uid, pools)
                self._add(pod, pools, None)
            else:
                self._note_may_burst_unpatched(pod, pools)
        return changed

    def _note_may_burst_unpatched(self, pod: Pod, pools: tuple[str, ...]) -> None:
        """Note whether a waiting pod tolerates a standby without our patch, so that it may land there at any time.

        The admission policy or the pod's author has added the toleration.
        """
        waits = not (pod.node or pod.gated) and pod.deleting is None
        if waits and pools and any(standby.tolerated_by(pod.shape) for standby in self._providers[pools[0]][1:]):
            self._may_burst_unpatched.add(pod.uid)
        else:
            self._may_burst_unpatched.discard(pod.uid)

    def _claim(self, pod: Pod) -> tuple[str, ...]:
        """Find the pools that select the pod, and note them."""
        pools = self._claims.find(pod)
        self._claims.put(pod.uid, pools)
        return pools

    def _add(self, pod: Pod, pools: tuple[str, ...], at: float | None, *, minor: bool = False) -> None:
        self._note_may_burst_unpatched(pod, pools)
        self._pod_index.add(pod, pools)
        self._pod_changed(pod, pools, at, minor=minor)

    def _remove(self, pod: Pod, pools: tuple[str, ...], at: float | None, *, minor: bool = False) -> None:
        self._pod_index.remove(pod, pools)
        self._pod_changed(pod, pools, at, minor=minor)

    def _holds_place(self, pod: Pod) -> bool:
        """Say whether every pool keeps a place for the pod: it was sent to a provider, or may go, and is not bound."""
        if pod.node or not self._claims.of(pod.uid):
            return False
        return bool(pod.burst) or pod.uid in self.in_flight or pod.uid in self._may_burst_unpatched

    def _pod_changed(self, pod: Pod, pools: tuple[str, ...], at: float | None, *, minor: bool) -> None:
        if node := pod.node or pod.nominated:
            self._infos.pop(node, None)
            self._enqueue_pools(self._node_index.pools_of(node), at, minor=minor)
        self._enqueue_pools(pools, at, minor=minor)

    def _enqueue_pools(self, pools: Iterable[str], at: float | None, *, minor: bool = False) -> None:
        if at is not None:
            for pool in pools:
                self._enqueue(pool, at, minor=minor)

    # --- signals from metrics

    def put_signals(self, pool: str, data: Mapping[str, SignalData]) -> bool:
        """Replace what is known of a pool's signals, by their keys; return whether that is new."""
        before = self._signals.get(pool, {})
        # Answers are large. An answer that is the same object is the same answer.
        same = before.keys() == data.keys() and all(
            before[key].answer is new.answer and before[key].error == new.error for key, new in data.items()
        )
        if same or pool not in self._pools:
            return False
        self._signals[pool] = data
        return True

    def signals(self, pool: str) -> Mapping[str, SignalData]:
        """Return what is known of a pool's signals, by their keys."""
        return self._signals.get(pool, {})

    def put_past_demand(self, pool: str, past: Points, at: float) -> None:
        """Take what the source of metrics knows of a pool's demand before this process led."""
        if pool in self._pools:
            self._past_demand[pool] = past
            self._enqueue(pool, at, minor=True)

    def is_node(self, name: str) -> bool:
        """Say whether the cluster has a node of this name."""
        return name in self._node_index.nodes

    def names_of(self, pool: str, provider: str) -> Names:
        """Return the values of a query's placeholders. `provider`: empty for all providers together."""
        return Names(pool, provider, self._node_index.names(pool, provider), self._claims.namespaces(pool))

    # --- what time brings

    def tick(self, at: float, *, connected: bool) -> None:
        """Notice what no event announces: nodes that fell silent, and moves too old to matter. Called once a second.

        `connected`: whether heartbeats come in as they happen.
        """
        self.heartbeats.tick(connected=connected)
        by_seconds: dict[int, list[str]] = {}
        interval = self.heartbeats.interval()
        for name, pool in self._pools.items():
            by_seconds.setdefault(counted_silence(pool.spec.health.silent_seconds, interval), []).append(name)
            self.moves.prune(name, float(pool.spec.failback.min_dwell_seconds))
        self.heartbeats.keep(by_seconds)
        for seconds, names in by_seconds.items():
            if seconds:
                self._enqueue_changed(seconds, names, at)

    def _enqueue_changed(self, seconds: int, names: list[str], at: float) -> None:
        """Enqueue the pools among `names` with a node that fell silent for so many seconds, or beats again."""
        changed, concerns_all = self.heartbeats.changed(seconds)
        concerned = {pool for node in changed for pool in self._node_index.pools_of(node)}
        self._enqueue_pools((name for name in names if concerns_all or name in concerned), at)

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
        """Return the pools that select a pod, the oldest first: it keeps the pod."""
        return self._claims.of(uid)

    def node(self, name: str) -> Node | None:
        """Return a node by name."""
        return self._node_index.nodes.get(name)

    def tainted(self) -> Mapping[str, str]:
        """Return the nodes that carry the operator's own taint, and its value."""
        return self._node_index.tainted

    def pools_of_node(self, name: str) -> tuple[str, ...]:
        """Return the pools with a provider that the node belongs to."""
        return self._node_index.pools_of(name)

    def sizes(self) -> tuple[int, int]:
        """Return the number of nodes and the number of pods."""
        return len(self._node_index.nodes), len(self._pods)

    def snapshot(self, name: str, *, stale: str = "") -> Snapshot:
        """Freeze what a pass over one pool decides on. Raises KeyError for a pool that is not there."""
        conflicts, conflicting_pool = self._claims.conflicts(name)
        waiting = tuple(self._waiting(name))
        return Snapshot(
            pool=self._pools[name],
            nodes=tuple(self._info(node) for node in self._node_index.members(name)),
            waiting=waiting,
            foreign=tuple(self._foreign(name)),
            in_flight=self.in_flight.offers(),
            refused_offers=self.refused_offers.of(waiting),
            on_unknown_nodes=tuple(self._on_unknown_nodes(name)),
            selection=self._selections.look(name),
            conflicts=conflicts,
            conflicting_pool=conflicting_pool,
            stale=stale,
            moves=self._moves(name),
            moves_since=self.moves.since(name),
            moves_forgotten=self.moves.forgotten(name),
            heartbeats=self.heartbeats.seen(),
            listening_since=self.heartbeats.listening_since,
            heartbeat_interval=self.heartbeats.interval(),
            read_live=self.heartbeats.read_live(),
            failures=self.failures.all(),
            crashes=self.crashes.all(),
            signals=self.signals(name),
            past_demand=self._past_demand.get(name, ()),
            schedulers=frozenset(self._schedulers),
        )

    def _moves(self, name: str) -> tuple[PodMove, ...]:
        def provider_of(pod: Pod) -> str | None:
            return self._node_index.provider_of(pod.node, name)

        return self.moves.followed(name, lambda: self._own(name), self._pods.get, provider_of)

    def _own(self, name: str) -> Iterable[Pod]:
        """Yield the pool's pods, waiting and bound."""
        yield from self._waiting(name)
        for node in self._node_index.members(name):
            yield from self._info(node).members(name)
        yield from self._on_unknown_nodes(name)

    def _waiting(self, name: str) -> Iterable[Pod]:
        """Yield the waiting pods that the pool keeps."""
        owner = self._claims.owner
        return (pod for uid, pod in self._pod_index.waiting.get(name, {}).items() if owner(uid) == name)

    def _foreign(self, name: str) -> Iterable[Pod]:
        """Yield other pools' waiting pods that hold a place."""
        for pool in self._pod_index.waiting:
            if pool != name:
                yield from (pod for pod in self._waiting(pool) if self._holds_place(pod))

    def _on_unknown_nodes(self, name: str) -> Iterable[Pod]:
        bound = self._pod_index.bound
        for node in bound.keys() - self._node_index.nodes.keys():
            yield from (pod for uid, pod in bound[node].items() if self._claims.owner(uid) == name)

    def _info(self, name: str) -> NodeInfo:
        info = self._infos.get(name)
        if info is None:
            info = self._infos[name] = self._sum_up(name)
        return info

    def _sum_up(self, name: str) -> NodeInfo:
        pods = self._pod_index.bound.get(name, {})
        members: dict[str, list[Pod]] = {}
        for uid, pod in pods.items():
            if pool := self._claims.owner(uid):
                members.setdefault(pool, []).append(pod)
        resource = {pool: self._pools[pool].spec.accelerator.resource_name for pool in members}
        return node_info(
            self._node_index.nodes[name],
            pods.values(),
            self._pod_index.nominated.get(name, {}).values(),
            {pool: share_of(own, resource[pool]) for pool, own in members.items()},
        )


def _same(before: Pod, after: Pod, *, claimed: bool) -> bool:
    """Say whether nothing changed that decisions read.

    They read less of a pod that belongs to no pool. But if it holds devices, it shows that its node works.
    """
    if not claimed and not requests_devices(after.shape):
        before = msgspec.structs.replace(
            before,
            ready=after.ready,
            ready_since=after.ready_since,
            failing=after.failing,
            refused=after.refused,
            started=after.started,
            has_run=after.has_run,
        )
    return msgspec.structs.replace(before, resource_version=after.resource_version) == after


def _is_minor(before: Pod, after: Pod, *, ours: bool) -> bool:
    """Say whether a change of a pod lets nothing be decided at once, so that a pass about it may wait for others.

    These are the steps of every pod that starts: our own patch is seen (`ours`), the scheduler binds the pod, its
    containers run, and the pod becomes ready. A pod that fails, leaves, or changes in any other way is no such step.
    Nor is any step while the pool moves pods: the pod may be the replacement for which the next move waits.
    """
    if before.gated or after.deleting is not None or after.failing:
        return False
    if not before.node:
        return ours or bool(after.node)
    starts = {name: getattr(after, name) for name in ("ready", "ready_since", "started", "has_run")}
    return _same(msgspec.structs.replace(before, **starts), after, claimed=True)
