"""Decodes JSON of the API server into slim records: only the fields that decisions need, with equal parts shared.

Hundreds of pods are read every second, and a hundred thousand in one list: `kube/wire.py` names only the fields that
are needed here.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final, TypeVar

import msgspec

from computepool.kube import wire
from computepool.model.cluster import DEFAULT_SCHEDULER, Node, Pod, Shape
from computepool.model.gang_marks import marks_gang
from computepool.model.offers_annotation import parse_offers
from computepool.model.quantity import MAX_AMOUNT, parse, whole
from computepool.model.scheduling_gates import MAX_GATES
from computepool.model.taints import Taint, Toleration
from computepool.model.text import seconds_of
from computepool.model.well_known_keys import (
    DELETION_COST_ANNOTATION,
    MOVABLE_ANNOTATION,
    OFFERS_ANNOTATION,
    PROVIDERS_ANNOTATION,
    SIGNALS_ANNOTATION,
)
from computepool.observe.constraints import affinity_of, node_selector_of, unmodelled_in, unread_in
from computepool.observe.containers import any_has_run, any_not_starting
from computepool.observe.disruption_protection import protected_until
from computepool.observe.effective_request import effective_request
from computepool.observe.refusals import is_refused

T = TypeVar("T")

_NO_CONDITION: Final = wire.NodeCondition("Ready", "Unknown")
_INTERN_LIMIT: Final = 50_000

MAX_ANNOTATION: Final = 4_096
"""Characters of an annotation that decisions read. A user may write a quarter of a megabyte."""
_RANDOM_NAMES: Final = frozenset({"ReplicaSet", "ReplicationController"})
"""Kinds of owners that never name their pods."""
_SUFFIX: Final = 5
"""Characters that the API server adds to a generateName (apiserver's pkg/storage/names)."""
_BOOLEANS: Final = {"true": True, "false": False}


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
        return self.pod_of(obj.metadata, obj.spec, obj.status)

    def pod_of(self, meta: wire.ObjectMeta, spec: wire.PodSpec, status: wire.PodStatus) -> Pod:
        """Return the record of a pod. Raises ValueError if a part of it can't be read."""
        annotations = meta.annotations or {}
        created, started = _seconds(meta.creation_timestamp) or 0.0, seconds_of(status.start_time)
        allowed = _bounded(annotations.get(PROVIDERS_ANNOTATION))
        owner, owner_kind = self._share(controller_of(meta.owner_references))
        unschedulable, ready, ready_since = _unschedulable_and_ready(status.conditions)
        refused = bool(status.reason) and bool(spec.node_name) and is_refused(status.reason)
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
            preempts=spec.preemption_policy != "Never",
            node=self._share(spec.node_name),
            nominated=status.nominated_node_name if not spec.node_name else "",
            gated=bool(spec.scheduling_gates),
            gates=self._share(tuple([gate.name for gate in gates[:MAX_GATES]]))
            if (gates := spec.scheduling_gates)
            else (),
            unschedulable=unschedulable,
            deleting=_seconds(meta.deletion_timestamp),
            finished=status.phase in ("Succeeded", "Failed"),
            offers=parse_offers(offers) if (offers := _bounded(annotations.get(OFFERS_ANNOTATION))) else (),
            signals=self._share(_names(signals)) if (signals := _bounded(annotations.get(SIGNALS_ANNOTATION))) else (),
            allowed=None if allowed is None else _names(allowed),
            deletion_cost=_bounded(annotations.get(DELETION_COST_ANNOTATION)),
            owner=owner,
            owner_kind=owner_kind,
            fixed_name=bool(owner) and owner_kind not in _RANDOM_NAMES and not _is_generated(meta),
            to_completion=spec.restart_policy not in ("", "Always"),
            movable=_BOOLEANS.get(annotations.get(MOVABLE_ANNOTATION, "")),
            protected_until=protected_until(annotations, started) if annotations else 0.0,
            gang=_is_in_gang(meta, spec),
            started=started,
            ready=ready,
            failing=refused or not_starting(status),
            refused=refused,
            ready_since=ready_since,
            has_run=ready or any_has_run(status.container_statuses) or any_has_run(status.init_container_statuses),
            claimed=self._share(_claimed(claim)) if (claim := status.extended_resource_claim_status) else (),
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
            created=_seconds(meta.creation_timestamp) or 0.0,
        )

    def namespace(self, raw: bytes) -> Namespace:
        """Read a namespace; raises msgspec.ValidationError or ValueError for anything else."""
        meta = self._namespaces.decode(raw).metadata
        return Namespace(meta.name, int(meta.resource_version), dict(meta.labels or {}))

    def _shape(self, spec: wire.PodSpec) -> Shape:
        shape = Shape(
            requests=effective_request(spec),
            node_selector=node_selector_of(spec),
            affinity=affinity_of(spec),
            tolerations=tuple(
                [Toleration(t.key, t.operator, t.value, t.effect, t.toleration_seconds) for t in spec.tolerations or ()]
            ),
            unmodelled=unmodelled_in(spec),
            scheduler="" if spec.scheduler_name == DEFAULT_SCHEDULER else spec.scheduler_name,
        )
        return self._share(shape)

    def _mapping(self, values: dict[str, str] | None) -> Mapping[str, str]:
        if not values:
            return {}
        # The API server sorts the keys of its JSON.
        return self._share_as(tuple(values.items()), values)

    def _amounts(self, values: dict[str, str] | None) -> Mapping[str, int]:
        if not values:
            return {}
        return self._share_as(("amounts", *sorted(values.items())), {k: max(0, parse(v)) for k, v in values.items()})

    def _share(self, value: T) -> T:
        return self._share_as(value, value)

    def _share_as(self, key: object, value: T) -> T:
        if len(self._shared) > _INTERN_LIMIT:
            # Shapes come and go while the process runs. To share anew is cheap; to keep all of them for ever is not.
            self._shared.clear()
        shared: T = self._shared.setdefault(key, value)
        return shared


def inexact_pod(pod: Pod) -> str:
    """Say which requests of a pod are capped, and which of its selectors are not read; empty if all is exact."""
    capped, unread = _capped(pod.shape.requests), unread_in(pod.shape.unmodelled)
    return f"{capped}; {unread}" if capped and unread else capped or unread


def inexact_node(node: Node) -> str:
    """Say which amounts of a node are capped; empty if none is."""
    return _capped((*node.allocatable.items(), *node.capacity.items()))


def _capped(amounts: Iterable[tuple[str, int]]) -> str:
    names = {name for name, amount in amounts if amount >= MAX_AMOUNT}
    return f"{', '.join(sorted(names))} counts as {whole(MAX_AMOUNT)}, the largest amount" if names else ""


def not_starting(status: wire.PodStatus) -> bool:
    """Say whether any container of a pod does not start, or ends again and again."""
    return any_not_starting(status.container_statuses) or any_not_starting(status.init_container_statuses)


def _bounded(annotation: str | None) -> str | None:
    """Return an annotation's value; an empty text if it is too long to be meant, so that no part of it counts."""
    return annotation if annotation is None or len(annotation) <= MAX_ANNOTATION else ""


def _unschedulable_and_ready(conditions: list[wire.Condition] | None) -> tuple[bool, bool, float | None]:
    """Return whether the scheduler says Unschedulable, whether the pod is Ready, and since when."""
    unschedulable, ready, since = False, False, None
    for condition in conditions or ():
        if condition.type == "Ready":
            ready = condition.status == "True"
            since = seconds_of(condition.last_transition_time) if ready else None
        elif condition.type == "PodScheduled":
            unschedulable = condition.status == "False" and condition.reason == "Unschedulable"
    return unschedulable, ready, since


def _is_in_gang(meta: wire.ObjectMeta, spec: wire.PodSpec) -> bool:
    """Say whether the pod runs only together with others: a mark says so, or the scheduler's own fields for groups."""
    if spec.scheduling_group is not None or spec.workload_ref is not None:
        return True
    return marks_gang(meta.labels or (), meta.annotations or ())


def _claimed(claim: wire.ExtendedResourceClaimStatus) -> tuple[str, ...]:
    """Return the extended resources that the claim serves."""
    return tuple(sorted({mapping.resource_name for mapping in claim.request_mappings}))


def controller_of(references: list[wire.OwnerReference] | None) -> tuple[str, str]:
    """Return the controller's uid and kind; empty if there is none."""
    for owner in references or ():
        if owner.controller:
            return owner.uid, owner.kind
    return "", ""


def _is_generated(meta: wire.ObjectMeta) -> bool:
    """Say whether the API server has made the name. A StatefulSet's pod has a generateName that it does not use."""
    return bool(meta.generate_name) and len(meta.name) == len(meta.generate_name) + _SUFFIX


def _names(text: str) -> tuple[str, ...]:
    """Return the names between commas; a text that has no name, but is not empty, as a name that nothing has."""
    names = tuple(name for part in text.split(",") if (name := part.strip()))
    return names or ((text.strip(),) if text.strip() else ())


def _seconds(time: datetime | None) -> float | None:
    return None if time is None else time.timestamp()
