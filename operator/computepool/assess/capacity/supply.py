"""The supply of a provider: its nodes, the accelerators in use there, and the free accelerators."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import msgspec

from computepool.assess.capacity.providers import Provider
from computepool.assess.capacity.reach import Reach
from computepool.assess.health.faults import avoided
from computepool.model.accelerators import (
    MOST_ON_A_NODE,
    accelerators_on,
    largest_capacity,
    requested_by,
)
from computepool.model.api import BreakerState
from computepool.model.cluster import NodeInfo
from computepool.model.reasons import Reason
from computepool.model.state import Breaker
from computepool.model.taints import Taint

CLOSED: Final = Breaker()


class NodeStates(msgspec.Struct, frozen=True):
    """Names of a provider's nodes by their state."""

    unhealthy: frozenset[str] = frozenset()
    silent: frozenset[str] = frozenset()
    """Nodes that are silent now."""
    joining: frozenset[str] = frozenset()
    """Nodes that just join: their capacity does not count as missing."""
    uncounted: frozenset[str] = frozenset()
    """Nodes whose accelerators can't be counted: neither supply nor missing."""
    starting: Mapping[str, tuple[Taint, ...]] = MappingProxyType({})
    """Nodes that are starting, with the taints that they keep once they are ready."""


ALL_WELL: Final = NodeStates()


class Supply(msgspec.Struct, frozen=True):
    """One provider's capacity in one pool's accelerator. Amounts are in thousandths."""

    provider: Provider
    nodes: tuple[NodeInfo, ...]
    usable: tuple[NodeInfo, ...]
    """The nodes that count as supply: Ready, healthy, countable, and neither cordoned nor taken away nor in quarantine.
    An open breaker leaves no node, a half-open breaker one."""
    allocatable: int
    """On usable nodes that are open to the pool's pods."""
    allocated: int
    """Held on these nodes by pods of any pool or none."""
    free: int
    unusable: int
    """Capacity on other nodes, and capacity that these nodes report as not allocatable; without nodes that just
    join."""
    pods: int
    """The pool's own pods bound to its nodes, without terminating pods on lost nodes: no event tells of their end, and
    they are seen as terminating until the node is back or deleted."""
    accelerators: int
    """Held by these pods."""
    ending: int
    """Held by the terminating pods among them."""
    held: int
    """Held by all of the pool's pods bound to its nodes, pods on lost nodes included. Like the two amounts before, at
    most as much on each node as the largest node has: a pod that its user has bound there by hand may request any
    amount."""
    largest: int = 0
    """The capacity of its largest node; 0 if none is known."""
    breaker: Breaker = CLOSED
    unhealthy: frozenset[str] = frozenset()
    """Names of its unhealthy nodes."""
    closed: frozenset[str] = frozenset()
    """Names of its nodes whose taints keep all of the pool's pods off."""
    starting: Mapping[str, tuple[Taint, ...]] = MappingProxyType({})
    """Its nodes that are starting, by name, with the taints that they keep once they are ready."""
    coming: int = 0
    """Accelerators on usable nodes that will be open to the pool's pods once they are ready."""
    uncounted: frozenset[str] = frozenset()
    """Names of its nodes whose accelerators can't be counted, because DRA serves them."""
    countable: bool = True
    """Whether its accelerators can be counted at all: not if DRA serves some, and no node has an allocatable amount."""

    @property
    def known(self) -> bool:
        """Whether its capacity is known: it has a node, or makes nodes on demand."""
        return bool(self.nodes) or self.provider.kind.before_room


Overlaps = Mapping[tuple[str, ...], Sequence[str]]
"""By the names of the providers that claim the same nodes, in the order of the spec: the names of these nodes."""


def members_of(nodes: Sequence[NodeInfo], providers: Sequence[Provider]) -> tuple[dict[str, list[NodeInfo]], Overlaps]:
    """Return the nodes of each provider, and the nodes that match more than one provider.

    A node that matches several providers counts for the first.
    """
    members: dict[str, list[NodeInfo]] = {provider.name: [] for provider in providers}
    overlaps: dict[tuple[str, ...], list[str]] = {}
    # Selectors look at a few labels, whose values most nodes share.
    keys = tuple({need.key for provider in providers for need in provider.selector.requirements})
    answers: dict[tuple[str | None, ...], Sequence[str]] = {}
    for info in nodes:
        labels = info.node.labels
        values = tuple([labels.get(key) for key in keys])
        matching = answers.get(values)
        if matching is None:
            matching = answers[values] = [by.name for by in providers if by.selector.matches(labels)]
        if matching:
            members[matching[0]].append(info)
            if len(matching) > 1:
                overlaps.setdefault(tuple(matching), []).append(info.node.name)
    return members, overlaps


def why_not_closed(breaker: Breaker, provider: Provider) -> Reason | None:
    """Return why a provider's breaker is not closed. The breaker remembers a drain also when the drain is over."""
    ended = breaker.reason is Reason.DRAINED and not provider.drain
    return Reason.DRAIN_ENDED if ended else breaker.reason


def supply_of(
    provider: Provider,
    members: Sequence[NodeInfo],
    pool: str,
    resource: str,
    *,
    breaker: Breaker = CLOSED,
    states: NodeStates = ALL_WELL,
    reach: Reach | None = None,
) -> Supply:
    """Return the supply of a provider with these nodes.

    `reach`: which nodes the pool's pods could use, None for all.
    """
    usable = tuple(_usable(members, breaker, states))
    closed = reach.closed(provider, usable) if reach is not None else frozenset()
    is_open = [info for info in usable if info.node.name not in closed] if closed else usable
    soon_open = closed & states.starting.keys()
    coming = [info for info in usable if info.node.name in soon_open] if soon_open else []
    usable_accelerators = accelerators_on(is_open, resource)
    allocatable = sum([node.allocatable for node in usable_accelerators])
    every, left_out = accelerators_on(members, resource), states.joining | states.uncounted
    counted = every
    if left_out:
        counted = accelerators_on((info for info in members if info.node.name not in left_out), resource)
    capacity = sum([node.capacity for node in counted])
    largest = largest_capacity(every)
    holdings = _holdings(members, pool, resource, states.silent, largest or MOST_ON_A_NODE)
    return Supply(
        provider=provider,
        nodes=tuple(members),
        usable=usable,
        allocatable=allocatable,
        allocated=sum([node.used for node in usable_accelerators]),
        free=sum([node.free for node in usable_accelerators]),
        unusable=max(0, capacity - allocatable),
        pods=holdings.pods,
        accelerators=holdings.accelerators,
        ending=holdings.ending,
        held=holdings.held,
        largest=largest,
        breaker=breaker,
        unhealthy=states.unhealthy,
        closed=closed,
        starting=states.starting,
        coming=sum([node.allocatable for node in accelerators_on(coming, resource)]),
        uncounted=states.uncounted,
        countable=not states.uncounted or any(node.allocatable for node in every),
    )


class _Holdings(msgspec.Struct):
    """The fields of the same names of a supply."""

    pods: int = 0
    accelerators: int = 0
    ending: int = 0
    held: int = 0


def _holdings(members: Iterable[NodeInfo], pool: str, resource: str, silent: frozenset[str], most: int) -> _Holdings:
    """Sum up what the pool's pods hold. `most`: how much all pods on one node can hold at most."""
    found = _Holdings()
    for info in members:
        share = info.shares.get(pool)
        if share is None:
            continue
        held, lost = min(share.accelerators, most), 0
        found.pods += len(share.members)
        found.held += held
        if info.leaving:
            terminating = [pod for pod in share.members if pod.deleting is not None]
            amount = requested_by(terminating, resource)
            if info.node.ready == "Unknown" or info.node.name in silent:
                found.pods -= len(terminating)
                lost = max(0, held - (share.accelerators - amount))
            else:
                found.ending += min(amount, held)
        found.accelerators += held - lost
    return found


def _usable(members: Iterable[NodeInfo], breaker: Breaker, states: NodeStates) -> Iterable[NodeInfo]:
    """Yield the nodes that new pods may go to."""
    if breaker.state is BreakerState.OPEN:
        return
    probed = breaker.node if breaker.state is BreakerState.HALF_OPEN else None
    unusable = states.unhealthy | states.uncounted
    # Thousands of nodes share a few taints and conditions, so each pair is read only once.
    stays: dict[tuple[int, int], bool] = {}
    for info in members:
        node = info.node
        if not node.usable or node.name in unusable or (probed is not None and node.name != probed):
            continue
        key = (id(node.taints), id(node.conditions))
        found = stays.get(key)
        if found is None:
            found = stays[key] = not (node.quarantined or avoided(node))
        if found:
            yield info
