"""Whether standbys could take more pods: what counts is what the pool's pods could really use.

If pods run, it is what they could use. Otherwise it is what waiting pods could use, and without any pods all room.
maxAccelerators, the budget and hold-offs count as they do when a pod is sent.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import cached_property
from typing import Final

import msgspec

from computepool.assess.breakers.hold_offs import allows_places
from computepool.assess.breakers.not_bound import digest_of
from computepool.assess.capacity.fit import label_keys
from computepool.assess.capacity.providers import Provider
from computepool.assess.capacity.supply import Supply
from computepool.decide.account.budget import NOTHING, hourly_bound, hourly_cost
from computepool.decide.move.eligibility import storage_bound
from computepool.model.accelerators import accelerators_on, request_of
from computepool.model.cluster import Amounts, Node, Pod, Resources, Shape
from computepool.model.quantity import MAX_AMOUNT, MILLI
from computepool.model.taints import Taint, Toleration, tolerance_of
from computepool.report.pass_report import PassReport

MAX_KINDS: Final = 64
"""So many kinds of pods are looked at in any case: without selectors first, and then the smallest first."""
MAX_JUDGED: Final = 50_000
"""More kinds of pods are looked at while their number, times that of a standby's kinds of nodes, is at most this."""
_OF_ONE_NODE: Final = frozenset({"metadata.name", "kubernetes.io/hostname"})
"""Keys whose values differ from node to node."""

_Sizes = tuple[Sequence[Amounts], Iterator[Amounts]]
"""Requests of pods that may run on nodes of a kind: those found before, and what finds the others."""


class Resilience(msgspec.Struct, frozen=True):
    """The room on standbys."""

    free: Mapping[str, int]
    """By standby: whole free accelerators that pods of the pool could use; standbys without any are left out."""
    made: Mapping[str, str]
    """By standby that makes room for pods of the pool: how."""
    others_only: bool = False
    """Whether no pod that runs could use the room."""

    @property
    def any(self) -> bool:
        """Whether there is any room."""
        return bool(self.free or self.made)


def resilience_of(report: PassReport) -> Resilience:
    """Return the room on the standbys that may take another accelerator."""
    running, waiting = report.assessment.running, report.assessment.waiting
    if running:
        # Volumes keep running pods where they are. A pod that waits is sent whatever its volumes are.
        found = _room_for(report, [pod for pod in running if not storage_bound(pod)])
        if found.any:
            return found
    found = _room_for(report, waiting or None)
    return msgspec.structs.replace(found, others_only=bool(running) and found.any)


def _room_for(report: PassReport, pods: Sequence[Pod] | None) -> Resilience:
    """Return the room that any of these pods could use. `pods`: None for all room."""
    resource = report.snapshot.pool.spec.accelerator.resource_name
    unusable = report.assessment.configuration.unusable
    money = _money_left(report)
    kinds = None if pods is None else _Kinds(pods, resource)
    free: dict[str, int] = {}
    made: dict[str, str] = {}
    for supply in report.assessment.supplies[1:]:
        provider = supply.provider
        allowance = _allowance(supply, money)
        if not supply.breaker.closed or allowance < MILLI:
            continue
        users = None if kinds is None else _Users(provider, kinds, allowance)
        shut = supply.closed | unusable.get(provider.name, frozenset())
        if amount := min(_free(supply, users, shut, resource), _limit(supply)) // MILLI:
            free[provider.name] = amount
        # If no pod tolerates the taints of its nodes, its next nodes will have these taints too.
        all_shut = supply.nodes and len(unusable.get(provider.name, ())) == len(supply.nodes)
        way = provider.kind.room_is_made_by
        if way and not all_shut and (users is None or users.fit_on_new_nodes(_out_of_stock(report, provider))):
            made[provider.name] = way
    return Resilience(free, made)


def _limit(supply: Supply) -> int:
    """Return how many thousandths of the accelerator maxAccelerators still allows on a standby."""
    return MAX_AMOUNT if supply.provider.limit is None else supply.provider.limit - supply.held


def _allowance(supply: Supply, money: Decimal | None) -> int:
    """Return how many thousandths of the accelerator maxAccelerators and the budget still allow on a standby."""
    price = supply.provider.price
    if money is None or not price:
        return _limit(supply)
    return min(_limit(supply), int(money / price * MILLI))


def _money_left(report: PassReport) -> Decimal | None:
    """Return the hourly cost that the budget still allows beside the pods on standbys; None without a budget."""
    budget, spend = report.snapshot.pool.spec.budget, report.state.recorded.spend
    if budget is None:
        return None
    supplies = report.assessment.supplies[1:]
    running = sum(hourly_cost(supply.provider, supply.accelerators - supply.ending) for supply in supplies)
    return hourly_bound(budget, NOTHING if spend is None else spend.spent) - running


def _out_of_stock(report: PassReport, provider: Provider) -> Collection[str]:
    """Return the digests of shapes for which a standby made no node in time, and is not tried now."""
    blocking = report.assessment.breakers.hold_offs.blocking.values()
    return {held.subject for held in blocking if held.provider == provider.name and allows_places(held)}


def _free(supply: Supply, users: "_Users | None", shut: frozenset[str], resource: str) -> int:
    """Return the free accelerators of nodes where any of the pods fits, in thousandths.

    `users`: None for all nodes; `shut`: names of nodes that no pod of the pool could use, by their taints.
    """
    all_free = [accelerators.free for accelerators in accelerators_on(supply.usable, resource)]
    open_nodes = [
        (info, free) for info, free in zip(supply.usable, all_free, strict=True) if free and info.node.name not in shut
    ]
    if users is None or not open_nodes:
        return sum(free for _, free in open_nodes)
    plain: dict[int, _Sizes] = {}
    sizes_of = users.sizes_by_kind(supply)
    total = 0
    # A pass looks at thousands of nodes here: a function or a generator for each would double the cost. Pods without
    # selectors come first, because only the taints of a node tell whether it admits them.
    for info, free in open_nodes:
        left, taints = info.left, info.node.taints
        found = plain.get(id(taints))
        if found is None:
            found = plain[id(taints)] = users.plain_sizes(info.node)
        for size in found[0]:
            for name, amount in size:
                if left.get(name, 0) < amount:
                    break
            else:
                total += free
                break
        else:
            if _fits_any(found[1], left) or (sizes_of is not None and _has_place(sizes_of(info.node), left)):
                total += free
    return total


def _has_place(sizes: _Sizes, left: Resources) -> bool:
    known, more = sizes
    return _fits_any(known, left) or _fits_any(more, left)


def _fits_any(sizes: Iterable[Amounts], left: Resources) -> bool:
    return any(_fits(size, left) for size in sizes)


def _fits(size: Amounts, left: Resources) -> bool:
    return all(left.get(name, 0) >= amount for name, amount in size)


class _Kinds:
    """Pods, one of each kind. They are read only if a standby has room for any."""

    def __init__(self, pods: Sequence[Pod], resource: str) -> None:
        self._pods = pods
        self._resource = resource

    @cached_property
    def in_order(self) -> Sequence[tuple[int, Pod]]:
        """The pods' requests of the accelerator, in thousandths, and the pods: in the order of `MAX_KINDS`."""
        sized = [(request_of(pod, self._resource), pod) for pod in self._pods]
        return sorted(sized, key=lambda one: (_selects(one[1].shape), one[0], one[1].shape.requests))

    @cached_property
    def of_nodes(self) -> Callable[[Node], object]:
        """What tells nodes apart that may differ in which of the pods they admit."""
        keys = label_keys(self._pods)
        if not keys:
            return lambda node: id(node.taints)
        if not keys.isdisjoint(_OF_ONE_NODE):
            return lambda node: node.name
        # A node has few labels, while any user may name any number of them.
        return lambda node: (id(node.taints), frozenset([(key, node.labels[key]) for key in node.labels.keys() & keys]))


def _selects(shape: Shape) -> bool:
    return bool(shape.node_selector) or shape.affinity is not None


class _Users:
    """The pods that may use a standby, as far as its nodes allow it.

    Nodes with equal taints, and equal values of the labels that pods ask for, are of one kind, and judged once.
    """

    def __init__(self, provider: Provider, kinds: _Kinds, allowance: int) -> None:
        """`allowance`: how many thousandths of the accelerator a pod may request at most."""
        self._provider = provider
        self._kinds = kinds
        self._allowance = allowance
        self._tolerances: dict[tuple[Toleration, ...], Callable[[Sequence[Taint]], bool]] = {}

    @cached_property
    def _pods(self) -> Sequence[Pod]:
        name, most = self._provider.name, self._allowance
        return [pod for amount, pod in self._kinds.in_order if amount <= most and pod.allows(name)]

    def plain_sizes(self, node: Node) -> _Sizes:
        """Return the requests of the pods without selectors that may run on nodes with the taints of this node."""
        known: list[Amounts] = []
        return known, self._more(node, [pod for pod in self._pods if not _selects(pod.shape)], known)

    def sizes_by_kind(self, supply: Supply) -> Callable[[Node], _Sizes] | None:
        """Return what tells of each node of the standby the requests of the pods with selectors that may run there.

        None if there are no such pods.
        """
        kind_of = self._kinds.of_nodes
        pods = [pod for pod in self._pods if _selects(pod.shape)]
        if not pods:
            return None
        if len(pods) > MAX_KINDS:
            kinds = len({kind_of(info.node) for info in supply.usable})
            pods = pods[: max(MAX_KINDS, MAX_JUDGED // max(1, kinds))]
        found: dict[object, _Sizes] = {}

        def sizes(node: Node) -> _Sizes:
            kind = kind_of(node)
            of_kind = found.get(kind)
            if of_kind is None:
                known: list[Amounts] = []
                of_kind = found[kind] = known, self._more(node, pods, known)
            return of_kind

        return sizes

    def fit_on_new_nodes(self, out_of_stock: Collection[str]) -> bool:
        """Say whether any of the pods may run on nodes that the provider makes. `out_of_stock`: digests of shapes."""
        excluded: set[object] = set()
        for pod in self._pods:
            shape = pod.shape
            selectors = (shape.node_selector, shape.affinity)
            if selectors in excluded or (out_of_stock and digest_of(shape) in out_of_stock):
                continue
            if not self._provider.contradicts(shape):
                return True
            excluded.add(selectors)
            if len(excluded) == MAX_KINDS:
                break
        return False

    def _more(self, node: Node, pods: Sequence[Pod], known: list[Amounts]) -> Iterator[Amounts]:
        """Yield the requests of the pods that may run on the node, unless known ones fit in; these become known too."""
        for pod in pods:
            shape = pod.shape
            if not shape.admits(node.name, node.labels) or _exceeds(shape.requests, known):
                continue
            if self._tolerates(shape.tolerations, node.taints):
                known.append(shape.requests)
                yield shape.requests
                if len(known) == MAX_KINDS:
                    break

    def _tolerates(self, own: tuple[Toleration, ...], taints: Sequence[Taint]) -> bool:
        tolerates = self._tolerances.get(own)
        if tolerates is None:
            tolerates = self._tolerances[own] = tolerance_of(own + self._provider.tolerations)
        return tolerates(taints)


def _exceeds(requests: Amounts, sizes: Sequence[Amounts]) -> bool:
    """Say whether a pod needs no less of any resource than one of these sizes."""
    if not sizes:
        return False
    amounts = dict(requests)
    return any(all(amounts.get(name, 0) >= amount for name, amount in size) for size in sizes)
