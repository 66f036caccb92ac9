"""Builders of audited clusters: plain nodes and pods in, what an audit reads out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from computepool.audit.auditing import Audit, Question, audit
from computepool.audit.cluster import AuditedNode, AuditedPod, Cluster, Owner
from computepool.audit.node_labels import place_of
from computepool.model.api import ComputePool
from computepool.model.cluster import Node, Pod
from computepool.model.labels import Requirement, Selector
from computepool.observe.disruption_budgets import DisruptionBudget
from tests.builders import NOW
from tests.builders import node as new_node
from tests.builders import pod as new_pod

DEPLOYMENTS = "apps/v1"


def owned(name: str, gpus: int = 1, *, by: str = "web", kind: str = "ReplicaSet", **fields: Any) -> Pod:
    """A pod of a controller; `by`: the name of its owner."""
    return new_pod(name, gpus, owner=f"uid-{by}", owner_kind=kind, **fields)


def unlabelled(name: str, labels: dict[str, str]) -> Node:
    """A node with these labels alone, and without taints."""
    return msgspec.structs.replace(new_node(name), labels=labels, taints=())


def cluster(
    nodes: Iterable[Node],
    pods: Iterable[Pod] = (),
    *,
    ids: Mapping[str, str] | None = None,
    pools: Sequence[ComputePool] = (),
    budgets: Sequence[DisruptionBudget] = (),
    **fields: Any,
) -> Cluster:
    """A cluster of these nodes and pods. `ids`: providerIDs by node."""
    return Cluster(
        nodes=tuple(AuditedNode(each, place_of(each.labels), (ids or {}).get(each.name, "")) for each in nodes),
        pods=tuple(AuditedPod(each, _owner(each)) for each in pods),
        now=NOW,
        pools=tuple(pools),
        budgets=tuple(budgets),
        **fields,
    )


def lost(found: Cluster, *parts: str, **question: Any) -> Any:
    """The loss of these parts together."""
    return audit(found, Question(lose=parts, **question)).losses[0]


def audited(found: Cluster, **question: Any) -> Audit:
    """All of an audit."""
    return audit(found, Question(**question))


def budget(name: str, allowed: int, **labels: str) -> DisruptionBudget:
    """A disruption budget of the namespace `default` for pods with these labels."""
    needs = tuple(Requirement(key, "In", (value,)) for key, value in labels.items())
    return DisruptionBudget("default", name, Selector(needs), allowed)


def _owner(pod: Pod) -> Owner | None:
    return Owner(pod.owner_kind, pod.owner.removeprefix("uid-"), DEPLOYMENTS, pod.owner) if pod.owner else None
