"""What a new leader reads back from the pool's status."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from computepool.model.api import BreakerState, ComputePool
from computepool.model.moves import MoveKind
from computepool.model.reasons import Reason
from computepool.model.state import Breaker, HoldOff, PoolState, Recorded, Spend, UnsettledMove, recorded_in, restarted
from tests.builders import pool, provider

KEYED = provider("crusoe", tolerations=[{"key": "virtual", "operator": "Exists"}])
OTHER = provider("lambda", tolerations=[{"key": "other", "operator": "Exists"}])


def with_status(saturated: str | None = None, tolerations: list[dict[str, str]] | None = None) -> ComputePool:
    status: dict[str, Any] = {"admission": {"tolerations": tolerations or []}}
    if saturated is not None:
        status["conditions"] = [
            {
                "type": "Saturated",
                "status": saturated,
                "reason": "PodsOverflow",
                "lastTransitionTime": "2026-11-23T05:00:00Z",
            }
        ]
    return pool(provider("aws"), provider("nebius"), KEYED, OTHER, status=status)


@pytest.mark.parametrize(
    ("status", "saturated"), [("True", True), ("False", False), ("Unknown", None), (None, None)], ids=str
)
def test_the_verdict_on_the_primary_is_read_from_its_condition(status: str | None, saturated: bool | None) -> None:
    assert recorded_in(with_status(status)) == Recorded(saturated)


@pytest.mark.parametrize(
    ("tolerations", "admitting"),
    [
        ([], ""),
        ([{"key": "computepool.io/provider", "value": "nebius", "effect": "NoSchedule"}], "nebius"),
        ([{"key": "virtual", "operator": "Exists"}], "crusoe"),
        ([{"key": "other", "operator": "Exists"}], "lambda"),
        ([{"key": "gone", "operator": "Exists"}], ""),
        ([{"key": "computepool.io/provider", "value": "gone", "effect": "NoSchedule"}], ""),
    ],
    ids=["closed", "by its default", "by its own", "by one like another's", "edited away", "removed"],
)
def test_the_provider_admitted_to_is_read_from_its_tolerations(
    tolerations: list[dict[str, str]], admitting: str
) -> None:
    assert recorded_in(with_status(tolerations=tolerations)).admitting == admitting


def test_a_pool_without_a_status_starts_from_nothing() -> None:
    assert restarted(recorded_in(pool())) == PoolState()


# -- what breakers, budgets and limits go on from

OPENED, RETRY = "2026-11-23T05:00:00.250Z", "2026-11-23T05:01:03.500Z"


def stamp(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_a_breaker_is_read_back_as_it_was_written() -> None:
    written = {"state": "Open", "reason": "ProviderSilent", "since": OPENED, "retryAt": RETRY, "failures": 3}
    half = {"state": "HalfOpen", "reason": "ProviderSilent", "since": OPENED, "failures": 2, "node": "c7"}
    closed = {"state": "Closed", "since": OPENED}
    of = pool(
        status={
            "providers": [
                {"name": "aws", "breaker": closed},
                {"name": "nebius", "breaker": written},
                {"name": "crusoe", "breaker": half},
                {"name": "gone", "breaker": {}},
            ]
        }
    )
    assert recorded_in(of).breakers == {
        "aws": Breaker(since=stamp(OPENED)),
        "nebius": Breaker(BreakerState.OPEN, Reason.PROVIDER_SILENT, stamp(OPENED), stamp(RETRY), 3),
        "crusoe": Breaker(BreakerState.HALF_OPEN, Reason.PROVIDER_SILENT, stamp(OPENED), failures=2, node="c7"),
    }


def test_a_reason_of_another_version_does_not_close_the_breaker() -> None:
    of = pool(status={"providers": [{"name": "nebius", "breaker": {"state": "Open", "reason": "Haunted"}}]})
    assert recorded_in(of).breakers == {"nebius": Breaker(BreakerState.OPEN)}


def test_spending_is_read_back_with_the_rate_at_which_it_goes_on() -> None:
    of = pool(
        status={
            "budget": {"day": "2026-11-23", "spent": "12.345678", "time": OPENED},
            "providers": [
                {"name": "aws", "costPerHour": "100.00"},
                {"name": "nebius", "costPerHour": "23.60"},
                {"name": "crusoe"},
            ],
        }
    )
    assert recorded_in(of).spend == Spend("2026-11-23", Decimal("12.345678"), stamp(OPENED), Decimal("23.60"))


@pytest.mark.parametrize("spent", ["much", "NaN", "Infinity", "", "1e40", "-5", "+5", "1" * 21])
def test_spending_that_is_no_amount_is_reckoned_anew(spent: str) -> None:
    assert recorded_in(pool(status={"budget": {"day": "2026-11-23", "spent": spent, "time": OPENED}})).spend is None


def test_moves_of_the_last_minute_are_read_back_oldest_first() -> None:
    later = "2026-11-23T05:00:30Z"
    moves = [{"time": later, "failover": 1}, {"time": "2026-11-23T05:00:00Z", "failover": 2, "failback": 1}]
    first, second = stamp("2026-11-23T05:00:00Z"), stamp(later)
    assert recorded_in(pool(status={"recentMoves": moves})).recent_moves == (
        (first, MoveKind.FAILBACK),
        (first, MoveKind.FAILOVER),
        (first, MoveKind.FAILOVER),
        (second, MoveKind.FAILOVER),
    )


def test_a_hold_off_is_read_back_as_it_was_written() -> None:
    written = {
        "provider": "nebius",
        "reason": "InsufficientCapacity",
        "subject": "0123",
        "since": OPENED,
        "until": RETRY,
        "failures": 2,
        "running": 8,
        "unusedPlace": True,
    }
    unknown, over = {**written, "reason": "Haunted"}, {**written, "failures": 0}
    held = HoldOff("nebius", Reason.INSUFFICIENT_CAPACITY, "0123", 2, stamp(OPENED), stamp(RETRY), 8, unused_place=True)
    assert recorded_in(pool(status={"holdOffs": [written, unknown, over]})).hold_offs == (held,)


def test_moves_beyond_any_limit_cost_no_memory() -> None:
    moves = [{"time": OPENED, "failover": 2_000_000_000}]
    assert len(recorded_in(pool(status={"recentMoves": moves})).recent_moves) <= 10_000


def test_what_is_recorded_was_moved_before_a_new_leader_took_over_whatever_its_clock_says() -> None:
    moves = [{"time": "2026-11-23T05:00:00Z", "failover": 1}, {"time": "2026-11-23T06:00:00Z", "failback": 1}]
    at = datetime(2026, 11, 23, 5, tzinfo=UTC).timestamp()
    of = pool(status={"recentMoves": moves})
    for since, latest in ((at + 30.5, at + 30), (at + 30, at + 29), (at + 7200, at + 3600)):
        state = restarted(recorded_in(of), since)
        assert state.recorded.recent_moves == ((at, MoveKind.FAILOVER), (latest, MoveKind.FAILBACK))


def test_unsettled_moves_are_read_back_as_begun_before_a_new_leader_took_over() -> None:
    at = datetime(2026, 11, 23, 5, tzinfo=UTC).timestamp()
    moves = [{"owner": "u1", "times": 2, "time": "2026-11-23T05:00:00Z", "pods": 8}]
    moves += [{"owner": "u2", "time": "2026-11-23T06:00:00Z"}]
    of = pool(status={"unsettledMoves": moves})
    assert recorded_in(of).unsettled == {"u1": UnsettledMove(2, at, 8), "u2": UnsettledMove(0, at + 3600, 0)}
    later = restarted(recorded_in(of), at + 30.5).recorded.unsettled
    assert later == {"u1": UnsettledMove(2, at, 8), "u2": UnsettledMove(0, at + 30, 0)}
