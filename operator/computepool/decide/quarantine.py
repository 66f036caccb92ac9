"""Decides which nodes carry the taint that keeps new pods off. Running pods stay.

Several pools may have the same node. It carries the taint while at least one of them wants the taint. Invariant 4: a
node loses the taint only after this leader has judged all pools that have the node, and all allow new pods there. A
pool that is frozen, or not judged yet, leaves its nodes as they are.
"""

from collections.abc import Iterable, Mapping, Sequence

from computepool.assess.assessment import Assessment
from computepool.assess.capacity.supply import Supply
from computepool.model.accelerators import accelerators_of
from computepool.model.api import BreakerState
from computepool.model.cluster import NodeInfo
from computepool.model.reasons import Reason


def quarantine_of(assessment: Assessment, resource: str) -> dict[str, Reason]:
    """Return the names of the nodes to quarantine, with the reason.

    These are all nodes of an open provider, all nodes of a half-open provider except the node that is tried, and
    unhealthy nodes. A provider that only did not bind pods in time has no node at fault. Its nodes run other pods, and
    other controllers may evict pods because of a taint. So they get none, unless a person drains the provider.

    Nodes without accelerators are left out. The pool's pods can't go there, and the taint would keep off the device
    plugin's pod, which has to bring the accelerators back.
    """
    nodes: dict[str, Reason] = {}
    for supply in assessment.supplies:
        unhealthy = assessment.health.providers[supply.provider.name].unhealthy if supply.unhealthy else {}
        nodes.update({name: unhealthy[name].reason for name in supply.unhealthy if name in unhealthy})
        nodes.update(_of_provider(supply))
    bare = (
        info.node.name
        for supply in assessment.supplies
        for info in supply.nodes
        if not may_take_pods(supply, info, resource)
    )
    for name in bare if nodes else ():
        nodes.pop(name, None)
    return nodes


def may_take_pods(supply: Supply, info: NodeInfo, resource: str) -> bool:
    """Say whether the scheduler may bind a pod of the pool to the node: it has accelerators, or DRA serves them."""
    return accelerators_of(info, resource).allocatable > 0 or info.node.name in supply.uncounted


def _of_provider(supply: Supply) -> Iterable[tuple[str, Reason]]:
    breaker = supply.breaker
    if breaker.closed:
        return ()
    # All nodes get the provider's reason. Their own faults change more often, and each change would be a write.
    reason = breaker.reason or Reason.PROVIDER_UNAVAILABLE
    if reason is Reason.PROVISIONING_FAILED:
        if not supply.provider.drain:
            return ()
        reason = Reason.DRAINED
    # The tried node may have become unhealthy since. Then it stays quarantined for that reason.
    tried = breaker.node if breaker.state is BreakerState.HALF_OPEN else ""
    return [(info.node.name, reason) for info in supply.nodes if info.node.name != tried]


Wishes = Mapping[str, Mapping[str, Reason] | None]
"""By pool: the nodes to quarantine, with the reason; None: leave its nodes as they are. A missing pool was not judged
yet."""


def union_of(wishes: Wishes, by_age: Sequence[str]) -> dict[str, Reason]:
    """Return the nodes that at least one pool wants quarantined. `by_age`: pools, oldest first; its reason counts."""
    union: dict[str, Reason] = {}
    for pool in reversed(by_age):
        union.update(wishes.get(pool) or {})
    return union


def may_be_freed(wishes: Wishes, pools: Sequence[str], *, unread: bool) -> bool:
    """Say whether a node outside the union may lose its taint.

    `pools`: the pools that have the node; `unread`: whether there are unreadable pools, which may also have the node.
    """
    judged = all(wishes.get(pool) is not None for pool in pools)
    return judged and (bool(pools) or not unread)
