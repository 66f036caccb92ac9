"""Measures the processor time of an operator that leads many pools and has nothing to do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from e2e import objects, pools
from e2e.bench.report import Result, Row
from e2e.bench.rounds import Scale
from e2e.bench.stand import PRIMARY, STANDBY, Stand, cpu_seconds
from e2e.operator import OperatorProcess
from e2e.progress import Progress
from e2e.spread import Spread

PERCENT = 1.0
READY_SECONDS = 60.0


def run(stand: Stand, scale: Scale) -> Result:
    """Measure one operator for as long as it takes for everything that it does from time to time to come once."""
    with Progress("idle") as progress, _many_pools(stand, scale.idle_pools), OperatorProcess(stand.cluster) as operator:
        operator.wait_leading()
        _wait_reported(stand, scale.idle_pools)
        time.sleep(scale.settle_seconds)
        stand.rest([operator.pid])
        progress.say(f"looking on for {scale.idle_seconds:g} s")
        share = _share(operator.pid, scale.idle_seconds)
    row = Row(
        what=f"idle operator, {scale.idle_pools} pools",
        unit="% of a core",
        value=Spread.of([share]),
        limit=PERCENT,
        detail=f"over {scale.idle_seconds:g} s; {len(stand.site.nodes())} nodes",
    )
    return Result("idle", [row], [share])


def _share(pid: int, seconds: float) -> float:
    """Return the percentage of one core that a process uses."""
    before, began = cpu_seconds(pid), time.monotonic()
    time.sleep(seconds)
    return 100 * (cpu_seconds(pid) - before) / (time.monotonic() - began)


@contextmanager
def _many_pools(stand: Stand, count: int) -> Iterator[None]:
    """That many pools of the stand's nodes, each for pods of another label."""
    names = [f"idle-{number}" for number in range(count)]
    stand.cluster.api.create_many([_pool(stand, name) for name in names])
    try:
        yield
    finally:
        stand.cluster.api.delete_many(pools.POOLS, names)


def _pool(stand: Stand, name: str) -> dict[str, object]:
    workloads = {
        "namespaceSelector": {"matchLabels": dict(stand.site.labels)},
        "podSelector": {"matchLabels": {"app": name}},
    }
    return pools.pool_of(stand.site, [PRIMARY, STANDBY], name, workloads=workloads, accelerator=_ACCELERATOR)


_ACCELERATOR = {"resourceName": objects.ACCELERATOR}


def _wait_reported(stand: Stand, count: int) -> None:
    stand.cluster.api.wait_for(
        pools.POOLS,
        lambda found: sum(bool(pool.get("status", {}).get("conditions")) for pool in found) >= count,
        timeout=READY_SECONDS,
        what=f"{count} pools with conditions",
    )
