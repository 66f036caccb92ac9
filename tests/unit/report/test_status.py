"""The status of a pool after a pass: what it says, and that it stands still where nothing has changed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from computepool.decide.burst.admission import SETTLED_SECONDS
from computepool.model.api import BreakerState, BreakerStatus, ComputePool, PoolStatus
from computepool.model.reasons import Reason
from computepool.model.state import Breaker, Saturation, Spend
from computepool.report.pass_report import PassReport
from computepool.report.status import cost_per_hour, status_of
from tests.builders import NOW, changed, node, pod, pool, pool_state, provider
from tests.unit.report.passes import AT, FULL, NO_POLICY, RESIDENTS, report_on

LATER = AT + timedelta(minutes=5)
NEW = [*RESIDENTS, pod("new-1"), pod("new-2")]


def reported(of: PassReport, before: PoolStatus | None = None) -> PoolStatus:
    return status_of(of, before or of.snapshot.pool.status, AT)


def with_status(of: ComputePool, status: PoolStatus) -> ComputePool:
    """The pool as it is read back from the API server."""
    return of.model_copy(update={"status": PoolStatus.model_validate(status.to_object())})


def decision(status: PoolStatus) -> tuple[str, str, str]:
    assert status.last_decision is not None
    return status.last_decision.action, status.last_decision.reason, status.last_decision.message


# -- what it says


def test_providers_are_counted_in_the_order_of_the_spec() -> None:
    nodes = [*FULL, node("n2", 4, cordoned=True), node("n3", 4, ready="False")]
    status = reported(report_on(nodes=nodes, pods=[*NEW, pod("b", 3, on="n1")]))
    assert [one.name for one in status.providers] == ["aws", "nebius", "crusoe"]
    assert status.primary == "aws"
    nebius = status.providers[1]
    assert (nebius.nodes, nebius.burst_pods) == (3, 1)
    counts = nebius.accelerators
    assert (counts.allocatable, counts.allocated, counts.free, counts.unhealthy) == (4, 3, 1, 8)


def test_numbers_that_no_status_can_hold_are_told_as_far_as_it_can() -> None:
    most = 10_000_000
    priced = pool(provider("aws", price="999999"), provider("nebius", price="999999"))
    vast = [node("a1", 10**18, of="aws"), node("n1", 10**18)]
    status = reported(report_on(priced, vast, [pod("greedy", most + 1), pod("b", 10**17, on="n1")]))
    assert (status.pending.pods, status.pending.accelerators) == (1, most)
    counts = status.providers[1].accelerators
    assert (counts.allocatable, counts.allocated, counts.free) == (most, most, most)
    assert status.cost_per_hour == "99999999999999999999.99"


def test_what_was_written_by_hand_and_is_beyond_all_bounds_is_told_as_far_as_it_can_be() -> None:
    seen = report_on()
    late = Breaker(BreakerState.OPEN, Reason.PROVIDER_SILENT, NOW, retry_at=1e18, failures=10_000_001)
    spend = Spend("2026-11-23", Decimal("1e40"), NOW)
    status = reported(msgspec.structs.replace(seen, state=changed(seen.state, breakers={"nebius": late}, spend=spend)))
    breaker = status.providers[1].breaker
    assert breaker.failures == 10_000_000
    assert breaker.retry_at is not None
    assert breaker.retry_at.year == 9999
    assert status.budget is not None
    assert status.budget.spent == "99999999999999999999.990000"


def test_a_terminating_pod_is_a_burst_pod_while_its_node_lives_and_not_on_a_lost_one() -> None:
    priced = pool(provider("aws"), provider("nebius", price="2"))
    pods = [*RESIDENTS, pod("x", on="n1", deleting=NOW + 20), pod("y", on="n2", deleting=NOW - 600)]
    nodes = [*FULL[:2], node("n2", 4)]
    there = reported(report_on(priced, nodes, pods))
    assert (there.burst_pods, there.cost_per_hour) == (2, "4.00")
    lost = reported(report_on(priced, [*nodes[:2], node("n2", 4, ready="Unknown")], pods))
    assert (lost.burst_pods, lost.cost_per_hour, lost.providers[1].burst_pods) == (1, "2.00", 1)
    assert lost.condition("Bursting") is not None


def test_pods_of_the_pool_on_the_primary_are_no_burst_pods() -> None:
    status = reported(report_on())
    assert status.providers[0].burst_pods == 0
    assert status.burst_pods == 0


def test_what_waits_is_counted_in_pods_and_accelerators() -> None:
    status = reported(report_on(pods=[*RESIDENTS, pod("big", 8), pod("small", 1)]))
    assert (status.pending.pods, status.pending.accelerators) == (2, 9)


@pytest.mark.parametrize(
    ("price", "gpus", "cost"),
    [
        ("2.95", 3, "8.85"),
        ("0.1", 3, "0.30"),
        ("12.29", 8, "98.32"),
        ("0.333333", 3, "1.00"),
        ("999999.999999", 8, "8000000.00"),
    ],
)
def test_costs_are_exact_and_written_with_cents(price: str, gpus: int, cost: str) -> None:
    priced = pool(provider("aws"), provider("nebius", price=price))
    status = reported(report_on(priced, [node("a1"), node("n1", 8)], [pod("b", gpus, on="n1")]))
    assert status.providers[1].cost_per_hour == cost
    assert status.cost_per_hour == cost
    assert status.providers[0].cost_per_hour is None


def test_costs_add_up_before_they_are_rounded() -> None:
    priced = pool(provider("aws", price="0.004"), provider("nebius", price="0.004"))
    status = reported(report_on(priced, pods=[pod("a", on="a1"), pod("b", on="n1")]))
    assert [one.cost_per_hour for one in status.providers] == ["0.00", "0.00"]
    assert status.cost_per_hour == "0.01"


def test_a_tenth_of_an_accelerator_costs_a_tenth() -> None:
    priced = pool(provider("aws"), provider("nebius", price="2.95"))
    of = report_on(priced, pods=[pod("b", on="n1")])
    assert str(cost_per_hour(of.assessment.supplies[1])) == "2.95"


def test_without_prices_there_are_no_costs() -> None:
    status = reported(report_on())
    assert status.cost_per_hour is None
    assert "costPerHour" not in status.to_object()


def test_the_generation_is_that_of_the_spec_decided_upon() -> None:
    edited = pool()
    edited = edited.model_copy(update={"metadata": edited.metadata.model_copy(update={"generation": 4})})
    assert reported(report_on(edited)).observed_generation == 4


def test_admission_is_what_the_policy_needs_and_nothing_else() -> None:
    status = reported(report_on(pods=NEW))
    assert status.to_object()["admission"] == {
        "tolerations": [
            {"key": "computepool.io/provider", "operator": "Equal", "value": "nebius", "effect": "NoSchedule"}
        ],
        "preference": [{"key": "computepool.io/provider", "operator": "In", "values": ["aws"]}],
        "heldBy": "",
        "message": "",
    }


def test_admission_stays_as_it_is_while_the_pool_is_frozen() -> None:
    before = reported(report_on(pods=NEW))
    frozen = report_on(with_status(pool(), before), pods=NEW, seen={"stale": "pods are not listed yet"})
    assert reported(frozen).admission == before.admission


# -- the last decision


def test_a_burst_is_the_decision() -> None:
    assert decision(reported(report_on(pods=NEW))) == (
        "Burst",
        "PrimarySaturated",
        f"2 pod(s) sent to standbys: 2 to nebius. {Reason.PRIMARY_SATURATED.help}",
    )


def test_in_observe_the_decision_says_that_it_was_only_observed() -> None:
    action, _, message = decision(reported(report_on(pool(mode="Observe"), pods=NEW)))
    assert action == "Burst"
    assert message.startswith("Observe: 2 pod(s) would be sent to standbys")


def test_bursts_that_were_told_before_are_no_new_decision() -> None:
    first = reported(report_on(pool(mode="Observe"), pods=NEW))
    again = report_on(with_status(pool(mode="Observe"), first), pods=NEW, announced_bursts=True)
    assert status_of(again, first, LATER) == first


def test_opened_admission_is_a_decision_and_says_whom_it_opens_to_and_why() -> None:
    opened = reported(report_on(pool(sustain=0)))
    assert decision(opened) == (
        "OpenAdmission",
        "PrimaryAllocated",
        f"New pods may use nebius from their creation on. {Reason.PRIMARY_ALLOCATED.help}",
    )


def test_admission_that_is_always_open_does_not_blame_the_primary() -> None:
    opened = reported(report_on(pool(admission="Always"), pods=[]))
    assert decision(opened)[2] == ("New pods may use nebius from their creation on. spec.admission.mode is Always.")


@pytest.mark.parametrize(
    ("spec", "nodes", "pods", "reason", "says"),
    [
        (
            {"clear": 0},
            FULL,
            [],
            "PrimaryHasRoom",
            "aws: 0 of 2 accelerators allocated (0 %). That is below allocation.enterPercent (95).",
        ),
        ({"mode": "Observe"}, FULL, RESIDENTS, "Observing", "Observe mode"),
        ({"admission": "Off"}, FULL, RESIDENTS, "PrimaryAllocated", "spec.admission.mode is Off"),
    ],
)
def test_closed_admission_is_a_decision_and_says_why(
    spec: dict[str, Any], nodes: Sequence[Any], pods: Sequence[Any], reason: str, says: str
) -> None:
    before = reported(report_on(pool(sustain=0)))
    closed = reported(report_on(with_status(pool(sustain=0, **spec), before), nodes, pods))
    assert closed.admission.tolerations == ()
    action, why, message = decision(closed)
    assert (action, why) == ("CloseAdmission", reason)
    assert says in message


def test_admission_closed_by_a_rival_names_what_to_change() -> None:
    before = reported(report_on(pool(sustain=0)))
    of = report_on(with_status(pool(sustain=0), before), seen={"conflicts": 1, "conflicting_pool": "training"})
    assert decision(reported(of))[:2] == ("CloseAdmission", "ClaimedByOlderPool")


def test_admission_closed_because_every_standby_is_limited_says_so() -> None:
    before = reported(report_on(pool(sustain=0)))
    limited = pool(provider("aws"), provider("nebius", max_accelerators=4), sustain=0)
    action, reason, message = decision(reported(report_on(with_status(limited, before))))
    assert (action, reason) == ("CloseAdmission", "NoStandbyRoom")
    assert "maxAccelerators" in message


@pytest.mark.parametrize(("per_hour", "reason"), [("100", "WithinBudget"), ("0.01", "BudgetExhausted")])
def test_admission_closed_by_a_budget_says_so(per_hour: str, reason: str) -> None:
    before = reported(report_on(pool(sustain=0)))
    priced = pool(provider("aws"), provider("nebius", price="2"), sustain=0, budget={"perHour": per_hour})
    closed = reported(report_on(with_status(priced, before), FULL[:2], [*RESIDENTS, pod("b", on="n1")]))
    assert decision(closed)[:2] == ("CloseAdmission", reason)


def test_admission_closed_for_the_first_pod_of_a_provider_on_trial_says_so() -> None:
    before = reported(report_on(pool(sustain=0)))
    trial = BreakerStatus(state=BreakerState.HALF_OPEN, reason="ProviderSilent", since=AT, failures=1, node="n1")
    tried = tuple(p.model_copy(update={"breaker": trial} if p.name == "nebius" else {}) for p in before.providers)
    of = with_status(pool(sustain=0), before.model_copy(update={"providers": tried}))
    action, reason, message = decision(reported(report_on(of)))
    assert (action, reason) == ("CloseAdmission", "CanaryUnderWay")
    assert message.startswith("nebius is on trial")


def test_a_pass_without_a_decision_keeps_the_last_one() -> None:
    before = reported(report_on(pods=NEW))
    calm = report_on(with_status(pool(), before), pods=[*RESIDENTS, pod("new-1", on="n1"), pod("new-2", on="n1")])
    assert status_of(calm, before, LATER).last_decision == before.last_decision


# -- standing still

STATES = {
    "quiet": {},
    "one place left": {"pods": RESIDENTS[:1]},
    "no nodes at all": {"nodes": [], "pods": []},
    "pods wait that fit nowhere": {"pods": [*RESIDENTS, pod("huge", 64)]},
    "pods were sent to a standby and wait": {"pods": [*RESIDENTS, pod("sent", sent=[("nebius", NOW - 1)])]},
    "pods run on standbys": {"pods": [*RESIDENTS, pod("b", on="n1", sent=[("nebius", NOW - 60)])]},
    "the view is stale": {"pods": NEW, "seen": {"stale": "nodes are not listed yet"}},
    "a write was refused": {"refused": "the patch of pod default/web was refused: 422"},
    "bursts stand refused": {"pods": NEW, "announced_bursts": True},
    "a rival": {"seen": {"conflicts": 2, "conflicting_pool": "training"}},
    "no policy": {"gaps": NO_POLICY},
}


@pytest.mark.parametrize("how", STATES.values(), ids=STATES)
@pytest.mark.parametrize("mode", ["Enforce", "Observe"])
def test_a_second_pass_over_the_same_gives_an_equal_status(how: dict[str, Any], mode: str) -> None:
    of = pool(
        provider("aws", price="12.29"), provider("nebius", price="2.95"), provider("crusoe", price="1.5"), mode=mode
    )
    first = reported(report_on(of, **how))
    read_back = with_status(of, first)
    assert read_back.status == first, "what is written is what is read back"
    again = report_on(read_back, **{**how, "announced_bursts": True})
    assert status_of(again, first, LATER) == first


def test_time_that_passes_alone_changes_nothing() -> None:
    first = reported(report_on())
    later = report_on(with_status(pool(), first), now=NOW + 3600)
    turned = {one.type for one in first.conditions} - {"Saturated"}
    after = status_of(later, first, LATER)
    assert {one for one in after.conditions if one.type in turned} == {
        one for one in first.conditions if one.type in turned
    }
    assert after.providers == first.providers


HELD = pool(provider("aws"), provider("nebius", max_accelerators=64), provider("crusoe"), sustain=0)


def test_a_standby_that_keeps_admission_closed_is_named_with_the_reason_and_is_a_decision_once() -> None:
    first = reported(report_on(HELD))
    assert (first.admission.tolerations, first.admission.held_by) == ((), "nebius")
    assert "nebius takes pods and has maxAccelerators" in first.admission.message
    assert decision(first) == ("HoldAdmission", "PreferredStandbyFirst", first.admission.message)
    again = status_of(report_on(with_status(HELD, first)), first, LATER)
    assert again == first


def test_admission_that_a_preferred_standby_closes_again_says_so() -> None:
    full = [*RESIDENTS, *(pod(f"n{index}", on="n1") for index in range(4))]
    opened = reported(report_on(HELD, pods=full))
    assert decision(opened)[0] == "OpenAdmission"
    closed = reported(report_on(with_status(HELD, opened), pods=full[:-1]))
    assert decision(closed)[:2] == ("CloseAdmission", "PreferredStandbyFirst")
    kept = reported(report_on(with_status(HELD, closed), pods=full))
    assert kept.admission == closed.admission, "it does not open with the last place that is taken"
    settled = pool_state(Saturation(True), held_by="nebius", hold_over_since=NOW - SETTLED_SECONDS)
    reopened = reported(report_on(with_status(HELD, closed), pods=full, state=settled))
    assert (reopened.admission.held_by, reopened.admission.message) == ("", "")
