"""What the selectors of pools without pods match, and when that changes.

A pod that requests no accelerator belongs to no pool, so its events concern no pool. But a pool without pods tells
whether its selectors match any. The pods are read once, and counted from then on.
"""

from collections import Counter
from collections.abc import Callable, Iterable

from computepool.model.accelerators import devices_of
from computepool.model.cluster import Pod
from computepool.model.labels import Selector
from computepool.model.snapshot import Selection
from computepool.observe.pod_claims import Claims


class _Matches:
    """How many pods the selectors of a pool match, and what these request."""

    def __init__(self, selector: Selector, namespaces: tuple[str, ...]) -> None:
        self.selector = selector
        self.namespaces = namespaces
        self._pods = 0
        # By extended resource: how many of the pods request it.
        self._requested: Counter[str] = Counter()

    def count(self, pod: Pod, change: int) -> bool:
        """Count a pod in, or out again; return whether that changes the selection."""
        if not self.selector.matches(pod.labels) or pod.namespace not in self.namespaces:
            return False
        names = [name for name, _ in devices_of(pod.shape)]
        self._pods += change
        for name in names:
            self._requested[name] += change
        # The first that is counted in changes the selection, and the last that is counted out.
        return max(change, 0) in (self._pods, *(self._requested[name] for name in names))

    def selection(self) -> Selection:
        requested = sorted(name for name, pods in self._requested.items() if pods)
        return Selection(bool(self.namespaces), self._pods > 0, tuple(requested))


class Selections:
    """By pool without pods: what its selectors match."""

    def __init__(self, claims: Claims, pods_in: Callable[[str], Iterable[Pod]]) -> None:
        """`pods_in`: the pods of a namespace."""
        self._claims = claims
        self._pods_in = pods_in
        # By pool that had no pods in its last snapshot.
        self._matches: dict[str, _Matches] = {}

    def look(self, pool: str) -> Selection | None:
        """Return what the pool's selectors match; None if the pool has pods, or if it is not known.

        All pods of the selected namespaces are read if the pool had pods before, or selects other namespaces or pods.
        """
        before = self._matches.pop(pool, None)
        selector = self._claims.selector(pool)
        if selector is None or self._claims.keeps_any(pool) or self._claims.conflicts(pool)[0]:
            return None
        namespaces = self._claims.namespaces(pool)
        if before is None or (before.selector, before.namespaces) != (selector, namespaces):
            before = _Matches(selector, namespaces)
            for name in namespaces:
                for pod in self._pods_in(name):
                    before.count(pod, 1)
        self._matches[pool] = before
        return before.selection()

    def forget(self, pool: str) -> None:
        """Drop a pool that is gone."""
        self._matches.pop(pool, None)

    @property
    def pools(self) -> Iterable[str]:
        """The pools that had no pods in their last snapshot."""
        return tuple(self._matches)

    def changed_by(self, before: Pod | None, after: Pod | None) -> Iterable[str]:
        """Return the pools without pods that match something else now that a pod has changed.

        `before`, `after`: the pod; None if it was not there, or is gone. Each change is told once.
        """
        changed = []
        for pool, matches in self._matches.items():
            # In first: a pod that matches as before changes nothing.
            into = after is not None and matches.count(after, 1)
            out = before is not None and matches.count(before, -1)
            if into or out:
                changed.append(pool)
        return changed
