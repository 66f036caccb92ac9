"""Whether standbys could take more pods: what counts is what the pool's pods could really use.

If pods run, it is what they could use. Otherwise it is what waiting pods could use, and without any pods all room.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from computepool.assess.breakers.hold_offs import allows_places
from computepool.assess.breakers.not_bound import digest_of
from computepool.assess.capacity.supply import Supply
from computepool.decide.move.eligibility import storage_bound
from computepool.model.accelerators import accelerators_of, request_of
from computepool.model.cluster import Pod, Shape, members_on
from computepool.model.quantity import MAX_AMOUNT, MILLI
from computepool.model.taints import tolerance_of
from computepool.report.pass_report import PassReport

MAX_KINDS: Final = 64
"""How many kinds of pods are looked at, the smallest first."""


class Resilience(msgspec.Struct, frozen=True):
    """The room on standbys."""

    free: Mapping[str, int]
    """By standby: whole free accelerators that pods of the pool could use; standbys without any are left out."""
    made: Mapping[str, str]
    """By standby that makes room for pods of the pool: how."""
    waiting_only: bool = False
    """Whether only waiting pods could use the room, because the constraints of all running pods keep them off."""

    @property
    def any(self) -> bool:
        """Whether there is any room."""
        return bool(self.free or self.made)


def resilience_of(report: PassReport) -> Resilience:
    """Return the room on the standbys that may take another accelerator."""
    assessment = report.assessment
    running, waiting = (_smallest(report, pods) for pods in (assessment.running, assessment.waiting))
    found = _room_for(report, running or waiting)
    if found.any or not running:
        return found
    for_others = _room_for(report, waiting)
    return msgspec.structs.replace(for_others, waiting_only=for_others.any)


def _room_for(report: PassReport, pods: Sequence[Pod]) -> Resilience:
    """Return the room that any of these pods could use; without pods, all room."""
    if not pods:
        return _room(report, lambda supply: _free(report, supply), lambda _: True)
    users = {supply.provider.name: _Users(supply, pods) for supply in report.assessment.supplies[1:]}
    return _room(
        report,
        lambda supply: users[supply.provider.name].free(report, supply),
        lambda supply: users[supply.provider.name].fit_on_new_nodes(),
    )


def _room(report: PassReport, free_on: Callable[[Supply], int], makes: Callable[[Supply], bool]) -> Resilience:
    """Return the room, by standby: `free_on` counts accelerators in thousandths, `makes` judges nodes on demand."""
    unusable = report.assessment.configuration.unusable
    stock_outs = _out_of_stock(report)
    free: dict[str, int] = {}
    made: dict[str, str] = {}
    for supply in report.assessment.supplies[1:]:
        provider, allowance = supply.provider, _allowance(supply)
        if not supply.breaker.closed or allowance < MILLI:
            continue
        if amount := min(free_on(supply), allowance) // MILLI:
            free[provider.name] = amount
        # If no pod tolerates the taints of its nodes, its next nodes will have these taints too.
        shut = supply.nodes and len(unusable.get(provider.name, ())) == len(supply.nodes)
        way = provider.kind.room_is_made_by
        if way and not shut and provider.name not in stock_outs and makes(supply):
            made[provider.name] = way
    return Resilience(free, made)


def _shut(report: PassReport, supply: Supply) -> frozenset[str]:
    """Return the names of nodes that no pod of the pool could use, by their taints."""
    return supply.closed | report.assessment.configuration.unusable.get(supply.provider.name, frozenset())


def _free(report: PassReport, supply: Supply) -> int:
    """Return the free accelerators of nodes that are open to the pool's pods, in thousandths."""
    resource, shut = report.snapshot.pool.spec.accelerator.resource_name, _shut(report, supply)
    return sum(accelerators_of(info, resource).free for info in supply.usable if info.node.name not in shut)


class _Users:
    """The pods that may use a standby, by their annotations, volumes, selectors and tolerations."""

    def __init__(self, supply: Supply, pods: Sequence[Pod]) -> None:
        self._provider = supply.provider
        self._pods = [
            (pod, tolerance_of(pod.shape.tolerations + supply.provider.tolerations))
            for pod in pods
            if pod.allows(supply.provider.name) and not storage_bound(pod)
        ]
        # By the identity of a node's taints, which most nodes share: the shapes of pods that tolerate them.
        self._tolerating: dict[int, list[Shape]] = {}

    def free(self, report: PassReport, supply: Supply) -> int:
        """Return the free accelerators of nodes where any of the pods fits, in thousandths."""
        resource, shut = report.snapshot.pool.spec.accelerator.resource_name, _shut(report, supply)
        total = 0
        # A pass looks at thousands of nodes here: a function or a generator for each would double the cost.
        for info in supply.usable:
            node, left = info.node, info.left
            free = accelerators_of(info, resource).free
            if not free or node.name in shut:
                continue
            shapes = self._tolerating.get(id(node.taints))
            if shapes is None:
                shapes = [pod.shape for pod, tolerates in self._pods if tolerates(node.taints)]
                self._tolerating[id(node.taints)] = shapes
            for shape in shapes:
                for name, amount in shape.requests:
                    if left.get(name, 0) < amount:
                        break
                else:
                    if shape.admits(node.name, node.labels):
                        total += free
                        break
        return total

    def fit_on_new_nodes(self) -> bool:
        """Say whether any of the pods may run on nodes that the provider makes."""
        return any(not self._provider.contradicts(pod.shape) for pod, _ in self._pods)


def _smallest(report: PassReport, pods: Iterable[Pod]) -> Sequence[Pod]:
    """Return the smallest pods of each kind of constraints: a node without room for any of them has none for others."""
    resource = report.snapshot.pool.spec.accelerator.resource_name
    kept: list[Pod] = []
    by_constraints: dict[object, list[Pod]] = {}
    for pod in sorted(pods, key=lambda pod: (request_of(pod, resource), len(pod.shape.requests), pod.shape.requests)):
        if len(kept) == MAX_KINDS:
            break
        shape = pod.shape
        constraints = (shape.node_selector, shape.affinity, shape.tolerations, pod.allowed, storage_bound(pod))
        smaller = by_constraints.setdefault(constraints, [])
        if not any(_fits_in(other.shape, shape) for other in smaller):
            smaller.append(pod)
            kept.append(pod)
    return kept


def _fits_in(small: Shape, large: Shape) -> bool:
    """Say whether a pod needs no more of any resource than another pod."""
    amounts = dict(large.requests)
    return all(amounts.get(name, 0) >= amount for name, amount in small.requests)


def _allowance(supply: Supply) -> int:
    """Return how many thousandths of the accelerator maxAccelerators still allows on a standby."""
    return MAX_AMOUNT if supply.provider.limit is None else supply.provider.limit - supply.held


def _out_of_stock(report: PassReport) -> frozenset[str]:
    """Return the standbys that made no node in time for pods such as the pool's running pods, and are not tried now."""
    held = [held for held in report.assessment.breakers.hold_offs.blocking.values() if allows_places(held)]
    if not held:
        return frozenset()
    pods = members_on(report.snapshot.nodes, report.snapshot.pool.name)
    running = {digest_of(shape) for shape in {id(pod.shape): pod.shape for pod in pods}.values()}
    return frozenset(found.provider for found in held if found.subject in running)
