"""What the demo plays on: a cluster with three providers, the chart installed by Helm, and two operators."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from e2e import chart, objects
from e2e.cluster import Cluster
from e2e.demo.screen import Screen
from e2e.operator import Operator, supervised

PRIMARY = "aws"
STANDBYS = ("nebius", "crusoe")
NODES_EACH, GPUS_EACH = 2, 8
CAPACITY = NODES_EACH * GPUS_EACH
"""Accelerators of one provider, and so pods of one accelerator."""
NODE_NAME = {PRIMARY: "aws-p5", "nebius": "nebius-h100", "crusoe": "crusoe-h100"}


@dataclass(frozen=True)
class Stage:
    """All that was set up."""

    cluster: Cluster
    leader: Operator
    standby: Operator
    provider_of_node: dict[str, str]


@contextmanager
def stage(screen: Screen, name: str | None, *, keep: bool) -> Iterator[Stage]:
    """Set up, telling how long each part takes; all of it ends with the block, unless it is to be kept."""
    screen.title("Setting the stage")
    began = time.monotonic()
    cluster = Cluster(name)
    with ExitStack() as ends:
        ends.callback(cluster.close)
        screen.say(f"Kubernetes {cluster.version} control plane, as processes of this machine: {_since(began)}")
        nodes = _nodes(cluster)
        screen.say(f"Nodes: {NODES_EACH} x {GPUS_EACH} accelerators each of {PRIMARY}, {', '.join(STANDBYS)}")
        began = time.monotonic()
        screen.command(f"helm install computepool charts/computepool --namespace {chart.NAMESPACE} --set replicas=0")
        chart.install(cluster)
        screen.say(f"Chart installed: {_since(began)}")
        began = time.monotonic()
        leader = supervised(cluster, "operator-0")
        leader.wait_leading()
        standby = supervised(cluster, "operator-1")
        standby.wait_ready()
        screen.say(f"Operator leading, with exactly the chart's rights, and a second one on standby: {_since(began)}")
        yield Stage(cluster, leader, standby, nodes)
        if keep:
            cluster.keep()
            cluster.release()
            ends.pop_all()


def _nodes(cluster: Cluster) -> dict[str, str]:
    nodes = [
        node
        for provider in (PRIMARY, *STANDBYS)
        for node in objects.gpu_nodes(
            NODE_NAME[provider], provider, NODES_EACH, gpus=GPUS_EACH, taint=provider != PRIMARY
        )
    ]
    cluster.api.create_many(nodes)
    cluster.api.wait_for(
        "nodes",
        lambda found: len(found) == len(nodes) and all(objects.is_schedulable(node) for node in found),
        timeout=60,
        what=f"{len(nodes)} schedulable nodes",
    )
    return {node["metadata"]["name"]: node["metadata"]["labels"][objects.PROVIDER_KEY] for node in nodes}


def _since(began: float) -> str:
    return f"{time.monotonic() - began:.1f} s"
