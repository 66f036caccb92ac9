"""The first half of the demo: a Deployment fills the primary, then bursts by patch, then at admission."""

from __future__ import annotations

from e2e.demo.report import way_of
from e2e.demo.stage import ACCELERATORS, CAPACITY, PRIMARY, STANDBYS, TRAINING
from e2e.demo.telling import GROWING, NAMESPACE, STAYING, TELLING, Telling, admitted, allocated
from e2e.recorder import Life

GROWTH = CAPACITY // 2
"""Pods by which the Deployment grows at a time."""
GROWN = 2 * CAPACITY + GROWTH
"""Pods that it has in the end: as many as the primary and the first standby hold, and half as many again."""


class Bursting:
    """Steps one to four."""

    def __init__(self, telling: Telling) -> None:
        """Nothing happens yet."""
        self._t = telling
        self.resident: list[Life] = []
        """The pods that were there when the primary became full."""

    def play(self) -> None:
        """Play the steps. Raises E2EError where one does not come to its end in time."""
        self._fill()
        self._burst()
        self._admit()
        self._explain()

    def _fill(self) -> None:
        self._t.step(f"A pool is applied, and a Deployment of {CAPACITY} pods fills what {PRIMARY} has free")
        self._t.screen.say(
            f"Another team's training holds {TRAINING} of the {ACCELERATORS[PRIMARY]} accelerators of {PRIMARY}."
        )
        self._t.act(f"The pool is applied, and {GROWING} with {CAPACITY} pods.")
        self._t.apply("15-training.yaml")
        self._t.cluster.api.wait_for(
            "pods",
            lambda pods: len(pods) == TRAINING // 8 and all(pod["spec"].get("nodeName") for pod in pods),
            "research",
            timeout=60,
            what="the training's pods to be bound",
        )
        self._t.apply("10-namespace.yaml", "20-pool.yaml", "30-chat.yaml")
        with self._t.screen.watching(self._t.recorder):
            self._t.all_bound(CAPACITY)
            full = ACCELERATORS[PRIMARY]
            self._t.shown(lambda status: allocated(status, PRIMARY) == full, f"a full {PRIMARY}")
        self.resident = self._t.pods

    def _burst(self) -> None:
        nebius = STANDBYS[0]
        self._t.step(f"It grows past the primary: pending pods get a toleration and run on {nebius}")
        with self._t.screen.watching(self._t.recorder):
            self._grow(CAPACITY + GROWTH)
        burst = self._burst_pods()
        patched = sum(1 for pod in burst if self._patched(pod))
        self._t.screen.say(
            f"{patched} of {len(burst)} were patched while they waited. With the first of them the pool became "
            "saturated, and the API server itself gives newer ones the toleration: admission is open."
        )

    def _admit(self) -> None:
        nebius, crusoe = STANDBYS
        self._t.step(
            f"It grows more: new pods may use {nebius} from their creation on, and once that is full, {crusoe}"
        )
        with self._t.screen.watching(self._t.recorder):
            self._grow(2 * CAPACITY)
            self._t.shown(lambda status: admitted(status) == [crusoe], f"admission to {crusoe}")
            self._grow(GROWN)

    def _explain(self) -> None:
        self._t.step("Why is a pod where it is, and why does another one wait?")
        self._t.act(f"{STAYING} is applied: a pod that may not leave {PRIMARY}.")
        self._t.apply("40-records.yaml")
        with self._t.screen.watching(self._t.recorder):
            (stays,) = self._t.wait(lambda: self._t.recorder.here(STAYING), f"the pod of {STAYING}")
            self._t.shown(lambda status: status["pending"]["pods"] == 1, "one pod that waits")
        for pod in (max(self._burst_pods(), key=self._patched), stays):
            self._t.run("computepool", "explain", f"{NAMESPACE}/{pod.name}")
            self._t.screen.rest()
        self._t.screen.command("kubectl get cpool", self._t.cluster.kubectl("get", "cpool"))
        self._hear_all()

    def _grow(self, replicas: int) -> None:
        """Scale the Deployment, and wait until all its pods run and the pool's status says so."""
        self._t.scale(replicas)
        self._t.all_bound(replicas)
        away = replicas - CAPACITY
        self._t.shown(lambda status: status["burstPods"] == away, f"{away} pods on standbys")

    def _hear_all(self) -> None:
        """Wait until every patch has been told of in an event on its pod, so that the report has them all."""
        patched = {pod.name for pod in self._burst_pods() if self._patched(pod)}

        def heard() -> bool:
            return patched <= {event.name for event in self._t.recorder.events if event.kind == "Pod"}

        self._t.wait(heard, "an event on every pod that was patched", TELLING)

    def _burst_pods(self) -> list[Life]:
        at_home = {pod.uid for pod in self.resident}
        return [pod for pod in self._t.pods if pod.uid not in at_home]

    def _patched(self, pod: Life) -> bool:
        return way_of(pod, self._t.stage.provider_of_node[pod.node]) == "patch"
