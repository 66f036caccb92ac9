"""A simulated cluster whose operator sees late, loses writes and may stop at any instruction, and what always holds.

The scheduler binds in any order, and refuses some pods for unknown reasons.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any

from computepool.assess.capacity.providers import Provider
from computepool.decide.plan import Burst
from computepool.model.accelerators import request_of
from computepool.model.cluster import Node, Pod, Shape
from computepool.model.quantity import MILLI
from computepool.report.pass_report import PassReport
from computepool.simulate.clock import Clock
from computepool.simulate.cluster import Cluster, Event, PodChanged
from computepool.simulate.operator import SimulatedOperator
from computepool.simulate.scheduler import Scheduler, fits
from tests.builders import GPU, NOW, pool
from tests.builders import pod as new_pod

GRACE = 30.0
"""Seconds that a pod which is asked to end holds its place at most."""
MOST_PASSES = 300


class World:
    """The parts of a simulation, each played alone; `check` holds at every moment."""

    def __init__(self, providers: Sequence[dict[str, Any]], nodes: Iterable[Node], **spec: Any) -> None:
        self.clock = Clock(NOW)
        self.cluster = Cluster(pool(*providers, **spec), nodes, self.clock, grace_seconds=GRACE)
        self.scheduler = Scheduler(self.cluster)
        self.operator = SimulatedOperator(self.cluster, self.clock)
        self.providers = self.cluster.providers
        self.late: list[Burst] = []
        """Bursts whose patch has not reached the API server yet."""
        self._tolerations: dict[str, frozenset[Any]] = {}
        self.cluster.listeners.append(self._see)

    def create(self, name: str, shape: Shape, refused_by: Iterable[str] = (), **fields: Any) -> None:
        """Create a pod; the scheduler never binds it to the providers in `refused_by`."""
        made = self.cluster.create_pod(new_pod(name, shaped=shape, **fields))
        self.scheduler.refused_by[made.uid] = frozenset(refused_by)

    def burst(self, burst: Burst) -> None:
        """Let a patch reach the API server: never one to a provider that the pod tolerates already."""
        there = self.cluster.pods.get(burst.pod.uid)
        wanted = {*burst.pod.shape.tolerations, *burst.tolerations}
        # Of a pod that tolerates more by now, the API server refuses the patch.
        if there is not None and wanted.issuperset(there.shape.tolerations):
            target = next(provider for provider in self.providers if provider.name == burst.provider)
            assert not target.tolerated_by(there.shape), f"{there.name} is sent to {burst.provider} twice"
        self.operator.burst(burst)
        self.check()

    def settle(self) -> PassReport:
        """Let everything come to rest: nothing more happens, what is under way arrives, time passes as asked."""
        while self.late:
            self.burst(self.late.pop())
        order = random.Random(0)
        for _ in range(MOST_PASSES):
            self.operator.deliver()
            before = self.cluster.version
            self.scheduler.run_at_random(order)
            self.operator.deliver()
            report = self.operator.decide()
            for burst in report.plan.bursts:
                self.burst(burst)
            self.operator.conclude(report)
            self.check()
            if self.cluster.version != before:
                continue
            recheck_at = report.plan.recheck_at
            if recheck_at is None:
                return report
            assert recheck_at > self.clock.now
            self.clock.advance(recheck_at - self.clock.now)
        raise AssertionError("there is no end to it")

    # -- what has to hold

    def committed(self, target: Provider) -> int:
        """What the pool's pods hold on a provider, or may hold there without any further decision; in devices."""
        return sum(
            request_of(pod, GPU) // MILLI
            for pod in self.cluster.pods.values()
            if (self.cluster.provider_of(pod.node) == target.name if pod.node else target.tolerated_by(pod.shape))
        )

    def check(self) -> None:
        """Limits hold at every moment, whatever the operator knows of it."""
        for target in self.providers:
            if target.limit is not None:
                assert self.committed(target) * MILLI <= target.limit, f"more than maxAccelerators of {target.name}"

    def check_served(self, report: PassReport) -> None:
        """Nobody waits who could run: neither where it may go already, nor where it might have been sent."""
        left = self.scheduler.left()
        nodes = list(self.cluster.nodes.values())
        waiting = self.cluster.waiting_pods()
        for pod in waiting:
            assert not any(self.scheduler.takes(pod, node, left) for node in nodes), pod.name
            for target in self.providers[1:]:
                if not self._is_open(pod, target, report):
                    continue
                wanted = self.cluster.tolerating(pod.shape, (*pod.shape.tolerations, *target.tolerations))
                others = [other for other in waiting if other is not pod and target.tolerated_by(other.shape)]
                there = [node for node in nodes if self.cluster.provider_of(node.name) == target.name]
                if not others:
                    assert not any(fits(wanted, node, left[node.name]) for node in there), (pod.name, target.name)
                if target.kind.before_room:
                    assert target.contradicts(pod.shape), (pod.name, target.name)

    def _is_open(self, pod: Pod, target: Provider, report: PassReport) -> bool:
        """Whether the pod might still be sent to the provider, room or not."""
        failed = not report.state.breaker(target.name).closed
        if report.plan.frozen or failed or not pod.allows(target.name) or target.tolerated_by(pod.shape):
            return False
        needed = self.committed(target) * MILLI + request_of(pod, GPU)
        return target.limit is None or needed <= target.limit

    def _see(self, event: Event) -> None:
        match event:
            case PodChanged(changed):
                had, has = self._tolerations.get(changed.uid, frozenset()), frozenset(changed.shape.tolerations)
                assert had <= has, f"{changed.name} lost a toleration"
                self._tolerations[changed.uid] = has
