"""Nodes that look ready while pods on them fail at once.

A pod that the kubelet refused counts by itself. One whose containers do not start counts only if another pod of the
same workload is ready on another node: otherwise the workload is at fault. And no pod counts whose workload fails
everywhere it is tried: on nodes of several providers, and is ready nowhere. One that is refused on several nodes of one
provider, and is ready nowhere, counts on those nodes only that refused others as well: a workload that no node admits
must not empty its provider.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import msgspec

from computepool.model.api import BlackHoles
from computepool.model.cluster import NodeInfo
from computepool.model.snapshot import Failure


class BlackHoleVerdict(msgspec.Struct, frozen=True):
    """The black holes."""

    failed: Mapping[str, int] = MappingProxyType({})
    """By node: how many pods failed at once there; only nodes with so many that they count."""
    recheck_at: float | None = None
    """When the next failure is too old to count."""


def black_holes(
    failures: Sequence[Failure], members: Mapping[str, Sequence[NodeInfo]], rules: BlackHoles, now: float
) -> BlackHoleVerdict:
    """Return the nodes of the pool on which too many pods failed. `members`: nodes by provider."""
    recent = [one for one in failures if now < one.at + rules.window_seconds] if rules.pods else []
    if not recent:
        return BlackHoleVerdict()
    ready = _ready_on(members, {one.owner for one in recent if one.owner})
    provider = {info.node.name: name for name, infos in members.items() for info in infos}
    tried: dict[str, set[str]] = {}
    for one in recent:
        tried.setdefault(one.owner, set()).add(provider.get(one.node, ""))
    refusals = _Refusals(recent)
    failed: dict[str, set[str]] = {}
    for one in recent:
        trusted = len(tried[one.owner]) == 1 and refusals.blame_the_node(one)
        if one.node in provider and _counts(one, ready.get(one.owner, frozenset()), trusted=trusted):
            failed.setdefault(one.node, set()).add(one.uid)
    return BlackHoleVerdict(
        {node: len(uids) for node, uids in failed.items() if len(uids) >= rules.pods},
        min(one.at for one in recent) + rules.window_seconds,
    )


class _Refusals:
    """Which nodes refused pods of whom."""

    def __init__(self, failures: Iterable[Failure]) -> None:
        self._nodes: dict[str, set[str]] = {}
        self._owners: dict[str, set[str]] = {}
        for one in failures:
            if one.refused:
                # Bare pods are nobody's: each stands for itself.
                owner = one.owner or one.uid
                self._nodes.setdefault(owner, set()).add(one.node)
                self._owners.setdefault(one.node, set()).add(owner)

    def blame_the_node(self, one: Failure) -> bool:
        """Say whether the node is at fault rather than the workload: it alone refused it, or refused others too."""
        return one.refused and (len(self._nodes[one.owner or one.uid]) == 1 or len(self._owners[one.node]) > 1)


def _counts(one: Failure, ready: Iterable[str], *, trusted: bool) -> bool:
    elsewhere = any(node != one.node for node in ready)
    return elsewhere or (one.refused and (not one.owner or trusted))


def _ready_on(members: Mapping[str, Sequence[NodeInfo]], owners: set[str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    if owners:
        for infos in members.values():
            for info in infos:
                for pod in info.pods:
                    if pod.ready and pod.owner in owners:
                        found.setdefault(pod.owner, set()).add(info.node.name)
    return found
