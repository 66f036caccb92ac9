"""Measures `computepool audit --from` on the saved lists of a large cluster, as a command of its own.

Beside it, as a measure of the machine, a script loads the same file with Python's own JSON and counts accelerators.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any, TextIO

import msgspec

from e2e import command
from e2e.bench.footprint import Footprint, Limits, rows_of
from e2e.bench.report import Result
from e2e.bench.rounds import Scale
from e2e.child import ChildError
from e2e.progress import Progress
from e2e.spread import Spread

LIMITS = Limits(seconds=30.0, megabytes=500.0)
PROVIDERS = (("aws", "aws:///us-east-1a/", 45), ("nebius", "nebius://", 35), ("own", "", 20))
"""Names, beginnings of providerIDs, and shares of the nodes in percent."""
WORKLOADS = 400
NAMESPACES = 20
GPUS = 8
BARE = """
import json, sys
items = json.load(open(sys.argv[1]))["items"]
gpus = [node["status"]["allocatable"].get("nvidia.com/gpu", "0") for node in items if node["kind"] == "Node"]
print(sum(map(int, gpus)))
"""
Json = dict[str, Any]


def run(scale: Scale) -> Result:
    """Measure once for each round, turn by turn."""
    nodes, pods = scale.audit_nodes, scale.audit_pods
    ours, bare = [], []
    with Progress(f"audit of {pods} pods and {nodes} nodes") as progress, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cluster.json"
        progress.say("writing the lists")
        with path.open("w") as out:
            _write(out, cluster(nodes, pods))
        for _ in range(scale.rounds):
            progress.say("auditing")
            ours.append(_run([command.COMMAND, "audit", "--from", str(path), "--output", "json"]))
            progress.say("counting")
            bare.append(_run([sys.executable, "-c", BARE, str(path)]))
        size = path.stat().st_size / 1e6
    rows = rows_of(
        f"audit of {pods:,} pods and {nodes:,} nodes in a file of {size:.0f} MB",
        ours,
        bare,
        LIMITS,
        beside="a script that counts nodes' accelerators",
        at_end=f"{Spread.of(run.peak_mb for run in bare).p50:.0f} MB for that script",
    )
    return Result("auditing", rows, msgspec.to_builtins({"ours": ours, "bare": bare}))


def _run(words: Sequence[str]) -> Footprint:
    """Run a command to its end. Raises ChildError where it fails."""
    began = time.monotonic()
    child = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise ChildError(f"{' '.join(words[:5])} ended with {child.returncode}")
    return Footprint(time.monotonic() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


# -- the cluster ---------------------------------------------------------------------------------------------------


def _write(out: TextIO, items: Iterator[Json]) -> None:
    """Write a list as kubectl prints it, object by object."""
    out.write('{\n    "apiVersion": "v1",\n    "kind": "List",\n    "items": [\n')
    for number, item in enumerate(items):
        text = json.dumps(item, indent=4).replace("\n", "\n        ")
        out.write(f"{',' if number else ''}\n        {text}")
    out.write("\n    ]\n}\n")


def cluster(nodes: int, pods: int) -> Iterator[Json]:
    """Yield nodes of several providers, and running pods of some hundred workloads on them; most hold accelerators."""
    draw = Random(1)
    names = [f"node-{number}" for number in range(nodes)]
    yield from (_node(name, draw) for name in names)
    # Of the pods of a node, the first ones hold its accelerators.
    yield from (_pod(number, names[number % nodes], draw, holds=number < nodes * (GPUS - 1)) for number in range(pods))
    yield from (_replica_set(number) for number in range(WORKLOADS))
    for number in range(NAMESPACES):
        name = f"team-{number}"
        yield {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "resourceVersion": "1"}}


def _node(name: str, draw: Random) -> Json:
    _, prefix, _ = draw.choices(PROVIDERS, weights=[share for _, _, share in PROVIDERS])[0]
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/arch": "amd64",
        "nvidia.com/gpu.product": draw.choice(("H100", "H100", "A100")),
        "topology.kubernetes.io/region": draw.choice(("east", "west")),
        "node-group": f"group-{draw.randrange(6)}",
    }
    amounts = {"cpu": "190", "memory": "1900Gi", "nvidia.com/gpu": str(GPUS), "pods": "110"}
    notes = {f"example.com/note-{number}": "x" * 60 for number in range(8)}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "uid": name, "resourceVersion": "1", "labels": labels, "annotations": notes},
        "spec": {"providerID": f"{prefix}{name}"} if prefix else {},
        "status": {
            "allocatable": amounts,
            "capacity": amounts,
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            "nodeInfo": {"kubeletVersion": "v1.37.2"},
        },
    }


def _pod(number: int, node: str, draw: Random, *, holds: bool) -> Json:
    workload = draw.randrange(WORKLOADS)
    held = {"nvidia.com/gpu": "1"} if holds else {}
    environment = [{"name": f"VARIABLE_{at}", "value": "v" * 20} for at in range(12)]
    container = {
        "name": "main",
        "image": "registry.example/team/app:v1.2.3",
        "resources": {"requests": {"cpu": "2", "memory": "8Gi", **held}, "limits": held},
        "env": environment,
    }
    spec: Json = {"nodeName": node, "containers": [container], "priority": draw.choice((0, 0, 0, 100))}
    if workload % 10 == 0:
        spec["nodeSelector"] = {"nvidia.com/gpu.product": "H100"}
    if workload % 37 == 0:
        spec["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"workload-{workload}-{number}",
            "namespace": _namespace(workload),
            "uid": f"pod-{number}",
            "resourceVersion": str(number + 1),
            "labels": {"app": f"workload-{workload}"},
            "creationTimestamp": "2026-11-01T00:00:00Z",
            "ownerReferences": [_owner("ReplicaSet", "apps/v1", f"set-{workload}")],
        },
        "spec": spec,
        "status": {
            "phase": "Running",
            "startTime": "2026-11-01T00:00:10Z",
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-01T00:01:00Z"}],
        },
    }


def _replica_set(number: int) -> Json:
    name = f"set-{number}"
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": name,
            "namespace": _namespace(number),
            "uid": name,
            "ownerReferences": [_owner("Deployment", "apps/v1", f"workload-{number}")],
        },
    }


def _owner(kind: str, version: str, name: str) -> Json:
    return {"apiVersion": version, "kind": kind, "name": name, "uid": name, "controller": True}


def _namespace(workload: int) -> str:
    return f"team-{workload % NAMESPACES}"
