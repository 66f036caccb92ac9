"""Moves of running pods: failover off failing nodes, rescheduling to make room, and failback home."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from computepool.model.api.base import ApiModel, Int, fits, rule
from computepool.model.api.selectors import LabelSelector

_FIELD = r"(\*|[0-9]{1,2}(-[0-9]{1,2})?)(/[0-9]{1,2})?"
_WEEKDAY = r"(\*|[0-7](-[0-7])?|(MON|TUE|WED|THU|FRI|SAT|SUN)(-(MON|TUE|WED|THU|FRI|SAT|SUN))?)(/[0-9]{1,2})?"
CRON = rf"^{_FIELD}(,{_FIELD}){{0,20}}( {_FIELD}(,{_FIELD}){{0,20}}){{3}} {_WEEKDAY}(,{_WEEKDAY}){{0,6}}$"
"""Form of a schedule: minute, hour, day of month, month, day of week."""
TIME_ZONE = r"^[A-Za-z][-A-Za-z0-9_+/]{0,62}$"

Moves = Annotated[Int, Field(ge=1, le=10_000)]


class RunningPods(StrEnum):
    """What happens to pods that run on a failed provider or on an unhealthy node."""

    MOVE = "Move"
    FROM_UNHEALTHY_NODES = "MoveFromUnhealthyNodes"
    LEAVE = "Leave"


class LostPods(StrEnum):
    """What happens to pods on nodes that no longer answer."""

    LEAVE = "Leave"
    RELEASE = "Release"


class Failover(ApiModel):
    """How running pods leave failing nodes and providers. They leave by eviction, and only if another node has room for
    them or a provider makes a node; only `lostPods` allows deletion.

    A pod without a controller stays unless its annotation computepool.io/movable is "true". A pod whose annotation is
    "false" always stays.
    """

    running_pods: RunningPods = RunningPods.FROM_UNHEALTHY_NODES
    """MoveFromUnhealthyNodes: pods on unhealthy nodes are moved. Move: if the provider has failed or is drained, pods
    on its other nodes are moved as well. Leave: no running pod is moved. A drained provider may say otherwise in its
    field `drainRunningPods`."""
    max_concurrent_moves: Moves = 10
    """Limit for the pool's moves under way at once: pods that were evicted and whose replacements are not bound yet. A
    move counts for two minutes at most, or for as long as a provider is given to make a node for it."""
    per_minute: Moves | None = 60
    """Limit for the evictions of the pool's pods in any minute."""
    silence_seconds: Annotated[Int, Field(ge=0, le=3_600)] = 90
    """Seconds since the last heartbeats of a node, or of a provider's nodes, before running pods leave a node that is
    silent or whose Ready condition is Unknown, or a provider that is silent. New pods avoid both much earlier: see
    `health.silentSeconds`. Most outages of a link between providers last for one to three minutes, and pods run on
    meanwhile; the default covers the shorter outages, and 200 covers nearly all. A shorter time makes failover faster,
    and evicts pods that would have survived a short outage of the link. A time up to `health.silentSeconds`: running
    pods leave as soon as the silence counts. So they do at all times from a silent node whose end was announced
    (`health.removalTaints`)."""
    eviction_timeout_seconds: Annotated[Int, Field(ge=1, le=86_400)] = 300
    """Seconds after which an eviction that a PodDisruptionBudget refuses counts as stuck and is reported. The operator
    tries again after 10 s at first, then less and less often, and finally about once a minute."""
    lost_pods: LostPods = LostPods.LEAVE
    """Release: pods on nodes whose Ready condition has been Unknown for `lostSeconds` are deleted, whatever their
    disruption budgets say. The node controller would do the same minutes later. The operator has the right to do so
    only with the chart's value failover.releaseLostPods. Leave: such pods are evicted like other pods."""
    lost_seconds: Annotated[Int, Field(ge=1, le=86_400)] = 60
    """Seconds with status Unknown after which a node counts as lost."""


class ReschedulePolicy(StrEnum):
    """Whether running pods make room on a saturated primary."""

    NEVER = "Never"
    WHEN_SATURATED = "WhenSaturated"


class Reschedule(ApiModel):
    """Rescheduling makes room on a saturated primary for a pending pod that can run nowhere else.

    Pods of lower priority are moved to a standby: as few as possible, and within the limits of `failover`.
    """

    policy: ReschedulePolicy = ReschedulePolicy.NEVER
    """WhenSaturated: pods may be moved. Never: the pending pod waits."""
    pod_selector: LabelSelector = LabelSelector()
    """Labels of the pods that may be moved. Left out or empty: all pods of the pool."""


class FailbackPolicy(StrEnum):
    """Whether running pods are brought home."""

    NEVER = "Never"
    WHEN_STABLE = "WhenStable"


class Window(ApiModel):
    """When running pods may be brought home."""

    schedule: Annotated[str, Field(min_length=9, max_length=128)]
    """When the window opens, in cron's five fields: minute, hour, day of month, month, day of week; such as
    "0 1 * * MON-FRI"."""
    duration_seconds: Annotated[Int, Field(ge=60, le=604_800)]
    """Seconds for which the window stays open."""
    time_zone: Annotated[str, Field(max_length=63)] = "UTC"
    """Time zone of the schedule, such as Europe/Berlin."""

    @rule(
        field="schedule",
        cel=f"self.schedule.matches(r'{CRON}')",
        message="a schedule is cron's five fields (minute, hour, day of month, month, day of week), such as "
        '"0 1 * * MON-FRI": correct it',
        shows="self.schedule",
    )
    def _schedule_is_cron(self) -> bool:
        return fits(CRON, self.schedule)

    @rule(
        field="timeZone",
        cel=f"!has(self.timeZone) || self.timeZone.matches(r'{TIME_ZONE}')",
        message="a time zone is a name such as UTC or Europe/Berlin: correct it",
        shows="self.timeZone",
    )
    def _zone_is_name(self) -> bool:
        return fits(TIME_ZONE, self.time_zone)


class Failback(ApiModel):
    """How running pods on standbys are brought home to the primary, slowly.

    New pods prefer the primary whatever the policy is. So the replacement of a pod that ends by itself on a standby
    goes home too, if the primary has room.
    """

    policy: FailbackPolicy = FailbackPolicy.NEVER
    """WhenStable: running pods are evicted, and their replacements run on the primary. Never: pods stay until they
    end."""
    stable_seconds: Annotated[Int, Field(ge=0, le=86_400)] = 300
    """Seconds that the primary must have been healthy and not saturated before any pod is brought home."""
    min_dwell_seconds: Annotated[Int, Field(ge=0, le=604_800)] = 600
    """Seconds that a pod stays where it is after a move in any direction, and on a standby after it started there. A
    pod that was not moved leaves a failing node sooner. Every pod may leave a dead node at once."""
    max_concurrent_moves: Moves = 2
    """Limit for the pool's pods that are on their way home at once."""
    per_minute: Moves | None = 4
    """Limit for the pool's pods that are brought home in any minute."""
    headroom_percent: Annotated[Int, Field(ge=0, le=100)] = 10
    """Percent of the primary's accelerators that failback leaves free, so that new pods find room at once. Only nodes
    of the primary that the pod could use count."""
    window: Window | None = None
    """When pods may be brought home. Left out: at any time."""
