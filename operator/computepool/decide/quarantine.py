"""Which nodes are to carry the operator's taint against new pods. No pod is ended by it.

A pool says which of its nodes new pods are kept off. Several pools may have the same node: it carries the taint as long
as any of them wants it. Invariant 4: a node loses the taint only if every pool that has the node was judged under this
leadership, and none wants it. A pool that is frozen, or not judged yet, leaves its nodes as they are.
"""

from collections.abc import Iterable, Mapping, Sequence

from computepool.assess.assessment import Assessment
from computepool.assess.capacity.supply import Supply
from computepool.model.accelerators import accelerators_of
from computepool.model.api import BreakerState
from computepool.model.cluster import NodeInfo
from computepool.model.reasons import Reason


def quarantine_of(assessment: Assessment, resource: str) -> dict[str, Reason]:
    """Return the nodes that new pods are kept off, and why.

    These are: all nodes of a provider whose breaker is open, all nodes but the tried node of a half-open provider, and
    unhealthy nodes. Nodes that offer none of the accelerator are left out: no pod of a pool goes there, but the taint
    would also keep off, for ever, the DaemonSet's pod that brings the accelerators back after an update or on a new
    node.
    """
    nodes: dict[str, Reason] = {}
    for supply in assessment.supplies:
        unhealthy = assessment.health.providers[supply.provider.name].unhealthy if supply.unhealthy else {}
        nodes.update({name: unhealthy[name].reason for name in supply.unhealthy if name in unhealthy})
        nodes.update(_of_provider(supply))
    bare = (info.node.name for supply in assessment.supplies for info in supply.nodes if not offers(info, resource))
    for name in bare if nodes else ():
        nodes.pop(name, None)
    return nodes


def offers(info: NodeInfo, resource: str) -> bool:
    """Say whether any of the node's accelerators is allocatable."""
    return accelerators_of(info, resource).allocatable > 0


def _of_provider(supply: Supply) -> Iterable[tuple[str, Reason]]:
    breaker = supply.breaker
    if breaker.closed:
        return ()
    # An unhealthy node that is tried all the same keeps its own reason: it was chosen before it became unhealthy.
    tried = breaker.node if breaker.state is BreakerState.HALF_OPEN else ""
    # One reason for all nodes, which does not change as their own troubles do: each change would be a write.
    reason = breaker.reason or Reason.PROVIDER_UNAVAILABLE
    return [(info.node.name, reason) for info in supply.nodes if info.node.name != tried]


Wishes = Mapping[str, Mapping[str, Reason] | None]
"""By pool: the nodes that it wants new pods kept off; None: its nodes are left as they are. A pool that is missing was
not judged yet."""


def union_of(wishes: Wishes, by_age: Sequence[str]) -> dict[str, Reason]:
    """Return the nodes that any pool wants quarantined. `by_age`: pools, the oldest first, whose reason stands."""
    union: dict[str, Reason] = {}
    for pool in reversed(by_age):
        union.update(wishes.get(pool) or {})
    return union


def may_be_freed(wishes: Wishes, pools: Sequence[str], *, unread: bool) -> bool:
    """Say whether a node that no pool wants quarantined may lose its taint.

    `pools`: the pools that have the node; `unread`: there are pools that can't be read, which may have it too.
    """
    judged = all(wishes.get(pool) is not None for pool in pools)
    return judged and (bool(pools) or not unread)
