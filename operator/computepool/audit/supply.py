"""The accelerators of a cluster: how many there are, used, free and unhealthy, and where. Amounts: thousandths."""

from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from computepool.assess.health.faults import avoided
from computepool.audit.cluster import AuditedNode, Cluster
from computepool.model.accelerators import NO_ACCELERATORS
from computepool.model.cluster import Accelerators, Node, Pod, node_info


class SupplyRow(msgspec.Struct, frozen=True):
    """Nodes that have everything in common but their names."""

    resource: str
    provider: str
    region: str
    zone: str
    node_group: str
    capacity_type: str
    model: str
    nodes: int = 0
    capacity: int = 0
    """All accelerators that the nodes have."""
    allocatable: int = 0
    """Those that pods may use now: on nodes that are ready, and neither cordoned nor about to go."""
    used: int = 0
    """Those that pods hold, on any node."""
    free: int = 0
    """Those that are allocatable, and neither held nor promised."""

    @property
    def unhealthy(self) -> int:
        """Those that no pod may use now."""
        return max(0, self.capacity - self.allocatable)

    def plus(self, other: "SupplyRow") -> "SupplyRow":
        """Return the sum of the amounts, with this row's names."""
        return msgspec.structs.replace(
            self,
            nodes=self.nodes + other.nodes,
            capacity=self.capacity + other.capacity,
            allocatable=self.allocatable + other.allocatable,
            used=self.used + other.used,
            free=self.free + other.free,
        )


class Concentration(msgspec.Struct, frozen=True):
    """How much depends on one name."""

    name: str
    """Of the largest provider or region, or a capacity type."""
    share: float
    """Its share of all accelerators, from 0 to 1."""


def supply_rows(cluster: Cluster, provider_of: Mapping[str, str], resources: Iterable[str]) -> tuple[SupplyRow, ...]:
    """Return the supply, with the largest provider first; one row for all nodes that have the same place."""
    rows: dict[tuple[str, ...], SupplyRow] = {}
    for node, resource, amounts in _amounts(cluster, resources):
        row = _row(node, provider_of.get(node.node.name, ""), resource, amounts)
        key = (resource, row.provider, row.region, row.zone, row.node_group, row.capacity_type, row.model)
        rows[key] = rows[key].plus(row) if key in rows else row
    sizes = summed_up(rows.values(), lambda row: row.provider)
    return tuple(
        sorted(
            rows.values(),
            key=lambda row: (
                -sizes[row.provider].capacity,
                row.provider,
                row.region,
                row.zone,
                row.node_group,
                row.model,
            ),
        )
    )


def free_on_nodes(cluster: Cluster, resources: Iterable[str]) -> dict[str, dict[str, int]]:
    """Return how many accelerators are free, by name of a node that has any accelerators, and by resource."""
    found: dict[str, dict[str, int]] = {}
    for node, resource, amounts in _amounts(cluster, resources):
        found.setdefault(node.node.name, {})[resource] = amounts.free if usable(node) else 0
    return found


def summed_up(rows: Iterable[SupplyRow], name: Callable[[SupplyRow], str]) -> dict[str, SupplyRow]:
    """Return the sums of the rows that have the same name."""
    sums: dict[str, SupplyRow] = {}
    for row in rows:
        key = name(row)
        sums[key] = sums[key].plus(row) if key in sums else row
    return sums


def largest(rows: Iterable[SupplyRow], name: Callable[[SupplyRow], str]) -> Concentration | None:
    """Return the name with the most accelerators, and its share; None without accelerators, or without names."""
    sums = summed_up(rows, name)
    total = sum(row.capacity for row in sums.values())
    named = {key: row.capacity for key, row in sums.items() if key}
    if not total or not named:
        return None
    key = min(named, key=lambda key: (-named[key], key))
    return Concentration(key, named[key] / total)


def share_of(rows: Iterable[SupplyRow], capacity_type: str) -> Concentration | None:
    """Return the share of a capacity type; None if no node tells its capacity type."""
    known = tuple(rows)
    total = sum(row.capacity for row in known)
    if not total or not any(row.capacity_type for row in known):
        return None
    own = sum(row.capacity for row in known if row.capacity_type == capacity_type)
    return Concentration(capacity_type, own / total)


def _amounts(cluster: Cluster, resources: Iterable[str]) -> Iterator[tuple[AuditedNode, str, Accelerators]]:
    """Yield the accelerators of each node, by resource."""
    bound: dict[str, list[Pod]] = {}
    for found in cluster.pods:
        bound.setdefault(found.pod.node or found.pod.nominated, []).append(found.pod)
    wanted = tuple(resources)
    for node in cluster.nodes:
        accelerators = _accelerators(node.node, bound.get(node.node.name, ()))
        for resource in wanted:
            amounts = accelerators.get(resource, NO_ACCELERATORS)
            if amounts.capacity:
                yield node, resource, amounts


def usable(found: AuditedNode) -> bool:
    """Say whether pods may begin to use its accelerators: it is ready, and neither cordoned nor about to go."""
    return found.node.usable and not found.node.quarantined and not avoided(found.node)


def _accelerators(node: Node, pods: Iterable[Pod]) -> Mapping[str, Accelerators]:
    info = node_info(node, [pod for pod in pods if pod.node], [pod for pod in pods if not pod.node])
    return info.accelerators


def _row(found: AuditedNode, provider: str, resource: str, amounts: Accelerators) -> SupplyRow:
    works = usable(found)
    place = found.place
    return SupplyRow(
        resource=resource,
        provider=provider,
        region=place.region,
        zone=place.zone,
        node_group=place.node_group,
        capacity_type=place.capacity_type,
        model=place.model,
        nodes=1,
        capacity=amounts.capacity,
        allocatable=amounts.allocatable if works else 0,
        used=amounts.used,
        free=amounts.free if works else 0,
    )
