"""What an audit reads of a cluster, as plain values. `cli` reads it from a live cluster, or from files."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from computepool.audit.node_labels import Place
from computepool.model.api import ComputePool
from computepool.model.cluster import Node, Pod
from computepool.model.labels import Labels
from computepool.observe.disruption_budgets import DisruptionBudget

NOT_SAVED: Final = "not in the saved files"
"""Why a kind is missing from a saved cluster."""


class AuditedNode(msgspec.Struct, frozen=True):
    """A node, with what only an audit asks for."""

    node: Node
    place: Place
    provider_id: str = ""
    """Its spec.providerID, such as aws:///us-east-1a/i-0123."""
    kubelet: str = ""
    """The version of its kubelet."""


class Owner(msgspec.Struct, frozen=True):
    """An object that owns others: a workload, or a part of one."""

    kind: str
    name: str
    api_version: str = ""
    uid: str = ""


class AuditedPod(msgspec.Struct, frozen=True, gc=False):
    """A pod, with what only an audit asks for."""

    pod: Pod
    owner: Owner | None = None
    """Its controller; None if no controller replaces it."""
    kueue: bool = False
    """Whether Kueue manages it."""


class Facilities(msgspec.Struct, frozen=True):
    """What the cluster can do, as far as it could be read."""

    version: str = ""
    """The version of the API server, or the oldest kubelet's where only nodes were read."""
    apis: frozenset[str] | None = None
    """The API groups with their versions, such as resource.k8s.io/v1; None: they could not be read."""
    autoscalers: tuple[str, ...] = ()
    """The autoscalers that were found."""


class Cluster(msgspec.Struct, frozen=True):
    """One read of a cluster."""

    nodes: tuple[AuditedNode, ...]
    pods: tuple[AuditedPod, ...]
    """Pods that have not ended, and that either request accelerators or run on a node that has some."""
    now: float
    """When it was read, in seconds since the epoch."""
    owners: Mapping[str, Owner] = MappingProxyType({})
    """By uid of an object that owns pods: its own controller."""
    budgets: tuple[DisruptionBudget, ...] = ()
    pools: tuple[ComputePool, ...] = ()
    namespaces: Mapping[str, Labels] = MappingProxyType({})
    facilities: Facilities = Facilities()
    missing: Mapping[str, str] = MappingProxyType({})
    """By kind of object that could not be read: why."""
    unreadable: tuple[str, ...] = ()
    """Objects that this version can't read, by kind and name, and files that hold none; the first few of them."""
    source: str = ""
    """Where it was read from: the address of the API server, or the path of the files."""
