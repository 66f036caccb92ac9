"""Sets up the demo: a cluster with three providers, the chart installed by Helm, and two operators."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from e2e import chart, objects
from e2e.cluster import Cluster
from e2e.components import Options
from e2e.demo.screen import Screen
from e2e.demo.source import Source, is_there
from e2e.operator import Operator, supervised

PRIMARY = "aws"
STANDBYS = ("nebius", "crusoe")
GPUS_EACH = 8
# The primary is shared with a training of another team, and the last standby can take what the first one has too.
NODES = {PRIMARY: 6, "nebius": 2, "crusoe": 4}
ACCELERATORS = {provider: nodes * GPUS_EACH for provider, nodes in NODES.items()}
TRAINING = 4 * GPUS_EACH
"""Accelerators of the primary that 15-training.yaml takes."""
CAPACITY = ACCELERATORS[PRIMARY] - TRAINING
"""What is left for the pool's pods, of one accelerator each; as much as the first standby has."""
NODE_NAME = {PRIMARY: "aws-p5", "nebius": "nebius-h100", "crusoe": "crusoe-h100"}
# A node's heartbeat is renewed four times in so many seconds: every second, so that silence is told soon.
NODE_LEASE_SECONDS = 4


@dataclass(frozen=True)
class Stage:
    """All that was set up."""

    cluster: Cluster
    leader: Operator
    standby: Operator
    provider_of_node: dict[str, str]
    source: Source | None
    """The metrics of the servers; None where this machine has no Prometheus."""


@contextmanager
def stage(screen: Screen, name: str | None, *, keep: bool) -> Iterator[Stage]:
    """Set up, telling how long each part takes; all of it ends with the block, unless it is to be kept."""
    screen.title("Setting the stage")
    began = time.monotonic()
    cluster = Cluster(name, Options(node_lease_seconds=NODE_LEASE_SECONDS))
    with ExitStack() as ends, ExitStack() as scraping:
        ends.callback(cluster.close)
        screen.say(f"Kubernetes {cluster.version} control plane, as processes of this machine: {_since(began)}")
        nodes = _nodes(cluster)
        counts = ", ".join(f"{count} of {provider}" for provider, count in NODES.items())
        screen.say(f"Nodes with {GPUS_EACH} accelerators each: {counts}")
        source = scraping.enter_context(Source(cluster.layout.folder / "prometheus")) if is_there() else None
        flags = _install(screen, cluster, source)
        began = time.monotonic()
        leader = supervised(cluster, "operator-0", flags)
        leader.wait_leading()
        standby = supervised(cluster, "operator-1", flags)
        standby.wait_ready()
        screen.say(f"Operator leading, with exactly the chart's rights, and a second one on standby: {_since(began)}")
        yield Stage(cluster, leader, standby, nodes, source)
        if keep:
            cluster.keep()
            cluster.release()
            ends.pop_all()


def _install(screen: Screen, cluster: Cluster, source: Source | None) -> list[str]:
    """Install the chart; return the flags by which an operator has the chart's settings of the source of metrics."""
    began = time.monotonic()
    values = {} if source is None else {"prometheus.url": source.url, "prometheus.intervalSeconds": 1}
    settings = "".join(f" --set {name}={value}" for name, value in {**chart.IMAGE, "replicas": 0, **values}.items())
    screen.command(f"helm install computepool charts/computepool --namespace {chart.NAMESPACE}{settings}")
    chart.install(cluster, values={**chart.NO_OPERATOR_PODS, **values})
    screen.say(f"Chart installed: {_since(began)}")
    return [] if source is None else chart.source_flags(cluster)


def _nodes(cluster: Cluster) -> dict[str, str]:
    nodes = [
        node
        for provider, count in NODES.items()
        for node in objects.gpu_nodes(NODE_NAME[provider], provider, count, gpus=GPUS_EACH, taint=provider != PRIMARY)
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
