"""Several pools in one store: who has which pods, and how labels of namespaces change that."""

from __future__ import annotations

from computepool.model.cluster import Offer
from computepool.model.well_known_keys import BURST_LABEL
from tests.builders import NOW, namespace, node, pod, pool, provider, shape
from tests.unit.observe.storing import AT, Enqueued, changed, filled, info_of, put, waiting

OLD = pool(provider("aws"), provider("nebius"), name="old", created=NOW - 2000)
YOUNG = pool(provider("aws"), provider("nebius"), name="young", created=NOW - 1000)


def test_the_older_pool_keeps_the_pod_and_the_younger_gets_the_count_and_the_name() -> None:
    store = filled(YOUNG, OLD, namespace(), node("a1"), pod("p"), pod("q", on="a1"))
    assert (waiting(store, "old"), waiting(store, "young")) == (["p"], [])
    assert (store.snapshot("old").conflicts, store.snapshot("old").conflicting_pool) == (0, "")
    assert (store.snapshot("young").conflicts, store.snapshot("young").conflicting_pool) == (2, "old")
    assert info_of(store, "a1", "young").shares.keys() == {"old"}


def test_of_several_rivals_the_oldest_is_named_whatever_came_last() -> None:
    middle = pool(name="middle", created=NOW - 1500, workloads={"podSelector": {"matchLabels": {"of": "middle"}}})
    oldest = pool(name="oldest", created=NOW - 3000, workloads={"podSelector": {"matchLabels": {"of": "oldest"}}})
    pods = [pod("m", labels={"of": "middle"}), pod("o", labels={"of": "oldest"})]
    for order in (pods, pods[::-1]):
        store = filled(YOUNG, middle, oldest, namespace(), *order)
        assert (store.snapshot("young").conflicts, store.snapshot("young").conflicting_pool) == (2, "oldest")


def test_a_pod_goes_to_the_next_pool_when_the_older_one_is_gone() -> None:
    store = filled(YOUNG, OLD, namespace(), node("a1"), pod("p"), pod("q", on="a1"))
    store.drop_pool("old", AT)
    assert waiting(store, "young") == ["p"]
    assert info_of(store, "a1", "young").shares.keys() == {"young"}
    assert store.snapshot("young").conflicts == 0


def test_another_pools_pods_that_were_sent_on_are_foreign_while_they_are_not_bound() -> None:
    mine = pool(name="mine", workloads={"podSelector": {"matchLabels": {"of": "mine"}}})
    theirs = pool(name="theirs", workloads={"podSelector": {"matchLabels": {"of": "theirs"}}})
    sent, flying, home = (pod(name, labels={"of": "theirs"}) for name in ("sent", "flying", "home"))
    sent = changed(sent, labels={"of": "theirs", BURST_LABEL: "nebius"})
    store = filled(mine, theirs, namespace(), node("n1"), sent, flying, home)
    store.in_flight.start(flying.uid, Offer("nebius", NOW))
    assert sorted(foreign.name for foreign in store.snapshot("mine").foreign) == ["flying", "sent"]
    assert store.snapshot("theirs").foreign == ()
    put(store, changed(sent, node="n1"))
    assert [foreign.name for foreign in store.snapshot("mine").foreign] == ["flying"]


def test_a_pool_without_the_edited_selector_gives_its_pods_back() -> None:
    store = filled(OLD, namespace(), node("a1"), pod("p"), pod("q", on="a1"))
    narrowed = pool(
        provider("aws"), provider("nebius"), name="old", workloads={"podSelector": {"matchLabels": {"a": "b"}}}
    )
    put(store, narrowed)
    assert waiting(store, "old") == []
    assert info_of(store, "a1", "old").shares == {}


def test_a_pool_that_counts_another_accelerator_counts_anew() -> None:
    both = shape(1, more={"amd.com/gpu": 3})
    store = filled(pool(), namespace(), node("a1"), pod("p", shaped=both, on="a1"))
    assert info_of(store, "a1").shares["inference"].accelerators == 1000
    put(store, pool(accelerator={"resourceName": "amd.com/gpu"}))
    assert info_of(store, "a1").shares["inference"].accelerators == 3000


# -- namespaces


def test_pods_change_pools_with_their_namespaces_labels() -> None:
    enqueued = Enqueued()
    mine = pool(workloads={"namespaceSelector": {"matchLabels": {"team": "ml"}}})
    store = filled(mine, namespace(), pod("p"), enqueued=enqueued)
    assert waiting(store) == []
    store.put_namespace(namespace(team="ml"), AT)
    assert waiting(store) == ["p"]
    assert enqueued.pools() == {"inference"}
    store.put_namespace(namespace(team="web"), AT)
    assert waiting(store) == []


def test_labels_of_a_namespace_that_is_gone_count_no_more() -> None:
    mine = pool(workloads={"namespaceSelector": {"matchLabels": {"team": "ml"}}})
    store = filled(mine, namespace(team="ml"), pod("p"))
    store.drop_namespace("default", AT)
    assert waiting(store) == []
