"""Compares what is decided today with what would be decided with other pools. Values only: nothing is read here."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import TypeVar

import msgspec

from computepool.cli.spec_changes import SpecChange
from computepool.model.reasons import Reason


class Action(StrEnum):
    """What is decided about a pod."""

    SEND = "Send"
    """A waiting pod is sent to a standby."""
    WAIT = "Wait"
    """A waiting pod stays as it is."""
    MOVE = "Move"
    """A running pod is moved."""
    BLOCKED = "BlockedMove"
    """A running pod that should move, or may come home, stays for now."""
    STAY = "Stay"
    """A running pod stays."""
    NOTHING = "NoPool"
    """No pool has the pod."""


class PodDecision(msgspec.Struct, frozen=True):
    """What is decided about one pod."""

    action: Action
    pool: str = ""
    """The pool that has the pod; empty if none has it."""
    provider: str = ""
    """The provider on whose node it runs, as its pool sees it; empty while it waits, or where it is no provider's."""
    target: str = ""
    """The provider that it is sent or moved to, or that it waits for."""
    reason: Reason | None = None
    observed: bool = False
    """Whether the pool's mode is Observe, so that a send or a move is only reported."""


_ACTS = frozenset({Action.SEND, Action.MOVE})
"""What the operator does something for."""


class PodName(msgspec.Struct, frozen=True):
    """A pod, and the controller that made it."""

    namespace: str
    name: str
    node: str = ""
    owner: str = ""
    """The uid of its controller; empty if it has none."""
    owner_kind: str = ""


class PoolOutcome(msgspec.Struct, frozen=True):
    """What is decided about one pool as a whole."""

    facts: Mapping[str, str]
    """By what they are about, such as `admission`, in the order to print."""
    findings: tuple[str, ...] = ()
    """The findings about its configuration, as sentences."""
    node_providers: Mapping[str, str] = {}
    """The provider of each of its nodes."""


class Outcome(msgspec.Struct, frozen=True):
    """What is decided about all pools of a cluster."""

    pools: Mapping[str, PoolOutcome]
    pods: Mapping[str, PodDecision]
    """By uid: the pods that any pool has."""
    quarantine: Mapping[str, str]
    """By node: the value of the operator's taint, of the nodes that carry it once this is decided."""


class Change(msgspec.Struct, frozen=True):
    """A fact that differs. An empty text: there is none on that side."""

    about: str
    today: str
    then: str


class NodesMoved(msgspec.Struct, frozen=True):
    """Nodes that change their provider. An empty name: no provider of the pool."""

    today: str
    then: str
    nodes: tuple[str, ...]
    """Sorted."""


class PoolDifference(msgspec.Struct, frozen=True):
    """What differs about one pool."""

    name: str
    is_new: bool = False
    spec: tuple[SpecChange, ...] = ()
    facts: tuple[Change, ...] = ()
    nodes: tuple[NodesMoved, ...] = ()
    new_findings: tuple[str, ...] = ()
    gone_findings: tuple[str, ...] = ()

    @property
    def decides(self) -> bool:
        """Whether anything beside the spec differs."""
        return bool(self.is_new or self.facts or self.nodes or self.new_findings or self.gone_findings)


class PodsDiffer(msgspec.Struct, frozen=True):
    """Pods of one controller that differ in the same way; pods without a controller by namespace."""

    today: PodDecision
    then: PodDecision
    pods: tuple[PodName, ...]
    """Sorted by name."""

    @property
    def rank(self) -> tuple[object, ...]:
        """What sorts groups: first what would happen to pods, then what would not happen any more, then the rest."""
        first = self.pods[0]
        acts = (group_action not in _ACTS for group_action in (self.then.action, self.today.action))
        return *acts, -len(self.pods), first.namespace, first.name


class Difference(msgspec.Struct, frozen=True):
    """What would be decided differently."""

    pools: tuple[PoolDifference, ...]
    """Sorted by name: the pools that differ in anything, their spec included."""
    pods: tuple[PodsDiffer, ...]
    """What happens to pods first, then the largest group."""
    quarantine: tuple[Change, ...]
    """Nodes that would get the operator's taint or lose it, with its value; sorted by name."""

    @property
    def decides(self) -> bool:
        """Whether anything would be decided differently."""
        return bool(self.pods or self.quarantine or any(pool.decides for pool in self.pools))

    def __bool__(self) -> bool:
        """Whether anything differs at all."""
        return bool(self.pools or self.pods or self.quarantine)


_NO_POOL = PoolOutcome({})
_NO_DECISION = PodDecision(Action.NOTHING)
_Key = TypeVar("_Key", bound=Hashable)
_Item = TypeVar("_Item")


def difference(
    today: Outcome, then: Outcome, pods: Mapping[str, PodName], specs: Mapping[str, Sequence[SpecChange]]
) -> Difference:
    """Compare two outcomes. `pods`: the names of all pods by uid; `specs`: how the specs of pools differ, by pool."""
    names = sorted(today.pools.keys() | then.pools.keys())
    pools = [_pool(name, today.pools.get(name), then.pools.get(name), specs.get(name, ())) for name in names]
    return Difference(
        tuple(pool for pool in pools if pool.spec or pool.decides),
        tuple(_pods(today.pods, then.pods, pods)),
        tuple(_changes(today.quarantine, then.quarantine, in_order=False)),
    )


def _pool(name: str, today: PoolOutcome | None, then: PoolOutcome | None, spec: Sequence[SpecChange]) -> PoolDifference:
    before, after = today or _NO_POOL, then or _NO_POOL
    return PoolDifference(
        name,
        is_new=today is None,
        spec=tuple(spec),
        facts=tuple(_changes(before.facts, after.facts, in_order=True)),
        nodes=tuple(_nodes(before.node_providers, after.node_providers)),
        new_findings=tuple(found for found in after.findings if found not in before.findings),
        gone_findings=tuple(found for found in before.findings if found not in after.findings),
    )


def _changes(today: Mapping[str, str], then: Mapping[str, str], *, in_order: bool) -> Iterable[Change]:
    keys = dict.fromkeys((*today, *then))
    for key in keys if in_order else sorted(keys):
        before, after = today.get(key, ""), then.get(key, "")
        if before != after:
            yield Change(key, before, after)


def _nodes(today: Mapping[str, str], then: Mapping[str, str]) -> Iterable[NodesMoved]:
    ways = ((name, today.get(name, ""), then.get(name, "")) for name in today.keys() | then.keys())
    groups = _grouped(((before, after), name) for name, before, after in ways if before != after)
    for (before, after), nodes in sorted(groups.items()):
        yield NodesMoved(before, after, tuple(sorted(nodes)))


def _pods(
    today: Mapping[str, PodDecision], then: Mapping[str, PodDecision], names: Mapping[str, PodName]
) -> Iterable[PodsDiffer]:
    uids = today.keys() | then.keys()
    ways = ((names[uid], today.get(uid, _NO_DECISION), then.get(uid, _NO_DECISION)) for uid in uids)
    groups = _grouped(
        (((before, after), pod.namespace, pod.owner), pod) for pod, before, after in ways if before != after
    )
    return _sorted((ways, pods) for (ways, _, _), pods in groups.items())


def merged(groups: Iterable[PodsDiffer]) -> Sequence[PodsDiffer]:
    """Put the pods together that differ in the same way, whatever their controller."""
    alike = _grouped(((group.today, group.then), pod) for group in groups for pod in group.pods)
    return _sorted(alike.items())


def _sorted(groups: Iterable[tuple[tuple[PodDecision, PodDecision], list[PodName]]]) -> Sequence[PodsDiffer]:
    found = [PodsDiffer(*ways, tuple(sorted(pods, key=_full_name))) for ways, pods in groups]
    return sorted(found, key=lambda group: group.rank)


def _full_name(pod: PodName) -> tuple[str, str]:
    return pod.namespace, pod.name


def _grouped(pairs: Iterable[tuple[_Key, _Item]]) -> dict[_Key, list[_Item]]:
    groups: dict[_Key, list[_Item]] = {}
    for key, item in pairs:
        groups.setdefault(key, []).append(item)
    return groups
