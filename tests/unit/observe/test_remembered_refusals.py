"""What the store remembers of refused offers, and until when."""

from __future__ import annotations

from msgspec.structs import replace

from computepool.model.cluster import Pod, RefusedOffer
from computepool.observe.refused_offers import RECENT_SECONDS, RefusedOffers
from computepool.observe.store import Store
from tests.builders import NOW, POOL, node, pod, pool

REFUSED = RefusedOffer("nebius", NOW, NOW + 30)
LATER = RefusedOffer("nebius", NOW + 40, NOW + 100)
ELSEWHERE = RefusedOffer("crusoe", NOW, NOW + 30)
WAITS = pod("p")


def store_with(*pods: Pod) -> Store:
    store = Store(lambda _pool, _at, **_: None, wall=lambda: NOW)
    store.put_pool(pool(), 0.0)
    store.put_node(node("a1"), 0.0)
    for found in pods:
        store.put_pod(found, 0.0)
        store.refuse_offer(found.uid, REFUSED)
    return store


def refused(store: Store) -> dict[str, tuple[RefusedOffer, ...]]:
    return dict(store.snapshot(POOL).refused_offers)


def test_a_provider_has_its_last_refusal() -> None:
    store = store_with(WAITS)
    store.refuse_offer(WAITS.uid, ELSEWHERE)
    store.refuse_offer(WAITS.uid, LATER)
    assert refused(store) == {WAITS.uid: (LATER, ELSEWHERE)}


def test_refusals_are_in_a_row_if_the_next_comes_soon_after_its_time() -> None:
    refusals, last = RefusedOffers(), replace(REFUSED, times=3)
    assert refusals.count("uid", "nebius", NOW) == 0
    refusals.note("uid", last)
    late = last.until + RECENT_SECONDS
    assert [refusals.count("uid", "nebius", at) for at in (NOW - 1, NOW, late - 1, late)] == [0, 3, 3, 0]
    assert refusals.count("uid", "crusoe", NOW) == 0


def test_a_snapshot_stays_as_it_was() -> None:
    store = store_with(WAITS)
    before = store.snapshot(POOL)
    store.refuse_offer(WAITS.uid, ELSEWHERE)
    store.refused_offers.drop(WAITS.uid)
    assert before.refused_offers == {WAITS.uid: (REFUSED,)}


def test_refusals_of_bound_and_deleted_pods_are_forgotten() -> None:
    store = store_with(WAITS, pod("q"))
    store.put_pod(replace(WAITS, node="a1", resource_version=WAITS.resource_version + 1), 0.0)
    assert refused(store).keys() == {pod("q").uid}
    store.drop_pod(pod("q").uid, 0.0)
    assert refused(store) == {}
    assert store.refused_offers.of([WAITS, pod("q")]) == {}


def test_an_answer_that_comes_after_the_pod_is_bound_or_gone_is_not_kept() -> None:
    store = store_with(pod("bound", on="a1"))
    store.refuse_offer("uid of a pod that is gone", REFUSED)
    assert store.refused_offers.uids() == []


def test_a_pod_whose_tolerations_changed_is_tried_at_once() -> None:
    # The patch may have been refused because its list of tolerations was out of date.
    store = store_with(WAITS)
    newer = WAITS.resource_version + 1
    store.put_pod(replace(WAITS, unschedulable=True, resource_version=newer), 0.0)
    assert refused(store) != {}
    store.put_pod(replace(WAITS, labels={"app": "other"}, resource_version=newer + 1), 0.0)
    assert refused(store) != {}, "a controller may change labels all the time"
    store.put_pod(pod("p", tolerates=["crusoe"], resource_version=newer + 2), 0.0)
    assert refused(store) == {}


def test_another_spec_is_tried_at_once_and_another_status_changes_nothing() -> None:
    store = store_with(WAITS)
    store.put_pool(pool(), 0.0)
    assert refused(store) != {}
    store.put_pool(pool(name="other", sustain=7, workloads={"podSelector": {"matchLabels": {"no": "such"}}}), 0.0)
    assert refused(store) != {}, "another pool's spec"
    store.put_pool(pool(sustain=7), 0.0)
    assert refused(store) == {}
