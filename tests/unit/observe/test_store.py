"""The store: whatever came, and in whatever order, what it shows is what there is."""

from __future__ import annotations

import msgspec
import pytest

from computepool.model.cluster import Offer
from tests.builders import GPU, NOW, namespace, node, pod, pool, shape
from tests.unit.observe.storing import AT, WORLD, Clock, Enqueued, changed, filled, info_of, new_store, put, waiting

# -- what a snapshot holds


def test_a_snapshot_holds_the_nodes_of_the_pools_providers_and_no_others() -> None:
    store = filled(pool(), node("a1"), node("n1"), node("x1", of="elsewhere"))
    assert sorted(info.node.name for info in store.snapshot("inference").nodes) == ["a1", "n1"]


def test_nodes_and_pods_are_found_in_whatever_order_they_come() -> None:
    pieces = [pool(), namespace(), node("a1"), pod("p", 2, on="a1"), pod("q")]
    for order in (pieces, pieces[::-1]):
        store = filled(*order)
        assert info_of(store, "a1").used[GPU] == 2000
        assert waiting(store) == ["q"]


def test_a_node_is_charged_with_every_pod_on_it_and_shares_tell_the_pools_own() -> None:
    own, other = pod("own", 2, on="a1", burst="nebius"), pod("other", 1, on="a1", namespace="kube-system")
    tiny = pod("tiny", shaped=shape(0, more={"cpu": 1}), on="a1")
    info = info_of(filled(pool(), namespace(), node("a1"), own, other, tiny), "a1")
    assert (info.used[GPU], info.used["cpu"], info.used["pods"]) == (3000, 1000, 3000)
    assert info.shares["inference"].members == (own,)
    assert info.shares["inference"].accelerators == 2000
    assert info.shares["inference"].burst_labels == {"nebius"}


def test_a_finished_pod_holds_nothing() -> None:
    one = pod("p", 8, on="a1")
    store = filled(pool(), namespace(), node("a1"), one, changed(one, finished=True))
    assert info_of(store, "a1").used == {}
    assert store.sizes() == (1, 0)


def test_a_pod_that_is_bound_waits_no_more() -> None:
    one = pod("p", 8)
    store = filled(pool(), namespace(), node("a1"), one, changed(one, node="a1"))
    assert waiting(store) == []
    assert info_of(store, "a1").left[GPU] == 0


def test_a_nomination_takes_the_place_and_gives_it_back() -> None:
    one = pod("p", 8, nominated="a1")
    store = filled(pool(), namespace(), node("a1"), one)
    assert info_of(store, "a1").left[GPU] == 0
    put(store, changed(one, nominated=""))
    assert info_of(store, "a1").left[GPU] == 8000


def test_pods_in_reserved_namespaces_belong_to_no_pool() -> None:
    store = filled(pool(), namespace("kube-system"), pod("p", namespace="kube-system"))
    assert waiting(store) == []


def test_a_pod_of_the_same_name_is_another_pod() -> None:
    old, new = pod("p", uid="1", on="a1"), pod("p", uid="2")
    store = filled(pool(), namespace(), node("a1"), old, new)
    store.drop_pod("1", AT)
    assert waiting(store) == ["p"]


def test_pods_on_a_node_that_is_gone_are_astray_until_they_are_gone_too() -> None:
    one = pod("p", on="a1")
    store = filled(pool(), namespace(), node("a1"), one)
    assert store.snapshot("inference").on_unknown_nodes == ()
    store.drop_node("a1", AT)
    assert store.snapshot("inference").on_unknown_nodes == (one,)
    store.drop_pod(one.uid, AT)
    assert store.snapshot("inference").on_unknown_nodes == ()


def test_a_node_that_was_not_seen_has_the_owners_of_its_pods_recheck_at_when_it_comes_and_goes() -> None:
    enqueued = Enqueued()
    store = filled(pool(), namespace(), pod("p", on="x1"), enqueued=enqueued)
    put(store, node("x1", of="elsewhere"))
    assert enqueued.pools() == {"inference"}
    assert store.snapshot("inference").on_unknown_nodes == ()
    enqueued.clear()
    store.drop_node("x1", AT)
    assert enqueued.pools() == {"inference"}


def test_a_pool_that_is_not_there_has_no_snapshot() -> None:
    with pytest.raises(KeyError):
        new_store().snapshot("inference")


# -- since when a pod waits


def test_a_pod_waits_since_its_gate_was_lifted_whatever_comes_after() -> None:
    clock = Clock()
    gated = pod("p", gated=True, waited=600)
    store = filled(pool(), namespace(), gated, wall=clock)
    clock.now = NOW + 7
    free = changed(gated, gated=False)
    put(store, free)
    clock.now = NOW + 70
    put(store, changed(free, unschedulable=True))
    (seen,) = store.snapshot("inference").waiting
    assert (seen.since, seen.created) == (NOW + 7, NOW - 600)


def test_a_pod_that_was_never_seen_gated_waits_since_its_creation() -> None:
    store = filled(pool(), namespace(), pod("p", waited=600))
    assert store.snapshot("inference").waiting[0].since == NOW - 600


# -- versions


def test_after_a_restored_backup_older_versions_are_believed_and_what_was_under_way_is_forgotten() -> None:
    one = pod("p", resource_version=100)
    store = filled(*WORLD[:5], one)
    store.in_flight.start(one.uid, Offer("nebius", NOW))
    store.in_flight.written(one.uid, 120, 100)
    put(store, msgspec.structs.replace(one, resource_version=50, priority=3))
    (seen,) = store.snapshot("inference").waiting
    assert (seen.resource_version, seen.priority) == (50, 3)
    assert one.uid not in store.in_flight
