"""Offers of which nobody knows whether they were written: forgotten once the pod shows them, and not before."""

from __future__ import annotations

import msgspec
import pytest

from computepool.model.cluster import Offer, Pod
from computepool.observe.in_flight_offers import InFlight
from computepool.observe.store import Store
from tests.builders import NOW, POOL, namespace, pod, pool

WAITING = pod("p", resource_version=10)


def seen(*offers: tuple[str, float], version: int = 20, **fields: object) -> Pod:
    """The pod later on."""
    changed = pod("p", resource_version=version, sent=offers)
    return msgspec.structs.replace(changed, **fields)


def doubting(at: float = NOW) -> InFlight:
    flights = InFlight()
    flights.start(WAITING.uid, Offer("nebius", at))
    assert not flights.doubted(WAITING.uid, WAITING)
    return flights


@pytest.mark.parametrize(
    ("later", "gone"),
    [
        (seen(("nebius", NOW)), True),
        (seen(("nebius", NOW + 3)), True),
        (seen(("nebius", NOW - 0.0004)), True),
        (seen(("nebius", NOW - 600)), False),
        (seen(("crusoe", NOW)), False),
        (seen(unschedulable=True), False),
    ],
    ids=["it", "sent later", "its time rounded", "an earlier one", "to another provider", "the scheduler's word"],
)
def test_a_doubted_offer_is_forgotten_once_the_pod_shows_it_and_by_no_other_change(later: Pod, gone: bool) -> None:
    flights = doubting()
    assert flights.shown(later) is gone
    assert (WAITING.uid not in flights) is gone


def test_an_offer_that_was_shown_before_it_was_doubted_is_forgotten_at_once() -> None:
    flights = InFlight()
    flights.start(WAITING.uid, Offer("nebius", NOW))
    assert flights.doubted(WAITING.uid, seen(("nebius", NOW)))
    assert WAITING.uid not in flights


def test_an_offer_that_is_in_no_doubt_waits_for_its_answer() -> None:
    flights = InFlight()
    flights.start(WAITING.uid, Offer("nebius", NOW))
    assert not flights.shown(seen(("nebius", NOW)))
    assert WAITING.uid in flights


def test_a_new_offer_takes_no_doubt_over_from_the_one_before() -> None:
    flights = doubting()
    flights.start(WAITING.uid, Offer("nebius", NOW))
    assert not flights.shown(seen(("nebius", NOW)))


def test_an_offer_is_forgotten_once_the_pod_is_bound_and_none_begins_after_that() -> None:
    store = Store(lambda *_, **__: None, wall=lambda: NOW)
    store.put_pool(pool(), 1.0)
    store.put_pod(WAITING, 1.0)
    store.start_offer(WAITING.uid, Offer("nebius", NOW))
    store.in_flight.doubted(WAITING.uid, WAITING)
    store.put_pod(seen(node="n1", version=15), 2.0)
    assert store.snapshot(POOL).in_flight == {}
    store.start_offer(WAITING.uid, Offer("nebius", NOW))
    assert store.snapshot(POOL).in_flight == {}


def test_the_watch_ends_the_doubt_and_has_the_pool_looked_at() -> None:
    enqueued: list[str] = []
    store = Store(lambda name, _at, **_: enqueued.append(name), wall=lambda: NOW)
    store.put_pool(pool(), 1.0)
    store.put_namespace(namespace(), 1.0)
    store.put_pod(WAITING, 1.0)
    store.in_flight.start(WAITING.uid, Offer("nebius", NOW))
    store.in_flight.doubted(WAITING.uid, WAITING)
    store.put_pod(seen(unschedulable=True, version=15), 2.0)
    assert store.snapshot(POOL).in_flight == {WAITING.uid: Offer("nebius", NOW)}
    enqueued.clear()
    store.put_pod(seen(("nebius", NOW)), 3.0)
    assert store.snapshot(POOL).in_flight == {}
    assert set(enqueued) == {POOL}
