"""Clusters for the forms of an audit: small, hostile and huge; saved to a file and read as a user's file is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from computepool.audit.auditing import Audit, Question, audit
from computepool.cli.audit.saved import read_saved
from tests.unit.cli.audit import saved_objects
from tests.unit.cli.audit.saved_objects import Json, saved

EVIL: Final = '<script>alert("1")</script>|`x`*y*_z_[a](b)&amp;\'\\\n\x1b[31m@team'
"""What a page, Markdown or a terminal would take for its own, if it were not escaped."""
_KEYS: Final = {
    "region": "topology.kubernetes.io/region",
    "zone": "topology.kubernetes.io/zone",
    "group": "karpenter.sh/nodepool",
    "type": "karpenter.sh/capacity-type",
    "model": "nvidia.com/gpu.product",
}


def node(name: str, of: str = "aws", *, gpus: int = 8, ready: bool = True, **labels: str) -> Json:
    """A node of the provider `of`. `labels`: region, zone, group, type and model."""
    made = saved_objects.node(name, of, gpus=gpus, labels={_KEYS[key]: value for key, value in labels.items()})
    made["status"]["conditions"] = [{"type": "Ready", "status": str(ready)}]
    return made


def pods(owner: str, on: str, count: int = 1, *, gpus: int = 1, bare: bool = False, **spec: Any) -> list[Json]:
    """Pods of one owner. `on`: the name of their node; `bare`: whether no controller owns them."""
    made = [saved_objects.pod(f"{owner}-{on}-{index}", on, gpus=gpus, owner=owner, **spec) for index in range(count)]
    for pod in made:
        if bare:
            del pod["metadata"]["ownerReferences"]
    return made


def audited(folder: Path, objects: Sequence[Json], question: Question | None = None) -> Audit:
    """What an audit finds in a cluster of these objects."""
    file = Path(saved(folder, objects))
    return audit(read_saved(file, (), lambda _kind, _count: None), question or Question())


def two_providers() -> list[Json]:
    """aws with 24 accelerators of which pods hold 14, one node of it not ready, and nebius with 8, of which 6 are free.

    Of aws, 6 have somewhere to go.
    """
    return [
        node("a1", region="us-east-1", zone="us-east-1a", group="p5", type="on-demand", model="H100"),
        node("a2", region="us-east-1", zone="us-east-1b", group="p5", type="spot", model="H100"),
        node("a3", region="us-west-2", zone="us-west-2a", group="p5", type="spot", model="A100", ready=False),
        node("n1", "nebius", region="eu-north1", model="H100"),
        *pods("web", "a1", 5),
        *pods("worker", "a1", 3),
        *pods("batch", "a2", 6),
        *pods("own", "n1", 2),
    ]


def hostile() -> list[Json]:
    """Names that are markup wherever the reader of a file lets them in."""
    return [
        node("a1", region=EVIL, zone=EVIL, group=EVIL, model=EVIL),
        node("a2", region=f"{EVIL}2", model="H" * 300),
        node("n1", "nebius", model="H100"),
        *pods(EVIL, "a1", 4),
        *pods("w" * 200, "a2", 8),
        *pods(f"bare{EVIL}", "a1", 1, bare=True),
        *pods("b" * 30, "a1", 1, bare=True),
        *pods("pinned", "a1", 1, nodeSelector={EVIL: EVIL}),
    ]


def huge() -> list[Json]:
    """30 providers of 4 regions each, with 240 workloads."""
    objects: list[Json] = []
    for provider in range(30):
        for region in range(4):
            name = f"node-{provider}-{region}"
            objects.append(
                node(name, f"provider{provider}", region=f"region-{provider}-{region}", group=f"group-{region}")
            )
            for workload in range(2):
                objects += pods(f"w{provider}-{region}-{workload}", name, 3)
    return objects
