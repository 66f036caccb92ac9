"""A drill drains its provider for a limited time, and needs nobody to end it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from computepool.assess.capacity.providers import drills_change_at, providers_of
from computepool.model.api import BreakerState, ComputePool, RunningPods
from computepool.model.reasons import Reason
from computepool.simulate.owners import PodTemplate
from computepool.simulate.simulation import Simulation
from tests.builders import NOW, node, pool, provider, shape


def stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


def drilled(since: float, until: float, **fields: Any) -> ComputePool:
    """A pool with a drill of nebius; times are seconds after NOW."""
    entry = {**provider("nebius"), "drill": {"since": stamp(NOW + since), "until": stamp(NOW + until)}, **fields}
    return pool(provider("aws"), entry, provider("crusoe"), failback={"minDwellSeconds": 0}, pending=0)


@given(since=st.integers(-3600, 3600), lasts=st.integers(1, 7200), at=st.integers(-7200, 10_800))
def test_it_drains_from_its_beginning_until_its_end_and_at_no_other_time(since: int, lasts: int, at: int) -> None:
    made = drilled(since, since + lasts)
    _, nebius, crusoe = providers_of(made, NOW + at)
    under_way = since <= at < since + lasts
    assert (nebius.drain, nebius.drill) == (under_way, under_way)
    assert nebius.running_pods is (RunningPods.MOVE if under_way else RunningPods.FROM_UNHEALTHY_NODES)
    assert not crusoe.drain
    # Every change has a pass.
    assert drills_change_at(made, NOW + at) == [NOW + t for t in (since, since + lasts) if t > at]


def test_a_drain_by_hand_beside_a_drill_goes_on_after_it_and_says_what_becomes_of_pods() -> None:
    made = drilled(0, 600, drain=True, drainRunningPods="Leave")
    for at in (0.0, 700.0):
        _, nebius, _ = providers_of(made, NOW + at)
        assert (nebius.drain, nebius.running_pods) == (True, RunningPods.FROM_UNHEALTHY_NODES)


def test_pods_leave_during_the_drill_and_the_provider_is_tried_again_after_it_without_any_write() -> None:
    made = drilled(100, 400)
    simulation = Simulation(made, [node("a1", 2), node("n1", 4), node("c1", 4)], NOW)
    simulation.owners.create(PodTemplate(shape(1)), 4)
    simulation.settle()
    cluster = simulation.cluster
    assert len(cluster.pods_on("nebius")) == 2
    report = simulation.settle()
    assert report.plan.recheck_at is not None
    assert report.plan.recheck_at <= NOW + 100

    simulation.run(110)
    assert simulation.operator.state.breaker("nebius").reason is Reason.DRAINED
    simulation.run(200)
    assert cluster.pods_on("nebius") == []
    assert len(cluster.pods_on("crusoe")) == 2

    spec = cluster.pool.spec
    simulation.run(91)
    breaker = simulation.operator.state.breaker("nebius")
    assert breaker.state is not BreakerState.OPEN
    assert cluster.pool.spec == spec
    assert not cluster.nodes["n1"].quarantined or breaker.state is BreakerState.HALF_OPEN


@pytest.mark.parametrize("until", [0, -1, 7201])
def test_a_drill_of_no_time_or_of_more_than_two_hours_is_refused(until: int) -> None:
    with pytest.raises(ValueError, match="within two hours"):
        drilled(0, until)
