"""Nodes that are starting: startup taints keep pods off until an agent, a driver or an autoscaler removes the taints.

Such a node is no room yet, but capacity on its way. A taint is a startup taint in two cases: `health.startupTaints`
lists it, or the node is younger than its provider's timeout and no older node of the provider carries the taint. A node
that is still starting after the timeout counts as tainted.

A taint with the key of the provider's own taint is there to stay, also with another value or effect: nothing removes it
once the node is ready.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from computepool.assess.capacity.providers import Provider
from computepool.model.cluster import Node, NodeInfo
from computepool.model.taints import Taint


class StartupTaints(msgspec.Struct, frozen=True):
    """The keys of `health.startupTaints`, compiled once for many nodes."""

    keys: frozenset[str]
    prefixes: tuple[str, ...]

    def lists(self, taint: Taint) -> bool:
        """Say whether the spec lists the taint."""
        return taint.key in self.keys or taint.key.startswith(self.prefixes)


class Starting(msgspec.Struct, frozen=True):
    """The nodes of one provider that are starting."""

    taints: Mapping[str, tuple[Taint, ...]]
    """By node: the taints that the node keeps once it is ready."""
    since: Mapping[str, float]
    """By node with a listed startup taint: since when it is starting, also beyond the timeout. The next pass gets
    it."""
    recheck_at: float | None
    """When the first of the nodes stops counting."""


def startup_taints(keys: Iterable[str]) -> StartupTaints:
    """Compile the entries of the spec: keys, and beginnings of keys that end with a slash or an asterisk."""
    entries = tuple(keys)
    return StartupTaints(
        keys=frozenset(entries),
        prefixes=tuple(entry.removesuffix("*") for entry in entries if entry.endswith(("/", "*"))),
    )


def starting_nodes(
    provider: Provider, infos: Sequence[NodeInfo], listed: StartupTaints, before: Mapping[str, float], now: float
) -> Starting:
    """Return the provider's nodes that are starting. `before`: `Starting.since` of the pass before."""
    taints: dict[str, tuple[Taint, ...]] = {}
    since: dict[str, float] = {}
    ends: list[float] = []
    finder = _Finder(provider, infos, listed, now)
    for info in infos:
        node = info.node
        if not node.taints or not (startup := finder.startup_taints_of(node)):
            continue
        # A restart of the operator gives an old node its time once more; a new node's time counts from when it joined.
        began = min(now, node.created if finder.is_new(node) else now)
        if any(map(listed.lists, startup)):
            began = since[node.name] = min(before.get(node.name, began), now)
        if now < began + provider.timeout:
            taints[node.name] = tuple(taint for taint in node.taints if taint not in startup)
            ends.append(began + provider.timeout)
    return Starting(taints, since, min(ends, default=None))


class _Finder:
    """Finds startup taints. Most nodes have equal taints, which are looked at once."""

    def __init__(self, provider: Provider, infos: Sequence[NodeInfo], listed: StartupTaints, now: float) -> None:
        self._provider = provider
        self._infos = infos
        self._listed = listed
        self._now = now
        self._own_keys = provider.own_keys
        self._blocking: dict[tuple[Taint, ...], tuple[Taint, ...]] = {}
        self._lasting: frozenset[Taint] | None = None

    def is_new(self, node: Node) -> bool:
        """Say whether the node joined less than the provider's timeout ago."""
        return self._now < node.created + self._provider.timeout

    def startup_taints_of(self, node: Node) -> tuple[Taint, ...]:
        blocking = self._blocking.get(node.taints)
        if blocking is None:
            blocking = self._blocking[node.taints] = tuple(filter(self._keeps_off, node.taints))
        if not blocking:
            return ()
        new = self.is_new(node)
        return tuple(taint for taint in blocking if self._listed.lists(taint) or (new and not self._is_lasting(taint)))

    def _keeps_off(self, taint: Taint) -> bool:
        if not taint.blocks or (taint.key in self._own_keys and not self._listed.lists(taint)):
            return False
        return not any(toleration.tolerates(taint) for toleration in self._provider.tolerations)

    def _is_lasting(self, taint: Taint) -> bool:
        """Say whether an older node of the provider carries the taint."""
        if self._lasting is None:
            old = {info.node.taints for info in self._infos if not self.is_new(info.node)}
            self._lasting = frozenset(taint for taints in old for taint in taints)
        return taint in self._lasting
