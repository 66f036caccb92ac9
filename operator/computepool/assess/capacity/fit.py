"""Whether pods fit on a provider's nodes: a packing that only fills up.

The packing models resources, nodeSelector, required node affinity, taints and tolerations. `Shape.unmodelled` names
the pod's other constraints, and the scheduler has the last word.

This file keeps invariant 2: a place given to one pod is taken from the node's remainder before the next pod is tried,
so the pods placed never request more than what was free.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf

from computepool.assess.capacity.supply import Supply
from computepool.model.accelerators import accelerators_of, accelerators_on, request_of
from computepool.model.api import UNAVAILABLE_KEY, BreakerState
from computepool.model.cluster import Amounts, Node, NodeInfo, Pod, Resources, Shape
from computepool.model.reasons import Reason
from computepool.model.taints import Taint, Toleration, tolerance_of, tolerated

SOON_SECONDS = 30.0
"""A terminating pod that is gone within this time makes its place soon free: the default grace period."""
SLACK_SECONDS = 5.0
"""Allowed at both ends. The time is the API server's, and its clock may be ahead of ours or behind. The event of the
deletion takes a moment to arrive. After the grace period, a node needs a moment until the pod is gone."""


def label_keys(pods: Iterable[Pod]) -> frozenset[str]:
    """Return every node label that the pods' selectors read: nodes with equal values are decided once."""
    keys: set[str] = set()
    for shape in {id(pod.shape): pod.shape for pod in pods}.values():
        keys.update(key for key, _ in shape.node_selector)
        for term in shape.affinity or ():
            keys.update(expression.key for expression in term.expressions)
            if term.fields:
                keys.add(_NAME)
    return frozenset(keys)


_NAME = "metadata.name"


@dataclass(slots=True)
class _Search:
    """The nodes that admit a shape, and the position among them where the search for a place goes on."""

    candidates: list[int]
    position: int


class Packer:
    """Places pods, one after another, on the usable nodes of one provider.

    Capacity only shrinks between two rollbacks, so a node that can't take a shape now can't take it later. Each shape's
    search goes on where it stopped, so placing any number of pods looks at each node once per shape. Nodes with equal
    taints, and equal values of the labels that pods ask for, are of one kind if they are starting alike. Selectors are
    read once per shape and kind.
    """

    def __init__(self, supply: Supply, resource: str, keys: frozenset[str], now: float) -> None:
        """Start with what is free. `keys`: `label_keys` of every pod that will be tried."""
        self.supply = supply
        self._now = now
        self._resource = resource
        # The fullest node first: small pods fill gaps, and empty nodes stay whole for big pods.
        nodes = zip(accelerators_on(supply.usable, resource), supply.usable, strict=True)
        order = sorted([(accelerators.free, info.node.name, info) for accelerators, info in nodes])
        self._infos = [info for _, _, info in order]
        self._free = [free for free, _, _ in order]
        self._keys = keys
        kinds = {info.node.name: self._kind_of(info.node) for info in supply.nodes}
        self._kinds = {kinds[info.node.name]: info.node for info in supply.nodes}
        self._kind = [kinds[info.node.name] for info in self._infos]
        self._left: dict[int, dict[str, int]] = {}
        self._searches: dict[tuple[int, bool], _Search] = {}
        self._of_kinds: dict[frozenset[object], list[int]] = {}
        self._taken = 0
        # By change of a search: its position before, the node that gave a place if any, and the shape.
        self._journal: list[tuple[_Search, int, int | None, Shape]] = []
        self._soon: dict[int, dict[str, int]] | None = None
        self._soon_candidates: dict[int, deque[int]] = {}
        self._promised: dict[int, dict[str, int]] = {}
        self._starting_candidates: dict[int, list[int]] = {}
        self._starting_cursor: dict[tuple[int, Amounts], int] = {}
        self._reasons: dict[int, Reason] = {}
        # Where the search for a place by preemption goes on: equal requests on the same nodes share it.
        self._preempting: dict[tuple[int, Amounts, int], int] = {}
        self._lower: dict[tuple[int, int], dict[str, int]] = {}
        # By candidates and other requests: what was taken by then, and the accelerators in all and free.
        self._free_for: dict[tuple[int, Amounts], tuple[int, int, int]] = {}
        self._elsewhere: dict[tuple[Amounts, tuple[Toleration, ...]], bool] = {}

    @property
    def taken(self) -> int:
        """The accelerators given to pods so far on nodes that are open to the pool's pods, in thousandths."""
        return self._taken

    @cached_property
    def lowest_priority(self) -> float:
        """The lowest priority of all pods on the nodes; infinite without pods."""
        return min((pod.priority for info in self._infos for pod in info.pods), default=inf)

    def savepoint(self) -> int:
        """Return a mark for `rollback`, which undoes every `place` from now on. Promises of `place_soon` stay."""
        return len(self._journal)

    def rollback(self, savepoint: int) -> None:
        """Take back the places that were given since the savepoint."""
        self._preempting.clear()
        while len(self._journal) > savepoint:
            search, before, index, shape = self._journal.pop()
            search.position = before
            if index is not None:
                self._taken -= self._counted(index, shape)
                _add(self._left[index], shape)

    def remainders(self) -> Iterable[tuple[NodeInfo, Resources]]:
        """Return the nodes with their remaining resources."""
        return [(info, self._remainder(index)) for index, info in enumerate(self._infos)]

    def place(self, shape: Shape, *, as_is: bool = False) -> bool:
        """Give the pod a place if there is one; say whether there was. `as_is`: with its own tolerations only."""
        search = self._search(shape, as_is)
        before, candidates = search.position, search.candidates
        for position in range(before, len(candidates)):
            index = candidates[position]
            if _fits(shape, self._remainder(index)):
                self._journal.append((search, before, index, shape))
                search.position = position
                self._take(index, shape)
                return True
        if before != len(candidates):
            self._journal.append((search, before, None, shape))
            search.position = len(candidates)
        return False

    def place_preempting(self, shape: Shape, priority: int) -> bool:
        """Give the pod a place that it gets if pods of lower priority are preempted; say whether there was one.

        The node's remainder falls below zero by what these pods still hold, so their places are given away once.
        """
        index = self._preempting_at(shape, priority)
        if index is None:
            return False
        search = self._search(shape)
        self._journal.append((search, search.position, index, shape))
        self._take(index, shape)
        return True

    def can_preempt(self, shape: Shape, priority: int) -> bool:
        """Say whether `place_preempting` would find a place."""
        return self._preempting_at(shape, priority) is not None

    def place_soon(self, shape: Shape) -> float | None:
        """Promise the pod a place that terminating pods are about to leave; return when to look again, or None.

        Places that are free now stay free for later pods: the scheduler does not keep them for this pod either.
        """
        soon = self._soon_free()
        if not soon:
            return None
        candidates = self._soon_candidates.get(id(shape))
        if candidates is None:
            candidates = deque(index for index in self._search(shape).candidates if index in soon)
            self._soon_candidates[id(shape)] = candidates
        while candidates:
            index = candidates[0]
            if _fits_beside(shape, self._remainder(index), soon[index]):
                _subtract(soon[index], shape)
                return min(pod.deleting or 0.0 for pod in _leaving(self._infos[index], self._now)) + SLACK_SECONDS
            candidates.popleft()
        return None

    def place_starting(self, shape: Shape) -> bool:
        """Promise the pod a place on a node that is starting; say whether there was one. The place is not taken yet."""
        candidates = self._starting_of(shape)
        if not candidates:
            return False
        key = (id(candidates), shape.requests)
        for position in range(
            self._starting_cursor.get(key) or self._first_with_room(candidates, shape), len(candidates)
        ):
            index = candidates[position]
            left = self._promised.get(index)
            if left is None:
                left = self._promised[index] = dict(self._remainder(index))
            if _fits(shape, left):
                _subtract(left, shape)
                self._starting_cursor[key] = position
                return True
        self._starting_cursor[key] = len(candidates)
        return False

    def has_left(self, resource: str, amount: int) -> bool:
        """Say whether any node that is open to the pool's pods has this amount of a resource left, in thousandths."""
        # The emptiest node first: it nearly always answers.
        return any(
            self._remainder(index).get(resource, 0) >= amount
            for index in reversed(range(len(self._infos)))
            if self._infos[index].node.name not in self.supply.closed
        )

    def free_for(self, shape: Shape) -> tuple[int, int]:
        """Return the accelerators of the nodes that admit the pod, and how many of them are free for pods like it.

        In thousandths. A free accelerator on a node that lacks another resource, such as CPU, is not free for the pod.
        """
        candidates = self._search(shape).candidates
        others = tuple((name, amount) for name, amount in shape.requests if name != self._resource)
        key = (id(candidates), others)
        found = self._free_for.get(key)
        if found is None or found[0] != self._taken:
            allocatable = free = 0
            for index in candidates:
                allocatable += accelerators_of(self._infos[index], self._resource).allocatable
                left = self._remainder(index)
                if all(left.get(name, 0) >= amount for name, amount in others):
                    free += max(0, left.get(self._resource, 0))
            found = self._free_for[key] = (self._taken, allocatable, free)
        return found[1:]

    def has_room_elsewhere(self, shape: Shape) -> bool:
        """Say whether the pod would fit on a node that its own selectors keep it off."""
        if not shape.node_selector and shape.affinity is None:
            return False
        key = (shape.requests, shape.tolerations)
        found = self._elsewhere.get(key)
        if found is None:
            tolerates = tolerance_of(shape.tolerations + self.supply.provider.tolerations)
            nodes = range(len(self._infos))
            # The emptiest node first: it nearly always answers.
            found = self._elsewhere[key] = any(
                _fits(shape, self._remainder(index)) and tolerates(self._infos[index].node.taints)
                for index in reversed(nodes[self._first_with_room(nodes, shape) :])
            )
        return found

    def why_not(self, shape: Shape) -> Reason:
        """Say why `place` returned False; the same for every pod of the shape."""
        reason = self._reasons.get(id(shape))
        if reason is None:
            reason = self._reasons[id(shape)] = self._rejection(shape)
        return reason

    def taint_against(self, shape: Shape) -> tuple[str, Taint] | None:
        """Return the first node, by name, that the pod's selectors admit and a lasting taint keeps it off; with the
        taint. None if no node is so.
        """
        tolerations = shape.tolerations + self.supply.provider.tolerations
        for node in sorted((info.node for info in self.supply.nodes), key=lambda node: node.name):
            for taint in self._lasting_taints(node) if shape.admits(node.name, node.labels) else ():
                if not tolerated((taint,), tolerations):
                    return node.name, taint
        return None

    def _rejection(self, shape: Shape) -> Reason:
        provider = self.supply.provider
        admitting = [node for node in self._kinds.values() if shape.admits(node.name, node.labels)]
        if not admitting:
            present_only = self.supply.nodes and not provider.kind.before_room
            # No new node has the name that the pod asks for.
            pinned = present_only or shape.only_node is not None or provider.contradicts(shape)
            return Reason.PINNED if pinned else self._no_room()
        tolerates = tolerance_of(shape.tolerations + provider.tolerations)
        open_to = [node for node in admitting if tolerates(self._lasting_taints(node))]
        if self.supply.usable and not open_to:
            return Reason.TAINTED
        if not provider.kind.before_room and self._too_large(shape, open_to):
            return Reason.TOO_LARGE
        if self._has_starting(shape):
            return Reason.NODE_STARTING
        return self._no_room()

    def _too_large(self, shape: Shape, kinds: Iterable[Node]) -> bool:
        """Say whether every node of these kinds is too small for the pod, even if it were empty."""
        wanted = {self._kind_of(node) for node in kinds}
        known = False
        for info in self.supply.nodes:
            # Capacity, since a device plugin that restarts takes the allocatable accelerators away for a moment.
            accelerators = accelerators_of(info, self._resource).capacity
            if self._kind_of(info.node) in wanted:
                known = known or accelerators > 0
                if _fits(shape, {**info.node.allocatable, self._resource: accelerators}):
                    return False
        # If no node offers any accelerator, the size of a node is unknown.
        return known

    def _no_room(self) -> Reason:
        if not self.supply.breaker.closed:
            half_open = self.supply.breaker.state is BreakerState.HALF_OPEN
            return Reason.CANARY_UNDER_WAY if half_open else Reason.PROVIDER_UNAVAILABLE
        if self.supply.usable:
            return Reason.NO_ROOM
        # Another pool may hold the provider's nodes in quarantine although this pool finds them healthy.
        quarantined = self.supply.nodes and all(info.node.quarantined for info in self.supply.nodes)
        return Reason.PROVIDER_UNAVAILABLE if quarantined else Reason.NO_NODES

    def _search(self, shape: Shape, as_is: bool = False) -> _Search:
        key = (id(shape), as_is)
        search = self._searches.get(key)
        if search is None:
            added = () if as_is else self.supply.provider.tolerations
            tolerates = tolerance_of(shape.tolerations + added)
            candidates = self._on_kinds(
                kind
                for kind, node in self._kinds.items()
                if shape.admits(node.name, node.labels) and tolerates(node.taints)
            )
            search = self._searches[key] = _Search(candidates, self._first_with_room(candidates, shape))
        return search

    def _preempting_at(self, shape: Shape, priority: int) -> int | None:
        """Return a node where the pod fits beside the pods of its own or higher priority."""
        if priority <= self.lowest_priority:
            return None
        candidates = self._search(shape).candidates
        key = (id(candidates), shape.requests, priority)
        for position in range(self._preempting.get(key, 0), len(candidates)):
            index = candidates[position]
            if _fits_beside(shape, self._remainder(index), self._lower_than(priority, index)):
                self._preempting[key] = position
                return index
        self._preempting[key] = len(candidates)
        return None

    def _lower_than(self, priority: int, index: int) -> Resources:
        """Return what the pods of lower priority hold on a node."""
        held = self._lower.get((priority, index))
        if held is None:
            held = self._lower[priority, index] = {}
            for pod in self._infos[index].pods:
                if pod.priority < priority:
                    for name, amount in pod.shape.requests:
                        held[name] = held.get(name, 0) + amount
        return held

    def _starting_of(self, shape: Shape) -> list[int]:
        """Return the nodes that will admit the pod once they are ready, and do not admit it now."""
        if not self.supply.starting:
            return []
        found = self._starting_candidates.get(id(shape))
        if found is None:
            tolerates = tolerance_of(shape.tolerations + self.supply.provider.tolerations)
            found = self._starting_candidates[id(shape)] = self._on_kinds(
                kind
                for kind, node in self._kinds.items()
                if node.name in self.supply.starting
                and shape.admits(node.name, node.labels)
                and tolerates(self._once_ready(node))
                and not tolerates(node.taints)
            )
        return found

    def _has_starting(self, shape: Shape) -> bool:
        """Say whether a node that is starting has room for the pod, whatever was promised there."""
        candidates = self._starting_of(shape)
        positions = range(self._first_with_room(candidates, shape), len(candidates))
        return any(_fits(shape, self._remainder(candidates[position])) for position in positions)

    def _first_with_room(self, candidates: Sequence[int], shape: Shape) -> int:
        # Nodes are sorted by what was free at the start: nodes before this one never had enough.
        return bisect_left(candidates, request_of(shape, self._resource), key=self._free.__getitem__)

    def _on_kinds(self, kinds: Iterable[object]) -> list[int]:
        """Return the nodes of these kinds, the fullest first. Equal kinds share one list."""
        key = frozenset(kinds)
        found = self._of_kinds.get(key)
        if found is None:
            found = self._of_kinds[key] = [index for index, kind in enumerate(self._kind) if kind in key]
        return found

    def _lasting_taints(self, node: Node) -> tuple[Taint, ...]:
        """A taint that goes with the node's state keeps pods off for now, but not off the provider."""
        return tuple(taint for taint in self._once_ready(node) if not _is_transient(taint))

    def _once_ready(self, node: Node) -> tuple[Taint, ...]:
        return self.supply.starting.get(node.name, node.taints)

    def _kind_of(self, node: Node) -> object:
        # A node has few labels, while any user may name any number of them.
        labels = frozenset([(key, node.labels[key]) for key in node.labels.keys() & self._keys])
        name = node.name if _NAME in self._keys else ""
        return (node.taints, self.supply.starting.get(node.name), name, labels)

    def _remainder(self, index: int) -> Resources:
        own = self._left.get(index)
        return self._infos[index].left if own is None else own

    def _take(self, index: int, shape: Shape) -> None:
        left = self._left.get(index)
        if left is None:
            left = self._left[index] = dict(self._infos[index].left)
        self._taken += self._counted(index, shape)
        _subtract(left, shape)

    def _counted(self, index: int, shape: Shape) -> int:
        """Return how much of the supply's free accelerators the pod takes on a node."""
        return 0 if self._infos[index].node.name in self.supply.closed else request_of(shape, self._resource)

    def _soon_free(self) -> dict[int, dict[str, int]]:
        if self._soon is None:
            self._soon = {}
            for index, info in enumerate(self._infos):
                for pod in _leaving(info, self._now):
                    sums = self._soon.setdefault(index, {})
                    for name, amount in pod.shape.requests:
                        sums[name] = sums.get(name, 0) + amount
        return self._soon


def _leaving(info: NodeInfo, now: float) -> Sequence[Pod]:
    # A pod that is still there after its time is stuck, and frees no place soon.
    first, last = now - SLACK_SECONDS, now + SOON_SECONDS + SLACK_SECONDS
    return [pod for pod in info.leaving if pod.deleting is not None and first < pod.deleting <= last]


def _is_transient(taint: Taint) -> bool:
    return taint.transient or taint.key == UNAVAILABLE_KEY


def _fits(shape: Shape, left: Resources) -> bool:
    # This is the busiest line of a pass: a generator costs three times as much as a loop.
    for name, amount in shape.requests:  # noqa: SIM110
        if left.get(name, 0) < amount:
            return False
    return True


def _fits_beside(shape: Shape, left: Resources, leaving: Resources) -> bool:
    """Say whether the pod fits once the pods are gone that hold `leaving`."""
    for name, amount in shape.requests:  # noqa: SIM110
        if left.get(name, 0) + leaving.get(name, 0) < amount:
            return False
    return True


def _subtract(left: dict[str, int], shape: Shape) -> None:
    for name, amount in shape.requests:
        left[name] = left.get(name, 0) - amount


def _add(left: dict[str, int], shape: Shape) -> None:
    for name, amount in shape.requests:
        left[name] = left.get(name, 0) + amount
