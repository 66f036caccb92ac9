"""Decodes JSON of the API server into slim records: only the fields that decisions need, with equal parts shared.

Hundreds of pods are read every second, and a hundred thousand in one list: `kube/wire.py` names only the fields that
are needed here.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar

import msgspec

from computepool.kube import wire
from computepool.model.cluster import Node, Pod, Shape
from computepool.model.labels import Requirement, Term
from computepool.model.offers_annotation import parse_offers
from computepool.model.quantity import parse
from computepool.model.taints import Taint, Toleration
from computepool.model.well_known_keys import (
    DELETION_COST_ANNOTATION,
    MOVABLE_ANNOTATION,
    OFFERS_ANNOTATION,
    PROVIDERS_ANNOTATION,
)
from computepool.observe.containers import any_not_starting
from computepool.observe.effective_request import effective_request

T = TypeVar("T")

_NO_CONDITION: Final = wire.NodeCondition("Ready", "Unknown")
_INTERN_LIMIT: Final = 50_000

_BOOLEANS: Final = {"true": True, "false": False}
_DO_NOT_DISRUPT: Final = (
    ("karpenter.sh/do-not-disrupt", "true"),
    ("cluster-autoscaler.kubernetes.io/safe-to-evict", "false"),
)
"""Annotations, with their values, by which a pod asks autoscalers to leave it where it is."""


class Namespace(msgspec.Struct, frozen=True):
    """A namespace's name and labels."""

    name: str
    resource_version: int
    labels: Mapping[str, str]


class Records:
    """Decodes objects into records, sharing equal shapes, labels and resources between them."""

    def __init__(self) -> None:
        """Start with empty tables of shared parts."""
        self._pods = msgspec.json.Decoder(wire.Pod)
        self._nodes = msgspec.json.Decoder(wire.Node)
        self._namespaces = msgspec.json.Decoder(wire.Namespace)
        self._shared: dict[Any, Any] = {}

    def pod(self, raw: bytes) -> Pod:
        """Read a pod; raises msgspec.ValidationError or ValueError for anything else."""
        obj = self._pods.decode(raw)
        meta, spec, status = obj.metadata, obj.spec, obj.status
        annotations = meta.annotations or {}
        created = _seconds(meta.creation_timestamp) or 0.0
        allowed = annotations.get(PROVIDERS_ANNOTATION)
        owner, owner_kind = self._share(controller_of(meta.owner_references))
        unschedulable, ready = _unschedulable_and_ready(status.conditions)
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
            do_not_disrupt=bool(annotations) and any(annotations.get(key) == value for key, value in _DO_NOT_DISRUPT),
            ready=ready,
            failing=any_not_starting(status.container_statuses) or any_not_starting(status.init_container_statuses),
            claimed=self._share(_claimed(status.extended_resource_claim_status)),
        )

    def node(self, raw: bytes) -> Node:
        """Read a node; raises msgspec.ValidationError or ValueError for anything else."""
        obj = self._nodes.decode(raw)
        meta, spec, status = obj.metadata, obj.spec, obj.status
        ready = next((c for c in status.conditions or () if c.type == "Ready"), _NO_CONDITION)
        return Node(
            name=meta.name,
            resource_version=int(meta.resource_version),
            labels=dict(meta.labels or {}),
            allocatable=self._amounts(status.allocatable),
            capacity=self._amounts(status.capacity),
            taints=self._share(tuple(Taint(t.key, t.value, t.effect) for t in spec.taints or ())),
            ready=ready.status,
            ready_since=_seconds(ready.last_transition_time),
            unschedulable=spec.unschedulable,
            deleting=meta.deletion_timestamp is not None,
            conditions=self._share(
                tuple(sorted((c.type, c.status) for c in status.conditions or () if c.type != "Ready"))
            ),
        )

    def namespace(self, raw: bytes) -> Namespace:
        """Read a namespace; raises msgspec.ValidationError or ValueError for anything else."""
        meta = self._namespaces.decode(raw).metadata
        return Namespace(meta.name, int(meta.resource_version), dict(meta.labels or {}))

    def _shape(self, spec: wire.PodSpec) -> Shape:
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

    def _mapping(self, values: dict[str, str] | None) -> Mapping[str, str]:
        if not values:
            return {}
        return self._share_as(tuple(sorted(values.items())), values)

    def _amounts(self, values: dict[str, str] | None) -> Mapping[str, int]:
        if not values:
            return {}
        return self._share_as(("amounts", *sorted(values.items())), {k: parse(v) for k, v in values.items()})

    def _share(self, value: T) -> T:
        return self._share_as(value, value)

    def _share_as(self, key: object, value: T) -> T:
        if len(self._shared) > _INTERN_LIMIT:
            # Shapes come and go while the process runs. To share anew is cheap; to keep all of them for ever is not.
            self._shared.clear()
        shared: T = self._shared.setdefault(key, value)
        return shared


def _affinity(affinity: wire.Affinity | None) -> tuple[Term, ...] | None:
    node = affinity.node_affinity if affinity else None
    required = node.required_during_scheduling_ignored_during_execution if node else None
    if required is None:
        return None
    return tuple(
        Term(_requirements(term.match_expressions), _requirements(term.match_fields))
        for term in required.node_selector_terms
    )


def _requirements(expressions: Sequence[wire.SelectorRequirement] | None) -> tuple[Requirement, ...]:
    return tuple(Requirement(e.key, e.operator, tuple(e.values or ())) for e in expressions or ())


def _unmodelled(spec: wire.PodSpec) -> Iterable[str]:
    """Yield the constraints that fit does not model, by their field in the pod's spec."""
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


def _unschedulable_and_ready(conditions: list[wire.Condition] | None) -> tuple[bool, bool]:
    """Return whether the scheduler says Unschedulable, and whether the pod is Ready."""
    unschedulable = ready = False
    for condition in conditions or ():
        if condition.type == "Ready":
            ready = condition.status == "True"
        elif condition.type == "PodScheduled":
            unschedulable = condition.status == "False" and condition.reason == "Unschedulable"
    return unschedulable, ready


def _claimed(claim: wire.ExtendedResourceClaimStatus | None) -> tuple[str, ...]:
    """Return the extended resources that the claim serves."""
    return () if claim is None else tuple(sorted({mapping.resource_name for mapping in claim.request_mappings}))


def controller_of(references: list[wire.OwnerReference] | None) -> tuple[str, str]:
    """Return the controller's uid and kind; empty if there is none."""
    return next(((owner.uid, owner.kind) for owner in references or () if owner.controller), ("", ""))


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for part in text.split(",") if (name := part.strip()))


def _seconds(time: datetime | None) -> float | None:
    return None if time is None else time.timestamp()
