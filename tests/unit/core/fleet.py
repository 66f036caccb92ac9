"""The simulated cluster under test: whatever is played on it, what has happened is held against the limits.

What has to hold is checked at every step, by what really happened and not by what the operator knows. What a decision
alone shows is checked by the operator itself (decide/invariants.py), in production too.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from computepool.assess.capacity.providers import Provider
from computepool.model.accelerators import request_of
from computepool.model.api import BreakerState, ComputePool
from computepool.model.cluster import Node, Pod, Shape
from computepool.model.moves import PENDING_SECONDS, MoveKind
from computepool.model.quantity import MILLI
from computepool.model.state import recorded_in, restarted
from computepool.report.pass_report import PassReport
from computepool.simulate.operator import CompletedMove
from computepool.simulate.owners import PodTemplate
from computepool.simulate.simulation import Simulation
from tests.builders import GPU, NOW

HOME: Final = (MoveKind.FAILBACK,)
FORCED: Final = (MoveKind.FAILOVER, MoveKind.RESCHEDULE)


@dataclass
class Eviction:
    """A pod that was let go."""

    lineage: str
    """What stays the same when an owner makes another pod in its place."""
    at: float
    kind: MoveKind
    dead: bool
    """Whether its node did not answer."""
    by_choice: bool = False
    """Whether it could as well have stayed."""

    @property
    def owner(self) -> str:
        """The part of the lineage that all pods of an owner share."""
        return self.lineage.split("-")[0]


class Fleet(Simulation):
    """A simulated cluster, with everything that has to hold checked at each step."""

    def __init__(self, pool: ComputePool, nodes: Iterable[Node], *, grace: float = 0.0) -> None:
        super().__init__(pool, nodes, NOW, grace_seconds=grace)
        self.refuses = False
        """Whether disruption budgets refuse all evictions."""
        self.cluster.held_by_budget = lambda _pod: self.refuses
        self.evictions: list[Eviction] = []
        self.finished: set[str] = set()
        """The lineages of pods that have ended by themselves."""
        self._last: dict[str, Eviction] = {}

    # -- what is played

    def create(self, count: int, of: Shape, after: float = 3.0, **fields: Any) -> None:
        """An owner makes so many pods, some time after whatever happened before."""
        self.clock.advance(after)
        self.owners.create(PodTemplate(of, **fields), count)

    def turn(self, name: str, **state: Any) -> None:
        """A node changes: not in the very second in which its pods were created."""
        self.clock.advance(1.0)
        self.cluster.update_node(name, **state)

    def finish(self, uids: Iterable[str]) -> None:
        """Pods end by themselves."""
        for uid in list(uids):
            self.finished.add(self.lineage_of(uid))
            self.cluster.finish_pod(uid)

    def step(self) -> PassReport:
        """Decide once, check what was decided, carry it out and check what came of it."""
        self.operator.deliver()
        report = self.operator.decide()
        self.check_decision(report)
        self.operator.carry_out(report)
        self.check()
        return report

    def step_late(self) -> None:
        """Decide once by what was seen before, and carry it out: what has changed since is not delivered yet."""
        self.operator.carry_out(self.operator.decide())
        self.check()

    def restart(self) -> None:
        """Another leader takes over, which knows what is recorded: that is all that counts. Owners are quicker."""
        # An operator that has had no pass yet holds the record with the times of its moves bounded.
        began = self.operator.store.moves.since(self.cluster.pool.name)
        recorded = recorded_in(self.cluster.pool)
        assert self.operator.state.recorded in (recorded, restarted(recorded, began).recorded)
        self.owners.replace_missing()
        self.clock.advance(0.5)
        self.operator.restart()

    def crash(self, evicted: int, *, recorded: bool) -> None:
        """The leader ends in the middle of a pass: before its status is written, or after so many of its evictions."""
        self.operator.deliver()
        report = self.operator.decide()
        self.check_decision(report)
        for burst in report.plan.bursts[:evicted]:
            self.operator.burst(burst)
        if recorded:
            self.operator.conclude(report)
            for move in report.plan.moves[:evicted]:
                self.operator.move(move)
        self.check()
        self.owners.replace_missing()
        self.clock.advance(0.5)
        self.operator.restart()

    # -- what is there

    def pods(self) -> list[Pod]:
        """All pods."""
        return list(self.cluster.pods.values())

    def lineage_of(self, uid: str) -> str:
        """What stays the same as pods replace one another."""
        return self.owners.lineage[uid]

    def sent(self) -> list[str]:
        """The lineages of the pods that were sent to standbys, in order."""
        return [self.lineage_of(burst.pod.uid) for burst in self.operator.bursts]

    # -- what has to hold of a decision

    def check_decision(self, report: PassReport) -> None:
        """Who may leave; and invariant 5: all that go to a provider in one pass have a place there at the same time."""
        plan = report.plan
        if plan.frozen:
            assert plan.moves == ()
            assert plan.quarantine is None
        for move in plan.moves:
            pod = self.cluster.pods[move.pod.uid]
            assert pod.owner
            assert pod.deleting is None
            if move.kind is MoveKind.FAILOVER:
                fault = report.state.memory.node_faults.get(pod.node)
                assert self.cluster.nodes[pod.node].quarantined
                failed = report.state.breaker(move.source).state is BreakerState.OPEN
                assert failed or (fault is not None and fault.unhealthy)
        for target in {move.target for move in plan.moves}:
            self._check_places(report, target)

    def _check_places(self, report: PassReport, target: str) -> None:
        unhealthy = {name for name, fault in report.state.memory.node_faults.items() if fault.unhealthy}
        left = self.scheduler.left()
        room = [
            left[node.name][GPU]
            for node in self.cluster.nodes.values()
            if self.cluster.provider_of(node.name) == target and node.usable and not node.quarantined
            if node.name not in unhealthy
        ]
        sizes = [request_of(move.pod, GPU) for move in report.plan.moves if move.target == target]
        assert packs(sorted(sizes, reverse=True), room), (target, sizes)

    # -- what has to hold of what has happened

    def check(self) -> None:
        """Moves at once, in a minute, and of one workload after another; limits of providers; the budget."""
        for moved in self.operator.moved[len(self.evictions) :]:
            self._note(moved)
        spec = self.cluster.pool.spec
        for kinds, limits in ((FORCED, spec.failover), (HOME, spec.failback)):
            of_kind = [eviction for eviction in self._since(PENDING_SECONDS) if eviction.kind in kinds]
            assert (
                len([eviction for eviction in of_kind if self._is_under_way(eviction)]) <= limits.max_concurrent_moves
            )
            lately = [eviction for eviction in of_kind if eviction.at > self.clock.now - 60]
            assert limits.per_minute is None or len(lately) <= limits.per_minute
        for standby in self.cluster.providers[1:]:
            assert standby.limit is None or self._committed(standby) <= standby.limit
        hour = spec.budget.hourly() if spec.budget else None
        assert hour is None or self.hourly() <= hour

    def hourly(self) -> Decimal:
        """The cost of pods that are on standbys or may go there without a further decision."""
        cost = Decimal(0)
        standbys = sorted(self.cluster.providers[1:], key=lambda standby: standby.price or Decimal(0), reverse=True)
        for pod in self.pods():
            if pod.deleting is None:
                where = next((standby for standby in standbys if self._may_be_on(pod, standby)), None)
                price = Decimal(0) if where is None or where.price is None else where.price
                cost += price * request_of(pod, GPU) / MILLI
        return cost

    def _note(self, moved: CompletedMove) -> None:
        """Invariant 6: one move per workload in minDwellSeconds, unless its node does not answer."""
        pod, dwell = moved.move.pod, self.cluster.pool.spec.failback.min_dwell_seconds
        eviction = Eviction(
            self.lineage_of(pod.uid),
            moved.at,
            moved.move.kind,
            dead=not self.cluster.is_answering(pod),
            by_choice=moved.move.by_choice,
        )
        last = self._last.get(eviction.lineage)
        early = last is not None and not eviction.dead and eviction.at < last.at + dwell - 1
        assert not early, f"{eviction.lineage} is moved again too soon"
        if eviction.by_choice:
            self._check_others_of_owner(eviction)
        self._last[eviction.lineage] = eviction
        self.evictions.append(eviction)

    def _check_others_of_owner(self, eviction: Eviction) -> None:
        """Invariant 11: an owner misses at most a quarter of its pods by moves by choice, or a single pod."""
        alive = {self.lineage_of(pod.uid): pod for pod in self.pods() if pod.deleting is None}
        missing = [
            lineage
            for lineage, last in self._last.items()
            if last.by_choice and last.owner == eviction.owner and lineage not in (*self.finished, eviction.lineage)
            if lineage not in alive or not alive[lineage].ready
        ]
        there = {lineage for lineage in alive if lineage.split("-")[0] == eviction.owner}
        count = len(there.union(missing, (eviction.lineage,)))
        assert len(missing) + 1 <= max(1, count // 4), f"{eviction.lineage} is moved while {missing} are"

    def _is_under_way(self, eviction: Eviction) -> bool:
        """Whether the pod made in the place of an evicted one is not bound yet."""
        if self._last[eviction.lineage] is not eviction:
            return False
        waiting = (self.lineage_of(pod.uid) for pod in self.cluster.waiting_pods())
        return eviction.lineage in (*self.owners.missing, *waiting)

    def _since(self, seconds: float) -> list[Eviction]:
        after = self.clock.now - seconds
        return list(itertools.takewhile(lambda eviction: eviction.at > after, reversed(self.evictions)))

    def _committed(self, standby: Provider) -> int:
        return sum(request_of(pod, GPU) for pod in self.pods() if self._may_be_on(pod, standby))

    def _may_be_on(self, pod: Pod, standby: Provider) -> bool:
        if pod.node:
            return self.cluster.provider_of(pod.node) == standby.name
        return set(standby.tolerations) <= set(pod.shape.tolerations)


def packs(sizes: Sequence[int], room: Sequence[int]) -> bool:
    """Whether all of these fit at the same time."""
    if not sizes:
        return True
    return any(
        left >= sizes[0] and packs(sizes[1:], [*room[:index], left - sizes[0], *room[index + 1 :]])
        for index, left in enumerate(room)
        if left not in room[:index]
    )
