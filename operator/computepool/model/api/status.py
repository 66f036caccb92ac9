"""The status of a ComputePool, which the operator writes."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from computepool.model.api.base import ApiModel, Count, Message, Name, Timestamp
from computepool.model.api.selectors import SelectorRequirement
from computepool.model.api.tolerations import TolerationSpec
from computepool.model.scheduling_gates import MAX_GATES

MAX_WORD = 128
Word = Annotated[str, Field(min_length=1, max_length=MAX_WORD)]
Money = Annotated[str, Field(max_length=32)]
MONEY = r"^[0-9]{1,20}(\.[0-9]{1,6})?$"
"""Form of an amount that the operator writes: like an amount of the spec, but larger, because it may be a sum."""
MAX_UNSETTLED = 50
MAX_HOLD_OFFS: Final = 50
MAX_GATE_NAME: Final = 317
"""Characters of a qualified name: a domain of 253, a slash, and a name of 63."""
MAX_MONEY = Decimal(10) ** 20 - Decimal("0.01")


def _list_map(key: str) -> dict[str, object]:
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}


class ConditionStatus(StrEnum):
    """Whether a condition holds. Unknown: the data that would tell is missing or stale."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(ApiModel):
    """One aspect of the pool's state, in the form of all Kubernetes conditions."""

    type: Word
    """What the condition is about, such as Ready, Saturated or Bursting."""
    status: ConditionStatus
    """True, False or Unknown. Unknown means that data is missing or stale; the operator treats it as neither True nor
    False."""
    reason: Word
    """The reason in one word, from the documented set of reasons."""
    message: Message = ""
    """The reason in plain words, and what to do about it if something can be done."""
    last_transition_time: Timestamp
    """When `status` last changed."""
    observed_generation: Annotated[int, Field(ge=0)] = 0
    """The `metadata.generation` of the spec that this condition is about."""


class AcceleratorCounts(ApiModel):
    """A provider's accelerators, in devices."""

    allocatable: Count = 0
    """Accelerators on nodes that can take pods of the pool. A node does not count if none of the pool's pods tolerates
    its taints."""
    allocated: Count = 0
    """Allocatable accelerators that pods hold, of this pool or not."""
    free: Count = 0
    """Allocatable accelerators that no pod holds."""
    unhealthy: Count = 0
    """Accelerators that exist but can't be used now: gone from the node's allocatable, or on nodes that are unhealthy,
    not Ready, cordoned, closed to the pool by a taint, or kept out of use by the breaker."""


class BreakerState(StrEnum):
    """Closed: the provider is used without restriction. Open: it is not used. HalfOpen: one of its nodes is tried."""

    CLOSED = "Closed"
    OPEN = "Open"
    HALF_OPEN = "HalfOpen"


class BreakerStatus(ApiModel):
    """A provider's breaker. The next leader continues from this record."""

    state: BreakerState = BreakerState.CLOSED
    """Closed: the provider is used without restriction. Open: no pod is sent there. HalfOpen: one node is tried
    first."""
    reason: Annotated[str, Field(max_length=128)] = ""
    """Why the breaker is not closed, in one word from the documented set of reasons."""
    since: Timestamp | None = None
    """When the breaker entered this state."""
    retry_at: Timestamp | None = None
    """Earliest time at which the provider is tried again, if nothing is wrong by then."""
    failures: Count = 0
    """How often the breaker has opened since the provider last proved itself."""
    node: Annotated[str, Field(max_length=253)] = ""
    """The node that is tried while the breaker is half-open."""


class DrillStatus(ApiModel):
    """A drill that the operator has taken up. The next leader continues from this record."""

    since: Timestamp
    """The time `since` of the drill in the spec."""
    stopped: Message = ""
    """Why the operator stopped the drill before its time. Empty while the drill is under way."""


class ProviderStatus(ApiModel):
    """The operator's view of one provider."""

    name: Name
    """Name of the provider, as in the spec."""
    nodes: Count = 0
    """Number of nodes that the provider's selector matches."""
    accelerators: AcceleratorCounts = AcceleratorCounts()
    """The provider's accelerators, in devices."""
    burst_pods: Count = 0
    """Number of this pool's pods that were sent to the provider and run there, or are about to run there."""
    unhealthy_nodes: Count = 0
    """Number of the provider's nodes that count as unhealthy."""
    breaker: BreakerStatus = BreakerStatus()
    """Whether the provider is used."""
    drill: DrillStatus | None = None
    """The drill of the provider. Left out without a drill, and after its time."""
    cost_per_hour: Money | None = None
    """Hourly cost of this pool's pods at the provider, as a decimal. Left out without a price."""


class Pending(ApiModel):
    """Pods of the pool that wait for a node."""

    pods: Count = 0
    """Number of pods that wait and that a node could take now. Pods with scheduling gates, and pods that wait for one
    certain node, do not count."""
    accelerators: Count = 0
    """Number of accelerators that these pods request together."""
    gated: Count = 0
    """Number of pods with scheduling gates, such as pods that wait in a queue of Kueue."""


class SchedulingGate(ApiModel):
    """A scheduling gate that holds pods of the pool back."""

    name: Annotated[str, Field(min_length=1, max_length=MAX_GATE_NAME)]
    """Name of the gate, such as `kueue.x-k8s.io/admission`."""
    pods: Count = 0
    """Number of pods with the gate."""


class AdmissionStatus(ApiModel):
    """What the admission policy adds to new pods of the pool. The operator writes it, and the API server reads it."""

    tolerations: Annotated[tuple[TolerationSpec, ...], Field(max_length=120)] = ()
    """Tolerations that are added to new pods. Empty: admission is closed, and new pods are left as they are."""
    preference: Annotated[tuple[SelectorRequirement, ...], Field(max_length=32)] = ()
    """Node labels that new pods prefer while admission is open: the labels of the primary's nodes."""
    held_by: Annotated[str, Field(max_length=63)] = ""
    """The standby that keeps admission closed to less preferred standbys: it takes pods, and can't be listed here.
    Empty if no standby does."""
    message: Message = ""
    """Why that standby can't be listed. Empty if no standby keeps admission closed."""


class BudgetStatus(ApiModel):
    """The money spent on standbys today. The next leader continues from this record."""

    day: Annotated[str, Field(max_length=10)]
    """The day (UTC), such as 2026-11-23."""
    spent: Money
    """Money spent on that day until `time`, as a decimal."""
    time: Timestamp
    """The time until which `spent` counts. Later spending is computed from the cost at that time, also after a
    restart."""


class MovesInSecond(ApiModel):
    """Numbers of pods that were evicted in one second."""

    time: Timestamp
    """The second."""
    failover: Count = 0
    """Evictions for failover, and to make room."""
    failback: Count = 0
    """Evictions to bring pods home."""


class UnsettledOwner(ApiModel):
    """An owner of pods whose latest move by choice has not ended well. The next leader continues from this record."""

    owner: Annotated[str, Field(min_length=1, max_length=128)]
    """The uid of the controller, such as a ReplicaSet's. Or `namespace/<name>`: one record for all owners in the
    namespace of which no replacement has become Ready yet."""
    times: Count = 0
    """Number of its moves that came to nothing in a row; 0 while its first move is under way."""
    time: Timestamp
    """When its latest move began."""
    pods: Count = 0
    """Number of its pods in the pool at that time; 0 once all moved pods are replaced."""


class HoldOffStatus(ApiModel):
    """A standby that certain pods are not sent to for a while. The next leader continues from this record."""

    provider: Name
    """Name of the standby."""
    reason: Word
    """WorkloadBackOff: pods of one workload failed there. InsufficientCapacity: pods with certain requests and
    selectors were not bound there in time."""
    subject: Word
    """The uid of the workload that owns the pods, or a digest of the pods' requests and selectors. If only one
    workload's pods with these requests and selectors are held off, the digest is followed by a slash and its uid."""
    since: Timestamp
    """When it began."""
    until: Timestamp
    """When one of the pods may be tried there again."""
    failures: Count = 0
    """How often in a row it has begun. Each time it lasts twice as long."""
    running: Count = 0
    """Number of such pods that ran there when it began."""
    unused_place: Annotated[bool, Field(strict=True)] = False
    """Whether a node there had a place for such a pod when it began. Otherwise places that exist are still used."""


class SignalVerdict(StrEnum):
    """On: the signal has been at its threshold `enter` for its sustainSeconds. Unknown: its data is missing or
    stale.
    """

    ON = "On"
    OFF = "Off"
    UNKNOWN = "Unknown"


class SignalStatus(ApiModel):
    """A signal from the cluster's metrics. Numbers are rounded, so that the status does not change with each query."""

    key: Annotated[str, Field(min_length=1, max_length=192)]
    """The signal: `saturation/<name>`, or `health/<name>/<provider>`."""
    verdict: SignalVerdict = SignalVerdict.UNKNOWN
    """On, Off or Unknown."""
    on: Annotated[bool, Field(strict=True)] = False
    """Whether the signal is on, or was on when its data became Unknown. The next leader continues from this record."""
    value: Annotated[str, Field(max_length=32)] = ""
    """The value over all series that count, with two significant digits and its unit. Empty while it is Unknown."""
    coverage_percent: Annotated[int, Field(ge=0, le=100)] = 0
    """Percent of the nodes, or of the started pods, that have a current sample, rounded down to tens."""
    age_seconds: Annotated[int, Field(ge=0)] | None = None
    """Age of the oldest sample that counts, in seconds, rounded up to whole minutes. Absent without a sample."""
    reason: Annotated[str, Field(max_length=128)] = ""
    """Why it is Unknown, in one word from the documented set of reasons."""
    message: Message = ""
    """The missing data, and the next step. Empty while the signal is known."""


class ForecastStatus(ApiModel):
    """When the primary will be full, by the demand of the last minutes. Minutes above 15 are rounded to fives."""

    reason: Word
    """What the forecast says, or why it is Unknown, in one word from the documented set of reasons."""
    message: Message = ""
    """The forecast in plain words."""
    full_in_minutes: Count | None = None
    """Minutes until the primary is likely to be full. Left out without a forecast that it will be."""
    earliest_minutes: Count | None = None
    """Minutes until the primary is full at the earliest. The range is meant to hold in four of five forecasts."""
    latest_minutes: Count | None = None
    """Minutes until the primary is full at the latest. Left out if the range ends beyond the time that the
    forecast looks ahead: four times `spec.forecast.windowMinutes`."""
    horizon_seconds: Count | None = None
    """How many seconds before the primary is full admission opens in mode Act. Left out while it is not known."""
    standby_ready_seconds: Count | None = None
    """Seconds within which nine of ten pods became Ready on a standby. The next leader continues from this record."""
    opens_admission: bool = False
    """Whether the forecast opens admission now."""


class Decision(ApiModel):
    """The operator's last decision."""

    time: Timestamp
    """When the decision was made."""
    action: Word
    """What was done, or what would have been done in mode Observe."""
    reason: Word
    """The reason in one word, from the documented set of reasons."""
    message: Message = ""
    """The reason in plain words."""


class PoolStatus(ApiModel):
    """The state of the pool as last observed. It is written only when something that a reader cares about changes."""

    observed_generation: Annotated[int, Field(ge=0)] = 0
    """The `metadata.generation` of the spec that this status is about."""
    conditions: Annotated[tuple[Condition, ...], Field(max_length=16, json_schema_extra=_list_map("type"))] = ()
    """Aspects of the pool's state, each with a reason and a message."""
    primary: Name | None = None
    """Name of the primary."""
    providers: Annotated[tuple[ProviderStatus, ...], Field(max_length=16, json_schema_extra=_list_map("name"))] = ()
    """The operator's view of each provider, in the order of the spec."""
    pending: Pending = Pending()
    """Pods of the pool that wait for a node."""
    scheduling_gates: Annotated[
        tuple[SchedulingGate, ...], Field(max_length=MAX_GATES, json_schema_extra=_list_map("name"))
    ] = ()
    """The scheduling gates that hold pods of the pool back: the eight with the most pods. Their owners, such as Kueue,
    remove them; the operator leaves these pods alone."""
    burst_pods: Count = 0
    """Number of this pool's pods on all standby providers together."""
    cost_per_hour: Money | None = None
    """Hourly cost of this pool's pods on all providers with a price, as a decimal."""
    admission: AdmissionStatus = AdmissionStatus()
    """What the admission policy adds to new pods."""
    budget: BudgetStatus | None = None
    """The money spent on standbys today. Left out without a budget."""
    recent_moves: Annotated[tuple[MovesInSecond, ...], Field(max_length=128)] = ()
    """Evictions of the minute before the latest eviction. They are recorded before they are requested, so a restart or
    a change of leaders never makes them exceed the spec's perMinute."""
    unsettled_moves: Annotated[
        tuple[UnsettledOwner, ...], Field(max_length=MAX_UNSETTLED, json_schema_extra=_list_map("owner"))
    ] = ()
    """Owners whose latest move by choice (a failback, a reschedule or a planned drain) has not ended well: it is under
    way, or it came to nothing. Their next move by choice waits: 5 minutes (an hour for pods with constraints that
    ComputePool does not model) after the first that came to nothing, then twice as long each time, up to a day. At most
    50 owners and namespaces, those that moved last."""
    hold_offs: Annotated[tuple[HoldOffStatus, ...], Field(max_length=MAX_HOLD_OFFS)] = ()
    """Standbys that certain pods are not sent to for a while, the newest first."""
    signals: Annotated[tuple[SignalStatus, ...], Field(max_length=144, json_schema_extra=_list_map("key"))] = ()
    """The signals from the cluster's metrics, in the order of the spec."""
    forecast: ForecastStatus | None = None
    """When the primary will be full. Left out while `spec.forecast.mode` is "Off"."""
    last_decision: Decision | None = None
    """The operator's last decision, with its reason."""

    def condition(self, type_: str) -> Condition | None:
        """Return the condition of this type; None if it has not been reported yet."""
        return next((condition for condition in self.conditions if condition.type == type_), None)
