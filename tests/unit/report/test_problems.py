"""What is reported about failed providers, pods that can't leave them, money and windows that never open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

import msgspec
import pytest

from computepool.decide.plan import BlockedMove, Move
from computepool.model.api import BreakerState, ComputePool, PoolStatus
from computepool.model.moves import MoveKind, Request
from computepool.model.reasons import Reason
from computepool.model.state import Breaker, Spend, UnsettledMove
from computepool.report.pass_report import PassReport
from computepool.report.status import moves_by_second, status_of
from tests.builders import NOW, changed, node, pod, pod_move, pool, provider
from tests.unit.report.passes import AT, RESIDENTS, report_on, said

OPEN = Breaker(BreakerState.OPEN, Reason.PROVIDER_SILENT, since=NOW, retry_at=NOW + 60, failures=1)
PRICED = pool(provider("aws"), provider("nebius", price="2.50"), budget={"perHour": "5", "perDay": "100"})
BURST = [node("a1", 2, of="aws"), node("n1", 4, of="nebius")]


def planned(of: PassReport | None = None, **fields: object) -> PassReport:
    """A report whose plan has these fields."""
    of = of or report_on()
    return msgspec.structs.replace(of, plan=msgspec.structs.replace(of.plan, **fields))


def with_breakers(breakers: Mapping[str, Breaker], of: PassReport | None = None) -> PassReport:
    of = of or report_on()
    return msgspec.structs.replace(of, state=changed(of.state, breakers=breakers))


def drained(name: str, among: Sequence[str] = ("aws", "nebius", "crusoe")) -> ComputePool:
    """A pool of which a person drains one provider."""
    return pool(*(provider(other, drain=other == name) for other in among))


def move(name: str, kind: MoveKind = MoveKind.FAILOVER) -> Move:
    return Move(pod(name, on="n1"), "nebius", "crusoe", kind, Reason.LEAVES_PROVIDER)


def test_a_provider_that_is_not_used_is_told_with_why() -> None:
    status, reason, message = said(with_breakers({"nebius": OPEN, "aws": Breaker()}), "Degraded")
    assert (status, reason) == ("True", "ProviderSilent")
    assert "nebius (open)" in message
    assert Reason.PROVIDER_SILENT.help in message


def test_all_providers_closed_are_no_trouble() -> None:
    assert said(with_breakers({"nebius": Breaker(), "aws": Breaker()}), "Degraded")[:2] == ("False", "AllWell")


def test_a_breaker_is_in_the_status_with_its_times() -> None:
    status = status_of(with_breakers({"nebius": OPEN}), PoolStatus(), AT)
    breaker = status.providers[1].breaker
    assert (breaker.state, breaker.reason, breaker.failures) == ("Open", "ProviderSilent", 1)
    assert breaker.since == AT
    assert breaker.retry_at is not None
    assert (breaker.retry_at - AT).total_seconds() == 60
    assert status.providers[0].breaker.state == "Closed"


def test_that_nothing_is_moved_because_too_much_failed_is_told_first() -> None:
    of = planned(with_breakers({"nebius": OPEN}), held_back="2 of 3 providers have failed at once")
    assert said(of, "Degraded") == (
        "True",
        "TooManyFailed",
        "2 of 3 providers have failed at once. Also ProviderSilent: nebius (open).",
    )


def test_a_provider_that_failed_says_when_it_is_tried_again() -> None:
    message = said(with_breakers({"nebius": OPEN}), "Degraded")[2]
    assert message.endswith(
        "It is tried again at 2027-01-15T08:01:00Z at the earliest, once it has been healthy for a while."
    )


def test_a_provider_on_trial_is_not_told_as_one_that_fails_now() -> None:
    trial = msgspec.structs.replace(OPEN, state=BreakerState.HALF_OPEN)
    assert said(with_breakers({"nebius": trial}), "Degraded")[2].endswith("That is over: it is tried with a first pod.")


def test_pods_that_can_not_leave_are_told_while_a_breaker_is_open_too() -> None:
    of = planned(with_breakers({"nebius": OPEN}), blocked=(BlockedMove(pod("web", on="n1"), Reason.EVICTION_REFUSED),))
    status, reason, message = said(of, "Degraded")
    assert (status, reason) == ("True", "ProviderSilent")
    assert message.endswith(" Also EvictionRefused: 1 pod, such as default/web.")


def test_pods_held_by_a_budget_and_pods_without_room_are_both_told() -> None:
    of = report_on(nodes=[*BURST, node("n2"), node("n3", ready="Unknown", quarantine="NodeUnknown")])
    held = [BlockedMove(pod(f"held-{index}", on="n3"), Reason.EVICTION_REFUSED) for index in range(2)]
    of = planned(of, blocked=(BlockedMove(pod("web", on="n3"), Reason.WOULD_STRAND), *held))
    status, reason, message = said(of, "Degraded")
    assert (status, reason) == ("True", "EvictionRefused")
    assert "2 pods, such as default/held-0, default/held-1. Also WouldStrand: 1 pod, such as default/web;" in message


def test_pods_that_stay_for_want_of_money_say_so() -> None:
    of = report_on(nodes=[*BURST, node("n2"), node("n3", ready="Unknown", quarantine="NodeUnknown")])
    unpaid = BlockedMove(
        pod("web", on="n3"), Reason.WOULD_STRAND, (("aws", Reason.NO_ROOM), ("c", Reason.BUDGET_EXHAUSTED))
    )
    assert Reason.BUDGET_EXHAUSTED.help in said(planned(of, blocked=(unpaid,)), "Degraded")[2]


def test_a_drained_provider_is_told_and_does_not_degrade_the_pool() -> None:
    status, reason, message = said(report_on(drained("nebius"), pods=[]), "Degraded")
    assert (status, reason) == ("False", "Drained")
    assert message.startswith("provider(s) not in full use: nebius (open).")


def test_a_drain_that_leaves_pods_without_a_place_degrades_the_pool_and_says_how_it_ends() -> None:
    nodes = [node("a1", 2, of="aws"), node("n1", of="nebius")]
    pods = [*RESIDENTS, *(pod(f"new-{index}") for index in range(9))]
    of = report_on(drained("nebius", among=("aws", "nebius")), nodes, pods)
    status, reason, message = said(of, "Degraded")
    assert (status, reason) == ("True", "Drained")
    names = "default/new-0, default/new-1, default/new-2"
    assert f"would fit there and that no other provider takes, such as {names}." in message
    assert "End the drain with `computepool drain inference/nebius --undo`, or add" in message


def test_a_drain_that_a_pod_would_not_profit_from_does_not_degrade_the_pool() -> None:
    nodes = [node("a1", 2, of="aws"), node("n1", of="nebius")]
    of = report_on(drained("nebius", among=("aws", "nebius")), nodes, [*RESIDENTS, pod("big", 16)])
    assert said(of, "Degraded")[:2] == ("False", "Drained")


def test_pods_that_wait_while_another_provider_is_drained_but_is_not_for_them_are_no_fault_of_the_drain() -> None:
    pods = [*RESIDENTS, pod("new", allowed=("crusoe",))]
    full = [node("a1", 2, of="aws"), node("n1", of="nebius"), node("c1", 1, of="crusoe")]
    of = report_on(drained("nebius"), full, [*pods, pod("old-3", on="c1")])
    assert said(of, "Degraded")[:2] == ("True", "PodsWaiting")


def test_a_drained_provider_is_told_behind_one_that_failed() -> None:
    by_hand = Breaker(BreakerState.OPEN, Reason.DRAINED, since=NOW)
    of = report_on(pool(provider("aws", drain=True), provider("nebius"), provider("crusoe")))
    assert said(with_breakers({"aws": by_hand}, of), "Degraded")[1] == "Drained"
    status, reason, message = said(with_breakers({"aws": by_hand, "nebius": OPEN}, of), "Degraded")
    assert (status, reason) == ("True", "ProviderSilent")
    assert message.endswith(" Also Drained: aws (open).")


@pytest.mark.parametrize(("state", "words"), [(BreakerState.OPEN, "open"), (BreakerState.HALF_OPEN, "half-open")])
def test_a_drain_that_was_ended_is_not_told_as_a_drain(state: BreakerState, words: str) -> None:
    reason, message = said(with_breakers({"nebius": Breaker(state, Reason.DRAINED, since=NOW)}), "Degraded")[1:]
    assert reason == "DrainEnded"
    assert message.startswith(f"provider(s) not in full use: nebius ({words}). The provider's field drain is not true")


def test_a_drained_provider_does_not_hide_another_whose_drain_has_ended() -> None:
    by_hand = Breaker(BreakerState.OPEN, Reason.DRAINED, since=NOW)
    of = report_on(pool(provider("aws", drain=True), provider("nebius"), provider("crusoe")))
    reason, message = said(with_breakers({"aws": by_hand, "nebius": by_hand}, of), "Degraded")[1:]
    assert reason == "Drained"
    assert message.endswith(" Also DrainEnded: nebius (open).")


def test_in_observe_what_would_follow_from_a_breaker_is_not_told_as_if_it_did() -> None:
    observed = report_on(pool(mode="Observe"), nodes=BURST)
    message = said(with_breakers({"nebius": OPEN}, observed), "Degraded")[2]
    assert message.startswith("provider(s) that would not be in full use: nebius (open).")
    assert "It would be tried again at" in message


@pytest.mark.parametrize("reason", [Reason.WOULD_STRAND, Reason.EVICTION_REFUSED])
def test_pods_that_should_leave_and_cannot_are_named_a_few_of_them(reason: Reason) -> None:
    of = report_on(nodes=[*BURST, node("n2"), node("n3", ready="Unknown", quarantine="NodeUnknown")])
    of = planned(of, blocked=tuple(BlockedMove(pod(f"web-{index}", on="n3"), reason) for index in range(9)))
    status, found, message = said(of, "Degraded")
    assert (status, found) == ("True", str(reason))
    assert "web-0" in message
    assert "web-8" not in message


def test_pods_that_have_no_room_at_home_and_are_well_where_they_are_are_no_trouble() -> None:
    stay = BlockedMove(pod("web", on="n1"), Reason.WOULD_STRAND, (("aws", Reason.NO_ROOM),))
    assert said(planned(blocked=(stay,)), "Degraded")[:2] == ("False", "AllWell")


def test_pods_that_stay_by_policy_are_no_trouble() -> None:
    of = planned(blocked=(BlockedMove(pod("web", on="n1"), Reason.LEFT_BY_POLICY),))
    assert said(of, "Degraded")[0] == "False"


def test_a_window_that_never_opens_is_told() -> None:
    of = report_on(pool(failback={"policy": "WhenStable", "window": {"schedule": "0 0 30 2 *", "durationSeconds": 60}}))
    status, reason, message = said(of, "Degraded")
    assert (status, reason) == ("True", "WindowNeverOpens")
    assert "0 0 30 2 *" in message


# -- money


def test_without_a_budget_nothing_is_exhausted_and_nothing_in_the_status() -> None:
    assert said(report_on(), "BudgetExhausted")[:2] == ("False", "NoBudget")
    assert status_of(report_on(), PoolStatus(), AT).budget is None


def test_an_exhausted_budget_is_told_with_its_bounds_and_what_becomes_of_running_pods() -> None:
    status, reason, message = said(planned(report_on(PRICED, BURST), exhausted=True), "BudgetExhausted")
    assert (status, reason) == ("True", "BudgetExhausted")
    assert "5 an hour and 100 a day" in message
    assert "go on, and cost" in message


def spending(spent: str, at: float = NOW, day: str = "2027-01-15") -> PassReport:
    of = report_on(PRICED, BURST)
    return msgspec.structs.replace(of, state=changed(of.state, spend=Spend(day, Decimal(spent), at)))


def test_what_was_spent_is_written_as_it_is_recorded() -> None:
    first = status_of(spending("1"), PoolStatus(), AT).budget
    assert first is not None
    assert (first.day, first.spent) == ("2027-01-15", "1.000000")
    later = status_of(spending("1.1", NOW + 61), PoolStatus(budget=first), AT).budget
    assert later is not None
    assert later.spent == "1.100000"


# -- moves


def test_moves_are_counted_by_second_and_kept_while_none_is_made() -> None:
    recent = ((NOW, MoveKind.FAILOVER), (NOW + 0.5, MoveKind.RESCHEDULE), (NOW + 1, MoveKind.FAILBACK))
    assert [(one.failover, one.failback) for one in moves_by_second(recent)] == [(2, 0), (0, 1)]
    of = report_on()
    later = msgspec.structs.replace(of, state=changed(of.state, recent_moves=recent))
    status = status_of(planned(later, moves=(move("web"),)), PoolStatus(), AT)
    assert len(status.recent_moves) == 2
    assert status_of(later, status, AT).recent_moves == status.recent_moves


def test_the_last_decision_tells_of_moves_once_in_mode_observe() -> None:
    told = status_of(planned(moves=(move("a"), move("b"))), PoolStatus(), AT).last_decision
    assert told is not None
    assert (told.action, told.reason) == ("Failover", "LeavesProvider")
    assert told.message.startswith("2 running pod(s) to be moved: 2 from nebius to crusoe.")
    again = msgspec.structs.replace(planned(moves=(move("a"),)), announced_moves=True)
    assert status_of(again, PoolStatus(last_decision=told), AT).last_decision == told


def test_a_move_that_a_budget_holds_is_decided_once_however_often_it_is_tried() -> None:
    again = move("a")
    held = pod_move(again.pod, again.target, source=again.source, at=NOW - 5, refused_since=NOW - 60)
    before = PoolStatus()
    for seen in (held, msgspec.structs.replace(held, request=Request.ASKED)):
        of = planned(report_on(seen={"moves": (seen,)}), moves=(again,))
        assert status_of(of, before, AT).last_decision is None
    both = planned(report_on(seen={"moves": (held,)}), moves=(again, move("b")))
    told = status_of(both, before, AT).last_decision
    assert told is not None
    assert told.message.startswith("1 running pod(s) to be moved")


@pytest.mark.parametrize("reason", [Reason.MOVE_FAILED, Reason.AWAITS_REPLACEMENT])
def test_a_move_that_came_to_nothing_is_told_and_does_not_degrade_the_pool(reason: Reason) -> None:
    stays = BlockedMove(pod("web", on="n1", owner="rs-1"), reason)
    for times, told in ((0, "AllWell"), (1, "MoveFailed")):
        of = planned(blocked=(stays,))
        unsettled = {"rs-1": UnsettledMove(times, NOW - 60, 2)}
        status, why, message = said(
            msgspec.structs.replace(of, state=changed(of.state, unsettled=unsettled)), "Degraded"
        )
        assert (status, why) == ("False", told)
        assert ("default/web" in message) == bool(times)


def test_a_pod_whose_name_is_taken_on_a_lost_node_degrades_the_pool() -> None:
    stays = BlockedMove(pod("db-0", on="n1", owner="sts-1"), Reason.LOST_NODE)
    status, reason, message = said(planned(blocked=(stays,)), "Degraded")
    assert (status, reason) == ("True", "LostNode")
    assert "default/db-0" in message


# -- pods that wait


FULL = [pod("a1", 2, on="a1"), pod("n1", 4, on="n1"), pod("c1", 4, on="c1")]


def test_pods_that_wait_for_room_degrade_the_pool_with_their_names_and_without_counts() -> None:
    waiting = [pod(f"w{index}") for index in range(5)]
    status, reason, message = said(report_on(pods=[*FULL, *waiting]), "Degraded")
    assert (status, reason) == ("True", "PodsWaiting")
    assert message == (f"{Reason.PODS_WAITING.help} Now: NoRoom, for pods such as default/w0, default/w1, default/w2.")
    assert said(report_on(pods=[*FULL, *waiting[:-1]]), "Degraded")[2] == message


def test_pods_that_keep_to_a_full_primary_are_named_and_degrade_nothing() -> None:
    status, reason, message = said(report_on(pods=[*FULL, pod("own", allowed=())]), "Degraded")
    assert (status, reason) == ("False", "PodsWaiting")
    assert "NoRoom, for pods such as default/own" in message


def test_pods_that_will_be_sent_in_a_moment_do_not_wait() -> None:
    assert said(report_on(pods=[*FULL[:1], pod("w")]), "Degraded")[1] == "AllWell"
