"""The parts of each step of the demo: commands, waits for an observation, and notes of what was done when."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from e2e import brisk
from e2e.cluster import Cluster
from e2e.demo.recorder import DemoRecorder
from e2e.demo.screen import Screen
from e2e.demo.seen import Act, Step
from e2e.demo.stage import Stage
from e2e.recorder import Life

T = TypeVar("T")

FOLDER = Path(__file__).parent
NAMESPACE, POOL = "inference", "inference"
GROWING, STAYING = "chat", "records"
# Seconds that a step may take. It takes one or two, or what the pool's settings say; a busy machine gets its time.
PATIENCE = 60.0
# Seconds until the operator has told in events what it did long ago.
TELLING = 15.0


class Telling:
    """One telling of the story: the stage, the screen, the recorder, and what was done so far."""

    def __init__(self, stage: Stage, screen: Screen, recorder: DemoRecorder) -> None:
        """The recorder watches already."""
        self.stage = stage
        self.screen = screen
        self.recorder = recorder
        self.steps: list[Step] = []
        self.acts: list[Act] = []

    @property
    def cluster(self) -> Cluster:
        """The cluster that it plays on."""
        return self.stage.cluster

    @property
    def pods(self) -> list[Life]:
        """The growing Deployment's pods that are there and not leaving."""
        return self.recorder.here(GROWING)

    @property
    def cost_per_hour(self) -> str:
        """The hourly cost of the pool's pods, as its status says."""
        return str((self.recorder.pool or {}).get("status", {}).get("costPerHour", ""))

    def step(self, title: str) -> None:
        """Begin a step."""
        self.steps.append(Step(self.now(), len(self.steps) + 1, title))
        self.screen.title(f"{len(self.steps)}  {title}")

    def now(self) -> float:
        """The time on the recorder's clock."""
        return time.monotonic()

    def act(self, text: str) -> float:
        """Note what is done to the cluster, and return when."""
        self.acts.append(Act(self.now(), text))
        return self.acts[-1].at

    def apply(self, *names: str) -> None:
        """Apply manifests of this folder."""
        self.screen.command("kubectl apply " + " ".join(f"-f e2e/demo/{name}" for name in names))
        self.cluster.kubectl("apply", *(f"--filename={FOLDER / name}" for name in names))

    def patch(self, name: str) -> None:
        """Patch the pool with a file of this folder."""
        how = ("patch", "cpool", POOL, "--type=merge")
        self.screen.command(f"kubectl {' '.join(how)} --patch-file=e2e/demo/{name}")
        self.cluster.kubectl(*how, f"--patch-file={FOLDER / name}")

    def kubectl(self, *arguments: str) -> None:
        """Run kubectl, shown as a person would type it."""
        self.screen.command("kubectl " + " ".join(arguments))
        self.cluster.kubectl(*arguments)

    def scale(self, replicas: int) -> None:
        """Scale the Deployment."""
        self.act(f"The Deployment {GROWING} is scaled to {replicas} pods.")
        self.kubectl("scale", f"deployment/{GROWING}", f"--namespace={NAMESPACE}", f"--replicas={replicas}")

    def run(self, command: str, *arguments: str) -> None:
        """Run one of the project's commands and show what it prints."""
        ran = subprocess.run(
            [Path(sys.executable).with_name(command), *arguments],
            env=self.cluster.command_env() | {"COLUMNS": str(self.screen.console.width)},
            capture_output=True,
            text=True,
            check=False,
        )
        self.screen.command(" ".join((command, *arguments)), ran.stdout or ran.stderr)

    def wait(self, condition: Callable[[], T | None], what: str, timeout: float = PATIENCE) -> T:
        """Wait until something is true of what was seen. Raises WaitTimeoutError."""
        return self.recorder.wait(condition, what, timeout)

    def shown(self, condition: Callable[[dict[str, Any]], bool], what: str) -> None:
        """Wait until the pool's status says so."""

        def shows() -> bool:
            status = (self.recorder.pool or {}).get("status", {})
            return "providers" in status and condition(status)

        self.wait(shows, f"the pool's status to show {what}")

    def say_condition(self, kind: str) -> None:
        """Tell what a condition of the pool says."""
        conditions = (self.recorder.pool or {}).get("status", {}).get("conditions", [])
        for condition in (each for each in conditions if each["type"] == kind):
            self.screen.say(f"{kind} is {condition['status']} ({condition['reason']}): {condition['message']}")

    def heard(self, reason: str) -> None:
        """Wait until the operator has told of something in an event on the pool: it does so when the work is done."""

        def told() -> bool:
            return any(event.kind == "ComputePool" and event.reason == reason for event in self.recorder.events)

        self.wait(told, f"an event {reason} on the pool", TELLING)

    def breaker(self, provider: str, state: str) -> None:
        """Wait until the pool's status says that a provider's breaker is in that state."""
        self.shown(
            lambda status: brisk.breaker_of(status, provider).get("state") == state,
            f"the breaker of {provider} {state}",
        )

    def all_bound(self, count: int, *providers: str, timeout: float = PATIENCE) -> None:
        """Wait until the Deployment has so many pods, all bound, and if providers are given, to nodes of those."""
        where = self.stage.provider_of_node

        def bound() -> bool:
            pods = self.pods
            return len(pods) == count and all(p.node and (not providers or where[p.node] in providers) for p in pods)

        on = f" on {', '.join(providers)}" if providers else ""
        self.wait(bound, f"{count} bound pods of {GROWING}{on}", timeout)


def allocated(status: dict[str, Any], provider: str) -> int:
    """How many of a provider's accelerators are taken, by the pool's status."""
    return next(int(each["accelerators"]["allocated"]) for each in status["providers"] if each["name"] == provider)


def admitted(status: dict[str, Any]) -> list[str]:
    """Whom new pods are admitted to, by the pool's status."""
    return [toleration["value"] for toleration in status.get("admission", {}).get("tolerations", [])]
