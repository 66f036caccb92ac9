"""When a node counts as unhealthy, when a provider counts as failed, and how the provider is trusted again."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from computepool.model.api.base import KEY_OR_PREFIX, QUALIFIED_NAME, ApiModel, Int, Key, fits, rule
from computepool.model.api.signals import MAX_METRICS, NAMES_DIFFER, SAME_NAME, HealthMetric, names_differ

CONDITION_TYPE = r"^[A-Za-z]([-A-Za-z0-9_./]{0,250}[A-Za-z0-9])?$"
"""Form of a node condition's type."""

Percent = Annotated[Int, Field(ge=1, le=100)]
Seconds = Annotated[Int, Field(ge=0, le=86_400)]


class BadStatus(StrEnum):
    """The status of a condition that reports a fault. It differs between components."""

    TRUE = "True"
    FALSE = "False"


class NodeCondition(ApiModel):
    """A node condition that reports whether the node is unhealthy, and the status that says so."""

    type: Annotated[str, Field(min_length=1, max_length=253)]
    """The condition's type, such as AcceleratedHardwareReady or XIDErrors."""
    bad_status: BadStatus = BadStatus.TRUE
    """The status that reports a fault: True for conditions that report problems (XIDErrors), False for conditions that
    report readiness (AcceleratedHardwareReady)."""

    @rule(
        field="type",
        cel=f"self.type.matches(r'{CONDITION_TYPE}')",
        message="a condition type is letters, digits, '-', '_', '.' and '/', as in `kubectl describe node`: correct it",
        shows="self.type",
    )
    def _type_is_condition_type(self) -> bool:
        return fits(CONDITION_TYPE, self.type)

    @rule(
        field="type",
        cel="self.type != 'Ready'",
        message="a node that is not Ready is always unhealthy, and a node that is Ready can't be: remove the condition "
        "Ready",
    )
    def _is_not_ready(self) -> bool:
        return self.type != "Ready"


DEFAULT_CONDITIONS = (
    NodeCondition(type="AcceleratedHardwareReady", bad_status=BadStatus.FALSE),
    NodeCondition(type="GPUMissing"),
    NodeCondition(type="IBLinkFlapping"),
    NodeCondition(type="KernelDeadlock"),
    NodeCondition(type="ReadonlyFilesystem"),
    NodeCondition(type="XIDErrors"),
)
"""Conditions by which EKS, AKS and node-problem-detector report faults of GPU nodes."""
DEFAULT_REMOVAL_TAINTS = (
    "aws-node-termination-handler/scheduled-maintenance",
    "aws-node-termination-handler/spot-itn",
    "cloud.google.com/impending-node-termination",
    "node.kubernetes.io/out-of-service",
)
"""Taints that announce a node's removal. Taints of autoscalers are left out: autoscalers drain the node themselves."""
DEFAULT_STARTUP_TAINTS = (
    "cni.istio.io/not-ready",
    "disk.csi.azure.com/agent-not-ready",
    "ebs.csi.aws.com/agent-not-ready",
    "efs.csi.aws.com/agent-not-ready",
    "file.csi.azure.com/agent-not-ready",
    "fsx.csi.aws.com/agent-not-ready",
    "ignore-taint.cluster-autoscaler.kubernetes.io/",
    "karpenter.sh/unregistered",
    "node.cilium.io/agent-not-ready",
    "node.cloudprovider.kubernetes.io/uninitialized",
    "node.cluster.x-k8s.io/uninitialized",
    "readiness.k8s.io/",
    "s3.csi.aws.com/agent-not-ready",
    "startup-taint.cluster-autoscaler.kubernetes.io/",
)
"""Taints that an agent, a driver, a cloud or an autoscaler removes once a new node is ready for pods. Sources: the
installation guides of Istio CNI, Cilium and the CSI drivers; Karpenter's and Cluster Autoscaler's documentation of
startup taints; Cluster API's bootstrap contract; the node readiness controller."""


class BlackHoles(ApiModel):
    """When a node counts as a black hole: it looks ready, but pods fail on it immediately."""

    pods: Annotated[Int, Field(ge=0, le=1_000)] = 3
    """Number of pods that must fail immediately on a node within `windowSeconds` for the node to count as unhealthy.
    Counted are pods that the kubelet refused before they ran (UnexpectedAdmissionError, OutOf..., ProviderFailed), and
    pods whose containers fail to start there while a pod of the same workload, with the same labels and requests, runs
    elsewhere. Failures count only since the last pod started to run on the node. Containers that fail to start do not
    count on a node where pods of other workloads run. A black hole gets no new pods; pods that run there, ready or
    not, stay. 0: no node counts as a black hole."""
    window_seconds: Annotated[Int, Field(ge=1, le=86_400)] = 300
    """Seconds for which a failed pod counts."""


class BreakerSpec(ApiModel):
    """Each provider's breaker. Open: no pod is sent to the provider. Half-open: one node is tried before all nodes are
    used again.
    """

    failures: Annotated[Int, Field(ge=1, le=1_000)] = 3
    """The breaker of a standby opens when pods of at least this many workloads, and of at least this many different
    requests and selectors, were not bound there within provisionTimeoutSeconds, and no other pod was bound there
    meanwhile. Before that, only such pods are held off the standby. Pods of other schedulers than Kubernetes' own do
    not count: they may wait for a queue or a quota."""
    backoff_seconds: Annotated[Int, Field(ge=1, le=86_400)] = 60
    """Seconds that the breaker stays open at least, the first time. The time doubles each time the breaker opens again
    before the provider has proved itself. It varies by up to a tenth. A workload or a kind of pod that the provider
    fails is held off it for as long."""
    max_backoff_seconds: Annotated[Int, Field(ge=1, le=86_400)] = 3_600
    """Longest time, in seconds, that the breaker stays open once nothing is wrong any more."""
    prove_seconds: Annotated[Int, Field(ge=0, le=3_600)] = 15
    """Seconds that the first new pod on a half-open provider must be ready before the breaker closes. After a move by
    choice, the replacement must be ready for as long before the next pods of its owner follow; for twice as long each
    time that the owner's last move came to nothing."""

    @rule(
        field="maxBackoffSeconds",
        cel="self.maxBackoffSeconds >= self.backoffSeconds",
        message="maxBackoffSeconds is the longest and backoffSeconds the shortest time: raise maxBackoffSeconds or "
        "lower backoffSeconds",
    )
    def _longest_is_longest(self) -> bool:
        return self.max_backoff_seconds >= self.backoff_seconds


class HealthSpec(ApiModel):
    """When a node counts as unhealthy, when a provider counts as failed, and when they count as healthy again."""

    unhealthy_percent: Percent = 60
    """Percent of a provider's nodes, or of its accelerators, that must be unhealthy at the same time for the provider
    to count as failed. Also the percent of a node's accelerators that must be gone for the node to count as
    unhealthy."""
    sustain_seconds: Annotated[Int, Field(ge=0, le=3_600)] = 30
    """Seconds that a fault of a node must last before the node counts as unhealthy. Four faults count at once: status
    Unknown, silence, an announced removal, and a black hole."""
    clear_seconds: Seconds = 120
    """Seconds without any fault after which an unhealthy node, or a failed provider, counts as healthy again."""
    device_gone_seconds: Seconds = 1_800
    """Seconds that accelerators of a node that is Ready must be gone before running pods leave the node, and before the
    node counts towards a failure of its provider. New pods avoid the node from the beginning, and pods whose containers
    fail to start leave it after `sustainSeconds`. Keep this longer than the rollout of a driver or a device plugin
    takes on a node: a rollout takes the accelerators away while running pods keep theirs."""
    silent_seconds: Annotated[Int, Field(ge=0, le=3_600)] = 25
    """Seconds without a heartbeat after which a node counts as silent. The heartbeat is the node's Lease, which is
    renewed every 10 s. A provider has failed when `silentPercent` of its nodes are silent while heartbeats of other
    nodes go on. New pods avoid it from then on; running pods leave after `failover.silenceSeconds`. If two heartbeats
    take longer, as the operator sees them, a node counts as silent only after two heartbeats. 0: no node counts as
    silent."""
    silent_percent: Percent = 80
    """Percent of a provider's nodes that must be silent for the provider to count as failed."""
    conditions: Annotated[tuple[NodeCondition, ...], Field(max_length=32)] = DEFAULT_CONDITIONS
    """Node conditions that make a node unhealthy, in addition to Ready."""
    removal_taints: Annotated[tuple[Key, ...], Field(max_length=32)] = DEFAULT_REMOVAL_TAINTS
    """Keys of taints that announce a node's removal. A node with such a taint counts as unhealthy at once."""
    startup_taints: Annotated[tuple[Key, ...], Field(max_length=64)] = DEFAULT_STARTUP_TAINTS
    """Keys of taints that keep pods off a node until it is ready for them. A key that ends with a slash or an asterisk
    stands for all keys that begin so. A node with such a taint counts as capacity on its way: pods that fit there wait,
    for as long as the provider's `provisionTimeoutSeconds` at most. A new node's taint that no older node of the
    provider carries counts as a startup taint too."""
    black_holes: BlackHoles = BlackHoles()
    """When a node counts as a black hole: it looks ready, but pods fail on it immediately."""
    breaker: BreakerSpec = BreakerSpec()
    """When a failed provider is tried again."""
    max_unhealthy_percent: Percent = 50
    """If more than this percent of the pool's providers have failed at once, the fault is probably in the operator's
    own view: no running pod is moved and no node is quarantined until fewer providers have failed. A provider that is
    drained by hand does not count."""
    metrics: Annotated[tuple[HealthMetric, ...], Field(max_length=MAX_METRICS)] = ()
    """Signals from the cluster's metrics. While a signal is on, a node is unhealthy or a provider counts as failed.
    Signals need a source of metrics, which the chart's value `prometheus.url` names."""

    @rule(field="metrics", cel=NAMES_DIFFER, message=SAME_NAME)
    def _metrics_have_names(self) -> bool:
        return names_differ(self.metrics)

    @rule(
        field="conditions",
        cel="!has(self.conditions) || self.conditions.all(c, self.conditions.exists_one(d, d.type == c.type))",
        message="a condition type is listed twice: keep one of them",
    )
    def _conditions_are_unique(self) -> bool:
        return len({condition.type for condition in self.conditions}) == len(self.conditions)

    @rule(
        field="removalTaints",
        cel=f"!has(self.removalTaints) || self.removalTaints.all(k, k.matches(r'{QUALIFIED_NAME}'))",
        message="a taint key is an optional domain and a slash, then up to 63 letters, digits, '-', '_' or '.': "
        "correct the keys that are not",
    )
    def _taints_are_keys(self) -> bool:
        return all(fits(QUALIFIED_NAME, key) for key in self.removal_taints)

    @rule(
        field="startupTaints",
        cel=f"!has(self.startupTaints) || self.startupTaints.all(k, k.matches(r'{KEY_OR_PREFIX}'))",
        message="a startup taint is a taint key, or the beginning of keys with a slash or an asterisk at its end, such "
        "as readiness.k8s.io/ or example.com/not-ready*: correct the entries that are not",
    )
    def _startup_taints_are_keys(self) -> bool:
        return all(fits(KEY_OR_PREFIX, key) for key in self.startup_taints)
