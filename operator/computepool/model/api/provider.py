"""One provider of a pool: which nodes are its own, what a pod needs to run there, what it costs."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from computepool.model.api.base import DECIMAL, DNS_LABEL, PROVIDER_KEY, ApiModel, Int, Name, fits, rule
from computepool.model.api.selectors import LabelSelector
from computepool.model.api.tolerations import TaintEffect, Toleration, TolerationOperator
from computepool.model.taints import covered

STANDING_TIMEOUT_SECONDS = 60
ON_DEMAND_TIMEOUT_SECONDS = 600


class CapacityType(StrEnum):
    """Where a provider's nodes come from."""

    STANDING = "Standing"
    ON_DEMAND = "OnDemand"


class Capacity(ApiModel):
    """How a provider's capacity comes about, and how much of it may be used."""

    type: CapacityType = CapacityType.STANDING
    """Standing: its nodes are there, and pods are sent on only as far as they fit on them. OnDemand: an autoscaler
    makes nodes for pods that wait, so pods are sent on before there is room."""
    max_accelerators: Annotated[Int, Field(ge=1, le=1_000_000)] | None = None
    """Most accelerators that this pool's pods may hold on a standby; left out, only its capacity limits them. Not
    allowed on the primary. Such a standby takes pending pods only, no new ones by admission."""


class Provider(ApiModel):
    """A set of nodes of this cluster that belong together: a cloud's node group, a neocloud, machines on premises."""

    name: Name
    """Name of the provider, a DNS label, unique in the pool. Standby nodes are tainted with it by default."""
    node_selector: LabelSelector
    """Labels that the provider's nodes have, and no other provider's nodes. Must not be empty."""
    tolerations: Annotated[tuple[Toleration, ...], Field(max_length=8)] = ()
    """Tolerations that a pod needs for this provider's nodes; they are added to a pod that is sent on to it. Left out
    or empty: computepool.io/provider=<name>:NoSchedule. Not allowed on the first provider, the primary."""
    capacity: Capacity = Capacity()
    """How the provider's capacity comes about, and how much of it may be used."""
    provision_timeout_seconds: Annotated[Int, Field(ge=1, le=86_400)] | None = None
    """Seconds that a pod is given to be bound where the provider has room for it, or makes nodes on demand, before it
    is offered to the next provider as well. Left out: 60 for Standing capacity, 600 for OnDemand."""
    price_per_accelerator_hour: Annotated[str, Field(max_length=16)] | None = None
    """Price of one accelerator for an hour, as a decimal in quotes, such as "2.95"; same currency in all pools. Used
    for costs in status and metrics, by budgets, and by placement Cheapest."""
    drain: Annotated[bool, Field(strict=True)] = False
    """True opens the provider's breaker by hand: no pod is sent there, and running pods leave where
    `failover.runningPods` is Move; by its default only those on sick nodes do. False lets it be tried again."""

    @rule(
        field="name",
        cel=f"self.name.matches(r'{DNS_LABEL}')",
        message="a provider's name is used in labels and taints: use up to 63 lower-case letters, digits and '-', "
        "starting and ending with a letter or digit",
        shows="self.name",
    )
    def _name_is_dns_label(self) -> bool:
        return fits(DNS_LABEL, self.name)

    @rule(
        field="nodeSelector",
        cel="(has(self.nodeSelector.matchLabels) && size(self.nodeSelector.matchLabels) > 0) || "
        "(has(self.nodeSelector.matchExpressions) && size(self.nodeSelector.matchExpressions) > 0)",
        message="an empty selector would take every node for this provider: add matchLabels or matchExpressions that "
        "only this provider's nodes fulfil",
    )
    def _selects_some_nodes(self) -> bool:
        return not self.node_selector.empty

    @rule(
        field="pricePerAcceleratorHour",
        cel=f"!has(self.pricePerAcceleratorHour) || self.pricePerAcceleratorHour.matches(r'{DECIMAL}')",
        message='a price is a decimal with at most six digits on either side of the point, such as "2.95": remove '
        "signs, currency symbols, exponents and separators",
        shows="self.pricePerAcceleratorHour",
    )
    def _price_is_decimal(self) -> bool:
        return self.price_per_accelerator_hour is None or fits(DECIMAL, self.price_per_accelerator_hour)

    def effective_tolerations(self) -> tuple[Toleration, ...]:
        """What a pod must tolerate to run on this standby: the tolerations given, or the default one.

        Meaningless for the primary, whose pods need none.
        """
        if self.tolerations:
            return self.tolerations
        default = Toleration(
            key=PROVIDER_KEY, operator=TolerationOperator.EQUAL, value=self.name, effect=TaintEffect.NO_SCHEDULE
        )
        return (default,)

    def tolerates_as(self, other: Provider) -> bool:
        """Whether a pod sent on to this standby would tolerate all that the other standby's pods do."""
        mine, theirs = ([t.compiled() for t in standby.effective_tolerations()] for standby in (self, other))
        return covered(theirs, mine)

    def provision_timeout(self) -> int:
        """Seconds that a pod sent on may wait to be bound before the next provider is offered."""
        if self.provision_timeout_seconds is not None:
            return self.provision_timeout_seconds
        on_demand = self.capacity.type is CapacityType.ON_DEMAND
        return ON_DEMAND_TIMEOUT_SECONDS if on_demand else STANDING_TIMEOUT_SECONDS

    def price(self) -> Decimal | None:
        """Price of one accelerator for an hour; None where no price is given."""
        return None if self.price_per_accelerator_hour is None else Decimal(self.price_per_accelerator_hour)
