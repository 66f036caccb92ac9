"""The store: whatever came, and in whatever order, what it shows is what there is; and who has to look is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from computepool.model.api import ComputePool, PoolStatus
from computepool.model.snapshot import BURST_LABEL, NodeUse, Offer, Pod, Snapshot
from computepool.observe.inflight import InFlight
from computepool.observe.records import Namespace
from computepool.observe.store import Store
from tests.builders import GPU, NOW, namespace, node, pod, pool, provider, shape

AT = 5.0


class Marks(list[tuple[str, float]]):
    """Who was told to look, and at what time."""

    def pools(self) -> set[str]:
        return {name for name, _ in self}


@dataclass
class Clock:
    now: float = NOW

    def __call__(self) -> float:
        return self.now


def new_store(marks: Marks | None = None, wall: Callable[[], float] | None = None) -> Store:
    told = Marks() if marks is None else marks
    return Store(lambda name, at: told.append((name, at)), wall=wall or Clock(), reserved_namespaces=["kube-system"])


def filled(*items: Any, marks: Marks | None = None, wall: Callable[[], float] | None = None) -> Store:
    """A store that was given these, in this order."""
    store = new_store(marks, wall)
    for item in items:
        put(store, item)
    if marks is not None:
        marks.clear()
    return store


def put(store: Store, item: Any) -> None:
    if isinstance(item, ComputePool):
        store.put_pool(item, AT)
    elif isinstance(item, Namespace):
        store.put_namespace(item, AT)
    elif isinstance(item, Pod):
        store.put_pod(item, AT)
    else:
        store.put_node(item, AT)


def changed(one: Pod, **fields: Any) -> Pod:
    return msgspec.structs.replace(one, resource_version=one.resource_version + 1, **fields)


def use_of(store: Store, name: str, of: str = "inference") -> NodeUse:
    (found,) = [use for use in store.snapshot(of).nodes if use.node.name == name]
    return found


def waiting(store: Store, of: str = "inference") -> list[str]:
    return sorted(one.name for one in store.snapshot(of).waiting)


# -- what a snapshot holds


def test_a_snapshot_holds_the_nodes_of_the_pools_providers_and_no_others() -> None:
    store = filled(pool(), node("a1"), node("n1"), node("x1", of="elsewhere"))
    assert sorted(use.node.name for use in store.snapshot("inference").nodes) == ["a1", "n1"]


def test_nodes_and_pods_are_found_in_whatever_order_they_come() -> None:
    pieces = [pool(), namespace(), node("a1"), pod("p", 2, on="a1"), pod("q")]
    for order in (pieces, pieces[::-1]):
        store = filled(*order)
        assert use_of(store, "a1").used[GPU] == 2000
        assert waiting(store) == ["q"]


def test_a_node_is_charged_with_every_pod_on_it_and_shares_tell_the_pools_own() -> None:
    own, other = pod("own", 2, on="a1", burst="nebius"), pod("other", 1, on="a1", namespace="kube-system")
    tiny = pod("tiny", shaped=shape(0, more={"cpu": 1}), on="a1")
    use = use_of(filled(pool(), namespace(), node("a1"), own, other, tiny), "a1")
    assert (use.used[GPU], use.used["cpu"], use.used["pods"]) == (3000, 1000, 3000)
    assert use.shares["inference"].members == (own,)
    assert use.shares["inference"].accelerators == 2000
    assert use.shares["inference"].burst_labels == {"nebius"}


def test_a_finished_pod_holds_nothing() -> None:
    one = pod("p", 8, on="a1")
    store = filled(pool(), namespace(), node("a1"), one, changed(one, finished=True))
    assert use_of(store, "a1").used == {}
    assert store.sizes() == (1, 0)


def test_a_pod_that_is_bound_waits_no_more() -> None:
    one = pod("p", 8)
    store = filled(pool(), namespace(), node("a1"), one, changed(one, node="a1"))
    assert waiting(store) == []
    assert use_of(store, "a1").left[GPU] == 0


def test_a_nomination_takes_the_place_and_gives_it_back() -> None:
    one = pod("p", 8, nominated="a1")
    store = filled(pool(), namespace(), node("a1"), one)
    assert use_of(store, "a1").left[GPU] == 0
    put(store, changed(one, nominated=""))
    assert use_of(store, "a1").left[GPU] == 8000


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
    assert store.snapshot("inference").astray == ()
    store.drop_node("a1", AT)
    assert store.snapshot("inference").astray == (one,)
    store.drop_pod(one.uid, AT)
    assert store.snapshot("inference").astray == ()


def test_a_node_that_was_not_seen_has_the_owners_of_its_pods_look_again_when_it_comes_and_goes() -> None:
    marks = Marks()
    store = filled(pool(), namespace(), pod("p", on="x1"), marks=marks)
    put(store, node("x1", of="elsewhere"))
    assert marks.pools() == {"inference"}
    assert store.snapshot("inference").astray == ()
    marks.clear()
    store.drop_node("x1", AT)
    assert marks.pools() == {"inference"}


def test_a_pool_that_is_not_there_has_no_snapshot() -> None:
    with pytest.raises(KeyError):
        new_store().snapshot("inference")


# -- several pools


OLD = pool(provider("aws"), provider("nebius"), name="old", created=NOW - 2000)
YOUNG = pool(provider("aws"), provider("nebius"), name="young", created=NOW - 1000)


def test_the_older_pool_keeps_the_pod_and_the_younger_is_told_how_many_and_by_whom() -> None:
    store = filled(YOUNG, OLD, namespace(), node("a1"), pod("p"), pod("q", on="a1"))
    assert (waiting(store, "old"), waiting(store, "young")) == (["p"], [])
    assert (store.snapshot("old").contested, store.snapshot("old").rival) == (0, "")
    assert (store.snapshot("young").contested, store.snapshot("young").rival) == (2, "old")
    assert use_of(store, "a1", "young").shares.keys() == {"old"}


def test_of_several_rivals_the_oldest_is_named_whatever_came_last() -> None:
    middle = pool(name="middle", created=NOW - 1500, workloads={"podSelector": {"matchLabels": {"of": "middle"}}})
    oldest = pool(name="oldest", created=NOW - 3000, workloads={"podSelector": {"matchLabels": {"of": "oldest"}}})
    pods = [pod("m", labels={"of": "middle"}), pod("o", labels={"of": "oldest"})]
    for order in (pods, pods[::-1]):
        store = filled(YOUNG, middle, oldest, namespace(), *order)
        assert (store.snapshot("young").contested, store.snapshot("young").rival) == (2, "oldest")


def test_a_pod_goes_to_the_next_pool_when_the_older_one_is_gone() -> None:
    store = filled(YOUNG, OLD, namespace(), node("a1"), pod("p"), pod("q", on="a1"))
    store.drop_pool("old", AT)
    assert waiting(store, "young") == ["p"]
    assert use_of(store, "a1", "young").shares.keys() == {"young"}
    assert store.snapshot("young").contested == 0


def test_another_pools_pods_that_were_sent_on_are_foreign_while_they_are_not_bound() -> None:
    mine = pool(name="mine", workloads={"podSelector": {"matchLabels": {"of": "mine"}}})
    theirs = pool(name="theirs", workloads={"podSelector": {"matchLabels": {"of": "theirs"}}})
    sent, flying, home = (pod(name, labels={"of": "theirs"}) for name in ("sent", "flying", "home"))
    sent = changed(sent, labels={"of": "theirs", BURST_LABEL: "nebius"})
    store = filled(mine, theirs, namespace(), node("n1"), sent, flying, home)
    store.in_flight.start(flying.uid, Offer("nebius", NOW))
    assert sorted(one.name for one in store.snapshot("mine").foreign) == ["flying", "sent"]
    assert store.snapshot("theirs").foreign == ()
    put(store, changed(sent, node="n1"))
    assert [one.name for one in store.snapshot("mine").foreign] == ["flying"]


def test_a_pool_without_the_edited_selector_gives_its_pods_back() -> None:
    store = filled(OLD, namespace(), node("a1"), pod("p"), pod("q", on="a1"))
    narrowed = pool(
        provider("aws"), provider("nebius"), name="old", workloads={"podSelector": {"matchLabels": {"a": "b"}}}
    )
    put(store, narrowed)
    assert waiting(store, "old") == []
    assert use_of(store, "a1", "old").shares == {}


def test_a_pool_that_counts_another_accelerator_counts_anew() -> None:
    both = shape(1, more={"amd.com/gpu": 3})
    store = filled(pool(), namespace(), node("a1"), pod("p", shaped=both, on="a1"))
    assert use_of(store, "a1").shares["inference"].accelerators == 1000
    put(store, pool(accelerator={"resourceName": "amd.com/gpu"}))
    assert use_of(store, "a1").shares["inference"].accelerators == 3000


# -- namespaces


def test_pods_change_pools_with_their_namespaces_labels() -> None:
    marks = Marks()
    mine = pool(workloads={"namespaceSelector": {"matchLabels": {"team": "ml"}}})
    store = filled(mine, namespace(), pod("p"), marks=marks)
    assert waiting(store) == []
    store.put_namespace(namespace(team="ml"), AT)
    assert waiting(store) == ["p"]
    assert marks.pools() == {"inference"}
    store.put_namespace(namespace(team="web"), AT)
    assert waiting(store) == []


def test_labels_of_a_namespace_that_is_gone_count_no_more() -> None:
    mine = pool(workloads={"namespaceSelector": {"matchLabels": {"team": "ml"}}})
    store = filled(mine, namespace(team="ml"), pod("p"))
    store.drop_namespace("default", AT)
    assert waiting(store) == []


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


# -- who is told to look


WORLD = (pool(), namespace(), node("a1"), node("n1"), node("x1", of="elsewhere"), pod("p"), pod("q", on="a1"))
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
    marks = Marks()
    put(filled(*WORLD, marks=marks), event)
    assert ("inference", AT) in marks


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
def test_a_change_that_concerns_nobody_wakes_nobody(event: Any) -> None:
    marks = Marks()
    put(filled(*WORLD, marks=marks), event)
    assert marks == []


def test_what_is_gone_has_the_pool_looked_at() -> None:
    marks = Marks()
    store = filled(*WORLD, marks=marks)
    for drop, key in ((store.drop_pod, P.uid), (store.drop_pod, Q.uid), (store.drop_node, "n1")):
        drop(key, AT)
        assert marks.pools() == {"inference"}
        marks.clear()
    store.drop_node("x1", AT)
    store.drop_pod("unknown", AT)
    store.drop_pool("unknown", AT)
    assert marks == []


def test_a_write_that_has_landed_has_the_pool_looked_at_though_nothing_else_changed() -> None:
    marks = Marks()
    store = filled(*WORLD, marks=marks)
    store.in_flight.start(P.uid, Offer("nebius", NOW))
    store.in_flight.written(P.uid, P.resource_version + 1, P.resource_version)
    put(store, changed(P))
    assert marks.pools() == {"inference"}
    assert P.uid not in store.in_flight


def test_a_place_that_another_pools_pod_gives_up_has_everybody_looked_at() -> None:
    marks = Marks()
    theirs = pool(
        provider("x"), provider("y"), name="theirs", workloads={"podSelector": {"matchLabels": {"of": "theirs"}}}
    )
    mine = pool(workloads={"podSelector": {"matchLabels": {"of": "mine"}}})
    sent = pod("sent", labels={"of": "theirs"}, sent=[("nebius", NOW)])
    store = filled(mine, theirs, namespace(), sent, marks=marks)
    put(store, changed(sent, node="elsewhere"))
    assert "inference" in marks.pools()


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


# -- any sequence of events


NAMES = ("a", "b", "c", "d")
LABELS: tuple[dict[str, str], ...] = (
    {},
    {"of": "old"},
    {"of": "young"},
    {"of": "old", BURST_LABEL: "nebius"},
    {BURST_LABEL: "nebius"},
)
SELECTORS: tuple[dict[str, Any], ...] = (
    {},
    {"podSelector": {"matchLabels": {"of": "old"}}},
    {"podSelector": {"matchExpressions": [{"key": "of", "operator": "Exists"}]}},
    {"namespaceSelector": {"matchLabels": {"team": "ml"}}},
    {"namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]}},
)
SPACES = ("one", "two", "kube-system")
PLACES = ("", "", "a1", "n1", "c1", "gone")


@dataclass
class Truth:
    """What there is, kept in plain dictionaries."""

    pools: dict[str, ComputePool] = field(default_factory=dict)
    namespaces: dict[str, Namespace] = field(default_factory=dict)
    nodes: dict[str, Any] = field(default_factory=dict)
    pods: dict[str, Pod] = field(default_factory=dict)

    def everything(self) -> Iterable[Any]:
        return (*self.pools.values(), *self.namespaces.values(), *self.nodes.values(), *self.pods.values())


def _pool(name: str, age: int, workloads: dict[str, Any], standby: str, resource: str) -> ComputePool:
    return pool(
        provider("aws"),
        provider(standby),
        name=name,
        # A pool of another age is another pool.
        uid=f"{name}-{age}",
        created=NOW - age,
        workloads=workloads,
        accelerator={"resourceName": resource},
    )


POOLS = st.builds(
    _pool,
    st.sampled_from(("old", "young", "third")),
    st.sampled_from((10, 20, 30)),
    st.sampled_from(SELECTORS),
    st.sampled_from(("nebius", "crusoe")),
    st.sampled_from((GPU, GPU, "amd.com/gpu")),
)
NODES = st.builds(
    node,
    st.sampled_from(("a1", "n1", "c1")),
    st.sampled_from((2, 8)),
    of=st.sampled_from((None, None, "aws", "elsewhere")),
    ready=st.sampled_from(("True", "False")),
)
PODS = st.builds(
    lambda name, space, gpus, on, labels, nominated, fields: pod(
        name, gpus, namespace=space, on=on, labels=labels, nominated="" if on else nominated, **fields
    ),
    st.sampled_from(NAMES),
    st.sampled_from(SPACES),
    st.sampled_from((0, 1, 2)),
    st.sampled_from(PLACES),
    st.sampled_from(LABELS),
    st.sampled_from(("", "", "a1")),
    st.sampled_from(({}, {}, {"deleting": NOW + 1}, {"finished": True}, {"unschedulable": True}, {"gated": True})),
)
SPACE_PUTS = st.builds(
    lambda name, labels: namespace(name, **labels), st.sampled_from(SPACES), st.sampled_from(({}, {"team": "ml"}))
)
DROPS = st.tuples(st.sampled_from(("pod", "pod", "node", "namespace", "pool")), st.integers(0, 9), st.just("drop"))
EVENTS = st.lists(st.one_of(PODS, PODS, NODES, POOLS, SPACE_PUTS, DROPS), max_size=25)


def happen(store: Store, truth: Truth, event: Any) -> None:
    """Let something happen, and tell the store."""
    if isinstance(event, tuple):
        _drop(store, truth, *event[:2])
        return
    put(store, event)
    if isinstance(event, ComputePool):
        truth.pools[event.name] = event
    elif isinstance(event, Namespace):
        truth.namespaces[event.name] = event
    elif isinstance(event, Pod):
        truth.pods.pop(event.uid, None)
        if not event.finished:
            truth.pods[event.uid] = event
    else:
        truth.nodes[event.name] = event


def _drop(store: Store, truth: Truth, kind: str, number: int) -> None:
    held: dict[str, Any] = getattr(truth, f"{kind}s")
    if held:
        name = sorted(held)[number % len(held)]
        del held[name]
        getattr(store, f"drop_{kind}")(name, AT)


def plain(seen: Snapshot) -> dict[str, Any]:
    """A snapshot's meaning: without the order of its parts, versions, and since when pods wait.

    Since when depends on when a gate was seen lifted, which no final state tells.
    """

    def bare(pods: Iterable[Pod]) -> list[str]:
        return sorted(repr(msgspec.structs.replace(one, resource_version=0, since=0.0)) for one in pods)

    nodes = {
        use.node.name: (
            msgspec.structs.replace(use.node, resource_version=0),
            bare(use.pods),
            {name: amount for name, amount in use.used.items() if amount},
            use.left,
            bare(use.leaving),
            {name: (bare(share.members), share.accelerators, share.burst_labels) for name, share in use.shares.items()},
        )
        for use in seen.nodes
    }
    return {
        "pool": seen.pool,
        "nodes": nodes,
        "waiting": bare(seen.waiting),
        "foreign": bare(seen.foreign),
        "astray": bare(seen.astray),
        "contest": (seen.contested, seen.rival),
    }


often = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@often
@given(EVENTS)
def test_whatever_has_happened_the_store_shows_what_there_is(events: list[Any]) -> None:
    store, truth = new_store(), Truth()
    for event in events:
        happen(store, truth, event)
        for name in truth.pools:
            store.snapshot(name)
    fresh = filled(*truth.everything())
    assert store.pools.keys() == truth.pools.keys()
    for name in truth.pools:
        assert plain(store.snapshot(name)) == plain(fresh.snapshot(name))
    for uid in truth.pods:
        assert store.claims_of(uid) == fresh.claims_of(uid)
    assert store.sizes() == fresh.sizes()


@often
@given(EVENTS)
def test_every_pool_whose_snapshot_changes_is_told_to_look(events: list[Any]) -> None:
    marks = Marks()
    store, truth = new_store(marks), Truth()
    for event in events:
        before = {name: plain(store.snapshot(name)) for name in truth.pools}
        marks.clear()
        happen(store, truth, event)
        for name in truth.pools:
            after = plain(store.snapshot(name))
            was = before.get(name, {})
            # Another pool's pod that was sent on only takes a place, which makes nobody do more.
            more_foreign = {**was, "foreign": after["foreign"]} == after and set(was["foreign"]) <= set(
                after["foreign"]
            )
            assert was == after or more_foreign or name in marks.pools(), (name, event)


@often
@given(EVENTS)
def test_a_snapshot_stays_as_it_was_taken_whatever_happens_after(events: list[Any]) -> None:
    store, truth = new_store(), Truth()
    taken: list[tuple[Snapshot, str]] = []
    for event in events:
        happen(store, truth, event)
        seen = [store.snapshot(name) for name in truth.pools]
        taken += [(one, repr(one)) for one in seen]
    assert all(repr(one) == then for one, then in taken)


# -- in flight


def test_an_offer_is_forgotten_once_the_pod_is_seen_at_the_version_that_was_written_or_later() -> None:
    flights = InFlight()
    flights.start("u", Offer("nebius", NOW))
    assert not flights.seen("u", 99)
    assert not flights.written("u", 100, seen=99)
    assert not flights.seen("u", 99)
    assert "u" in flights
    assert flights.seen("u", 100)
    assert "u" not in flights
    assert not flights.seen("u", 101)


@pytest.mark.parametrize(("seen", "landed"), [(99, False), (100, True), (101, True)])
def test_an_offer_may_have_been_seen_before_the_answer_came(seen: int, landed: bool) -> None:
    flights = InFlight()
    flights.start("u", Offer("nebius", NOW))
    assert flights.written("u", 100, seen=seen) is landed
    assert ("u" in flights) is not landed


def test_an_offer_that_failed_or_whose_pod_is_gone_is_forgotten() -> None:
    flights = InFlight()
    flights.start("u", Offer("nebius", NOW))
    flights.drop("u")
    flights.drop("u")
    assert not flights.written("u", 100, seen=0)
    assert flights.offers() == {}


def test_a_write_that_begins_anew_is_not_ended_by_the_version_of_the_one_before() -> None:
    flights = InFlight()
    flights.start("u", Offer("nebius", NOW))
    flights.written("u", 100, seen=0)
    flights.start("u", Offer("crusoe", NOW + 1))
    assert not flights.seen("u", 100)
    assert flights.offers() == {"u": Offer("crusoe", NOW + 1)}


def test_offers_handed_out_stay_as_they_were() -> None:
    flights = InFlight()
    flights.start("u", Offer("nebius", NOW))
    given_out = flights.offers()
    flights.drop("u")
    assert given_out == {"u": Offer("nebius", NOW)}


@given(st.lists(st.sampled_from(("start", "written", "seen", "drop")), max_size=12), st.data())
def test_an_offer_is_under_way_exactly_until_it_is_seen_or_dropped(steps: list[str], data: st.DataObject) -> None:
    flights, under_way, awaited, newest = InFlight(), False, None, 0
    for step in steps:
        version = data.draw(st.integers(1, 5))
        match step:
            case "start":
                flights.start("u", Offer("nebius", NOW))
                under_way, awaited = True, None
            case "written":
                flights.written("u", version, newest)
                awaited = version if under_way else None
            case "seen":
                newest = version
                flights.seen("u", newest)
            case _:
                flights.drop("u")
                under_way = False
        if under_way and awaited is not None and newest >= awaited and step != "start":
            under_way, awaited = False, None
        assert ("u" in flights) is under_way
