"""Which pools are enqueued: each pool that a change concerns, and no other."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from computepool.model.api import PoolStatus
from computepool.model.cluster import Offer
from tests.builders import NOW, namespace, node, pod, pool, provider, shape
from tests.unit.observe.storing import AT, WORLD, Enqueued, changed, filled, put

P, Q = WORLD[5], WORLD[6]


@pytest.mark.parametrize(
    "event",
    [
        pod("new"),
        pod("new", on="a1"),
        pod("new", namespace="kube-system", on="a1"),
        changed(P, node="n1"),
        changed(P, node="x1"),
        changed(P, unschedulable=True),
        changed(P, labels={"a": "b"}),
        changed(Q, deleting=NOW),
        changed(Q, finished=True),
        node("n2"),
        node("a1", 4),
        node("a1", ready="False"),
        node("a1", of="elsewhere"),
        node("x1", of="aws"),
        pool(pending=9),
        pool(name="other"),
    ],
    ids=str,
)
def test_a_change_that_concerns_a_pool_has_it_looked_at(event: Any) -> None:
    enqueued = Enqueued()
    put(filled(*WORLD, enqueued=enqueued), event)
    assert ("inference", AT) in enqueued


@pytest.mark.parametrize(
    "event",
    [
        changed(P),
        pod("new", on="x1", namespace="kube-system"),
        pod("new", shaped=shape(0)),
        node("x2", of="elsewhere"),
        node("x1", 4, of="elsewhere"),
        msgspec.structs.replace(WORLD[2], resource_version=10**9),
        namespace(team="ml"),
        namespace("other"),
        pool(),
        pool().model_copy(update={"status": PoolStatus(observed_generation=1)}),
    ],
    ids=str,
)
def test_a_change_that_concerns_no_pool_enqueues_no_pool(event: Any) -> None:
    enqueued = Enqueued()
    put(filled(*WORLD, enqueued=enqueued), event)
    assert enqueued == []


def test_what_is_gone_has_the_pool_looked_at() -> None:
    enqueued = Enqueued()
    store = filled(*WORLD, enqueued=enqueued)
    for drop, key in ((store.drop_pod, P.uid), (store.drop_pod, Q.uid), (store.drop_node, "n1")):
        drop(key, AT)
        assert enqueued.pools() == {"inference"}
        enqueued.clear()
    store.drop_node("x1", AT)
    store.drop_pod("unknown", AT)
    store.drop_pool("unknown", AT)
    assert enqueued == []


def test_a_write_that_has_landed_has_the_pool_looked_at_though_nothing_else_changed() -> None:
    enqueued = Enqueued()
    store = filled(*WORLD, enqueued=enqueued)
    store.in_flight.start(P.uid, Offer("nebius", NOW))
    store.in_flight.written(P.uid, P.resource_version + 1, P.resource_version)
    put(store, changed(P))
    assert enqueued.pools() == {"inference"}
    assert P.uid not in store.in_flight


THEIRS = pool(provider("x"), provider("y"), name="theirs", workloads={"podSelector": {"matchLabels": {"of": "theirs"}}})
MINE = pool(workloads={"podSelector": {"matchLabels": {"of": "mine"}}})


def test_a_place_that_another_pools_pod_gives_up_enqueues_every_pool() -> None:
    enqueued = Enqueued()
    sent = pod("sent", labels={"of": "theirs"}, sent=[("nebius", NOW)])
    flying = pod("flying", labels={"of": "theirs"})
    store = filled(MINE, THEIRS, namespace(), sent, flying, enqueued=enqueued)
    store.start_offer(flying.uid, Offer("nebius", NOW))
    store.in_flight.written(flying.uid, flying.resource_version + 1, flying.resource_version)
    for one in (sent, flying):
        enqueued.clear()
        put(store, changed(one, node="elsewhere"))
        assert "inference" in enqueued.pools()


def test_a_first_patch_that_is_seen_frees_no_place_and_wakes_no_other_pool() -> None:
    enqueued = Enqueued()
    waits = pod("waits", labels={"of": "theirs"})
    store = filled(MINE, THEIRS, namespace(), waits, enqueued=enqueued)
    store.start_offer(waits.uid, Offer("nebius", NOW))
    sent = pod("waits", labels={"of": "theirs"}, sent=[("nebius", NOW)], resource_version=waits.resource_version + 1)
    store.in_flight.written(waits.uid, sent.resource_version, waits.resource_version)
    enqueued.clear()
    put(store, sent)
    assert enqueued.pools() == {"theirs"}


def test_a_pod_of_an_older_backup_has_its_pool_looked_at_though_nothing_else_changed() -> None:
    enqueued = Enqueued()
    store = filled(*WORLD, enqueued=enqueued)
    store.start_offer(P.uid, Offer("nebius", NOW))
    enqueued.clear()
    put(store, msgspec.structs.replace(P, resource_version=P.resource_version - 1))
    assert "inference" in enqueued.pools()
    assert P.uid not in store.in_flight
