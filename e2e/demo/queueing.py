"""The last part of the demo: a queue of requests grows, admission opens before a pod waits, and closes again."""

from __future__ import annotations

from typing import Any

from e2e.demo.bursting import GROWN
from e2e.demo.failing import CANARIES
from e2e.demo.report import QueueMilestones
from e2e.demo.seen import SignalSeen
from e2e.demo.source import Source
from e2e.demo.stage import ACCELERATORS, PRIMARY, STANDBYS
from e2e.demo.telling import GROWING, NAMESPACE, POOL, Telling, admitted

SIGNAL = "saturation/queue"
RISING, FALLING = (2, 4, 6, 8), (5, 2, 0)
"""Requests that wait in front of each server, one length after the other."""
STEADY = 0.9
"""A value in the status may be off by less: it stays as it is while the value is near."""
BEFORE = GROWN + CANARIES
"""Pods that are home when the queue begins to grow."""
FREE = ACCELERATORS[PRIMARY] - BEFORE - 1
"""What they leave free on the primary, beside the pod that never leaves it."""
LARGEST = BEFORE + FREE + 3
"""Pods while the queue is long: all that have room at home, and three more."""
SMALLEST = BEFORE - 10
"""Pods once it is short: so few that the primary counts as free again by its allocation too."""
MISSING = (
    "The scene of the queue is left out: it is shown only where a Prometheus is found, and this machine has none. "
    "`make control-plane` downloads or builds it."
)


class Queueing:
    """Steps eight and nine."""

    def __init__(self, telling: Telling) -> None:
        """Nothing happens yet."""
        self._t = telling
        self.milestones: QueueMilestones | None = None
        """When the steps reached their milestones; None: they are not played."""

    def play(self) -> None:
        """Play the steps if there is a Prometheus. Raises E2EError where one does not come to its end in time."""
        source = self._t.stage.source
        if source is None:
            self._t.screen.say(MISSING)
            return
        self._t.step("Requests queue up: admission opens before a single pod waits")
        self._t.screen.say(
            f"{PRIMARY} has {FREE} free accelerators, and no pod waits. Kubernetes shows no pressure, but the servers' "
            f"own metrics do. A Prometheus scrapes the pods of {GROWING}; each answers as a vLLM."
        )
        self.milestones = QueueMilestones()
        self._read(source)
        self._grow(source, self.milestones)
        self._shrink(source, self.milestones)

    def forget(self) -> None:
        """Take the signal off the pool where its source is about to end and the cluster stays."""
        if self.milestones is not None:
            path = '[{"op": "remove", "path": "/spec/saturation/metrics"}]'
            self._t.cluster.kubectl("patch", "cpool", POOL, "--type=json", f"--patch={path}")

    def _read(self, source: Source) -> None:
        with self._t.screen.watching(self._t.recorder):
            self._scrape(source)
            self._t.patch("50-queue.yaml")
            self._t.shown(lambda status: _verdict(status) == "Off", "a signal that is off")

    def _grow(self, source: Source, milestones: QueueMilestones) -> None:
        self._t.screen.say(
            f"Now more and more requests wait, {max(RISING)} in front of each server at last. At 5 the signal turns on."
        )
        with self._t.screen.watching(self._t.recorder):
            self._t.act("The queue in front of each server grows.")
            for length in RISING:
                source.queue(length)
                self._shows(length)
            self._t.shown(lambda status: admitted(status) == [STANDBYS[0]], f"admission to {STANDBYS[0]}")
            milestones.opened = self._t.now()
        self._t.run("computepool", "status")
        self._t.screen.rest()
        self._t.screen.say(
            f"{GROWING} grows by {LARGEST - BEFORE} pods: {FREE} have room at home, and the others are bound on "
            f"{STANDBYS[0]} as soon as they are created."
        )
        with self._t.screen.watching(self._t.recorder):
            self._t.scale(LARGEST)
            self._t.all_bound(LARGEST)
            self._scrape(source)
            self._t.shown(lambda status: status["burstPods"] == LARGEST - BEFORE - FREE, "the new pods on standbys")

    def _shrink(self, source: Source, milestones: QueueMilestones) -> None:
        self._t.step(f"The queue is worked off: admission closes, and {GROWING} shrinks, first by its burst pods")
        with self._t.screen.watching(self._t.recorder):
            milestones.fell = self._t.act("The queue is worked off.")
            for length in FALLING:
                source.queue(length)
                self._shows(length)
            self._t.shown(lambda status: _verdict(status) == "Off", "a signal that is off")
            self._t.scale(SMALLEST)
            self._t.shown(lambda status: not admitted(status), "closed admission")
            milestones.closed = self._t.now()
        self._t.say_condition("Saturated")
        self._t.run("computepool", "status")

    def _shows(self, length: int) -> None:
        def near(status: dict[str, Any]) -> bool:
            value = SignalSeen.of(_signal(status)).value
            return value is not None and abs(value - length) < STEADY

        self._t.shown(near, f"a queue of {length}")

    def _scrape(self, source: Source) -> None:
        source.scrape(NAMESPACE, (pod.name for pod in self._t.pods))


def _signal(status: dict[str, Any]) -> dict[str, Any]:
    return next((signal for signal in status.get("signals", []) if signal["key"] == SIGNAL), {})


def _verdict(status: dict[str, Any]) -> str:
    return str(_signal(status).get("verdict", "Unknown"))
