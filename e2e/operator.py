"""The operator as a process beside a cluster, with exactly the rights that the chart gives its ServiceAccount.

    with chart.installed(cluster), OperatorProcess(cluster) as operator:
        operator.wait_leading()

    with chart.installed(cluster), operators(cluster, 2) as (leader, standby):
        leader.kill()
        standby.wait_leading()

A process ends as `e2e.child` says. A `supervised` one ends with its cluster instead.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from prometheus_client.parser import text_string_to_metric_families

from e2e import kubeconfig
from e2e.chart import NAMESPACE, SERVICE_ACCOUNT
from e2e.child import ChildError, ChildProcess
from e2e.cluster import Access, Cluster
from e2e.components import ComponentSpec
from e2e.errors import WaitTimeoutError

Json = dict[str, Any]
T = TypeVar("T")

# Seconds until a fresh process has its caches and serves; it takes about one, more on a busy machine.
READY_SECONDS = 60.0
# Seconds that a Lease lasts after its leader has stopped: the chart's own setting.
LEASE_SECONDS = 15.0
# Seconds that its token is good for. A cluster that is kept should not stop working within the day.
TOKEN_SECONDS = 24 * 3600
POLL_SECONDS = 0.02
HTTP_SECONDS = 5.0
LOG_TAIL_LINES = 25
SERVING = "serving health and metrics"


class OperatorError(ChildError):
    """The operator ended too early, or did not end; the text shows the end of its log."""


class Operator:
    """What an operator says of itself, in its log and by its endpoints, no matter which process started it."""

    def __init__(self, identity: str, log_file: Path) -> None:
        """`identity` is its name in the Lease."""
        self.identity = identity
        self.log_file = log_file
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self._port = 0

    @property
    def port(self) -> int:
        """Where it serves health and metrics, once it does: 0 before."""
        if not self._port:
            self._port = next((int(line["port"]) for line in self.log_lines() if line["message"] == SERVING), 0)
        return self._port

    def log(self) -> str:
        """All that it has written so far."""
        return self.log_file.read_text(errors="replace")

    def log_lines(self) -> list[Json]:
        """Its log line by line; a line that is not JSON, such as one of a traceback, is {"message": line}."""
        return [_parsed(line) for line in self.log().splitlines() if line]

    def get(self, path: str) -> str:
        """The body of one of its endpoints. Raises OSError where it does not answer, or not with 200."""
        with self._opener.open(f"http://127.0.0.1:{self.port}{path}", timeout=HTTP_SECONDS) as answer:
            return str(answer.read().decode())

    def metrics(self) -> str:
        """Its metrics, in Prometheus' text format."""
        return self.get("/metrics")

    def value(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that carry these labels; 0 where there is none.

        Counters end in `_total`; a histogram's parts in `_count`, `_sum` and `_bucket`.
        """
        families = text_string_to_metric_families(self.metrics())
        samples = [sample for family in families for sample in family.samples if sample.name == name]
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())

    @property
    def ready(self) -> bool:
        """Whether it serves and its caches are filled, leading or not."""
        return self.port > 0 and self._answers("/readyz")

    @property
    def leading(self) -> bool:
        """Whether it says that it leads; False where it does not answer."""
        try:
            return self.port > 0 and self.value("computepool_leader") == 1
        except OSError:
            return False

    def wait_ready(self, timeout: float = READY_SECONDS) -> None:
        """Wait until its caches are filled. Raises OperatorError where it ends instead, WaitTimeoutError."""
        self.wait_for(lambda: self.ready, "to be ready", timeout)

    def wait_leading(self, timeout: float = READY_SECONDS) -> None:
        """Wait until it leads. Errors as for `wait_ready`."""
        self.wait_for(lambda: self.leading, "to lead", timeout)

    def wait_logged(self, message: str, timeout: float = 30.0, **fields: Any) -> Json:
        """Wait until it has logged a line with this message and these fields, and return the first such line."""
        return self.wait_for(lambda: self._find(message, fields), f"to log {message!r} {fields or ''}", timeout)

    def wait_for(self, probe: Callable[[], T | None], what: str, timeout: float = 30.0) -> T:
        """Ask again and again until the answer is true, and return it: while the process lives, at most so long."""
        deadline = time.monotonic() + timeout
        while not (answer := probe()):
            if over := self._over():
                raise OperatorError(self._with_tail(f"{over}; it was waited for {what}"))
            if time.monotonic() > deadline:
                raise WaitTimeoutError(self._with_tail(f"was waited for {timeout:g} s {what}"))
            time.sleep(POLL_SECONDS)
        return answer

    def _over(self) -> str:
        """How it ended; empty while it runs, or where we cannot know."""
        return ""

    def _answers(self, path: str) -> bool:
        try:
            self.get(path)
        except OSError:
            return False
        return True

    def _find(self, message: str, fields: Json) -> Json | None:
        return next(
            (line for line in self.log_lines() if line["message"] == message and fields.items() <= line.items()), None
        )

    def _with_tail(self, what: str) -> str:
        tail = "\n".join(self.log().splitlines()[-LOG_TAIL_LINES:])
        return f"operator {self.identity} {what}. The end of its log:\n{tail or '(nothing)'}"


class OperatorProcess(Operator, ChildProcess):
    """An operator that we started: it can be ended, killed and paused."""

    def __init__(
        self,
        cluster: Access,
        *,
        identity: str | None = None,
        lease_seconds: float = LEASE_SECONDS,
        flags: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Start it and return at once; the chart must be installed.

        `identity` is its name in the Lease, in events and of its log. `lease_seconds` is how long the Lease of
        a dead leader lasts. `flags` are further flags of `computepool run`.
        """
        identity = identity or f"operator-{secrets.token_hex(3)}"
        Operator.__init__(self, identity, _log_file(cluster, identity))
        with self.log_file.open("ab") as log:
            ChildProcess.__init__(
                self,
                command(cluster, identity, lease_seconds, flags),
                cluster.command_env() | dict(env or {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _error(self, what: str) -> OperatorError:
        return OperatorError(self._with_tail(what))

    def _over(self) -> str:
        return "" if self.running else f"ended with {self._process.returncode}"


def command(
    cluster: Access, identity: str, lease_seconds: float = LEASE_SECONDS, flags: Sequence[str] = ()
) -> list[str]:
    """What to run for one operator process, with a token of the chart's ServiceAccount of its own."""
    access = kubeconfig.write(
        cluster.layout.folder / f"kubeconfig-{identity}",
        server=cluster.url,
        ca_file=cluster.ca_file,
        token=cluster.api.token(SERVICE_ACCOUNT, NAMESPACE, seconds=TOKEN_SECONDS),
        namespace=NAMESPACE,
    )
    return [
        *(str(Path(sys.executable).with_name("computepool")), "run", "--kubeconfig", str(access)),
        *("--namespace", NAMESPACE, "--identity", identity, "--lease-seconds", str(lease_seconds)),
        *("--http-host", "127.0.0.1", "--http-port", "0", "--log-format", "json"),
        *flags,
    ]


def supervised(cluster: Cluster, identity: str, flags: Sequence[str] = ()) -> Operator:
    """Start an operator that lives and ends with the cluster, also where that is kept; nothing is waited for.

    `flags` are further flags of `computepool run`.
    """
    log = _log_file(cluster, identity)
    cluster.run(ComponentSpec(identity, command(cluster, identity, flags=flags), str(log), health=""))
    return Operator(identity, log)


@contextmanager
def operators(cluster: Access, count: int = 2, **how: Any) -> Iterator[list[OperatorProcess]]:
    """That many processes until the block ends: the first leads, and the others wait with filled caches.

    `how` is for each as for OperatorProcess.
    """
    with ExitStack() as stack:
        started = [stack.enter_context(OperatorProcess(cluster, **how))]
        started[0].wait_leading()
        started += [stack.enter_context(OperatorProcess(cluster, **how)) for _ in range(count - 1)]
        for standby in started[1:]:
            standby.wait_ready()
        yield started


def _parsed(line: str) -> Json:
    try:
        parsed = json.loads(line)
    except ValueError:
        parsed = None
    return parsed if isinstance(parsed, dict) and "message" in parsed else {"message": line}


def _log_file(cluster: Access, identity: str) -> Path:
    return cluster.layout.logs / f"{identity}.log"
