"""The names that the store gives to queries follow the nodes, namespaces and pools, and are worked out only then."""

from __future__ import annotations

from msgspec.structs import replace

from computepool.model.signals import Answer, SignalData
from computepool.observe.store import Store
from tests.builders import NOW, namespace, node, pool, provider
from tests.unit.observe.storing import AT, Clock, put


def stored(*items: object) -> Store:
    clock = Clock()
    store = Store(lambda _pool, _at, **_: None, wall=clock, clock=clock, reserved_namespaces=["kube-system"])
    for item in items:
        put(store, item)
    return store


def nodes(store: Store, provider: str = "aws") -> tuple[str, ...]:
    return store.names_of("inference", provider).nodes


def test_names_are_those_of_the_provider_or_of_all_in_alphabetical_order() -> None:
    store = stored(pool(), node("n1"), node("a2"), node("a1"), node("x1", of="elsewhere"))
    assert (nodes(store), nodes(store, "nebius"), nodes(store, "crusoe")) == (("a1", "a2"), ("n1",), ())
    assert nodes(store, "") == ("a1", "a2", "n1")


def test_names_follow_nodes_that_come_go_and_change_their_provider() -> None:
    store = stored(pool(), node("a1"))
    assert nodes(store) == ("a1",)
    put(store, node("a2"))
    assert nodes(store) == ("a1", "a2")
    store.drop_node("a1", AT)
    assert nodes(store) == ("a2",)
    put(store, replace(node("a2"), labels=node("n9").labels))
    assert (nodes(store), nodes(store, "nebius")) == ((), ("a2",))
    put(store, replace(node("a2"), labels={}))
    assert nodes(store, "") == ()


def test_names_follow_the_providers_of_the_spec() -> None:
    store = stored(pool(), node("a1"), node("x1", of="elsewhere"))
    assert nodes(store) == ("a1",)
    put(store, pool(provider("elsewhere"), provider("nebius")))
    assert (nodes(store), nodes(store, "elsewhere")) == ((), ("x1",))


def test_names_are_worked_out_anew_only_when_nodes_come_or_go() -> None:
    store = stored(pool(), pool(provider("nebius"), provider("crusoe"), name="other"), node("a1"), node("a2"))
    before = nodes(store)
    put(store, replace(node("a1"), unschedulable=True))
    put(store, node("c1"))
    put(store, node("x1", of="elsewhere"))
    assert nodes(store) == before
    other = store.names_of("other", "").nodes
    put(store, node("a3"))
    # A node of one pool leaves the names of the other as they are.
    assert store.names_of("other", "").nodes is other


def test_a_node_that_changes_keeps_its_place_in_the_snapshot() -> None:
    store = stored(pool(), node("a1"), node("a2"), node("a3"))
    put(store, replace(node("a1"), unschedulable=True))
    assert [info.node.name for info in store.snapshot("inference").nodes] == ["a1", "a2", "a3"]


def test_namespaces_follow_the_cluster_and_the_spec() -> None:
    labelled = pool(workloads={"namespaceSelector": {"matchLabels": {"team": "ml"}}})
    store = stored(labelled, namespace("b", team="ml"), namespace("kube-system", team="ml"))

    def found() -> tuple[str, ...]:
        return store.names_of("inference", "").namespaces

    assert found() == ("b",)
    put(store, namespace("a", team="ml"))
    assert found() == ("a", "b")
    put(store, namespace("b", team="web"))
    assert found() == ("a",)
    store.drop_namespace("a", AT)
    assert found() == ()
    put(store, pool())
    assert found() == ("b",)


def test_what_is_known_of_signals_is_new_if_an_answer_or_an_error_is() -> None:
    store, answer = stored(pool()), Answer(NOW)
    assert store.put_signals("inference", {"saturation/queue": SignalData(answer)})
    assert not store.put_signals("inference", {"saturation/queue": SignalData(answer)})
    assert store.put_signals("inference", {"saturation/queue": SignalData(Answer(NOW))})
    assert store.put_signals("inference", {"saturation/queue": SignalData(error="no connection.")})
    assert store.put_signals("inference", {})
    assert not store.put_signals("gone", {"saturation/queue": SignalData(answer)})
    assert store.snapshot("inference").signals == {}
