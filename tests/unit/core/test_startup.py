"""Nodes that are starting: startup taints are capacity on its way, for the provider's timeout at most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from computepool.assess.capacity.providers import providers_of
from computepool.assess.capacity.startup import starting_nodes, startup_taints
from computepool.model.cluster import Node, Pod
from computepool.model.reasons import Reason
from computepool.model.state import PoolState
from computepool.model.taints import Taint, Toleration
from tests.builders import NOW, changed, infos, node, pod, pool, provider, shape, snapshot
from tests.unit.core.fleet import Fleet
from tests.unit.core.passes import Decided, decided, hold_of, holds, sent_to

CILIUM = Taint("node.cilium.io/agent-not-ready", "", "NoSchedule")
TEAM = Taint("team", "vision", "NoSchedule")
UNKNOWN = Taint("driver.example.com/installing", "true", "NoSchedule")
ON_DEMAND = (provider("aws", on_demand=True), provider("nebius"), provider("crusoe"))


def plan(nodes: Sequence[Node], *pods: Pod, state: PoolState | None = None, **of: Any) -> Decided:
    providers = of.pop("providers", ())
    return decided(snapshot(pool(*providers, **of), [*nodes, node("n1")], pods), state)


def new(name: str, *taints: Taint, age: float = 10, **fields: Any) -> Node:
    """A node that joined a moment ago."""
    return node(name, taints=taints, created=NOW - age, **fields)


# -- which taints


@pytest.mark.parametrize(
    ("key", "listed"),
    [
        ("node.cilium.io/agent-not-ready", True),
        ("ebs.csi.aws.com/agent-not-ready", True),
        ("karpenter.sh/unregistered", True),
        ("karpenter.sh/disrupted", False),
        ("readiness.k8s.io/gpu", True),
        ("node.cluster.x-k8s.io/uninitialized", True),
        ("startup-taint.cluster-autoscaler.kubernetes.io/gpu", True),
        ("computepool.io/unavailable", False),
        ("nvidia.com/gpu", False),
    ],
)
def test_the_defaults_list_taints_that_are_removed_once_a_node_is_ready(key: str, listed: bool) -> None:
    assert startup_taints(pool().spec.health.startup_taints).lists(Taint(key, "", "NoSchedule")) is listed


def test_an_entry_with_an_asterisk_or_a_slash_at_its_end_stands_for_all_keys_that_begin_so() -> None:
    rules = startup_taints(("example.com/not-*", "boot.example.com/", "plain"))
    found = [rules.lists(Taint(key)) for key in ("example.com/not-ready", "boot.example.com/x", "plain", "plainer")]
    assert found == [True, True, True, False]


def since_of(*nodes: Node, before: dict[str, float] | None = None, now: float = NOW) -> tuple[set[str], set[str]]:
    """The nodes that are starting, and those whose time is remembered. aws has a timeout of 60 s."""
    aws = providers_of(pool())[0]
    found = starting_nodes(aws, infos(nodes, []), startup_taints(["node.cilium.io/"]), before or {}, now)
    return set(found.taints), set(found.since)


def test_a_node_is_starting_for_its_providers_timeout_after_it_joined() -> None:
    assert since_of(new("a1", CILIUM, age=59)) == ({"a1"}, {"a1"})
    assert since_of(new("a1", CILIUM, age=61), before={"a1": NOW - 61}) == (set(), {"a1"})


def test_a_listed_taint_that_returns_to_an_old_node_has_the_same_time_from_when_it_is_seen() -> None:
    assert since_of(node("a1", taints=[CILIUM])) == ({"a1"}, {"a1"})
    assert since_of(node("a1", taints=[CILIUM]), before={"a1": NOW - 60}) == (set(), {"a1"})


def test_a_taint_that_is_not_listed_counts_on_a_new_node_unless_older_nodes_carry_it_too() -> None:
    assert since_of(new("a1", UNKNOWN)) == ({"a1"}, set())
    assert since_of(new("a1", UNKNOWN), new("a2", UNKNOWN))[0] == {"a1", "a2"}
    assert since_of(new("a1", TEAM), node("a2", taints=[TEAM]))[0] == set()
    assert since_of(new("a1", UNKNOWN, age=61))[0] == set()
    assert since_of(new("a1", Taint("soft", "", "PreferNoSchedule")))[0] == set()


# -- the primary


def test_pods_wait_for_the_first_node_of_an_on_demand_primary_while_its_agent_starts() -> None:
    pods = [pod(f"web{i}", waited=90) for i in range(4)]
    found = plan([new("a1", CILIUM)], *pods, providers=ON_DEMAND)
    assert not found.bursts
    assert set(holds(found).values()) == {Reason.NODE_STARTING}
    assert found.assessment.saturation.saturated is False


def test_pods_wait_for_a_new_node_of_a_standing_primary_beyond_pending_seconds() -> None:
    full = pod("full", 8, on="a1")
    found = plan([node("a1"), new("a2", CILIUM)], full, pod("web", waited=30))
    assert hold_of(found, "web").reason is Reason.NODE_STARTING
    assert hold_of(found, "web").until == NOW + 30
    assert sent_to(plan([node("a1"), new("a2", CILIUM)], full, pod("web", waited=60))) == {"web": "nebius"}


def test_only_as_many_pods_wait_as_the_new_node_has_places() -> None:
    pods = [pod("first", 4, waited=22), pod("second", 4, waited=21), pod("third", 4, waited=20)]
    found = plan([node("a1"), new("a2", CILIUM)], pod("full", 8, on="a1"), *pods)
    assert holds(found) == {"first": Reason.NODE_STARTING, "second": Reason.NODE_STARTING}
    assert sent_to(found) == {"third": "nebius"}


def test_a_pod_that_will_not_tolerate_what_the_node_keeps_does_not_wait_for_it() -> None:
    others = node("a2", taints=[TEAM])
    found = plan([new("a1", CILIUM, TEAM), others], pod("web", waited=0))
    assert sent_to(found) == {"web": "nebius"}
    assert found.bursts[0].reason is Reason.TAINTED


def test_a_pod_that_tolerates_the_startup_taint_is_left_to_the_scheduler() -> None:
    tolerant = pod("cni", shaped=shape(1, tolerations=[Toleration(CILIUM.key, "Exists")]))
    assert holds(plan([new("a1", CILIUM)], tolerant)) == {"cni": Reason.FITS_ON_PREFERRED}


def test_a_startup_taint_that_stays_stops_counting() -> None:
    stuck = node("a1", taints=[CILIUM], created=NOW - 700)
    state = changed(PoolState(), starting_since={"a1": NOW - 600})
    found = plan([stuck], pod("web", waited=1), providers=ON_DEMAND, state=state)
    assert sent_to(found) == {"web": "nebius"}


def test_a_primary_that_is_full_while_its_next_node_starts_is_not_saturated_by_its_allocation() -> None:
    full = pod("full", 8, on="a1")
    assert plan([node("a1"), new("a2", CILIUM)], full, sustain=0).assessment.saturation.saturated is False
    assert plan([node("a1")], full, sustain=0).assessment.saturation.saturated is True


# -- standbys


def test_a_standby_whose_node_is_starting_is_no_room_yet_but_rejects_no_pod_for_good() -> None:
    nodes = [node("a1"), new("n1", CILIUM), node("c1")]
    full = [pod("full", 8, on="a1"), pod("full too", 8, on="c1")]
    of = pool()
    found = decided(snapshot(of, nodes, [*full, pod("web")]))
    assert dict(hold_of(found, "web").rejected)["nebius"] is Reason.NODE_STARTING
    assert not found.admission.tolerations
    assert sent_to(decided(snapshot(of, [*nodes[:2], node("c1")], [full[0], pod("web")]))) == {"web": "crusoe"}


def test_a_pod_that_was_sent_to_a_standby_waits_for_its_new_node_and_no_longer_than_its_time_there() -> None:
    nodes = [node("a1"), new("n1", CILIUM), node("c1")]
    full = pod("full", 8, on="a1")
    found = decided(snapshot(pool(), nodes, [full, pod("web", sent=[("nebius", NOW - 20)])]))
    assert (hold_of(found, "web").reason, hold_of(found, "web").until) == (Reason.NODE_STARTING, NOW + 40)
    late = decided(snapshot(pool(), nodes, [full, pod("web", sent=[("nebius", NOW - 61)])]))
    assert sent_to(late) == {"web": "crusoe"}


# -- a story


def test_pods_wait_out_a_startup_taint_and_run_at_home_and_a_restart_changes_nothing() -> None:
    fleet = Fleet(pool(*ON_DEMAND), [new("a1", CILIUM, age=0), node("n1"), node("c1")])
    fleet.create(4, shape())
    for _ in range(4):
        fleet.run(10.0)
        fleet.restart()
    fleet.cluster.update_node("a1", taints=())
    fleet.run(5.0)
    assert not fleet.operator.bursts
    assert len(fleet.cluster.pods_on("aws")) == 4


def test_pods_leave_for_a_standby_once_a_startup_taint_has_stayed_too_long() -> None:
    fleet = Fleet(pool(), [new("a1", CILIUM, age=0), node("n1"), node("c1")])
    fleet.create(4, shape())
    fleet.run(50.0)
    assert not fleet.operator.bursts
    fleet.run(15.0)
    assert len(fleet.cluster.pods_on("nebius")) == 4
