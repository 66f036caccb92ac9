"""A drill drains its provider for a limited time, needs nobody to end it, and gives way to real trouble."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from computepool.assess.assessment import assess
from computepool.decide.reconcile import reconcile
from computepool.model.api import BreakerState, ComputePool, RunningPods
from computepool.model.cluster import Node, Pod
from computepool.model.reasons import Reason
from computepool.model.state import Breaker, DrillRecord, Memory, MissedDrain, PoolState, Recorded
from computepool.simulate.owners import PodTemplate
from computepool.simulate.simulation import Simulation
from tests.builders import NOW, node, pod, pool, provider, shape, snapshot

NODES = (node("a1"), node("n1"), node("c1"))


def stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


def drilled(
    since: float, until: float, *, spec: Mapping[str, Any] = MappingProxyType({}), **fields: Any
) -> ComputePool:
    """A pool with a drill of nebius; times are seconds after NOW. `spec`: laid over the pool's."""
    entry = {**provider("nebius"), "drill": {"since": stamp(NOW + since), "until": stamp(NOW + until)}, **fields}
    return pool(provider("aws"), entry, provider("crusoe"), failback={"minDwellSeconds": 0}, pending=0, **spec)


# -- the window


@given(since=st.integers(-3600, 3600), lasts=st.integers(1, 7200), at=st.integers(-7200, 10_800))
def test_it_drains_from_its_beginning_until_its_end_and_at_no_other_time(since: int, lasts: int, at: int) -> None:
    assessment = assess(snapshot(drilled(since, since + lasts), NODES), PoolState(), NOW + at)
    nebius, crusoe = (supply.provider for supply in assessment.supplies[1:])
    under_way = since <= at < since + lasts
    assert (nebius.drain, nebius.drill) == (under_way, under_way)
    assert nebius.running_pods is (RunningPods.MOVE if under_way else RunningPods.FROM_UNHEALTHY_NODES)
    assert assessment.drills.of == ({"nebius": DrillRecord(NOW + since)} if under_way else {})
    assert not crusoe.drain
    # Every change has a pass.
    ahead = [NOW + t for t in (since, since + lasts) if t > at]
    assert assessment.drills.recheck_at == min(ahead, default=None)
    if ahead:
        assert assessment.recheck_at is not None
        assert assessment.recheck_at <= min(ahead)


def test_a_drain_by_hand_beside_a_drill_goes_on_after_it_and_says_what_becomes_of_pods() -> None:
    made = drilled(0, 600, drain=True, drainRunningPods="Leave")
    for at in (0.0, 700.0):
        nebius = assess(snapshot(made, NODES), PoolState(), NOW + at).supplies[1].provider
        assert (nebius.drain, nebius.running_pods) == (True, RunningPods.FROM_UNHEALTHY_NODES)


@pytest.mark.parametrize("until", [0, 0.5, -1, 7201])
def test_a_drill_of_no_time_or_of_more_than_two_hours_is_refused(until: float) -> None:
    with pytest.raises(ValueError, match="from a second to two hours"):
        drilled(0, until)


# -- real trouble


def stopped(state: PoolState, now: float = NOW, made: ComputePool | None = None) -> str:
    found = assess(snapshot(made or drilled(0, 600), NODES), state, now)
    record = found.drills.of["nebius"]
    assert found.supplies[1].provider.drill is not bool(record.stopped)
    assert found.supplies[1].provider.drain is not bool(record.stopped)
    return record.stopped


def opened(name: str, reason: Reason) -> PoolState:
    return PoolState(Recorded(breakers={name: Breaker(BreakerState.OPEN, reason, NOW - 5, NOW + 60, 1)}))


def test_it_stops_once_another_provider_has_failed_but_not_beside_a_planned_drain() -> None:
    assert stopped(opened("crusoe", Reason.PROVIDER_SILENT)) == "crusoe has failed (ProviderSilent)"
    assert stopped(opened("crusoe", Reason.PROVISIONING_FAILED)) == "crusoe has failed (ProvisioningFailed)"
    assert stopped(opened("crusoe", Reason.DRAINED)) == ""
    assert stopped(opened("nebius", Reason.DRAINED)) == ""
    assert stopped(PoolState()) == ""


@pytest.mark.parametrize("name", ["aws", "nebius", "crusoe"])
def test_it_stops_in_the_pass_that_finds_a_provider_failing_also_the_drilled_one(name: str) -> None:
    spec = drilled(0, 600).spec
    health = spec.health.model_copy(update={"sustain_seconds": 0})
    made = drilled(0, 600)
    made = made.model_copy(update={"spec": spec.model_copy(update={"health": health})})
    nodes = [node(each.name, ready="False") if each.name == f"{name[0]}1" else each for each in NODES]
    joined = PoolState(memory=Memory(joined=frozenset({"a1", "n1", "c1"})))
    for now in (NOW, NOW + 1):
        found = assess(snapshot(made, nodes), joined, now)
        failing = found.health.providers[name].failing
        assert found.drills.is_under_way("nebius") is (failing is None)
    assert failing is not None
    assert found.drills.of["nebius"].stopped == f"{name} fails ({failing})"


def test_it_stops_while_pods_wait_that_the_drilled_provider_would_take() -> None:
    waits = PoolState(memory=Memory(missed_drain=MissedDrain(("nebius",), ("default/web-1",), NOW)))
    assert stopped(waits).startswith("pods need nebius, such as default/web-1: they wait")
    elsewhere = PoolState(memory=Memory(missed_drain=MissedDrain(("crusoe",), ("default/web-1",), NOW)))
    assert stopped(elsewhere) == ""


def test_a_stopped_drill_never_goes_on_and_another_drill_is_judged_anew() -> None:
    before = PoolState(Recorded(drills={"nebius": DrillRecord(NOW, "crusoe has failed (ProviderSilent)")}))
    assert stopped(before, NOW + 100) == "crusoe has failed (ProviderSilent)"
    assert stopped(before, NOW + 100, drilled(50, 600)) == ""
    # It stays told until the field is removed, also where clocks differ.
    for at in (-100.0, 700.0):
        assert stopped(before, NOW + at) == "crusoe has failed (ProviderSilent)"


def test_a_pass_that_finds_pods_waiting_for_the_drilled_provider_asks_for_the_pass_that_stops_the_drill() -> None:
    full = (pod("a", 8, on="a1"), pod("c", 8, on="c1"))
    seen = snapshot(drilled(-60, 600), NODES, [*full, pod("w", waited=60)])
    first = reconcile(seen, PoolState(), NOW)
    assert first.state.memory.missed_drain == MissedDrain(("nebius",), ("default/w",), NOW)
    assert first.plan.recheck_at is not None
    assert first.plan.recheck_at <= NOW + 1
    second = reconcile(seen, first.state, NOW + 1)
    assert second.state.recorded.drills["nebius"].stopped.startswith("pods need nebius, such as default/w:")
    assert (
        second.state.breaker("nebius").reason is not Reason.DRAINED or not second.assessment.supplies[1].provider.drain
    )


@pytest.mark.parametrize("kind", ["topologySpreadConstraints", "podAntiAffinity", "volumes"])
def test_a_waiting_pod_with_constraints_that_are_not_modelled_stops_the_drill_and_ends_no_plain_drain(
    kind: str,
) -> None:
    waits = pod("w", waited=3500, shaped=shape(1, unmodelled=[kind]))
    full = (pod("a", 8, on="a1"), pod("c", 8, on="c1"), waits)
    assert after_passes(drilled(-60, 600), NODES, full) == ("default/w",)
    drained = pool(provider("aws"), provider("nebius", drain=True), provider("crusoe"), pending=0)
    assert after_passes(drained, NODES, full) == ()


def test_no_number_of_odd_shapes_hides_a_pod_that_needs_the_drilled_provider() -> None:
    odd = [pod(f"w{at}", waited=600, shaped=shape(1, more={"cpu": 10_000 + at})) for at in range(9)]
    full = (pod("a", 8, on="a1"), pod("c", 8, on="c1"), *odd, pod("z", waited=500))
    assert after_passes(drilled(-60, 600), NODES, full) == ("default/z",)


def test_a_pod_on_an_unhealthy_node_of_the_drilled_provider_needs_its_other_nodes() -> None:
    nodes = (
        node("a1"),
        node("n1", conditions={"XIDErrors": "True"}, quarantine="NodeCondition"),
        node("n2"),
        node("c1"),
    )
    full = (pod("a", 8, on="a1"), pod("s", 1, on="n1", owner="web"), pod("c", 8, on="c1"))
    health = {"nodeConditions": [{"type": "XIDErrors"}], "sustainSeconds": 0, "unhealthyPercent": 100}
    made = drilled(-60, 600, spec={"health": health, "failover": {"runningPods": "Move"}})
    assert after_passes(made, nodes, full) == ("default/s",)


def after_passes(made: ComputePool, nodes: Sequence[Node], pods: Sequence[Pod]) -> tuple[str, ...]:
    """The pods that are found, in some passes, to need a drained or drilled provider."""
    state, seen = PoolState(), snapshot(made, nodes, pods)
    for at in range(0, 300, 30):
        state = reconcile(seen, state, NOW + at).state
        if missed := state.memory.missed_drain:
            return missed.pods
    return ()


# -- the end of a drill


@pytest.mark.parametrize(
    ("failures", "ready", "state"),
    [(0, "True", BreakerState.CLOSED), (1, "True", BreakerState.HALF_OPEN), (0, "False", BreakerState.OPEN)],
    ids=["proven before", "failed before", "troubled now"],
)
def test_a_rehearsal_is_no_evidence_against_a_provider_that_was_proven_and_is_well(
    failures: int, ready: str, state: BreakerState
) -> None:
    breaker = Breaker(BreakerState.OPEN, Reason.DRAINED, NOW - 60, failures=failures)
    before = PoolState(Recorded(breakers={"nebius": breaker}, drills={"nebius": DrillRecord(NOW - 60)}))
    nodes = (node("a1"), node("n1", ready=ready, quarantine="Drained"), node("c1"))
    found = assess(snapshot(drilled(-60, 0), nodes), before, NOW).breakers.of["nebius"]
    assert found.state is state
    # After a drain by hand, and after a drill that an earlier pass has seen stop, it is tried first.
    for record in ({}, {"nebius": DrillRecord(NOW - 60, "crusoe has failed")}):
        earlier = PoolState(Recorded(breakers={"nebius": breaker}, drills=record))
        after = assess(snapshot(drilled(-60, 0), nodes), earlier, NOW).breakers.of["nebius"]
        assert after.state is not BreakerState.CLOSED


# -- a story


def test_pods_leave_during_the_drill_and_the_provider_is_used_again_after_it_without_any_write() -> None:
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
    assert simulation.operator.state.breaker("nebius").state is BreakerState.CLOSED
    assert cluster.pool.spec == spec
    assert not cluster.nodes["n1"].quarantined
