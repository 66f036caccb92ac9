"""The cost of standbys, the spend, and which pods may still be sent: no decision exceeds a budget."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from computepool.decide.account.budget import accrued, recorded_spend
from computepool.decide.plan import Admission
from computepool.model.moves import MoveKind, Request
from computepool.model.reasons import Reason
from computepool.model.state import PoolState, Saturation, Spend
from tests.builders import NOW, changed, node, pod, pod_move, pool, pool_state, provider, snapshot
from tests.unit.core.moving import CALM, blocked, faults_of, moved_to, opened, owned, stay_of, unhealthy_node
from tests.unit.core.passes import Decided, decided, hold_of, holds, sent_to

PRICED = (provider("aws"), provider("nebius", price="2"), provider("crusoe", price="4"))
DAY = datetime.fromtimestamp(NOW, UTC).date().isoformat()


def spent(amount: str, rate: str = "0", at: float = NOW, day: str = DAY) -> Spend:
    return Spend(day, Decimal(amount), at, Decimal(rate))


def seen(*pods: Any, nodes: Any = None, state: PoolState | None = None, now: float = NOW, **spec: Any) -> Decided:
    """One pass where the primary is full."""
    there = nodes or [node("a1"), node("n1"), node("c1")]
    fields = {key: spec.pop(key) for key in ("moves", "in_flight") if key in spec}
    of = pool(*spec.pop("providers", PRICED), **spec)
    return decided(snapshot(of, there, [pod("full", 8, on="a1"), *pods], **fields), state, now)


# -- what may be sent


def test_the_hour_bounds_all_standbys_together() -> None:
    pods = [pod(f"w{index}", 2, waited=90 - index) for index in range(3)]
    plan = seen(pod("runs", 1, on="c1"), *pods, budget={"perHour": "10"})
    # 4 are spent: the first pod makes it 8, and for another 4 there is not enough.
    assert sent_to(plan) == {"w0": "nebius"}
    assert holds(plan) == {"w1": Reason.BUDGET_EXHAUSTED, "w2": Reason.BUDGET_EXHAUSTED}
    assert plan.exhausted
    assert plan.state.recorded.spend == Spend(DAY, Decimal(0), NOW, Decimal(4))


def test_a_cheaper_provider_may_be_within_the_budget_where_a_dearer_one_is_not() -> None:
    of = (provider("aws"), provider("nebius", price="4"), provider("crusoe", price="2"))
    plan = seen(pod("web", 2), providers=of, budget={"perHour": "5"})
    assert sent_to(plan) == {"web": "crusoe"}
    assert plan.bursts[0].rejected[1] == ("nebius", Reason.BUDGET_EXHAUSTED)


def test_what_was_sent_and_is_not_bound_counts_by_the_dearest_it_may_go_to() -> None:
    sent = pod("sent", 2, sent=[("crusoe", NOW - 5), ("nebius", NOW - 1)])
    assert sent_to(seen(sent, pod("web", 1), budget={"perHour": "10"})) == {"web": "nebius"}
    assert holds(seen(sent, pod("web", 1), budget={"perHour": "9"}))["web"] is Reason.BUDGET_EXHAUSTED


def test_one_that_ends_makes_room_in_the_budget_although_it_is_still_paid_for() -> None:
    ending = pod("ending", 4, on="n1", deleting=NOW + 20)
    plan = seen(ending, pod("web", 4), budget={"perHour": "8"})
    assert sent_to(plan) == {"web": "nebius"}
    assert plan.state.recorded.spend == spent("0", "8")


@pytest.mark.parametrize(("ready", "heard"), [("Unknown", 0), ("True", 3600)], ids=["unknown", "silent"])
def test_one_that_ends_on_a_lost_node_is_not_paid_for_until_the_node_is_back(ready: str, heard: float) -> None:
    of = pool(*PRICED, budget={"perHour": "16"})
    nodes = [node("a1"), node("n1"), node("n2"), node("c1")]
    pods = [pod("full", 8, on="a1"), pod("lost", 8, on="n1", deleting=NOW - 600), pod("web", 8)]
    beats = {node.name: NOW for node in nodes}
    lost = [nodes[0], node("n1", ready=ready), *nodes[2:]]
    plan = decided(snapshot(of, lost, pods, heartbeats={**beats, "n1": NOW - heard}))
    assert sent_to(plan) == {"web": "nebius"}
    assert plan.state.recorded.spend == spent("0", "0")
    back = decided(snapshot(of, nodes, pods, heartbeats=dict.fromkeys(beats, NOW + 60)), plan.state, NOW + 60)
    assert back.state.recorded.spend == spent("0", "16", at=NOW + 60)


@pytest.mark.parametrize(("already", "goes"), [("94", True), ("94.01", False)])
def test_the_rest_of_the_day_has_to_cover_an_hour_of_all_that_run(already: str, goes: bool) -> None:
    plan = seen(
        pod("runs", 1, on="c1"), pod("web", 1), budget={"perDay": "100"}, state=pool_state(spend=spent(already))
    )
    assert bool(sent_to(plan)) is goes
    assert plan.exhausted is not goes


def test_at_midnight_the_budget_is_looked_at_again() -> None:
    midnight = datetime(2027, 1, 16, tzinfo=UTC).timestamp()
    plan = seen(pod("web", 1), budget={"perDay": "100"}, state=pool_state(spend=spent("100")))
    assert hold_of(plan, "web").reason is Reason.BUDGET_EXHAUSTED
    assert plan.recheck_at == midnight
    later = seen(pod("web", 1), budget={"perDay": "100"}, state=plan.state, now=midnight)
    assert sent_to(later) == {"web": "nebius"}


@pytest.mark.parametrize("budget", [{"perHour": "100"}, {"perHour": "100", "perDay": "100000"}])
def test_while_something_is_spent_it_is_looked_at_once_a_minute_and_at_midnight(budget: dict[str, str]) -> None:
    steady = pool_state(Saturation(True))
    assert seen(pod("runs", 1, on="c1"), budget=budget, state=steady).recheck_at == NOW + 60
    midnight = datetime(2027, 1, 16, tzinfo=UTC).timestamp()
    spending = changed(steady, spend=spent("1"))
    assert seen(budget=budget, state=spending).recheck_at == midnight
    assert seen(budget=budget, state=steady).recheck_at is None


def test_while_there_is_a_budget_no_pod_is_admitted_to_a_standby() -> None:
    state = pool_state(Saturation(True), admitting="nebius")
    assert seen(budget={"perHour": "1000"}, admission="Always", state=state).admission == Admission()
    assert seen(admission="Always", state=state).admission.provider == "nebius"


# -- what is spent


@pytest.mark.parametrize(
    ("seconds", "day", "amount"),
    [(1800, DAY, "11"), (0, DAY, "10"), (-50, DAY, "10"), (17 * 3600, "2027-01-16", "2")],
    ids=["half an hour", "at once", "a clock that went back", "over midnight"],
)
def test_spending_goes_on_at_the_rate_of_then(seconds: float, day: str, amount: str) -> None:
    then = accrued(spent("10", rate="2"), Decimal(7), NOW + seconds)
    assert (then.day, then.spent, then.at, then.rate) == (day, Decimal(amount), NOW + seconds, Decimal(7))


def test_what_was_spent_does_not_tick_in_the_record() -> None:
    first = spent("1", rate="2")
    assert recorded_spend(first, first.rate, NOW + 59.9) == first
    assert recorded_spend(first, first.rate, NOW + 60) == spent("1.033333", rate="2", at=NOW + 60)
    idle = spent("1", rate="0")
    assert recorded_spend(idle, idle.rate, NOW + 7200) == idle


def test_a_new_day_and_another_rate_and_a_clock_set_back_are_recorded_at_once() -> None:
    first = spent("1", rate="2")
    midnight = datetime(2027, 1, 16, tzinfo=UTC).timestamp()
    assert recorded_spend(first, first.rate, midnight) == Spend("2027-01-16", Decimal(0), midnight, first.rate)
    assert recorded_spend(first, Decimal(3), NOW + 36) == spent("1.02", rate="3", at=NOW + 36)
    assert recorded_spend(first, first.rate, NOW - 50) == spent("1", rate="2", at=NOW - 50)


def test_a_clock_that_goes_back_over_midnight_forgives_nothing() -> None:
    yesterday = accrued(spent("10", rate="2"), Decimal(2), NOW - 86_400)
    assert yesterday.spent == Decimal(10)
    assert yesterday.day == "2027-01-14"


def test_who_has_just_come_to_a_standby_does_not_pay_for_the_time_before() -> None:
    before = seen(budget={"perDay": "100"})
    runs = pod("runs", 1, on="n1")
    later = seen(runs, budget={"perDay": "100"}, state=before.state, now=NOW + 7200)
    assert later.state.recorded.spend == spent("0", "2", at=NOW + 7200)
    again = seen(runs, budget={"perDay": "100"}, state=later.state, now=NOW + 10_800)
    assert again.state.recorded.spend == spent("2", "2", at=NOW + 10_800)


def test_what_is_spent_while_nothing_can_be_decided_is_reckoned_afterwards() -> None:
    state = pool_state(spend=spent("1", rate="2"))
    of = pool(*PRICED, budget={"perDay": "100"})
    frozen = decided(snapshot(of, [node("a1")], stale="lost"), state, NOW + 1800)
    assert frozen.state.recorded.spend == state.recorded.spend
    assert accrued(frozen.state.recorded.spend, Decimal(0), NOW + 3600).spent == Decimal(3)


def test_a_pool_without_a_budget_reckons_nothing() -> None:
    assert seen(pod("runs", 1, on="n1"), state=pool_state(spend=spent("10"))).state.recorded.spend is None


# -- moves


def test_a_move_costs_what_it_adds() -> None:
    of = pool(*PRICED, budget={"perHour": "8"})
    nodes = [node("a1"), unhealthy_node("n1", 2), node("n2", 2), node("c1", 2)]
    pods = [pod("full", 8, on="a1"), owned("web", 2, on="n1"), pod("x", 2, on="n2")]
    state = pool_state(node_faults=faults_of("n1"))
    # 8 are spent; to crusoe it would cost 4 more.
    plan = decided(snapshot(of, nodes, pods), state)
    assert stay_of(plan, "web").rejected[-1] == ("crusoe", Reason.BUDGET_EXHAUSTED)
    same = decided(snapshot(of, nodes, pods[:2]), state)
    assert moved_to(same) == {"web": "nebius"}


def test_a_place_that_is_kept_for_a_moved_pod_is_paid_for() -> None:
    gone = owned("gone", 2, on="n1")
    under_way = (pod_move(gone, "nebius", at=NOW - 1),)
    assert sent_to(seen(pod("web", 2), budget={"perHour": "7"}, moves=under_way)) == {}
    assert sent_to(seen(pod("web", 2), budget={"perHour": "8"}, moves=under_way)) == {"web": "nebius"}


def test_a_place_that_is_kept_elsewhere_costs_only_what_it_adds() -> None:
    # On its way home, and not let go yet: there it costs 2 an hour. The primary fails, so that it would stay on nebius.
    gone = owned("gone", 1, on="n1")
    of = pool(*PRICED, budget={"perHour": "3"})
    under_way = (pod_move(gone, "aws", at=NOW - 1, request=Request.ASKED, source="nebius", kind=MoveKind.FAILBACK),)
    failed = pool_state(breakers={"aws": opened()})
    plan = decided(snapshot(of, [node("a1"), node("n1")], [gone], moves=under_way), failed)
    assert not plan.exhausted


# -- return


def returning(*pods: Any, per_hour: str = "6", state: PoolState = CALM, **spec: Any) -> Decided:
    """One pass where the primary is free."""
    of = pool(
        *PRICED,
        budget={"perHour": per_hour, "onExhausted": spec.pop("on_exhausted", "Return")},
        failback=spec.pop("failback", {}),
    )
    there = [node("a1"), node("n1"), node("c1")]
    return decided(snapshot(of, there, pods, **spec), state)


def test_what_costs_too_much_comes_home_whatever_the_policy_and_the_window_say() -> None:
    pods = [owned("n", 1, on="n1"), owned("c", 1, on="c1"), owned("d", 1, on="n1", age=60)]
    closed = {"window": {"schedule": "0 9 * * *", "durationSeconds": 60}}
    for failback in ({}, closed, {"policy": "WhenStable", **closed}):
        plan = returning(*pods, failback=failback)
        assert moved_to(plan) == {"c": "aws"}
        assert {move.reason for move in plan.moves} == {Reason.BUDGET_RETURN}
        assert {move.kind for move in plan.moves} == {MoveKind.FAILBACK}
        assert plan.exhausted
    assert returning(*pods, per_hour="8").moves == ()
    assert returning(*pods, on_exhausted="Hold").moves == ()


def test_no_more_come_than_the_budget_wants_and_those_on_their_way_count() -> None:
    pods = [owned("n", 1, on="n1"), owned("c", 1, on="c1"), owned("d", 1, on="n1", age=60)]
    under_way = msgspec.structs.replace(pod_move(pods[1], "aws", at=NOW - 1, kind=MoveKind.FAILBACK), source="crusoe")
    assert returning(*pods, moves=(under_way,)).moves == ()


def test_it_waits_for_a_stable_primary_all_the_same() -> None:
    plan = returning(owned("c", 2, on="c1"), state=pool_state(Saturation(False)))
    assert blocked(plan) == {"c": Reason.NOT_STABLE}
