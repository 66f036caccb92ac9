"""What an accelerator costs for an hour: as the user says, as the pools say, or as OpenCost has measured.

A price that nobody knows is None. It is never counted as zero.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Final

import msgspec

from computepool.audit.accelerators import is_part
from computepool.audit.cluster import AuditedNode, Cluster
from computepool.model.labels import Selector

_WORDS: Final = re.compile(r"[a-z0-9]+")


class PriceSource(StrEnum):
    """Where a price is from."""

    GIVEN = "--prices"
    POOL = "ComputePool"
    OPENCOST = "OpenCost"


class PriceRule(msgspec.Struct, frozen=True):
    """A price that the user gives. An empty text stands for any."""

    provider: str
    price: Decimal
    """Of one accelerator for an hour, in the user's currency."""
    resource: str = ""
    """The name of the extended resource, such as nvidia.com/mig-1g.10gb."""
    model: str = ""
    """Words that the name of the model has, such as H100 or A100-80GB."""
    capacity_type: str = ""
    """spot, on-demand or reserved."""

    def __str__(self) -> str:
        """Write it as its path in the file of prices, such as aws.A100-80GB.spot."""
        return ".".join(filter(None, (self.provider, self.resource, self.model, self.capacity_type)))

    def applies(self, found: AuditedNode, resource: str) -> bool:
        """Say whether this is a price of an accelerator of a node of its provider."""
        if self.resource:
            fits = self.resource == resource
        else:
            # Half a device at the price of a device would be twice its cost.
            fits = not is_part(resource, found.node.labels) and words_of(self.model) <= words_of(found.place.model)
        return fits and self.capacity_type in ("", found.place.capacity_type)

    @property
    def rank(self) -> tuple[bool, int, bool]:
        """How much it says: of several prices that apply, the one that says most holds."""
        return bool(self.resource), len(words_of(self.model)), bool(self.capacity_type)


class Price(msgspec.Struct, frozen=True):
    """A known price."""

    per_hour: Decimal
    source: PriceSource


class Pricing:
    """The prices of the accelerators of a cluster."""

    def __init__(
        self,
        cluster: Cluster,
        provider_of: Mapping[str, str],
        rules: Iterable[PriceRule] = (),
        measured: Mapping[str, Decimal] | None = None,
    ) -> None:
        """`provider_of`: by name of a node. `measured`: by name of a node, an accelerator's price by OpenCost."""
        self._nodes = {found.node.name: found for found in cluster.nodes}
        self._provider_of = provider_of
        self._rules = _by_provider(rules)
        self._of_pools = _of_pools(cluster)
        self._measured = measured or {}
        self._known: dict[tuple[str, str], Price | None] = {}

    def price(self, node: str, resource: str) -> Price | None:
        """Return the price of one accelerator of a node; None if it is not known, or if there is no such node."""
        key = (node, resource)
        if key not in self._known:
            found = self._nodes.get(node)
            self._known[key] = None if found is None else self._find(found, resource)
        return self._known[key]

    def _find(self, found: AuditedNode, resource: str) -> Price | None:
        rules = self._rules.get(self._provider_of.get(found.node.name, ""), ())
        given = max((rule for rule in rules if rule.applies(found, resource)), key=lambda rule: rule.rank, default=None)
        if given is not None:
            return Price(given.price, PriceSource.GIVEN)
        for own, selector, price in self._of_pools:
            if own == resource and selector.matches(found.node.labels):
                return Price(price, PriceSource.POOL)
        measured = self._measured.get(found.node.name)
        if measured is None or is_part(resource, found.node.labels):
            return None
        return Price(measured, PriceSource.OPENCOST)


def words_of(text: str) -> frozenset[str]:
    """Return the words of a model's name: NVIDIA-A100-SXM4-80GB has the words of A100-80GB, and not those of A10."""
    return frozenset(_WORDS.findall(text.lower()))


def cost(amount: int, price: Decimal) -> Decimal:
    """Return the exact cost for an hour of an amount in thousandths."""
    return (price * amount).scaleb(-3)


def _by_provider(rules: Iterable[PriceRule]) -> dict[str, list[PriceRule]]:
    found: dict[str, list[PriceRule]] = {}
    for rule in rules:
        found.setdefault(rule.provider, []).append(rule)
    return found


def _of_pools(cluster: Cluster) -> Sequence[tuple[str, Selector, Decimal]]:
    """Return the prices of the pools: accelerator, nodes and price. Where several name a node, the first name holds."""
    return [
        (pool.spec.accelerator.resource_name, provider.node_selector.compiled(), price)
        for pool in cluster.pools
        for provider in pool.spec.providers
        if (price := provider.price()) is not None
    ]
