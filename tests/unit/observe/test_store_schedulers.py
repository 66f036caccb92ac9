"""Which schedulers the store has seen at work."""

from __future__ import annotations

from typing import Any

import pytest

from computepool.observe.store import Store
from tests.builders import namespace, node, pod, pool, shape
from tests.unit.observe.storing import AT, Clock, Enqueued, put

VOLCANO = shape(1, scheduler="volcano")


def store_of(*items: Any) -> tuple[Store, Enqueued]:
    enqueued = Enqueued()
    store = Store(lambda name, at, **_: enqueued.append((name, at)), wall=Clock(), clock=Clock())
    for item in (pool(), namespace(), node("a1"), *items):
        put(store, item)
    enqueued.clear()
    return store, enqueued


@pytest.mark.parametrize(
    ("fields", "seen"),
    [
        ({}, False),
        ({"unschedulable": True}, True),
        ({"on": "a1"}, True),
        ({"on": "elsewhere", "namespace": "other"}, True),
        ({"on": "a1", "finished": True}, True),
    ],
    ids=["waits", "judged", "bound", "bound, of no pool", "ended"],
)
def test_a_scheduler_is_at_work_once_it_has_bound_or_judged_a_pod(fields: dict[str, Any], seen: bool) -> None:
    store, enqueued = store_of()
    put(store, pod("p", shaped=VOLCANO, **fields))
    assert (store.snapshot("inference").schedulers == {"volcano"}) is seen
    assert enqueued.pools() == {"inference"}


def test_it_stays_known_when_its_pods_are_gone() -> None:
    store, _ = store_of(bound := pod("p", shaped=VOLCANO, on="a1"))
    store.drop_pod(bound.uid, AT)
    assert store.snapshot("inference").schedulers == {"volcano"}
