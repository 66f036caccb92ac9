"""When a node counts as sick, when a whole provider has failed, and how it is trusted again."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from computepool.model.api.base import QUALIFIED_NAME, ApiModel, Int, Key, fits, rule

CONDITION_TYPE = r"^[A-Za-z]([-A-Za-z0-9_./]{0,250}[A-Za-z0-9])?$"
"""Form of a node condition's type."""

Percent = Annotated[Int, Field(ge=1, le=100)]
Seconds = Annotated[Int, Field(ge=0, le=86_400)]


class BadStatus(StrEnum):
    """Which status of a condition is the bad one: components differ."""

    TRUE = "True"
    FALSE = "False"


class NodeCondition(ApiModel):
    """A node condition that says that the node is sick, and which of its statuses says so."""

    type: Annotated[str, Field(min_length=1, max_length=253)]
    """The condition's type, such as AcceleratedHardwareReady or XIDErrors."""
    bad_status: BadStatus = BadStatus.TRUE
    """The status that means trouble. True for problem reports (XIDErrors), False for readiness reports
    (AcceleratedHardwareReady)."""

    @rule(
        field="type",
        cel=f"self.type.matches(r'{CONDITION_TYPE}')",
        message="a condition type is letters, digits, '-', '_', '.' and '/', as in `kubectl describe node`: correct it",
        shows="self.type",
    )
    def _type_is_condition_type(self) -> bool:
        return fits(CONDITION_TYPE, self.type)


DEFAULT_CONDITIONS = (
    NodeCondition(type="AcceleratedHardwareReady", bad_status=BadStatus.FALSE),
    NodeCondition(type="GPUMissing"),
    NodeCondition(type="IBLinkFlapping"),
    NodeCondition(type="KernelDeadlock"),
    NodeCondition(type="ReadonlyFilesystem"),
    NodeCondition(type="XIDErrors"),
)
"""What EKS, AKS and node-problem-detector report of GPU nodes."""
DEFAULT_REMOVAL_TAINTS = (
    "aws-node-termination-handler/scheduled-maintenance",
    "aws-node-termination-handler/spot-itn",
    "cloud.google.com/impending-node-termination",
    "node.kubernetes.io/out-of-service",
)
"""Taints by which a node's end is announced. Not those of autoscalers, which drain the node themselves."""


class BlackHoles(ApiModel):
    """Nodes that look ready while pods on them fail at once."""

    pods: Annotated[Int, Field(ge=0, le=1_000)] = 3
    """So many pods that failed at once on a node within `windowSeconds` make it sick. Counted: pods that the kubelet
    refused (UnexpectedAdmissionError, OutOf...), and pods whose containers fail to start there while pods of the same
    workload run elsewhere. 0: never."""
    window_seconds: Annotated[Int, Field(ge=1, le=86_400)] = 300
    """Seconds for which a failed pod is counted."""


class Breaker(ApiModel):
    """Each provider's breaker: open, no pod is sent there; half-open, one node is tried before all are."""

    failures: Annotated[Int, Field(ge=1, le=1_000)] = 3
    """So many pods that a standby provider did not bind within its provisionTimeoutSeconds, one after another, open its
    breaker."""
    backoff_seconds: Annotated[Int, Field(ge=1, le=86_400)] = 60
    """Seconds that it stays open at least, the first time; doubled each time it opens again without having proved
    itself, with a jitter of a tenth."""
    max_backoff_seconds: Annotated[Int, Field(ge=1, le=86_400)] = 3_600
    """Longest time that it stays open once nothing is wrong any more."""
    prove_seconds: Annotated[Int, Field(ge=0, le=3_600)] = 15
    """Seconds that the first new pod must have been ready on a half-open provider before the breaker closes."""

    @rule(
        field="maxBackoffSeconds",
        cel="self.maxBackoffSeconds >= self.backoffSeconds",
        message="maxBackoffSeconds is the longest and backoffSeconds the shortest time: raise maxBackoffSeconds or "
        "lower backoffSeconds",
    )
    def _longest_is_longest(self) -> bool:
        return self.max_backoff_seconds >= self.backoff_seconds


class Health(ApiModel):
    """When a node counts as sick, when a provider counts as failed, and when both count as well again."""

    unhealthy_percent: Percent = 60
    """Percent of a provider's nodes, or of its accelerators, that must be sick at once for the provider to count as
    failed. Also the percent of its accelerators that must be gone from one node for the node to count as sick."""
    sustain_seconds: Annotated[Int, Field(ge=0, le=3_600)] = 30
    """Seconds that a fault of a node must last before the node counts as sick. Faults that were waited for already
    (status Unknown, silence, announced removal, black holes) count at once."""
    clear_seconds: Seconds = 120
    """Seconds without any fault before a sick node, or a failed provider, counts as well again."""
    silent_seconds: Annotated[Int, Field(ge=0, le=3_600)] = 25
    """Seconds without a heartbeat (the node's Lease, renewed every 10 s) after which a node counts as silent. A
    provider has failed when `silentPercent` of its nodes are silent while heartbeats of others go on. 0: never."""
    silent_percent: Percent = 80
    """Percent of a provider's nodes that must be silent for the provider to count as failed."""
    conditions: Annotated[tuple[NodeCondition, ...], Field(max_length=32)] = DEFAULT_CONDITIONS
    """Node conditions that make a node sick, beside Ready."""
    removal_taints: Annotated[tuple[Key, ...], Field(max_length=32)] = DEFAULT_REMOVAL_TAINTS
    """Keys of taints that announce a node's removal: it counts as sick at once."""
    black_holes: BlackHoles = BlackHoles()
    """Nodes that look ready while pods on them fail at once."""
    breaker: Breaker = Breaker()
    """When a failed provider is tried again."""
    max_unhealthy_percent: Percent = 50
    """Where more than this percent of the pool's providers have failed at once, the trouble is rather on our side:
    nothing is moved and no node is quarantined until it is less. A provider drained by hand does not count."""

    @rule(
        field="conditions",
        cel="!has(self.conditions) || self.conditions.all(c, self.conditions.exists_one(d, d.type == c.type))",
        message="a condition type is listed twice: keep one of them",
    )
    def _conditions_are_unique(self) -> bool:
        return len({one.type for one in self.conditions}) == len(self.conditions)

    @rule(
        field="removalTaints",
        cel=f"!has(self.removalTaints) || self.removalTaints.all(k, k.matches(r'{QUALIFIED_NAME}'))",
        message="a taint key is an optional domain and a slash, then up to 63 letters, digits, '-', '_' or '.': "
        "correct the one that is not",
    )
    def _taints_are_keys(self) -> bool:
        return all(fits(QUALIFIED_NAME, key) for key in self.removal_taints)
