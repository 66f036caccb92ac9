"""What the accelerators cost for an hour, by provider and by workload. Amounts of accelerators are in thousandths."""

from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Final

import msgspec

from computepool.audit.accelerators import is_part
from computepool.audit.cluster import Cluster
from computepool.audit.demand import WorkloadName, workload_of
from computepool.audit.prices import Price, PriceRule, PriceSource, Pricing, cost
from computepool.decide.move.eligibility import node_bound
from computepool.model.accelerators import devices_of

NOTHING: Final = Decimal(0)


class ProviderCost(msgspec.Struct, frozen=True):
    """What a provider's accelerators cost for an hour, whether pods hold them or not."""

    provider: str
    accelerators: int
    unpriced: int
    """Of these: accelerators whose price is not known. They are in no sum."""
    per_hour: Decimal
    used_per_hour: Decimal
    """Of this: for the accelerators that pods hold."""
    sources: tuple[PriceSource, ...]

    @property
    def unused_per_hour(self) -> Decimal:
        """Of the cost: for the accelerators that no pod holds."""
        return self.per_hour - self.used_per_hour


class WorkloadCost(msgspec.Struct, frozen=True):
    """What the accelerators that a workload's pods hold cost for an hour."""

    name: WorkloadName
    accelerators: int
    unpriced: int
    per_hour: Decimal


class Costs(msgspec.Struct, frozen=True):
    """What a cluster's accelerators cost for an hour, the dearest first."""

    providers: tuple[ProviderCost, ...]
    workloads: tuple[WorkloadCost, ...]
    prices: Mapping[tuple[str, str], Price] = MappingProxyType({})
    """By provider and resource: the price of one accelerator, where it is known and the same on all nodes."""
    strangers: tuple[str, ...] = ()
    """Providers that have a price of the user's, and no node."""
    given: bool = False
    """Whether the user gives any price."""
    unmatched: tuple[str, ...] = ()
    """The user's prices of providers with nodes that no accelerator matches, by their paths in the file, sorted."""

    @property
    def known(self) -> bool:
        """Whether the price of any accelerator is known."""
        return any(provider.sources for provider in self.providers)

    @property
    def per_hour(self) -> Decimal:
        """The cost of all accelerators whose price is known."""
        return sum((provider.per_hour for provider in self.providers), NOTHING)

    @property
    def unpriced(self) -> int:
        """All accelerators whose price is not known."""
        return sum(provider.unpriced for provider in self.providers)


def costs_of(
    cluster: Cluster,
    pricing: Pricing,
    provider_of: Mapping[str, str],
    resources: Iterable[str],
    rules: Iterable[PriceRule] = (),
) -> Costs:
    """Return what the accelerators of a cluster cost. `rules`: the prices that the user gives."""
    wanted, given = frozenset(resources), tuple(rules)
    strangers = {rule.provider for rule in given} - set(provider_of.values())
    return Costs(
        providers=_by_provider(cluster, pricing, provider_of, wanted),
        workloads=_by_workload(cluster, pricing, wanted),
        prices=_same_prices(cluster, pricing, provider_of, wanted),
        strangers=tuple(sorted(strangers)),
        given=bool(given),
        unmatched=_unmatched(cluster, provider_of, wanted, [rule for rule in given if rule.provider not in strangers]),
    )


class _Sum:
    """A sum of costs."""

    def __init__(self) -> None:
        self.accelerators = 0
        self.unpriced = 0
        self.per_hour = NOTHING
        self.used_per_hour = NOTHING
        self.sources: set[PriceSource] = set()


def _by_provider(
    cluster: Cluster, pricing: Pricing, provider_of: Mapping[str, str], wanted: frozenset[str]
) -> tuple[ProviderCost, ...]:
    used: Counter[tuple[str, str]] = Counter()
    for found in cluster.pods:
        for resource, amount in devices_of(found.pod.shape):
            used[found.pod.node, resource] += amount
    sums: dict[str, _Sum] = {}
    for node in (audited.node for audited in cluster.nodes):
        for resource in wanted:
            # As the supply counts them: a node may report more that is allocatable than its capacity.
            amount = max(node.capacity.get(resource, 0), node.allocatable.get(resource, 0))
            if not amount:
                continue
            total = sums.setdefault(provider_of.get(node.name, ""), _Sum())
            total.accelerators += amount
            price = pricing.price(node.name, resource)
            if price is None:
                total.unpriced += amount
                continue
            total.per_hour += cost(amount, price.per_hour)
            total.used_per_hour += cost(min(used[node.name, resource], amount), price.per_hour)
            total.sources.add(price.source)
    made = [
        ProviderCost(
            name,
            total.accelerators,
            total.unpriced,
            total.per_hour,
            total.used_per_hour,
            tuple(source for source in PriceSource if source in total.sources),
        )
        for name, total in sums.items()
    ]
    return tuple(sorted(made, key=lambda found: (-found.per_hour, -found.accelerators, found.provider)))


def _same_prices(
    cluster: Cluster, pricing: Pricing, provider_of: Mapping[str, str], wanted: frozenset[str]
) -> dict[tuple[str, str], Price]:
    found: dict[tuple[str, str], set[Price | None]] = {}
    for node in (audited.node for audited in cluster.nodes):
        for resource in wanted:
            if node.capacity.get(resource):
                key = (provider_of.get(node.name, ""), resource)
                found.setdefault(key, set()).add(pricing.price(node.name, resource))
    return {
        key: price
        for key, (price, *others) in ((key, list(prices)) for key, prices in found.items())
        if price is not None and all(other is not None and other.per_hour == price.per_hour for other in others)
    }


def _unmatched(
    cluster: Cluster, provider_of: Mapping[str, str], wanted: frozenset[str], rules: Iterable[PriceRule]
) -> tuple[str, ...]:
    """Return the prices that apply to no accelerator. A price that a narrower price outranks applies all the same."""
    left = set(rules)
    seen: set[tuple[str, str, str, str, bool]] = set()
    for found in cluster.nodes if left else ():
        node, place = found.node, found.place
        provider = provider_of.get(node.name, "")
        for resource in wanted:
            # Thousands of nodes are equal to a rule.
            key = (provider, resource, place.model, place.capacity_type, is_part(resource, node.labels))
            if key in seen or not max(node.capacity.get(resource, 0), node.allocatable.get(resource, 0)):
                continue
            seen.add(key)
            left = {rule for rule in left if rule.provider != provider or not rule.applies(found, resource)}
    return tuple(sorted(map(str, left)))


def _by_workload(cluster: Cluster, pricing: Pricing, wanted: frozenset[str]) -> tuple[WorkloadCost, ...]:
    sums: dict[WorkloadName, _Sum] = {}
    for found in cluster.pods:
        if not found.pod.node or node_bound(found.pod):
            continue
        for resource, amount in devices_of(found.pod.shape):
            if resource not in wanted:
                continue
            total = sums.setdefault(workload_of(found, cluster.owners), _Sum())
            total.accelerators += amount
            price = pricing.price(found.pod.node, resource)
            if price is None:
                total.unpriced += amount
            else:
                total.per_hour += cost(amount, price.per_hour)
    made = [WorkloadCost(name, total.accelerators, total.unpriced, total.per_hour) for name, total in sums.items()]
    return tuple(sorted(made, key=lambda found: (-found.per_hour, -found.accelerators, found.name)))
