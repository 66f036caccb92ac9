"""Objects as the API server serves them, for tests against the fake one; and the records that are read from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from computepool.decide.plan import Burst
from computepool.model.api import PROVIDER_KEY, ComputePool
from computepool.model.cluster import Node, Pod
from computepool.model.reasons import Reason
from computepool.model.taints import Toleration
from computepool.observe.decode import Records
from tests.builders import GPU, POOL, standby_toleration
from tests.fakes.apiserver import COMPUTEPOOLS, PODS, Behaviour, FakeApiServer

Json = dict[str, Any]


def pod(
    name: str,
    gpus: int = 1,
    *,
    on: str = "",
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    **spec: Any,
) -> Json:
    """A pod of one container; `on` is the node it is bound to, `spec` is laid over its spec."""
    resources = {"requests": {GPU: str(gpus)}, "limits": {GPU: str(gpus)}}
    return {
        "metadata": {
            "name": name,
            "namespace": "default",
            "labels": dict(labels or {}),
            "annotations": dict(annotations or {}),
        },
        "spec": {"containers": [{"name": "main", "resources": resources}], **({"nodeName": on} if on else {}), **spec},
        "status": {"phase": "Running" if on else "Pending"},
    }


def node(name: str, of: str = "aws", gpus: int = 8, *, tainted: bool | None = None) -> Json:
    """A Ready node of a provider; `tainted` defaults to whether the provider is another than aws."""
    capacity = {GPU: str(gpus), "pods": "110"}
    taint = {"key": PROVIDER_KEY, "value": of, "effect": "NoSchedule"}
    return {
        "metadata": {"name": name, "labels": {PROVIDER_KEY: of}},
        "spec": {"taints": [taint] if (of != "aws" if tainted is None else tainted) else []},
        "status": {
            "capacity": capacity,
            "allocatable": capacity,
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def namespace(name: str = "default") -> Json:
    """A namespace with the label that every namespace has."""
    return {"metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}}}


def pool(
    *providers: Json | str,
    name: str = POOL,
    saturation: Mapping[str, Any] | None = None,
    admission: str = "Off",
    **spec: Any,
) -> Json:
    """A pool of these providers (aws, nebius and crusoe unless told), that bursts at once and clears at once."""
    return {
        "metadata": {"name": name},
        "spec": {
            "accelerator": {"resourceName": GPU},
            "providers": [provider(p) if isinstance(p, str) else p for p in providers or ("aws", "nebius", "crusoe")],
            "saturation": {"pendingSeconds": 0, "sustainSeconds": 0, "clearSeconds": 0, **(saturation or {})},
            "admission": {"mode": admission},
            **spec,
        },
    }


def provider(name: str, **more: Any) -> Json:
    """One entry of spec.providers."""
    return {"name": name, "nodeSelector": {"matchLabels": {PROVIDER_KEY: name}}, **more}


def pod_record(item: Mapping[str, Any]) -> Pod:
    """A stored pod, as the operator reads it."""
    return Records().pod(msgspec.json.encode(item))


def node_record(item: Mapping[str, Any]) -> Node:
    """A stored node, as the operator reads it."""
    return Records().node(msgspec.json.encode(item))


def pool_record(item: Mapping[str, Any]) -> ComputePool:
    """A stored pool, as the operator reads it."""
    return ComputePool.from_object(item)


def stored_pod(server: FakeApiServer, name: str = "web", **how: Any) -> Pod:
    """Create a pod and read it."""
    return pod_record(server.create(PODS, pod(name, **how)))


def with_pods(count: int, behaviour: Behaviour | None = None) -> FakeApiServer:
    """A server with so many pods: p0, p1 and so on."""
    server = FakeApiServer(behaviour)
    for number in range(count):
        server.create(PODS, pod(f"p{number}"))
    return server


def stored_pool(server: FakeApiServer, *providers: Json | str, **how: Any) -> ComputePool:
    """Create a pool and read it."""
    return pool_record(server.create(COMPUTEPOOLS, pool(*providers, **how)))


def burst(of: Pod, to: str = "nebius", tolerations: Sequence[Toleration] | None = None) -> Burst:
    """A decision to send a pod on."""
    missing = (standby_toleration(to),) if tolerations is None else tuple(tolerations)
    return Burst(of, to, Reason.PRIMARY_SATURATED, (("aws", Reason.NO_ROOM),), missing)
