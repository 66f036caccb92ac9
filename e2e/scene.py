"""Scenes for tests of failover: three providers, a pool with short time-outs, and a workload that runs on a provider.

with away(site) as scene:          # the workload runs on the second provider, as the first is taken
    site.silence(scene.nodes[SECOND])
    wait_settled(site, {THIRD: scene.count})
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from e2e import brisk, objects, pools
from e2e.operator import Operator
from e2e.recorder import Recorder
from e2e.site import Site

Json = dict[str, Any]

FIRST, SECOND, THIRD = "aws", "nebius", "crusoe"
GPUS = 4
NODES = 2
FIRST_NODE_PERCENT = 50
"""Of two nodes one never fails at the same moment as the other, and in between the pods of the one would go to the
other: unless a test says more, a provider fails with its first node."""
ALL_NODES: Json = {"unhealthyPercent": 100}
"""Health of a provider that fails only with all of its nodes. On a busy machine, two nodes that fall silent together
are seen to do so seconds apart: with this, the reason is ProviderSilent all the same."""
COUNT = 6
"""Pods of the workload: more than one node takes, and two places stay free."""
RESIDENT = "app=resident"
WORK = "role=work"
LABELS = {"role": "work"}
"""The label of every workload that is played with; each has a label `app` of its own besides."""


@dataclass(frozen=True)
class Scene:
    """What is there."""

    site: Site
    pool: str
    nodes: Mapping[str, list[str]]
    """Names of each provider's nodes."""
    history: Recorder
    count: int

    @property
    def deployment(self) -> str:
        """The name of the workload, where it is a Deployment."""
        return "work"

    def scale(self, replicas: int) -> None:
        """Scale the workload, a Deployment."""
        self.site.api.patch("deployments.apps", self.deployment, {"spec": {"replicas": replicas}}, self.site.namespace)

    def evicted(self) -> int:
        """How many pods of the workload were evicted so far."""
        return len(self.history.evicted("work"))

    def breaker(self, provider: str) -> str:
        """The state of a provider's breaker."""
        return str(brisk.breaker_of(self.status(), provider).get("state", ""))

    def silence(self, *providers: str) -> None:
        """Let all nodes of these providers fall silent."""
        self.site.silence([name for provider in providers for name in self.nodes[provider]])

    def break_down(self, *providers: str) -> None:
        """Let all nodes of these providers say that they are not ready."""
        self.site.break_nodes([name for provider in providers for name in self.nodes[provider]])

    def mend(self, *providers: str) -> None:
        """Let those nodes be ready again."""
        self.site.mend_nodes([name for provider in providers for name in self.nodes[provider]])

    def let_pass(self, operator: Operator) -> None:
        """Have the operator look at the pool as it now is, and wait until it has."""
        passes = "computepool_decision_seconds_count"
        before = operator.value(passes)
        label = {"metadata": {"labels": {"e2e.computepool.io/look": f"{before:.0f}"}}}
        self.site.api.patch("nodes", self.nodes[FIRST][0], label)
        operator.wait_for(lambda: operator.value(passes) > before, "to have looked at the pool")

    def status(self) -> Json:
        """The pool's status."""
        return brisk.status_of(self.site, self.pool)


def work(count: int = COUNT, **pod: Any) -> Json:
    """The workload, unless a test has another: a Deployment."""
    return objects.gpu_deployment("work", count, labels=LABELS, **pod)


@contextmanager
def away(
    site: Site, manifests: Sequence[Json] | None = None, *, count: int = COUNT, third: int = NODES, **spec: Any
) -> Iterator[Scene]:
    """The primary is taken by two bare pods, and a workload of `count` pods runs on the second provider.

    `third` is how many nodes the third has; `spec` is laid over the pool's, see `brisk.spec`.
    """
    nodes = _nodes(site, {FIRST: 1, SECOND: NODES, THIRD: third}, primary_gpus=2)
    site.create(*objects.gpu_pods("resident", 2, labels={"app": "resident"}))
    site.wait_bound(2, labels=RESIDENT)
    with _played(site, nodes, manifests, {SECOND: count}, spec) as scene:
        yield scene


@contextmanager
def home(
    site: Site, manifests: Sequence[Json] | None = None, *, count: int = COUNT, standby: int = NODES, **spec: Any
) -> Iterator[Scene]:
    """A workload of `count` pods runs on the primary, and each standby has `standby` nodes."""
    nodes = _nodes(site, {FIRST: NODES, SECOND: standby, THIRD: standby})
    with _played(site, nodes, manifests, {FIRST: count}, spec) as scene:
        yield scene


def _nodes(site: Site, counts: Mapping[str, int], primary_gpus: int = GPUS) -> dict[str, list[str]]:
    """Add so many nodes of each provider, and return their names."""
    gpus = {FIRST: primary_gpus, SECOND: GPUS, THIRD: GPUS}
    nodes = {
        provider: site.add_nodes(provider, count, gpus=gpus[provider], taint=provider != FIRST, wait=False)
        for provider, count in counts.items()
    }
    site.wait_schedulable([name for names in nodes.values() for name in names])
    return nodes


@contextmanager
def _played(
    site: Site, nodes: Mapping[str, list[str]], manifests: Sequence[Json] | None, settled: Mapping[str, int], spec: Json
) -> Iterator[Scene]:
    """A pool and a workload, once so many of its pods run on each provider."""
    count = sum(settled.values())
    providers = spec.pop("providers", (FIRST, SECOND, THIRD))
    spec["health"] = {"unhealthyPercent": FIRST_NODE_PERCENT, **spec.get("health", {})}
    with Recorder(site.api, site.namespace) as history, pools.pool(site, providers, **brisk.spec(**spec)) as pool:
        site.create(*(manifests if manifests is not None else [work(count)]))
        if count:
            brisk.wait_settled(site, settled)
        yield Scene(site, pool["metadata"]["name"], nodes, history, count)
