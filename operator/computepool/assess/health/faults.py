"""What is wrong with one node right now: the worst of its faults, and whether it counts at once."""

from collections.abc import Iterable
from typing import Final

import msgspec

from computepool.model.accelerators import accelerators_of
from computepool.model.api import UNAVAILABLE_KEY
from computepool.model.api import Health as HealthSpec
from computepool.model.cluster import Node, NodeInfo
from computepool.model.quantity import MILLI
from computepool.model.reasons import Reason

AUTOSCALER_TAINTS: Final = frozenset(
    {"ToBeDeletedByClusterAutoscaler", "karpenter.sh/disrupted", "karpenter.sh/disruption"}
)
"""Taints of nodes that an autoscaler is taking away: it drains them itself, and nothing is wrong with them."""
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
    }
)
"""Every fault that makes a single node sick."""
JOINING_FAULTS: Final = frozenset({Reason.NODE_UNKNOWN, Reason.NODE_NOT_READY, Reason.DEVICE_PLUGIN_GONE})
"""What is no fault in a node that has not been ready yet: it is just joining."""

UPGRADE_FAULTS: Final = frozenset({Reason.NODE_NOT_READY, Reason.DEVICE_PLUGIN_GONE})
"""What a cordoned node goes through while it is upgraded: a provider that does that node by node does not fail."""


class Fault(msgspec.Struct, frozen=True):
    """What is wrong with a node. `at_once`: what shows it was waited for already."""

    reason: Reason
    detail: str = ""
    at_once: bool = False


class Rules(msgspec.Struct, frozen=True):
    """What `spec.health` says about single nodes, in the form that many nodes are checked against."""

    resource: str
    pool: str
    bad: frozenset[tuple[str, str]]
    """Type and status of conditions that mean trouble."""
    removal: frozenset[str]
    """Keys of taints that announce a node's end."""
    leaving: frozenset[str]
    """Keys of taints by which autoscalers take a node away."""
    percent: int
    """Percent of a node's accelerators that must be gone."""


def rules_of(health: HealthSpec, pool: str, resource: str) -> Rules:
    """Compile the rules of one pool. A taint that the spec lists as an announcement is one, an autoscaler's too."""
    removal = frozenset(health.removal_taints)
    return Rules(
        resource=resource,
        pool=pool,
        bad=frozenset((one.type, str(one.bad_status)) for one in health.conditions),
        removal=removal,
        leaving=AUTOSCALER_TAINTS - removal,
        percent=health.unhealthy_percent,
    )


def leaving(node: Node, taints: frozenset[str] = AUTOSCALER_TAINTS) -> bool:
    """Say whether the node is being taken away as planned: no supply, and nothing is wrong with it."""
    return node.deleting or _first(node, taints) is not None


class FastPath:
    """Tells in a moment of most nodes that nothing can be wrong with them, so that a pass over thousands is cheap.

    For one pass only: taints and conditions are told apart by identity, which most nodes share.
    """

    def __init__(self, rules: Rules) -> None:
        """Start knowing nothing."""
        self._resource = rules.resource
        self._telling = rules.removal | rules.leaving | {UNAVAILABLE_KEY}
        self._bad = rules.bad
        self._plain: dict[tuple[int, int], bool] = {}

    def well(self, info: NodeInfo) -> bool:
        """Say whether the node is ready, has all its accelerators, and no taint or condition tells of anything."""
        node = info.node
        if node.ready != "True" or node.deleting:
            return False
        accelerators = accelerators_of(info, self._resource)
        if not accelerators.allocatable or accelerators.missing:
            return False
        key = (id(node.taints), id(node.conditions))
        plain = self._plain.get(key)
        if plain is None:
            plain = self._bad.isdisjoint(node.conditions) and _first(node, self._telling) is None
            self._plain[key] = plain
        return plain


def fault_of(info: NodeInfo, rules: Rules, *, silent: bool = False, failed: int = 0) -> Fault | None:
    """Return the worst fault of a node; None where nothing is wrong.

    `silent`: its heartbeat has stopped; `failed`: how many pods failed at once on it, if so many that they count.
    """
    node = info.node
    if silent:
        return Fault(Reason.NODE_SILENT, "", at_once=True)
    if node.ready == "Unknown":
        return Fault(Reason.NODE_UNKNOWN, "", at_once=True)
    if node.taints and (key := _first(node, rules.removal)) is not None:
        return Fault(Reason.REMOVAL_ANNOUNCED, key, at_once=True)
    if failed:
        return Fault(Reason.BLACK_HOLE, f"{failed} pods failed at once", at_once=True)
    if node.ready != "True":
        return Fault(Reason.NODE_NOT_READY)
    if not rules.bad.isdisjoint(node.conditions):
        return Fault(Reason.NODE_CONDITION, _named(one for one in node.conditions if one in rules.bad))
    return _devices(info, rules)


def _devices(info: NodeInfo, rules: Rules) -> Fault | None:
    accelerators = accelerators_of(info, rules.resource)
    has, gone = accelerators.capacity, accelerators.missing
    if not has:
        # A node that was never told to have any is no fault, unless pods of the pool hold some of it.
        share = info.shares.get(rules.pool)
        return Fault(Reason.DEVICE_PLUGIN_GONE) if share is not None and share.accelerators else None
    if gone == has:
        return Fault(Reason.DEVICE_PLUGIN_GONE)
    if gone and 100 * gone >= rules.percent * has:
        return Fault(Reason.DEVICES_MISSING, f"{gone // MILLI} of {has // MILLI}")
    return None


def _first(node: Node, keys: frozenset[str]) -> str | None:
    return next((taint.key for taint in node.taints if taint.key in keys), None)


def _named(conditions: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{kind}={status}" for kind, status in conditions)
