"""The demand on the primary: the accelerators that the pool's pods request, wherever they run or wait, and that other
pods hold there.

Pods that can never run on the primary are no demand of it, nor are pods that a gate holds back, that wait for one
certain node, or that terminate. The primary is full when this demand reaches its capacity. That is when saturation
finds all of it allocated, or pods overflow.
"""

from collections.abc import Iterable
from typing import Final

from computepool.assess.capacity.supply import Supply
from computepool.model.accelerators import MOST_ON_A_NODE, accelerators_of, request_of
from computepool.model.cluster import Pod, members_on
from computepool.model.quantity import MILLI
from computepool.model.snapshot import Snapshot

MAX_DEMAND: Final = 10_000_000 * MILLI
"""The largest number that a status holds."""


def capacity_of(primary: Supply) -> int:
    """Return the primary's accelerators that pods of the pool can use, with those on starting nodes, in thousandths."""
    return primary.allocatable + primary.coming


def demand_on(primary: Supply, snapshot: Snapshot) -> int:
    """Return the demand on the primary, in thousandths."""
    pool, resource = snapshot.pool.name, snapshot.pool.spec.accelerator.resource_name
    at_home = {info.node.name for info in primary.nodes}
    wanted = _Wanted(primary, resource)
    bound = [pod for pod in (*members_on(snapshot.nodes, pool), *snapshot.on_unknown_nodes) if pod.deleting is None]
    own = wanted.by(pod for pod in bound if pod.node in at_home or not pod.node_bound)
    waiting = wanted.by(
        pod for pod in snapshot.waiting if not (pod.gated or pod.node_bound or pod.deleting is not None)
    )
    return min(MAX_DEMAND, own + waiting + _held_by_others(primary, pool, resource))


def _held_by_others(primary: Supply, pool: str, resource: str) -> int:
    """Return what pods of no pool, or of other pools, hold on the nodes that count as the primary's capacity."""
    held = 0
    for info in primary.usable:
        if info.node.name not in primary.closed:
            share = info.shares.get(pool)
            held += max(0, accelerators_of(info, resource).used - (0 if share is None else share.accelerators))
    return held


class _Wanted:
    """Sums up requests. Pods of one shape are judged once."""

    def __init__(self, primary: Supply, resource: str) -> None:
        self._primary = primary
        self._resource = resource
        self._most = primary.largest or MOST_ON_A_NODE
        self._amounts: dict[int, int] = {}

    def by(self, pods: Iterable[Pod]) -> int:
        """Return what these pods want of the primary together."""
        return sum(map(self._amount, pods))

    def _amount(self, pod: Pod) -> int:
        found = self._amounts.get(id(pod.shape))
        if found is None:
            amount = request_of(pod, self._resource)
            # No node of the primary has room for a larger request, whoever waits with it.
            fits = amount <= self._most and not self._primary.provider.contradicts(pod.shape)
            found = self._amounts[id(pod.shape)] = amount if fits else 0
        return found
