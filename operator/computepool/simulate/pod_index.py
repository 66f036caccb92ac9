"""Finds the pods that something happens to next, without reading all pods of a large cluster."""

import itertools
from collections.abc import Callable, Iterable

from computepool.model.cluster import Pod

_ByUid = dict[str, Pod]


class PodIndex:
    """The pods that wait, start or end. Every list is in the order in which the pods came."""

    def __init__(self) -> None:
        """Start empty."""
        self._numbers = itertools.count()
        self._number_of: dict[str, int] = {}
        self._waiting: _ByUid = {}
        self._starting: _ByUid = {}
        self._ending: _ByUid = {}

    def put(self, pod: Pod, *, starts: bool) -> None:
        """Add or replace a pod. `starts`: whether it becomes Ready by itself once it is bound."""
        if pod.uid not in self._number_of:
            self._number_of[pod.uid] = next(self._numbers)
        begun = bool(pod.node) and pod.started is not None and not pod.ready and not pod.failing
        _keep(self._waiting, pod, belongs=not pod.node)
        _keep(self._starting, pod, belongs=starts and begun and pod.deleting is None)
        _keep(self._ending, pod, belongs=pod.deleting is not None)

    def drop(self, uid: str) -> None:
        """Forget a pod."""
        for pods in (self._number_of, self._waiting, self._starting, self._ending):
            pods.pop(uid, None)

    def waiting(self) -> list[Pod]:
        """Return the pods that are not bound."""
        return self._in_order(self._waiting.values())

    def starting(self, is_wanted: Callable[[Pod], bool]) -> list[Pod]:
        """Return the wanted pods among those that are bound, and that are to be Ready."""
        return self._in_order(filter(is_wanted, self._starting.values()))

    def ending(self, is_wanted: Callable[[Pod], bool]) -> list[Pod]:
        """Return the wanted pods among those that were asked to end."""
        return self._in_order(filter(is_wanted, self._ending.values()))

    def _in_order(self, pods: Iterable[Pod]) -> list[Pod]:
        return sorted(pods, key=lambda pod: self._number_of[pod.uid])


def _keep(pods: _ByUid, pod: Pod, *, belongs: bool) -> None:
    if belongs:
        pods[pod.uid] = pod
    else:
        pods.pop(pod.uid, None)
