"""The cluster of the soak test: three providers, a pool with short time-outs, workloads, and restarted operators."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import urllib3

from e2e import brisk, chart, objects, pools
from e2e.audit import Audit
from e2e.cluster import Cluster
from e2e.command import COMMAND
from e2e.components import APISERVER, Options
from e2e.errors import E2EError, WaitTimeoutError
from e2e.kubeapi import ApiError
from e2e.operator import OperatorError, OperatorProcess
from e2e.recorder import Recorder
from e2e.site import Site

Json = dict[str, Any]
T = TypeVar("T")

FIRST, SECOND, THIRD = "aws", "nebius", "crusoe"
NODES = {FIRST: 3, SECOND: 2, THIRD: 3}
GPUS = 8
MAX_ACCELERATORS = 10
"""Of the second provider."""
DWELL_SECONDS = 15
AWAY_PER_MINUTE, HOME_PER_MINUTE = 30, 10
PER_MINUTE = AWAY_PER_MINUTE + HOME_PER_MINUTE
"""Failover and failback have a limit each; from outside nobody can tell which of them an eviction was."""
LEASE_SECONDS = 5.0
OPERATORS = 2
STEADY = tuple(f"steady-{number}" for number in range(6))
"""Workloads of one pod: each of their moves is a move of the workload."""
GUARDED, LOAD, BARE = "guarded", "load", "bare"
GUARDED_PODS, BARE_PODS, LOAD_MOST = 4, 2, 24
SLOW, SLOW_PODS, SLOW_SECONDS = "slow", 4, 6
"""A workload without a disruption budget. Its pods take so many seconds to become Ready, as if they loaded a model."""
KEPT, KEPT_PODS = "kept", 3
"""A workload that asks not to be disrupted: its pods leave only nodes that fail."""
CRASHING = "crashing"
"""A workload whose pods fail as soon as they are bound."""
ABSURD = "absurd"
"""Pods of no pool that request an amount which no node has, and that may name their node themselves."""
ROLE = {"role": "work"}
OTHER_PODS = len(STEADY) + GUARDED_PODS + BARE_PODS + SLOW_PODS + KEPT_PODS
"""Pods of all workloads but LOAD."""
PLACES = GPUS * (NODES[FIRST] + NODES[THIRD]) + MAX_ACCELERATORS
SPEC: Json = brisk.spec(
    health={"clearSeconds": 2, "breaker": {"backoffSeconds": 2, "maxBackoffSeconds": 8, "proveSeconds": 1}},
    failover={"maxConcurrentMoves": 6, "perMinute": AWAY_PER_MINUTE, "evictionTimeoutSeconds": 10},
    failback={
        "policy": "WhenStable",
        "stableSeconds": 3,
        "minDwellSeconds": DWELL_SECONDS,
        "perMinute": HOME_PER_MINUTE,
        "maxConcurrentMoves": 3,
    },
    admission={"mode": "WhenSaturated"},
    saturation={"pendingSeconds": 1, "sustainSeconds": 2, "clearSeconds": 3},
)
RETRY_SECONDS = 60.0
DO_NOT_DISRUPT = "karpenter.sh/do-not-disrupt"


Step = Callable[[], object]


class Fault(NamedTuple):
    """One thing that goes wrong."""

    name: str
    seconds: float
    """How long it lasts."""
    begin: Step
    end: Step


def nothing() -> None:
    """The end of a fault that is over once it was begun."""


class Spans:
    """Since when and until when something was wrong with nodes."""

    def __init__(self) -> None:
        """Nothing is wrong."""
        self._spans: list[tuple[str, float, float | None]] = []

    def begin(self, names: Iterable[str]) -> None:
        """Something goes wrong with these nodes."""
        self._spans += [(name, time.monotonic(), None) for name in names]

    def end(self, names: Iterable[str]) -> None:
        """These nodes are well again."""
        now, ended = time.monotonic(), set(names)
        self._spans = [
            (name, since, now if until is None and name in ended else until) for name, since, until in self._spans
        ]

    def covered(self, node: str, at: float, slack: float) -> bool:
        """Whether something was wrong with a node at a time, or had been not longer than `slack` seconds before."""
        return any(
            name == node and since <= at <= (until if until is not None else at) + slack
            for name, since, until in self._spans
        )


class World:
    """All that faults strike, and a record of the faults."""

    def __init__(self, cluster: Cluster, audit: Audit) -> None:
        """Furnish the cluster, which has the chart."""
        self.cluster = cluster
        self.audit = audit
        self.site = Site(cluster)
        self.api = cluster.api
        self.nodes: dict[str, list[str]] = {}
        self.operators: list[OperatorProcess] = []
        self.ended: list[OperatorProcess] = []
        self.silences = Spans()
        """Nodes whose kubelets are dead."""
        self.failing = Spans()
        """Nodes that fail, or whose provider is drained: only such nodes may be left by pods that run there."""
        self.history = Recorder(self.api, self.site.namespace)
        self.pool = self.site.namespace

    # -- beginning and end -----------------------------------------------------------------------------------------

    def furnish(self) -> None:
        """Add nodes, the pool, workloads and operators, and wait until all runs."""
        for provider, count in NODES.items():
            self.nodes[provider] = self.site.add_nodes(provider, count, gpus=GPUS, taint=provider != FIRST)
        bounded = pools.provider(self.site, SECOND, capacity={"maxAccelerators": MAX_ACCELERATORS})
        providers = [pools.provider(self.site, FIRST), bounded, pools.provider(self.site, THIRD)]
        self.api.create(pools.pool_of(self.site, providers, self.pool, **SPEC))
        self.site.create(*(objects.gpu_deployment(name, 1, labels=ROLE) for name in STEADY))
        self.site.create(
            objects.gpu_deployment(GUARDED, GUARDED_PODS, labels=ROLE, ready_after=1),
            objects.gpu_deployment(LOAD, 8, labels=ROLE),
            objects.gpu_deployment(SLOW, SLOW_PODS, labels=ROLE, ready_after=SLOW_SECONDS),
            objects.gpu_deployment(KEPT, KEPT_PODS, labels=ROLE, annotations={DO_NOT_DISRUPT: "true"}),
            objects.gpu_deployment(CRASHING, 0, fails="Error"),
            objects.disruption_budget(GUARDED, {"app": GUARDED}, max_unavailable=1),
            *objects.gpu_pods(BARE, BARE_PODS, labels={"app": BARE, **ROLE}),
        )
        for _ in range(OPERATORS):
            self.start_operator()
        self.operators[0].wait_ready()
        self.site.wait_bound(OTHER_PODS + 8)

    def close(self) -> None:
        """End what was started."""
        self.history.close()
        for operator in self.operators:
            operator.resume()
            with suppress(OperatorError):
                operator.close()

    # -- operators -------------------------------------------------------------------------------------------------

    def start_operator(self) -> None:
        """Start one more."""
        made = insist(lambda: OperatorProcess(self.cluster, lease_seconds=LEASE_SECONDS))
        self.operators.append(made)

    def leader(self) -> OperatorProcess | None:
        """The operator that says it leads, if any does just now."""
        return next((operator for operator in self.operators if operator.running and operator.leading), None)

    def replace_ended(self) -> None:
        """Start another for each that has ended, as a kubelet would."""
        for operator in [process for process in self.operators if not process.running]:
            self.operators.remove(operator)
            self.ended.append(operator)
            self.start_operator()

    def explain(self, pod: str) -> str:
        """Return what `computepool explain` prints about a pod; empty if the API server is away or the pod gone."""
        words = ["explain", f"{self.site.namespace}/{pod}", "--kubeconfig", str(self.cluster.kubeconfig)]
        ended = subprocess.run([COMMAND, *words], capture_output=True, text=True, timeout=RETRY_SECONDS, check=False)
        return ended.stdout if ended.returncode == 0 else ""

    # -- nodes -----------------------------------------------------------------------------------------------------

    def silence(self, names: list[str]) -> None:
        """Let kubelets die."""
        self.silences.begin(names)
        self.failing.begin(names)
        insist(lambda: self.site.silence(names))

    def revive(self, names: list[str]) -> None:
        """Let them live again."""
        insist(lambda: self.site.revive(names))
        self.silences.end(names)
        self.failing.end(names)

    def fail(self, names: list[str], begin: Step) -> None:
        """Let nodes fail in another way."""
        self.failing.begin(names)
        insist(begin)

    def mend(self, names: list[str], end: Step) -> None:
        """End that."""
        insist(end)
        self.failing.end(names)

    # -- workloads -------------------------------------------------------------------------------------------------

    def scale(self, name: str, replicas: int) -> None:
        """Scale a Deployment."""
        patch = {"spec": {"replicas": replicas}}
        insist(lambda: self.api.patch("deployments.apps", name, patch, self.site.namespace))

    def edit(self, patch: Json) -> None:
        """Change the pool's spec."""
        insist(lambda: brisk.set_spec(self.site, self.pool, patch))

    def drain(self, provider: str, *, on: bool) -> None:
        """Set or lift a drain."""
        change, names = (self.fail if on else self.mend), self.nodes[provider]
        change(names, lambda: brisk.drain(self.site, self.pool, provider, on=on))


@contextmanager
def world(folder: Path) -> Iterator[World]:
    """A furnished world, as long as the block lasts."""
    audit = Audit(folder)
    options = Options(node_lease_seconds=4, extra_flags={APISERVER: audit.flags()})
    with Cluster(options=options) as cluster, chart.installed(cluster):
        made = World(cluster, audit)
        try:
            made.furnish()
            yield made
        finally:
            made.close()


def insist(work: Callable[[], T]) -> T:
    """Try until it succeeds: the API server may be away just now, by our own doing."""
    deadline = time.monotonic() + RETRY_SECONDS
    while True:
        try:
            return work()
        except (urllib3.exceptions.HTTPError, E2EError) as problem:
            if isinstance(problem, ApiError) and 400 <= problem.status < 500 and problem.status not in (409, 429):
                raise
            if time.monotonic() > deadline:
                raise WaitTimeoutError(f"the API server did not come back: {problem}") from problem
        threading.Event().wait(0.2)


def short(names: list[str]) -> str:
    """Return nodes' names without the site's, for people."""
    return ", ".join(name.split("-", 2)[-1] for name in sorted(names))
