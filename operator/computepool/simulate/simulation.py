"""A simulated cluster that is played from one pass to the next: nothing is late, and no write is lost."""

from collections.abc import Iterable
from typing import Final

from computepool.model.api import ComputePool
from computepool.model.cluster import Node
from computepool.report.pass_report import PassReport
from computepool.simulate.clock import Clock
from computepool.simulate.cluster import Cluster
from computepool.simulate.operator import NOTHING_AROUND, SimulatedOperator, Surroundings
from computepool.simulate.owners import Owners
from computepool.simulate.scheduler import Scheduler
from computepool.simulate.standby_use import StandbyUse

REPLACED_WITHIN_SECONDS: Final = 30.0
"""Owners create what is missing before so much time passes."""
MOST_PASSES: Final = 60
"""A cluster that has not come to rest after so many passes never will."""


class NoRestError(Exception):
    """The parts of the cluster go on for ever although no time passes: a defect of the operator."""


class Simulation:
    """A cluster, and everything that acts on it."""

    def __init__(
        self,
        pool: ComputePool,
        nodes: Iterable[Node],
        now: float,
        *,
        grace_seconds: float = 0.0,
        around: Surroundings = NOTHING_AROUND,
    ) -> None:
        """Begin with idle nodes at `now` (seconds since the epoch), and an operator that has just started.

        `grace_seconds`: how long evicted pods take to end.
        """
        self.clock = Clock(now)
        self.cluster = Cluster(pool, nodes, self.clock, grace_seconds=grace_seconds)
        self.owners = Owners(self.cluster)
        self.scheduler = Scheduler(self.cluster)
        self.operator = SimulatedOperator(self.cluster, self.clock, around)
        self._standby_use = StandbyUse(self.cluster)

    @property
    def standby_seconds(self) -> float:
        """For how long devices of standbys were held: seconds of all devices together."""
        return self._standby_use.seconds

    def step(self) -> PassReport:
        """Let the operator see everything, decide once and carry it out."""
        self.operator.deliver()
        report = self.operator.decide()
        self.operator.carry_out(report)
        return report

    def settle(self) -> PassReport:
        """Let owners, scheduler and operator act in turn until only time can change anything; return the last pass.

        Raises NoRestError where that does not come.
        """
        for _ in range(MOST_PASSES):
            self.owners.replace_missing()
            before = self.cluster.version
            self.scheduler.run()
            report = self.step()
            if self.cluster.version == before and (self.owners.held or not self.owners.missing):
                return report
        raise NoRestError(f"not at rest after {MOST_PASSES} passes")

    def wait(self, seconds: float) -> None:
        """Let time pass; then deleted pods end whose grace period is over, and pods become Ready that have started."""
        if seconds > REPLACED_WITHIN_SECONDS:
            self.owners.replace_missing()
        self._standby_use.wait(seconds)
        self.clock.advance(seconds)
        self.cluster.end_deleted_pods()
        self.cluster.make_pods_ready()

    def run(self, seconds: float) -> None:
        """Let time pass, with passes whenever the operator wants one, or a deleted pod ends.

        Raises NoRestError as `settle` does.
        """
        end = self.clock.now + seconds
        while self.clock.now < end:
            recheck_at = self.settle().plan.recheck_at
            times = (recheck_at, self.cluster.next_end(), self.cluster.next_ready(), end)
            self.wait(max(0.0, min(at for at in times if at is not None) - self.clock.now))
        self.settle()
