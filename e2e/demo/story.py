"""The story, step by step: a Deployment fills the primary, grows past it by patches, then by admission."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from e2e.demo.report import Report, report_of, way_of
from e2e.demo.screen import Screen
from e2e.demo.stage import CAPACITY, PRIMARY, STANDBYS, Stage
from e2e.demo.witness import PodSeen, Witness

FOLDER = Path(__file__).parent
NAMESPACE, POOL = "inference", "inference"
GROWING, STAYING = "chat", "records"
GROWTH = CAPACITY // 2
"""Pods by which the Deployment grows at a time."""
# Seconds that a step may take. It takes one or two; a busy machine gets its time.
PATIENCE = 60.0
# Seconds until the operator has told in events and status what it did long ago.
TELLING = 15.0


class Story:
    """One telling."""

    def __init__(self, stage: Stage, screen: Screen, witness: Witness) -> None:
        """The witness watches already."""
        self._cluster = stage.cluster
        self._stage = stage
        self._screen = screen
        self._witness = witness
        self._resident: list[PodSeen] = []

    def tell(self) -> None:
        """Play all steps. Raises E2EError where one does not come to its end in time."""
        self._fill()
        self._burst()
        self._admit()
        self._explain()

    def report(self) -> Report:
        """Sum up what was seen so far, whether the story came to its end or not."""
        return report_of(
            kubernetes=self._cluster.version,
            seconds=self._screen.seconds,
            resident=self._resident,
            pods=list(self._witness.pods.values()),
            provider_of_node=self._stage.provider_of_node,
            primary=PRIMARY,
            log_lines=self._stage.leader.log_lines() + self._stage.standby.log_lines(),
            events=list(self._witness.events),
        )

    # -- the steps -------------------------------------------------------------------------------------------------

    def _fill(self) -> None:
        self._screen.title(f"1  A pool is applied, and a Deployment of {CAPACITY} pods fills the primary, {PRIMARY}")
        self._apply("10-namespace.yaml", "20-pool.yaml", "30-chat.yaml")
        with self._screen.watching(self._witness):
            self._all_bound(CAPACITY)
            self._shown(lambda status: _allocated(status, PRIMARY) == CAPACITY, f"a full {PRIMARY}")
        self._resident = self._witness.of(GROWING)

    def _burst(self) -> None:
        nebius = STANDBYS[0]
        self._screen.title(f"2  It grows past the primary: pending pods get a toleration and run on {nebius}")
        with self._screen.watching(self._witness):
            self._grow(CAPACITY + GROWTH)
        burst = self._burst_pods()
        patched = sum(1 for pod in burst if self._patched(pod))
        self._screen.say(
            f"{patched} of {len(burst)} were patched while they waited. With the first of them the pool became "
            "saturated, and the API server itself gives newer ones the toleration: admission is open."
        )

    def _admit(self) -> None:
        nebius, crusoe = STANDBYS
        self._screen.title(
            f"3  It grows on: new pods are born with leave for {nebius}, and once that is full, {crusoe}"
        )
        with self._screen.watching(self._witness):
            self._grow(2 * CAPACITY)
            self._shown(lambda status: _admitted(status) == [crusoe], f"admission to {crusoe}")
            self._grow(2 * CAPACITY + GROWTH)

    def _explain(self) -> None:
        self._screen.title("4  Why is a pod where it is, and why does another one wait?")
        self._apply("40-records.yaml")
        with self._screen.watching(self._witness):
            (stays,) = self._wait(lambda: self._witness.of(STAYING), f"the pod of {STAYING}")
            self._shown(lambda status: status["pending"]["pods"] == 1, "one pod that waits")
        for pod in (self._sent_away(), stays):
            self._run("computepool", "explain", f"{NAMESPACE}/{pod.name}")
            self._screen.rest()
        self._screen.command("kubectl get cpool", self._cluster.kubectl("get", "cpool"))
        self._hear_all()

    # -- what steps are made of ------------------------------------------------------------------------------------

    def _apply(self, *names: str) -> None:
        self._screen.command("kubectl apply " + " ".join(f"-f e2e/demo/{name}" for name in names))
        self._cluster.kubectl("apply", *(f"--filename={FOLDER / name}" for name in names))

    def _grow(self, replicas: int) -> None:
        """Scale the Deployment, and wait until all its pods run and the pool's status says so."""
        arguments = ("scale", f"deployment/{GROWING}", f"--namespace={NAMESPACE}", f"--replicas={replicas}")
        self._screen.command("kubectl " + " ".join(arguments))
        self._cluster.kubectl(*arguments)
        self._all_bound(replicas)
        away = replicas - CAPACITY
        self._shown(lambda status: status["burstPods"] == away, f"{away} pods on standbys")

    def _all_bound(self, count: int) -> None:
        def bound() -> bool:
            pods = self._witness.of(GROWING)
            return len(pods) == count and all(pod.node for pod in pods)

        self._wait(bound, f"{count} bound pods of {GROWING}")

    def _shown(self, condition: Callable[[dict[str, Any]], bool], what: str) -> None:
        """Wait until the pool's status says so."""

        def shown() -> bool:
            status = (self._witness.pool or {}).get("status", {})
            return "providers" in status and condition(status)

        self._wait(shown, f"the pool's status to show {what}")

    def _hear_all(self) -> None:
        """Wait until every patch has been told of in an event on its pod, so that the report has them all."""
        patched = {pod.name for pod in self._burst_pods() if self._patched(pod)}

        def heard() -> bool:
            return patched <= {event.name for event in self._witness.events if event.kind == "Pod"}

        self._wait(heard, "an event on every pod that was patched", TELLING)

    def _wait(self, condition: Callable[[], Any], what: str, timeout: float = PATIENCE) -> Any:
        return self._witness.wait(condition, what, timeout)

    def _burst_pods(self) -> list[PodSeen]:
        at_home = {id(pod) for pod in self._resident}
        return [pod for pod in self._witness.of(GROWING) if id(pod) not in at_home]

    def _patched(self, pod: PodSeen) -> bool:
        return way_of(pod, self._stage.provider_of_node[pod.node]) == "patch"

    def _sent_away(self) -> PodSeen:
        """A pod on a standby, one that was patched if there is one."""
        return max(self._burst_pods(), key=self._patched)

    def _run(self, command: str, *arguments: str) -> None:
        ran = subprocess.run(
            [Path(sys.executable).with_name(command), *arguments],
            env=self._cluster.command_env() | {"COLUMNS": str(self._screen.console.width)},
            capture_output=True,
            text=True,
            check=False,
        )
        self._screen.command(" ".join((command, *arguments)), ran.stdout or ran.stderr)


def _allocated(status: dict[str, Any], provider: str) -> int:
    return next(int(one["accelerators"]["allocated"]) for one in status["providers"] if one["name"] == provider)


def _admitted(status: dict[str, Any]) -> list[str]:
    return [one["value"] for one in status.get("admission", {}).get("tolerations", [])]
