"""The fault of each node of a pool, and which nodes count in their provider's verdict."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import msgspec

from computepool.assess.health.faults import NODE_FAULTS, FastPath, FaultRules, fault_of, leaving
from computepool.assess.health.hysteresis import Times, node_fault_of, quarantined_before
from computepool.assess.health.silence import Silence
from computepool.assess.signals.node_signals import NodeSignal
from computepool.model.accelerators import accelerators_of, held_by_claims, serves_other_kind
from computepool.model.cluster import Node, NodeInfo
from computepool.model.state import Breaker, NodeFault, PoolState

NO_NODE_SIGNALS: Final[Mapping[str, NodeSignal]] = MappingProxyType({})


class CountedNodes(msgspec.Struct, frozen=True):
    """A provider's nodes that count in its verdict: all but nodes that just join or are taken away as planned."""

    infos: list[NodeInfo]
    unusual: list[NodeInfo]
    """The nodes among them that the fast path could not settle, and nodes that were lost while others drain them."""
    joining: set[str]
    """Names of the nodes that just join and have no accelerators yet. Nodes that join do not count at all."""
    uncounted: set[str]
    """Names of the nodes whose accelerators can't be counted. They count as nodes, and their accelerators do not."""
    ending: set[str]
    """Names of the nodes that end soon as planned: they have not failed, whatever their faults are."""


class NodeInspection:
    """One pass over every node: its fault, and whether it has joined.

    A node has joined once it was ready with accelerators. Until then it has no fault, whatever its status says: its
    kubelet, driver and device plugin may be on their way. If the process does not know, it looks for evidence: a pod of
    the pool that holds accelerators there, which the scheduler bound when there were some. Without evidence the node is
    joining. That is safe, because no such pod would have to leave, and the node gets no new pods before it is ready.

    A node that others take away has no fault, since they move its pods. If nothing is heard of it and pods of the pool
    are still there, nobody moves them: then it has this fault.

    A node that serves another kind of the same vendor's accelerators instead, such as partitions of them (MIG), is
    joining too: it was set up anew, and lacks nothing.
    """

    def __init__(
        self,
        rules: FaultRules,
        times: Times,
        silence: Silence,
        failed_pods: Mapping[str, int],
        state: PoolState,
        now: float,
        signals: Mapping[str, NodeSignal] = NO_NODE_SIGNALS,
    ) -> None:
        """`failed_pods`: by node that is a black hole, how many pods failed there; `signals`: by node, a signal from
        metrics that is on.
        """
        self._rules = rules
        self._times = times
        self._silence = silence
        self._failed_pods = failed_pods
        self._state = state
        self._now = now
        self._fast_path = FastPath(rules)
        self._signals = signals
        self._known_faults = silence.silent | failed_pods.keys() | state.memory.node_faults.keys() | signals.keys()
        self.faults: dict[str, NodeFault] = {}
        """By node."""
        self.joined: set[str] = set()
        """Nodes that have been ready with accelerators."""

    def inspect(self, provider: str, infos: Sequence[NodeInfo]) -> CountedNodes:
        """Note the faults of a provider's nodes; return the nodes that count."""
        counted = CountedNodes([], [], set(), set(), set())
        breaker = self._state.breaker(provider)
        for info in infos:
            name = info.node.name
            if name not in self._known_faults and self._fast_path.has_no_fault(info):
                self.joined.add(name)
                counted.infos.append(info)
            elif not self._has_joined(info):
                if not accelerators_of(info, self._rules.resource).allocatable:
                    counted.joining.add(name)
            else:
                if self._is_uncounted(info):
                    counted.uncounted.add(name)
                taken = leaving(info.node, self._rules.leaving, self._rules.draining)
                if taken or not self._rules.ending.isdisjoint(info.node.conditions):
                    counted.ending.add(name)
                self.joined.add(name)
                if not taken:
                    counted.infos.append(info)
                if not taken or self._is_lost(info):
                    counted.unusual.append(info)
                    self._note_fault(info, breaker)
        return counted

    def _is_lost(self, info: NodeInfo) -> bool:
        """Say whether nothing is heard of the node, and pods of the pool are still there."""
        dark = info.node.name in self._silence.silent or info.node.ready == "Unknown"
        return dark and self._rules.pool in info.shares

    def _note_fault(self, info: NodeInfo, breaker: Breaker) -> None:
        """Note the fault of a node that has joined."""
        name, memory = info.node.name, self._state.memory
        unknown_since = memory.unknown_since.get(name, self._now) if info.node.ready == "Unknown" else None
        seen = fault_of(
            info,
            self._rules,
            silent=name in self._silence.silent,
            dark_since=self._silence.dark_since(name, unknown_since),
            failed_pods=self._failed_pods.get(name, 0),
            signal=self._signals.get(name),
        )
        before = memory.node_faults.get(name)
        if before is None and memory.joined is None:
            before = _fault_of_quarantine(info.node, breaker, self._now)
        fault = node_fault_of(before, seen, self._times, self._now)
        if fault is not None:
            self.faults[name] = fault

    def _has_joined(self, info: NodeInfo) -> bool:
        node, joined = info.node, self._state.memory.joined
        if node.ready == "True" and accelerators_of(info, self._rules.resource).allocatable:
            return True
        if self._rules.pool in info.shares or self._is_uncounted(info):
            return True
        if serves_other_kind(info, self._rules.resource):
            return False
        # In the first pass, a quarantine shows that an earlier leader has known the node.
        return node.quarantined if joined is None else node.name in joined

    def _is_uncounted(self, info: NodeInfo) -> bool:
        """Say whether the node's accelerators are served by DRA, so that its amounts do not show them."""
        rules = self._rules
        return not accelerators_of(info, rules.resource).allocatable and held_by_claims(
            info, rules.pool, rules.resource
        )


def faults_among(infos: Sequence[NodeInfo], faults: Mapping[str, NodeFault]) -> dict[str, NodeFault]:
    """Return the faults of these nodes."""
    if not faults:
        return {}
    return {info.node.name: faults[info.node.name] for info in infos if info.node.name in faults}


def _fault_of_quarantine(node: Node, breaker: Breaker, now: float) -> NodeFault | None:
    """Return the fault that a quarantine found in the first pass stands for; None if an open breaker explains it."""
    if not breaker.closed or not node.quarantined:
        return None
    for reason in NODE_FAULTS:
        if node.quarantine == reason.value:
            return quarantined_before(reason, now)
    return None
