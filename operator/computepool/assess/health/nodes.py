"""The fault of each node of a pool, and which nodes count in their provider's verdict."""

from collections.abc import Mapping, Sequence

import msgspec

from computepool.assess.health.faults import JOINING_FAULTS, NODE_FAULTS, FastPath, FaultRules, fault_of, leaving
from computepool.assess.health.hysteresis import Times, node_fault_of, quarantined_before
from computepool.model.cluster import Node, NodeInfo
from computepool.model.state import Breaker, NodeFault, PoolState


class CountedNodes(msgspec.Struct, frozen=True):
    """A provider's nodes that count in its verdict: all but nodes that just join or are taken away as planned."""

    infos: list[NodeInfo]
    unusual: list[NodeInfo]
    """The nodes among them that the fast path could not settle."""


class NodeInspection:
    """One pass over every node: its fault, and whether it has ever been ready."""

    def __init__(
        self,
        rules: FaultRules,
        times: Times,
        silent: frozenset[str],
        failed_pods: Mapping[str, int],
        state: PoolState,
        now: float,
    ) -> None:
        """`silent`: names of silent nodes; `failed_pods`: by node that is a black hole, how many pods failed there."""
        self._rules = rules
        self._times = times
        self._silent = silent
        self._failed_pods = failed_pods
        self._state = state
        self._now = now
        self._fast_path = FastPath(rules)
        self._known_faults = silent | failed_pods.keys() | state.memory.node_faults.keys()
        self.faults: dict[str, NodeFault] = {}
        """By node."""
        self.joined: set[str] = set()
        """Nodes that have been ready."""

    def inspect(self, provider: str, infos: Sequence[NodeInfo]) -> CountedNodes:
        """Note the faults of a provider's nodes; return the nodes that count."""
        counted = CountedNodes([], [])
        breaker = self._state.breaker(provider)
        for info in infos:
            name = info.node.name
            if name not in self._known_faults and self._fast_path.has_no_fault(info):
                self.joined.add(name)
                counted.infos.append(info)
            elif self._counts(info, breaker):
                counted.infos.append(info)
                counted.unusual.append(info)
        return counted

    def _counts(self, info: NodeInfo, breaker: Breaker) -> bool:
        """Note the node's fault; say whether the node counts at all."""
        name = info.node.name
        seen = fault_of(info, self._rules, silent=name in self._silent, failed_pods=self._failed_pods.get(name, 0))
        if self._has_joined(info):
            self.joined.add(name)
        elif seen is None or seen.reason in JOINING_FAULTS:
            return False
        if leaving(info.node, self._rules.leaving):
            return False
        before = self._state.memory.node_faults.get(name)
        if before is None and self._state.memory.joined is None:
            before = _fault_of_quarantine(info.node, breaker, self._now)
        fault = node_fault_of(before, seen, self._times, self._now)
        if fault is not None:
            self.faults[name] = fault
        return True

    def _has_joined(self, info: NodeInfo) -> bool:
        """Say whether the node has been ready. In the first pass, the pool's pods there or a quarantine show it."""
        if info.node.ready == "True":
            return True
        if self._state.memory.joined is None:
            return self._rules.pool in info.shares or info.node.quarantined
        return info.node.name in self._state.memory.joined


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
