"""Who uses the accelerators: workloads, where they run, and what pins them there. Amounts are in thousandths."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from computepool.audit.cluster import AuditedPod, Cluster, Owner
from computepool.audit.losses import Judge
from computepool.audit.node_labels import PINS_ARCHITECTURE, PINS_MODEL
from computepool.audit.pins import Pin
from computepool.audit.pools import JudgedPool
from computepool.decide.move.eligibility import may_fail_for_good, node_bound, storage_bound
from computepool.model.accelerators import request_of
from computepool.model.cluster import Node, Pod, Shape
from computepool.model.taints import tolerated
from computepool.observe.disruption_budgets import DisruptionBudget

_MOST_OWNERS: Final = 10
_BARE: Final = "Pod"
_BY_OTHER_PODS: Final = frozenset({"podAffinity", "podAntiAffinity", "topologySpreadConstraints"})


class WorkloadName(msgspec.Struct, frozen=True, order=True):
    """The topmost owner of pods; the pod itself where no controller owns it."""

    namespace: str
    kind: str
    name: str

    def __str__(self) -> str:
        """Write it as kubectl does, with its namespace."""
        return f"{self.namespace}/{self.kind.lower()}/{self.name}"


class Workload(msgspec.Struct, frozen=True):
    """All pods of one topmost owner that request an accelerator."""

    name: WorkloadName
    resource: str
    pods: int
    """That are bound to nodes."""
    accelerators: int
    """That these pods hold."""
    waiting_pods: int
    waiting_accelerators: int
    providers: Mapping[str, int]
    """Accelerators by provider."""
    priority: int
    """The highest priority of its pods."""
    gang: bool
    budgets: Mapping[str, int]
    """By name of a PodDisruptionBudget that selects its pods: how many may be evicted now."""
    pins: tuple[Pin, ...]
    """The most binding first; empty if it may move freely."""
    pinned_by: tuple[str, ...] = ()
    """The parts of selectors that no node of another provider satisfies, such as gpu=h100."""


def workload_of(found: AuditedPod, owners: Mapping[str, Owner]) -> WorkloadName:
    """Follow the owners of a pod to the topmost."""
    owner = found.owner
    if owner is None:
        return WorkloadName(found.pod.namespace, _BARE, found.pod.name)
    for _ in range(_MOST_OWNERS):
        above = owners.get(owner.uid)
        if above is None:
            break
        owner = above
    return WorkloadName(found.pod.namespace, owner.kind, owner.name)


def workloads(cluster: Cluster, judge: Judge, resources: Iterable[str]) -> tuple[Workload, ...]:
    """Return the workloads, the largest first. The pods of agents (DaemonSets) are no workload."""
    known = tuple(resources)
    groups: dict[tuple[WorkloadName, str], list[AuditedPod]] = {}
    for found in cluster.pods:
        if node_bound(found.pod):
            continue
        for resource in known:
            if request_of(found.pod, resource):
                groups.setdefault((workload_of(found, cluster.owners), resource), []).append(found)
    pinning = _Pinning(cluster, judge)
    made = [_workload(name, resource, pods, pinning, judge) for (name, resource), pods in groups.items()]
    return tuple(sorted(made, key=lambda found: (-found.accelerators, -found.waiting_accelerators, found.name)))


def _workload(
    name: WorkloadName, resource: str, pods: Sequence[AuditedPod], pinning: "_Pinning", judge: Judge
) -> Workload:
    bound = [found for found in pods if found.pod.node]
    providers: Counter[str] = Counter()
    for found in bound:
        providers[judge.provider_in(found)] += request_of(found.pod, resource)
    budgets = pinning.budgets_of(pods)
    pins, pinned_by = pinning.pins_of(bound or pods, resource, budgets)
    return Workload(
        name=name,
        resource=resource,
        pods=len(bound),
        accelerators=providers.total(),
        waiting_pods=len(pods) - len(bound),
        waiting_accelerators=sum(request_of(found.pod, resource) for found in pods if not found.pod.node),
        providers=dict(sorted(providers.items())),
        priority=max(found.pod.priority for found in pods),
        gang=any(found.pod.gang for found in pods),
        budgets={budget.name: budget.allowed for budget in budgets},
        pins=pins,
        pinned_by=pinned_by,
    )


class _Pinning:
    """Finds what pins pods. Equal shapes are looked at once."""

    def __init__(self, cluster: Cluster, judge: Judge) -> None:
        self._judge = judge
        self._now = cluster.now
        self._nodes = [found.node for found in cluster.nodes]
        self._provider_of = judge.provider_of_node
        self._budgets: dict[str, list[DisruptionBudget]] = {}
        for budget in cluster.budgets:
            self._budgets.setdefault(budget.namespace, []).append(budget)
        self._by_selectors: dict[tuple[object, ...], tuple[tuple[Pin, ...], tuple[str, ...]]] = {}

    def budgets_of(self, pods: Iterable[AuditedPod]) -> list[DisruptionBudget]:
        """Return the budgets that select any of these pods."""
        found: dict[str, DisruptionBudget] = {}
        for labels, namespace in {id(pod.pod.labels): (pod.pod.labels, pod.pod.namespace) for pod in pods}.values():
            for budget in self._budgets.get(namespace, ()):
                if budget.name not in found and budget.selector.matches(labels):
                    found[budget.name] = budget
        return [found[name] for name in sorted(found)]

    def pins_of(
        self, pods: Sequence[AuditedPod], resource: str, budgets: Iterable[DisruptionBudget]
    ) -> tuple[tuple[Pin, ...], tuple[str, ...]]:
        """Return all that pins these pods, and the parts of their selectors that do so."""
        pins: set[Pin] = set()
        pinned_by: dict[str, None] = {}
        for found in pods:
            pins.update(self._own_pins(found))
            by_fit, parts = self._pins_by_fit(found, resource)
            pins.update(by_fit)
            pinned_by.update(dict.fromkeys(parts))
        if any(not budget.allowed for budget in budgets):
            pins.add(Pin.NO_DISRUPTION_ALLOWED)
        return tuple(pin for pin in Pin if pin in pins), tuple(pinned_by)

    def _own_pins(self, found: AuditedPod) -> Iterable[Pin]:
        """Return what a pod says of itself."""
        pod, unmodelled = found.pod, found.pod.shape.unmodelled
        holds = {
            Pin.NO_CONTROLLER: not pod.owner and pod.movable is not True,
            Pin.NOT_MOVABLE: pod.movable is False,
            Pin.STAYS_ON_PRIMARY: pod.allowed == (),
            Pin.VOLUME: storage_bound(pod) and "volumes" in unmodelled,
            Pin.RESOURCE_CLAIM: storage_bound(pod) and "resourceClaims" in unmodelled,
            Pin.KEEPS_NAME: pod.keeps_name,
            Pin.DO_NOT_DISRUPT: pod.protected_until > self._now,
            Pin.KUEUE: found.kueue,
            Pin.GANG: pod.gang,
            Pin.RUNS_TO_COMPLETION: may_fail_for_good(pod),
            Pin.PLACED_BY_OTHERS: not _BY_OTHER_PODS.isdisjoint(unmodelled),
        }
        return [pin for pin, is_so in holds.items() if is_so]

    def _pins_by_fit(self, found: AuditedPod, resource: str) -> tuple[tuple[Pin, ...], tuple[str, ...]]:
        """Return what keeps a pod off the nodes of all other providers, even if they were empty."""
        pod = found.pod
        home = self._judge.provider_in(found)
        judged = self._judge.pool_of(found)
        key = (id(pod.shape), home, resource, judged and judged.pool.name)
        if key not in self._by_selectors:
            others = [
                node
                for node in self._nodes
                if node.allocatable.get(resource) and self._provider_of.get(node.name, "") != home
            ]
            self._by_selectors[key] = self._fit(pod, judged, others) if others else ((), ())
        return self._by_selectors[key]

    def _fit(
        self, pod: Pod, judged: JudgedPool | None, others: Sequence[Node]
    ) -> tuple[tuple[Pin, ...], tuple[str, ...]]:
        shape = pod.shape
        admitting = [node for node in others if shape.admits(node.name, node.labels)]
        if not admitting:
            return _by_selectors(shape, others)
        if judged is not None:
            added = self._judge.tolerations_by_node(judged)
            open_to = [
                node for node in admitting if tolerated(node.taints, (*shape.tolerations, *added.get(node.name, ())))
            ]
            if not open_to:
                return (Pin.TAINT,), ()
            admitting = open_to
        if all(_is_too_small(node, shape) for node in admitting):
            return (Pin.TOO_LARGE,), ()
        return (), ()


def _is_too_small(node: Node, shape: Shape) -> bool:
    return any(node.allocatable.get(name, 0) < amount for name, amount in shape.requests)


def _by_selectors(shape: Shape, others: Sequence[Node]) -> tuple[tuple[Pin, ...], tuple[str, ...]]:
    """Say which parts of a pod's selectors no other node satisfies; all parts if only together none."""
    missing = [
        (key, value) for key, value in shape.node_selector if not any(node.labels.get(key) == value for node in others)
    ]
    pins = [_pin_of(key) for key, _ in missing]
    parts = [f"{key}={value}" for key, value in missing]
    by_affinity = shape.affinity is not None and not any(
        term.matches(node.name, node.labels) for node in others for term in shape.affinity
    )
    if by_affinity and shape.affinity is not None:
        keys = {need.key for term in shape.affinity for need in term.expressions}
        pins.append(
            _pin_of(next(iter(keys)))
            if len(keys) == 1 and _pin_of(*keys) is not Pin.NODE_SELECTOR
            else Pin.NODE_AFFINITY
        )
        parts += [f"affinity to {key}" for key in sorted(keys)]
    if not pins:
        pins = [Pin.NODE_SELECTOR] if shape.node_selector else [Pin.NODE_AFFINITY]
        parts = [f"{key}={value}" for key, value in shape.node_selector]
    return tuple(dict.fromkeys(pins)), tuple(parts)


def _pin_of(key: str) -> Pin:
    if key in PINS_MODEL:
        return Pin.MODEL
    return Pin.ARCHITECTURE if key in PINS_ARCHITECTURE else Pin.NODE_SELECTOR
