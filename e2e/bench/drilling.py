"""Measures the dry run of a drill in this process: a provider with a quarter of the nodes is lost, and its pods move.

The pods are those of Deployments, and all find room on the next provider, within the default limits on moves.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator

import msgspec

from computepool.model.cluster import Pod
from computepool.model.state import recorded_in, restarted
from computepool.simulate.drill import How, Seed, play
from e2e.bench.report import Result, Row
from e2e.bench.rounds import Scale
from e2e.child import ChildError
from e2e.progress import Progress
from e2e.spread import Spread
from tests.builders import NOW, node, pod, pool, provider

GPUS = 8
REPLICAS = 100
START_SECONDS = 30.0
WAITED = 1000.0
"""How long ago the pods were created."""
GROWTH = 2.0
"""Twice as many pods need twice as many passes at a given rate of moves, and each pass sees twice as many pods. So the
time may grow with the second power."""


def run(scale: Scale) -> Result:
    """Measure each size and both kinds of drills, once for each round."""
    times: dict[str, dict[int, list[float]]] = {}
    with Progress("dry runs of drills") as progress:
        for how in How:
            for nodes in scale.drill_nodes:
                progress.say(f"{how}, {nodes} nodes")
                times.setdefault(str(how), {})[nodes] = [_time(nodes, how) for _ in range(scale.rounds)]
    rows = []
    for what, taken in times.items():
        least, most = min(taken), max(taken)
        for nodes, seconds in taken.items():
            pods = nodes // 4 * GPUS
            rows.append(
                Row(
                    what=f"dry run, {what}, {pods:,} pods leave a provider of {nodes // 4:,} nodes of {nodes:,}",
                    unit="s",
                    value=Spread.of(seconds),
                )
            )
        if most > least:
            grown = [many / few for few, many in zip(taken[least], taken[most], strict=True)]
            rows.append(
                Row(
                    what=f"dry run, {what}, from {least:,} to {most:,} nodes",
                    unit="x",
                    value=Spread.of(grown),
                    limit=(most / least) ** GROWTH,
                )
            )
    return Result("drilling", rows, msgspec.to_builtins(times, str_keys=True))


def _time(nodes: int, how: How) -> float:
    """Return the seconds of processor time of one dry run. Raises ChildError if a pod is stranded."""
    seed = _seed(nodes)
    gc.collect()
    began = time.process_time()
    course = play(seed, "aws", how)
    taken = time.process_time() - began
    if course.stranded:
        raise ChildError(f"{len(course.stranded)} of {len(course.fates)} pods were stranded, and all have room")
    return taken


def _seed(nodes: int) -> Seed:
    """A quarter of the nodes is the primary's, and full; half is the next provider's, and empty."""
    quarter = nodes // 4
    names = [*(f"a{at}" for at in range(quarter)), *(f"n{at}" for at in range(2 * quarter))]
    names += [f"c{at}" for at in range(nodes - 3 * quarter)]
    drilled = pool(provider("aws", price="2"), provider("nebius", price="3"), provider("crusoe", price="4"))
    return Seed(
        drilled,
        tuple(node(name, GPUS) for name in names),
        tuple(_pods(quarter)),
        NOW,
        restarted(recorded_in(drilled)),
        start_seconds=START_SECONDS,
    )


def _pods(nodes: int) -> Iterator[Pod]:
    for at in range(nodes * GPUS):
        yield pod(
            f"web-{at}",
            1,
            on=f"a{at // GPUS}",
            owner=f"set-{at // REPLICAS}",
            owner_kind="ReplicaSet",
            ready=True,
            has_run=True,
            started=NOW - WAITED,
            ready_since=NOW - WAITED + START_SECONDS,
            waited=WAITED,
        )
