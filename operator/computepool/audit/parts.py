"""The parts of a cluster that may be lost together: providers, regions, node groups and capacity types."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from computepool.audit.cluster import AuditedNode
from computepool.report.formatting import listed

MOST_OF_A_KIND: Final = 50
"""How many parts of one kind are judged, the largest first. Each takes up to a second in a very large cluster."""
NAMED_PARTS: Final = 30
"""How many parts an error names."""


class PartKind(StrEnum):
    """What the nodes of a part have in common."""

    PROVIDER = "provider"
    REGION = "region"
    NODE_GROUP = "node-group"
    CAPACITY_TYPE = "capacity-type"


class Part(msgspec.Struct, frozen=True):
    """Nodes that may be lost together."""

    kind: PartKind
    name: str
    nodes: frozenset[str]

    def __str__(self) -> str:
        """Write it as `--lose` takes it."""
        return self.name if self.kind is PartKind.PROVIDER else f"{self.kind}={self.name}"


class UnknownPartError(ValueError):
    """There is no such part; the message names those that there are."""


def parts_of(
    nodes: Sequence[AuditedNode], provider_of: Mapping[str, str], sizes: Mapping[str, int]
) -> tuple[Part, ...]:
    """Return all parts with accelerators, by kind, the largest of each kind first. `sizes`: accelerators by node."""
    members: dict[tuple[PartKind, str], set[str]] = {}
    shared = _shared_regions(nodes, provider_of)
    for found in nodes:
        for kind, name in _names(found, provider_of.get(found.node.name, ""), shared):
            if name:
                members.setdefault((kind, name), set()).add(found.node.name)
    made = [Part(kind, name, frozenset(nodes)) for (kind, name), nodes in members.items()]
    order = list(PartKind)
    made.sort(key=lambda part: (order.index(part.kind), -sum(sizes[node] for node in part.nodes), part.name))
    return tuple(made)


def largest_parts(parts: Sequence[Part]) -> tuple[Part, ...]:
    """Return at most MOST_OF_A_KIND parts of each kind: the largest, if these come first."""
    return tuple(part for kind in PartKind for part in [p for p in parts if p.kind is kind][:MOST_OF_A_KIND])


def together(parts: Sequence[Part], wanted: Collection[str]) -> tuple[Part, ...]:
    """Return the parts with these names, as `--lose` takes them, each once. Raises UnknownPartError."""
    by_name = {str(part): part for part in parts}
    found: dict[Part, None] = {}
    for name in wanted:
        part = by_name.get(name) or by_name.get(name.removeprefix(f"{PartKind.PROVIDER}="))
        if part is None:
            known = listed(list(by_name), NAMED_PARTS) or "nothing: no node has accelerators"
            raise UnknownPartError(f"--lose {name}: there is no such part; there is {known}")
        found[part] = None
    return tuple(found)


def _shared_regions(nodes: Iterable[AuditedNode], provider_of: Mapping[str, str]) -> frozenset[str]:
    """Return the names of regions that several providers have: these are not one region."""
    providers: dict[str, set[str]] = {}
    for found in nodes:
        providers.setdefault(found.place.region, set()).add(provider_of.get(found.node.name, ""))
    return frozenset(region for region, names in providers.items() if len(names) > 1)


def _names(found: AuditedNode, provider: str, shared: Collection[str]) -> Iterable[tuple[PartKind, str]]:
    place = found.place
    yield PartKind.PROVIDER, provider
    yield PartKind.REGION, f"{provider}/{place.region}" if place.region and place.region in shared else place.region
    yield PartKind.NODE_GROUP, place.node_group and f"{provider}/{place.node_group}"
    yield PartKind.CAPACITY_TYPE, place.capacity_type
