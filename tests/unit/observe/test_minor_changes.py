"""The steps of every pod that starts may wait for other changes; all else has its pools looked at at once."""

from __future__ import annotations

from typing import Any

import pytest

from computepool.model.cluster import Offer, Pod
from computepool.model.moves import MoveKind, PodMove
from computepool.observe.store import Store
from tests.builders import NOW, POOL, namespace, node, pod, pool
from tests.unit.observe.storing import AT, Clock, changed, put

WAITS = pod("p")
RUNS = pod("p", on="a1", ready=True)


class Scene:
    """A store, and how each change of it was enqueued."""

    def __init__(self, *items: Any) -> None:
        self.minor: set[bool] = set()
        self.store = Store(self._enqueue, wall=Clock())
        for item in (pool(), namespace(), node("a1"), node("n1"), *items):
            put(self.store, item)

    def _enqueue(self, _pool: str, _at: float, *, minor: bool = False) -> None:
        self.minor.add(minor)

    def after(self, pod: Pod) -> set[bool]:
        """Put a pod; return how pools were enqueued for it."""
        self.minor.clear()
        put(self.store, pod)
        return self.minor


@pytest.mark.parametrize(
    ("before", "after", "minor"),
    [
        pytest.param(WAITS, {"node": "a1"}, True, id="bound"),
        pytest.param(WAITS, {"node": "a1", "ready": True}, True, id="bound and ready"),
        pytest.param(pod("p", on="a1"), {"ready": True}, True, id="ready"),
        pytest.param(pod("p", on="a1"), {"has_run": True}, True, id="its containers run"),
        pytest.param(RUNS, {"ready": False}, True, id="not ready"),
        pytest.param(WAITS, {"deleting": NOW + 30}, False, id="waits no longer"),
        pytest.param(WAITS, {"nominated": "a1"}, False, id="nominated"),
        pytest.param(WAITS, {"priority": 7}, False, id="another priority"),
        pytest.param(pod("p", gated=True), {"gated": False}, False, id="a gate lifted"),
        pytest.param(pod("p", gated=True), {"gated": False, "node": "a1"}, False, id="a gate lifted, and bound"),
        pytest.param(RUNS, {"deleting": NOW + 30}, False, id="leaves"),
        pytest.param(RUNS, {"ready": False, "failing": True}, False, id="fails"),
        pytest.param(WAITS, {"node": "a1", "failing": True}, False, id="fails as it is bound"),
    ],
)
def test_only_the_steps_of_a_pod_that_starts_may_wait(before: Pod, after: dict[str, Any], minor: bool) -> None:
    assert Scene(before).after(changed(before, **after)) == {minor}


def test_a_new_pod_a_pod_that_is_gone_and_a_node_do_not_wait() -> None:
    scene = Scene()
    assert scene.after(WAITS) == {False}
    scene.minor.clear()
    scene.store.drop_pod(WAITS.uid, AT)
    assert scene.minor == {False}
    scene.minor.clear()
    put(scene.store, node("a2"))
    assert scene.minor == {False}


@pytest.mark.parametrize("answered", [True, False], ids=["answered", "not answered yet"])
def test_our_own_patch_may_wait_and_the_edit_of_another_writer_does_not(answered: bool) -> None:
    scene = Scene(WAITS)
    offer = Offer("nebius", NOW)
    scene.store.in_flight.start(WAITS.uid, offer)
    if answered:
        scene.store.in_flight.written(WAITS.uid, WAITS.resource_version + 2, WAITS.resource_version)
    edited = changed(WAITS, priority=7)
    assert scene.after(edited) == {False}
    assert scene.after(changed(edited, offers=(offer,))) == {True}


def test_no_step_waits_while_the_pool_moves_a_pod_because_it_may_end_the_move() -> None:
    leaves = pod("leaves", on="a1", owner="rs")
    replaces = pod("replaces", owner="rs")
    scene = Scene(leaves, WAITS)
    moves = scene.store.moves
    moves.start(POOL, PodMove(leaves, "aws", "nebius", MoveKind.FAILOVER, NOW))
    for note in (moves.recorded, moves.asked):
        note(leaves.uid)
    moves.let_go(leaves.uid, NOW)
    scene.store.drop_pod(leaves.uid, AT)
    put(scene.store, replaces)
    scene.store.snapshot(POOL)
    assert scene.after(changed(WAITS, node="a1")) == {False}
    assert scene.after(changed(replaces, node="n1")) == {False}
    scene.store.snapshot(POOL)
    assert scene.after(changed(changed(WAITS, node="a1"), ready=True)) == {True}
