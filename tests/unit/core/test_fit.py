"""Whether pods fit: each predicate, many pods of few shapes, and places that are soon free."""

from collections.abc import Sequence
from typing import Any

import pytest

from computepool.assess.capacity.fit import SLACK_SECONDS, Packer, label_keys
from computepool.assess.capacity.providers import providers_of
from computepool.assess.capacity.supply import members_of, supply_of
from computepool.model.cluster import Node, Pod, Shape
from computepool.model.labels import Requirement
from computepool.model.reasons import Reason
from computepool.model.taints import Taint, Toleration
from tests.builders import GPU, NOW, POOL, infos, node, pod, pool, provider, shape, term

ZONE_A = Requirement("zone", "In", ("a",))


def packer(
    nodes: Sequence[Node], bound: Sequence[Pod] = (), tried: Sequence[Shape] = (), *, index: int = 0, **options: Any
) -> Packer:
    """A packer of one provider; `options` are the provider's."""
    name = ("aws", "nebius")[index]
    providers = [provider("aws"), provider("nebius")]
    providers[index] = provider(name, **options)
    targets = providers_of(pool(*providers))
    members, _ = members_of(infos(nodes, bound), targets)
    supply = supply_of(targets[index], members[name], POOL, GPU)
    return Packer(supply, GPU, label_keys([pod("x", shaped=tried_shape) for tried_shape in tried]), NOW)


def fits(what: Shape, *nodes: Node, bound: Sequence[Pod] = (), index: int = 0, **options: Any) -> bool:
    return packer(nodes, bound, [what], index=index, **options).place(what)


def why_not(what: Shape, *nodes: Node, bound: Sequence[Pod] = (), index: int = 0, **options: Any) -> Reason:
    made = packer(nodes, bound, [what], index=index, **options)
    assert not made.place(what)
    return made.why_not(what)


# -- each predicate


def test_a_pod_fits_where_all_its_resources_are_free() -> None:
    assert fits(shape(8), node("a1", 8))
    assert not fits(shape(9), node("a1", 8))


@pytest.mark.parametrize(("cpu", "fit"), [(64, True), (65, False)])
def test_every_resource_counts(cpu: int, fit: bool) -> None:
    assert fits(shape(1, more={"cpu": cpu}), node("a1")) is fit


def test_a_resource_that_the_node_does_not_know_fits_nowhere() -> None:
    assert not fits(shape(1, more={"hugepages-2Mi": 1}), node("a1"))


def test_a_node_that_has_its_number_of_pods_takes_no_more() -> None:
    crowd = [pod(f"c{i}", 0, on="a1") for i in range(3)]
    assert not fits(shape(1), node("a1", room={"pods": 3}), bound=crowd)
    assert fits(shape(1), node("a1", room={"pods": 4}), bound=crowd)


def test_resources_have_to_be_free_on_one_node() -> None:
    assert not fits(shape(8), node("a1", 4), node("a2", 4))


def test_what_is_bound_is_taken() -> None:
    assert not fits(shape(8), node("a1", 8), bound=[pod("x", 1, on="a1")])


@pytest.mark.parametrize(
    ("selector", "fit"), [({"zone": "a"}, True), ({"zone": "b"}, False), ({"zone": "a", "gpu": "h100"}, False)]
)
def test_the_node_selector_has_to_match(selector: dict[str, str], fit: bool) -> None:
    assert fits(shape(selector=selector), node("a1", labels={"zone": "a"})) is fit


def test_one_term_of_the_affinity_has_to_match() -> None:
    there = node("a1", labels={"zone": "a"})
    other = term(Requirement("zone", "In", ("b",)))
    assert fits(shape(affinity=[other, term(ZONE_A)]), there)
    assert not fits(shape(affinity=[other]), there)


def test_an_affinity_without_terms_and_a_term_without_conditions_match_no_node() -> None:
    assert not fits(shape(affinity=[]), node("a1"))
    assert not fits(shape(affinity=[term()]), node("a1"))


def test_an_affinity_may_name_the_node() -> None:
    nodes = [node("a1"), node("a2")]
    named = shape(8, affinity=[term(name="a2")])
    made = packer(nodes, [], [named])
    assert made.place(named)
    assert not made.place(named)


def test_node_selector_and_affinity_both_have_to_match() -> None:
    assert not fits(shape(selector={"gpu": "h100"}, affinity=[term(ZONE_A)]), node("a1", labels={"zone": "a"}))


def test_a_taint_keeps_off_pods_that_do_not_tolerate_it() -> None:
    tainted = node("a1", taints=[Taint("team", "ml", "NoSchedule")])
    assert not fits(shape(), tainted)
    assert fits(shape(tolerations=[Toleration("team", "Exists")]), tainted)


def test_a_prefer_no_schedule_taint_keeps_no_pod_off() -> None:
    assert fits(shape(), node("a1", taints=[Taint("team", "ml", "PreferNoSchedule")]))


def test_the_tolerations_of_a_standby_count_as_if_the_pod_had_them_unless_it_is_taken_as_it_is() -> None:
    made = packer([node("n1")], index=1)
    assert not made.place(shape(8), as_is=True)
    assert made.place(shape(8))


@pytest.mark.parametrize(
    "unfit",
    [
        node("a1", ready="False"),
        node("a1", ready="Unknown"),
        node("a1", cordoned=True),
        node("a1", deleting=True),
    ],
    ids=["not ready", "unknown", "cordoned", "deleting"],
)
def test_a_node_that_takes_no_pods_is_no_place(unfit: Node) -> None:
    assert not fits(shape(), unfit)


# -- many pods


def test_pods_take_places_until_there_are_none() -> None:
    made = packer([node("a1", 8), node("a2", 8)])
    one = shape(3)
    assert [made.place(one) for _ in range(5)] == [True, True, True, True, False]


def test_small_pods_fill_gaps_and_leave_empty_nodes_to_big_ones() -> None:
    made = packer([node("a1", 8), node("a2", 8)], [pod("x", 6, on="a2")])
    assert made.place(shape(2))
    assert made.place(shape(8))


def test_a_shape_that_found_no_place_does_not_keep_smaller_ones_from_theirs() -> None:
    made = packer([node("a1", 8)], [pod("x", 4, on="a1")])
    assert not made.place(shape(8))
    assert made.place(shape(4))
    assert not made.place(shape(1))


def test_shapes_search_on_where_they_stopped_and_see_what_others_took() -> None:
    made = packer([node("a1", 4), node("a2", 4), node("a3", 4)])
    assert [made.place(shaped) for shaped in (shape(3), shape(2), shape(1), shape(2), shape(3), shape(1))] == [True] * 6
    assert [made.place(shaped) for shaped in (shape(1), shape(2))] == [False, False]


def test_nodes_that_differ_only_in_labels_that_no_pod_asks_for_are_alike() -> None:
    nodes = [node("a1", labels={"rack": "1"}), node("a2", labels={"rack": "2", "zone": "a"})]
    one = shape(8, affinity=[term(ZONE_A)])
    made = packer(nodes, [], [one])
    assert [made.place(one) for _ in range(2)] == [True, False]


def test_label_keys_are_all_that_selectors_read() -> None:
    read = [
        shape(selector={"zone": "a"}),
        shape(affinity=[term(Requirement("gpu", "Exists")), term(name="a1")]),
    ]
    assert label_keys([pod("x", shaped=shaped) for shaped in read]) == {"zone", "gpu", "metadata.name"}


@pytest.mark.parametrize(("amount", "left"), [(1, True), (4, True), (5, False)])
def test_what_is_left_is_told_by_node_and_after_what_was_placed(amount: int, left: bool) -> None:
    made = packer([node("a1", 4), node("a2", 8)])
    assert made.place(shape(8))
    assert made.has_left(GPU, amount * 1000) is left


# -- soon free


def leaving(name: str, gpus: int, on: str, seconds: float) -> Pod:
    return pod(name, gpus, on=on, deleting=NOW + seconds)


def soon(what: Shape, *nodes: Node, bound: Sequence[Pod]) -> float | None:
    made = packer(nodes, bound, [what])
    assert not made.place(what)
    return made.place_soon(what)


def test_what_a_terminating_pod_holds_is_soon_free() -> None:
    assert soon(shape(8), node("a1"), bound=[leaving("x", 8, "a1", 20)]) == NOW + 20 + SLACK_SECONDS


def test_what_is_free_counts_with_what_is_soon_free() -> None:
    assert soon(shape(8), node("a1"), bound=[leaving("x", 2, "a1", 20)]) == NOW + 20 + SLACK_SECONDS


def test_the_first_that_may_prove_stuck_says_when_to_recheck_at() -> None:
    bound = [leaving("x", 4, "a1", 20), leaving("y", 4, "a1", 5)]
    assert soon(shape(8), node("a1"), bound=bound) == NOW + 5 + SLACK_SECONDS


@pytest.mark.parametrize("seconds", [30.5, 35, 0, -4.5])
def test_clocks_that_differ_and_the_moment_it_takes_to_end_are_allowed_for(seconds: float) -> None:
    again = soon(shape(8), node("a1"), bound=[leaving("x", 8, "a1", seconds)])
    assert again == NOW + seconds + SLACK_SECONDS
    assert again > NOW


@pytest.mark.parametrize("seconds", [-10, -5, 35.5, 3600])
def test_a_pod_that_is_stuck_or_takes_long_to_end_frees_nothing_soon(seconds: float) -> None:
    assert soon(shape(8), node("a1"), bound=[leaving("x", 8, "a1", seconds)]) is None


def test_nothing_is_soon_free_on_a_node_that_takes_no_pods() -> None:
    made = packer([node("a1", cordoned=True), node("a2")], [leaving("x", 8, "a1", 5), pod("y", 8, on="a2")])
    assert made.place_soon(shape(8)) is None


def test_a_place_that_is_soon_free_is_promised_once() -> None:
    made = packer([node("a1")], [leaving("x", 8, "a1", 5)])
    assert [made.place_soon(shape(4)) is not None for _ in range(3)] == [True, True, False]


def test_a_promise_keeps_no_pod_off_a_place_that_is_free_now() -> None:
    made = packer([node("a1")], [leaving("x", 4, "a1", 5)])
    assert made.place_soon(shape(8)) is not None
    assert made.place(shape(4))


def test_what_is_taken_now_is_not_promised_any_more() -> None:
    made = packer([node("a1")], [leaving("x", 4, "a1", 5)])
    assert made.place(shape(4))
    assert made.place_soon(shape(8)) is None
    assert made.place_soon(shape(4)) is not None


def test_a_place_is_only_soon_free_for_pods_that_may_go_there() -> None:
    nodes = [node("a1", taints=[Taint("team", "ml", "NoSchedule")]), node("a2", labels={"zone": "b"})]
    bound = [leaving("x", 8, "a1", 5), leaving("y", 8, "a2", 5)]
    assert soon(shape(8, selector={"zone": "a"}), *nodes, bound=bound) is None


# -- why not


def test_full_nodes_have_no_room() -> None:
    assert why_not(shape(8), node("a1"), bound=[pod("x", 1, on="a1")]) is Reason.NO_ROOM


def test_a_pod_that_no_node_could_hold_even_empty_is_too_large() -> None:
    assert why_not(shape(16), node("a1"), node("a2")) is Reason.TOO_LARGE
    assert why_not(shape(1, more={"cpu": 65}), node("a1")) is Reason.TOO_LARGE
    assert why_not(shape(16), node("n1"), index=1) is Reason.TOO_LARGE


def test_nodes_that_take_no_pods_now_show_how_large_a_pod_may_be() -> None:
    assert why_not(shape(16), node("a1"), node("a2", 16, ready="Unknown")) is Reason.NO_ROOM
    assert why_not(shape(16), node("a1"), node("a2", 0, capacity=16)) is Reason.NO_ROOM
    assert why_not(shape(16), node("a1", ready="Unknown")) is Reason.TOO_LARGE


def test_only_nodes_that_the_pod_may_run_on_show_how_large_it_may_be() -> None:
    small, big = node("a1", labels={"zone": "a"}), node("a2", 16, labels={"zone": "b"})
    assert why_not(shape(16, selector={"zone": "a"}), small, big) is Reason.TOO_LARGE
    other_teams = node("a2", 16, taints=[Taint("team", "ml", "NoSchedule")])
    assert why_not(shape(16), node("a1"), other_teams) is Reason.TOO_LARGE


def test_a_provider_that_makes_nodes_may_make_larger_ones() -> None:
    assert why_not(shape(16), node("n1"), index=1, on_demand=True) is Reason.NO_ROOM


def test_where_no_node_offers_any_accelerator_a_pod_is_not_too_large() -> None:
    assert why_not(shape(8), node("a1", 0)) is Reason.NO_ROOM


def test_a_provider_whose_nodes_all_take_no_pods_has_no_nodes() -> None:
    assert why_not(shape(), node("a1", ready="Unknown")) is Reason.NO_NODES
    assert why_not(shape(), node("n1", cordoned=True), index=1) is Reason.NO_NODES
    assert why_not(shape(), index=1) is Reason.NO_NODES


def test_a_provider_whose_nodes_are_all_in_quarantine_is_unavailable() -> None:
    taken = [node(name, quarantine="ProviderUnhealthy") for name in ("a1", "a2")]
    assert why_not(shape(), *taken) is Reason.PROVIDER_UNAVAILABLE
    assert why_not(shape(), taken[0], node("a2", cordoned=True)) is Reason.NO_NODES
    assert why_not(shape(16), *taken) is Reason.TOO_LARGE


def test_a_pod_whose_selectors_match_no_node_is_pinned() -> None:
    assert why_not(shape(selector={"zone": "b"}), node("a1", labels={"zone": "a"})) is Reason.PINNED
    assert why_not(shape(affinity=[term(name="elsewhere")]), node("a1")) is Reason.PINNED


def test_a_pod_pinned_to_a_full_node_waits_for_room() -> None:
    full, bound = node("a1", 2), [pod("x", 1, on="a1")]
    assert why_not(shape(2, affinity=[term(name="a1")]), full, bound=bound) is Reason.NO_ROOM
    assert why_not(shape(2, selector={"kubernetes.io/hostname": "a1"}), full, bound=bound) is Reason.NO_ROOM


def test_a_provider_whose_nodes_keep_the_pod_off_by_taints_says_so() -> None:
    assert why_not(shape(), node("a1", taints=[Taint("team", "ml", "NoSchedule")])) is Reason.TAINTED


def test_taints_are_looked_at_on_nodes_that_the_pod_asks_for() -> None:
    nodes = [node("a1", labels={"zone": "a"}, taints=[Taint("team", "ml", "NoSchedule")]), node("a2")]
    assert why_not(shape(selector={"zone": "a"}), *nodes) is Reason.TAINTED


@pytest.mark.parametrize("state", ["node.kubernetes.io/not-ready", "node.kubernetes.io/disk-pressure"])
def test_a_taint_of_a_nodes_state_is_no_reason_for_ever(state: str) -> None:
    ill = node("a1", labels={"zone": "a"}, taints=[Taint(state, "", "NoSchedule")], ready="False")
    assert why_not(shape(selector={"zone": "a"}), ill, node("a2")) is Reason.NO_ROOM


def test_a_provider_that_makes_nodes_may_make_ones_that_match() -> None:
    zone_b = shape(selector={"zone": "b"})
    assert why_not(zone_b, node("n1"), index=1, on_demand=True) is Reason.NO_ROOM
    assert why_not(zone_b, index=1, on_demand=True) is Reason.NO_NODES


@pytest.mark.parametrize(
    "pinned",
    [
        shape(selector={"site": "paris"}),
        shape(affinity=[term(Requirement("site", "In", ("paris", "rome")))]),
        shape(affinity=[term(Requirement("site", "NotIn", ("oslo", "bonn")))]),
        shape(affinity=[term(Requirement("site", "DoesNotExist"))]),
        shape(affinity=[term(Requirement("site", "In", ("rome",))), term(Requirement("site", "In", ("paris",)))]),
        shape(affinity=[term(Requirement("site", "In", ("rome",))), term(name="elsewhere")]),
        shape(affinity=[term(name="elsewhere")]),
        shape(affinity=[]),
    ],
    ids=str,
)
def test_a_pod_that_no_node_to_come_can_satisfy_is_pinned(pinned: Shape) -> None:
    selected = {"site": "oslo"}
    assert why_not(pinned, index=1, labels=selected, on_demand=True) is Reason.PINNED


@pytest.mark.parametrize(
    "free",
    [
        shape(selector={"site": "oslo"}),
        shape(affinity=[term(Requirement("site", "In", ("rome",))), term(Requirement("zone", "In", ("a",)))]),
        shape(affinity=[term(Requirement("site", "Exists"))]),
        shape(affinity=[term(Requirement("site", "NotIn", ("rome",)))]),
        shape(affinity=[term(Requirement("cores", "Gt", ("4",)))]),
    ],
    ids=str,
)
def test_a_pod_that_a_node_to_come_may_satisfy_is_not_pinned(free: Shape) -> None:
    assert why_not(free, index=1, labels={"site": "oslo"}, on_demand=True) is Reason.NO_NODES
