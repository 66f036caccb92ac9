"""What the selectors of pools without pods match, and when that changes.

A pod that requests no accelerator belongs to no pool, so its events concern no pool. But a pool without pods tells
whether its selectors match any.
"""

from collections.abc import Callable, Iterable

from computepool.model.cluster import Pod
from computepool.model.labels import Selector
from computepool.model.snapshot import Selection
from computepool.observe.pod_claims import Claims


class Selections:
    """By pool without pods: what its selectors matched in its last snapshot."""

    def __init__(self, claims: Claims, pods_in: Callable[[str], Iterable[Pod]]) -> None:
        """`pods_in`: the pods of a namespace."""
        self._claims = claims
        self._pods_in = pods_in
        self._last: dict[str, Selection] = {}

    def look(self, pool: str) -> Selection | None:
        """Return what the pool's selectors match; None if the pool has pods, or if it is not known.

        All pods of the selected namespaces are read, so ask this once in a pass.
        """
        self._last.pop(pool, None)
        selector = self._claims.selector(pool)
        if selector is None or self._claims.keeps_any(pool) or self._claims.conflicts(pool)[0]:
            return None
        shapes = {id(pod.shape): pod.shape for pod in self._selected(pool, selector)}
        requested = {name for shape in shapes.values() for name, _ in shape.requests if "/" in name}
        namespaces = bool(self._claims.namespaces(pool))
        found = self._last[pool] = Selection(namespaces, bool(shapes), tuple(sorted(requested)))
        return found

    def forget(self, pool: str) -> None:
        """Drop a pool that is gone."""
        self._last.pop(pool, None)

    @property
    def pools(self) -> Iterable[str]:
        """The pools that had no pods in their last snapshot."""
        return tuple(self._last)

    def changed_by(self, pod: Pod, *, gone: bool) -> Iterable[str]:
        """Return the pools without pods that may match something else now that a pod appeared, or is gone."""
        return [pool for pool, last in self._last.items() if self._matters(pool, last, pod, gone=gone)]

    def _matters(self, pool: str, last: Selection, pod: Pod, *, gone: bool) -> bool:
        selector = self._claims.selector(pool)
        if selector is None or pod.namespace not in self._claims.namespaces(pool) or not selector.matches(pod.labels):
            return False
        devices = {name for name, _ in pod.shape.requests if "/" in name}
        if gone:
            return bool(devices) or not any(self._selected(pool, selector))
        return not last.pods or not devices.issubset(last.requested)

    def _selected(self, pool: str, selector: Selector) -> Iterable[Pod]:
        for name in self._claims.namespaces(pool):
            yield from (pod for pod in self._pods_in(name) if selector.matches(pod.labels))
