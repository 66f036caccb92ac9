"""What a judged loss assumes, and what it leaves out. Amounts are in thousandths of an accelerator."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

import msgspec

from computepool.audit.cluster import AuditedPod, Cluster
from computepool.audit.losses import Fate
from computepool.audit.pools import JudgedPool
from computepool.model.accelerators import devices_of
from computepool.model.api.spec import Mode


class Assumptions(msgspec.Struct, frozen=True):
    """What a judged loss assumes about the pods that have somewhere to go, and which pods it leaves out."""

    without_pool: int = 0
    """Placed as if a pool had all providers: no pool of the cluster has these pods."""
    observing: Mapping[str, int] = MappingProxyType({})
    """Placed as if the pool enforced, by name of a pool in mode Observe."""
    unmodelled: int = 0
    """Placed although the pods have constraints that fit does not look at."""
    constraints: tuple[str, ...] = ()
    """These constraints, by their fields in the pod's spec, sorted."""
    not_judged: int = 0
    """Held on the lost nodes by pods that are not judged: pods of agents and of reserved namespaces, and pods that
    end."""


class Assuming:
    """Finds what the losses of a cluster assume. What all losses have in common is worked out once."""

    def __init__(
        self, cluster: Cluster, pool_of: Callable[[AuditedPod], JudgedPool | None], resources: Iterable[str]
    ) -> None:
        """`pool_of`: the pool that judges a pod; None without one."""
        wanted = frozenset(resources)
        self._observing = frozenset(pool.name for pool in cluster.pools if pool.spec.mode is Mode.OBSERVE)
        self._pools: dict[str, JudgedPool | None] = {}
        self._held: dict[str, list[tuple[str, int]]] = {}
        for found in cluster.pods:
            pod = found.pod
            amount = sum(amount for name, amount in devices_of(pod.shape) if name in wanted)
            if pod.node and amount:
                self._pools[pod.uid] = pool_of(found)
                self._held.setdefault(pod.node, []).append((pod.uid, amount))

    def of(self, fates: Sequence[Fate], lost: Iterable[str]) -> Assumptions:
        """Return what the loss of these nodes assumes. `fates`: what becomes of their pods."""
        without_pool, unmodelled = 0, 0
        observing: Counter[str] = Counter()
        constraints: set[str] = set()
        for fate in fates:
            if fate.stranded:
                continue
            judged = self._pools.get(fate.pod.pod.uid)
            if judged is None or not judged.own:
                without_pool += fate.amount
            elif judged.pool.name in self._observing:
                observing[judged.pool.name] += fate.amount
            if fate.pod.pod.shape.unmodelled:
                unmodelled += fate.amount
                constraints.update(fate.pod.pod.shape.unmodelled)
        known = {fate.pod.pod.uid for fate in fates}
        held = (found for node in lost for found in self._held.get(node, ()))
        return Assumptions(
            without_pool=without_pool,
            observing=dict(sorted(observing.items())),
            unmodelled=unmodelled,
            constraints=tuple(sorted(constraints)),
            not_judged=sum(amount for uid, amount in held if uid not in known),
        )
