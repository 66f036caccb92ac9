"""The first list: all pods and nodes of a large cluster into the operator's caches, in a process of its own.

What serves the lists is a process too. The one measured has loaded all of the operator, and holds one pool that claims
the pods and knows the nodes. `python -m e2e.bench.listing URL PODS NODES` is that process.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import msgspec

# Loaded for its weight: what is measured has everything in memory that an operator has.
from computepool.app import collector
from computepool.app import operator as _operator  # noqa: F401
from computepool.app.caches import Caches
from computepool.kube.access import static_access
from computepool.kube.client import ApiClient
from computepool.model.api import ComputePool
from computepool.observe.store import Store
from e2e.bench.children import ChildError
from e2e.bench.report import Result, Row
from e2e.bench.rounds import Scale
from e2e.bench.spread import Spread
from e2e.cluster import REPOSITORY
from e2e.progress import Progress
from tests.fakes.biglist import big_list

SECONDS = 5.0
MEGABYTES = 200.0


class Filled(msgspec.Struct, frozen=True):
    """What filling the caches took."""

    seconds: float
    cpu_seconds: float
    resident_mb: float
    peak_mb: float


def run(scale: Scale) -> Result:
    """Measure once for each round."""
    pods, nodes = scale.list_pods, scale.list_nodes
    with Progress(f"first list of {pods} pods and {nodes} nodes"), big_list(pods, nodes) as url:
        filled = [_fill(url, pods, nodes) for _ in range(scale.rounds)]
    what = f"first list of {pods:,} pods and {nodes:,} nodes"
    cpu = Spread.of(one.cpu_seconds for one in filled)
    resident = Spread.of(one.resident_mb for one in filled)
    rows = [
        Row(
            what=f"{what}, time",
            unit="s",
            value=Spread.of(one.seconds for one in filled),
            limit=SECONDS,
            detail=f"{cpu.mid:.1f} s of processor time",
        ),
        Row(
            what=f"{what}, memory",
            unit="MB",
            value=Spread.of(one.peak_mb for one in filled),
            limit=MEGABYTES,
            detail=f"at its peak; {resident.mid:.0f} MB afterwards",
        ),
    ]
    return Result("listing", rows, msgspec.to_builtins(filled))


def _fill(url: str, pods: int, nodes: int) -> Filled:
    command = [sys.executable, "-m", __name__, url, str(pods), str(nodes)]
    ran = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, check=False)
    if ran.returncode:
        raise ChildError(f"{__name__} ended with {ran.returncode}")
    return msgspec.json.decode(ran.stdout, type=Filled)


# -- in the child --------------------------------------------------------------------------------------------------


async def _measure(url: str, sizes: tuple[int, int]) -> Filled:
    collector.begin()
    store = Store(lambda _pool, _at: None, wall=time.time)
    store.put_pool(_pool(), time.monotonic())
    async with ApiClient(static_access(url)) as client:
        caches = Caches(client, store, clock=time.monotonic)
        began, used = time.monotonic(), time.process_time()
        running = asyncio.create_task(caches.run())
        await caches.wait()
        took, cpu = time.monotonic() - began, time.process_time() - used
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    if (store.sizes()[1], store.sizes()[0]) != sizes:
        raise ChildError(f"the caches hold {store.sizes()} nodes and pods")
    return Filled(took, cpu, _status_mb("VmRSS"), _status_mb("VmHWM"))


def _pool() -> ComputePool:
    """A pool of all pods, whose primary is all nodes."""
    providers = [
        {"name": "aws", "nodeSelector": {"matchLabels": {"eks.amazonaws.com/nodegroup": "p5"}}},
        {"name": "nebius", "nodeSelector": {"matchLabels": {"computepool.io/provider": "nebius"}}},
    ]
    metadata = {"name": "bench", "uid": "bench", "resourceVersion": "1", "generation": 1}
    return ComputePool.from_object({"metadata": metadata, "spec": {"providers": providers}})


def _status_mb(field: str) -> float:
    """Return a field of this process's status, see proc_pid_status(5)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    line = next(line for line in lines if line.startswith(f"{field}:"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    measured = asyncio.run(_measure(sys.argv[1], (int(sys.argv[2]), int(sys.argv[3]))))
    sys.stdout.buffer.write(msgspec.json.encode(measured))
