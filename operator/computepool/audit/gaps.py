"""How far a cluster falls short when a part is lost, and the least that would close the gap. Amounts: thousandths."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from computepool.audit.accelerators import units
from computepool.audit.demand import WorkloadName
from computepool.audit.losses import Fate
from computepool.model.cluster import Node
from computepool.model.quantity import MILLI
from computepool.model.reasons import Reason
from computepool.report.formatting import counted

_LIMITS: Final = frozenset({Reason.AT_MAX_ACCELERATORS, Reason.BUDGET_EXHAUSTED})
_ROOM: Final = frozenset({Reason.NO_ROOM, Reason.NO_NODES, Reason.INSUFFICIENT_CAPACITY}) | _LIMITS
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


def remedies(
    fates: Sequence[Fate], nodes_by_provider: Mapping[str, Sequence[Node]], resource: str
) -> tuple[Remedy, ...]:
    """Return the least that would close the gap: nodes to add, and what is to be loosened, the most helpful first.

    `nodes_by_provider`: the nodes that are left.
    """
    stranded = [fate for fate in fates if fate.stranded]
    lacking: dict[str, list[int]] = {}
    limited: set[str] = set()
    others: Counter[str] = Counter()
    for fate in stranded:
        provider = next((name for name, why in fate.rejected if why in _ROOM and nodes_by_provider.get(name)), None)
        if provider is not None:
            if dict(fate.rejected)[provider] in _LIMITS:
                limited.add(provider)
            lacking.setdefault(provider, []).append(fate.amount)
        elif fate.helps:
            others[fate.helps[0]] += fate.amount
    found = [
        Remedy(
            _nodes_to_add(provider, amounts, nodes_by_provider[provider], resource, limited=provider in limited),
            sum(amounts),
        )
        for provider, amounts in lacking.items()
    ]
    found += [Remedy(text, amount) for text, amount in others.items()]
    return tuple(sorted(found, key=lambda remedy: (-remedy.accelerators, remedy.text)))


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


def _nodes_to_add(provider: str, amounts: Iterable[int], nodes: Sequence[Node], resource: str, *, limited: bool) -> str:
    """Say how many nodes of the provider's most frequent size hold these pods, packed largest first."""
    sizes = Counter(node.capacity.get(resource, 0) for node in nodes if node.capacity.get(resource))
    size = max(sizes, key=lambda size: (sizes[size], size)) if sizes else 0
    # By what is left of a new node: how many nodes have so much left. Best fit, as the account packs.
    rest: Counter[int] = Counter()
    for amount in sorted(amounts, reverse=True):
        left = min((left for left, count in rest.items() if count and left >= amount), default=None)
        if left is not None:
            rest[left] -= 1
        rest[(max(size, amount) if left is None else left) - amount] += 1
    count = rest.total()
    limits = ", or raise its limits" if limited else ""
    sized = f" with {units(size)} accelerator{'' if size == MILLI else 's'}" if size else ""
    each = " each" if size and count > 1 else ""
    return f"Add {counted(count, 'node')}{sized}{each} to {provider}{limits}."
