"""A move by choice never follows a move of the same owner that did not end well, or whose end is not known."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import pytest

from computepool.decide.move.owner_history import FIRST_DELAY_SECONDS
from computepool.model.cluster import Node, Pod, Shape
from computepool.model.moves import MoveKind, Outcome
from computepool.model.reasons import Reason
from computepool.model.state import UnsettledMove
from computepool.simulate.owners import PodTemplate
from computepool.simulate.simulation import Simulation
from tests.builders import NOW, changed, node, pod_move, pool, provider, shape, snapshot
from tests.unit.core.fleet import Fleet
from tests.unit.core.moving import CALM, blocked, moved_to, owned, stay_of
from tests.unit.core.passes import Decided, decided

HOME = {"policy": "WhenStable", "stableSeconds": 30, "minDwellSeconds": 60, "headroomPercent": 0}
APART = shape(1, unmodelled=["podAntiAffinity"])
SPREAD = shape(1, unmodelled=["topologySpreadConstraints"])
DAY = 86_400.0
LOOK_SECONDS = 20.0
"""How often `fewest_ready` looks: where it matters, pods take longer than this to start."""


def fleet(*nodes: Node, grace: float = 0.0, **spec: Any) -> Fleet:
    """A cluster of aws and nebius whose pods come home as soon as they may."""
    options = {"failback": HOME, "failover": {"runningPods": "Move"}, "clear": 0, "sustain": 0, "admission": "Off"}
    return Fleet(pool(provider("aws"), provider("nebius"), **{**options, **spec}), nodes, grace=grace)


def drain(of: Simulation) -> None:
    """A person takes nebius out of use."""
    spec = of.cluster.pool.spec
    aws, nebius, *others = spec.providers
    providers = (aws, nebius.model_copy(update={"drain": True}), *others)
    of.cluster.pool = of.cluster.pool.model_copy(update={"spec": spec.model_copy(update={"providers": providers})})
    of.operator.store.put_pool(of.cluster.pool, of.clock.now)


def away(count: int, of: Shape, **options: Any) -> Fleet:
    """A cluster whose primary was full when an owner made so many pods; it has room by now."""
    made = fleet(*(options.pop("nodes", None) or [node("a1"), node("a2"), node("n1"), node("n2")]), **options)
    made.create(2, shape(8), movable=False)
    made.settle()
    made.create(count, of)
    made.run(120)
    assert len(made.cluster.pods_on("nebius")) == count
    made.finish(uid for uid in list(made.cluster.pods) if uid.startswith("uid-default-w0-"))
    return made


def ready(of: Fleet) -> int:
    return sum(pod.ready and pod.deleting is None for pod in of.pods())


def fewest_ready(of: Fleet, seconds: float) -> int:
    """Let time pass; return how few pods were Ready at any time."""
    end, found = of.clock.now + seconds, ready(of)
    while of.clock.now < end:
        of.run(min(LOOK_SECONDS, end - of.clock.now))
        found = min(found, ready(of))
    return found


def reasons(of: Fleet) -> set[Reason]:
    """Why pods stay now."""
    return {move.reason for move in of.settle().plan.blocked}


# -- stories


def test_a_workload_that_can_not_come_home_is_tried_once_and_then_left() -> None:
    of = fleet(node("a1"), node("a2"), node("n1"), node("n2"))

    def taken(one: Pod, there: Node) -> bool:
        return any(pod.node == there.name and pod.owner == one.owner for pod in of.pods() if pod.uid != one.uid)

    of.scheduler.forbids = taken
    of.create(3, APART)
    of.run(90)
    assert len(of.cluster.pods_on("nebius")) == 1
    assert fewest_ready(of, 600) >= 2
    assert len(of.evictions) <= 1
    assert reasons(of) == {Reason.MOVE_FAILED}
    of.run(DAY)
    assert len(of.evictions) <= 6
    gaps = [later.at - earlier.at for earlier, later in pairwise(of.evictions)]
    assert gaps == sorted(gaps), "the waits grow"
    assert ready(of) == 3


def test_without_replacements_one_pod_is_lost_and_no_more() -> None:
    of = away(8, shape(1))
    of.owners.held = True
    assert fewest_ready(of, 3600) == 7
    assert len(of.evictions) == 1
    assert Reason.AWAITS_REPLACEMENT in reasons(of)
    of.restart()
    assert fewest_ready(of, 3600) == 7
    of.owners.held = False
    of.run(3600)
    assert ready(of) == 8
    assert len(of.cluster.pods_on("aws")) == 8


@pytest.mark.parametrize("restarts", [False, True])
def test_pods_that_start_slowly_come_home_one_by_one_and_then_by_quarters(restarts: bool) -> None:
    of = away(8, shape(1))
    of.cluster.start_seconds = 900.0
    of.run(400)
    assert (len(of.evictions), ready(of)) == (1, 7)
    if restarts:
        of.restart()
    assert fewest_ready(of, 400) == 7
    assert fewest_ready(of, 8 * 960) >= 6
    of.run(8 * 960)
    assert (len(of.cluster.pods_on("aws")), ready(of)) == (8, 8)


def test_a_drained_provider_tries_a_pod_with_constraints_alone_and_keeps_the_others_while_it_waits() -> None:
    of = away(4, SPREAD, failback={"policy": "Never", "minDwellSeconds": 60})
    drain(of)
    of.scheduler.forbids = lambda one, there: one.shape.unmodelled != () and there.name.startswith("a")
    assert fewest_ready(of, 7200) == 3
    assert len(of.evictions) == 1
    assert Reason.AWAITS_REPLACEMENT in reasons(of)


def test_a_drained_provider_is_left_by_a_quarter_of_an_owners_pods_at_once() -> None:
    of = away(8, shape(1), failback={"policy": "Never", "minDwellSeconds": 60})
    drain(of)
    of.cluster.start_seconds = 100.0
    assert fewest_ready(of, 3600) == 6
    assert len(of.cluster.pods_on("aws")) == 8


def test_a_replacement_that_can_not_start_is_the_last_move_of_its_owner() -> None:
    of = away(8, shape(1))
    of.cluster.start_seconds = DAY * 7
    assert fewest_ready(of, 2 * 3600) == 7
    of.restart()
    assert fewest_ready(of, 2 * 3600) == 7
    assert reasons(of) == {Reason.AWAITS_REPLACEMENT}


def test_a_pod_that_takes_long_to_end_is_under_way_until_then() -> None:
    of = away(8, shape(1), grace=600.0)
    of.owners.held = True
    of.run(620)
    assert len(of.evictions) == 1
    assert of.operator.state.recorded.unsettled["rs-1"].times == 0
    assert reasons(of) == {Reason.AWAITS_REPLACEMENT}
    of.owners.held = False
    of.run(60)
    assert len(of.evictions) > 1


def test_a_pod_that_was_sent_to_a_standby_dwells_there() -> None:
    of = away(1, shape(1), failback={**HOME, "minDwellSeconds": 900})
    of.run(700)
    assert reasons(of) == {Reason.DWELLING}
    of.restart()
    of.run(60)
    assert of.evictions == []
    of.run(900)
    assert len(of.evictions) == 1


def test_a_crash_between_the_record_and_the_eviction_delays_the_owner_and_loses_no_pod() -> None:
    of = away(8, shape(1))
    of.run(20)
    of.clock.advance(40)
    before = len(of.evictions)
    of.crash(0, recorded=True)
    assert "rs-1" in of.operator.state.recorded.unsettled
    of.run(FIRST_DELAY_SECONDS - 60)
    assert len(of.evictions) == before
    of.run(3600)
    assert len(of.cluster.pods_on("aws")) == 8


# -- decisions


def home(*pods: Pod, state: Any = CALM, **fields: Any) -> Decided:
    """One pass with two free nodes of the primary, and one of each standby."""
    of = pool(failback={"policy": "WhenStable", "minDwellSeconds": 60, "maxConcurrentMoves": 9, "perMinute": None})
    return decided(snapshot(of, [node("a1"), node("a2"), node("n1"), node("c1")], pods, **fields), state)


def web(count: int = 8, **fields: Any) -> list[Pod]:
    return [owned(f"web-{index}", on="n1", ready=True, **fields) for index in range(count)]


def replaced(
    on: str, *, is_ready: bool, kind: MoveKind = MoveKind.FAILBACK, ago: float = 100, ready_for: float = 60
) -> dict[str, Any]:
    """A pod of the owner that was moved, and the pod that replaces it."""
    gone = pod_move(owned("gone", on="n1"), "aws", at=NOW - ago, source="nebius", kind=kind, order=1)
    ready_since = NOW - ready_for if is_ready else None
    new = owned("new", on=on, created=NOW - ago + 1, appeared=1, ready=is_ready, ready_since=ready_since)
    return {"moves": (gone,), "pods": [new]}


def after(seen: dict[str, Any], *pods: Pod, **fields: Any) -> Decided:
    return home(*seen["pods"], *pods, moves=seen["moves"], **fields)


def test_the_first_move_goes_alone_and_after_a_good_end_a_quarter_goes_at_once() -> None:
    assert len(home(*web()).moves) == 1
    assert blocked(home(*web())) == {f"web-{index}": Reason.AWAITS_REPLACEMENT for index in range(1, 8)}
    assert len(after(replaced("a1", is_ready=True), *web(7)).moves) == 2
    assert len(after(replaced("a1", is_ready=True), *web(2)).moves) == 1
    constrained = web(7, shaped=APART)
    assert len(after(replaced("a1", is_ready=True), *constrained).moves) == 1


@pytest.mark.parametrize("kind", [MoveKind.FAILBACK, MoveKind.FAILOVER])
def test_each_replacement_proves_itself_before_the_next_pods_follow(kind: MoveKind) -> None:
    early = after(replaced("a1", is_ready=True, kind=kind, ready_for=14), *web(7))
    assert set(blocked(early).values()) == {Reason.AWAITS_REPLACEMENT}
    assert {stay.until for stay in early.blocked} == {None}, "the replacement may also crash"
    assert early.recheck_at == NOW + 1
    assert len(after(replaced("a1", is_ready=True, kind=kind, ready_for=15), *web(7)).moves) == 2
    # Two of eight pods may be under way once the owner has moved well, and the replacement is one of them.
    known = changed(CALM, moved_well=frozenset({"rs-1", "namespace/default"}))
    assert len(after(replaced("a1", is_ready=True, kind=kind, ready_for=1), *web(7), state=known).moves) == 1


@pytest.mark.parametrize(("crashes_after", "stay"), [(10.0, 7), (20.0, 3)])
def test_pods_that_are_ready_for_a_moment_at_home_do_not_draw_all_others_there(crashes_after: float, stay: int) -> None:
    of = away(8, shape(1))
    for _ in range(60):
        of.run(5)
        for pod in of.cluster.pods_on("aws"):
            if pod.ready and pod.started is not None and of.clock.now >= pod.started + crashes_after:
                of.cluster.update_pod(pod.uid, ready=False, failing=True, started=of.clock.now + DAY)
        assert ready(of) >= stay


@pytest.mark.parametrize(
    ("on", "is_ready", "why"),
    [
        ("a1", False, Reason.AWAITS_REPLACEMENT),
        ("n1", True, Reason.MOVE_FAILED),
        ("n1", False, Reason.MOVE_FAILED),
        ("c1", True, Reason.MOVE_FAILED),
        ("", False, Reason.AWAITS_REPLACEMENT),
    ],
    ids=["starts", "returned", "returned and starts", "elsewhere", "waits"],
)
def test_the_next_move_waits_for_the_end_of_the_last(on: str, is_ready: bool, why: Reason) -> None:
    plan = after(replaced(on, is_ready=is_ready), *web())
    assert plan.moves == ()
    assert set(blocked(plan).values()) - {Reason.DWELLING} == {why}
    other = owned("other", on="n1", owner="rs-2", ready=True)
    assert moved_to(after(replaced(on, is_ready=is_ready), *web(), other)) == {"other": "aws"}, "other owners go on"


def test_a_forced_move_that_is_not_over_delays_moves_by_choice_too() -> None:
    starts = replaced("a1", is_ready=False, kind=MoveKind.FAILOVER)
    assert set(blocked(after(starts, *web())).values()) == {Reason.AWAITS_REPLACEMENT}
    # Where a forced move has landed does not matter: its pod has left what failed.
    landed = replaced("c1", is_ready=True, kind=MoveKind.FAILOVER)
    assert len(after(landed, *web()).moves) == 1


def test_the_wait_doubles_and_is_much_longer_with_constraints_up_to_a_day() -> None:
    def waits(times: int, of: Shape) -> float:
        state = changed(CALM, unsettled={"rs-1": UnsettledMove(times, NOW - 1000, 1)}, failed_at={"rs-1": NOW - 100})
        until = stay_of(home(*web(1, shaped=of), state=state), "web-0").until
        assert until is not None
        return until - (NOW - 100)

    assert [waits(times, shape(1)) for times in (1, 2, 3, 9, 10, 16)] == [300, 600, 1200, 76_800, DAY, DAY]
    assert [waits(times, APART) for times in (1, 2, 6)] == [3600, 7200, DAY]


def test_moves_that_were_under_way_together_count_once() -> None:
    moves = tuple(
        pod_move(owned(f"gone-{index}", on="n1"), "aws", at=NOW - 20 + index, source="nebius", kind=MoveKind.FAILBACK)
        for index in range(2)
    )
    first = home(owned("back-0", on="n1", created=NOW - 18), moves=moves[:1])
    assert first.state.recorded.unsettled["rs-1"].times == 1
    pods = [owned(f"back-{index}", on="n1", created=NOW - 18 + index) for index in range(2)]
    second = home(*pods, moves=moves, state=first.state)
    assert second.state.recorded.unsettled["rs-1"].times == 1


def test_a_slow_replacement_that_becomes_ready_where_it_was_meant_to_run_was_not_in_vain() -> None:
    late = replaced("a1", is_ready=True, ago=2000)
    given_up = tuple(msgspec.structs.replace(move, outcome=Outcome.NOT_REPLACED) for move in late["moves"])
    state = changed(CALM, unsettled={"rs-1": UnsettledMove(1, NOW - 2000, 8)}, failed_at={"rs-1": NOW - 10})
    plan = home(*late["pods"], *web(7), moves=given_up, state=state)
    assert len(plan.moves) == 2


def test_a_forced_move_that_ends_well_does_not_settle_a_move_by_choice_that_came_to_nothing() -> None:
    failed = pod_move(owned("gone", on="n1"), "aws", at=NOW - 200, source="nebius", kind=MoveKind.FAILBACK, order=1)
    failed = msgspec.structs.replace(failed, outcome=Outcome.RETURNED)
    forced = pod_move(owned("lost", on="n1"), "crusoe", at=NOW - 100, source="nebius", order=2)
    state = changed(CALM, unsettled={"rs-1": UnsettledMove(1, NOW - 200, 0)}, failed_at={"rs-1": NOW - 190})
    new = owned("new", on="c1", created=NOW - 99, appeared=2, ready=True, ready_since=NOW - 90)
    plan = home(new, *web(), moves=(failed, forced), state=state)
    assert set(blocked(plan).values()) - {Reason.DWELLING} == {Reason.MOVE_FAILED}
    assert set(plan.state.recorded.unsettled) == {"rs-1"}


def test_the_record_of_an_owner_is_gone_once_its_move_has_ended_well() -> None:
    state = changed(CALM, unsettled={"rs-1": UnsettledMove(0, NOW - 100, 1)})
    seen = replaced("a1", is_ready=True)
    plan = home(*seen["pods"], moves=seen["moves"], state=state)
    assert dict(plan.state.recorded.unsettled) == {}
    assert plan.state.memory.moved_well == {"rs-1", "namespace/default"}


def test_a_record_without_an_eviction_is_dropped_by_the_process_that_made_it() -> None:
    state = changed(CALM, unsettled={"rs-1": UnsettledMove(0, NOW - 100, 8), "rs-2": UnsettledMove(2, NOW - 100, 8)})
    assert set(home(state=state).state.recorded.unsettled) == {"rs-2"}
    assert set(home(state=state, moves_since=NOW - 5).state.recorded.unsettled) == {"rs-1", "rs-2"}


def test_a_later_leader_waits_as_if_the_move_had_come_to_nothing() -> None:
    state = changed(CALM, unsettled={"rs-1": UnsettledMove(0, NOW - 100, 8)})
    plan = home(*web(), state=state, moves_since=NOW - 5)
    assert stay_of(plan, "web-0").reason is Reason.MOVE_FAILED
    assert stay_of(plan, "web-0").until == NOW - 100 + FIRST_DELAY_SECONDS
    later = changed(CALM, unsettled={"rs-1": UnsettledMove(0, NOW - 400, 8)})
    assert len(home(*web(), state=later, moves_since=NOW - 5).moves) == 1
    missing = home(*web(7), state=later, moves_since=NOW - 5)
    assert set(blocked(missing).values()) == {Reason.AWAITS_REPLACEMENT}
    starting = owned("new", on="a1", created=NOW - 390)
    assert home(*web(7), starting, state=later, moves_since=NOW - 5).moves == ()


def test_a_later_leader_waits_the_whole_delay_again_after_moves_that_came_to_nothing() -> None:
    def until(*, began: float, took_over: float, times: int = 1) -> float | None:
        state = changed(CALM, unsettled={"rs-1": UnsettledMove(times, NOW - began, 8)})
        stay = home(*web(), state=state, moves_since=NOW - took_over).blocked[0]
        return stay.until if stay.reason is Reason.MOVE_FAILED else None

    assert until(began=1005, took_over=5) == NOW - 5 + FIRST_DELAY_SECONDS
    assert until(began=1005, took_over=5, times=2) == NOW - 5 + 2 * FIRST_DELAY_SECONDS
    assert until(began=2000, took_over=301) is None
    # Restarts do not hold it for ever.
    assert until(began=DAY + 200, took_over=5) == NOW - 200 + FIRST_DELAY_SECONDS


def test_a_restart_does_not_shorten_the_wait_after_a_move_that_ended_long_after_it_began() -> None:
    crusoe = provider("crusoe", on_demand=True, timeout=900)
    spec = pool(
        *(provider("aws"), provider("nebius"), crusoe),
        failback={"policy": "Never", "minDwellSeconds": 0},
        failover={"runningPods": "Move"},
        admission="Off",
    )
    of = Simulation(spec, [node("a1"), node("n1")], NOW)
    (full,) = of.owners.create(PodTemplate(shape(8), movable=False), 1)
    of.settle()
    of.owners.create(PodTemplate(shape(1)), 4)
    of.run(120)
    drain(of)
    begun = of.clock.now
    of.run(1000)
    assert len(of.operator.moved) == 1
    of.cluster.finish_pod(full.uid)
    of.run(5)
    of.operator.restart()
    of.run(begun + 900 + FIRST_DELAY_SECONDS - 1 - of.clock.now)
    assert len(of.operator.moved) == 1
    of.run(600)
    assert len(of.operator.moved) > 1


def test_the_newest_fifty_owners_are_recorded() -> None:
    many = {f"rs-{index}": UnsettledMove(1, NOW - 1000 + index, 1) for index in range(80)}
    kept = home(state=changed(CALM, unsettled=many)).state.recorded.unsettled
    assert set(kept) == {f"rs-{index}" for index in range(30, 80)}


def test_an_owner_beyond_the_recorded_number_waits_all_the_same() -> None:
    many = {f"rs-x{index}": UnsettledMove(1, NOW + 1, 1) for index in range(50)}
    seen = replaced("n1", is_ready=True)
    first = after(seen, *web(), state=changed(CALM, unsettled=many))
    assert "rs-1" not in first.state.recorded.unsettled
    assert set(blocked(after(seen, *web(), state=first.state)).values()) - {Reason.DWELLING} == {Reason.MOVE_FAILED}


def test_a_smaller_number_of_pods_does_not_matter_once_all_moved_pods_are_replaced() -> None:
    state = changed(CALM, unsettled={"rs-1": UnsettledMove(0, NOW - 101, 20)})
    returned = after(replaced("n1", is_ready=True), *web(), state=state).state
    assert returned.recorded.unsettled == {"rs-1": UnsettledMove(1, NOW - 101, 0)}
    later = changed(returned, failed_at={"rs-1": NOW - 400})
    assert len(home(*web(3), state=later).moves) == 1


def test_observing_records_no_move() -> None:
    of = pool(failback={"policy": "WhenStable"}, mode="Observe")
    plan = decided(snapshot(of, [node("a1"), node("n1")], web()), CALM)
    assert (len(plan.moves), dict(plan.state.recorded.unsettled)) == (1, {})


def test_an_owner_whose_uid_does_not_fit_into_the_status_is_left_alone() -> None:
    assert blocked(home(*web(1, owner="x" * 129))) == {"web-0": Reason.NOT_MOVABLE}


# -- pods that move by choice only if they say so


def test_a_pod_stays_until_its_time_without_disruption_is_over() -> None:
    plan = home(*web(1, protected_until=NOW + 50))
    assert stay_of(plan, "web-0").reason is Reason.NOT_MOVABLE
    assert (stay_of(plan, "web-0").until, plan.recheck_at) == (NOW + 50, NOW + 50)
    assert len(home(*web(1, protected_until=NOW)).moves) == 1


@pytest.mark.parametrize(("movable", "moves"), [(None, 0), (True, 1)])
def test_a_member_of_a_gang_moves_by_choice_only_if_it_says_so(movable: bool | None, moves: int) -> None:
    assert len(home(*web(1, gang=True, movable=movable)).moves) == moves
