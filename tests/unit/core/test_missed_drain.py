"""Pods that wait although a drained provider would take them: the verdict, and its hysteresis."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from computepool.decide.missed_drain import MAX_SHAPES
from computepool.decide.shortage import CLEAR_SECONDS, MOMENT_SECONDS
from computepool.model.cluster import Node, Pod
from computepool.model.state import Memory, MissedDrain, PoolState
from computepool.model.taints import Taint
from tests.builders import NOW, node, pod, pool, provider, shape, snapshot
from tests.unit.core.passes import Decided, decided

AWS, CRUSOE = provider("aws"), provider("crusoe", price="3")
FULL = (pod("a", 8, on="a1"), pod("c", 8, on="c1"))
HOME, OTHER = node("a1"), node("c1")
MISSED = MissedDrain(("nebius",), ("default/w",), NOW)


def plan(
    *pods: Pod,
    nodes: tuple[Node, ...] = (node("n1"),),
    before: MissedDrain | None = None,
    now: float = NOW,
    spec: dict[str, Any] | None = None,
    **fields: Any,
) -> Decided:
    of = pool(AWS, provider("nebius", drain=True, **fields), CRUSOE, **(spec or {}))
    state = PoolState(memory=Memory(missed_drain=before))
    return decided(snapshot(of, [HOME, OTHER, *nodes], [*FULL, *pods]), state, now)


def missed(*pods: Pod, **options: Any) -> MissedDrain | None:
    return plan(*pods, **options).state.memory.missed_drain


def test_a_pod_that_fits_on_a_drained_provider_misses_it() -> None:
    assert missed(pod("w")) == MISSED
    assert missed() is None


def test_a_pod_that_misses_the_primary_misses_it_too() -> None:
    of = pool(provider("aws", drain=True), provider("nebius"))
    found = decided(snapshot(of, [HOME, node("n1")], [pod("n", 8, on="n1"), pod("w")])).state.memory.missed_drain
    assert found == MissedDrain(("aws",), ("default/w",), NOW)


def test_a_pod_that_should_leave_an_unhealthy_node_misses_the_drained_provider_too() -> None:
    bad = node("c1", conditions={"XIDErrors": "True"}, quarantine="NodeCondition")
    health = {"nodeConditions": [{"type": "XIDErrors"}], "sustainSeconds": 0, "unhealthyPercent": 100}
    full = (pod("a", 8, on="a1"), pod("s", 8, on="c1", owner="web"), pod("d", 8, on="c2"))
    of = pool(AWS, provider("nebius", drain=True), CRUSOE, health=health, failover={"runningPods": "Move"})
    seen = snapshot(of, [HOME, bad, node("c2"), node("n1")], full)
    state = decided(seen).state
    state = decided(seen, state, NOW + 60).state
    assert state.memory.missed_drain == MissedDrain(("nebius",), ("default/s",), NOW + 60)


@pytest.mark.parametrize(
    ("waiting", "options"),
    [
        (pod("w", 16), {}),
        (pod("w", waited=MOMENT_SECONDS - 1), {"spec": {"pending": 0}}),
        (pod("w", allowed=("crusoe",)), {}),
        (pod("w", shaped=shape(1, unmodelled=["volumes"])), {}),
        (pod("w", shaped=shape(1, more={"cpu": 10_000})), {}),
        (pod("w", 8), {"max_accelerators": 4}),
        (pod("w", 8), {"price": "3", "spec": {"budget": {"perHour": "10"}}}),
        (pod("w"), {"nodes": (node("n1", 0),)}),
        (pod("w"), {"nodes": (node("n1", ready="False"),)}),
        (pod("w"), {"nodes": (node("n1", cordoned=True),)}),
        (pod("w"), {"nodes": (node("n1", taints=[Taint("team", "ml", "NoSchedule")]),)}),
        (pod("w"), {"nodes": ()}),
    ],
    ids=[
        "too large",
        "a moment only",
        "not allowed there",
        "may be bound by a volume",
        "lacks another resource",
        "beyond maxAccelerators",
        "beyond the budget",
        "a node without accelerators",
        "a node that is not ready",
        "a cordoned node",
        "a taint of others",
        "no node",
    ],
)
def test_a_pod_that_the_end_of_the_drain_does_not_help_misses_nothing(waiting: Pod, options: dict[str, Any]) -> None:
    assert missed(waiting, **options) is None


def test_a_full_drained_provider_is_not_missed() -> None:
    assert missed(pod("n", 8, on="n1"), pod("w")) is None


def test_nodes_that_carry_the_taint_of_the_drain_are_missed() -> None:
    assert missed(pod("w"), nodes=(node("n1", quarantine="Drained"),)) == MISSED


def test_nodes_on_demand_are_missed() -> None:
    assert missed(pod("w", 16), nodes=(), on_demand=True) == MISSED
    assert (
        missed(pod("w", shaped=shape(1, selector={"kubernetes.io/hostname": "n7"})), nodes=(), on_demand=True) is None
    )


def test_a_pod_that_is_too_large_for_all_providers_is_no_shortage_while_one_is_drained() -> None:
    assert plan(pod("w", 16)).state.memory.shortage is None
    found = plan(pod("w", 16), pod("x", 8)).state.memory.shortage
    assert found is not None
    assert found.pods == ("default/x",)


def test_of_very_many_shapes_only_some_are_compared_with_nodes() -> None:
    odd = [pod(f"w{index}", shaped=shape(1, more={"cpu": 10_000 + index})) for index in range(MAX_SHAPES)]
    late = pod("z", since=NOW - 100)
    assert missed(*odd, late) is None
    assert missed(*odd[1:], late) == MissedDrain(("nebius",), ("default/z",), NOW)


def test_the_verdict_lasts_for_a_while_after_its_last_pod_and_ends_with_the_drain() -> None:
    before = MissedDrain(("nebius",), ("default/w",), NOW - CLEAR_SECONDS + 1)
    found = plan(before=before)
    assert found.state.memory.missed_drain == before
    assert found.recheck_at is not None
    assert found.recheck_at <= NOW + 1
    assert missed(before=before, now=NOW + 1) is None
    both = MissedDrain(("crusoe", "nebius"), ("default/w",), NOW - 1)
    assert missed(before=both) == MissedDrain(("nebius",), ("default/w",), NOW - 1)
    assert missed(before=MissedDrain(("crusoe",), ("default/w",), NOW - 1)) is None
    undrained = snapshot(pool(AWS, provider("nebius"), CRUSOE), [HOME, OTHER, node("n1")], FULL)
    assert decided(undrained, PoolState(memory=Memory(missed_drain=before))).state.memory.missed_drain is None


def test_a_frozen_pool_keeps_its_verdict() -> None:
    view = snapshot(pool(AWS, provider("nebius", drain=True)), [HOME], FULL[:1], stale="pods are not listed yet")
    assert decided(view, PoolState(memory=Memory(missed_drain=MISSED))).state.memory.missed_drain == MISSED


@given(st.lists(st.floats(0, 200), max_size=20))
def test_the_verdict_changes_at_most_twice_in_the_time_of_its_hysteresis(waits: list[float]) -> None:
    """Pods come and go as they like, each for its own wait: the verdict does not flap with them."""
    changes: list[float] = []
    state: MissedDrain | None = None
    now = NOW
    for wait in waits:
        found = missed(pod("w", created=now - wait, since=now - wait), before=state, now=now)
        if (found is None) != (state is None):
            changes.append(now)
        state = found
        now += wait / 4
    # Every second change is an end.
    assert all(end - begin >= CLEAR_SECONDS for begin, end in zip(changes[0::2], changes[1::2], strict=False))
