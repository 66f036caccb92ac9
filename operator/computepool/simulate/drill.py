"""A drill on a simulated copy of a real cluster: a provider is lost or drained, and the operator's own code acts.

What the simulated operator does is what the real operator would do, as far as the copy goes. The copy has no images to
pull, no volumes and no other pools' operators. Its pods end at once, and its scheduler reads the same constraints as
the operator. Kubernetes' own eviction of pods from unreachable nodes, minutes later, is left out.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Final

import msgspec

from computepool.assess.capacity.providers import own_tolerations
from computepool.decide.move.eligibility import node_bound
from computepool.model.accelerators import request_of
from computepool.model.api import BreakerState, ComputePool, DrainedPods
from computepool.model.cluster import Node, Pod, made_again
from computepool.model.quantity import MILLI
from computepool.model.reasons import Reason
from computepool.model.signals import SignalData
from computepool.model.state import PoolState
from computepool.observe.disruption_budgets import DisruptionBudget
from computepool.report.pass_report import PassReport
from computepool.report.status import cost_per_hour
from computepool.simulate.cluster import Event, PodChanged
from computepool.simulate.disruption_budgets import DisruptionBudgets
from computepool.simulate.kubelets import Kubelets
from computepool.simulate.operator import Surroundings
from computepool.simulate.simulation import Simulation

LONGEST_SECONDS: Final = 3600.0
"""A drill ends after an hour."""
_PASS_SECONDS: Final = 0.2
"""Between two passes of which the first has changed something: the time in which the watch shows the change."""
_LONGEST_WAIT: Final = 10.0
"""Between two passes: nodes may have fallen silent."""
_TICK_SECONDS: Final = 2.0
"""The store's clock must tick more often than every three seconds."""
_LEAST_WAIT: Final = 0.001
_QUIET_SECONDS: Final = 60.0
"""After so long without a change, passes are made less often."""
_QUIET_STEP: Final = 5.0
_PATIENCE: Final = 300.0
"""After so long without a change, and without a time at which anything is due, the drill is over."""


class How(StrEnum):
    """What happens to the provider."""

    FAILS = "Fails"
    DRAIN = "Drain"


class Seed(msgspec.Struct, frozen=True):
    """A real cluster, as it was read once."""

    pool: ComputePool
    nodes: tuple[Node, ...]
    pods: tuple[Pod, ...]
    """The pods of all namespaces that have not ended."""
    now: float
    """When it was read, in seconds since the epoch."""
    state: PoolState
    """What the leader has recorded."""
    around: Surroundings = Surroundings()
    budgets: tuple[DisruptionBudget, ...] = ()
    signals: Mapping[str, SignalData] = {}
    start_seconds: float = 0.0
    """How long pods take from their binding until they are Ready."""


class Fate(msgspec.Struct):
    """What becomes of one pod that runs on the provider. Times are seconds since the drill began."""

    pod: Pod
    accelerators: int
    moved_at: float | None = None
    target: str = ""
    """The provider that it was moved to."""
    why: Reason | None = None
    """Why it was moved."""
    refused: int = 0
    """How many times a disruption budget has refused its eviction."""
    bound_at: float | None = None
    runs_on: str = ""
    """The provider on which its replacement was bound; empty outside the pool's providers."""
    ready_at: float | None = None
    stays: Reason | None = None
    """Why it has no Ready replacement elsewhere at the end."""
    rejected: tuple[tuple[str, Reason], ...] = ()
    """Why each provider does not take it."""

    @property
    def stranded(self) -> bool:
        """Whether it has no Ready replacement elsewhere at the end."""
        return self.ready_at is None


class Turn(msgspec.Struct, frozen=True):
    """A breaker that has changed."""

    at: float
    """Seconds since the drill began."""
    provider: str
    state: BreakerState
    reason: Reason | None


class Course(msgspec.Struct, frozen=True):
    """The course of a drill."""

    how: How
    provider: str
    fates: tuple[Fate, ...]
    """One for each pod of the pool that runs there, in the order in which they were moved."""
    turns: tuple[Turn, ...]
    seconds: float
    """How long it was played."""
    unfinished: bool
    """Whether pods were still being moved when it ended."""
    halted: str
    """Why nothing, or no running pod, could be moved at the end; usually empty."""
    refusals: Mapping[str, int]
    """By disruption budget: how many evictions it has refused."""
    exhausted: bool
    """Whether the pool's budget kept pods back at any time."""
    cost_before: Decimal | None
    """The pool's cost an hour; None without prices."""
    cost_after: Decimal | None
    start_seconds: float

    @property
    def stranded(self) -> list[Fate]:
        """The pods without a Ready replacement elsewhere."""
        return [fate for fate in self.fates if fate.stranded]

    @property
    def served_after(self) -> float | None:
        """After how many seconds the last replacement was Ready; None if there was none."""
        return max((fate.ready_at for fate in self.fates if fate.ready_at is not None), default=None)


Progress = Callable[[float, int, int], None]
"""Told from time to time: the seconds that were played, the pods that are Ready elsewhere, and all pods."""


def play(seed: Seed, provider: str, how: How, progress: Progress = lambda *_: None) -> Course:
    """Play a drill until it comes to rest, or for an hour.

    Raises InvariantBreachError if a plan of the operator breaks an invariant.
    """
    return _Drill(seed, provider, how).play(progress)


class _Drill:
    def __init__(self, seed: Seed, provider: str, how: How) -> None:
        self._seed = seed
        self._provider = provider
        self._how = how
        self._resource = seed.pool.spec.accelerator.resource_name
        around = seed.around
        self._simulation = Simulation(seed.pool, seed.nodes, seed.now, around=around)
        cluster, owners = self._simulation.cluster, self._simulation.owners
        cluster.start_seconds = seed.start_seconds
        self._budgets = DisruptionBudgets(cluster, seed.budgets)
        for pod in seed.pods:
            # A pod on a node that is gone holds no place.
            if pod.node in cluster.nodes or not pod.node:
                cluster.adopt_pod(pod)
                if pod.owner and not node_bound(pod):
                    owners.adopt(pod, self._template(pod))
        operator = self._simulation.operator
        operator.restart()
        operator.state = seed.state
        operator.writes_status = False
        operator.store.put_signals(seed.pool.name, seed.signals)
        cluster.listeners.append(self._note_replacement)
        self._kubelets = Kubelets(cluster, operator.store.heartbeats, seed.now)
        self._fates = {pod.uid: Fate(pod, request_of(pod, self._resource) // MILLI) for pod in self._own()}
        # The pods that took the place of others, in the order in which they came.
        self._replacements: dict[str, None] = {}
        self._served = 0
        self._turns: list[Turn] = []
        self._seen_moves = 0
        self._changed_at = seed.now
        self._exhausted = False

    def play(self, progress: Progress) -> Course:
        clock, cluster = self._simulation.clock, self._simulation.cluster
        before = self._pass()
        # Some pods may have left by what this pass has decided, before anything was lost.
        self._fates = {uid: fate for uid, fate in self._fates.items() if uid in cluster.pods}
        self._begin()
        end = clock.now + LONGEST_SECONDS
        report = before
        while clock.now < end and not self._is_over(report):
            version = cluster.version
            report = self._pass()
            if cluster.version != version:
                self._changed_at = clock.now
            self._wait(min(self._next_at(report, changed=cluster.version != version), end))
            progress(self._seconds, self._served, len(self._fates))
        # The last pass says of every pod why it stays.
        self._simulation.operator.most_blocked = len(cluster.pods)
        return self._course(before, self._pass())

    # --- what is played

    def _begin(self) -> None:
        """Lose or drain the provider."""
        simulation = self._simulation
        if self._how is How.FAILS:
            cluster = simulation.cluster
            lost = [name for name in cluster.nodes if cluster.provider_of(name) == self._provider]
            self._kubelets.stop(lost, simulation.clock.now)
            return
        pool = simulation.cluster.pool
        drained = {"drain": True, "drain_running_pods": DrainedPods.MOVE}
        providers = tuple(
            spec.model_copy(update=drained) if spec.name == self._provider else spec for spec in pool.spec.providers
        )
        spec = pool.spec.model_copy(update={"providers": providers})
        simulation.cluster.pool = pool.model_copy(update={"spec": spec})
        simulation.operator.store.put_pool(simulation.cluster.pool, simulation.clock.now)

    def _pass(self) -> PassReport:
        simulation = self._simulation
        now = simulation.clock.now
        breakers = simulation.operator.state.recorded.breakers
        self._note_replacements()
        report = simulation.step()
        simulation.owners.replace_missing()
        simulation.scheduler.run()
        self._kubelets.answer(report.plan.leases_to_read, now)
        for name, breaker in report.state.recorded.breakers.items():
            if name not in breakers or breakers[name].state is not breaker.state:
                self._turns.append(Turn(self._seconds, name, breaker.state, breaker.reason))
        self._exhausted = self._exhausted or report.plan.exhausted
        self._note_moves()
        return report

    def _wait(self, until: float) -> None:
        simulation = self._simulation
        while simulation.clock.now < until:
            # The clock has milliseconds: a shorter wait may be none.
            simulation.wait(max(_LEAST_WAIT, min(_TICK_SECONDS, until - simulation.clock.now)))
            self._kubelets.run(simulation.clock.now)

    def _next_at(self, report: PassReport, *, changed: bool) -> float:
        now = self._simulation.clock.now
        if changed:
            return now + _PASS_SECONDS
        cluster = self._simulation.cluster
        times = (report.plan.recheck_at, cluster.next_end(), cluster.next_ready(), now + _LONGEST_WAIT)
        least = _QUIET_STEP if now - self._changed_at > _QUIET_SECONDS else _PASS_SECONDS
        return max(now + least, min(at for at in times if at is not None))

    def _is_over(self, report: PassReport) -> bool:
        """Say whether all pods run elsewhere, or nothing has changed for so long that nothing will."""
        if self._served == len(self._fates):
            return True
        spec, now = self._simulation.cluster.pool.spec, self._simulation.clock.now
        slow = spec.failover.silence_seconds + spec.failover.lost_seconds + spec.health.sustain_seconds
        due = max((blocked.until or 0.0 for blocked in report.plan.blocked), default=0.0)
        return now > max(self._changed_at, due) + _PATIENCE + slow

    # --- what is noted

    @property
    def _seconds(self) -> float:
        return self._simulation.clock.now - self._seed.now

    def _own(self) -> list[Pod]:
        """Return the pods of the pool that run on the provider and could run elsewhere."""
        store, cluster, name = self._simulation.operator.store, self._simulation.cluster, self._seed.pool.name
        return [
            pod
            for pod in cluster.pods_on(self._provider)
            if request_of(pod, self._resource) and not node_bound(pod) and store.claims_of(pod.uid)[:1] == (name,)
        ]

    def _template(self, pod: Pod) -> Pod:
        """Return the pod as its owner makes it: not bound, and without what sent it to a standby."""
        cluster = self._simulation.cluster
        return made_again(pod, cluster.tolerating(pod.shape, own_tolerations(pod, cluster.providers)))

    def _note_moves(self) -> None:
        operator, owners = self._simulation.operator, self._simulation.owners
        for moved in operator.moved[self._seen_moves :]:
            fate = self._fates.get(owners.lineage.get(moved.move.pod.uid, moved.move.pod.uid))
            if fate is not None and fate.moved_at is None:
                fate.moved_at, fate.target, fate.why = moved.at - self._seed.now, moved.move.target, moved.move.reason
        self._seen_moves = len(operator.moved)

    def _note_replacement(self, event: Event) -> None:
        """Note a pod that takes the place of a pod of the provider."""
        if isinstance(event, PodChanged):
            uid = event.pod.uid
            if uid not in self._fates and self._simulation.owners.lineage.get(uid, "") in self._fates:
                self._replacements[uid] = None

    def _note_replacements(self) -> None:
        """Note where the replacements run, and follow each until it is Ready elsewhere or gone."""
        cluster, owners = self._simulation.cluster, self._simulation.owners
        for uid in list(self._replacements):
            pod, fate = cluster.pods.get(uid), self._fates.get(owners.lineage[uid])
            if pod is None or fate is None or not fate.stranded:
                del self._replacements[uid]
                continue
            if not pod.node or pod.deleting is not None:
                continue
            where = cluster.provider_of(pod.node)
            if where == self._provider:
                continue
            if fate.bound_at is None:
                fate.bound_at, fate.runs_on = self._seconds, where
            if pod.ready:
                fate.ready_at = self._seconds
                self._served += 1

    # --- the end

    def _course(self, before: PassReport, after: PassReport) -> Course:
        self._note_stranded(after)
        order = sorted(self._fates.values(), key=_in_order)
        quiet = self._simulation.clock.now - self._changed_at > _QUIET_SECONDS
        return Course(
            how=self._how,
            provider=self._provider,
            fates=tuple(order),
            turns=tuple(self._turns),
            seconds=self._seconds,
            unfinished=any(fate.stranded for fate in order) and not quiet,
            halted=after.plan.frozen or after.plan.held_back,
            refusals=dict(self._budgets.refused),
            exhausted=self._exhausted,
            cost_before=_cost(before),
            cost_after=_cost(after),
            start_seconds=self._seed.start_seconds,
        )

    def _note_stranded(self, report: PassReport) -> None:
        owners = self._simulation.owners
        decided = [
            *((blocked.pod, blocked.reason, blocked.rejected) for blocked in report.plan.blocked),
            *((hold.pod, hold.reason, hold.rejected) for hold in report.plan.holds),
        ]
        by_uid = {owners.lineage.get(pod.uid, pod.uid): (reason, rejected) for pod, reason, rejected in decided}
        # Of some pods a plan says nothing, such as those whose eviction was just refused. Pods of one owner mostly
        # share their reason.
        by_owner = {(pod.owner, pod.shape): (reason, rejected) for pod, reason, rejected in reversed(decided)}
        for uid, fate in self._fates.items():
            if fate.stranded:
                found = by_uid.get(uid) or by_owner.get((fate.pod.owner, fate.pod.shape))
                fate.stays, fate.rejected = found or (None, ())


def _in_order(fate: Fate) -> tuple[bool, float, str, str]:
    return fate.moved_at is None, fate.moved_at or 0.0, fate.pod.namespace, fate.pod.name


def _cost(report: PassReport) -> Decimal | None:
    known = [cost for supply in report.assessment.supplies if (cost := cost_per_hour(supply)) is not None]
    return sum(known, Decimal(0)) if known else None
