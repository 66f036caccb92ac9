"""What the selectors of a pool without pods match, and when such a pool is looked at again."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from computepool.model.cluster import Pod
from computepool.model.snapshot import Selection
from computepool.observe.pod_claims import Claims
from computepool.observe.selections import Selections
from computepool.observe.store import Store
from tests.builders import namespace, node, pod, pool, shape
from tests.unit.observe.storing import AT, Enqueued, filled, put

SELECTS = pool(workloads={"namespaceSelector": {"matchLabels": {"team": "ml"}}})
CHATS = pool(workloads={"podSelector": {"matchLabels": {"app": "chat"}}})
CHAT = {"app": "chat"}
PLAIN = shape(0)
OTHER = shape(2, resource="example.com/gpu")


def seen(*items: Any) -> tuple[Store, Enqueued]:
    """A store whose pool had a pass, and the pools that are enqueued from then on."""
    enqueued = Enqueued()
    store = filled(*items, enqueued=enqueued)
    store.snapshot("inference")
    return store, enqueued


def selection(store: Store) -> Selection | None:
    return store.snapshot("inference").selection


@pytest.mark.parametrize(
    ("items", "found"),
    [
        ((SELECTS, namespace()), Selection(namespaces=False)),
        ((SELECTS, namespace("kube-system", team="ml")), Selection(namespaces=False)),
        ((SELECTS, namespace(team="ml")), Selection()),
        ((SELECTS, namespace(team="ml"), pod("p", shaped=PLAIN)), Selection(pods=True)),
        (
            (SELECTS, namespace(team="ml"), pod("p", shaped=OTHER), pod("q", shaped=PLAIN)),
            Selection(pods=True, requested=("example.com/gpu",)),
        ),
        ((CHATS, namespace(), pod("p", shaped=OTHER)), Selection()),
        # The pool has a pod, waiting or bound.
        ((SELECTS, namespace(team="ml"), pod("p")), None),
        ((SELECTS, namespace(team="ml"), node("x1", of="elsewhere"), pod("p", on="x1")), None),
        # No namespace is known yet.
        ((SELECTS, pod("p")), None),
    ],
)
def test_what_the_selectors_match_is_known_of_pools_without_pods(items: tuple[Any, ...], found: Selection) -> None:
    assert selection(filled(*items)) == found


def test_pods_that_an_older_pool_keeps_match() -> None:
    older = pool(name="older", created=0)
    assert selection(filled(older, pool(), namespace(), pod("p"))) is None


def test_a_pool_is_looked_at_again_when_its_selectors_match_something_else() -> None:
    store, enqueued = seen(CHATS, namespace())
    put(store, pod("other", shaped=OTHER))
    assert enqueued.pools() == set()
    plain = pod("plain", shaped=PLAIN, labels=CHAT)
    put(store, plain)
    assert enqueued.pools() == {"inference"}
    assert selection(store) == Selection(pods=True)
    enqueued.clear()
    put(store, pod("more", shaped=PLAIN, labels=CHAT))
    assert enqueued.pools() == set()
    other = pod("devices", shaped=OTHER, labels=CHAT)
    put(store, other)
    assert enqueued.pools() == {"inference"}
    assert selection(store) == Selection(pods=True, requested=("example.com/gpu",))
    enqueued.clear()
    store.drop_pod(plain.uid, AT)
    assert enqueued.pools() == set()
    store.drop_pod(other.uid, AT)
    assert enqueued.pools() == {"inference"}


def test_a_pool_is_looked_at_again_when_a_namespace_matches_or_is_gone() -> None:
    store, enqueued = seen(SELECTS, namespace())
    put(store, namespace("two", team="ml"))
    assert enqueued.pools() == {"inference"}
    assert selection(store) == Selection()
    enqueued.clear()
    store.drop_namespace("two", AT)
    assert enqueued.pools() == {"inference"}
    assert selection(store) == Selection(namespaces=False)


def test_a_pool_with_pods_is_not_looked_at_for_pods_of_nobody() -> None:
    store, enqueued = seen(pool(), namespace(), pod("p"))
    put(store, pod("plain", shaped=PLAIN))
    put(store, namespace("two"))
    assert enqueued.pools() == set()


def test_a_pool_that_is_gone_is_forgotten() -> None:
    store, enqueued = seen(pool(), namespace())
    store.drop_pool("inference", AT)
    enqueued.clear()
    put(store, pod("plain", shaped=PLAIN))
    assert enqueued.pools() == set()


def test_a_pod_whose_labels_change_matches_or_no_longer() -> None:
    store, enqueued = seen(CHATS, namespace(), pod("p", shaped=PLAIN))
    put(store, pod("p", shaped=PLAIN, labels=CHAT))
    assert enqueued.pools() == {"inference"}
    assert selection(store) == Selection(pods=True)
    enqueued.clear()
    put(store, pod("p", shaped=PLAIN))
    assert enqueued.pools() == {"inference"}
    assert selection(store) == Selection()


def test_the_pods_are_read_once() -> None:
    claims, chat = Claims(()), pod("p", shaped=PLAIN, labels=CHAT)
    read: list[str] = []

    def pods_in(name: str) -> list[Pod]:
        read.append(name)
        return [chat]

    claims.set_pools([CHATS])
    claims.put_namespace(namespace())
    selections = Selections(claims, pods_in)
    for _ in range(3):
        assert selections.look("inference") == Selection(pods=True)
    assert list(selections.changed_by(chat, None)) == ["inference"]
    assert selections.look("inference") == Selection()
    assert read == ["default"]


SPACES, NAMES = ("one", "two"), ("p", "q", "r")
OWNED = [
    pool(workloads={"podSelector": {"matchLabels": {"app": app}}, "namespaceSelector": {"matchLabels": {"team": "a"}}})
    for app in ("chat", "other")
]
PODS = st.builds(
    lambda name, shaped, app, where: pod(name, shaped=shaped, labels={"app": app}, namespace=where),
    st.sampled_from(NAMES),
    st.sampled_from((PLAIN, OTHER, shape(1))),
    st.sampled_from(("chat", "other")),
    st.sampled_from(SPACES),
)
TEAMS = st.builds(lambda name, team: namespace(name, team=team), st.sampled_from(SPACES), st.sampled_from(("a", "b")))
GONE = st.builds(lambda where, name: f"uid-{where}-{name}", st.sampled_from(SPACES), st.sampled_from(NAMES))


@given(st.lists(st.one_of(PODS, GONE, PODS, TEAMS, st.sampled_from(OWNED), st.none()), max_size=30))
def test_the_counts_are_those_of_a_store_that_reads_all_pods_anew(steps: list[Any]) -> None:
    start: list[Any] = [OWNED[0], *(namespace(name, team="a") for name in SPACES)]
    store, enqueued = seen(*start)
    looked = selection(store)
    known: dict[str, Any] = {item.name: item for item in start}
    for step in steps:
        if step is None:
            looked = selection(store)
            enqueued.clear()
        elif isinstance(step, str):
            store.drop_pod(step, AT)
            known.pop(step, None)
        else:
            put(store, step)
            known[step.uid if isinstance(step, Pod) else step.name] = step
        anew = selection(filled(*known.values()))
        assert anew == looked or enqueued.pools() == {"inference"}
    assert selection(store) == selection(filled(*known.values()))
