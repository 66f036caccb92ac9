"""The spec of a ComputePool, which people write."""

from __future__ import annotations

from enum import StrEnum
from itertools import combinations, permutations
from typing import Annotated

from pydantic import Field

from computepool.model.api.base import (
    EXTENDED_RESOURCE,
    PROVIDER_KEY,
    UNAVAILABLE_KEY,
    ApiModel,
    Int,
    Key,
    fits,
    rule,
)
from computepool.model.api.budget import Budget
from computepool.model.api.forecast import ForecastSpec
from computepool.model.api.health import HealthSpec
from computepool.model.api.moves import Failback, Failover, Reschedule
from computepool.model.api.provider import ProviderSpec
from computepool.model.api.selectors import LabelSelector
from computepool.model.api.signals import MAX_METRICS, NAMES_DIFFER, SAME_NAME, SaturationMetric, names_differ


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
    """The resource that pods request and that providers run out of."""

    resource_name: Key = "nvidia.com/gpu"
    """Name of the extended resource, as written in a container's limits, such as nvidia.com/gpu or amd.com/gpu."""

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
    """Which pods belong to the pool, among the pods that request the accelerator.

    Pods in kube-system and in the operator's own namespace never belong to a pool.
    """

    namespace_selector: LabelSelector = LabelSelector()
    """Labels of the namespaces. Left out or empty: all namespaces."""
    pod_selector: LabelSelector = LabelSelector()
    """Labels of the pods. Left out or empty: all pods of the selected namespaces."""


class Allocation(ApiModel):
    """Saturation by the allocated share of the primary's accelerators. The gap between the two thresholds prevents
    flapping.

    The share is ignored if the primary's capacity is OnDemand: few nodes, all of them full, are normal there.
    """

    enter_percent: Annotated[Int, Field(ge=1, le=100)] = 95
    """The primary counts as filling up while this percent of its allocatable accelerators, or more, is allocated."""
    exit_percent: Annotated[Int, Field(ge=0, le=99)] = 80
    """The primary has room again while this percent, or less, is allocated. Must be below `enterPercent`."""

    @rule(
        field="exitPercent",
        cel="self.exitPercent < self.enterPercent",
        message="exitPercent must be below enterPercent, or the pool would flap: lower exitPercent or raise "
        "enterPercent",
    )
    def _exit_is_below_enter(self) -> bool:
        return self.exit_percent < self.enter_percent


class SaturationSpec(ApiModel):
    """When the primary counts as saturated: at once when pods overflow, or when it has been nearly full for a while."""

    pending_seconds: Annotated[Int, Field(ge=0, le=3_600)] = 5
    """Seconds after which a waiting pod that the primary has no room for counts as overflow. 0: at once, without
    waiting for the scheduler's verdict."""
    allocation: Allocation = Allocation()
    """The allocated shares at which the primary counts as filling up, and as having room again."""
    sustain_seconds: Annotated[Int, Field(ge=0, le=3_600)] = 30
    """Seconds that the allocated share must stay at or above `allocation.enterPercent` before the primary counts as
    saturated."""
    clear_seconds: Annotated[Int, Field(ge=0, le=86_400)] = 120
    """Seconds without overflow, and at or below `allocation.exitPercent`, after which the primary no longer counts as
    saturated."""
    metrics: Annotated[tuple[SaturationMetric, ...], Field(max_length=MAX_METRICS)] = ()
    """Signals from the cluster's metrics. While a signal is on, the primary counts as saturated. A signal that is on
    and becomes Unknown stays on. Signals need a source of metrics, which the chart's value `prometheus.url` names."""

    @rule(field="metrics", cel=NAMES_DIFFER, message=SAME_NAME)
    def _metrics_have_names(self) -> bool:
        return names_differ(self.metrics)


class AdmissionSpec(ApiModel):
    """Whether new pods tolerate standby providers from their creation. An admission policy in the API server adds the
    tolerations.
    """

    mode: AdmissionMode = AdmissionMode.WHEN_SATURATED
    """WhenSaturated: while the primary is saturated, new pods tolerate the standby providers and prefer the primary.
    With `forecast.mode` Act they also do so while the primary will be full within the horizon.
    Always: new pods do so at all times, so the scheduler itself spills over. "Off": only pending pods are sent to
    standbys, one by one. Write "Off" in quotes, because YAML reads a bare Off as false.

    Nothing counts the pods that the scheduler places by itself. So new pods get no toleration of a standby with
    maxAccelerators, none of a standby that a workload is held off nor of less preferred standbys meanwhile, and none at
    all if the pool has a budget."""


# Standbys are told by name, because CEL's macros have no index. Another rule makes names unique.
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
    """The workloads, their providers in order of preference, and when to use which provider."""

    mode: Mode = Mode.ENFORCE
    """Enforce: decide and act. Observe: decide, report and record, but change nothing."""
    accelerator: Accelerator = Accelerator()
    """The resource that pods request and that providers run out of."""
    workloads: Workloads = Workloads()
    """Which pods belong to the pool. Left out: all pods that request the accelerator."""
    providers: Annotated[tuple[ProviderSpec, ...], Field(max_length=16)]
    """Providers in order of preference, 2 to 16. The first is the primary, where workloads run as long as they fit. The
    others are standbys, whose nodes carry a taint."""
    placement: Placement = Placement.ORDERED
    """How a standby is chosen for a pod that overflows. Ordered: the first standby that has room. Cheapest: the standby
    with the lowest price that has room; standbys without a price come last."""
    saturation: SaturationSpec = SaturationSpec()
    """When the primary counts as saturated, and when it no longer does."""
    admission: AdmissionSpec = AdmissionSpec()
    """Whether new pods tolerate standby providers from their creation."""
    forecast: ForecastSpec = ForecastSpec()
    """Whether the operator forecasts when the primary will be full, and whether admission opens ahead of time."""
    health: HealthSpec = HealthSpec()
    """When a node counts as unhealthy, when a provider counts as failed, and when they count as healthy again."""
    failover: Failover = Failover()
    """How running pods leave failing nodes and providers."""
    reschedule: Reschedule = Reschedule()
    """Whether running pods make room on a saturated primary for pods that can run nowhere else."""
    failback: Failback = Failback()
    """How running pods on standbys are brought home to the primary."""
    budget: Budget | None = None
    """How much the pool may spend on standby providers. Left out: there is no limit."""

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
        message="every provider needs a name of its own: rename one of the providers that share a name",
    )
    def _names_are_unique(self) -> bool:
        return len({provider.name for provider in self.providers}) == len(self.providers)

    @rule(
        field="providers",
        cel=f"self.providers.all(p, self.providers.exists_one(q, {_SAME_SELECTOR}))",
        message="two providers have the same nodeSelector, and a node belongs to one provider only: select the nodes "
        "of each by labels that the other's nodes do not have",
    )
    def _node_selectors_differ(self) -> bool:
        return all(first.node_selector != second.node_selector for first, second in combinations(self.providers, 2))

    @rule(
        field="providers",
        cel="self.providers.filter(p, has(p.drill)).size() <= 1",
        message="a pool has one drill at a time: end the other drill first, with computepool drill --restore",
    )
    def _drills_one_at_a_time(self) -> bool:
        return sum(provider.drill is not None for provider in self.providers) <= 1

    @rule(
        field="providers[0].tolerations",
        cel="size(self.providers) == 0 || !has(self.providers[0].tolerations) || "
        "size(self.providers[0].tolerations) == 0",
        message="the first provider is the primary, whose pods get no tolerations from the operator: remove its "
        "tolerations, or put a provider without tolerations first",
    )
    def _primary_needs_no_tolerations(self) -> bool:
        return not self.providers or not self.providers[0].tolerations

    @rule(
        field="providers[0].capacity.maxAccelerators",
        cel="size(self.providers) == 0 || !has(self.providers[0].capacity.maxAccelerators)",
        message="the first provider is the primary, which pods use without being sent there: remove maxAccelerators, "
        "which limits standbys only",
    )
    def _primary_has_no_limit(self) -> bool:
        return not self.providers or self.providers[0].capacity.max_accelerators is None

    @rule(
        field="providers",
        cel=f"size(self.providers) == 0 || (({_DEFAULT_COVERED}) && ({_COVERED_BY_DEFAULT}) && ({_COVERED}))",
        message="a pod sent to one standby would tolerate the nodes of another as well, and could land on either: "
        "give each standby a taint of its own, and tolerate only that taint (if left out, the toleration is "
        f"{PROVIDER_KEY}=<name>:NoSchedule)",
    )
    def _tolerations_tell_standbys_apart(self) -> bool:
        return not any(first.tolerates_as(second) for first, second in permutations(self.standbys, 2))

    @rule(
        field="health.removalTaints",
        cel="!has(self.health) || !has(self.health.removalTaints) || !self.health.removalTaints.exists(k, "
        f"k == '{PROVIDER_KEY}' || k == '{UNAVAILABLE_KEY}' || self.providers.exists(p, has(p.tolerations) && "
        "p.tolerations.exists(t, t.key == k)))",
        message="a taint that pods tolerate on a standby, or that the operator sets, announces no removal, and running "
        "pods would leave all nodes that carry it: remove its key from removalTaints",
    )
    def _removal_taints_are_no_own_taints(self) -> bool:
        own = {toleration.key for provider in self.providers for toleration in provider.tolerations}
        return own.union((PROVIDER_KEY, UNAVAILABLE_KEY)).isdisjoint(self.health.removal_taints)

    @rule(
        field="providers",
        cel=f"self.placement != 'Cheapest' || self.providers.exists(p, p.name != {_PRIMARY_NAME} "
        "&& has(p.pricePerAcceleratorHour))",
        message="placement Cheapest compares prices, and no standby has a price: give the standbys a "
        "pricePerAcceleratorHour, or use Ordered",
    )
    def _cheapest_knows_prices(self) -> bool:
        return self.placement is not Placement.CHEAPEST or any(
            standby.price_per_accelerator_hour is not None for standby in self.standbys
        )

    @rule(
        field="budget",
        cel="!has(self.budget) || size(self.providers) == 0 || self.providers.all(p, "
        f"p.name == {_PRIMARY_NAME} || has(p.pricePerAcceleratorHour))",
        message="a budget needs the price of every standby: give each standby a pricePerAcceleratorHour",
    )
    def _budget_knows_prices(self) -> bool:
        return self.budget is None or all(standby.price_per_accelerator_hour is not None for standby in self.standbys)

    @property
    def primary(self) -> ProviderSpec:
        """The provider where workloads run as long as they fit."""
        return self.providers[0]

    @property
    def standbys(self) -> tuple[ProviderSpec, ...]:
        """The other providers, in order of preference."""
        return self.providers[1:]

    def provider(self, name: str) -> ProviderSpec | None:
        """Return the provider with this name; None if the pool has none."""
        return next((provider for provider in self.providers if provider.name == name), None)
