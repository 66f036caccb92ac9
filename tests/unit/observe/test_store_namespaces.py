"""Namespaces: a change of one concerns the pods in it, and costs no more than they do."""

from __future__ import annotations

import time

from computepool.observe.store import Store
from tests.builders import namespace, pod, pool
from tests.unit.observe.storing import AT, Enqueued, filled, put

SELECTS = pool(workloads={"namespaceSelector": {"matchLabels": {"team": "ml"}}})


def waiting(store: Store) -> list[str]:
    return sorted(waiting_pod.name for waiting_pod in store.snapshot("inference").waiting)


def test_a_namespace_that_changes_takes_all_of_its_pods_along_and_no_others() -> None:
    pods = [pod("a", namespace="one"), pod("b", namespace="one"), pod("c", namespace="two")]
    store = filled(SELECTS, namespace("one"), namespace("two"), *pods)
    put(store, namespace("one", team="ml"))
    assert waiting(store) == ["a", "b"]
    put(store, namespace("one"))
    assert waiting(store) == []


def test_pods_that_are_gone_are_not_concerned() -> None:
    enqueued = Enqueued()
    gone = pod("gone", namespace="one")
    store = filled(SELECTS, namespace("one"), gone, pod("blocked", namespace="one"), enqueued=enqueued)
    store.drop_pod(gone.uid, AT)
    put(store, namespace("one", team="ml"))
    assert waiting(store) == ["blocked"]
    store.drop_pod(store.snapshot("inference").waiting[0].uid, AT)
    enqueued.clear()
    put(store, namespace("one"))
    assert enqueued == []


def test_many_namespaces_cost_the_same_beside_many_pods_as_beside_a_few() -> None:
    def cost(pods: int) -> float:
        store = filled(SELECTS, *(pod(f"p{number}") for number in range(pods)))
        many = [namespace(f"n{number}") for number in range(500)]
        began = time.process_time()
        for one in many:
            put(store, one)
        return time.process_time() - began

    # Walking all pods for each namespace would cost a hundred times as much; the rest is room for a busy machine.
    assert cost(10_000) < 20 * min(cost(100) for _ in range(3)) + 0.01
