"""A replacement that was Ready where it was meant to run, and is not Ready any more or had to leave again."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from computepool.decide.move.owner_history import START_SECONDS
from computepool.model.api import RunningPods
from computepool.model.cluster import Pod
from computepool.model.moves import MoveKind, Outcome, PodMove
from computepool.model.state import UnsettledMove
from computepool.observe.moves import Moves
from computepool.observe.replacements import follow
from computepool.report.move_outcomes import outcome_of
from computepool.simulate.clock import Clock
from computepool.simulate.owners import PodTemplate
from computepool.simulate.simulation import Simulation
from tests.builders import NOW, POOL, node, pod_move, pool, provider, shape
from tests.unit.core.moving import CALM, owned
from tests.unit.core.test_owner_history import home, web


class _CrashesAtHome:
    """W(8,1) on the standby, in one workload or in eight; each pod crashes some time after it was Ready at home."""

    def __init__(self, *, workloads: int, others_run_well: bool, after: float = 20.0) -> None:
        self._after = after
        failback = {"policy": "WhenStable", "minDwellSeconds": 60, "stableSeconds": 30}
        failover = {"runningPods": RunningPods.MOVE.value}
        of = pool(provider("aws"), provider("nebius"), failback=failback, failover=failover)
        self.site = Simulation(of, [node("a0", 1), node("n1", 16)], NOW)
        self._create(1, movable=False)
        self.site.settle()
        for _ in range(workloads):
            self._create(8 // workloads)
        self.site.run(60)
        self.site.cluster.add_node(node("a1", 32))
        if others_run_well:
            self._create(1, movable=False)
        self.fewest_ready = 8

    def _create(self, count: int, *, movable: bool | None = None) -> None:
        self.site.owners.create(PodTemplate(shape(1), movable=movable), count)

    def run(self, seconds: float, step: float = 10.0) -> None:
        cluster = self.site.cluster
        end = self.site.clock.now + seconds
        while self.site.clock.now < end:
            self.site.run(step)
            for pod in cluster.pods_on("aws"):
                if pod.movable is None and pod.ready and self.site.clock.now - (pod.started or 0.0) >= self._after:
                    cluster.update_pod(pod.uid, ready=False, failing=True)
            ready = sum(pod.ready for pod in cluster.pods.values() if pod.movable is None)
            self.fewest_ready = min(self.fewest_ready, ready)

    def came_home(self) -> int:
        return sum(done.move.kind is MoveKind.FAILBACK for done in self.site.operator.moved)


@pytest.mark.parametrize("workloads", [1, 8])
def test_pods_that_crash_some_time_after_they_came_home_draw_at_most_half_of_the_others(workloads: int) -> None:
    story = _CrashesAtHome(workloads=workloads, others_run_well=True)
    story.run(1000)
    assert story.fewest_ready >= 4
    assert story.site.operator.moved


def test_pods_that_crash_at_home_and_leave_again_are_not_brought_home_again_and_again() -> None:
    story = _CrashesAtHome(workloads=1, others_run_well=False)
    story.run(4000, step=20.0)
    assert 0 < story.came_home() <= 8


# -- the outcome


GONE = owned("gone", on="n1")
NEW = owned("new", on="a1", created=NOW - 99, appeared=2, ready=True, ready_since=NOW - 90)


def _ready_move(outcome: Outcome = Outcome.READY) -> PodMove:
    move = pod_move(GONE, "aws", at=NOW - 100, source="nebius", kind=MoveKind.FAILBACK, order=1)
    return msgspec.structs.replace(move, outcome=outcome, replacement=NEW.uid, landed="aws", ready_at=NOW - 90)


def _seen(*moves: PodMove, pods: tuple[Pod, ...] = ()) -> PodMove:
    by_uid = {pod.uid: pod for pod in pods}
    return follow(moves, lambda: pods, by_uid.get, lambda _pod: "aws", NOW)[0]


def test_a_replacement_that_is_not_ready_any_more_is_under_way_until_it_is_ready_again() -> None:
    broken = _seen(_ready_move(), pods=(msgspec.structs.replace(NEW, ready=False, ready_since=None),))
    assert (broken.outcome, broken.awaits_ready, broken.ended_well) == (Outcome.UNREADY, True, False)
    again = _seen(broken, pods=(msgspec.structs.replace(NEW, ready_since=NOW - 1),))
    assert (again.outcome, again.ready_at, again.ended_well) == (Outcome.READY, NOW - 1, True)


def test_a_replacement_that_terminates_tells_nothing() -> None:
    ending = msgspec.structs.replace(NEW, ready=False, ready_since=None, deleting=NOW + 30)
    assert _seen(_ready_move(), pods=(ending,)).outcome is Outcome.READY
    assert _seen(_ready_move()).outcome is Outcome.READY


def test_a_replacement_that_was_not_ready_at_the_end_is_lost() -> None:
    lost = _seen(_ready_move(Outcome.UNREADY))
    assert (lost.outcome, lost.came_to_nothing, lost.awaits_ready) == (Outcome.LOST, True, False)


@pytest.mark.parametrize(("kind", "outcome"), [(MoveKind.FAILOVER, Outcome.LOST), (MoveKind.RESCHEDULE, Outcome.READY)])
def test_a_replacement_that_has_to_leave_because_of_a_fault_is_lost(kind: MoveKind, outcome: Outcome) -> None:
    onward = pod_move(NEW, "nebius", at=NOW - 10, source="aws", kind=kind, order=3)
    assert _seen(_ready_move(), onward).outcome is outcome


def test_a_forced_move_has_done_its_work_once_its_replacement_was_ready() -> None:
    move = msgspec.structs.replace(_ready_move(), kind=MoveKind.FAILOVER)
    assert _seen(move, pods=(msgspec.structs.replace(NEW, ready=False, ready_since=None),)).outcome is Outcome.READY


def test_where_the_replacement_went_is_told_once() -> None:
    assert {outcome_of(_ready_move(outcome)) for outcome in (Outcome.READY, Outcome.UNREADY, Outcome.LOST)} == {
        Outcome.REPLACED
    }


def test_a_move_by_choice_is_watched_for_an_hour_and_a_forced_move_is_not() -> None:
    clock = Clock(NOW)
    moves = Moves(clock)
    gone = {kind: owned(f"gone-{kind}", on="n1", owner=f"rs-{kind}") for kind in (MoveKind.FAILBACK, MoveKind.FAILOVER)}
    for kind, pod in gone.items():
        moves.start(POOL, PodMove(pod, "nebius", "aws", kind, NOW))
        moves.recorded(pod.uid)
        moves.asked(pod.uid)
        moves.let_go(pod.uid, NOW)
    new = [owned(f"new-{kind}", on="a1", ready=True, appeared=99, owner=pod.owner) for kind, pod in gone.items()]
    moves.followed(POOL, lambda: new, {pod.uid: pod for pod in new}.get, lambda _pod: "aws")
    clock.advance(3_000.0)
    moves.prune(POOL, 0.0)
    assert [move.kind for move in moves.of(POOL)] == [MoveKind.FAILBACK]
    clock.advance(700.0)
    moves.prune(POOL, 0.0)
    assert not moves.of(POOL)


# -- a replacement that its owner removes before it is Ready

STARTS = msgspec.structs.replace(NEW, ready=False, ready_since=None)


@pytest.mark.parametrize("bound", [True, False])
def test_a_replacement_that_was_seen_and_removed_is_not_wanted_until_another_comes(bound: bool) -> None:
    left = msgspec.structs.replace(_ready_move(Outcome.LEFT), replacement="", ready_at=0.0)
    replaced = _seen(left, pods=(STARTS if bound else msgspec.structs.replace(STARTS, node=""),))
    assert (replaced.outcome, replaced.unwanted) == (Outcome.REPLACED if bound else Outcome.LEFT, False)
    removed = _seen(msgspec.structs.replace(replaced, at=NOW - 1000))
    assert removed.unwanted
    late = msgspec.structs.replace(STARTS, uid="late", appeared=9)
    assert not _seen(removed, pods=(late,)).unwanted


def _draining(owners: int, pods: int) -> Simulation:
    """Owners of so many pods each on a drained provider; once pods of a few owners have left, pods start slowly."""
    of = pool(provider("aws", drain=True), provider("nebius"), failover={"runningPods": RunningPods.MOVE.value})
    site = Simulation(of, [node("a1", 40)], NOW)
    for _ in range(owners):
        site.owners.create(PodTemplate(shape(1)), pods)
    site.run(700)
    site.cluster.add_node(node("n1", 40))
    site.run(10)
    site.cluster.start_seconds = 200.0
    site.run(20)
    return site


def _removes_pods_that_start(site: Simulation, count: int) -> None:
    """The owners want fewer pods: an autoscaler, a rollout or a deletion removes pods first that are not Ready."""
    starting = [pod for pod in site.cluster.pods_on("nebius") if not pod.ready]
    assert site.cluster.pods_on("aws")
    assert len(starting) >= count
    for pod in starting[:count]:
        site.owners.want_fewer(pod.uid)


@pytest.mark.parametrize(("owners", "pods", "fewer"), [(1, 8, 1), (1, 4, 1), (30, 1, 6)])
def test_a_drain_goes_on_after_owners_have_removed_replacements_that_were_not_ready(
    owners: int, pods: int, fewer: int
) -> None:
    site = _draining(owners, pods)
    _removes_pods_that_start(site, fewer)
    site.run(3000)
    assert not site.cluster.pods_on("aws")


def test_an_owner_whose_new_pods_are_refused_and_removed_again_and_again_is_not_emptied() -> None:
    site = _draining(1, 8)
    for _ in range(200):
        site.owners.held = False
        site.run(5)
        site.owners.held = True
        for pod in [pod for pod in site.cluster.pods_on("nebius") if not pod.ready]:
            site.cluster.delete_pod(pod.uid)
        site.run(55)
    assert sum(pod.ready for pod in site.cluster.pods.values()) >= 5


@pytest.mark.parametrize("restarts", [1, 3])
def test_a_drain_goes_on_after_a_restart_and_an_owner_that_wants_fewer_pods(restarts: int) -> None:
    site = _draining(1, 8)
    for _ in range(restarts):
        site.operator.restart()
        site.run(10)
    _removes_pods_that_start(site, 1)
    site.run(4000)
    assert not site.cluster.pods_on("aws")


def test_after_a_restart_an_owner_that_still_misses_a_pod_loses_no_second_pod() -> None:
    site = _draining(1, 4)
    site.run(200)
    left = len(site.operator.moved)
    site.owners.held = True
    site.run(50)
    site.operator.restart()
    site.run(20_000)
    assert len(site.operator.moved) <= left + 1
    assert len(site.owners.missing) == 1


# -- the next attempt


def _after_failures(times: int, ready_for: float) -> Any:
    move = msgspec.structs.replace(_ready_move(), at=NOW - ready_for - 5, ready_at=NOW - ready_for)
    new = msgspec.structs.replace(NEW, created=NOW - ready_for - 4, ready_since=NOW - ready_for)
    unsettled = {"rs-1": UnsettledMove(times, NOW - ready_for - 5, 8)} if times else {}
    state = msgspec.structs.replace(CALM, recorded=msgspec.structs.replace(CALM.recorded, unsettled=unsettled))
    return home(new, *web(7), moves=(move,), state=state)


@pytest.mark.parametrize(
    ("times", "ready_for", "moves"), [(0, 16, True), (1, 16, False), (1, 31, True), (3, 100, False)]
)
def test_after_each_move_that_came_to_nothing_the_next_replacement_proves_itself_for_twice_as_long(
    times: int, ready_for: float, moves: bool
) -> None:
    assert bool(_after_failures(times, ready_for).moves) is moves


@pytest.mark.parametrize(("ready_for", "times"), [(100, 1), (START_SECONDS + 1, 0)])
def test_moves_that_came_to_nothing_count_on_until_a_replacement_has_run_well_for_long(
    ready_for: float, times: int
) -> None:
    plan = _after_failures(1, ready_for)
    assert plan.moves
    assert plan.state.recorded.unsettled["rs-1"].times == times


def test_a_move_that_came_to_nothing_counts_once_although_a_later_replacement_flaps() -> None:
    lost = msgspec.structs.replace(_ready_move(Outcome.LOST), pod=owned("lost", on="n1"), at=NOW - 900, replacement="x")
    unsettled = {"rs-1": UnsettledMove(1, NOW - 101, 8)}
    recorded = msgspec.structs.replace(CALM.recorded, unsettled=unsettled)
    memory = msgspec.structs.replace(CALM.memory, failed_at={"rs-1": NOW - 800})
    state = msgspec.structs.replace(CALM, recorded=recorded, memory=memory)
    for outcome in (Outcome.READY, Outcome.UNREADY) * 3:
        ready = outcome is Outcome.READY
        new = msgspec.structs.replace(NEW, ready=ready, ready_since=NOW - 90 if ready else None)
        state = home(new, *web(7), moves=(lost, _ready_move(outcome)), state=state).state
        assert state.recorded.unsettled["rs-1"].times == 1


@pytest.mark.parametrize("after", [600.0, 2400.0])
def test_an_outage_at_home_some_time_after_the_failback_does_not_keep_a_namespace_away_for_hours(after: float) -> None:
    failback = {"policy": "WhenStable", "minDwellSeconds": 60, "stableSeconds": 30}
    of = pool(provider("aws"), provider("nebius"), failback=failback, failover={"runningPods": RunningPods.MOVE.value})
    site = Simulation(of, [node("a0", 1), node("n1", 64)], NOW)
    site.owners.create(PodTemplate(shape(1), movable=False, priority=9), 1)
    site.settle()
    for _ in range(6):
        site.owners.create(PodTemplate(shape(1)), 1)
    site.run(60)
    site.cluster.add_node(node("a1", 64))
    site.run(after)
    assert not site.cluster.pods_on("nebius")
    site.cluster.update_node("a1", ready="False")
    for pod in site.cluster.pods_on("aws"):
        site.cluster.update_pod(pod.uid, ready=False, ready_since=None)
    site.run(300)
    assert len(site.cluster.pods_on("nebius")) == 6
    site.cluster.update_node("a1", ready="True")
    site.run(1200)
    assert not site.cluster.pods_on("nebius")
