"""Whoever follows docs/upgrade.md from top to bottom gets what it says, on a real control plane."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e import chart, objects, pools
from e2e.cluster import Cluster
from tests.e2e.reader import Reader
from tests.unit.docs.blocks import REPOSITORY, UPGRADE

Json = dict[str, Any]

POOL = "inference"
POLICIES = "mutatingadmissionpolicies.admissionregistration.k8s.io"


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """On a cluster of its own, with an installed release and a pool."""
    tools = tmp_path / "tools"
    tools.mkdir()
    with Cluster() as cluster:
        cluster.api.create(objects.gpu_node("system", "none", gpus=0))
        cluster.api.wait_for("nodes", lambda found: all(map(objects.is_schedulable, found)), what="a usable node")
        own = Reader(cluster, tools, {"TMPDIR": str(tmp_path)})
        own.follow("Install")
        cluster.kubectl("create", "--filename", str(REPOSITORY / "docs/examples/eks.yaml"))
        yield own


def _replicas(reader: Reader, name: str = chart.RELEASE, namespace: str = chart.NAMESPACE) -> int:
    return int(reader.cluster.api.get("deployments.apps", name, namespace)["spec"]["replicas"])


def test_whoever_follows_it_from_top_to_bottom_gets_what_it_says(reader: Reader, tmp_path: Path) -> None:
    api = reader.cluster.api
    upgraded = reader.follow("Upgrade", path=UPGRADE)
    assert "successfully rolled out" in upgraded
    assert "Succeeded" in upgraded
    (kept,) = yaml.safe_load((tmp_path / "computepools.yaml").read_text())["items"]
    assert kept["metadata"]["name"] == POOL

    chart.install(reader.cluster, values={"replicas": 3})
    assert _replicas(reader) == 3
    assert "Rollback was a success" in reader.follow("Roll back", path=UPGRADE)
    assert _replicas(reader) == 2

    reader.follow("Another name or namespace", path=UPGRADE)
    assert _replicas(reader, "gpu-computepool", "gpu-system") == 2
    assert api.get(pools.POOLS, POOL)["spec"] == kept["spec"]

    reader.cluster.helm("uninstall", "gpu", "--namespace", "gpu-system")
    reader.follow("Without Helm in the cluster", path=UPGRADE)
    assert _replicas(reader, namespace="gpu-rendered") == 2
    assert api.get(POLICIES, chart.BURST_POLICY)
    assert not api.list("jobs.batch", "gpu-rendered")
    assert api.get(pools.POOLS, POOL)["spec"] == kept["spec"]
