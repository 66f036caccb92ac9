"""JSON of the API server to slim records: only the fields that decisions need, equal parts shared.

The shapes below follow https://kubernetes.io/docs/reference/kubernetes-api/ and are decoded by msgspec, which skips
every field that is not named.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, TypeVar

import msgspec

from computepool.model.labels import Requirement, Term
from computepool.model.offers import parse_offers
from computepool.model.quantity import parse
from computepool.model.snapshot import (
    DELETION_COST_ANNOTATION,
    MOVABLE_ANNOTATION,
    OFFERS_ANNOTATION,
    PROVIDERS_ANNOTATION,
    Amounts,
    Node,
    Pod,
    Shape,
)
from computepool.model.taints import Taint, Toleration

T = TypeVar("T")

_Strings = dict[str, str]
_Items = tuple[tuple[str, str], ...]
_INTERN_LIMIT: Final = 50_000

_BOOLEANS: Final = {"true": True, "false": False}
_UNDISTURBED: Final = (
    ("karpenter.sh/do-not-disrupt", "true"),
    ("cluster-autoscaler.kubernetes.io/safe-to-evict", "false"),
)
"""Annotations, and their values, by which a pod asks autoscalers to leave it where it is."""


_NOT_STARTING: Final = frozenset(
    ("CrashLoopBackOff", "RunContainerError", "CreateContainerError", "PreCreateHookError", "PreStartHookError")
)
"""Why a container waits, where it was tried and did not start or ends again and again. The kubelet writes the error of
its last attempt: pkg/kubelet/container/sync_result.go, pkg/kubelet/kuberuntime/kuberuntime_container.go. Left out is
what the workload's author has to mend: images, PostStartHookError, and CreateContainerConfigError (no such ConfigMap or
Secret)."""
START_ERRORS: Final = frozenset(("StartError", "ContainerCannotRun"))
"""Why a container terminated that never ran, in the words of containerd and of Docker."""


class _Json(msgspec.Struct, rename="camel", gc=False):
    pass


class Owner(_Json):
    """One of an object's ownerReferences."""

    kind: str = ""
    uid: str = ""
    controller: bool = False


class _Meta(_Json):
    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = "0"
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    labels: _Strings | None = None
    annotations: _Strings | None = None
    owner_references: list[Owner] | None = None


class _Resources(_Json):
    requests: _Strings | None = None


class _Container(_Json):
    resources: _Resources | None = None
    restart_policy: str = ""
    ports: list[dict[str, Any]] | None = None


class _Expression(_Json):
    key: str
    operator: str
    values: list[str] | None = None


class _Term(_Json):
    match_expressions: list[_Expression] | None = None
    match_fields: list[_Expression] | None = None


class _NodeSelector(_Json):
    node_selector_terms: list[_Term] = []


class _NodeAffinity(_Json):
    required_during_scheduling_ignored_during_execution: _NodeSelector | None = None


class _PodAffinity(_Json):
    required_during_scheduling_ignored_during_execution: list[msgspec.Raw] | None = None


class _Affinity(_Json):
    node_affinity: _NodeAffinity | None = None
    pod_affinity: _PodAffinity | None = None
    pod_anti_affinity: _PodAffinity | None = None


class _Toleration(_Json):
    key: str = ""
    operator: str = ""
    value: str = ""
    effect: str = ""
    toleration_seconds: int | None = None


class _Spread(_Json):
    when_unsatisfiable: str = ""


class _Present(_Json):
    """An object of which only matters that it is there. (`msgspec.Raw | None` would take nothing but null.)"""


class _Volume(_Json):
    persistent_volume_claim: _Present | None = None
    ephemeral: _Present | None = None


class _PodSpec(_Json):
    containers: list[_Container] = []
    init_containers: list[_Container] | None = None
    overhead: _Strings | None = None
    resources: _Resources | None = None
    node_name: str = ""
    node_selector: _Strings | None = None
    affinity: _Affinity | None = None
    tolerations: list[_Toleration] | None = None
    scheduling_gates: list[msgspec.Raw] | None = None
    priority: int = 0
    topology_spread_constraints: list[_Spread] | None = None
    volumes: list[_Volume] | None = None
    resource_claims: list[msgspec.Raw] | None = None


class _Condition(_Json):
    type: str
    status: str
    reason: str = ""


class _Why(_Json):
    reason: str = ""


class _State(_Json):
    waiting: _Why | None = None
    terminated: _Why | None = None


class ContainerStatus(_Json):
    """One of a pod's containers, as far as it tells whether it starts."""

    state: _State | None = None


class _PodStatus(_Json):
    phase: str = ""
    reason: str = ""
    conditions: list[_Condition] | None = None
    nominated_node_name: str = ""
    container_statuses: list[ContainerStatus] | None = None
    init_container_statuses: list[ContainerStatus] | None = None


class _Pod(_Json):
    metadata: _Meta
    spec: _PodSpec
    status: _PodStatus = msgspec.field(default_factory=_PodStatus)


class _Taint(_Json):
    key: str
    value: str = ""
    effect: str = ""


class _NodeSpec(_Json):
    taints: list[_Taint] | None = None
    unschedulable: bool = False


class _NodeStatus(_Json):
    allocatable: _Strings | None = None
    capacity: _Strings | None = None
    conditions: list[_Condition] | None = None


class _Node(_Json):
    metadata: _Meta
    spec: _NodeSpec = msgspec.field(default_factory=_NodeSpec)
    status: _NodeStatus = msgspec.field(default_factory=_NodeStatus)


class _Namespace(_Json):
    metadata: _Meta


class Namespace(msgspec.Struct, frozen=True):
    """A namespace's name and labels."""

    name: str
    resource_version: int
    labels: Mapping[str, str]


class Records:
    """Decodes objects into records, sharing equal shapes, labels and resources between them."""

    def __init__(self) -> None:
        """Start with empty tables of shared parts."""
        self._pods = msgspec.json.Decoder(_Pod)
        self._nodes = msgspec.json.Decoder(_Node)
        self._namespaces = msgspec.json.Decoder(_Namespace)
        self._shared: dict[Any, Any] = {}

    def pod(self, raw: bytes) -> Pod:
        """Read a pod; raises msgspec.ValidationError or ValueError for what is none."""
        obj = self._pods.decode(raw)
        meta, spec, status = obj.metadata, obj.spec, obj.status
        annotations = meta.annotations or {}
        created = _seconds(meta.creation_timestamp) or 0.0
        allowed = annotations.get(PROVIDERS_ANNOTATION)
        owner, owner_kind = self._share(controller_of(meta.owner_references))
        unschedulable, ready = _verdicts(status.conditions)
        return Pod(
            uid=meta.uid,
            namespace=self._share(meta.namespace),
            name=meta.name,
            resource_version=int(meta.resource_version),
            shape=self._shape(spec),
            labels=self._mapping(meta.labels),
            created=created,
            since=created,
            priority=spec.priority,
            node=self._share(spec.node_name),
            nominated=status.nominated_node_name if not spec.node_name else "",
            gated=bool(spec.scheduling_gates),
            unschedulable=unschedulable,
            deleting=_seconds(meta.deletion_timestamp),
            finished=status.phase in ("Succeeded", "Failed"),
            offers=parse_offers(offers) if (offers := annotations.get(OFFERS_ANNOTATION)) else (),
            allowed=None if allowed is None else _names(allowed),
            deletion_cost=annotations.get(DELETION_COST_ANNOTATION),
            owner=owner,
            owner_kind=owner_kind,
            movable=_BOOLEANS.get(annotations.get(MOVABLE_ANNOTATION, "")),
            undisturbed=bool(annotations) and any(annotations.get(key) == said for key, said in _UNDISTURBED),
            ready=ready,
            failing=any_not_starting(status.container_statuses) or any_not_starting(status.init_container_statuses),
        )

    def node(self, raw: bytes) -> Node:
        """Read a node; raises msgspec.ValidationError or ValueError for what is none."""
        obj = self._nodes.decode(raw)
        meta, spec, status = obj.metadata, obj.spec, obj.status
        ready = next((c.status for c in status.conditions or () if c.type == "Ready"), "Unknown")
        return Node(
            name=meta.name,
            resource_version=int(meta.resource_version),
            labels=dict(meta.labels or {}),
            allocatable=self._amounts(status.allocatable),
            capacity=self._amounts(status.capacity),
            taints=self._share(tuple(Taint(t.key, t.value, t.effect) for t in spec.taints or ())),
            ready=ready,
            unschedulable=spec.unschedulable,
            deleting=meta.deletion_timestamp is not None,
            conditions=self._share(
                tuple(sorted((c.type, c.status) for c in status.conditions or () if c.type != "Ready"))
            ),
        )

    def namespace(self, raw: bytes) -> Namespace:
        """Read a namespace; raises msgspec.ValidationError or ValueError for what is none."""
        meta = self._namespaces.decode(raw).metadata
        return Namespace(meta.name, int(meta.resource_version), dict(meta.labels or {}))

    def _shape(self, spec: _PodSpec) -> Shape:
        shape = Shape(
            requests=effective_request(spec),
            node_selector=tuple(sorted((spec.node_selector or {}).items())),
            affinity=_affinity(spec.affinity),
            tolerations=tuple(
                Toleration(t.key, t.operator, t.value, t.effect, t.toleration_seconds) for t in spec.tolerations or ()
            ),
            unmodelled=tuple(_unmodelled(spec)),
        )
        return self._share(shape)

    def _mapping(self, values: _Strings | None) -> Mapping[str, str]:
        if not values:
            return {}
        return self._share_as(tuple(sorted(values.items())), values)

    def _amounts(self, values: _Strings | None) -> Mapping[str, int]:
        if not values:
            return {}
        return self._share_as(("amounts", *sorted(values.items())), {k: parse(v) for k, v in values.items()})

    def _share(self, value: T) -> T:
        return self._share_as(value, value)

    def _share_as(self, key: object, value: T) -> T:
        if len(self._shared) > _INTERN_LIMIT:
            # Shapes come and go for as long as the process runs; sharing anew is cheap, keeping all for ever is not.
            self._shared.clear()
        shared: T = self._shared.setdefault(key, value)
        return shared


def effective_request(spec: _PodSpec) -> Amounts:
    """Return what a pod requests as the scheduler counts it, in thousandths, with the pod itself as one of `pods`.

    max(sum of containers and sidecars, max over init containers with the sidecars started so far) + overhead; a
    request of the pod as a whole takes the place of its containers'. Source: component-helpers resource.PodRequests.
    """
    return _effective_request(
        tuple(_stated(container.resources) for container in spec.containers),
        tuple((one.restart_policy == "Always", _stated(one.resources)) for one in spec.init_containers or ()),
        _stated(spec.resources),
        _items(spec.overhead),
    )


@lru_cache(maxsize=_INTERN_LIMIT)
def _effective_request(
    containers: tuple[_Items, ...], inits: tuple[tuple[bool, _Items], ...], pod: _Items, overhead: _Items
) -> Amounts:
    """Reckon it once for all pods of a workload. `inits`: whether each is a sidecar, and its request."""
    total = _sum(_parsed(request) for request in containers)
    sidecars: dict[str, int] = {}
    peak: dict[str, int] = {}
    for sidecar, stated in inits:
        request = _sum((sidecars, _parsed(stated)))
        if sidecar:
            sidecars = request
        peak = _max(peak, request)
    total = _max(_sum((total, sidecars)), peak)
    total |= _parsed(pod)
    total = _sum((total, _parsed(overhead)))
    total["pods"] = 1000
    return tuple(sorted((name, amount) for name, amount in total.items() if amount > 0))


def _stated(resources: _Resources | None) -> _Items:
    return _items(resources.requests) if resources is not None else ()


def _items(amounts: _Strings | None) -> _Items:
    return tuple(amounts.items()) if amounts else ()


def _parsed(amounts: _Items) -> dict[str, int]:
    return {name: parse(text) for name, text in amounts}


def _sum(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for part in parts:
        for name, amount in part.items():
            sums[name] = sums.get(name, 0) + amount
    return sums


def _max(left: Mapping[str, int], right: Mapping[str, int]) -> dict[str, int]:
    return {name: max(left.get(name, 0), right.get(name, 0)) for name in left.keys() | right.keys()}


def _affinity(affinity: _Affinity | None) -> tuple[Term, ...] | None:
    node = affinity.node_affinity if affinity else None
    required = node.required_during_scheduling_ignored_during_execution if node else None
    if required is None:
        return None
    return tuple(
        Term(_requirements(term.match_expressions), _requirements(term.match_fields))
        for term in required.node_selector_terms
    )


def _requirements(expressions: Sequence[_Expression] | None) -> tuple[Requirement, ...]:
    return tuple(Requirement(e.key, e.operator, tuple(e.values or ())) for e in expressions or ())


def _unmodelled(spec: _PodSpec) -> Iterable[str]:
    """Name the constraints that fit does not know, by their field in the pod's spec."""
    affinity = spec.affinity
    for name, part in (
        ("podAffinity", affinity and affinity.pod_affinity),
        ("podAntiAffinity", affinity and affinity.pod_anti_affinity),
    ):
        if part and part.required_during_scheduling_ignored_during_execution:
            yield name
    if any(s.when_unsatisfiable == "DoNotSchedule" for s in spec.topology_spread_constraints or ()):
        yield "topologySpreadConstraints"
    if any(v.persistent_volume_claim or v.ephemeral for v in spec.volumes or ()):
        yield "volumes"
    if any("hostPort" in port for container in spec.containers for port in container.ports or ()):
        yield "hostPorts"
    if spec.resource_claims:
        yield "resourceClaims"


def _verdicts(conditions: list[_Condition] | None) -> tuple[bool, bool]:
    """Return whether the scheduler says Unschedulable, and whether the pod is Ready."""
    unschedulable = ready = False
    for condition in conditions or ():
        if condition.type == "Ready":
            ready = condition.status == "True"
        elif condition.type == "PodScheduled":
            unschedulable = condition.status == "False" and condition.reason == "Unschedulable"
    return unschedulable, ready


def controller_of(references: list[Owner] | None) -> tuple[str, str]:
    """Return the controller's uid and kind; empty where there is none."""
    return next(((one.uid, one.kind) for one in references or () if one.controller), ("", ""))


def any_not_starting(containers: list[ContainerStatus] | None) -> bool:
    """Say whether one of the containers does not start, or ends again and again."""
    for container in containers or ():
        state = container.state
        if state is None:
            continue
        if state.waiting is not None and state.waiting.reason in _NOT_STARTING:
            return True
        if state.terminated is not None and state.terminated.reason in START_ERRORS:
            return True
    return False


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for part in text.split(",") if (name := part.strip()))


def _seconds(time: datetime | None) -> float | None:
    return None if time is None else time.timestamp()
