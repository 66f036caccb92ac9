"""A month of a GPU cluster's load, played through the operator's decisions, with the failback governor and without it.

The trace (tests/data/helios-earth) says how many GPUs were asked for each minute; here that many are asked for in pods
of eight and of one, the oldest of which end as there are fewer. The primary is as large as the cluster was.
"""

from __future__ import annotations

import csv
import gzip
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from computepool.model.accelerators import request_of
from computepool.model.api import ComputePool
from computepool.model.cluster import Node
from computepool.model.quantity import MILLI
from tests.builders import GPU, NOW, node, pool, provider, shape
from tests.unit.core.fleet import Fleet

TRACE: Final = Path(__file__).parents[2] / "data" / "helios-earth" / "vc6YE.csv.gz"
GPUS: Final = 208
"""Of the cluster that the trace is of."""
NODE: Final = 8
DAY: Final = 86_400.0
STANDBY_NODES: Final = 24
SHAPES: Final = {NODE: shape(NODE), 1: shape(1)}

UNGOVERNED: Final = {
    "policy": "WhenStable",
    "stableSeconds": 0,
    "minDwellSeconds": 0,
    "maxConcurrentMoves": 10_000,
    "perMinute": None,
    "headroomPercent": 0,
}
VARIANTS: Final[dict[str, dict[str, Any]]] = {
    "governed": {"failback": {"policy": "WhenStable"}},
    "ungoverned": {"failback": UNGOVERNED},
    "at once": {"failback": UNGOVERNED, "clear": 0, "leave": 99, "enter": 100},
    "never": {"failback": {"policy": "Never"}},
}
"""By name: what the pool says. "at once": nor has saturation to be over for any time, or by any margin."""


class Load(msgspec.Struct, frozen=True):
    """What is asked for from one minute on."""

    at: float
    """Seconds since the trace begins."""
    pods: dict[int, int]
    """By the number of GPUs that a pod asks for: how many pods."""

    @property
    def gpus(self) -> int:
        """All of them together."""
        return sum(size * count for size, count in self.pods.items())


class Outcome(msgspec.Struct, frozen=True):
    """What became of the workloads in one variant."""

    name: str
    bursts: int
    """Workloads that were sent to the standby."""
    moves: int
    """Pods that were evicted to be brought home: so many restarts."""
    in_vain: int
    """Number of these workloads that were sent to the standby again later."""
    most: int
    """Most moves of one workload."""
    standby_hours: float
    """GPU hours on the standby."""


def play(name: str, days: float = 31.0) -> Outcome:
    """Play the trace, or its first days, with one of `VARIANTS`; raises AssertionError if a limit is broken."""
    fleet = Fleet(_pool(VARIANTS[name]), [*_nodes("a", GPUS // NODE), *_nodes("n", STANDBY_NODES)])
    changes = list(loads(days))
    ends = [*(load.at for load in changes[1:]), days * DAY]
    for load, end in zip(changes, ends, strict=True):
        _adjust(fleet, load)
        fleet.run(NOW + end - fleet.clock.now)
    of_each, sent = Counter(eviction.lineage for eviction in fleet.evictions), fleet.sent()
    return Outcome(
        name=name,
        bursts=len(set(sent)),
        moves=len(fleet.evictions),
        in_vain=len(sent) - len(set(sent)),
        most=max(of_each.values(), default=0),
        standby_hours=fleet.standby_seconds / 3600,
    )


def loads(days: float) -> Iterator[Load]:
    """Yield what is asked for, each time that it changes."""
    before: dict[int, int] = {}
    with gzip.open(TRACE, "rt") as lines:
        start = None
        for row in csv.DictReader(lines):
            at = datetime.fromisoformat(row["time"]).replace(tzinfo=UTC).timestamp()
            start = at if start is None else start
            if at - start >= days * DAY:
                return
            large, small = int(row["total_gpu_num_noless_8"]), int(row["total_gpu_num_less_8"])
            pods = {NODE: large // NODE, 1: large % NODE + small}
            if pods != before:
                before = pods
                yield Load(at - start, pods)


def overloads() -> int:
    """Return how often jobs began to wait for GPUs in the cluster that the trace is of."""
    with gzip.open(TRACE, "rt") as lines:
        waits = [int(row["pending_gpu_num"]) > 0 for row in csv.DictReader(lines)]
    return sum(now and not before for before, now in zip([False, *waits], waits, strict=False))


def _pool(spec: dict[str, Any]) -> ComputePool:
    # Every workload on the standby is to have been burst by a decision, so that it is counted.
    return pool(provider("aws"), provider("nebius"), admission="Off", **spec)


def _nodes(letter: str, count: int) -> list[Node]:
    return [node(f"{letter}{index}", NODE) for index in range(count)]


def _adjust(fleet: Fleet, load: Load) -> None:
    """Make as many pods as are asked for, and end the oldest of those that are not."""
    for size, count in load.pods.items():
        there = sorted(
            (pod for pod in fleet.pods() if request_of(pod, GPU) == size * MILLI),
            key=lambda pod: (not pod.node, int(fleet.lineage_of(pod.uid).split("-")[0][1:]), pod.name),
        )
        fleet.finish(pod.uid for pod in there[: max(0, len(there) - count)])
        for _ in range(count - len(there)):
            fleet.create(1, SHAPES[size], after=0.0)
