"""A provider's supply: its nodes, and which of their accelerators count."""

from typing import Any

from computepool.assess.capacity.providers import in_preference, providers_of
from computepool.assess.capacity.supply import NodeStates, Supply, members_of, supply_of
from computepool.assess.demand.saturation import percent
from computepool.model.cluster import Node, Pod
from computepool.model.quantity import MILLI
from computepool.model.taints import Toleration
from tests.builders import GPU, POOL, infos, node, pod, pool, provider, shape, standby_toleration


def supply(*nodes: Node, pods: tuple[Pod, ...] = (), **primary: Any) -> Supply:
    of = pool(provider("aws", **primary), provider("nebius"))
    target = providers_of(of)[0]
    return supply_of(target, members_of(infos(nodes, pods), [target])[0]["aws"], POOL, GPU)


def test_what_any_pod_holds_is_allocated_the_pools_own_or_not() -> None:
    foreign = pod("x", shaped=shape(3), on="a1")
    found = supply(node("a1"), node("a2"), pods=(foreign, pod("b", 2, on="a2")))
    assert (found.allocatable, found.allocated, found.free) == (16 * MILLI, 5 * MILLI, 11 * MILLI)


def test_only_nodes_that_can_take_pods_are_supply() -> None:
    nodes = (
        node("a1"),
        node("a2", ready="False"),
        node("a3", ready="Unknown"),
        node("a4", cordoned=True),
        node("a5", deleting=True),
    )
    found = supply(*nodes)
    assert (len(found.nodes), len(found.usable), found.allocatable) == (5, 1, 8 * MILLI)
    assert found.unusable == 32 * MILLI


def test_devices_that_a_node_reports_as_not_allocatable_are_unhealthy() -> None:
    assert supply(node("a1", 6, capacity=8)).unusable == 2 * MILLI


def test_a_node_that_shrank_under_its_pods_has_nothing_free_and_takes_nothing_from_others() -> None:
    found = supply(node("a1", 2), node("a2", 8), pods=(pod("x", 4, on="a1"),))
    assert (found.free, found.allocated, percent(found)) == (8 * MILLI, 2 * MILLI, 20)


def test_terminating_pods_hold_their_devices_until_they_are_gone() -> None:
    assert supply(node("a1"), pods=(pod("x", 8, on="a1", deleting=1.0),)).free == 0


def test_a_place_that_the_scheduler_has_promised_by_preemption_is_not_free() -> None:
    found = supply(node("a1"), pods=(pod("x", 8, nominated="a1"),))
    assert found.nodes[0].left[GPU] == 0
    assert found.allocated == 0


def test_the_capacity_of_a_primary_without_nodes_is_unknown_unless_it_makes_nodes_on_demand() -> None:
    assert not supply().known
    assert supply(on_demand=True).known
    assert supply(node("a1", ready="Unknown")).known


def test_a_primary_whose_nodes_are_all_unusable_is_full() -> None:
    assert percent(supply(node("a1", ready="Unknown"))) == 100


def test_a_node_of_two_providers_counts_for_the_first_and_is_reported() -> None:
    of = pool(provider("aws"), provider("nebius", labels={"gpu": "h100"}))
    found, overlaps = members_of(infos([node("a1", labels={"gpu": "h100"})], ()), providers_of(of))
    assert {name: len(members) for name, members in found.items()} == {"aws": 1, "nebius": 0}
    assert overlaps == {("aws", "nebius"): ["a1"]}


def test_pods_of_the_pool_are_counted_on_unusable_nodes_too() -> None:
    found = supply(node("a1", ready="False"), pods=(pod("x", 3, on="a1"), pod("y", 1, on="a1")))
    assert (found.pods, found.accelerators) == (2, 4 * MILLI)


def test_terminating_pods_run_until_they_are_gone_unless_their_node_is_lost() -> None:
    ending = (pod("x", 3, on="a1", deleting=1.0), pod("y", 1, on="a2", deleting=1.0))
    both = supply(node("a1"), node("a2", ready="False"), pods=ending)
    assert (both.pods, both.accelerators, both.ending, both.held) == (2, 4 * MILLI, 4 * MILLI, 4 * MILLI)
    unknown = supply(node("a1"), node("a2", ready="Unknown"), pods=ending)
    assert (unknown.pods, unknown.accelerators, unknown.ending, unknown.held) == (1, 3 * MILLI, 3 * MILLI, 4 * MILLI)
    of = providers_of(pool())[0]
    silent = supply_of(
        of, infos([node("a1"), node("a2")], ending), POOL, GPU, states=NodeStates(silent=frozenset({"a1"}))
    )
    assert (silent.pods, silent.accelerators, silent.ending, silent.held) == (1, MILLI, MILLI, 4 * MILLI)


def test_pods_that_are_not_terminating_count_on_a_lost_node_too() -> None:
    found = supply(node("a1", ready="Unknown"), pods=(pod("x", 3, on="a1"),))
    assert (found.pods, found.accelerators, found.ending) == (1, 3 * MILLI, 0)


def test_standbys_are_preferred_in_the_order_of_the_spec() -> None:
    of = pool(provider("aws"), provider("b", price="1"), provider("a", price="0.5"))
    assert [t.name for t in in_preference(providers_of(of), cheapest=False)] == ["b", "a"]


def test_the_cheapest_standby_comes_first_one_without_a_price_last_and_equal_ones_in_the_order_of_the_spec() -> None:
    of = pool(
        provider("aws"),
        provider("unknown"),
        provider("dear", price="10"),
        provider("cheap", price="9.5"),
        provider("same", price="9.50"),
        provider("free", price="0"),
    )
    ordered = in_preference(providers_of(of), cheapest=True)
    assert [t.name for t in ordered] == ["free", "cheap", "same", "dear", "unknown"]


def test_the_primary_adds_no_tolerations_and_a_standby_its_default() -> None:
    primary, standby = providers_of(pool(provider("aws"), provider("nebius")))
    assert primary.tolerations == ()
    assert standby.tolerations == (standby_toleration("nebius"),)


def test_standing_capacity_is_given_a_minute_and_on_demand_ten_unless_told() -> None:
    targets = providers_of(
        pool(provider("aws"), provider("s"), provider("d", on_demand=True), provider("t", timeout=7))
    )
    assert [t.timeout for t in targets] == [60, 60, 600, 7]


def test_a_pod_that_tolerates_more_than_asked_needs_nothing_added() -> None:
    target = providers_of(pool(provider("aws"), provider("nebius")))[1]
    key = standby_toleration("nebius").key
    for enough in (
        standby_toleration("nebius"),
        Toleration(key, "", "nebius", "NoSchedule"),
        Toleration(key, "Equal", "nebius"),
        Toleration(key, "Exists"),
        Toleration("", "Exists"),
    ):
        assert target.tolerated_by(shape(tolerations=[enough])), enough
    for little in (
        standby_toleration("crusoe"),
        Toleration(key, "Equal", "nebius", "NoExecute"),
        Toleration("other", "Exists"),
        Toleration(key, "Gt", "nebius"),
    ):
        assert not target.tolerated_by(shape(tolerations=[little])), little
    assert not target.tolerated_by(shape())


def test_every_toleration_of_a_provider_has_to_be_there() -> None:
    wanted = [{"key": "a", "operator": "Exists"}, {"key": "b", "operator": "Exists"}]
    target = providers_of(pool(provider("aws"), provider("n", tolerations=wanted)))[1]
    assert not target.tolerated_by(shape(tolerations=[Toleration("a", "Exists")]))
    assert target.tolerated_by(shape(tolerations=[Toleration("a", "Exists"), Toleration("b", "Exists")]))
    assert not target.tolerated_by(shape(tolerations=[Toleration("a", "Equal", ""), Toleration("b", "Exists")]))
