"""The cluster of the soak test: three providers, a pool with short time-outs, workloads, and restarted operators."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import urllib3

from e2e import brisk, chart, objects, pools
from e2e.audit import Audit
from e2e.cluster import Cluster
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
ROLE = {"role": "work"}
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
        self.silences: list[tuple[str, float, float | None]] = []
        """Node, since when its kubelet is dead, until when."""
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
            objects.disruption_budget(GUARDED, {"app": GUARDED}, max_unavailable=1),
            *objects.gpu_pods(BARE, BARE_PODS, labels={"app": BARE, **ROLE}),
        )
        for _ in range(OPERATORS):
            self.start_operator()
        self.operators[0].wait_ready()
        self.site.wait_bound(len(STEADY) + GUARDED_PODS + BARE_PODS + 8)

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

    # -- nodes -----------------------------------------------------------------------------------------------------

    def silence(self, names: list[str]) -> None:
        """Let kubelets die."""
        self.silences += [(name, time.monotonic(), None) for name in names]
        insist(lambda: self.site.silence(names))

    def revive(self, names: list[str]) -> None:
        """Let them live again."""
        insist(lambda: self.site.revive(names))
        now = time.monotonic()
        self.silences = [
            (name, since, now if until is None and name in names else until) for name, since, until in self.silences
        ]

    def was_silent(self, node: str, at: float, slack: float) -> bool:
        """Whether a node's kubelet was dead at a time, or had been not longer than `slack` seconds before."""
        return any(
            name == node and since <= at <= (until if until is not None else at) + slack
            for name, since, until in self.silences
        )

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
        insist(lambda: brisk.drain(self.site, self.pool, provider, on=on))


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
