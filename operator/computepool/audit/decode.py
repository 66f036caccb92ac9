"""Decodes the objects of a cluster for an audit, whatever the order in which they come.

Nodes and pods are read by the operator's own decoder. What only an audit asks for is read beside it.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Final

import msgspec

from computepool.audit.accelerators import is_accelerator
from computepool.audit.cluster import AuditedNode, AuditedPod, Cluster, Facilities, Owner
from computepool.audit.node_labels import place_of
from computepool.kube.wire import Wire
from computepool.model.accelerators import devices_of
from computepool.model.api import ComputePool, InvalidPool
from computepool.model.cluster import Pod
from computepool.model.labels import Labels
from computepool.model.well_known_keys import KUEUE_PREFIX
from computepool.observe.decode import Records
from computepool.observe.disruption_budgets import DisruptionBudget, disruption_budget

NAMED_UNREADABLE: Final = 20


class _Reference(Wire):
    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool = False


class _Meta(Wire):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    labels: dict[str, str] | None = None
    owner_references: list[_Reference] | None = None


class _Owned(Wire):
    """Any object of which only the metadata matters."""

    metadata: _Meta


class _NodeSpec(Wire):
    provider_id: str = msgspec.field(default="", name="providerID")


class _NodeInfo(Wire):
    kubelet_version: str = ""


class _NodeStatus(Wire):
    node_info: _NodeInfo = msgspec.field(default_factory=_NodeInfo)


class _Node(Wire):
    spec: _NodeSpec = msgspec.field(default_factory=_NodeSpec)
    status: _NodeStatus = msgspec.field(default_factory=_NodeStatus)


class ClusterBuilder:
    """Takes objects one by one, and makes a cluster of them."""

    def __init__(self, accelerators: Collection[str] = ()) -> None:
        """Nothing was read yet. `accelerators`: names of extended resources that count beside the known ones."""
        self._accelerators = accelerators
        self._records = Records()
        self._nodes: dict[str, AuditedNode] = {}
        self._pods: dict[str, AuditedPod] = {}
        self._owners: dict[str, Owner] = {}
        self._budgets: dict[tuple[str, str], DisruptionBudget] = {}
        self._pools: dict[str, ComputePool] = {}
        self._namespaces: dict[str, Labels] = {}
        self._unreadable: list[str] = []
        self._put: Mapping[str, Callable[[bytes], None]] = {
            "Node": self._put_node,
            "Pod": self._put_pod,
            "Namespace": self._put_namespace,
            "PodDisruptionBudget": self._put_budget,
            "ComputePool": self._put_pool,
        }
        self._owned = msgspec.json.Decoder(_Owned)
        self._extra_of_node = msgspec.json.Decoder(_Node)

    def put(self, kind: str, raw: bytes) -> None:
        """Take an object, as JSON. An object that can't be read is noted and left out."""
        try:
            self._put.get(kind, self._put_owner)(raw)
        except (msgspec.ValidationError, msgspec.DecodeError, InvalidPool, ValueError) as error:
            self.note_unreadable(f"{kind} {_name_in(raw)}", str(error))

    def note_unreadable(self, name: str, why: str) -> None:
        """Note an object or a file that can't be read; the first few are named."""
        if len(self._unreadable) < NAMED_UNREADABLE:
            self._unreadable.append(f"{name}: {why}")

    @property
    def unresolved(self) -> set[Owner]:
        """The owners that were named and whose own owners are not known: their kinds may be read next."""
        named = {found.owner for found in self._pods.values() if found.owner is not None} | set(self._owners.values())
        return {owner for owner in named if owner.uid not in self._owners}

    def build(self, now: float, *, facilities: Facilities, missing: Mapping[str, str], source: str = "") -> Cluster:
        """Return what was read. Pods that neither request accelerators nor run beside such pods are left out."""
        with_accelerators = {name for name, found in self._nodes.items() if self._has_accelerators(found)}
        return Cluster(
            nodes=tuple(self._nodes[name] for name in sorted(self._nodes)),
            pods=tuple(
                found
                for found in self._pods.values()
                if found.pod.node in with_accelerators or self._requests_accelerators(found.pod)
            ),
            now=now,
            owners=self._owners,
            budgets=tuple(self._budgets.values()),
            pools=tuple(self._pools[name] for name in sorted(self._pools)),
            namespaces=self._namespaces,
            facilities=facilities,
            missing=missing,
            unreadable=tuple(self._unreadable),
            source=source,
        )

    def _has_accelerators(self, found: AuditedNode) -> bool:
        capacity = found.node.capacity
        return any(amount and is_accelerator(name, self._accelerators) for name, amount in capacity.items())

    def _requests_accelerators(self, pod: Pod) -> bool:
        return any(is_accelerator(name, self._accelerators) for name, _ in devices_of(pod.shape))

    def _put_node(self, raw: bytes) -> None:
        node, extra = self._records.node(raw), self._extra_of_node.decode(raw)
        kubelet = extra.status.node_info.kubelet_version
        self._nodes[node.name] = AuditedNode(node, place_of(node.labels), extra.spec.provider_id, kubelet)

    def _put_pod(self, raw: bytes) -> None:
        pod = self._records.pod(raw)
        # Files that were saved at different moments may have two versions of a pod, or two pods of one name.
        name = f"{pod.namespace}/{pod.name}"
        known = self._pods.get(name)
        if pod.finished or (known is not None and known.pod.resource_version > pod.resource_version):
            return
        if not pod.uid:
            pod = msgspec.structs.replace(pod, uid=name)
        if not self._requests_accelerators(pod):
            self._pods[name] = AuditedPod(pod)
            return
        meta = self._owned.decode(raw).metadata
        kueue = any(key.startswith(KUEUE_PREFIX) for key in pod.labels)
        self._pods[name] = AuditedPod(pod, _controller(meta), kueue)

    def _put_namespace(self, raw: bytes) -> None:
        namespace = self._records.namespace(raw)
        self._namespaces[namespace.name] = namespace.labels

    def _put_budget(self, raw: bytes) -> None:
        found = disruption_budget(raw)
        self._budgets[found.namespace, found.name] = found

    def _put_pool(self, raw: bytes) -> None:
        pool = ComputePool.from_object(msgspec.json.decode(raw))
        self._pools[pool.name] = pool

    def _put_owner(self, raw: bytes) -> None:
        meta = self._owned.decode(raw).metadata
        if meta.uid and (owner := _controller(meta)) is not None:
            self._owners[meta.uid] = owner


def _controller(meta: _Meta) -> Owner | None:
    for found in meta.owner_references or ():
        if found.controller:
            return Owner(found.kind, found.name, found.api_version, found.uid)
    return None


def _name_in(raw: bytes) -> str:
    try:
        meta = msgspec.json.decode(raw, type=_Owned).metadata
    except msgspec.DecodeError:
        return "without a readable name"
    return f"{meta.namespace}/{meta.name}" if meta.namespace else meta.name
