"""Views of a cluster for the tests of `computepool diff`, and what is decided differently."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from computepool.cli.cluster_view import View
from computepool.cli.diff import compare
from computepool.cli.plan_difference import Difference, PodDecision, PoolDifference
from computepool.model.api import ComputePool
from computepool.model.cluster import Node, Pod
from computepool.observe.store import Store
from tests.builders import NOW, namespace

Ways = tuple[PodDecision, PodDecision]


def view_of(
    pools: Iterable[ComputePool], nodes: Iterable[Node], pods: Iterable[Pod], unread: tuple[str, ...] = ()
) -> View:
    """One read of a cluster with these objects, all of it in the namespace `default`."""
    store = Store(lambda *_, **__: None, wall=lambda: NOW)
    for pool in pools:
        store.put_pool(pool, 0.0)
    store.put_namespace(namespace(), 0.0)
    for node in nodes:
        store.put_node(node, 0.0)
    for pod in pods:
        store.put_pod(pod, 0.0)
    return View(store, NOW, frozenset(), None, {}, {}, unread)


def differences(
    today: Sequence[ComputePool], then: Sequence[ComputePool], nodes: Iterable[Node], pods: Iterable[Pod]
) -> Difference:
    """What is decided differently with the pools `then`."""
    return compare(view_of(today, nodes, pods), then)


def by_pod(found: Difference) -> dict[str, Ways]:
    """The decisions today and then, by the name of each pod that differs."""
    return {pod.name: (group.today, group.then) for group in found.pods for pod in group.pods}


def facts(pool: PoolDifference) -> dict[str, tuple[str, str]]:
    """What differs about a pool, by what it is about."""
    return {fact.about: (fact.today, fact.then) for fact in pool.facts}
