"""Runs passes of the assessment alone, one after another, over a pool whose nodes and pods are given each time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from computepool.assess.assessment import Assessment
from computepool.assess.health.providers import ProviderHealth
from computepool.decide.reconcile import reconcile
from computepool.model.api import ComputePool
from computepool.model.cluster import Node, Pod
from computepool.model.reasons import Reason
from computepool.model.state import Breaker, BreakerTimers, NodeFault, PoolState, restarted
from tests.builders import NOW, changed, pool, snapshot


class Watch:
    """One leader's passes over a pool. `now` is the time of the next pass, in seconds after NOW."""

    def __init__(self, of: ComputePool | None = None, state: PoolState | None = None) -> None:
        self.pool = of or pool()
        self.state = state or PoolState()
        self.found: Assessment

    def see(self, now: float, nodes: Sequence[Node], pods: Sequence[Pod] = (), **fields: Any) -> Assessment:
        """One pass. `fields`: further ones of the snapshot; times in them are seconds since the epoch."""
        outcome = reconcile(snapshot(self.pool, nodes, pods, **fields), self.state, NOW + now)
        # The test sets which pods have had places, and since when.
        self.found, self.state = outcome.assessment, changed(outcome.state, fitting=self.state.memory.fitting)
        return self.found

    def restart(self) -> None:
        """Let another leader take over, which knows only the status."""
        self.state = restarted(self.state.recorded)

    def fault(self, name: str) -> NodeFault | None:
        """A node's fault, whether it counts yet or not."""
        return self.found.health.nodes.get(name)

    def unhealthy(self, provider: str = "aws") -> dict[str, Reason]:
        """The unhealthy nodes of a provider, and why."""
        return {name: fault.reason for name, fault in self.provider(provider).unhealthy.items()}

    def provider(self, name: str = "aws") -> ProviderHealth:
        """A provider's health."""
        return self.found.health.providers[name]

    def breaker(self, name: str = "aws") -> Breaker:
        """A provider's breaker."""
        return self.found.breakers.of[name]

    def timers(self, name: str = "aws") -> BreakerTimers:
        """The timers of a provider's breaker."""
        return self.found.breakers.timers.get(name, BreakerTimers())

    def usable(self, name: str = "aws") -> list[str]:
        """Names of the nodes of a provider that count as supply."""
        (supply,) = [found for found in self.found.supplies if found.provider.name == name]
        return [info.node.name for info in supply.usable]


def beating(now: float, *names: str) -> Mapping[str, float]:
    """The last heartbeats of these nodes, so many seconds after NOW."""
    return dict.fromkeys(names, NOW + now)
