"""What is reported about standbys that are held off, and about schedulers that are absent."""

from __future__ import annotations

import pytest

from computepool.model.api import PoolStatus
from computepool.model.reasons import Reason
from computepool.model.state import HoldOff, recorded_in
from computepool.report.metrics import Metrics
from computepool.report.status import status_of
from computepool.simulate.owners import PodTemplate
from computepool.simulate.simulation import Simulation
from tests.builders import NOW, node, pod, pool, shape
from tests.unit.report.passes import AT, RESIDENTS, report_on, said

HELD = HoldOff("nebius", Reason.WORKLOAD_BACK_OFF, "job", 2, NOW - 1, NOW + 50, running=3)
STOCK_OUT = HoldOff("crusoe", Reason.INSUFFICIENT_CAPACITY, "0123", 1, NOW - 2, NOW + 40.5, unused_place=True)


def test_hold_offs_survive_the_way_into_the_status_and_back() -> None:
    of = pool()
    recorded = status_of(report_on(of), PoolStatus(), AT)
    assert recorded.hold_offs == ()
    of = of.model_copy(update={"status": _held(HELD, STOCK_OUT)})
    assert recorded_in(of).hold_offs == (HELD, STOCK_OUT)
    status = status_of(report_on(of), of.status, AT)
    assert status.hold_offs == of.status.hold_offs


def test_hold_offs_degrade_the_pool_while_they_last() -> None:
    of = pool().model_copy(update={"status": _held(HELD, STOCK_OUT)})
    status, reason, message = said(report_on(of), "Degraded")
    assert (status, reason) == ("True", "InsufficientCapacity")
    assert message.startswith("crusoe: ")
    assert "WorkloadBackOff: nebius" in message
    assert said(report_on(of, now=NOW + 100), "Degraded")[1] == "AllWell"


def test_hold_offs_are_counted_by_provider_and_reason_while_they_last() -> None:
    of = pool().model_copy(update={"status": _held(HELD, STOCK_OUT)})
    metrics = Metrics()
    metrics.passed(report_on(of))
    text = metrics.render().decode()
    series = 'computepool_hold_offs{{pool="inference",provider="{}",reason="{}"}} {}'
    assert series.format("nebius", "WorkloadBackOff", "1.0") in text
    assert series.format("crusoe", "InsufficientCapacity", "1.0") in text
    assert series.format("crusoe", "WorkloadBackOff", "0.0") in text
    metrics.passed(report_on(of, now=NOW + 100))
    assert series.format("nebius", "WorkloadBackOff", "0.0") in metrics.render().decode()


def test_absent_schedulers_are_named() -> None:
    pods = [pod(f"p-{name}", shaped=shape(1, scheduler=name), waited=100) for name in ("volcano", "kai", "volcano")]
    status, reason, message = said(report_on(pods=[*RESIDENTS, *pods]), "Degraded")
    assert (status, reason) == ("True", "SchedulerAbsent")
    assert "'kai', 'volcano'" in message


@pytest.mark.parametrize("judged", [False, True])
def test_a_scheduler_that_looks_at_no_pod_is_named_and_no_provider_is_blamed(judged: bool) -> None:
    simulation = Simulation(pool(), [node("a1"), node("n1"), node("c1")], NOW)
    simulation.owners.create(PodTemplate(shape(8)), 1)
    simulation.settle()
    simulation.scheduler.run = lambda: 0  # type: ignore[method-assign]
    for waiting in simulation.owners.create(PodTemplate(shape(1)), 2):
        simulation.cluster.update_pod(waiting.uid, unschedulable=judged)
    simulation.run(125)
    status, reason, message = said(simulation.settle(), "Degraded")
    assert (status, reason) == ("True", "InsufficientCapacity" if judged else "SchedulerSilent")
    assert ("'default-scheduler'" in message) is not judged


def _held(*held: HoldOff) -> PoolStatus:
    written = [
        {
            "provider": found.provider,
            "reason": str(found.reason),
            "subject": found.subject,
            "failures": found.failures,
            "since": _time(found.since),
            "until": _time(found.until),
            "running": found.running,
            "unusedPlace": found.unused_place,
        }
        for found in held
    ]
    return pool(status={"holdOffs": written}).status


def _time(at: float) -> str:
    return AT.fromtimestamp(at, AT.tzinfo).isoformat()
