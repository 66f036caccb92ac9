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
from computepool.decide.move.eligibility import movable, storage_bound
from computepool.decide.reconcile import Reconciled, reconcile
from computepool.model.accelerators import request_of, share_of
from computepool.model.api import BreakerState
from computepool.model.cluster import NO_SHARES, Node, NodeInfo, Pod, Shape, node_info
from computepool.model.reasons import Reason
from computepool.model.snapshot import Snapshot
from computepool.model.state import Breaker, PoolState, recorded_in, restarted
from computepool.model.taints import Toleration
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

    def lose(self, lost: Collection[str]) -> Outcome:
        """Return what becomes of the pods on these nodes if the nodes fail now."""
        infos = {name: info for name, info in self._infos.items() if name not in lost}
        fates: list[Fate] = []
        on_demand: Counter[str] = Counter()
        for judged in self._pools:
            own = self._lost_pods(judged, lost)
            if not own:
                continue
            found = self._judge(judged, own, infos)
            fates += found.fates
            on_demand.update(found.on_demand)
            if judged is not self._pools[-1]:
                infos = _with_places_taken(infos, found)
        return Outcome(tuple(fates), on_demand)

    def _judge(self, judged: JudgedPool, own: Sequence[Pod], infos: Mapping[str, NodeInfo]) -> "_Judged":
        pool, members = judged.pool, self._members[judged.pool.name]
        gone = set(members.values()) - {provider for name, provider in members.items() if name in infos}
        stuck, returning = _sorted_out(own, members, gone)
        replacements = Replacements(self._providers[pool.name], self._now)
        coming = [replacements.of(pod, members[pod.node]) for pod in returning]
        snapshot = Snapshot(
            pool=pool,
            nodes=tuple(infos[name] for name in members if name in infos),
            waiting=(*self._waiting(pool.name), *coming),
            schedulers=frozenset(pod.shape.scheduler for pod in own if pod.shape.scheduler),
        )
        outcome = reconcile(snapshot, _state(judged, gone, self._now), self._now)
        report = PassReport(snapshot, outcome.assessment, outcome.plan, outcome.state)
        fates = [self._stuck(pod, members[pod.node], reason, judged) for pod, reason in stuck]
        fates += self._fates(judged, returning, members, report)
        return _Judged(tuple(fates), outcome, pool.spec.accelerator.resource_name, self._now)

    def _fates(
        self, judged: JudgedPool, pods: Iterable[Pod], members: Mapping[str, str], report: PassReport
    ) -> list[Fate]:
        """Read off the plan what becomes of these pods."""
        plan, resource = report.plan, judged.resource
        sent = {burst.pod.uid: burst.provider for burst in plan.bursts}
        holds = {hold.pod.uid: hold for hold in plan.holds}
        told: dict[tuple[object, ...], tuple[str, ...]] = {}
        fates = []
        for pod in pods:
            found, source, amount = self._pods[pod.uid], members[pod.node], request_of(pod, resource)
            hold = holds.get(pod.uid)
            target = sent.get(pod.uid) or _target(hold, report.assessment.primary.provider.name)
            if target:
                fates.append(Fate(found, source, amount, target, awaits_deletion=pod.keeps_name))
                continue
            if hold is None:
                fates.append(Fate(found, source, amount, reason=Reason.FROZEN))
                continue
            key = (id(pod.shape), hold.reason, hold.rejected, pod.allowed)
            if key not in told:
                told[key] = helps(report, hold)
            fates.append(Fate(found, source, amount, "", hold.reason, hold.rejected, told[key]))
        return fates

    def _stuck(self, pod: Pod, source: str, reason: Reason, judged: JudgedPool) -> Fate:
        return Fate(self._pods[pod.uid], source, request_of(pod, judged.resource), "", reason, (), (reason.help,))

    def _lost_pods(self, judged: JudgedPool, lost: Collection[str]) -> list[Pod]:
        """Return the pool's pods on lost nodes that would be missed: agents and terminating pods are not."""
        pool, members = judged.pool.name, self._members[judged.pool.name]
        return [
            pod
            for name in members
            if name in lost
            for pod in self._infos[name].members(pool)
            if not pod.belongs_to_node and pod.deleting is None
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
    def on_demand(self) -> Mapping[str, int]:
        """Accelerators of pods that are sent to providers on demand beyond what is free there, by provider."""
        sent: Counter[str] = Counter()
        for fate in self.fates:
            if fate.target:
                sent[fate.target] += fate.amount
        return {
            supply.provider.name: sent[supply.provider.name] - supply.free
            for supply in self.outcome.assessment.supplies
            if supply.provider.kind.before_room and sent[supply.provider.name] > supply.free
        }


def _claimed(cluster: Cluster, pools: Iterable[JudgedPool], reserved: Iterable[str]) -> dict[str, str]:
    """Return the pool of each pod that has one, by the pod's uid."""
    claims = Claims(reserved)
    claims.set_pools(judged.pool for judged in pools)
    for name in {found.pod.namespace for found in cluster.pods}:
        # Without the right to read namespaces, their names are known.
        labels = cluster.namespaces.get(name, {"kubernetes.io/metadata.name": name})
        claims.put_namespace(Namespace(name, 0, labels))
    found = ((pod.pod.uid, claims.find(pod.pod)) for pod in cluster.pods)
    return {uid: names[0] for uid, names in found if names}


def _state(judged: JudgedPool, failed: Iterable[str], now: float) -> PoolState:
    """Return the state of a pool whose lost providers are known to have failed."""
    recorded = recorded_in(judged.pool)
    opened = {name: Breaker(BreakerState.OPEN, Reason.PROVIDER_UNHEALTHY, now, inf, 1) for name in failed}
    return restarted(msgspec.structs.replace(recorded, breakers={**recorded.breakers, **opened}), now)


def _sorted_out(
    pods: Iterable[Pod], members: Mapping[str, str], gone: Collection[str]
) -> tuple[list[tuple[Pod, Reason]], list[Pod]]:
    """Part the pods that can't come back elsewhere, with the reason, from those whose controllers replace them."""
    stuck: list[tuple[Pod, Reason]] = []
    returning: list[Pod] = []
    for pod in pods:
        if not movable(pod):
            stuck.append((pod, Reason.NOT_MOVABLE))
        elif storage_bound(pod) and members[pod.node] in gone:
            stuck.append((pod, Reason.MAY_NOT_FOLLOW))
        else:
            returning.append(pod)
    return stuck, returning


def _target(hold: Hold | None, primary: str) -> str:
    """Return the provider that has a place for a pod, or makes it; empty if none does.

    A pod that waits for a node of no provider by name waits for the primary to make it.
    """
    return (hold.provider or primary) if hold is not None and hold.reason in PLACED else ""


def _with_places_taken(infos: Mapping[str, NodeInfo], found: _Judged) -> dict[str, NodeInfo]:
    """Return the nodes with less room: what the pods of one pool take is not there for the next."""
    after = dict(infos)
    for supply in found.outcome.assessment.supplies:
        shapes = [fate.pod.pod.shape for fate in found.fates if fate.target == supply.provider.name]
        if not shapes:
            continue
        packer = Packer(supply, found.resource, label_keys([fate.pod.pod for fate in found.fates]), found.now)
        for shape in shapes:
            packer.place(shape)
        for info, left in packer.remainders():
            taken = {name: amount - left.get(name, 0) for name, amount in info.left.items()}
            if any(taken.values()):
                after[info.node.name] = _taken_from(info, taken)
    return after


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
