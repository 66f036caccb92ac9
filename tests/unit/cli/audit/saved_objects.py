"""Objects as kubectl prints them, and files of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

GPU = "nvidia.com/gpu"
Json = dict[str, Any]


def node(name: str, provider: str, *, gpus: int = 8, labels: dict[str, str] | None = None) -> Json:
    """A node with this number of accelerators, whose providerID names its provider."""
    amounts = {GPU: str(gpus), "cpu": "64", "pods": "110"}
    own = {"kubernetes.io/hostname": name, "provider": provider, **(labels or {})}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "resourceVersion": "1", "labels": own},
        "spec": {"providerID": f"{provider}:///{name}"},
        "status": {
            "allocatable": amounts,
            "capacity": amounts,
            "conditions": [{"type": "Ready", "status": "True"}],
            "nodeInfo": {"kubeletVersion": "v1.37.2"},
        },
    }


def pod(name: str, on: str, *, gpus: int = 1, owner: str = "web", **spec: Any) -> Json:
    """A pod of a ReplicaSet in the namespace ml; with an empty `on` it waits."""
    reference = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": f"rs-{owner}", "controller": True}
    requests = {GPU: str(gpus), "cpu": "1"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "ml",
            "uid": name,
            "resourceVersion": "2",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "ownerReferences": [reference],
        },
        "spec": {"nodeName": on, "containers": [{"name": "c", "resources": {"requests": requests}}], **spec},
        "status": {"phase": "Running" if on else "Pending"},
    }


def listed(objects: Iterable[Json]) -> Json:
    """A list of objects, as kubectl makes it."""
    return {"apiVersion": "v1", "items": list(objects), "kind": "List", "metadata": {"resourceVersion": ""}}


def saved(folder: Path, objects: Iterable[Json]) -> str:
    """Save objects as `kubectl get -o json` prints them; return the path."""
    path = folder / "cluster.json"
    path.write_text(json.dumps(listed(objects), indent=4))
    return str(path)
