"""Failback: pods come home slowly, the most expensive first, after the primary has been healthy for long."""

from __future__ import annotations

from datetime import UTC, datetime
from math import inf
from typing import Any

import pytest

from computepool.decide.move.failback_window import opening_of, window_problem
from computepool.decide.reconcile import reconcile
from computepool.model.api import Window
from computepool.model.moves import MoveKind
from computepool.model.reasons import Reason
from computepool.model.state import PoolState, Saturation
from tests.builders import NOW, changed, node, pod, pod_move, pool, pool_state, provider, shape, snapshot
from tests.unit.core.moving import (
    CALM,
    blocked,
    faults_of,
    half_open,
    move_of,
    moved_to,
    opened,
    owned,
    stay_of,
    unhealthy_node,
)
from tests.unit.core.passes import Decided, decided

STABLE = {"policy": "WhenStable"}
PRICED = (provider("aws"), provider("nebius", price="2.95"), provider("crusoe", price="4.10"))


def home(*pods: Any, state: PoolState = CALM, failback: dict[str, Any] | None = None, **fields: Any) -> Decided:
    """One pass with two free nodes of the primary, and one of each standby."""
    nodes = fields.pop("nodes", [node("a1"), node("a2"), node("n1"), node("c1")])
    of = pool(*fields.pop("providers", ()), failback={**STABLE, **(failback or {})}, **fields.pop("spec", {}))
    return decided(snapshot(of, nodes, pods, **fields), state)


def test_a_pod_comes_home_when_the_primary_has_been_free_for_long() -> None:
    plan = home(owned("web", on="n1"))
    move = move_of(plan, "web")
    assert (move.source, move.target, move.kind, move.reason) == (
        "nebius",
        "aws",
        MoveKind.FAILBACK,
        Reason.COMES_HOME,
    )
    assert plan.state.recorded.recent_moves == ((NOW, MoveKind.FAILBACK),)


def test_no_pod_comes_home_unless_the_policy_says_so() -> None:
    plan = home(owned("web", on="n1"), failback={"policy": "Never"})
    assert (plan.moves, plan.blocked) == ((), ())


@pytest.mark.parametrize(
    ("state", "until"),
    [
        (pool_state(Saturation(False), stable_since=NOW - 299), NOW + 1),
        (pool_state(Saturation(False)), NOW + 300),
        (pool_state(Saturation(True), stable_since=NOW - 1000), None),
    ],
    ids=["not for long", "since now", "saturated"],
)
def test_everybody_stays_until_the_primary_has_been_stable_for_long(state: PoolState, until: float | None) -> None:
    plan = home(owned("web", on="n1"), state=state)
    assert stay_of(plan, "web").reason is Reason.NOT_STABLE
    assert stay_of(plan, "web").until == until


def test_no_pod_comes_home_once_the_primary_saturates_and_its_time_starts_anew() -> None:
    waiting = pod("waits", 8)
    full = [pod("f1", 8, on="a1"), pod("f2", 8, on="a2")]
    plan = home(owned("web", on="n1"), waiting, *full)
    assert plan.state.recorded.saturated
    assert plan.state.memory.stable_since is None
    assert blocked(plan) == {"web": Reason.NOT_STABLE}


def test_pods_that_wait_for_the_primary_go_first() -> None:
    for waiting in (pod("fits", 1), pod("full", 8, waited=1)):
        plan = home(owned("web", on="n1"), pod("b", 1, on="a1"), pod("c", 1, on="a2"), waiting)
        assert blocked(plan) == {"web": Reason.WOULD_STRAND}
    pinned = pod("pinned", shaped=shape(1, selector={"zone": "x"}))
    assert moved_to(home(owned("web", on="n1"), pinned)) == {"web": "aws"}


def test_a_pod_that_waits_for_full_nodes_of_a_free_primary_keeps_no_pod_from_coming_home() -> None:
    zoned = [node("a1", labels={"zone": "x"}), node("a2"), node("n1")]
    waits = pod("waits", shaped=shape(1, selector={"zone": "x"}), allowed=())
    plan = home(owned("web", on="n1"), pod("full", 8, on="a1"), waits, nodes=zoned)
    assert plan.assessment.saturation.saturated is False
    assert moved_to(plan) == {"web": "aws"}


def test_pods_on_their_way_home_do_not_count_as_waiting() -> None:
    gone = owned("gone", on="n1")
    new = pod("new", owner="rs-1", waited=1)
    web = owned("web", on="n1", owner="rs-2")
    plan = home(web, new, moves=(pod_move(gone, "aws", at=NOW - 1, kind=MoveKind.FAILBACK),))
    assert moved_to(plan) == {"web": "aws"}


def test_headroom_stays_free_after_the_move() -> None:
    pods = [
        pod("b", 8, on="a1"),
        pod("c", 4, on="a2"),
        owned("three", 3, on="n1"),
        owned("two", 2, on="n1", age=660, owner="rs-2"),
    ]
    # 10 % of 16 are two, rounded up: of the four that are free two may be taken.
    plan = home(*pods)
    assert moved_to(plan) == {"two": "aws"}
    assert blocked(plan) == {"three": Reason.WOULD_STRAND}
    assert set(moved_to(home(*pods, failback={"headroomPercent": 0}))) == {"two"}
    assert moved_to(home(*pods, failback={"headroomPercent": 13})) == {}


def test_places_of_those_on_their_way_home_are_taken() -> None:
    gone = owned("gone", 4, on="n1")
    pods = [pod("b", 8, on="a1"), pod("c", 4, on="a2"), owned("web", 1, on="n1", owner="rs-2")]
    on_its_way = (pod_move(gone, "aws", at=NOW - 1, kind=MoveKind.FAILBACK),)
    assert blocked(home(*pods, failback={"headroomPercent": 0}, moves=on_its_way)) == {"web": Reason.WOULD_STRAND}


def test_the_most_expensive_provider_first_then_the_least_important_then_the_youngest() -> None:
    pods = [
        owned("cheap", on="n1", age=660, owner="rs-2", namespace="other"),
        owned("vip", on="c1", priority=9, owner="rs-3", namespace="other"),
        owned("old", on="c1", age=900, owner="rs-4"),
        owned("young", on="c1", age=700, owner="rs-5"),
    ]
    plan = home(*pods, providers=PRICED, failback={"maxConcurrentMoves": 9, "perMinute": 9})
    assert [move.pod.name for move in plan.moves] == ["young", "old", "vip", "cheap"]


def test_a_provider_without_a_price_comes_last() -> None:
    of = (provider("aws"), provider("nebius"), provider("crusoe", price="1"))
    plan = home(owned("x", on="n1"), owned("y", on="c1", owner="rs-2"), providers=of)
    assert [move.pod.name for move in plan.moves] == ["y", "x"]


def test_home_limits_are_its_own() -> None:
    pods = [owned(f"p{index}", on="n1", owner=f"rs-{index}", namespace=f"team-{index}") for index in range(5)]
    plan = home(*pods)
    assert len(plan.moves) == 2
    assert set(blocked(plan).values()) == {Reason.AT_MOVE_LIMIT}


def test_who_asks_not_to_be_disturbed_stays() -> None:
    assert blocked(home(owned("web", on="n1", protected_until=inf))) == {"web": Reason.NOT_MOVABLE}


def test_pods_of_jobs_come_home_only_if_they_say_so() -> None:
    assert blocked(home(owned("train", on="n1", owner_kind="Job"))) == {"train": Reason.NOT_MOVABLE}
    assert moved_to(home(owned("train", on="n1", owner_kind="Job", movable=True))) == {"train": "aws"}


def test_who_can_run_only_there_is_at_home_there() -> None:
    pinned = shape(1, selector={"computepool.io/provider": "nebius"})
    other = shape(1, selector={"zone": "x"})
    plan = home(owned("web", on="n1", shaped=pinned), owned("two", on="n1", shaped=other))
    assert (plan.moves, plan.blocked) == ((), ())


def test_pods_in_trouble_are_failovers() -> None:
    state = changed(CALM, node_faults=faults_of("n1"))
    plan = home(owned("web", on="n1"), state=state, nodes=[node("a1"), unhealthy_node("n1"), node("n2")])
    assert move_of(plan, "web").kind is MoveKind.FAILOVER


# -- the primary's breaker


def test_no_pod_comes_home_to_a_primary_that_has_failed() -> None:
    state = changed(CALM, breakers={"aws": opened()})
    assert blocked(home(owned("web", on="n1"), state=state)) == {"web": Reason.NOT_STABLE}


def test_exactly_one_comes_home_to_a_half_open_primary() -> None:
    state = pool_state(Saturation(True), breakers={"aws": half_open("a1")})
    pods = [owned("one", on="n1", owner="rs-1"), owned("two", on="n1", age=660, owner="rs-2")]
    plan = home(*pods, state=state)
    assert moved_to(plan) == {"two": "aws"}
    assert stay_of(plan, "one").rejected == (("aws", Reason.CANARY_UNDER_WAY),)
    gone = owned("gone", on="n1")
    on_its_way = (pod_move(gone, "aws", at=NOW - 1, kind=MoveKind.FAILBACK),)
    assert home(*pods, state=state, moves=on_its_way).moves == ()
    arrived = owned("new", on="a1", created=NOW - 1, owner="rs-2")
    assert home(*pods, arrived, state=state).moves == ()
    assert home(*pods, pod("waits"), state=state).moves == ()


# -- the window


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def window(schedule: str, seconds: int = 3600, zone: str = "UTC") -> Window:
    return Window(schedule=schedule, duration_seconds=seconds, time_zone=zone)


@pytest.mark.parametrize(
    ("moment", "is_open", "again"),
    [
        ("2026-11-23T00:59:59", False, "2026-11-23T01:00:00"),
        ("2026-11-23T01:00:00", True, None),
        ("2026-11-23T01:59:59", True, None),
        ("2026-11-23T02:00:00", False, "2026-11-24T01:00:00"),
        ("2026-11-27T12:00:00", False, "2026-11-30T01:00:00"),
    ],
)
def test_a_window_opens_and_closes_by_its_schedule(moment: str, is_open: bool, again: str | None) -> None:
    opening = opening_of(window("0 1 * * MON-FRI"), at(moment))
    assert opening.open is is_open
    assert opening.recheck_at == (at(again) if again else None)


def test_a_schedule_is_read_in_its_time_zone_summer_and_winter() -> None:
    berlin = window("0 1 * * *", zone="Europe/Berlin")
    assert opening_of(berlin, at("2026-07-01T23:30:00")).open
    assert not opening_of(berlin, at("2026-12-01T23:30:00")).open
    assert opening_of(berlin, at("2026-12-01T00:30:00")).open
    # The hour that is skipped in March: it opens as the clock jumps.
    assert opening_of(window("30 2 * * *", zone="Europe/Berlin"), at("2026-03-29T01:10:00")).open


@pytest.mark.parametrize(
    ("schedule", "zone", "says"),
    [
        ("0 1 30 2 *", "UTC", "can't be read"),
        ("0 1 31 4,6 *", "UTC", "can't be read"),
        ("61 1 * * *", "UTC", "can't be read"),
        ("*/0 * * * *", "UTC", "can't be read"),
        ("0 5-1 * * *", "UTC", "can't be read"),
        ("0 1 * * *", "Mars/Olympus", "is not known"),
        ("0 1 * * *", "Europe", "is not known"),
        ("0 1 * * *", "Europe/", "is not known"),
    ],
)
def test_a_window_that_can_never_open_is_told_and_stays_closed(schedule: str, zone: str, says: str) -> None:
    broken = window(schedule, zone=zone)
    assert says in window_problem(broken)
    assert opening_of(broken, NOW).open is False
    options = {"window": {"schedule": schedule, "durationSeconds": 60, "timeZone": zone}}
    assert blocked(home(owned("web", on="n1"), failback=options)) == {"web": Reason.OUTSIDE_WINDOW}


def test_a_leap_day_comes_and_no_window_is_always_open() -> None:
    assert window_problem(window("0 1 29 2 *")) == ""
    assert opening_of(window("0 1 29 2 *"), at("2026-03-01T00:00:00")).recheck_at == at("2028-02-29T01:00:00")
    assert opening_of(None, NOW).open
    assert window_problem(None) == ""


def test_outside_the_window_everybody_stays_until_it_opens() -> None:
    # NOW is 08:00 UTC.
    closed = {"window": {"schedule": "0 9 * * *", "durationSeconds": 3600}}
    plan = home(owned("web", on="n1"), failback=closed)
    assert stay_of(plan, "web").reason is Reason.OUTSIDE_WINDOW
    assert plan.recheck_at == NOW + 3600
    opened_now = {"window": {"schedule": "0 8 * * *", "durationSeconds": 3600}}
    assert moved_to(home(owned("web", on="n1"), failback=opened_now)) == {"web": "aws"}


def test_some_hundred_stays_are_listed_and_the_rest_is_counted() -> None:
    pods = [owned(f"p{index}", on="n1") for index in range(260)]
    seen = snapshot(pool(failback=STABLE), [node("a1"), node("n1", 300, room={"pods": 400})], pods)
    few, all_ = (reconcile(seen, pool_state(Saturation(False)), NOW, most_blocked=most).plan for most in (200, 1000))
    assert (len(few.blocked), few.blocked_left_out) == (200, 60)
    assert (len(all_.blocked), all_.blocked_left_out) == (260, 0)
    assert few == reconcile(seen, pool_state(Saturation(False)), NOW).plan
