"""Names in pods' annotations that are no provider of the pool: each pod is told once while it waits."""

from collections.abc import Container, Iterable, Sequence
from typing import Final

from computepool.model.api import ComputePool
from computepool.model.cluster import Pod
from computepool.model.snapshot import Snapshot
from computepool.model.text import cut
from computepool.report.formatting import listed

NAMED: Final = 3
"""How many of the names a text has."""
MAX_NAME: Final = 63
"""Characters of each name: no provider's name is longer."""
NEW: Final = 100
"""How many pods a pass tells, so that thousands of them push no other event out of the queue."""


def unknown_providers(pod: Pod, pool: ComputePool) -> str:
    """Return the names in the pod's allow-list that are no provider of the pool, for people; empty without any."""
    return _unknown_in(pod.allowed or (), frozenset(provider.name for provider in pool.spec.providers))


def waiting_with_unknown_providers(snapshot: Snapshot) -> Sequence[tuple[Pod, str]]:
    """Return the pool's waiting pods whose allow-lists have unknown names, and the names."""
    known = frozenset(provider.name for provider in snapshot.pool.spec.providers)
    # Thousands of pods of one workload have the same list.
    lists = {allowed: _unknown_in(allowed, known) for allowed in {pod.allowed for pod in snapshot.waiting} if allowed}
    return [(pod, names) for pod in snapshot.waiting if pod.allowed and (names := lists[pod.allowed])]


def _unknown_in(allowed: Sequence[str], known: Container[str]) -> str:
    names = dict.fromkeys(name for name in allowed if name not in known)
    return listed([repr(cut(name, MAX_NAME)) for name in names], NAMED)


class UnknownProviders:
    """Remembers which waiting pods were told."""

    def __init__(self) -> None:
        """No pod was told yet."""
        self._told: dict[str, frozenset[str]] = {}
        """By pool: uids of pods."""

    def news(self, pool: str, found: Sequence[tuple[Pod, str]]) -> Iterable[tuple[Pod, str]]:
        """Return the next pods that were not told yet, `NEW` at most, and the unknown names of each.

        `found`: by `waiting_with_unknown_providers`, of the pool of that name.
        """
        told = self._told.get(pool, frozenset())
        new = [(pod, names) for pod, names in found if pod.uid not in told][:NEW]
        self._told[pool] = told.intersection(pod.uid for pod, _ in found).union(pod.uid for pod, _ in new)
        return new

    def forget(self, pool: str) -> None:
        """Drop a pool that is gone."""
        self._told.pop(pool, None)
