"""One provider of a pool: its nodes, the tolerations that pods need there, its capacity and its price."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from computepool.model.api.base import DECIMAL, DNS_LABEL, PROVIDER_KEY, ApiModel, Int, Name, Timestamp, fits, rule
from computepool.model.api.selectors import LabelSelector
from computepool.model.api.tolerations import TaintEffect, TolerationOperator, TolerationSpec
from computepool.model.taints import covered

STANDING_TIMEOUT_SECONDS = 60
ON_DEMAND_TIMEOUT_SECONDS = 600
SHORTEST_DRILL = timedelta(seconds=1)
LONGEST_DRILL = timedelta(hours=2)
FIRST_YEAR, LAST_YEAR = 2000, 9000
"""Years of a drill's beginning: all times of these years can be written in UTC."""


class CapacityType(StrEnum):
    """Where a provider's nodes come from."""

    STANDING = "Standing"
    ON_DEMAND = "OnDemand"


class Preemption(StrEnum):
    """Which running pods may make room for a pod of higher priority."""

    LOWER_PRIORITY = "LowerPriority"
    NEVER = "Never"


class DrainedPods(StrEnum):
    """What happens to pods that run on a drained provider."""

    MOVE = "Move"
    LEAVE = "Leave"


class Capacity(ApiModel):
    """Where a provider's capacity comes from, and how much of it the pool may use."""

    type: CapacityType = CapacityType.STANDING
    """Standing: the provider's nodes exist, and pods are sent there only if they fit on these nodes. OnDemand: an
    autoscaler makes nodes for pods that wait, so pods are sent there before there is room. If no place is free
    anywhere, failover sends the pods of dead nodes there at once, and pods that still run one by one."""
    max_accelerators: Annotated[Int, Field(ge=1, le=1_000_000)] | None = None
    """Limit for the accelerators that this pool's pods hold on a standby. Left out: only the provider's capacity limits
    them. Not allowed on the primary. A standby with this limit takes pending pods only: admission sends no new pods
    there."""
    preemption: Preemption = Preemption.LOWER_PRIORITY
    """LowerPriority: if no provider has free room for a pod, the pod is sent to a full standby where the scheduler can
    preempt pods of lower priority for it. Never: a pod is sent to the standby only if it fits beside all other pods.
    The field has no meaning for OnDemand capacity, which makes room, and for the primary, which pods may use anyway."""


class Drill(ApiModel):
    """A drain for a limited time, as a rehearsal. It ends by itself at `until`, whatever becomes of its author."""

    since: Timestamp
    """When the drill begins."""
    until: Timestamp
    """When the drill ends: at most two hours after it began. Afterwards the field has no effect and may be removed. The
    operator stops a drill sooner if a provider of the pool fails, or if pods wait that this provider would take."""
    by: Annotated[str, Field(max_length=253)] = ""
    """Who holds the drill."""

    @rule(
        field="until",
        cel="self.until - self.since >= duration('1s') && self.until - self.since <= duration('2h')",
        message="a drill lasts from a second to two hours: set until to a time at most two hours after since",
    )
    def _ends_soon(self) -> bool:
        return SHORTEST_DRILL <= self.until - self.since <= LONGEST_DRILL

    @rule(
        field="since",
        cel=f"self.since.getFullYear() >= {FIRST_YEAR} && self.since.getFullYear() <= {LAST_YEAR}",
        message="no drill begins so long ago, or so far ahead: set since to the time at which the drill begins",
    )
    def _begins_in_our_time(self) -> bool:
        return FIRST_YEAR <= self.since.year <= LAST_YEAR

    def lasts_at(self, now: float) -> bool:
        """Say whether the drill is under way. `now`: seconds since the epoch."""
        return self.since.timestamp() <= now < self.until.timestamp()


class ProviderSpec(ApiModel):
    """A set of nodes of this cluster that belong together: a cloud's node group, a neocloud, machines on premises."""

    name: Name
    """Name of the provider: a DNS label, unique in the pool. By default it is the taint's value on a standby's
    nodes."""
    node_selector: LabelSelector
    """Labels that this provider's nodes have, and that no other provider's nodes have. Must not be empty."""
    tolerations: Annotated[tuple[TolerationSpec, ...], Field(max_length=8)] = ()
    """Tolerations that a pod needs for this provider's nodes. They are added to each pod that is sent there. Left out
    or empty: computepool.io/provider=<name>:NoSchedule. Not allowed on the first provider, the primary."""
    capacity: Capacity = Capacity()
    """Where the provider's capacity comes from, and how much of it the pool may use."""
    provision_timeout_seconds: Annotated[Int, Field(ge=1, le=86_400)] | None = None
    """Seconds that a pod may wait to be bound here before it is offered to the next provider as well. The time counts
    while the provider has room for the pod, or makes nodes on demand. Left out: 60 for Standing capacity, 600 for
    OnDemand."""
    price_per_accelerator_hour: Annotated[str, Field(max_length=16)] | None = None
    """Price of one accelerator for an hour, as a decimal in quotes, such as "2.95". Use the same currency in all pools.
    The price is used for costs in status and metrics, for budgets, and for placement Cheapest."""
    drain: Annotated[bool, Field(strict=True)] = False
    """True opens the provider's breaker by hand, so that no pod is sent there. What becomes of running pods is for
    `drainRunningPods` to say. False lets the provider be tried again."""
    drain_running_pods: DrainedPods | None = None
    """What happens to pods that run there while `drain` is true. Move: they leave as moves by choice, within all
    limits, whatever `failover.runningPods` says. Leave: they stay until they end; only pods on unhealthy nodes leave,
    if `failover.runningPods` lets them. Left out: Move if `failover.runningPods` is Move, else Leave."""
    drill: Drill | None = None
    """Drains the provider for a limited time, as `drain: true` with `drainRunningPods: Move` would. `computepool drill
    --live` sets the field and removes it."""

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
        "only this provider's nodes match",
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

    @rule(
        field="drainRunningPods",
        cel="!has(self.drainRunningPods) || (has(self.drain) && self.drain)",
        message="drainRunningPods has a meaning only while drain is true: set drain to true, or remove both fields",
    )
    def _moves_only_when_drained(self) -> bool:
        return self.drain_running_pods is None or self.drain

    def effective_tolerations(self) -> tuple[TolerationSpec, ...]:
        """Return the tolerations that a pod needs to run on this standby: those of the spec, or the default.

        They have no meaning for the primary, whose pods need none.
        """
        if self.tolerations:
            return self.tolerations
        default = TolerationSpec(
            key=PROVIDER_KEY, operator=TolerationOperator.EQUAL, value=self.name, effect=TaintEffect.NO_SCHEDULE
        )
        return (default,)

    def tolerates_as(self, other: ProviderSpec) -> bool:
        """Return whether a pod sent to this standby also tolerates every taint that pods of the other tolerate."""
        mine, theirs = ([t.compiled() for t in standby.effective_tolerations()] for standby in (self, other))
        return covered(theirs, mine)

    def provision_timeout(self) -> int:
        """Return the seconds that a pod may wait to be bound here before it is offered to the next provider."""
        if self.provision_timeout_seconds is not None:
            return self.provision_timeout_seconds
        on_demand = self.capacity.type is CapacityType.ON_DEMAND
        return ON_DEMAND_TIMEOUT_SECONDS if on_demand else STANDING_TIMEOUT_SECONDS

    def price(self) -> Decimal | None:
        """Return the price of one accelerator for an hour; None without a price."""
        return None if self.price_per_accelerator_hour is None else Decimal(self.price_per_accelerator_hour)
