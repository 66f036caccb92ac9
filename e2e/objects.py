"""Builders of nodes, pods and workloads, as plain manifests that a test may change further before it creates them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from e2e import stages

Json = dict[str, Any]

ACCELERATOR = "nvidia.com/gpu"
PROVIDER_KEY = "computepool.io/provider"
PROVIDERS_ANNOTATION = "computepool.io/providers"
# Nothing runs, so any image will do; this one says so to whoever reads `kubectl get pods -o wide`.
IMAGE = "example.invalid/none"
ZONE_LABEL = "topology.kubernetes.io/zone"
# What a kubelet registers its node with. A node that says nothing at all would be taken for a usable one.
_STARTING = {"type": "Ready", "status": "False", "reason": "KubeletNotReady", "message": "the kubelet is starting"}


def provider_taint(provider: str) -> Json:
    """The taint by which a standby provider's nodes keep everybody off who was not sent there."""
    return {"key": PROVIDER_KEY, "value": provider, "effect": "NoSchedule"}


def provider_toleration(provider: str) -> Json:
    """The toleration that fits `provider_taint`."""
    return {"key": PROVIDER_KEY, "operator": "Equal", "value": provider, "effect": "NoSchedule"}


def preference(labels: Mapping[str, str]) -> Json:
    """The affinity of a pod that prefers nodes with all these labels."""
    match = [{"key": key, "operator": "In", "values": [value]} for key, value in sorted(labels.items())]
    preferred = {"weight": 100, "preference": {"matchExpressions": match}}
    return {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [preferred]}}


def gpu_node(
    name: str,
    provider: str,
    *,
    gpus: int = 8,
    taint: bool = False,
    taints: Sequence[Json] = (),
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    zone: str | None = None,
    ready: bool = True,
    ready_after: int | None = None,
    alive: bool = True,
    resource: str = ACCELERATOR,
    cpu: str = "192",
    memory: str = "2Ti",
    pods: int = 110,
) -> Json:
    """A node of a provider, labelled `computepool.io/provider=<provider>`.

    `taint` keeps others off, as on a standby provider. `ready=False` gives a node whose kubelet says NotReady,
    `ready_after` one that takes so many whole seconds to become Ready, `alive=False` one whose kubelet never speaks.
    """
    behaviour: dict[str, str] = {}
    if not ready:
        behaviour[stages.NODE_NOT_READY] = "KubeletNotReady"
    if ready_after is not None:
        behaviour[stages.NODE_READY_AFTER] = str(ready_after)
    own_labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", PROVIDER_KEY: provider}
    if alive:
        own_labels[stages.KUBELET_LABEL] = stages.KUBELET_ALIVE
    if zone:
        own_labels[ZONE_LABEL] = zone
    capacity = {"cpu": cpu, "memory": memory, "pods": str(pods), resource: str(gpus)}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": own_labels | dict(labels or {}),
            "annotations": behaviour | dict(annotations or {}),
        },
        "spec": {
            "providerID": f"kwok://{provider}/{name}",
            "taints": [*([provider_taint(provider)] if taint else []), *taints],
        },
        "status": {"capacity": capacity, "allocatable": dict(capacity), "conditions": [_STARTING]},
    }


def gpu_nodes(prefix: str, provider: str, count: int, **how: Any) -> list[Json]:
    """Several nodes that differ in their name only: <prefix>-0, <prefix>-1 and so on."""
    return [gpu_node(f"{prefix}-{index}", provider, **how) for index in range(count)]


def gpu_pod(
    name: str,
    *,
    gpus: int = 1,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    ready_after: int | None = None,
    fails: str | None = None,
    runs: int | None = None,
    terminates_for: int | None = None,
    resource: str = ACCELERATOR,
    **spec: Any,
) -> Json:
    """A pod that asks for accelerators; `spec` is laid over its spec (tolerations, nodeSelector, priority...).

    In whole seconds: `ready_after` from being bound to Ready, `runs` from start to success (pods of Jobs),
    `terminates_for` in Terminating. `fails` makes it fail as soon as it is bound, with that reason.
    """
    behaviour = {
        stages.POD_READY_AFTER: ready_after,
        stages.POD_FAILS: fails,
        stages.POD_RUNS: runs,
        stages.POD_TERMINATES_FOR: terminates_for,
    }
    annotated = {key: str(value) for key, value in behaviour.items() if value is not None}
    resources = {"requests": {"cpu": "1"}, "limits": {resource: str(gpus)}} if gpus else {}
    containers = [{"name": "main", "image": IMAGE, "resources": resources}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": dict(labels or {}), "annotations": {**annotated, **(annotations or {})}},
        "spec": {"containers": containers, "terminationGracePeriodSeconds": 1} | spec,
    }


def gpu_pods(prefix: str, count: int, **how: Any) -> list[Json]:
    """Several pods that differ in their name only."""
    return [gpu_pod(f"{prefix}-{index}", **how) for index in range(count)]


def gpu_deployment(name: str, replicas: int, *, labels: Mapping[str, str] | None = None, **how: Any) -> Json:
    """A Deployment; its pods are described as for `gpu_pod`, and labelled app=<name>."""
    return _replicated("Deployment", name, replicas, labels, how)


def gpu_statefulset(name: str, replicas: int, *, labels: Mapping[str, str] | None = None, **how: Any) -> Json:
    """A StatefulSet that starts its pods all at once; pods as for `gpu_pod`, labelled app=<name>."""
    manifest = _replicated("StatefulSet", name, replicas, labels, how)
    manifest["spec"] |= {"serviceName": name, "podManagementPolicy": "Parallel"}
    return manifest


def gpu_job(
    name: str, pods: int, *, labels: Mapping[str, str] | None = None, suspend: bool = False, **how: Any
) -> Json:
    """A Job of so many pods at once; pods as for `gpu_pod`, labelled app=<name>; `runs` says for how long."""
    template = _template_of(how | {"restartPolicy": "Never", "labels": {"app": name} | dict(labels or {})})
    spec = {"parallelism": pods, "completions": pods, "suspend": suspend, "template": template}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}


def namespace(name: str, labels: Mapping[str, str] | None = None) -> Json:
    """A Namespace."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": dict(labels or {})}}


def admission(kind: str, name: str, spec: Mapping[str, Any]) -> Json:
    """A policy of the API server's admission, or the binding of a policy."""
    api_version = "admissionregistration.k8s.io/v1"
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, "spec": dict(spec)}


def disruption_budget(name: str, match_labels: Mapping[str, str], *, max_unavailable: int) -> Json:
    """A PodDisruptionBudget."""
    spec = {"maxUnavailable": max_unavailable, "selector": {"matchLabels": dict(match_labels)}}
    return {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": name}, "spec": spec}


def is_ready(item: Json) -> bool:
    """Whether a node or a pod is Ready."""
    return condition_of(item, "Ready") == "True"


def is_schedulable(node: Json) -> bool:
    """Whether the scheduler may use a node: it is Ready, and the node controller has seen it."""
    taints = node["spec"].get("taints", [])
    return is_ready(node) and not any(taint["key"].startswith("node.kubernetes.io/") for taint in taints)


def condition_of(item: Json, kind: str) -> str | None:
    """The status of one of an object's conditions, None where it has none. A new definition has null for a list."""
    for condition in item.get("status", {}).get("conditions") or ():
        if condition["type"] == kind:
            return str(condition["status"])
    return None


def is_bound(pod: Json) -> bool:
    """Whether a pod has a node."""
    return bool(pod["spec"].get("nodeName"))


def gpus_of(pod: Json, resource: str = ACCELERATOR) -> int:
    """How many accelerators a pod of these builders asks for."""
    return sum(
        int(container.get("resources", {}).get("limits", {}).get(resource, 0))
        for container in pod["spec"]["containers"]
    )


def is_unschedulable(pod: Json) -> bool:
    """Whether the scheduler has tried a pod and found no node for it."""
    return not is_bound(pod) and any(
        condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable"
        for condition in pod.get("status", {}).get("conditions", [])
    )


def _replicated(kind: str, name: str, replicas: int, labels: Mapping[str, str] | None, how: Json) -> Json:
    app = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": app},
            "template": _template_of(how | {"labels": app | dict(labels or {})}),
        },
    }


def _template_of(how: Json) -> Json:
    pod = gpu_pod("", **how)
    del pod["metadata"]["name"]
    return {"metadata": pod["metadata"], "spec": pod["spec"]}
