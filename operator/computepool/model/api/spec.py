"""What a person asks for: the spec of a ComputePool."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from computepool.model.api.base import (
    DECIMAL,
    DNS_LABEL,
    EXTENDED_RESOURCE,
    PROVIDER_KEY,
    ApiModel,
    Int,
    Key,
    Name,
    fits,
    rule,
)
from computepool.model.api.selectors import LabelSelector
from computepool.model.api.tolerations import TaintEffect, Toleration, TolerationOperator

STANDING_TIMEOUT_SECONDS = 60
ON_DEMAND_TIMEOUT_SECONDS = 600


class Mode(StrEnum):
    """Whether the operator acts."""

    ENFORCE = "Enforce"
    OBSERVE = "Observe"


class CapacityType(StrEnum):
    """Where a provider's nodes come from."""

    STANDING = "Standing"
    ON_DEMAND = "OnDemand"


class Placement(StrEnum):
    """How a standby is chosen for a pod that overflows."""

    ORDERED = "Ordered"
    CHEAPEST = "Cheapest"


class AdmissionMode(StrEnum):
    """When new pods tolerate the standby providers from their creation."""

    ALWAYS = "Always"
    WHEN_SATURATED = "WhenSaturated"
    OFF = "Off"


class Accelerator(ApiModel):
    """The resource that pods ask for and providers run out of."""

    resource_name: Key = "nvidia.com/gpu"
    """Name of the extended resource as it stands in a container's limits, such as nvidia.com/gpu or amd.com/gpu."""

    @rule(
        field="resourceName",
        cel=f"self.resourceName.matches(r'{EXTENDED_RESOURCE}')",
        message="an accelerator is an extended resource with its domain, such as nvidia.com/gpu, amd.com/gpu or "
        "nvidia.com/mig-1g.5gb: write it as in a container's limits",
    )
    def _is_extended_resource(self) -> bool:
        return fits(EXTENDED_RESOURCE, self.resource_name)


class Workloads(ApiModel):
    """Which pods belong to the pool, among those that request the accelerator.

    Pods in kube-system and in the operator's own namespace never do.
    """

    namespace_selector: LabelSelector = LabelSelector()
    """Labels of the namespaces; left out or empty, all namespaces."""
    pod_selector: LabelSelector = LabelSelector()
    """Labels of the pods; left out or empty, all pods of those namespaces."""


class Capacity(ApiModel):
    """How a standby provider's capacity comes about, and how much of it may be used."""

    type: CapacityType = CapacityType.STANDING
    """Standing: its nodes are there, and pods are sent on only as far as they fit on them.
    OnDemand: an autoscaler makes nodes once a pod tolerates them, so pods are sent on before there is room."""
    max_accelerators: Annotated[Int, Field(ge=1, le=1_000_000)] | None = None
    """Most accelerators that this pool's pods may hold on the provider; left out, only its capacity limits them."""


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
    """How the provider's capacity comes about, and how much may be used. For standby providers only."""
    provision_timeout_seconds: Annotated[Int, Field(ge=1, le=86_400)] | None = None
    """Seconds that a pod sent on may wait to be bound before it is offered to the next provider as well. Left out: 60
    for Standing capacity, 600 for OnDemand. For standby providers only."""
    price_per_accelerator_hour: Annotated[str, Field(max_length=16)] | None = None
    """Price of one accelerator for an hour, as a decimal in quotes, such as "2.95"; same currency in all pools. Used
    for costs in status and metrics, and by placement Cheapest."""

    @rule(
        field="name",
        cel=f"self.name.matches(r'{DNS_LABEL}')",
        message="a provider's name is used in labels and taints: use up to 63 lower-case letters, digits and '-', "
        "starting and ending with a letter or digit",
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

    def provision_timeout(self) -> int:
        """Seconds that a pod sent on may wait to be bound before the next provider is offered."""
        if self.provision_timeout_seconds is not None:
            return self.provision_timeout_seconds
        on_demand = self.capacity.type is CapacityType.ON_DEMAND
        return ON_DEMAND_TIMEOUT_SECONDS if on_demand else STANDING_TIMEOUT_SECONDS

    def price(self) -> Decimal | None:
        """Price of one accelerator for an hour; None where no price is given."""
        return None if self.price_per_accelerator_hour is None else Decimal(self.price_per_accelerator_hour)


class Allocation(ApiModel):
    """Saturation by allocation: the share of the primary's accelerators that are taken, with a gap against flapping."""

    enter_percent: Annotated[Int, Field(ge=1, le=100)] = 95
    """Percent of the primary's allocatable accelerators taken at which the primary counts as filling up."""
    exit_percent: Annotated[Int, Field(ge=0, le=99)] = 80
    """Percent taken below which the primary counts as having room again. Must be below `enterPercent`."""

    @rule(
        field="exitPercent",
        cel="self.exitPercent < self.enterPercent",
        message="exitPercent must be below enterPercent, or the pool would flap: lower exitPercent or raise "
        "enterPercent",
        message_cel="'exitPercent (' + string(self.exitPercent) + ') must be below enterPercent (' + "
        "string(self.enterPercent) + '), or the pool would flap: lower exitPercent or raise enterPercent'",
    )
    def _exit_is_below_enter(self) -> bool:
        return self.exit_percent < self.enter_percent


class Saturation(ApiModel):
    """When the primary counts as saturated, and when no more."""

    pending_seconds: Annotated[Int, Field(ge=0, le=3_600)] = 5
    """Seconds a pod must have waited before it counts as overflow. 0: as soon as nothing preferred can take it, without
    waiting for the scheduler's verdict."""
    allocation: Allocation = Allocation()
    """Saturation by the share of the primary's accelerators that are taken."""
    sustain_seconds: Annotated[Int, Field(ge=0, le=3_600)] = 30
    """Seconds that the share must stay at or above `allocation.enterPercent` before the primary counts as saturated."""
    clear_seconds: Annotated[Int, Field(ge=0, le=86_400)] = 120
    """Seconds without overflow and below `allocation.exitPercent` before the primary counts as saturated no more."""


class Admission(ApiModel):
    """Whether new pods tolerate standby providers from their creation, by an admission policy in the API server."""

    mode: AdmissionMode = AdmissionMode.WHEN_SATURATED
    """WhenSaturated: while the primary is saturated, new pods tolerate the standby providers and prefer the primary.
    Always: at all times, so that the scheduler itself spills over. Off: only pending pods are sent on, one by one."""


class PoolSpec(ApiModel):
    """Workloads, the providers they may run on in order of preference, and when to use which."""

    mode: Mode = Mode.ENFORCE
    """Enforce: decide and act. Observe: decide, report and record, but change nothing."""
    accelerator: Accelerator = Accelerator()
    """The resource that pods ask for and providers run out of."""
    workloads: Workloads = Workloads()
    """Which pods belong to the pool; left out, all that request the accelerator."""
    providers: Annotated[tuple[Provider, ...], Field(max_length=16)]
    """Providers in order of preference, 2 to 16. The first is the primary, where workloads run as long as they fit; the
    others are standbys, whose nodes carry a taint."""
    placement: Placement = Placement.ORDERED
    """How a standby is chosen for a pod that overflows. Ordered: the first that has room. Cheapest: the one with the
    lowest price that has room; every standby then needs a price."""
    saturation: Saturation = Saturation()
    """When the primary counts as saturated, and when no more."""
    admission: Admission = Admission()
    """Whether new pods tolerate standby providers from their creation."""

    @property
    def primary(self) -> Provider:
        """The provider where workloads run as long as they fit."""
        return self.providers[0]

    @property
    def standbys(self) -> tuple[Provider, ...]:
        """The other providers, in order of preference."""
        return self.providers[1:]

    def provider(self, name: str) -> Provider | None:
        """The provider of that name; None if the pool has none."""
        return next((one for one in self.providers if one.name == name), None)
