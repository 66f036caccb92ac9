"""Measures reconcile() in this process, with thousands of nodes and pending pods of many shapes.

The primary is full and half of the standby is, so that every pod is tried on both, and half of them find a place.
"""

from __future__ import annotations

import gc
import time
from math import log

import msgspec

from computepool.app import garbage_collection
from computepool.decide.reconcile import reconcile
from computepool.model.accelerators import share_of
from computepool.model.cluster import NodeInfo, Pod, Shape, node_info
from computepool.model.labels import Requirement
from computepool.model.snapshot import Snapshot
from computepool.model.state import PoolState
from e2e.bench.report import Result, Row
from e2e.bench.rounds import Scale
from e2e.progress import Progress
from e2e.spread import Spread
from tests.builders import GPU, NOW, node, pod, pool, provider, shape, term

TARGET_NODES = 5_000
SECONDS = 1.0
# Ten times as much may take at most so many times as long: n log n, and a little for what no longer fits the caches.
GROWTH = 13.0
ZONES = 5
# What pods ask for at most; a node has 64.
CPUS = 25


def run(scale: Scale) -> Result:
    """Measure each size, once for each round."""
    # As the operator: with Python's own settings, the collector walks all nodes again and again during a pass.
    garbage_collection.begin()
    times: dict[int, list[float]] = {}
    with Progress("decide()") as progress:
        for nodes in scale.decide_nodes:
            progress.say(f"{nodes} nodes")
            seen = _snapshot(nodes, scale.decide_pods, scale.shapes)
            times[nodes] = [_time(seen) for _ in range(scale.rounds)]
    pods = f"{scale.decide_pods:,} pending pods of {scale.shapes} shapes"
    rows = [
        Row(
            what=f"decide() for {nodes:,} nodes and {pods}",
            unit="s",
            value=Spread.of(taken),
            limit=SECONDS if nodes <= TARGET_NODES else None,
            detail="reconcile() as a whole",
        )
        for nodes, taken in times.items()
    ]
    rows += _growth(times)
    return Result("deciding", rows, msgspec.to_builtins(times, str_keys=True))


def _growth(times: dict[int, list[float]]) -> list[Row]:
    least, most = min(times), max(times)
    if most <= least:
        return []
    grown = [many / few for few, many in zip(times[least], times[most], strict=True)]
    exponent = log(Spread.of(grown).p50) / log(most / least)
    return [
        Row(
            what=f"decide(), from {least:,} to {most:,} nodes",
            unit="x",
            value=Spread.of(grown),
            limit=GROWTH * most / least / 10,
            detail=f"grows with the {exponent:.2f}th power of the nodes",
        )
    ]


def _time(seen: Snapshot) -> float:
    gc.collect()
    began = time.perf_counter()
    reconcile(seen, PoolState(), NOW)
    return time.perf_counter() - began


def _snapshot(nodes: int, pods: int, shapes: int) -> Snapshot:
    """Half of the nodes are the primary's, and full; of the standby's every other one is."""
    inference = pool(provider("aws"), provider("nebius"), pending=0)
    return Snapshot(
        pool=inference,
        nodes=tuple(_node(index, inference.name) for index in range(nodes)),
        waiting=tuple(_pending(pods, shapes)),
    )


def _node(index: int, owner: str) -> NodeInfo:
    one = node(f"{'a' if index % 2 else 'n'}{index}", labels={"zone": f"z{index % ZONES}"})
    if index % 4 == 0:
        return node_info(one)
    bound = [pod(f"r{index}", 8, on=one.name)]
    return node_info(one, bound, (), {owner: share_of(bound, GPU)})


def _pending(pods: int, shapes: int) -> list[Pod]:
    kinds = [_shape(number) for number in range(shapes)]
    return [pod(f"w{index}", shaped=kinds[index % shapes]) for index in range(pods)]


def _shape(number: int) -> Shape:
    """One of many shapes: sizes, zones by selector or affinity, further resources."""
    zone = f"z{number % ZONES}"
    match number % 3:
        case 0:
            return shape(1 + number % 8, more={"cpu": 1 + number % CPUS})
        case 1:
            return shape(1 + number % 4, more={"cpu": 1 + number % CPUS}, selector={"zone": zone})
        case _:
            return shape(
                1 + number % 2, more={"cpu": 1 + number % CPUS}, affinity=[term(Requirement("zone", "In", (zone,)))]
            )
