"""The worst fault that one node has right now, and whether it counts at once."""

from collections.abc import Iterable, Mapping
from enum import Enum, auto
from typing import Final

import msgspec

from computepool.assess.signals.node_signals import NodeSignal
from computepool.model.accelerators import accelerators_of, held_by_claims
from computepool.model.api import UNAVAILABLE_KEY, HealthSpec
from computepool.model.cluster import Node, NodeInfo
from computepool.model.quantity import MILLI
from computepool.model.reasons import Reason

AUTOSCALER_TAINTS: Final = frozenset(
    {"ToBeDeletedByClusterAutoscaler", "karpenter.sh/disrupted", "karpenter.sh/disruption"}
)
"""Taints of nodes that an autoscaler takes away: it drains them itself, and they have no fault while they answer."""
NODE_FAULTS: Final = frozenset(
    {
        Reason.NODE_SILENT,
        Reason.NODE_UNKNOWN,
        Reason.REMOVAL_ANNOUNCED,
        Reason.BLACK_HOLE,
        Reason.NODE_NOT_READY,
        Reason.NODE_CONDITION,
        Reason.DEVICE_PLUGIN_GONE,
        Reason.DEVICES_MISSING,
        Reason.METRIC_UNHEALTHY,
    }
)
"""Every fault that makes a single node unhealthy."""


class Lifecycle(Enum):
    """The effect of a node condition by which a person or a tool announces what is planned for the node."""

    ENDS = auto()
    """The node ends soon, like a node whose removal is announced by a taint: its pods leave, within their limits."""
    IS_DRAINED = auto()
    """Somebody else drains the node, as autoscalers do: it has no fault, and the operator moves no pod off it. If
    nothing is heard of it any more, its pods leave as they leave any such node."""
    IS_AVOIDED = auto()
    """The node runs on for now: its pods stay, and its faults count as usual."""


LIFECYCLE: Final[Mapping[str, Lifecycle]] = {
    "GracefulNodeShutdownInProgress": Lifecycle.ENDS,
    "MaintenanceInProgress": Lifecycle.ENDS,
    "DrainInProgress": Lifecycle.IS_DRAINED,
    "Drained": Lifecycle.IS_DRAINED,
    "MaintenancePlanned": Lifecycle.IS_AVOIDED,
}
"""Node conditions of Kubernetes' node lifecycle, and the effect of each while it is True. The types are in
k8s.io/api/core/v1 from 1.37 on (KEP-5683, https://kep.k8s.io/5683). In all of these states the node gets no new pods.
A node that ends or is drained as planned is no failure of its provider."""


def _announcing(*effects: Lifecycle) -> frozenset[tuple[str, str]]:
    return frozenset((kind, "True") for kind, effect in LIFECYCLE.items() if effect in effects)


PLANNED: Final = _announcing(*Lifecycle)
ENDING: Final = _announcing(Lifecycle.ENDS)
DRAINING: Final = _announcing(Lifecycle.IS_DRAINED)
DARK_FAULTS: Final = frozenset({Reason.NODE_SILENT, Reason.NODE_UNKNOWN})
"""Faults of nodes of which nothing is heard. Only the link to the node may have failed."""
PROVEN_FAULTS: Final = frozenset({Reason.NODE_NOT_READY, Reason.NODE_CONDITION})
"""Faults that the node itself reports. They are proven once they have lasted for sustainSeconds."""
DEVICE_FAULTS: Final = frozenset({Reason.DEVICE_PLUGIN_GONE, Reason.DEVICES_MISSING})
"""Faults of nodes whose accelerators are gone. Only the device plugin may be away, and running pods keep theirs."""
UNPROVEN_FAULTS: Final = DEVICE_FAULTS | {Reason.METRIC_UNHEALTHY}
"""Faults that make no provider fail before they are confirmed. A device plugin that is rolled out everywhere takes all
accelerators away for a while, and a signal that is on and Unknown shows nothing (invariant 4)."""
UPGRADE_FAULTS: Final = frozenset({Reason.NODE_NOT_READY, Reason.DEVICE_PLUGIN_GONE})
"""States of a cordoned node while it is upgraded: a provider that upgrades node by node does not fail."""


class Fault(msgspec.Struct, frozen=True):
    """What is wrong with a node."""

    reason: Reason
    detail: str = ""
    at_once: bool = False
    """Whether it keeps new pods off at once, because its sign has lasted long enough already or pods fail there."""
    dark_since: float | None = None
    """Of `DARK_FAULTS`: since when nothing is heard of the node; 0 if its end is announced, so that nothing waits."""
    doubtful: bool = False
    """Whether it is not confirmed however long it lasts: the data of a signal does not show it now."""


class FaultRules(msgspec.Struct, frozen=True):
    """The rules of `spec.health` for single nodes, compiled once for many nodes."""

    resource: str
    pool: str
    bad: frozenset[tuple[str, str]]
    """Type and status of conditions that are a fault."""
    ending: frozenset[tuple[str, str]]
    """Type and status of conditions that announce a node's end."""
    draining: frozenset[tuple[str, str]]
    """Type and status of conditions by which others drain a node."""
    removal: frozenset[str]
    """Keys of taints that announce a node's end."""
    leaving: frozenset[str]
    """Keys of taints by which autoscalers take a node away."""
    percent: int
    """A node with at least this percent of its accelerators gone has a fault."""


def rules_of(health: HealthSpec, pool: str, resource: str) -> FaultRules:
    """Compile the rules of one pool.

    A taint of an autoscaler that the spec lists as an announcement is a fault, and so is a condition of the node
    lifecycle that the spec lists.
    """
    removal = frozenset(health.removal_taints)
    bad = frozenset((condition.type, str(condition.bad_status)) for condition in health.conditions)
    return FaultRules(
        resource=resource,
        pool=pool,
        bad=bad,
        ending=ENDING - bad,
        draining=DRAINING - bad,
        removal=removal,
        leaving=AUTOSCALER_TAINTS - removal,
        percent=health.unhealthy_percent,
    )


def leaving(
    node: Node, taints: frozenset[str] = AUTOSCALER_TAINTS, conditions: frozenset[tuple[str, str]] = DRAINING
) -> bool:
    """Say whether others take the node away as planned: then it is no supply, and has no fault."""
    return node.deleting or _first(node, taints) is not None or not conditions.isdisjoint(node.conditions)


def avoided(node: Node) -> bool:
    """Say whether the node is taken away, or is about to be: then it is no supply."""
    return leaving(node, conditions=PLANNED)


class FastPath:
    """Finds at little cost that most nodes have no fault, so that a pass over thousands of nodes is cheap.

    It lives for one pass only: taints and conditions are told apart by identity, because most nodes share them.
    """

    def __init__(self, rules: FaultRules) -> None:
        """Start without any known taints and conditions."""
        self._resource = rules.resource
        self._notable = rules.removal | rules.leaving | {UNAVAILABLE_KEY}
        self._notable_conditions = rules.bad | rules.ending | rules.draining
        self._plain: dict[tuple[int, int], bool] = {}

    def has_no_fault(self, info: NodeInfo) -> bool:
        """Say whether the node is ready, has all its accelerators, and has no taint or condition to look into.

        False: `fault_of` has to look.
        """
        node = info.node
        if node.ready != "True" or node.deleting:
            return False
        accelerators = accelerators_of(info, self._resource)
        if not accelerators.allocatable or accelerators.missing:
            return False
        key = (id(node.taints), id(node.conditions))
        plain = self._plain.get(key)
        if plain is None:
            plain = self._notable_conditions.isdisjoint(node.conditions) and _first(node, self._notable) is None
            self._plain[key] = plain
        return plain


def fault_of(
    info: NodeInfo,
    rules: FaultRules,
    *,
    silent: bool = False,
    dark_since: float = 0.0,
    failed_pods: int = 0,
    signal: NodeSignal | None = None,
) -> Fault | None:
    """Return the worst fault of a node that has joined; None if it has none.

    A node is a black hole only if nothing worse is seen, because pods that are ready stay on a black hole. On a node
    with a worse fault, pods that fail at once make that fault count at once.

    `silent`: its heartbeat has stopped; `dark_since`: since when nothing is heard of it, if that is so; `failed_pods`:
    how many pods failed at once on it, 0 if too few to count; `signal`: a signal from metrics that is on for it.
    """
    node = info.node
    announced = _announcement(node, rules)
    if silent or node.ready == "Unknown":
        # A node whose end is announced is not merely behind a link that has failed.
        since = dark_since if announced is None else 0.0
        reason = Reason.NODE_SILENT if silent else Reason.NODE_UNKNOWN
        return Fault(reason, announced or "", at_once=True, dark_since=since)
    if announced is not None:
        return Fault(Reason.REMOVAL_ANNOUNCED, announced, at_once=True)
    fault = _reported_fault(node, rules) or _device_fault(info, rules) or _measured_fault(signal)
    if not failed_pods:
        return fault
    if fault is None:
        return Fault(Reason.BLACK_HOLE, f"{failed_pods} pods failed at once", at_once=True)
    return msgspec.structs.replace(fault, at_once=True)


def _measured_fault(signal: NodeSignal | None) -> Fault | None:
    """Return the fault that a signal from metrics shows.

    A signal that its data does not show now proves nothing (invariant 4). The node stays out of use, and its pods stay.
    """
    if signal is None:
        return None
    return Fault(Reason.METRIC_UNHEALTHY, signal.text, at_once=True, doubtful=not signal.shown)


def _announcement(node: Node, rules: FaultRules) -> str | None:
    """Return the taint or the conditions that announce the node's end; None without any."""
    if node.taints and (key := _first(node, rules.removal)) is not None:
        return key
    return None if rules.ending.isdisjoint(node.conditions) else _types(node, rules.ending)


def _reported_fault(node: Node, rules: FaultRules) -> Fault | None:
    if node.ready != "True":
        return Fault(Reason.NODE_NOT_READY)
    if not rules.bad.isdisjoint(node.conditions):
        bad = [f"{kind}={status}" for kind, status in node.conditions if (kind, status) in rules.bad]
        return Fault(Reason.NODE_CONDITION, ", ".join(bad))
    return None


def _device_fault(info: NodeInfo, rules: FaultRules) -> Fault | None:
    accelerators = accelerators_of(info, rules.resource)
    capacity, missing = accelerators.capacity, accelerators.missing
    if not accelerators.allocatable:
        if held_by_claims(info, rules.pool, rules.resource):
            return None
        # After a restart, the kubelet reports no capacity either until the device plugin is back.
        return Fault(Reason.DEVICE_PLUGIN_GONE)
    if missing and 100 * missing >= rules.percent * capacity:
        return Fault(Reason.DEVICES_MISSING, f"{missing // MILLI} of {capacity // MILLI}")
    return None


def _types(node: Node, conditions: Iterable[tuple[str, str]]) -> str:
    return ", ".join(kind for kind, _ in sorted(set(node.conditions).intersection(conditions)))


def _first(node: Node, keys: frozenset[str]) -> str | None:
    for taint in node.taints:
        if taint.key in keys:
            return taint.key
    return None
