"""The fields of the API server's JSON objects that the operator reads.

The types have the API's own names: https://kubernetes.io/docs/reference/kubernetes-api/. msgspec skips all other
fields, so each field here costs time in every decoder of its object. A reader that needs few fields of an object has a
narrow type, which gives the reason.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec


class Wire(msgspec.Struct, rename="camel", gc=False):
    """Base of all types: camelCase in JSON, and ignored by the garbage collector, because no object holds a cycle."""


class Present(Wire):
    """An object of which only the presence matters. (`msgspec.Raw | None` would accept only null.)"""


# -- metadata


class OwnerReference(Wire):
    kind: str = ""
    uid: str = ""
    controller: bool = False


class ObjectMeta(Wire):
    """The metadata of an object that becomes a record."""

    name: str
    generate_name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = "0"
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: list[OwnerReference] | None = None


class StoredMeta(Wire):
    """The metadata that identifies one stored version of an object.

    Narrow, because 5,000 nodes renew 500 Leases a second. The version is required: the API server accepts a write
    without a version over any version.
    """

    name: str
    resource_version: Annotated[str, msgspec.Meta(min_length=1)]
    uid: str = ""


class Stored(Wire):
    """A stored object, or the answer to a write."""

    metadata: StoredMeta


class AnnotatedMeta(StoredMeta):
    annotations: dict[str, str] | None = None


class AnnotatedObject(Wire):
    """A stored object of which only the annotations matter."""

    metadata: AnnotatedMeta


class StoredList(Wire):
    items: list[Stored]


class UnreadMeta(Wire):
    """The name of an object that can't be read otherwise. Narrow, because any other field may be the unreadable one."""

    uid: str
    name: str = ""
    namespace: str = ""


class UnreadObject(Wire):
    metadata: UnreadMeta


class Namespace(Wire):
    metadata: ObjectMeta


# -- pods


class ResourceRequirements(Wire):
    requests: dict[str, str] | None = None


class ContainerPort(Wire):
    host_port: int = 0


class Container(Wire):
    resources: ResourceRequirements | None = None
    restart_policy: str = ""
    ports: list[ContainerPort] | None = None


class SelectorRequirement(Wire):
    key: str
    operator: str
    values: list[str] | None = None


class NodeSelectorTerm(Wire):
    match_expressions: list[SelectorRequirement] | None = None
    match_fields: list[SelectorRequirement] | None = None


class NodeSelector(Wire):
    node_selector_terms: list[NodeSelectorTerm] = []


class NodeAffinity(Wire):
    required_during_scheduling_ignored_during_execution: NodeSelector | None = None


class PodAffinity(Wire):
    """A pod's affinity or anti-affinity to other pods: only whether a required term exists."""

    required_during_scheduling_ignored_during_execution: list[msgspec.Raw] | None = None


class Affinity(Wire):
    node_affinity: NodeAffinity | None = None
    pod_affinity: PodAffinity | None = None
    pod_anti_affinity: PodAffinity | None = None


class Toleration(Wire):
    key: str = ""
    operator: str = ""
    value: str = ""
    effect: str = ""
    toleration_seconds: int | None = None


class SchedulingGate(Wire):
    name: str = ""


class TopologySpreadConstraint(Wire):
    """A pod's topology spread constraint: only whether it is required."""

    when_unsatisfiable: str = ""


class Volume(Wire):
    """A pod's volume: only whether it is a claim."""

    persistent_volume_claim: Present | None = None
    ephemeral: Present | None = None


class PodSpec(Wire):
    containers: list[Container] = []
    init_containers: list[Container] | None = None
    overhead: dict[str, str] | None = None
    resources: ResourceRequirements | None = None
    node_name: str = ""
    node_selector: dict[str, str] | None = None
    affinity: Affinity | None = None
    tolerations: list[Toleration] | None = None
    scheduling_gates: list[SchedulingGate] | None = None
    priority: int = 0
    scheduler_name: str = ""
    preemption_policy: str = ""
    restart_policy: str = ""
    topology_spread_constraints: list[TopologySpreadConstraint] | None = None
    volumes: list[Volume] | None = None
    resource_claims: list[msgspec.Raw] | None = None
    scheduling_group: Any = None
    workload_ref: Any = None


class Condition(Wire):
    """A condition of a pod or node. Its time stays text: few are needed, and a bad time must hide no object."""

    type: str
    status: str
    reason: str = ""
    last_transition_time: str | None = None


class StateReason(Wire):
    reason: str = ""


class TerminatedState(StateReason):
    started_at: str | None = None


class ContainerState(Wire):
    waiting: StateReason | None = None
    running: Present | None = None
    terminated: TerminatedState | None = None


class ContainerStatus(Wire):
    """A container's status: only whether the container starts, and whether it has run."""

    state: ContainerState | None = None
    last_state: ContainerState | None = None


class RequestMapping(Wire):
    resource_name: str = ""


class ExtendedResourceClaimStatus(Wire):
    """The claim that the scheduler made for a pod whose extended resources are served by DRA (KEP-5004)."""

    request_mappings: list[RequestMapping] = []


class PodStatus(Wire):
    phase: str = ""
    reason: str = ""
    conditions: list[Condition] | None = None
    nominated_node_name: str = ""
    start_time: str | None = None
    container_statuses: list[ContainerStatus] | None = None
    init_container_statuses: list[ContainerStatus] | None = None
    extended_resource_claim_status: ExtendedResourceClaimStatus | None = None


class Pod(Wire):
    metadata: ObjectMeta
    spec: PodSpec
    status: PodStatus = msgspec.field(default_factory=PodStatus)


class ManagedFields(Wire):
    """Who last wrote a part of an object: only which part, and when."""

    subresource: str = ""
    time: str | None = None


class FailedPodMeta(ObjectMeta):
    """The metadata of a failed pod. Of other pods it is not needed when their status was written."""

    managed_fields: list[ManagedFields] | None = None


class FailedPod(Wire):
    metadata: FailedPodMeta
    spec: PodSpec
    status: PodStatus = msgspec.field(default_factory=PodStatus)


# -- nodes


class Taint(Wire):
    key: str
    value: str = ""
    effect: str = ""


class NodeSpec(Wire):
    taints: list[Taint] | None = None
    unschedulable: bool = False


class NodeCondition(Wire):
    type: str
    status: str
    last_transition_time: datetime | None = None


class NodeStatus(Wire):
    allocatable: dict[str, str] | None = None
    capacity: dict[str, str] | None = None
    conditions: list[NodeCondition] | None = None


class Node(Wire):
    metadata: ObjectMeta
    spec: NodeSpec = msgspec.field(default_factory=NodeSpec)
    status: NodeStatus = msgspec.field(default_factory=NodeStatus)


class LeaseSpec(Wire, omit_defaults=True):
    """The spec of a Lease of a node or of leader election; the JSON omits fields that are None."""

    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class Lease(Wire):
    metadata: StoredMeta
    spec: LeaseSpec = msgspec.field(default_factory=LeaseSpec)


# -- lists, watches and events


class ListMeta(Wire):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class ObjectList(Wire):
    """One page of a list; its objects stay JSON. Without objects `items` may be null."""

    metadata: ListMeta
    items: list[msgspec.Raw] | None = None


class WatchEvent(Wire):
    """One line of a watch. `object` is JSON, a view of the line."""

    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]
    object: msgspec.Raw


class BookmarkMeta(Wire):
    resource_version: str
    annotations: dict[str, str] | None = None


class Bookmark(Wire):
    metadata: BookmarkMeta


class ObjectReference(Wire):
    uid: str = ""


class EventMeta(Wire):
    annotations: dict[str, str] | None = None


class Event(Wire):
    """A v1 event."""

    metadata: EventMeta = msgspec.field(default_factory=EventMeta)
    reason: str = ""
    involved_object: ObjectReference = msgspec.field(default_factory=ObjectReference)
    event_time: datetime | None = None
    message: str | None = None
    reporting_component: str = ""


class ApiResource(Wire):
    name: str


class ApiResourceList(Wire):
    resources: list[ApiResource]


# -- errors


class StatusCause(Wire):
    """The cause of a refusal: a field of an object, or the disruption budget of an eviction."""

    field: str = ""
    message: str = ""
    reason: str = ""


class StatusDetails(Wire):
    """The details of a Status."""

    causes: tuple[StatusCause, ...] = ()
    retry_after_seconds: int = 0


class Status(Wire):
    """The API server's answer to a refused request, and the object of a watch's ERROR line."""

    code: int = 0
    reason: str = ""
    message: str = ""
    details: StatusDetails | None = None
