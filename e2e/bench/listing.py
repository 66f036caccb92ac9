"""Measures the first list: all pods and nodes of a large cluster into the operator's caches, in its own process.

What serves the lists is a process too. The one measured has loaded all of the operator, and holds one pool that claims
the pods and knows the nodes: `python -m e2e.bench.listing ours URL PODS NODES`. Beside it, as a measure of the machine
and of the server, `... bare URL PODS NODES` reads the same streams and keeps names only.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable

import aiohttp
import msgspec

# Loaded for its weight: what is measured has everything in memory that an operator has.
from computepool.app import garbage_collection
from computepool.app import operator as _operator  # noqa: F401
from computepool.app.caches import Caches
from computepool.kube.client import ApiClient
from computepool.kube.credentials import static_access
from computepool.model.api import ComputePool
from computepool.observe.store import Store
from e2e import procs
from e2e.bench.footprint import Footprint, Limits, rows_of
from e2e.bench.report import Result
from e2e.bench.rounds import Scale
from e2e.child import ChildError
from e2e.cluster import REPOSITORY
from e2e.progress import Progress
from e2e.spread import Spread
from tests.fakes.biglist import big_list

LIMITS = Limits(seconds=5.0, megabytes=200.0)


class Filled(Footprint, frozen=True, kw_only=True):
    """What filling the caches took."""

    resident_mb: float


def run(scale: Scale) -> Result:
    """Measure once for each round, turn by turn."""
    pods, nodes = scale.list_pods, scale.list_nodes
    ours, bare = [], []
    with Progress(f"first list of {pods} pods and {nodes} nodes"), big_list(pods, nodes) as url:
        for _ in range(scale.rounds):
            ours.append(_fill("ours", url, pods, nodes))
            bare.append(_fill("bare", url, pods, nodes))
    rows = rows_of(
        f"first list of {pods:,} pods and {nodes:,} nodes",
        ours,
        bare,
        LIMITS,
        beside="reading names only",
        at_end=f"{Spread.of(filled.resident_mb for filled in ours).p50:.0f} MB afterwards",
    )
    return Result("listing", rows, msgspec.to_builtins({"ours": ours, "bare": bare}))


def _fill(how: str, url: str, pods: int, nodes: int) -> Filled:
    command = [sys.executable, "-m", __name__, how, url, str(pods), str(nodes)]
    ran = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, check=False)
    if ran.returncode:
        raise ChildError(f"{__name__} ended with {ran.returncode}")
    return msgspec.json.decode(ran.stdout, type=Filled)


# -- in the child --------------------------------------------------------------------------------------------------


async def _measure(fill: Callable[[str], Awaitable[tuple[int, int]]], url: str, sizes: tuple[int, int]) -> Filled:
    began, used = time.monotonic(), time.process_time()
    held = await fill(url)
    took, cpu = time.monotonic() - began, time.process_time() - used
    if held != sizes:
        raise ChildError(f"{held[0]} pods and {held[1]} nodes came, not {sizes[0]} and {sizes[1]}")
    return Filled(took, cpu, procs.memory_mib("self", "VmHWM"), resident_mb=procs.memory_mib("self"))


async def _ours(url: str) -> tuple[int, int]:
    """Fill the operator's caches; return how many pods and nodes they hold."""
    garbage_collection.begin()
    store = Store(lambda _pool, _at, **_: None, wall=time.time)
    store.put_pool(_pool(), time.monotonic())
    async with ApiClient(static_access(url)) as client:
        caches = Caches(client, store, clock=time.monotonic)
        running = asyncio.create_task(caches.run())
        await caches.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    nodes, pods = store.sizes()
    return pods, nodes


class _Named(msgspec.Struct):
    name: str = ""


class _Object(msgspec.Struct):
    metadata: _Named


class _Event(msgspec.Struct):
    type: str
    object: _Object


async def _bare(url: str) -> tuple[int, int]:
    """Read the names of all pods and nodes; return how many came."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as http:
        pods, nodes = await asyncio.gather(_names(http, f"{url}/api/v1/pods"), _names(http, f"{url}/api/v1/nodes"))
    return len(pods), len(nodes)


async def _names(http: aiohttp.ClientSession, url: str) -> set[str]:
    decode = msgspec.json.Decoder(_Event).decode
    names: set[str] = set()
    query = {"watch": "1", "sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
    async with http.get(url, params=query) as stream:
        rest = b""
        async for chunk in stream.content.iter_any():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                event = decode(line)
                if event.type == "BOOKMARK":
                    return names
                names.add(event.object.metadata.name)
    raise ChildError("the list has no end")


def _pool() -> ComputePool:
    """A pool of all pods, whose primary is all nodes."""
    providers = [
        {"name": "aws", "nodeSelector": {"matchLabels": {"eks.amazonaws.com/nodegroup": "p5"}}},
        {"name": "nebius", "nodeSelector": {"matchLabels": {"computepool.io/provider": "nebius"}}},
    ]
    metadata = {"name": "bench", "uid": "bench", "resourceVersion": "1", "generation": 1}
    return ComputePool.from_object({"metadata": metadata, "spec": {"providers": providers}})


if __name__ == "__main__":
    how, url, pods, nodes = sys.argv[1:]
    measured = asyncio.run(_measure(_ours if how == "ours" else _bare, url, (int(pods), int(nodes))))
    sys.stdout.buffer.write(msgspec.json.encode(measured))
