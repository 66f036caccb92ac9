"""The store after any sequence of events: it shows what there is, and who has to look was told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from computepool.model.api import ComputePool
from computepool.model.cluster import Pod
from computepool.model.snapshot import Snapshot
from computepool.model.well_known_keys import BURST_LABEL
from computepool.observe.decode import Namespace
from computepool.observe.store import Store
from tests.builders import GPU, NOW, namespace, node, pod, pool, provider
from tests.unit.observe.storing import AT, Enqueued, filled, new_store, put

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
        info.node.name: (
            msgspec.structs.replace(info.node, resource_version=0),
            bare(info.pods),
            {name: amount for name, amount in info.used.items() if amount},
            info.left,
            bare(info.leaving),
            {
                name: (bare(share.members), share.accelerators, share.burst_labels)
                for name, share in info.shares.items()
            },
        )
        for info in seen.nodes
    }
    return {
        "pool": seen.pool,
        "nodes": nodes,
        "waiting": bare(seen.waiting),
        "foreign": bare(seen.foreign),
        "on_unknown_nodes": bare(seen.on_unknown_nodes),
        "contest": (seen.conflicts, seen.conflicting_pool),
    }


often = settings(max_examples=80)


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
def test_every_pool_whose_snapshot_changes_is_enqueued(events: list[Any]) -> None:
    enqueued = Enqueued()
    store, truth = new_store(enqueued), Truth()
    for event in events:
        before = {name: plain(store.snapshot(name)) for name in truth.pools}
        enqueued.clear()
        happen(store, truth, event)
        for name in truth.pools:
            after = plain(store.snapshot(name))
            was = before.get(name, {})
            # Another pool's pod that was sent to a standby only takes a place, which makes nobody do more.
            more_foreign = {**was, "foreign": after["foreign"]} == after and set(was["foreign"]) <= set(
                after["foreign"]
            )
            assert was == after or more_foreign or name in enqueued.pools(), (name, event)


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
