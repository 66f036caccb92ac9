"""Measures how a lost provider is emptied: the operator and a script with the same limits take turns.

The provider is the primary. Its nodes are silent: a pod that is evicted there does not go away, and another pod takes
its place. Both get the same signal, a drain by hand. Both taint the same nodes, evict the same pods with the same
rights, and send each new pod on. The operator also checks that there is room, records its moves, and reports them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import msgspec

from e2e import brisk, objects
from e2e.bench.bare_evict import Order
from e2e.bench.children import Connection, ScriptProcess
from e2e.bench.contenders import operating
from e2e.bench.report import Result, Row, number
from e2e.bench.rounds import Scale
from e2e.bench.stand import GPUS, Stand
from e2e.progress import Progress
from e2e.recorder import Recorder
from e2e.site import Site
from e2e.spread import Spread, ratios

TARGET = 1.2
# Not the stand's own: new pods must not find room on its nodes.
PRIMARY, STANDBY = "lost", "spare"
WORKLOADS = 10
NO_LIMIT = 10_000
SETUP_SECONDS = 180.0
PATIENCE = 300.0
Signal = Callable[[], None]


class Limits(msgspec.Struct, frozen=True):
    """How many pods may be moved, and how the table says it."""

    words: str
    at_once: int = NO_LIMIT
    per_minute: int = NO_LIMIT
    target: float | None = None


class Emptied(msgspec.Struct, frozen=True):
    """How one provider was emptied; in seconds."""

    last: float
    """From the signal to the last new pod bound elsewhere."""
    rate: float
    """Evictions a second, from the first to the last."""


def run(stand: Stand, scale: Scale) -> Result:
    """Measure and compare: at an allowed rate, with so many on their way at once, and with no limit."""
    every = (
        Limits(f"at most {scale.evicted_a_minute} a minute", per_minute=scale.evicted_a_minute, target=TARGET),
        Limits(f"at most {scale.at_once} on their way", at_once=scale.at_once),
        Limits("no limit"),
    )
    measured: dict[str, dict[str, list[Emptied]]] = {limits.words: {"ours": [], "script": []} for limits in every}
    with Progress("a lost provider is emptied") as progress, _site(stand, scale.evicted) as scene:
        for turn in range(scale.evicting_rounds):
            for limits in every:
                for who, contender in (("ours", _ours), ("script", _script)):
                    progress.say(f"round {turn + 1} of {scale.evicting_rounds}, {limits.words}, {who}")
                    measured[limits.words][who].append(scene.play(contender, limits))
    return Result("evictions", list(_rows(measured, every, scale)), msgspec.to_builtins(measured))


def _rows(measured: dict[str, dict[str, list[Emptied]]], every: tuple[Limits, ...], scale: Scale) -> Iterator[Row]:
    what = f"{scale.evicted:,} pods off a lost provider, signal -> last bound elsewhere"
    for limits in every:
        ours, bare = ([emptied.last for emptied in measured[limits.words][who]] for who in ("ours", "script"))
        detail = f"{number(Spread.of(ours).p50)} s beside {number(Spread.of(bare).p50)} s"
        yield Row(
            what=f"{what}, {limits.words}", unit="x", value=ratios(ours, bare), limit=limits.target, detail=detail
        )
    ours, bare = ([emptied.rate for emptied in measured[every[-1].words][who]] for who in ("ours", "script"))
    yield Row(
        what="evictions a second, no limit",
        unit="/s",
        value=Spread.of(ours),
        detail=f"{number(Spread.of(bare).p50)} /s for the script",
    )


class _Scene:
    """Nodes of two providers; each play loses the first provider anew."""

    def __init__(self, stand: Stand, site: Site, count: int) -> None:
        self.stand = stand
        self.site = site
        self.count = count
        nodes = -(-count // GPUS)
        self.lost = site.add_nodes(PRIMARY, nodes, gpus=GPUS)
        site.add_nodes(STANDBY, nodes, gpus=GPUS, taint=True)
        self.recorder = Recorder(site.api, site.namespace)

    def play(self, contender: Callable[[_Scene, Limits], AbstractContextManager[Signal]], limits: Limits) -> Emptied:
        self._populate()
        before = len(self.recorder.lives())
        try:
            with contender(self, limits) as signal:
                self.stand.rest()
                began = time.monotonic()
                signal()
                self.recorder.wait(lambda: self._replaced(before), "all to be bound elsewhere", PATIENCE)
                return self._emptied(began, before)
        finally:
            self._clear()

    def pods(self) -> list[tuple[str, str]]:
        return [(life.name, life.uid) for life in self.recorder.here()]

    def _populate(self) -> None:
        share = self.count // WORKLOADS or 1
        made = [objects.gpu_deployment(f"w{number}", share) for number in range(self.count // share)]
        self.site.create(*made)
        self.site.wait_bound(self.count, timeout=SETUP_SECONDS)
        self.recorder.wait(lambda: len(self.recorder.here()) == self.count, "all to be there", SETUP_SECONDS)
        self.site.silence(self.lost)

    def _replaced(self, before: int) -> bool:
        new = self.recorder.lives()[before:]
        return len(new) >= self.count and all(life.bound is not None for life in new)

    def _emptied(self, began: float, before: int) -> Emptied:
        bound = [life.bound - began for life in self.recorder.lives()[before:] if life.bound is not None]
        times = [at for at in self.recorder.eviction_times() if at >= began]
        return Emptied(max(bound), (len(times) - 1) / max(times[-1] - times[0], 0.001))

    def _clear(self) -> None:
        api, namespace = self.site.api, self.site.namespace
        api.delete_all("deployments.apps", namespace)
        api.wait_for("replicasets.apps", lambda found: not found, namespace, what="no workload", timeout=SETUP_SECONDS)
        api.delete_all("pods", namespace, grace_seconds=0)
        api.wait_for("pods", lambda found: not found, namespace, what="no pods", timeout=SETUP_SECONDS)
        for name in brisk.quarantine_of(self.site.nodes()):
            api.patch("nodes", name, {"spec": {"taints": []}})
        self.site.revive(self.lost)
        self.site.wait_schedulable(self.lost, timeout=SETUP_SECONDS)
        api.delete_all("events.events.k8s.io", namespace)
        self.stand.rest()


@contextmanager
def _site(stand: Stand, count: int) -> Iterator[_Scene]:
    site = Site(stand.cluster)
    try:
        scene = _Scene(stand, site, count)
        with scene.recorder:
            yield scene
    finally:
        site.close()


@contextmanager
def _ours(scene: _Scene, limits: Limits) -> Iterator[Signal]:
    """The operator, with the chart's rights; the signal is the field `drain`."""
    site = scene.site
    spec = brisk.spec(
        health={"silentSeconds": 0},
        failover={"runningPods": "Move", "maxConcurrentMoves": limits.at_once, "perMinute": limits.per_minute},
    )
    with operating(site, [PRIMARY, STANDBY], **spec):
        yield lambda: brisk.drain(site, site.namespace, PRIMARY)


@contextmanager
def _script(scene: _Scene, limits: Limits) -> Iterator[Signal]:
    """The script, with the operator's own rights."""
    order = Order(scene.lost, scene.pods())
    connection: Connection = msgspec.structs.replace(scene.stand.guarded(), namespace=scene.site.namespace)
    arguments = [STANDBY, str(limits.at_once), str(limits.per_minute)]
    with ScriptProcess("e2e.bench.bare_evict", connection, arguments) as script:
        yield lambda: script.send(order)
