"""Pods that wait for want of room or money: the verdict, and its hysteresis."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from computepool.decide.shortage import CLEAR_SECONDS, MOMENT_SECONDS, shortage_of
from computepool.model.cluster import Pod
from computepool.model.reasons import Reason
from computepool.model.state import Memory, PoolState, Shortage
from tests.builders import NOW, node, pod, pool, provider, shape, snapshot
from tests.unit.core.passes import Decided, decided

FULL = (pod("a", 8, on="a1"), pod("n", 8, on="n1"), pod("c", 8, on="c1"))
NODES = [node("a1"), node("n1"), node("c1")]


def plan(*pods: Pod, before: Shortage | None = None, now: float = NOW, **spec: Any) -> Decided:
    state = PoolState(memory=Memory(shortage=before))
    return decided(snapshot(pool(**spec), NODES, [*FULL, *pods]), state, now)


def shortage(*pods: Pod, **options: Any) -> Shortage | None:
    return plan(*pods, **options).state.memory.shortage


def test_pods_that_no_provider_has_room_for_are_a_shortage() -> None:
    names = ("default/w0", "default/w1", "default/w2")
    assert shortage(*(pod(f"w{index}") for index in (3, 1, 0, 2))) == Shortage(names, (Reason.NO_ROOM,), False, NOW)


def test_without_waiting_pods_there_is_no_shortage() -> None:
    assert shortage() is None


@pytest.mark.parametrize(("pending", "seconds"), [(0, MOMENT_SECONDS), (5, 5), (60, 60)])
def test_a_short_wait_is_no_shortage_and_the_next_pass_is_in_time(pending: int, seconds: float) -> None:
    early = plan(pod("w", waited=seconds - 1), pending=pending)
    assert early.state.memory.shortage is None
    assert early.recheck_at is not None
    assert early.recheck_at <= NOW + 1
    assert shortage(pod("w", waited=seconds), pending=pending) is not None


@pytest.mark.parametrize(
    "waiting",
    [
        pod("w", gated=True),
        pod("w", deleting=NOW + 5),
        pod("w", shaped=shape(1, selector={"kubernetes.io/hostname": "a1"})),
        pod("w", shaped=shape(1, selector={"disk": "none"})),
    ],
    ids=["gated", "terminating", "of a single node", "pinned away from all"],
)
def test_a_wait_that_room_and_money_do_not_end_is_no_shortage(waiting: Pod) -> None:
    assert shortage(waiting) is None


def test_a_pod_that_is_too_large_for_every_node_waits_for_a_larger_node() -> None:
    found = shortage(pod("w", 9))
    assert found is not None
    assert (found.confined, found.reasons) == (True, (Reason.TOO_LARGE,))


def test_pods_that_keep_to_the_primary_are_told_apart() -> None:
    own = pod("own", allowed=())
    found = shortage(own)
    assert found is not None
    assert (found.confined, found.pods) == (True, ("default/own",))
    both = shortage(own, pod("w"))
    assert both is not None
    assert (both.confined, both.pods) == (False, ("default/w",))


def test_a_budget_that_is_used_up_is_a_shortage_of_money() -> None:
    of = pool(provider("aws"), provider("nebius", price="2"), budget={"perHour": "1"})
    found = decided(snapshot(of, NODES[:2], [FULL[0], pod("w")])).state.memory.shortage
    assert found is not None
    assert found.reasons == (Reason.NO_ROOM, Reason.BUDGET_EXHAUSTED)


def test_a_shortage_lasts_for_a_while_after_its_last_pod() -> None:
    before = Shortage(("default/w",), (Reason.NO_ROOM,), False, NOW - CLEAR_SECONDS + 1)
    found = plan(before=before)
    assert found.state.memory.shortage == before
    assert found.recheck_at is not None
    assert found.recheck_at <= NOW + 1
    assert plan(before=before, now=NOW + 1).state.memory.shortage is None


def test_a_time_of_the_future_ends_no_later_for_it() -> None:
    assert shortage(before=Shortage(("default/w",), (Reason.NO_ROOM,), False, NOW + 1000)) is None


def test_a_frozen_pool_keeps_its_verdict() -> None:
    before = Shortage(("default/w",), (Reason.NO_ROOM,), False, NOW - 1)
    view = snapshot(pool(), NODES, [*FULL], stale="pods are not listed yet")
    assert decided(view, PoolState(memory=Memory(shortage=before))).state.memory.shortage == before


@given(st.lists(st.floats(0, 200), max_size=30))
def test_the_verdict_changes_at_most_twice_in_the_time_of_its_hysteresis(waits: list[float]) -> None:
    """Pods come and go as they like, each for its own wait: the verdict does not flap with them."""
    spec = pool().spec
    changes: list[float] = []
    state: Shortage | None = None
    now = NOW
    for wait in waits:
        held = plan(pod("w", created=now - wait, since=now - wait), now=now).holds
        found = shortage_of(held, spec, state, now).shortage
        if (found is None) != (state is None):
            changes.append(now)
        state = found
        now += wait / 4
    # Every second change is an end.
    assert all(end - begin >= CLEAR_SECONDS for begin, end in zip(changes[0::2], changes[1::2], strict=False))
