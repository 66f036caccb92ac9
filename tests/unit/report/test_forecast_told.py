"""What people see of a forecast: whole sentences, rounded minutes, and whether admission is open because of it."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from computepool.assess.forecast.trend import FullIn
from computepool.cli.status import show_pool
from computepool.decide.reconcile import reconcile
from computepool.model.api import ComputePool, PoolStatus
from computepool.model.reasons import Reason
from computepool.model.state import PoolState, recorded_in
from computepool.report.forecast import in_minutes
from computepool.report.metrics import Metrics
from computepool.report.pass_report import PassReport
from computepool.report.status import status_of
from tests.builders import NOW, node, pod, pool, snapshot

MINUTE = 60.0
ACT = {"mode": "Act", "windowMinutes": 10, "horizonSeconds": 600}


def reports(of: ComputePool, minutes: int = 11) -> list[PassReport]:
    """A pass a minute, while the demand on 64 accelerators grows by four."""
    nodes, state, made = [node("a1", 64), node("n1", 64)], PoolState(), []
    for minute in range(1, minutes + 1):
        pods = [pod(f"p{index}", on="a1") for index in range(4 * minute)]
        seen = snapshot(of, nodes, pods)
        outcome = reconcile(seen, state, NOW + minute * MINUTE)
        state = outcome.state
        made.append(PassReport(seen, outcome.assessment, outcome.plan, state))
    return made


def acting(**spec: Any) -> ComputePool:
    return pool(pending=3600, sustain=3600, enter=100, forecast=ACT, **spec)


def told(report: PassReport, before: PoolStatus | None = None) -> PoolStatus:
    return status_of(report, before or PoolStatus(), datetime.fromtimestamp(NOW, UTC))


def test_the_status_says_when_the_primary_is_full_and_that_admission_is_open() -> None:
    status = told(reports(acting())[-1])
    assert status.forecast is not None
    assert (status.forecast.reason, status.forecast.full_in_minutes) == (Reason.FORECAST_FULL, 5)
    assert status.forecast.message.startswith("aws will be full in about 5 min, ")
    assert status.forecast.message.endswith("New pods may use nebius from their creation on.")
    assert status.forecast.opens_admission
    assert status.last_decision is not None
    assert (status.last_decision.action, status.last_decision.reason) == ("OpenAdmission", Reason.FORECAST_FULL)


def test_the_status_says_why_admission_stays_closed() -> None:
    status = told(reports(acting(admission="Off"))[-1])
    assert status.forecast is not None
    assert not status.forecast.opens_admission
    assert "admission can't open" in status.forecast.message


def test_a_pool_without_a_forecast_has_none_in_its_status() -> None:
    assert told(reports(pool())[-1]).forecast is None


def test_a_frozen_pool_keeps_its_forecast() -> None:
    of = acting()
    report = reports(of)[-1]
    before = told(report)
    stale = snapshot(of, [node("a1", 64)], stale="the watch is broken")
    outcome = reconcile(stale, report.state, NOW + 12 * MINUTE)
    frozen = PassReport(stale, outcome.assessment, outcome.plan, outcome.state)
    assert told(frozen, before).forecast == before.forecast
    metrics = Metrics()
    metrics.passed(report)
    assert b'computepool_demand_accelerators{pool="inference"} 44.0' in metrics.render()
    metrics.passed(frozen)
    assert b"computepool_demand_accelerators{" not in metrics.render()


def test_the_measured_time_survives_the_way_into_a_status_and_back() -> None:
    of = acting()
    ready = pod("r", on="n1", ready=True, ready_since=NOW, waited=95.0)
    seen = snapshot(of, [node("a1", 64), node("n1", 64)], [ready])
    outcome = reconcile(seen, PoolState(), NOW + 1)
    assert outcome.state.recorded.standby_ready_seconds == 100
    status = told(PassReport(seen, outcome.assessment, outcome.plan, outcome.state))
    assert recorded_in(of.model_copy(update={"status": status})) == outcome.state.recorded


@pytest.mark.parametrize(
    ("full", "text"),
    [
        (FullIn(14, 9, 25), "in about 14 min, range 9 to 25"),
        (FullIn(23, 19, 41), "in about 25 min, range 15 to 45"),
        (FullIn(1, 1, None), "in about 1 min, 1 at the earliest"),
    ],
)
def test_minutes_above_fifteen_are_rounded_and_the_range_outwards(full: FullIn, text: str) -> None:
    assert in_minutes(full) == text


def test_metrics_show_the_forecast_only_while_there_is_one() -> None:
    made, metrics = reports(acting()), Metrics()
    metrics.passed(made[0])
    assert b"computepool_forecast_full_seconds{" not in metrics.render()
    metrics.passed(made[-1])
    text = metrics.render().decode()
    assert 'computepool_forecast_full_seconds{bound="likely",pool="inference"} 300.0' in text
    assert 'computepool_forecast_opens_admission{pool="inference"} 1.0' in text


def test_the_status_command_prints_the_forecast() -> None:
    of, out = acting(), io.StringIO()
    shown = of.model_copy(update={"status": told(reports(of)[-1])})
    show_pool(shown, Console(file=out, width=200), NOW)
    assert "Forecast (ForecastFull): aws will be full in about 5 min" in out.getvalue()
