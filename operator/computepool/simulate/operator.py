"""The operator of a simulated cluster: the real store and the real decisions, with writes that a caller may steer.

A caller that wants no trouble calls `deliver`, `decide` and `carry_out` in turn. A caller that wants trouble delivers
late, carries out one write at a time, loses writes, leaves them in doubt, or restarts the operator in between.
"""

from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final

import msgspec

from computepool.decide.move.blocked import MAX_LISTED
from computepool.decide.move.revalidate import Revalidation
from computepool.decide.plan import Admission, Burst, LabelFix, Move
from computepool.decide.reconcile import reconcile
from computepool.model.api import UNAVAILABLE_KEY, ComputePool, Mode
from computepool.model.cluster import Offer, Pod
from computepool.model.labels import Labels
from computepool.model.offers_annotation import with_offer
from computepool.model.reasons import Reason
from computepool.model.state import PoolState, recorded_in, restarted
from computepool.model.taints import Taint
from computepool.model.well_known_keys import BURST_LABEL, NAMESPACE_NAME_LABEL, QUARANTINE_EFFECT
from computepool.observe.decode import Namespace
from computepool.observe.store import Store
from computepool.report.pass_report import PassReport
from computepool.report.status import status_of
from computepool.simulate.clock import Clock
from computepool.simulate.cluster import Cluster, Event, NodeChanged, PodChanged, PodGone


class CompletedMove(msgspec.Struct, frozen=True):
    """A move whose pod the API server has let go."""

    move: Move
    at: float


class Surroundings(msgspec.Struct, frozen=True):
    """The parts of a real cluster, beside its nodes and pods, that decide which pool a pod belongs to."""

    namespaces: Mapping[str, Labels] = MappingProxyType({})
    """By name. Other namespaces have no labels but their names."""
    reserved_namespaces: frozenset[str] = frozenset()
    """Their pods belong to no pool."""
    other_pools: tuple[ComputePool, ...] = ()
    """They keep their pods, and nothing is decided about them."""


NOTHING_AROUND: Final = Surroundings()


class SimulatedOperator:
    """The operator that runs now, of one pool. `restart` puts another one in its place."""

    def __init__(self, cluster: Cluster, clock: Clock, around: Surroundings = NOTHING_AROUND) -> None:
        """Begin with a list of what is there."""
        self.store: Store
        self.state: PoolState
        """What the next pass goes on from."""
        self.bursts: list[Burst] = []
        """All that were written, by whichever operator."""
        self.moved: list[CompletedMove] = []
        """All pods that were let go, by whichever operator."""
        self.writes_status = True
        """Whether each pass writes the pool's status. Only an operator that takes over reads it, so a caller that
        restarts none may do without: a status takes as long as many decisions."""
        self.most_blocked = MAX_LISTED
        """How many blocked moves the plan of a pass lists."""
        self._cluster = cluster
        self._clock = clock
        self._around = around
        self._name = cluster.pool.name
        self._undelivered: deque[Event] = deque()
        self._latest: Revalidation
        self._doubted: set[str]
        cluster.listeners.append(self._undelivered.append)
        self.restart()

    def restart(self) -> None:
        """Let a new operator take over. It lists the cluster and reads the pool's status; all else is forgotten."""
        cluster, clock = self._cluster, self._clock
        self._undelivered.clear()
        self._doubted = set()
        reserved = self._around.reserved_namespaces
        self.store = Store(lambda _pool, _at, **_: None, wall=clock, clock=clock, reserved_namespaces=reserved)
        for pool in self._around.other_pools:
            self.store.put_pool(pool, clock.now)
        for node in cluster.nodes.values():
            self.store.put_node(node, clock.now)
        for pod in cluster.pods.values():
            self._see(pod, listed=True)
        self.store.put_pool(cluster.pool, clock.now)
        self.state = restarted(recorded_in(cluster.pool), self.store.moves.since(self._name))
        self._told = cluster.pool.status

    def deliver(self, count: int | None = None) -> None:
        """Let the operator see what has changed: the first `count` changes, or all of them."""
        now = self._clock.now
        for _ in range(len(self._undelivered) if count is None else min(count, len(self._undelivered))):
            match self._undelivered.popleft():
                case PodChanged(pod):
                    self._see(pod, listed=False)
                case PodGone(pod):
                    self.store.drop_pod(pod.uid, now)
                case NodeChanged(node):
                    self.store.put_node(node, now)

    def _see(self, pod: Pod, *, listed: bool) -> None:
        labels = self._around.namespaces.get(pod.namespace) or {NAMESPACE_NAME_LABEL: pod.namespace}
        self.store.put_namespace(Namespace(pod.namespace, 0, labels), self._clock.now)
        self.store.put_pod(pod, self._clock.now, listed=listed)

    # --- one pass

    def decide(self) -> PassReport:
        """Run a pass, and note what it begins, without any interruption. Nothing is written yet."""
        now = self._clock.now
        self.store.tick(now, connected=True)
        snapshot = self.store.snapshot(self._name)
        outcome = reconcile(snapshot, self.state, now, most_blocked=self.most_blocked)
        self.state = outcome.state
        self._latest = Revalidation(outcome.assessment, snapshot.pool.spec.accelerator.resource_name, now)
        if self._enforces:
            for burst in outcome.plan.bursts:
                # An earlier write was seen in the meantime.
                self._doubted.discard(burst.pod.uid)
                self.store.start_offer(burst.pod.uid, Offer(burst.provider, now))
            for move in outcome.plan.moves:
                self.store.moves.start(self._name, move.begun(now))
        return PassReport(snapshot, outcome.assessment, outcome.plan, outcome.state)

    def carry_out(self, report: PassReport) -> None:
        """Make all writes of a pass, in the operator's order: the status counts moves before the first of them."""
        if self._enforces:
            for burst in report.plan.bursts:
                self.burst(burst)
        self.conclude(report)
        if self._enforces:
            for move in report.plan.moves:
                self.move(move)

    def conclude(self, report: PassReport) -> None:
        """Make the writes that concern no single burst or move: labels, taints, the admission policy and the status."""
        plan = report.plan
        if self._enforces:
            for fix in plan.label_fixes:
                self._fix_label(fix)
        # In mode Observe, what was tainted in mode Enforce is freed.
        self._quarantine(plan.quarantine if self._enforces else {})
        self._tell(report)
        if not plan.frozen:
            self._cluster.admission = plan.admission if self._enforces else Admission()

    @property
    def _enforces(self) -> bool:
        return self._cluster.pool.spec.mode is Mode.ENFORCE

    # --- bursts, one write at a time

    def burst(self, burst: Burst) -> None:
        """Let a patch reach the API server, which refuses it where the pod has other tolerations by now."""
        uid = burst.pod.uid
        if not self._patch(burst):
            self.lose(burst)
            return
        seen = self.store.pod(uid)
        version = self._cluster.pods[uid].resource_version
        self.store.in_flight.written(uid, version, seen.resource_version if seen is not None else 0)

    def lose(self, burst: Burst) -> None:
        """Let a patch fail: the operator learns it, and may decide anew."""
        self.store.in_flight.drop(burst.pod.uid)

    def doubt(self, burst: Burst, *, arrives: bool) -> None:
        """Let a patch have no answer. The operator waits until the watch shows it, or until it gives up."""
        uid = burst.pod.uid
        if arrives:
            self._patch(burst)
        self._doubted.add(uid)
        self.store.in_flight.doubted(uid, self.store.pod(uid))

    def give_up_doubted(self) -> None:
        """Take every write in doubt that was not seen for one that was not made."""
        for uid in self._doubted:
            self.store.in_flight.drop(uid)
        self._doubted.clear()

    def _patch(self, burst: Burst) -> bool:
        before = burst.pod
        pod = self._cluster.pods.get(before.uid)
        if pod is None:
            return False
        wanted = (*before.shape.tolerations, *burst.tolerations)
        after = self._cluster.update_pod(
            before.uid,
            shape=self._cluster.tolerating(pod.shape, wanted),
            labels={**pod.labels, BURST_LABEL: burst.provider},
            offers=with_offer(pod.offers, Offer(burst.provider, self._clock.now)),
            signals=burst.signals,
        )
        if after is not None:
            self.bursts.append(burst)
        return after is not None

    # --- moves, one write at a time

    def move(self, move: Move) -> None:
        """Look at a move once more, and let its pod go. The status has to count it already."""
        moves, uid, now = self.store.moves, move.pod.uid, self._clock.now
        if self._why_not(move) is not None:
            moves.dropped(uid)
            return
        moves.asked(uid)
        if uid not in self._cluster.pods:
            moves.failed(uid)
            return
        if move.release:
            self._cluster.delete_pod(uid)
        elif not self._cluster.evict_pod(uid):
            moves.refused(uid, now)
            return
        moves.let_go(uid, now)
        self.moved.append(CompletedMove(move, now))

    def _why_not(self, move: Move) -> Reason | None:
        pod = self.store.pod(move.pod.uid)
        if pod is None or pod.node != move.pod.node or pod.deleting is not None:
            return Reason.ALREADY_LEFT
        return self._latest.why_not(move)

    # --- what concludes a pass

    def _fix_label(self, fix: LabelFix) -> None:
        pod = self._cluster.pods.get(fix.pod.uid)
        if pod is not None:
            others = {key: value for key, value in pod.labels.items() if key != BURST_LABEL}
            self._cluster.update_pod(pod.uid, labels={**others, BURST_LABEL: fix.provider} if fix.provider else others)

    def _quarantine(self, wanted: Mapping[str, Reason] | None) -> None:
        """Have these nodes carry the operator's taint, and no others; None: leave all as they are."""
        if wanted is None:
            return
        for node in list(self._cluster.nodes.values()):
            reason = wanted.get(node.name)
            value = None if reason is None else str(reason)
            if node.quarantine != value:
                others = tuple(taint for taint in node.taints if taint.key != UNAVAILABLE_KEY)
                own = () if value is None else (Taint(UNAVAILABLE_KEY, value, QUARANTINE_EFFECT),)
                self._cluster.update_node(node.name, taints=(*others, *own))

    def _tell(self, report: PassReport) -> None:
        """Write the status. From then on it counts the moves of the pass."""
        if self.writes_status:
            self._told = status_of(report, self._told, datetime.fromtimestamp(self._clock.now, UTC))
            self._cluster.pool = self._cluster.pool.model_copy(update={"status": self._told})
        if self._enforces:
            for move in report.plan.moves:
                self.store.moves.recorded(move.pod.uid)
