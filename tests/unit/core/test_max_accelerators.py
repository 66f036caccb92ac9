"""`maxAccelerators` is never exceeded: every pod that may still land on a provider counts."""

from typing import Any

import msgspec
import pytest

from computepool.decide.plan import Plan
from computepool.model.cluster import Pod
from computepool.model.reasons import Reason
from tests.builders import NOW, node, pod, pod_move, pool, pool_state, provider, shape, snapshot
from tests.unit.core.moving import faults_of, moved_to, owned, unhealthy_node
from tests.unit.core.passes import burst_of, decided, flying, holds, sent_to

HOLDER = pod("holder", 8, on="a1")


def plan(*pods: Pod, limit: int = 4, on_demand: bool = False, seen: dict[str, Any] | None = None) -> Plan:
    """A pass with a full primary, nebius limited, and crusoe not."""
    limited = provider("nebius", max_accelerators=limit, on_demand=on_demand)
    nodes = [node("a1"), node("n1"), node("n2"), node("c1")]
    of = pool(provider("aws"), limited, provider("crusoe"))
    return decided(snapshot(of, nodes, [HOLDER, *pods], **(seen or {})))


def test_pods_are_sent_on_up_to_the_limit_and_then_to_the_next() -> None:
    found = plan(*(pod(f"p{i}", 2, waited=60 - i) for i in range(3)))
    assert sent_to(found) == {"p0": "nebius", "p1": "nebius", "p2": "crusoe"}
    assert burst_of(found, "p2").rejected == (("aws", Reason.NO_ROOM), ("nebius", Reason.AT_MAX_ACCELERATORS))


def test_a_smaller_pod_may_take_what_a_bigger_one_could_not() -> None:
    found = plan(pod("p", 3), pod("big", 2, waited=50), pod("small", 1, waited=40))
    assert sent_to(found) == {"p": "nebius", "big": "crusoe", "small": "nebius"}


def test_the_pools_own_pods_there_count() -> None:
    assert sent_to(plan(pod("x", 3, on="n1"), pod("p", 2))) == {"p": "crusoe"}


def test_terminating_pods_count_until_they_are_gone() -> None:
    assert sent_to(plan(pod("x", 3, on="n1", deleting=NOW + 1), pod("p", 2))) == {"p": "crusoe"}


def test_terminating_pods_on_a_lost_node_count_as_long_as_they_are_seen() -> None:
    of = pool(provider("aws"), provider("nebius", max_accelerators=4), provider("crusoe"))
    nodes = [node("a1"), node("n1", ready="Unknown"), node("n2"), node("n3"), node("c1")]
    lost = pod("x", 3, on="n1", deleting=NOW - 600)
    assert sent_to(decided(snapshot(of, nodes, [HOLDER, lost, pod("p", 2)]))) == {"p": "crusoe"}


def test_other_peoples_pods_there_do_not_count() -> None:
    others = pod("x", on="n1", shaped=shape(0, more={"cpu": 1}))
    assert sent_to(plan(others, pod("p", 4))) == {"p": "nebius"}


@pytest.mark.parametrize(
    "other",
    [
        pod("x", 3, sent=[("nebius", NOW - 1)]),
        pod("x", 3, tolerates=["nebius"]),
        pod("x", 3, tolerates=["nebius"], gated=True),
        pod("x", 3, tolerates=["nebius"], nominated="c1"),
        pod("x", 3, sent=[("nebius", NOW - 100), ("crusoe", NOW - 1)]),
    ],
    ids=["sent", "admitted", "gated", "nominated elsewhere", "sent elsewhere since"],
)
def test_every_unbound_pod_that_tolerates_the_provider_counts(other: Pod) -> None:
    assert sent_to(plan(other, pod("p", 2))) == {"p": "crusoe"}


def test_a_write_under_way_counts_once() -> None:
    one = pod("x", 2)
    seen = {"in_flight": flying(one, to="nebius")}
    assert sent_to(plan(one, pod("p", 2), pod("q", 1, waited=50), seen=seen)) == {"p": "nebius", "q": "crusoe"}
    shown = pod("x", 2, sent=[("nebius", NOW)])
    seen = {"in_flight": flying(shown, to="nebius")}
    assert sent_to(plan(shown, pod("p", 2), seen=seen)) == {"p": "nebius"}


def test_a_pod_bound_to_a_node_that_is_not_seen_yet_counts() -> None:
    new = pod("x", 3, on="n9", sent=[("nebius", NOW - 1)])
    assert sent_to(plan(pod("p", 2), seen={"on_unknown_nodes": (new,)})) == {"p": "crusoe"}
    elsewhere = pod("x", 3, on="x9")
    assert sent_to(plan(pod("p", 2), seen={"on_unknown_nodes": (elsewhere,)})) == {"p": "nebius"}


def test_the_limit_holds_where_nodes_are_made_on_demand() -> None:
    found = plan(*(pod(f"p{i}", 2, waited=60 - i) for i in range(9)), limit=6, on_demand=True)
    assert list(sent_to(found).values()).count("nebius") == 3


def test_a_pool_over_its_limit_sends_no_pod_there() -> None:
    assert sent_to(plan(pod("x", 8, on="n1"), pod("p", 1), limit=4)) == {"p": "crusoe"}


def test_a_pod_that_would_exceed_every_limit_waits_with_that_reason() -> None:
    of = pool(provider("aws"), provider("nebius", max_accelerators=1))
    found = decided(snapshot(of, [node("a1"), node("n1")], [HOLDER, pod("p", 2)]))
    assert holds(found) == {"p": Reason.AT_MAX_ACCELERATORS}


@pytest.mark.parametrize(("ready", "moves"), [("False", {"w1": "nebius", "w2": "nebius"}), ("Unknown", {})])
def test_one_that_moves_within_the_provider_leaves_its_place_to_its_replacement(
    ready: str, moves: dict[str, str]
) -> None:
    of = pool(provider("aws"), provider("nebius", max_accelerators=3))
    pods = [owned(f"w{index}", on="n1", owner=f"rs-{index}") for index in range(3)]
    nodes = [node("a1", 1), unhealthy_node("n1", ready=ready), node("n2")]
    state = pool_state(node_faults=faults_of("n1"))
    under_way = (pod_move(pods[0], "nebius", at=NOW - 1, source="nebius"),)
    ending = msgspec.structs.replace(pods[0], deleting=NOW + 30)
    seen = snapshot(of, nodes, [ending, *pods[1:], pod("full", 1, on="a1")], moves=under_way)
    assert moved_to(decided(seen, state)) == moves
