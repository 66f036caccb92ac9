"""What the operator reports: the status of a ComputePool."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from computepool.model.api.base import ApiModel, Count, Message, Name, Timestamp
from computepool.model.api.selectors import SelectorRequirement
from computepool.model.api.tolerations import Toleration

Word = Annotated[str, Field(min_length=1, max_length=128)]
Money = Annotated[str, Field(max_length=32)]
MONEY = r"^[0-9]{1,20}(\.[0-9]{1,6})?$"
"""Form of an amount as the operator writes it: that of the spec's, but for sums, which may be larger."""
MAX_MONEY = Decimal(10) ** 20 - Decimal("0.01")


def _list_map(key: str) -> dict[str, object]:
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}


class ConditionStatus(StrEnum):
    """Whether a condition holds. Unknown: the data to tell is missing or stale."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(ApiModel):
    """One aspect of the pool's state, in the form all Kubernetes conditions have."""

    type: Word
    """What the condition is about, such as Ready, Saturated or Bursting."""
    status: ConditionStatus
    """True, False or Unknown. Unknown means that data is missing or stale, and is acted on as neither."""
    reason: Word
    """One word for why, from the documented set of reasons."""
    message: Message = ""
    """Why, in plain words, and what to do about it where something can be done."""
    last_transition_time: Timestamp
    """When `status` last changed."""
    observed_generation: Annotated[int, Field(ge=0)] = 0
    """The `metadata.generation` of the spec this was found out for."""


class AcceleratorCounts(ApiModel):
    """A provider's accelerators, in devices."""

    allocatable: Count = 0
    """On nodes that can take pods."""
    allocated: Count = 0
    """Of those, taken by pods, of this pool or not."""
    free: Count = 0
    """Of those, not taken."""
    unhealthy: Count = 0
    """There but not usable now: gone from the node's allocatable, or on nodes that are sick, not Ready, cordoned, or
    kept out of use by the breaker."""


class BreakerState(StrEnum):
    """Closed: used as it fits. Open: not used. HalfOpen: one node of it is tried."""

    CLOSED = "Closed"
    OPEN = "Open"
    HALF_OPEN = "HalfOpen"


class BreakerStatus(ApiModel):
    """A provider's breaker. What the next leader goes on from."""

    state: BreakerState = BreakerState.CLOSED
    """Closed: the provider is used as it fits. Open: no pod is sent there. HalfOpen: one node of it is tried first."""
    reason: Annotated[str, Field(max_length=128)] = ""
    """One word for why it is not closed, from the documented set of reasons."""
    since: Timestamp | None = None
    """Since when it is in this state."""
    retry_at: Timestamp | None = None
    """When it is tried again at the earliest, if nothing is wrong by then."""
    failures: Count = 0
    """How often it has opened since it last proved itself."""
    node: Annotated[str, Field(max_length=253)] = ""
    """While half-open: the node that is tried."""


class ProviderStatus(ApiModel):
    """What is known about one provider."""

    name: Name
    """Name of the provider, as in the spec."""
    nodes: Count = 0
    """Nodes that its selector matches."""
    accelerators: AcceleratorCounts = AcceleratorCounts()
    """Its accelerators, in devices."""
    burst_pods: Count = 0
    """Pods of this pool that were sent on to it and run or are about to run there."""
    unhealthy_nodes: Count = 0
    """Nodes of it that count as sick."""
    breaker: BreakerStatus = BreakerStatus()
    """Whether it is used."""
    cost_per_hour: Money | None = None
    """What this pool's pods cost there in an hour, a decimal; left out where no price is given."""


class Pending(ApiModel):
    """Pods of the pool that wait for a node."""

    pods: Count = 0
    """How many pods wait."""
    accelerators: Count = 0
    """How many accelerators they ask for together."""


class AdmissionStatus(ApiModel):
    """What the admission policy gives to new pods of the pool. Written by the operator, read by the API server."""

    tolerations: Annotated[tuple[Toleration, ...], Field(max_length=120)] = ()
    """Tolerations added to new pods; empty: admission is closed, and new pods are left as they are."""
    preference: Annotated[tuple[SelectorRequirement, ...], Field(max_length=32)] = ()
    """Node labels that new pods prefer while admission is open: those of the primary."""


class BudgetStatus(ApiModel):
    """What was spent on standbys today. What the next leader goes on from."""

    day: Annotated[str, Field(max_length=10)]
    """The day (UTC), as 2026-11-23."""
    spent: Money
    """Spent in that day up to `time`, a decimal."""
    time: Timestamp
    """Up to when it was reckoned. What came after is reckoned from the cost then, also over a restart."""


class MovesInSecond(ApiModel):
    """How many pods were evicted in one second."""

    time: Timestamp
    """That second."""
    failover: Count = 0
    """Off what fails, and to make room."""
    failback: Count = 0
    """On their way home."""


class Decision(ApiModel):
    """What the operator decided last."""

    time: Timestamp
    """When."""
    action: Word
    """What was done, or in mode Observe would have been."""
    reason: Word
    """One word for why, from the documented set of reasons."""
    message: Message = ""
    """Why, in plain words."""


class PoolStatus(ApiModel):
    """State of the pool as last observed. Changes only when something that a reader cares about has changed."""

    observed_generation: Annotated[int, Field(ge=0)] = 0
    """The `metadata.generation` of the spec that this status is about."""
    conditions: Annotated[tuple[Condition, ...], Field(max_length=16, json_schema_extra=_list_map("type"))] = ()
    """Aspects of the pool's state, each with a reason and a message."""
    primary: Name | None = None
    """Name of the primary."""
    providers: Annotated[tuple[ProviderStatus, ...], Field(max_length=16, json_schema_extra=_list_map("name"))] = ()
    """What is known about each provider, in the order of the spec."""
    pending: Pending = Pending()
    """Pods of the pool that wait for a node."""
    burst_pods: Count = 0
    """Pods of this pool on standby providers, all together."""
    cost_per_hour: Money | None = None
    """What this pool's pods cost in an hour on all providers with a price, a decimal."""
    admission: AdmissionStatus = AdmissionStatus()
    """What the admission policy gives to new pods."""
    budget: BudgetStatus | None = None
    """What was spent on standbys today; left out without a budget."""
    recent_moves: Annotated[tuple[MovesInSecond, ...], Field(max_length=128)] = ()
    """Evictions of the last minute before the latest of them, written before they are asked for: no restart or change
    of leaders makes them more than the spec's perMinute."""
    last_decision: Decision | None = None
    """What the operator decided last, and why."""

    def condition(self, type_: str) -> Condition | None:
        """The condition of that type; None where it has not been reported yet."""
        return next((one for one in self.conditions if one.type == type_), None)
