"""What a person asks for: the spec of a ComputePool."""

from __future__ import annotations

from enum import StrEnum
from itertools import combinations, permutations
from typing import Annotated

from pydantic import Field

from computepool.model.api.base import (
    EXTENDED_RESOURCE,
    PROVIDER_KEY,
    ApiModel,
    Int,
    Key,
    fits,
    rule,
)
from computepool.model.api.budget import Budget
from computepool.model.api.health import Health
from computepool.model.api.moves import Failback, Failover, Reschedule
from computepool.model.api.provider import Provider
from computepool.model.api.selectors import LabelSelector


class Mode(StrEnum):
    """Whether the operator acts."""

    ENFORCE = "Enforce"
    OBSERVE = "Observe"


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
        shows="self.resourceName",
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


class Allocation(ApiModel):
    """Saturation by the share of the primary's accelerators that are taken, with a gap against flapping.

    Not looked at where the primary's capacity is OnDemand: few nodes, all taken, are normal there.
    """

    enter_percent: Annotated[Int, Field(ge=1, le=100)] = 95
    """Percent of the primary's allocatable accelerators taken at or above which it counts as filling up."""
    exit_percent: Annotated[Int, Field(ge=0, le=99)] = 80
    """Percent taken at or below which it counts as having room again. Must be below `enterPercent`."""

    @rule(
        field="exitPercent",
        cel="self.exitPercent < self.enterPercent",
        message="exitPercent must be below enterPercent, or the pool would flap: lower exitPercent or raise "
        "enterPercent",
    )
    def _exit_is_below_enter(self) -> bool:
        return self.exit_percent < self.enter_percent


class Saturation(ApiModel):
    """When the primary counts as saturated: at once when pods overflow, or after a while of being nearly full."""

    pending_seconds: Annotated[Int, Field(ge=0, le=3_600)] = 5
    """Seconds a pod that the primary has no room for must have waited to count as overflow. 0: at once, without waiting
    for the scheduler's verdict."""
    allocation: Allocation = Allocation()
    """The share of the primary's accelerators taken at which it counts as filling up, and as having room again."""
    sustain_seconds: Annotated[Int, Field(ge=0, le=3_600)] = 30
    """Seconds that the share must stay at or above `allocation.enterPercent` before the primary counts as saturated."""
    clear_seconds: Annotated[Int, Field(ge=0, le=86_400)] = 120
    """Seconds without overflow and at or below `allocation.exitPercent` before it counts as saturated no more."""


class Admission(ApiModel):
    """Whether new pods tolerate standby providers from their creation, by an admission policy in the API server."""

    mode: AdmissionMode = AdmissionMode.WHEN_SATURATED
    """WhenSaturated: while the primary is saturated, new pods tolerate the standby providers and prefer the primary.
    Always: at all times, so that the scheduler itself spills over. "Off", in quotes, as YAML reads a bare Off as false:
    only pending pods are sent on, one by one."""


# Standbys by name, as CEL has no index in its macros; names are unique by a rule of their own.
_PRIMARY_NAME = "self.providers[0].name"
_DEFAULT_COVERED = f"""
self.providers.all(p, p.name == {_PRIMARY_NAME} || (has(p.tolerations) && size(p.tolerations) > 0) ||
  !self.providers.exists(q, q.name != p.name && has(q.tolerations) && q.tolerations.exists(t,
    t.key == '{PROVIDER_KEY}' && (t.operator == 'Exists' || (has(t.value) && t.value == p.name))
    && (!has(t.effect) || t.effect == 'NoSchedule'))))
"""
_COVERED_BY_DEFAULT = f"""
self.providers.all(p, !has(p.tolerations) || size(p.tolerations) == 0 ||
  !self.providers.exists(q, q.name != p.name && q.name != {_PRIMARY_NAME}
    && (!has(q.tolerations) || size(q.tolerations) == 0)
    && p.tolerations.all(u, u.key == '{PROVIDER_KEY}' && u.operator == 'Equal' && has(u.value) && u.value == q.name
      && has(u.effect) && u.effect == 'NoSchedule')))
"""
_COVERED = """
self.providers.all(p, !has(p.tolerations) || size(p.tolerations) == 0 ||
  !self.providers.exists(q, q.name != p.name && has(q.tolerations) && size(q.tolerations) > 0 &&
    p.tolerations.all(u, q.tolerations.exists(t, t.key == u.key
      && (!has(t.effect) || (has(u.effect) && t.effect == u.effect))
      && (t.operator == 'Exists' || (u.operator == 'Equal'
        && (has(t.value) ? t.value : '') == (has(u.value) ? u.value : '')))))))
"""
_SAME_SELECTOR = """
(has(p.nodeSelector.matchLabels) && size(p.nodeSelector.matchLabels) > 0)
  == (has(q.nodeSelector.matchLabels) && size(q.nodeSelector.matchLabels) > 0)
&& (has(p.nodeSelector.matchExpressions) && size(p.nodeSelector.matchExpressions) > 0)
  == (has(q.nodeSelector.matchExpressions) && size(q.nodeSelector.matchExpressions) > 0)
&& (!has(p.nodeSelector.matchLabels) || !has(q.nodeSelector.matchLabels)
  || p.nodeSelector.matchLabels == q.nodeSelector.matchLabels)
&& (!has(p.nodeSelector.matchExpressions) || !has(q.nodeSelector.matchExpressions)
  || p.nodeSelector.matchExpressions == q.nodeSelector.matchExpressions)
"""


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
    lowest price that has room; standbys without a price come last."""
    saturation: Saturation = Saturation()
    """When the primary counts as saturated, and when no more."""
    admission: Admission = Admission()
    """Whether new pods tolerate standby providers from their creation."""
    health: Health = Health()
    """When a node counts as sick, when a provider counts as failed, and when both count as well again."""
    failover: Failover = Failover()
    """How running pods leave what fails."""
    reschedule: Reschedule = Reschedule()
    """Whether running pods make room on a saturated primary for pods that can run nowhere else."""
    failback: Failback = Failback()
    """How pods on standbys are brought home."""
    budget: Budget | None = None
    """What may be spent on standby providers; left out, their prices bound nothing."""

    @rule(
        field="providers",
        cel="size(self.providers) >= 2",
        message="a pool needs at least two providers, the primary and a standby to burst onto: add a provider",
    )
    def _has_a_standby(self) -> bool:
        return len(self.providers) >= 2

    @rule(
        field="providers",
        cel="self.providers.all(p, self.providers.exists_one(q, q.name == p.name))",
        message="every provider needs a name of its own: rename one of those that share a name",
    )
    def _names_are_unique(self) -> bool:
        return len({one.name for one in self.providers}) == len(self.providers)

    @rule(
        field="providers",
        cel=f"self.providers.all(p, self.providers.exists_one(q, {_SAME_SELECTOR}))",
        message="two providers have the same nodeSelector, and a node belongs to one provider only: select the nodes "
        "of each by labels that the other's nodes do not have",
    )
    def _node_selectors_differ(self) -> bool:
        return all(one.node_selector != other.node_selector for one, other in combinations(self.providers, 2))

    @rule(
        field="providers[0].tolerations",
        cel="size(self.providers) == 0 || !has(self.providers[0].tolerations) || "
        "size(self.providers[0].tolerations) == 0",
        message="the first provider is the primary, whose pods bring what they need: remove its tolerations, or put a "
        "provider without them first",
    )
    def _primary_needs_no_tolerations(self) -> bool:
        return not self.providers or not self.providers[0].tolerations

    @rule(
        field="providers[0].capacity.maxAccelerators",
        cel="size(self.providers) == 0 || !has(self.providers[0].capacity.maxAccelerators)",
        message="the first provider is the primary, which pods use without being sent there: remove maxAccelerators, "
        "which bounds standbys",
    )
    def _primary_is_not_bounded(self) -> bool:
        return not self.providers or self.providers[0].capacity.max_accelerators is None

    @rule(
        field="providers",
        cel=f"size(self.providers) == 0 || (({_DEFAULT_COVERED}) && ({_COVERED_BY_DEFAULT}) && ({_COVERED}))",
        message="a pod sent on to one standby would tolerate the nodes of another as well, and could land on either: "
        "give each standby a taint of its own, and tolerate only that (left out, tolerations are "
        f"{PROVIDER_KEY}=<name>:NoSchedule)",
    )
    def _tolerations_tell_standbys_apart(self) -> bool:
        return not any(one.tolerates_as(other) for one, other in permutations(self.standbys, 2))

    @rule(
        field="providers",
        cel=f"self.placement != 'Cheapest' || self.providers.exists(p, p.name != {_PRIMARY_NAME} "
        "&& has(p.pricePerAcceleratorHour))",
        message="placement Cheapest compares prices, and no standby has one: give the standbys a "
        "pricePerAcceleratorHour, or use Ordered",
    )
    def _cheapest_knows_prices(self) -> bool:
        return self.placement is not Placement.CHEAPEST or any(
            one.price_per_accelerator_hour is not None for one in self.standbys
        )

    @rule(
        field="budget",
        cel="!has(self.budget) || size(self.providers) == 0 || self.providers.all(p, "
        f"p.name == {_PRIMARY_NAME} || has(p.pricePerAcceleratorHour))",
        message="a budget needs the price of every standby, or it could not be held: give each a "
        "pricePerAcceleratorHour",
    )
    def _budget_knows_prices(self) -> bool:
        return self.budget is None or all(one.price_per_accelerator_hour is not None for one in self.standbys)

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
