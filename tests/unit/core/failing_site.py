"""A simulated cluster on which pods of some workloads fail as soon as they are bound to some providers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from computepool.assess.demand.overflow import Hold
from computepool.model.cluster import Node, Pod
from computepool.report.pass_report import PassReport
from computepool.simulate.owners import PodTemplate
from computepool.simulate.simulation import MOST_PASSES, Simulation
from tests.builders import NOW, pool, shape


class FailingSite(Simulation):
    """The containers of each pod that `fails` names do not start. Then it is gone, and its owner makes another pod."""

    def __init__(self, providers: Iterable[dict[str, Any]], nodes: Iterable[Node], **spec: Any) -> None:
        super().__init__(pool(*providers, **spec), nodes, NOW)
        self.fails: Callable[[Pod, str], bool] = lambda _pod, _provider: False
        """By a pod and the name of the provider that it is bound to."""
        self.failed: list[Pod] = []
        """All pods that have failed."""
        self.report: PassReport

    def fill(self, gpus: int = 8) -> None:
        """Take a node of the primary."""
        self.owners.create(PodTemplate(shape(gpus)), 1)
        self.settle()

    def create(self, replicas: int, gpus: int = 1, **fields: Any) -> str:
        """Let a new owner create pods; return the owner's uid."""
        template = PodTemplate(shape(gpus, scheduler=fields.pop("scheduler", "")), **fields)
        return self.owners.create(template, replicas)[0].owner

    def grow(self, owner: str, replicas: int) -> None:
        """Let an owner create more pods."""
        self.owners.grow(owner, replicas)

    def settle(self) -> PassReport:
        for _ in range(MOST_PASSES):
            self.owners.replace_missing()
            before = self.cluster.version
            self.scheduler.run()
            self._fail()
            self.report = self.step()
            if self.cluster.version == before and not self.owners.missing:
                return self.report
        raise AssertionError(f"not at rest after {MOST_PASSES} passes")

    def pods_of(self, owner: str) -> list[Pod]:
        """The pods of an owner."""
        return [pod for pod in self.cluster.pods.values() if pod.owner == owner]

    def providers_of(self, owner: str) -> list[str]:
        """Where the pods of an owner are, sorted; an empty string for a pod that waits."""
        return sorted(self.cluster.provider_of(pod.node) if pod.node else "" for pod in self.pods_of(owner))

    def failures_of(self, owner: str) -> int:
        """How many pods of an owner have failed."""
        return sum(1 for failed in self.failed if failed.owner == owner)

    def holds_of(self, owner: str) -> list[Hold]:
        """How the pods of an owner waited in the last pass."""
        return [hold for hold in self.report.plan.holds if hold.pod.owner == owner]

    def tainted(self) -> list[str]:
        """The nodes in quarantine."""
        return sorted(node.name for node in self.cluster.nodes.values() if node.quarantined)

    def _fail(self) -> None:
        for pod in list(self.cluster.pods.values()):
            if pod.node and self.fails(pod, self.cluster.provider_of(pod.node)):
                self.failed.append(pod)
                self.cluster.update_pod(pod.uid, ready=False, failing=True)
                self.cluster.delete_pod(pod.uid)
