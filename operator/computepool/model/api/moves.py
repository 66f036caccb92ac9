"""Moving running pods: off what fails, to make room, and home again."""

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
    """What becomes of pods that run on a provider that has failed, or on a sick node."""

    MOVE = "Move"
    FROM_UNHEALTHY_NODES = "MoveFromUnhealthyNodes"
    LEAVE = "Leave"


class LostPods(StrEnum):
    """What becomes of pods on nodes that are gone without a word."""

    LEAVE = "Leave"
    RELEASE = "Release"


class Failover(ApiModel):
    """How running pods leave what fails. Always by eviction, and only where another provider has room for them.

    Pods without a controller are left alone unless their annotation computepool.io/movable is "true"; any pod whose
    annotation says "false" is left alone too.
    """

    running_pods: RunningPods = RunningPods.FROM_UNHEALTHY_NODES
    """MoveFromUnhealthyNodes: pods on sick nodes are moved. Move: where the provider has failed or is drained, those on
    its other nodes as well. Leave: no running pod is moved."""
    max_concurrent_moves: Moves = 10
    """Most pods of the pool that are on their way at once: evicted, and their replacements not bound yet."""
    per_minute: Moves | None = 60
    """Most pods of the pool that are evicted in any minute."""
    eviction_timeout_seconds: Annotated[Int, Field(ge=1, le=86_400)] = 300
    """Seconds after which an eviction that a PodDisruptionBudget refuses counts as stuck and is reported. It is tried
    again after 10 s at first, more and more seldom, and about once a minute in the end."""
    lost_pods: LostPods = LostPods.LEAVE
    """Release: pods on nodes whose Ready condition has been Unknown for `lostSeconds` are deleted, as the node
    controller would do minutes later, whatever their disruption budgets say: they do not run any more. The chart's
    value failover.releaseLostPods gives the operator the right. Leave: they are evicted like others."""
    lost_seconds: Annotated[Int, Field(ge=1, le=86_400)] = 60
    """Seconds of status Unknown after which a node counts as lost."""


class ReschedulePolicy(StrEnum):
    """Whether running pods make room on a saturated primary."""

    NEVER = "Never"
    WHEN_SATURATED = "WhenSaturated"


class Reschedule(ApiModel):
    """Making room on a saturated primary for a pending pod that can run nowhere else.

    Pods of lower priority are moved to a standby, as few as possible, under the limits of `failover`.
    """

    policy: ReschedulePolicy = ReschedulePolicy.NEVER
    """WhenSaturated: pods may be moved. Never: the pending pod waits."""
    pod_selector: LabelSelector = LabelSelector()
    """Labels of the pods that may be moved; left out or empty, all of the pool."""


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
    """Seconds for which it stays open."""
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
    """How pods on standbys are brought home, slowly. Whatever the policy, those that end by themselves are not replaced
    there: new pods prefer the primary.
    """

    policy: FailbackPolicy = FailbackPolicy.NEVER
    """WhenStable: running pods are evicted and find their place on the primary. Never: they stay until they end."""
    stable_seconds: Annotated[Int, Field(ge=0, le=86_400)] = 300
    """Seconds that the primary must have been well and not saturated before any pod is brought home."""
    min_dwell_seconds: Annotated[Int, Field(ge=0, le=604_800)] = 600
    """Seconds that a pod is left where it is after a move, in any direction. A pod on a node that no longer answers
    does not run, and may leave sooner."""
    max_concurrent_moves: Moves = 2
    """Most pods of the pool that are on their way home at once."""
    per_minute: Moves | None = 4
    """Most pods of the pool that are brought home in any minute."""
    headroom_percent: Annotated[Int, Field(ge=0, le=100)] = 10
    """Percent of the primary's accelerators that failback leaves free, so that new pods find room at once."""
    window: Window | None = None
    """When pods may be brought home; left out, at any time."""
