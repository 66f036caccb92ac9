"""A reader who follows the README from top to bottom, on a cluster like the one that it speaks of."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from e2e import binaries, brisk, objects, pools
from e2e.cluster import Cluster
from e2e.operator import OperatorProcess
from tests.unit.docs.blocks import REPOSITORY, Block, blocks, prose

Json = dict[str, Any]

NAMESPACE, POOL = "inference", "inference"
# One node of 8 on the primary: the rest has to go elsewhere.
PODS, AT_HOME = 12, 8
# Nothing here builds or pulls images; tests/unit/docs looks at these. The others are the demo's and the whole suite.
NOT_RUN = ("docker ", "make ")


class Reader:
    """Runs the README's commands as they stand there, in a shell, in the root of the repository."""

    def __init__(self, cluster: Cluster, tools: Path) -> None:
        self.cluster = cluster
        for name in ("kubectl", "helm"):
            (tools / name).symlink_to(binaries.find_all()[name])
        path = [str(tools), str(Path(sys.executable).parent), os.environ["PATH"]]
        self._env = cluster.command_env() | {"PATH": os.pathsep.join(path), "COLUMNS": "160"}

    def follow(self, heading: str) -> str:
        """Run all shell blocks under a heading; return what they printed."""
        found = [block for block in blocks() if block.heading == heading and block.language == "sh"]
        assert found, heading
        return "".join(self.run(block) for block in found if not block.text.startswith(NOT_RUN))

    def run(self, block: Block) -> str:
        """Run one block; return what it printed."""
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block.text],
            cwd=REPOSITORY,
            env=self._env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert ran.returncode == 0, f"{block.text}\n{ran.stdout}{ran.stderr}"
        return ran.stdout


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """On a cluster of its own: the README's names are fixed, and it uninstalls what others may share."""
    with Cluster() as cluster:
        cluster.api.create_many(_nodes())
        cluster.api.wait_for("nodes", lambda found: all(map(objects.is_schedulable, found)), what="nodes to be usable")
        yield Reader(cluster, tmp_path)


def _nodes() -> list[Json]:
    """As EKS and Liqo make them: the hybrid node has neither label nor taint of ours yet."""
    hybrid = objects.gpu_node("hybrid", "nebius", labels={"eks.amazonaws.com/compute-type": "hybrid"})
    del hybrid["metadata"]["labels"][objects.PROVIDER_KEY]
    liqo = {"key": "virtual-node.liqo.io/not-allowed", "value": "true", "effect": "NoExecute"}
    return [
        objects.gpu_node("p5", "aws", gpus=AT_HOME, labels={"eks.amazonaws.com/nodegroup": "p5"}),
        hybrid,
        objects.gpu_node("liqo", "partner", taints=[liqo], labels={"liqo.io/type": "virtual-node"}),
    ]


def test_whoever_follows_it_from_top_to_bottom_gets_what_it_says(reader: Reader) -> None:
    assert "successfully rolled out" in reader.follow("Install")
    with OperatorProcess(reader.cluster) as operator:
        operator.wait_leading()

        assert _header(reader.follow("A first pool")) == _header(_shown("What to look at when it acts", 0))
        _try_in_observe_mode(reader)
        reader.follow("Safe to try")
        _wait_burst(reader)

        said = reader.follow("What to look at when it acts")
        _check_looks(said)
        _check_log(operator)
        _check_metrics(operator)
        _drain_and_undo(reader)
    _uninstall(reader)


def _try_in_observe_mode(reader: Reader) -> None:
    api = reader.cluster.api
    api.create(objects.gpu_deployment("chat", PODS), NAMESPACE)
    api.wait_for(
        "events.events.k8s.io",
        lambda found: [
            e for e in found if e["regarding"]["name"] == POOL and e.get("note", "").startswith("Observe: ")
        ],
        what="an event that says what would be done",
    )
    bound = [pod for pod in api.list("pods", NAMESPACE) if objects.is_bound(pod)]
    assert len(bound) == AT_HOME
    assert not api.list("pods", NAMESPACE, labels=pools.BURST_LABEL)


def _wait_burst(reader: Reader) -> None:
    def burst(found: list[Json]) -> bool:
        nodes = [pod["spec"].get("nodeName") for pod in found]
        return (nodes.count("p5"), nodes.count("hybrid")) == (AT_HOME, PODS - AT_HOME)

    reader.cluster.api.wait_for("pods", burst, NAMESPACE, what="the rest of the pods on the hybrid node")
    pools.wait_status(
        reader.cluster.api, POOL, lambda status: status.get("burstPods") == PODS - AT_HOME, "a status that says so"
    )


def _check_looks(said: str) -> None:
    heading = "What to look at when it acts"
    for index, pattern in ((0, r"^NAME +PRIMARY"), (1, r"^ Provider +Role")):
        assert _header(said, pattern) == _header(_shown(heading, index), pattern)
    assert re.search(r"^inference +aws +True +4 +0 +\w+ +\S+ +\S+$", said, re.MULTILINE)
    assert "PrimarySaturated" in said
    assert re.search(r"^ Saturated +True +\w+ +aws: 8 of 8 accelerators allocated", said, re.MULTILINE)
    assert "RunsOnStandby: The pod runs on a standby provider." in said


def _drain_and_undo(reader: Reader) -> None:
    drain, undo = (
        block for block in blocks() if block.heading == "When a provider fails" and block.text.startswith("kubectl")
    )
    reader.run(drain)
    _wait_breaker(reader, "Open")
    reader.run(undo)
    _wait_breaker(reader, "HalfOpen")


def _wait_breaker(reader: Reader, state: str) -> None:
    def turned(status: Json) -> bool:
        return bool(brisk.breaker_of(status, "nebius").get("state") == state)

    pools.wait_status(reader.cluster.api, POOL, turned, f"the breaker to be {state}")


def _check_log(operator: OperatorProcess) -> None:
    (shown,) = (msgspec.json.decode(block.text) for block in blocks() if block.language == "json")
    assert operator.wait_logged("burst", provider="nebius").keys() == shown.keys()


def _check_metrics(operator: OperatorProcess) -> None:
    """The labels that the README gives are those of the samples; tests/unit/docs looks at the names."""
    documented = dict(re.findall(r"^\| `(computepool_\w+)\{([\w,]+)\}` \|", prose(), re.MULTILINE))
    samples = [one for family in text_string_to_metric_families(operator.metrics()) for one in family.samples]
    for sample in samples:
        if sample.name in documented:
            assert set(sample.labels) == set(documented[sample.name].split(",")), sample.name


def _uninstall(reader: Reader) -> None:
    api = reader.cluster.api
    crd = "customresourcedefinitions.apiextensions.k8s.io"
    (remove_release, remove_leftovers, remove_definition) = (
        block for block in blocks() if block.heading == "Uninstall" and block.language == "sh"
    )
    reader.run(remove_release)
    for kind in ("mutatingadmissionpolicies", "mutatingadmissionpolicybindings", "validatingadmissionpolicies"):
        api.wait_for(f"{kind}.admissionregistration.k8s.io", _are_gone, what=f"no {kind} of the release")
    assert len([pod for pod in api.list("pods", NAMESPACE) if objects.is_bound(pod)]) == PODS
    assert api.find(pools.POOLS, POOL) is not None

    reader.run(remove_leftovers)
    # There was none: what it does to those that a failed Job leaves is tried by test_cleanup.
    assert api.find(pools.POOLS, POOL) is not None
    reader.run(remove_definition)
    api.wait_for(crd, _are_gone, what="no definition")


def _are_gone(found: list[Json]) -> bool:
    return not [one for one in found if one["metadata"]["name"].startswith("computepool")]


def _shown(heading: str, index: int) -> str:
    """What the README shows as printed under a heading."""
    return [block.text for block in blocks() if block.heading == heading and block.language == "console"][index]


def _header(text: str, pattern: str = r"^NAME +PRIMARY") -> list[str]:
    """The words of a table's heading."""
    match = re.search(pattern + ".*$", text, re.MULTILINE)
    assert match is not None, text
    return match.group(0).split()
