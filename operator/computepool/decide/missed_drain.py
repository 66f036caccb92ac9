"""Whether pods wait that a drained provider would take, so that the end of its drain would help. Pods that should
leave an unhealthy node and find no other place count too.

About waiting pods, the verdict has the patience of a shortage, and it has its hysteresis. It decides nothing about
pods. But it stops a drill, so a drilled provider is judged to the pods' favour: it counts as a taker of pods with
constraints that are not modelled, too.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from computepool.assess.breakers.canary import has_place
from computepool.assess.capacity.supply import Supply
from computepool.assess.demand.overflow import Hold
from computepool.assess.health.faults import avoided
from computepool.decide.account.budget import BudgetAccount, cost_of
from computepool.decide.burst.planner import LASTING
from computepool.decide.context import Context
from computepool.decide.plan import BlockedMove
from computepool.decide.shortage import first_names, is_rejected_everywhere, lasts, patience_of
from computepool.model.accelerators import MOST_ON_A_NODE, accelerators_of, request_of
from computepool.model.api import UNAVAILABLE_KEY
from computepool.model.cluster import Node, NodeInfo, Pod, Shape
from computepool.model.reasons import Reason
from computepool.model.state import MissedDrain
from computepool.model.taints import Taint, tolerated

MAX_SHAPES: Final = 4
"""How many shapes of waiting pods are compared with nodes of a drained provider. A pod of another shape is no reason to
end a drain. For a drilled provider, all are compared."""


class DrainedRoom:
    """The room of the drained providers that work."""

    def __init__(self, context: Context, budget: BudgetAccount) -> None:
        """`budget`: the pool's money in this pass."""
        self._context = context
        self._money = budget.remaining
        self._supplies = {
            supply.provider.name: supply
            for supply in context.assessment.supplies
            if supply.provider.drain and supply.breaker.reason is Reason.DRAINED
        }
        self._free: dict[str, Sequence[NodeInfo]] = {}
        self._shapes: set[int] = set()
        self._fitting: dict[tuple[str, int], bool] = {}

    def without_hopeless(self, holds: Sequence[Hold]) -> Sequence[Hold]:
        """Leave out pods that no provider would take if the drains ended, because they are too large for each."""
        if not self._supplies:
            return holds
        return [
            hold for hold in holds if not hold.rejected or not all(self._lasts(hold.pod, *by) for by in hold.rejected)
        ]

    def missed(
        self, holds: Iterable[Hold], blocked: Iterable[BlockedMove], before: MissedDrain | None
    ) -> MissedDrain | None:
        """Return the verdict on the waiting pods and blocked moves of a pass. `before`: of the pass before."""
        if not self._supplies:
            return None
        now = self._context.now
        latest = now - patience_of(self._context.spec)
        takers: set[str] = set()
        pods: list[Pod] = []
        lasting = (hold for hold in holds if hold.pod.since <= latest and is_rejected_everywhere(hold))
        candidates: list[Hold | BlockedMove] = [*lasting, *self._stuck(blocked)]
        for found in candidates:
            if names := self._takers(found.pod, found.rejected):
                takers.update(names)
                pods.append(found.pod)
        if pods:
            providers = tuple(name for name in self._supplies if name in takers)
            return MissedDrain(providers, first_names(pods), now)
        if before is None or not lasts(before, now):
            return None
        still = tuple(name for name in before.providers if name in self._supplies)
        return msgspec.structs.replace(before, providers=still) if still else None

    def _lasts(self, pod: Pod, name: str, why: Reason) -> bool:
        supply = self._supplies.get(name)
        return why in LASTING or (supply is not None and not self._is_large_enough(supply, pod))

    def _stuck(self, blocked: Iterable[BlockedMove]) -> Iterable[BlockedMove]:
        """Return the moves off unhealthy nodes, but not off those of a drained provider, which all pods leave anyway.

        From an unhealthy node of a drilled provider, pods could go to its other nodes.
        """
        drained = {name for name in self._supplies if not self._is_drilled(name)}
        health = self._context.assessment.health.providers
        unhealthy = {node for name, judged in health.items() if name not in drained for node in judged.unhealthy}
        return (move for move in blocked if move.pod.node in unhealthy)

    def _is_drilled(self, provider: str) -> bool:
        return self._context.assessment.drills.is_under_way(provider)

    def _takers(self, pod: Pod, rejected: Iterable[tuple[str, Reason]]) -> list[str]:
        unavailable = (name for name, why in rejected if why is Reason.PROVIDER_UNAVAILABLE)
        return [name for name in unavailable if name in self._supplies and self._takes(self._supplies[name], pod)]

    def _takes(self, supply: Supply, pod: Pod) -> bool:
        """Say whether the provider would take the pod, as far as is known, if its drain ended."""
        provider, resource = supply.provider, self._context.resource
        health = self._context.assessment.health.providers.get(provider.name)
        if health is not None and health.failing is not None:
            return False
        if provider.limit is not None and request_of(pod, resource) > provider.limit - supply.held:
            return False
        if self._money is not None and cost_of(provider, pod, resource) > self._money:
            return False
        return (self._is_drilled(provider.name) or not pod.shape.unmodelled) and self._fits(supply, pod)

    def _fits(self, supply: Supply, pod: Pod) -> bool:
        shape, provider = pod.shape, supply.provider
        if provider.kind.before_room:
            return shape.only_node is None and not provider.contradicts(shape) and self._is_large_enough(supply, pod)
        key = (provider.name, id(shape))
        found = self._fitting.get(key)
        if found is None:
            found = self._fitting[key] = self._has_place(supply, shape)
        return found

    def _has_place(self, supply: Supply, shape: Shape) -> bool:
        nodes, resource = self._free_nodes(supply), self._context.resource
        if not nodes or request_of(shape, resource) > accelerators_of(nodes[0], resource).free:
            return False
        self._shapes.add(id(shape))
        tolerations = shape.tolerations + supply.provider.tolerations
        is_compared = self._is_drilled(supply.provider.name) or len(self._shapes) <= MAX_SHAPES
        return is_compared and any(
            has_place(info, shape) and tolerated(_own_taints(info.node), tolerations) for info in nodes
        )

    def _free_nodes(self, supply: Supply) -> Sequence[NodeInfo]:
        """Return the nodes with free accelerators that would be usable without the drain, the emptiest first."""
        name, resource = supply.provider.name, self._context.resource
        if name not in self._free:
            left_out = supply.unhealthy | supply.uncounted
            found = [
                info
                for info in supply.nodes
                if accelerators_of(info, resource).free
                and info.node.usable
                and info.node.name not in left_out
                and info.node.quarantine in (None, Reason.DRAINED)
                and not avoided(info.node)
            ]
            self._free[name] = sorted(found, key=lambda info: -accelerators_of(info, resource).free)
        return self._free[name]

    def _is_large_enough(self, supply: Supply, pod: Pod) -> bool:
        """Say whether a node of the provider may be large enough for the pod, if it was empty."""
        most = MOST_ON_A_NODE if supply.provider.kind.before_room else supply.largest or MOST_ON_A_NODE
        return request_of(pod, self._context.resource) <= most


def _own_taints(node: Node) -> tuple[Taint, ...]:
    return tuple(taint for taint in node.taints if taint.key != UNAVAILABLE_KEY)
