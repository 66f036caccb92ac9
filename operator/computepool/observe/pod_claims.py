"""Which pools select each pod, and which of them keeps it."""

from collections import Counter
from collections.abc import Iterable, Mapping

from computepool.assess.demand.pool_of_pod import Claimant, claim, claimants
from computepool.model.api import ComputePool
from computepool.model.cluster import Pod
from computepool.model.labels import Labels, Selector
from computepool.observe.decode import Namespace


class Claims:
    """By pod uid: the pools that select the pod. The first of them is the oldest, and keeps it."""

    def __init__(self, reserved_namespaces: Iterable[str]) -> None:
        """Start empty. Pods in `reserved_namespaces` belong to no pool."""
        self._reserved = frozenset(reserved_namespaces)
        self._namespaces: dict[str, Labels] = {}
        self._claimants: tuple[Claimant, ...] = ()
        self._by_uid: dict[str, tuple[str, ...]] = {}
        # By pool: what `namespaces` has returned since pools and namespaces have changed.
        self._selected: dict[str, tuple[str, ...]] = {}
        # By pool: how many pods it keeps.
        self._kept: Counter[str] = Counter()
        # By pool that selects pods and does not keep them: how many each older pool keeps.
        self._conflicts: dict[str, Counter[str]] = {}

    def set_pools(self, pools: Iterable[ComputePool]) -> None:
        """Set the pools. The claims of known pods stand until they are found anew."""
        self._claimants = claimants(pools)
        self._selected.clear()

    def put_namespace(self, namespace: Namespace) -> bool:
        """Add or replace a namespace; return whether its labels changed."""
        if self._namespaces.get(namespace.name) == namespace.labels:
            return False
        self._namespaces[namespace.name] = namespace.labels
        self._selected.clear()
        return True

    def drop_namespace(self, name: str) -> bool:
        """Forget a namespace; return whether it was known."""
        self._selected.clear()
        return self._namespaces.pop(name, None) is not None

    def namespaces(self, pool: str) -> tuple[str, ...]:
        """Return the names of the namespaces that the pool selects, in alphabetical order."""
        if pool not in self._selected:
            selectors = [claimant.namespaces for claimant in self._claimants if claimant.pool == pool]
            selected = (
                name
                for name, labels in self._namespaces.items()
                if name not in self._reserved and any(selector.matches(labels) for selector in selectors)
            )
            self._selected[pool] = tuple(sorted(selected))
        return self._selected[pool]

    def find(self, pod: Pod) -> tuple[str, ...]:
        """Return the pools that select the pod by what is known now, the oldest first."""
        return () if pod.namespace in self._reserved else claim(pod, self._claimants, self._namespaces)

    def of(self, uid: str) -> tuple[str, ...]:
        """Return the pools that select the pod by what was known when `put` was called, the oldest first."""
        return self._by_uid.get(uid, ())

    def owner(self, uid: str) -> str:
        """Return the pool that keeps the pod, or an empty string."""
        pools = self._by_uid.get(uid)
        return pools[0] if pools else ""

    def put(self, uid: str, pools: tuple[str, ...]) -> None:
        """Note the pools that select a pod, in place of what was noted before."""
        self._count(self._by_uid.get(uid, ()), -1)
        self._by_uid[uid] = pools
        self._count(pools, 1)

    def drop(self, uid: str) -> None:
        """Forget a pod."""
        self._count(self._by_uid.pop(uid, ()), -1)

    def keeps_any(self, pool: str) -> bool:
        """Say whether the pool keeps any pod."""
        return self._kept[pool] > 0

    def selector(self, pool: str) -> Selector | None:
        """Return the pool's selector of pods; None for a pool that is not known, or while no namespace is known."""
        if not self._namespaces:
            return None
        return next((claimant.pods for claimant in self._claimants if claimant.pool == pool), None)

    def conflicts(self, pool: str) -> tuple[int, str]:
        """Return how many pods the pool selects that older pools keep, and the oldest of these pools."""
        kept_by: Mapping[str, int] = self._conflicts.get(pool, {})
        older = (claimant.pool for claimant in self._claimants if kept_by.get(claimant.pool))
        return sum(kept_by.values()), next(older, "")

    def _count(self, pools: tuple[str, ...], change: int) -> None:
        if pools:
            self._kept[pools[0]] += change
        for pool in pools[1:]:
            self._conflicts.setdefault(pool, Counter())[pools[0]] += change
