"""How far a cluster falls short when a part is lost, and the least that would close the gap. Amounts: thousandths."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from computepool.audit.accelerators import accelerators
from computepool.audit.demand import WorkloadName
from computepool.audit.losses import Fate
from computepool.audit.node_labels import place_of
from computepool.model.cluster import Node
from computepool.model.reasons import Reason
from computepool.report.formatting import counted

_LIMITS: Final = {
    Reason.AT_MAX_ACCELERATORS: "Raise capacity.maxAccelerators of",
    Reason.BUDGET_EXHAUSTED: "Raise spec.budget for pods on",
}
_ROOM: Final = frozenset({Reason.NO_ROOM, Reason.NO_NODES, Reason.INSUFFICIENT_CAPACITY, *_LIMITS})
"""Rejections that more capacity, a higher limit or more money would end."""
MOST_HELPS: Final = 3


class Remedy(msgspec.Struct, frozen=True):
    """A change that would give stranded pods a place."""

    text: str
    accelerators: int
    """The accelerators of the pods that it would help."""


class StrandedWorkload(msgspec.Struct, frozen=True):
    """The pods of a workload that no provider takes."""

    name: WorkloadName
    pods: int
    accelerators: int
    reasons: Mapping[str, int]
    """Accelerators by reason."""
    rejected: Mapping[str, str]
    """By provider: its most frequent reason."""
    helps: tuple[str, ...]


def stranded_workloads(fates: Iterable[tuple[WorkloadName, Fate]]) -> tuple[StrandedWorkload, ...]:
    """Return the workloads with stranded pods, the largest first."""
    groups: dict[WorkloadName, list[Fate]] = {}
    for name, fate in fates:
        if fate.stranded:
            groups.setdefault(name, []).append(fate)
    made = [_stranded(name, found) for name, found in groups.items()]
    return tuple(sorted(made, key=lambda found: (-found.accelerators, found.name)))


def remedies(fates: Sequence[Fate], nodes_by_provider: Mapping[str, Sequence[Node]]) -> tuple[Remedy, ...]:
    """Return the least that would close the gap: nodes to add, and what is to be loosened, the most helpful first.

    `nodes_by_provider`: the nodes that are left.
    """
    lacking: dict[_Kind, list[int]] = {}
    others: Counter[str] = Counter()
    # By shape, resource and provider: equal pods lack the same nodes, so these are looked for once.
    kinds: dict[tuple[int, str, str], _Kind] = {}
    for fate in fates:
        if not fate.stranded:
            continue
        short = next(((name, why) for name, why in fate.rejected if why in _ROOM and nodes_by_provider.get(name)), None)
        if short is None:
            others[fate.helps[0] if fate.helps else _why(fate, nodes_by_provider)] += fate.amount
        elif short[1] in _LIMITS:
            others[f"{_LIMITS[short[1]]} {short[0]}."] += fate.amount
        else:
            provider = short[0]
            key = (id(fate.pod.pod.shape), fate.resource, provider)
            if key not in kinds:
                kinds[key] = _kind_of(fate, provider, nodes_by_provider[provider])
            lacking.setdefault(kinds[key], []).append(fate.amount)
    found = [Remedy(_nodes_to_add(kind, amounts), sum(amounts)) for kind, amounts in lacking.items()]
    found += [Remedy(text, amount) for text, amount in others.items()]
    return tuple(sorted(found, key=lambda remedy: (-remedy.accelerators, remedy.text)))


def _why(fate: Fate, nodes_by_provider: Mapping[str, Sequence[Node]]) -> str:
    """Say in a sentence why the first provider that has nodes left does not take the pod."""
    why = next((why for name, why in fate.rejected if nodes_by_provider.get(name)), fate.reason)
    return (why or Reason.NO_PROVIDER_LEFT).help


class _Kind(msgspec.Struct, frozen=True):
    """The nodes that pods lack."""

    provider: str
    size: int
    """How many accelerators such a node has; 0 if that is not known."""
    model: str
    """Empty if it does not matter, or is not known."""
    away: int
    """How many such nodes there are that no pod can use now."""


def _kind_of(fate: Fate, provider: str, nodes: Sequence[Node]) -> _Kind:
    """Return the provider's most frequent nodes among those that admit the pod."""
    shape = fate.pod.pod.shape
    fitting = [node for node in nodes if node.capacity.get(fate.resource) and shape.admits(node.name, node.labels)]
    kinds = Counter((node.capacity[fate.resource], place_of(node.labels).model) for node in fitting)
    size, model = max(kinds, key=lambda kind: (kinds[kind], kind)) if kinds else (0, "")
    selects = bool(shape.node_selector) or shape.affinity is not None
    away = sum(not node.usable for node in fitting)
    return _Kind(provider, size, model if selects else "", away)


def _stranded(name: WorkloadName, fates: Sequence[Fate]) -> StrandedWorkload:
    reasons: Counter[str] = Counter()
    rejected: dict[str, Counter[Reason]] = {}
    helps: Counter[str] = Counter()
    for fate in fates:
        reasons[str(fate.reason)] += fate.amount
        helps.update(fate.helps)
        for provider, why in fate.rejected:
            rejected.setdefault(provider, Counter())[why] += 1
    return StrandedWorkload(
        name=name,
        pods=len(fates),
        accelerators=sum(fate.amount for fate in fates),
        reasons=dict(reasons.most_common()),
        rejected={provider: str(why.most_common(1)[0][0]) for provider, why in rejected.items()},
        helps=tuple(text for text, _ in helps.most_common(MOST_HELPS)),
    )


def _nodes_to_add(kind: _Kind, amounts: Iterable[int]) -> str:
    """Say how many nodes of a kind hold these pods, packed largest first."""
    # By what is left of a new node: how many nodes have so much left. Best fit, as the account packs.
    rest: Counter[int] = Counter()
    for amount in sorted(amounts, reverse=True):
        left = min((left for left, count in rest.items() if count and left >= amount), default=None)
        if left is not None:
            rest[left] -= 1
        rest[(max(kind.size, amount) if left is None else left) - amount] += 1
    count = rest.total()
    sized = f" with {accelerators(kind.size)}" if kind.size else ""
    each = " each" if kind.size and count > 1 else ""
    model = f" ({kind.model})" if kind.model else ""
    add = f"Add {counted(count, 'node')}{sized}{each}{model} to {kind.provider}"
    if not kind.away:
        return f"{add}."
    return f"{add}, or first bring back {counted(kind.away, 'node')} there that no pod can use now."
