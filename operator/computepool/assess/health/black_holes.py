"""Nodes that look ready while pods on them fail at once.

Which failures count against a node:
- A pod that the kubelet refused counts by itself.
- A pod whose containers do not start counts only if another pod of the same workload is ready on another node.
  Otherwise the workload is at fault.
- A workload that fails on nodes of several providers, and is ready on no node, is at fault: its pods do not count.
- A workload that is refused on several nodes of one provider, and is ready on no node, counts only on nodes that
  refused other workloads as well. A workload that no node admits must not empty its provider.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import msgspec

from computepool.model.api import BlackHoles
from computepool.model.cluster import NodeInfo
from computepool.model.snapshot import Failure


class BlackHoleVerdict(msgspec.Struct, frozen=True):
    """The black holes."""

    failed_pods: Mapping[str, int] = MappingProxyType({})
    """By node: how many pods failed at once there; only nodes with as many as the rules ask for."""
    recheck_at: float | None = None
    """When the oldest failure is too old to count."""


def black_holes(
    failures: Sequence[Failure], members: Mapping[str, Sequence[NodeInfo]], rules: BlackHoles, now: float
) -> BlackHoleVerdict:
    """Return the nodes of the pool on which too many pods failed. `members`: nodes by provider."""
    recent = [failure for failure in failures if now < failure.at + rules.window_seconds] if rules.pods else []
    if not recent:
        return BlackHoleVerdict()
    ready = _ready_on(members, {failure.owner for failure in recent if failure.owner})
    provider_of = {info.node.name: name for name, infos in members.items() for info in infos}
    tried: dict[str, set[str]] = {}
    for failure in recent:
        tried.setdefault(failure.owner, set()).add(provider_of.get(failure.node, ""))
    refusals = _Refusals(recent)
    failed_pods: dict[str, set[str]] = {}
    for failure in recent:
        trusted = len(tried[failure.owner]) == 1 and refusals.blame_the_node(failure)
        if failure.node in provider_of and _counts(failure, ready.get(failure.owner, frozenset()), trusted=trusted):
            failed_pods.setdefault(failure.node, set()).add(failure.uid)
    return BlackHoleVerdict(
        {node: len(uids) for node, uids in failed_pods.items() if len(uids) >= rules.pods},
        min(failure.at for failure in recent) + rules.window_seconds,
    )


class _Refusals:
    """Which node refused pods of which owner."""

    def __init__(self, failures: Iterable[Failure]) -> None:
        self._nodes: dict[str, set[str]] = {}
        self._owners: dict[str, set[str]] = {}
        for failure in failures:
            if failure.refused:
                # A bare pod has no owner, and stands for itself.
                owner = failure.owner or failure.uid
                self._nodes.setdefault(owner, set()).add(failure.node)
                self._owners.setdefault(failure.node, set()).add(owner)

    def blame_the_node(self, failure: Failure) -> bool:
        """Say whether the node is at fault: no other node refused the workload, or the node refused others too."""
        owner = failure.owner or failure.uid
        return failure.refused and (len(self._nodes[owner]) == 1 or len(self._owners[failure.node]) > 1)


def _counts(failure: Failure, ready_on: Iterable[str], *, trusted: bool) -> bool:
    elsewhere = any(node != failure.node for node in ready_on)
    return elsewhere or (failure.refused and (not failure.owner or trusted))


def _ready_on(members: Mapping[str, Sequence[NodeInfo]], owners: set[str]) -> dict[str, set[str]]:
    """Return, by owner, the nodes on which a pod of it is ready."""
    found: dict[str, set[str]] = {}
    if owners:
        for infos in members.values():
            for info in infos:
                for pod in info.pods:
                    if pod.ready and pod.owner in owners:
                        found.setdefault(pod.owner, set()).add(info.node.name)
    return found
