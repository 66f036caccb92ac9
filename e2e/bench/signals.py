"""Measures what signals from metrics cost an operator of a large cluster: polls, memory, and passes.

A real Prometheus has scraped the metrics of all GPUs. The process that is measured has loaded all of the operator. It
holds pools that all read the same nodes, and asks that Prometheus with the operator's own client and poller:
`python -m e2e.bench.signals URL NODES POOLS ROUNDS`. Each pass with signals is measured beside the same pass without.
"""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import msgspec

from computepool.app import garbage_collection

# Loaded for its weight: what is measured has everything in memory that an operator has.
from computepool.app import operator as _operator  # noqa: F401
from computepool.assess.signals.answers_due import answers_due
from computepool.decide.reconcile import reconcile
from computepool.kube.runtime import Runtime
from computepool.model.api import ComputePool
from computepool.model.signals import SignalData
from computepool.model.state import PoolState
from computepool.observe.signal_poller import SignalPoller
from computepool.observe.store import Store
from computepool.prometheus.client import PrometheusClient
from computepool.prometheus.source import Source
from e2e import procs
from e2e.bench.report import Result, Row
from e2e.bench.rounds import Scale
from e2e.child import ChildError
from e2e.cluster import REPOSITORY
from e2e.exporter import Exporter
from e2e.progress import Progress
from e2e.prometheus import Prometheus, Target
from e2e.spread import Spread, ratios
from tests.builders import namespace, node, pod, pool, provider

GPUS = 8
NODES_OF_A_TARGET = 500
SCRAPED_SECONDS = 60.0
PASS_LIMIT = 1.1
STRETCH_MS = 20.0
# Passes over these many pools are enough for a measure: with all nodes each takes some 40 ms.
PASSES = 10


class Costs(msgspec.Struct, frozen=True):
    """What one process has measured. Times are of the processor, in seconds."""

    polls: list[float]
    """To ask for all signals once, for each round."""
    stretches: list[float]
    """The longest time in which no other task of the event loop had a turn, for each round."""
    ticks: list[float]
    """To look what is due, when nothing is."""
    judging: list[float]
    """To judge whether the answers need a pass, for one pool."""
    memory_mb: float
    """That the answers take."""
    with_signals: list[float]
    without_signals: list[float]
    """A pass over one pool, for each round."""
    after_answers: list[float]
    """A pass that is the first to read the answers."""


def run(scale: Scale) -> Result:
    """Measure one process, several rounds."""
    nodes, pools = scale.signal_nodes, scale.signal_pools
    series = f"{nodes * GPUS:,} series"
    with (
        Progress(f"signals of {nodes} nodes") as progress,
        tempfile.TemporaryDirectory() as folder,
        Exporter() as exporter,
        Prometheus(Path(folder), exporter) as prometheus,
    ):
        progress.say("scraping")
        _scrape(exporter, prometheus, nodes)
        progress.say("measuring")
        costs = _measured(prometheus.url, nodes, pools, scale.rounds)
    passes = f"pass over {nodes:,} nodes"
    return Result("signals", _rows(costs, series, passes, pools), msgspec.to_builtins(costs))


def _rows(costs: Costs, series: str, passes: str, pools: int) -> list[Row]:
    with_signals, without = Spread.of(costs.with_signals).p50, Spread.of(costs.without_signals).p50
    return [
        Row(
            what=f"{passes} with three signals, beside without",
            unit="x",
            value=ratios(costs.with_signals, costs.without_signals),
            limit=PASS_LIMIT,
            detail=f"{1000 * with_signals:.1f} ms beside {1000 * without:.1f} ms",
        ),
        Row(
            what=f"{passes}, the first after three new answers, beside without signals",
            unit="x",
            value=ratios(costs.after_answers, costs.without_signals),
            detail=f"{1000 * Spread.of(costs.after_answers).p50:.1f} ms",
        ),
        Row(
            what=f"a poll of {series}, processor time",
            unit="ms",
            value=Spread.of(1000 * seconds / len(KEYS) for seconds in costs.polls),
            detail=f"one of {len(KEYS)} queries with its ages; {pools} pools share the answers",
        ),
        Row(
            what=f"a poll of {series}, longest stretch of the event loop",
            unit="ms",
            value=Spread.of(1000 * seconds for seconds in costs.stretches),
            limit=STRETCH_MS,
        ),
        Row(
            what=f"the poller with nothing to ask, {pools} pools",
            unit="ms",
            value=Spread.of(1000 * seconds for seconds in costs.ticks),
            detail="processor time, once a second",
        ),
        Row(
            what="whether new answers need a pass",
            unit="ms",
            value=Spread.of(1000 * seconds for seconds in costs.judging),
            detail="processor time, for one pool",
        ),
        Row(
            what=f"answers of {series}, memory",
            unit="MB",
            value=Spread.of([costs.memory_mb]),
            detail=f"{len(KEYS)} answers",
        ),
    ]


def _scrape(exporter: Exporter, prometheus: Prometheus, nodes: int) -> None:
    """Let Prometheus have the metrics of all nodes."""
    names = [_name(index) for index in range(nodes)]
    parts = [names[start : start + NODES_OF_A_TARGET] for start in range(0, nodes, NODES_OF_A_TARGET)]
    for number, part in enumerate(parts):
        exporter.serve(f"dcgm-{number}", _text(part))
    prometheus.watch(Target(f"dcgm-{number}") for number in range(len(parts)))
    prometheus.wait_for(f"count(DCGM_FI_DEV_FB_USED) == {nodes * GPUS}", 1, SCRAPED_SECONDS)


def _text(nodes: Sequence[str]) -> str:
    """What dcgm-exporter says of these nodes, as far as the presets read it."""
    lines = []
    for name in nodes:
        for gpu in range(GPUS):
            labels = (
                f'{{gpu="{gpu}",UUID="GPU-{name}-{gpu}",device="nvidia{gpu}",'
                f'modelName="NVIDIA H100 80GB HBM3",Hostname="{name}"}}'
            )
            lines.append(f"DCGM_FI_PROF_GR_ENGINE_ACTIVE{labels} 0.{50 + gpu}")
            lines.append(f"DCGM_FI_DEV_FB_USED{labels} 70000")
            lines.append(f"DCGM_FI_DEV_FB_FREE{labels} 10000")
            lines.append(f"DCGM_FI_DEV_XID_ERRORS{labels} 0")
    return "\n".join(lines) + "\n"


def _name(index: int) -> str:
    """The nodes of the primary and of the standby in turn."""
    return f"{'n' if index % 2 else 'a'}{index}"


def _measured(url: str, nodes: int, pools: int, rounds: int) -> Costs:
    command = [sys.executable, "-m", __name__, url, str(nodes), str(pools), str(rounds)]
    ran = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, check=False)
    if ran.returncode:
        raise ChildError(f"{__name__} ended with {ran.returncode}")
    return msgspec.json.decode(ran.stdout, type=Costs)


# -- in the child --------------------------------------------------------------------------------------------------

BUSY: Mapping[str, Any] = {"name": "busy", "preset": "dcgm", "enter": "95", "exit": "80"}
FULL: Mapping[str, Any] = {**BUSY, "name": "full", "measure": "Memory", "target": "Provider"}
ERRORS: Mapping[str, Any] = {**BUSY, "name": "xid", "measure": "Errors", "target": "Node", "enter": "1", "exit": "0"}
KEYS = ("busy", "full", "xid")


class Passes(NamedTuple):
    """Mean processor times, in seconds, of a pass and of what comes before it."""

    first: float
    """The pass that is the first to read new answers."""
    again: float
    """The next pass."""
    without: float
    """The same pass without signals."""
    judged: float
    """Judging whether the answers need a pass."""


async def _measure(url: str, nodes: int, pools: int, rounds: int) -> Costs:
    garbage_collection.begin()
    store = _store(nodes, pools)
    garbage_collection.settle()
    source = Source.model_validate({"url": url, "timeoutSeconds": 60})
    polls, stretches, ticks, passes = list[float](), list[float](), list[float](), list[Passes]()
    memory = 0.0
    async with PrometheusClient(source) as client:
        # The first poll has its connections to open. It is not counted.
        for number in range(rounds + 1):
            before = procs.memory_mib("self")
            poller = _new_poller(client, store)
            used = time.process_time()
            await _poll(poller, store)
            if number:
                polls.append(time.process_time() - used)
                ticks.append(_cpu(poller.tick))
                stretches.append(await _longest_stretch(_poll(_new_poller(client, store), store)))
                passes.append(_passes(store, pools))
            else:
                gc.collect()
                memory = procs.memory_mib("self") - before
    first, again, without, judged = map(list, zip(*passes, strict=True))
    return Costs(polls, stretches, ticks, judged, memory, again, without, first)


def _store(nodes: int, pools: int) -> Store:
    """Pools that all have the same nodes; most nodes have a pod of one of the pools."""
    store = Store(lambda _pool, _at, **_: None, wall=time.time)
    store.put_namespace(namespace(), 0.0)
    for number in range(pools):
        store.put_pool(_pool(number, metrics=[BUSY], health={"metrics": [FULL, ERRORS]}), 0.0)
    for index in range(nodes):
        name = _name(index)
        store.put_node(node(name), 0.0)
        if index % 4:
            store.put_pod(pod(f"r{index}", GPUS, on=name, ready=True, labels={"app": f"p{index % pools}"}), 0.0)
    return store


def _pool(number: int, **how: Any) -> ComputePool:
    selector = {"podSelector": {"matchLabels": {"app": f"p{number}"}}}
    return pool(provider("aws"), provider("nebius"), name=f"p{number}", workloads=selector, **how)


def _new_poller(client: PrometheusClient, store: Store) -> SignalPoller:
    """A poller for which all is due once."""
    return SignalPoller(client, store, Runtime(), interval=3600.0)


async def _poll(poller: SignalPoller, store: Store) -> None:
    """Ask for all signals once, and hand the answers over."""
    poller.tick()
    while True:
        await asyncio.sleep(0.05)
        poller.tick()
        data = store.signals("p0").values()
        if all(found.answer is not None for found in data):
            return
        if failed := [found.error for found in data if found.answer is None and "yet" not in found.error]:
            raise ChildError(f"the source fails: {failed[0]}")


async def _longest_stretch(work: Coroutine[Any, Any, None]) -> float:
    """Return the longest processor time of the work without a turn for other tasks."""
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        last = time.process_time()
        while True:
            await asyncio.sleep(0.001)
            now = time.process_time()
            longest, last = max(longest, now - last), now

    watching = asyncio.create_task(watch())
    await work
    watching.cancel()
    return longest


def _passes(store: Store, pools: int) -> Passes:
    """Measure passes over some of the pools."""
    taken = []
    for number in range(min(pools, PASSES)):
        snapshot, now = store.snapshot(f"p{number}"), time.time()
        bare = msgspec.structs.replace(snapshot, pool=_pool(number), signals={})
        fresh = msgspec.structs.replace(snapshot, signals=_as_new(snapshot.signals))
        state, bare_state = (reconcile(seen, PoolState(), now).state for seen in (snapshot, bare))
        # The same pass comes right before and after.
        without = _cpu(partial(reconcile, bare, bare_state, now))
        first = _cpu(partial(reconcile, fresh, state, now))
        again = _cpu(partial(reconcile, fresh, state, now))
        without = (without + _cpu(partial(reconcile, bare, bare_state, now))) / 2
        verdicts = reconcile(fresh, state, now).assessment.signals
        judged = _cpu(partial(answers_due, verdicts, snapshot.pool, _as_new(snapshot.signals), now, 15.0))
        taken.append((first, again, without, judged))
    return Passes(*(fmean(times) for times in zip(*taken, strict=True)))


def _as_new(signals: Mapping[str, SignalData]) -> dict[str, SignalData]:
    """The same answers as if they had come just now: nothing is worked out of them yet."""
    answers = {id(found.answer): found.answer for found in signals.values()}
    new = {key: answer and msgspec.structs.replace(answer) for key, answer in answers.items()}
    return {key: SignalData(new[id(found.answer)]) for key, found in signals.items()}


def _cpu(work: Callable[[], object]) -> float:
    gc.collect()
    began = time.process_time()
    work()
    return time.process_time() - began


if __name__ == "__main__":
    measured = asyncio.run(_measure(sys.argv[1], *map(int, sys.argv[2:])))
    sys.stdout.buffer.write(msgspec.json.encode(measured))
