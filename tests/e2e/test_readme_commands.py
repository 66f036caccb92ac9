"""A reader who follows the README from top to bottom, on a cluster like the one that it speaks of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from e2e import brisk, objects, pools
from e2e.cluster import Cluster
from e2e.operator import OperatorProcess
from tests.e2e.reader import NAMESPACE, POOL, Reader, device_plugin, example_nodes
from tests.unit.docs.blocks import README, REPOSITORY, Block, blocks, table_headings

Json = dict[str, Any]

# One node of 8 on the primary: the rest has to go elsewhere.
PODS, AT_HOME = 12, 8
DEVICE_PLUGIN = "name=nvidia-device-plugin-ds"


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """On a cluster of its own: the README's names are fixed, and it uninstalls what others may share."""
    with Cluster() as cluster:
        cluster.api.create_many(example_nodes(AT_HOME))
        cluster.api.wait_for("nodes", lambda found: all(map(objects.is_schedulable, found)), what="nodes to be usable")
        yield Reader(cluster, tmp_path)


def test_whoever_follows_it_from_top_to_bottom_gets_what_it_says(reader: Reader) -> None:
    _check_audit(reader.follow("Ask what depends on whom"))
    assert "successfully rolled out" in reader.follow("Install")
    with OperatorProcess(reader.cluster) as operator:
        operator.wait_leading()
        _prepare_nodes(reader)
        looked = reader.follow("Apply the pool and a workload")
        assert _headings_shown() <= _lines(looked)
        _wait_until_it_says_what_it_would_do(reader)
        _check_difference(reader.follow("From Observe to Enforce"))
        _wait_burst(reader)
        _check_looks(reader.follow("See it act"))
        _check_log(operator)
        _drill_drain_and_undo(reader)
    _uninstall(reader)


def _check_audit(said: str) -> None:
    """Nothing is installed, and no pod runs."""
    assert "no pod holds an accelerator there" in said.splitlines()[0]
    assert re.search(r"SecondProvider +ok +Accelerators at 3 providers", said)


def _check_difference(said: str) -> None:
    """Today four pods would be sent; then they are."""
    assert "spec.mode: Observe -> Enforce" in said
    assert f"{PODS - AT_HOME} pods decided differently" in said


def _prepare_nodes(reader: Reader) -> None:
    """A device plugin that comes to nodes with the taint stays off them until it tolerates the taint."""
    reader.follow("Mark the standby's nodes")
    reader.cluster.api.create(device_plugin())
    _wait_plugins(reader, {"p5"})
    reader.follow("Let DaemonSets onto the standby's nodes")
    _wait_plugins(reader, {"p5", "hybrid"})


def _wait_plugins(reader: Reader, nodes: set[str]) -> None:
    def bound(found: list[Json]) -> bool:
        return {pod["spec"].get("nodeName") for pod in found} == nodes

    reader.cluster.api.wait_for("pods", bound, "kube-system", labels=DEVICE_PLUGIN, what=f"device plugins on {nodes}")


def _wait_until_it_says_what_it_would_do(reader: Reader) -> None:
    api = reader.cluster.api
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
    assert _headings_shown() <= _lines(said)
    (shown,) = re.findall(r"^inference .*$", _shown(), re.MULTILINE)
    (printed,) = re.findall(r"^inference +Enforce +aws +.*$", said, re.MULTILINE)
    # All but the age.
    assert printed.split()[:-1] == shown.split()[:-1]
    assert re.search(r"^ Saturated +True +\w+ +aws: 8 of 8 accelerators allocated", said, re.MULTILINE)
    assert "RunsOnStandby: The pod runs on a standby provider." in said


def _check_log(operator: OperatorProcess) -> None:
    """The line of the log that docs/metrics.md shows."""
    found = blocks(REPOSITORY / "docs/metrics.md")
    (shown,) = (msgspec.json.decode(block.text) for block in found if block.language == "json")
    assert operator.wait_logged("burst", provider="nebius").keys() == shown.keys()


def _drill_drain_and_undo(reader: Reader) -> None:
    drill, drain, undo = reader.commands("A first drill, and a first drain")
    before = reader.cluster.api.get(pools.POOLS, POOL)["spec"]
    assert f"{PODS - AT_HOME} of {PODS - AT_HOME} pods would be Ready elsewhere" in reader.run(drill)
    assert reader.cluster.api.get(pools.POOLS, POOL)["spec"] == before
    reader.run(drain)
    _wait_breaker(reader, "Open")
    reader.run(undo)
    _wait_breaker(reader, "HalfOpen")


def _wait_breaker(reader: Reader, state: str) -> None:
    def turned(status: Json) -> bool:
        return bool(brisk.breaker_of(status, "nebius").get("state") == state)

    pools.wait_status(reader.cluster.api, POOL, turned, f"the breaker to be {state}")


def _uninstall(reader: Reader) -> None:
    """Pods run and the pool stays when the release is gone; then both go. docs/uninstall.md has the rest."""
    api = reader.cluster.api
    release, examples = (
        Block("sh", command, "Uninstall") for block in reader.commands("Uninstall") for command in block.commands()
    )
    reader.run(release)
    assert len([pod for pod in api.list("pods", NAMESPACE) if objects.is_bound(pod)]) == PODS
    assert api.find(pools.POOLS, POOL) is not None
    reader.run(examples)
    api.wait_for(pools.POOLS, lambda found: not found, what="no pool")
    api.wait_for("pods", lambda found: not found, NAMESPACE, what="no pods")


def _shown() -> str:
    """What the README shows as printed."""
    (block,) = (block for block in blocks(README) if block.language == "console")
    return block.text


def _headings_shown() -> set[tuple[str, ...]]:
    return {tuple(heading) for heading in table_headings(_shown())}


def _lines(text: str) -> set[tuple[str, ...]]:
    return {tuple(line.split()) for line in text.splitlines()}
