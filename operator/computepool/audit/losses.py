"""What becomes of the pods when a part of the cluster is lost: the operator's own decisions, without the lost nodes.

The pods of the lost nodes come back as waiting pods, as their controllers would create them, and `reconcile` decides
about all of them at once. So a loss is judged by the same order, fit, limits and budgets as in the operator. Limits on
moves at once are left out: they say when a pod leaves, and not whether it has a place.

Pools are judged one after another, the oldest first. Each takes its places before the next is judged.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from math import inf
from types import MappingProxyType
from typing import Final

import msgspec

from computepool.assess.capacity.fit import Packer, label_keys
from computepool.assess.capacity.providers import providers_of
from computepool.assess.demand.overflow import Hold
from computepool.audit.cluster import AuditedPod, Cluster
from computepool.audit.pools import JudgedPool, labelled
from computepool.audit.replacements import Replacements
from computepool.decide.move.eligibility import movable, node_bound, storage_bound
from computepool.decide.reconcile import Reconciled, reconcile
from computepool.model.accelerators import request_of, share_of
from computepool.model.api import BreakerState
from computepool.model.cluster import NO_SHARES, Node, NodeInfo, Pod, Shape, node_info
from computepool.model.reasons import Reason
from computepool.model.snapshot import Snapshot
from computepool.model.state import Breaker, PoolState, recorded_in, restarted
from computepool.model.taints import Toleration
from computepool.model.well_known_keys import NAMESPACE_NAME_LABEL
from computepool.observe.decode import Namespace
from computepool.observe.pod_claims import Claims
from computepool.report.pass_report import PassReport
from computepool.report.waiting import helps

PLACED: Final = frozenset(
    {
        Reason.FITS_ON_PREFERRED,
        Reason.AWAITING_SCHEDULER,
        Reason.SOON_FREE,
        Reason.NODE_STARTING,
        Reason.AWAITING_NODES,
        Reason.NOMINATED,
    }
)
"""The reasons of holds on a provider that has a place for the pod, or makes it."""
Rejections = tuple[tuple[str, Reason], ...]


class Fate(msgspec.Struct, frozen=True, gc=False):
    """What becomes of one pod of a lost node."""

    pod: AuditedPod
    source: str
    """The name of its provider."""
    resource: str
    """The accelerator that it holds."""
    amount: int
    """The accelerators that it holds, in thousandths."""
    target: str = ""
    """The provider that takes it; empty if none does."""
    reason: Reason | None = None
    """Why it is stranded; None if it is not."""
    rejected: Rejections = ()
    helps: tuple[str, ...] = ()
    """Sentences that say what would help."""
    awaits_deletion: bool = False
    """Whether it comes back only once its node is deleted: its name is taken until then."""

    @property
    def stranded(self) -> bool:
        """Whether no provider takes it."""
        return not self.target


class Outcome(msgspec.Struct, frozen=True):
    """What becomes of all pods with accelerators when a part of the cluster is lost."""

    fates: tuple[Fate, ...]
    on_demand: Mapping[str, int] = MappingProxyType({})
    """By provider that makes nodes on demand: accelerators of pods that have no place there before it does so."""


class Judge:
    """Judges losses of one cluster. What all losses have in common is worked out once."""

    def __init__(
        self, cluster: Cluster, pools: Sequence[JudgedPool], provider_of: Mapping[str, str], reserved: Iterable[str]
    ) -> None:
        """`pools`: in the order in which they are judged; `provider_of`: the provider's name by node.

        `reserved`: namespaces whose pods belong to no pool.
        """
        self._now = cluster.now
        self._pools = pools
        self._provider_of = provider_of
        self._zones = {found.node.name: found.place.zone for found in cluster.nodes}
        self._pods = {found.pod.uid: found for found in cluster.pods}
        self._claimed = _claimed(cluster, pools, reserved)
        nodes = [labelled(found, provider_of.get(found.node.name, "")) for found in cluster.nodes]
        self._infos = self._summed_up(nodes, cluster.pods)
        self._providers = {judged.pool.name: providers_of(judged.pool) for judged in pools}
        self._members = {judged.pool.name: self._nodes_of(judged.pool.name, nodes) for judged in pools}

    @property
    def provider_of_node(self) -> Mapping[str, str]:
        """The provider's name by node."""
        return self._provider_of

    def tolerations_by_node(self, judged: JudgedPool) -> Mapping[str, tuple[Toleration, ...]]:
        """Return, by node, the tolerations that the pool gives to pods that it sends there."""
        pool = judged.pool.name
        added = {provider.name: provider.tolerations for provider in self._providers[pool]}
        return {node: added[provider] for node, provider in self._members[pool].items()}

    def provider_in(self, pod: AuditedPod) -> str:
        """Return the name of the pod's provider in its own pool; empty without one."""
        pool = self._claimed.get(pod.pod.uid, "")
        return self._members.get(pool, {}).get(pod.pod.node, "") or self._provider_of.get(pod.pod.node, "")

    def pool_of(self, pod: AuditedPod) -> JudgedPool | None:
        """Return the pool that judges a pod; None for a pod in a reserved namespace."""
        name = self._claimed.get(pod.pod.uid)
        return next((judged for judged in self._pools if judged.pool.name == name), None)

    def lose(self, lost: frozenset[str]) -> Outcome:
        """Return what becomes of the pods on these nodes if the nodes fail now."""
        infos = {name: info for name, info in self._infos.items() if name not in lost}
        fates: list[Fate] = []
        on_demand: Counter[str] = Counter()
        for judged in self._pools:
            own = self._lost_pods(judged, lost)
            last = judged is self._pools[-1]
            # The waiting pods of a pool that loses nothing take places that the next pool does not get.
            if not own and (last or not any(self._waiting(judged.pool.name))):
                continue
            found = self._judge(judged, own, infos)
            fates += found.fates
            places = _Places(found)
            on_demand.update(places.on_demand)
            if not last:
                infos = {**infos, **places.taken_from(infos)}
        return Outcome(tuple(fates), on_demand)

    def _judge(self, judged: JudgedPool, own: Sequence[Pod], infos: Mapping[str, NodeInfo]) -> "_Judged":
        pool, members = judged.pool, self._members[judged.pool.name]
        left = {provider for name, provider in members.items() if name in infos}
        gone = set(members.values()) - left
        homes = {self._home(name, judged) for name in members if name in infos}
        stuck, returning = _sorted_out(own, {pod.node: self._home(pod.node, judged) for pod in own}, homes)
        replacements = Replacements(self._providers[pool.name], self._now)
        coming = [replacements.of(pod, *self._home(pod.node, judged)) for pod in returning]
        snapshot = Snapshot(
            pool=pool,
            nodes=tuple(infos[name] for name in members if name in infos),
            waiting=(*self._waiting(pool.name), *coming),
            schedulers=frozenset(pod.shape.scheduler for pod in own if pod.shape.scheduler),
        )
        outcome = reconcile(snapshot, _state(judged, gone, self._now), self._now)
        report = PassReport(snapshot, outcome.assessment, outcome.plan, outcome.state)
        fates = [self._stuck(pod, reason, judged) for pod, reason in stuck]
        fates += self._fates(judged, returning, report)
        return _Judged(tuple(fates), outcome, judged.resource, self._now)

    def _home(self, node: str, judged: JudgedPool) -> tuple[str, str]:
        """Return the provider that a node belongs to, and the node's zone, which a volume may not leave."""
        provider = self._members[judged.pool.name].get(node) or self._provider_of.get(node, "")
        return provider, self._zones.get(node, "")

    def _fates(self, judged: JudgedPool, pods: Iterable[Pod], report: PassReport) -> list[Fate]:
        """Read off the plan what becomes of these pods."""
        plan = report.plan
        sent = {burst.pod.uid: burst.provider for burst in plan.bursts}
        holds = {hold.pod.uid: hold for hold in plan.holds}
        told: dict[tuple[object, ...], tuple[str, ...]] = {}
        fates = []
        for pod in pods:
            fate = self._fate(pod, judged)
            hold = holds.get(pod.uid)
            target = sent.get(pod.uid) or _target(hold, report.assessment.primary.provider.name)
            if target:
                fate = msgspec.structs.replace(fate, target=target, awaits_deletion=pod.keeps_name)
            elif hold is None:
                fate = msgspec.structs.replace(fate, reason=Reason.FROZEN)
            else:
                key = (id(pod.shape), hold.reason, hold.rejected, pod.allowed)
                if key not in told:
                    told[key] = helps(report, hold)
                fate = msgspec.structs.replace(fate, reason=hold.reason, rejected=hold.rejected, helps=told[key])
            fates.append(fate)
        return fates

    def _fate(self, pod: Pod, judged: JudgedPool) -> Fate:
        source, _ = self._home(pod.node, judged)
        return Fate(self._pods[pod.uid], source, judged.resource, request_of(pod, judged.resource))

    def _stuck(self, pod: Pod, reason: Reason, judged: JudgedPool) -> Fate:
        return msgspec.structs.replace(self._fate(pod, judged), reason=reason, helps=(reason.help,))

    def _lost_pods(self, judged: JudgedPool, lost: frozenset[str]) -> list[Pod]:
        """Return the pool's pods on lost nodes that would be missed: agents and terminating pods are not."""
        return [
            pod
            for name in sorted(lost & self._infos.keys())
            for pod in self._infos[name].members(judged.pool.name)
            if not node_bound(pod)
        ]

    def _waiting(self, pool: str) -> Iterable[Pod]:
        return (found.pod for uid, found in self._pods.items() if not found.pod.node and self._claimed.get(uid) == pool)

    def _summed_up(self, nodes: Iterable[Node], pods: Iterable[AuditedPod]) -> dict[str, NodeInfo]:
        bound: dict[str, list[Pod]] = {}
        nominated: dict[str, list[Pod]] = {}
        for found in pods:
            place = bound if found.pod.node else nominated
            place.setdefault(found.pod.node or found.pod.nominated, []).append(found.pod)
        resource = {judged.pool.name: judged.resource for judged in self._pools}
        infos = {}
        for node in nodes:
            own: dict[str, list[Pod]] = {}
            for pod in bound.get(node.name, ()):
                if pool := self._claimed.get(pod.uid):
                    own.setdefault(pool, []).append(pod)
            shares = {pool: share_of(members, resource[pool]) for pool, members in own.items()} or NO_SHARES
            infos[node.name] = node_info(node, bound.get(node.name, ()), nominated.get(node.name, ()), shares)
        return infos

    def _nodes_of(self, pool: str, nodes: Iterable[Node]) -> dict[str, str]:
        """Return the pool's nodes, and the provider of each."""
        found = {}
        for node in nodes:
            for provider in self._providers[pool]:
                if provider.selector.matches(node.labels):
                    found[node.name] = provider.name
                    break
        return found


class _Judged(msgspec.Struct, frozen=True):
    """What becomes of one pool's pods."""

    fates: tuple[Fate, ...]
    outcome: Reconciled
    resource: str
    now: float

    @property
    def placed(self) -> dict[str, list[Pod]]:
        """By provider: all pods that the pass places there, in its order; pods that waited before are among them."""
        plan, primary = self.outcome.plan, self.outcome.assessment.primary.provider.name
        found: dict[str, list[Pod]] = {}
        for hold in plan.holds:
            if target := _target(hold, primary):
                found.setdefault(target, []).append(hold.pod)
        for burst in plan.bursts:
            found.setdefault(burst.provider, []).append(burst.pod)
        return found


class _Places:
    """The places that one pool's pods take, as the account packs them."""

    def __init__(self, found: _Judged) -> None:
        self.on_demand: dict[str, int] = {}
        """By provider that makes nodes on demand: accelerators of lost pods that have no place there before it does."""
        self._packers: list[Packer] = []
        lost = {fate.pod.pod.uid for fate in found.fates}
        placed = found.placed
        keys = label_keys([pod for pods in placed.values() for pod in pods])
        for supply in found.outcome.assessment.supplies:
            pods = placed.get(supply.provider.name)
            if not pods:
                continue
            packer = Packer(supply, found.resource, keys, found.now)
            self._packers.append(packer)
            without = [pod for pod in pods if not packer.place(pod.shape)]
            amount = sum(request_of(pod, found.resource) for pod in without if pod.uid in lost)
            if amount and supply.provider.kind.before_room:
                self.on_demand[supply.provider.name] = amount

    def taken_from(self, infos: Mapping[str, NodeInfo]) -> dict[str, NodeInfo]:
        """Return the nodes that have less room afterwards: what one pool takes is not there for the next."""
        after = {}
        for packer in self._packers:
            for info, left in packer.remainders():
                taken = {name: amount - left.get(name, 0) for name, amount in info.left.items()}
                if any(taken.values()):
                    after[info.node.name] = _taken_from(infos[info.node.name], taken)
        return after


def _claimed(cluster: Cluster, pools: Iterable[JudgedPool], reserved: Iterable[str]) -> dict[str, str]:
    """Return the pool of each pod that has one, by the pod's uid."""
    claims = Claims(reserved)
    claims.set_pools(judged.pool for judged in pools)
    for name in {found.pod.namespace for found in cluster.pods}:
        # Without the right to read namespaces, their names are known.
        labels = cluster.namespaces.get(name, {NAMESPACE_NAME_LABEL: name})
        claims.put_namespace(Namespace(name, 0, labels))
    found = ((pod.pod.uid, claims.find(pod.pod)) for pod in cluster.pods)
    return {uid: names[0] for uid, names in found if names}


def _state(judged: JudgedPool, failed: Iterable[str], now: float) -> PoolState:
    """Return the state of a pool whose lost providers are known to have failed."""
    recorded = recorded_in(judged.pool)
    opened = {name: Breaker(BreakerState.OPEN, Reason.PROVIDER_UNHEALTHY, now, inf, 1) for name in failed}
    return restarted(msgspec.structs.replace(recorded, breakers={**recorded.breakers, **opened}), now)


def _sorted_out(
    pods: Iterable[Pod], homes: Mapping[str, tuple[str, str]], left: Collection[tuple[str, str]]
) -> tuple[list[tuple[Pod, Reason]], list[Pod]]:
    """Part the pods that can't come back elsewhere, with the reason, from those whose controllers replace them.

    `homes`: provider and zone by node; `left`: those that still have nodes.
    """
    stuck: list[tuple[Pod, Reason]] = []
    returning: list[Pod] = []
    for pod in pods:
        if not movable(pod):
            stuck.append((pod, Reason.NOT_MOVABLE))
        elif storage_bound(pod) and homes[pod.node] not in left:
            stuck.append((pod, Reason.MAY_NOT_FOLLOW))
        else:
            returning.append(pod)
    return stuck, returning


def _target(hold: Hold | None, primary: str) -> str:
    """Return the provider that has a place for a pod, or makes it; empty if none does.

    A pod that waits for a node of no provider by name waits for the primary to make it.
    """
    return (hold.provider or primary) if hold is not None and hold.reason in PLACED else ""


def _taken_from(info: NodeInfo, taken: Mapping[str, int]) -> NodeInfo:
    shape = Shape(tuple((name, amount) for name, amount in sorted(taken.items()) if amount > 0))
    stand_in = Pod(
        uid=f"placed-on-{info.node.name}",
        namespace="",
        name="",
        resource_version=0,
        shape=shape,
        labels={},
        created=0.0,
        since=0.0,
        nominated=info.node.name,
    )
    return node_info(info.node, info.pods, (stand_in,), info.shares)
