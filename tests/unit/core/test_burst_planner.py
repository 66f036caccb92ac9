"""Which standby an overflowing pod is sent to, and why not to another."""

from collections.abc import Sequence
from typing import Any

import pytest

from computepool.decide.plan import Plan
from computepool.model.cluster import Node, Pod
from computepool.model.labels import Requirement
from computepool.model.reasons import Reason
from computepool.model.state import PoolState
from computepool.model.taints import Taint, Toleration
from tests.builders import NOW, node, pod, pool, pool_state, provider, shape, snapshot, standby_toleration, term
from tests.unit.core.passes import burst_of, decided, flying, hold_of, holds, sent_to, waits_for

AWS, NEBIUS, CRUSOE = provider("aws"), provider("nebius"), provider("crusoe")
NODES = (node("a1"), node("n1"), node("c1"))
HOLDER = pod("holder", 8, on="a1")
"""Fills the primary."""


def plan(
    *pods: Pod,
    nodes: Sequence[Node] = NODES,
    providers: Sequence[dict[str, Any]] = (AWS, NEBIUS, CRUSOE),
    state: PoolState | None = None,
    now: float = NOW,
    placement: str = "Ordered",
    seen: dict[str, Any] | None = None,
    **of: Any,
) -> Plan:
    of_pool = pool(*providers, placement=placement, **of)
    return decided(snapshot(of_pool, nodes, pods, **(seen or {})), state, now)


# -- the order of preference


def test_a_pod_goes_to_the_first_standby_that_has_room() -> None:
    found = plan(HOLDER, pod("p", 8), pod("q", 8, waited=30))
    assert sent_to(found) == {"p": "nebius", "q": "crusoe"}
    assert burst_of(found, "p").rejected == (("aws", Reason.NO_ROOM),)
    assert burst_of(found, "q").rejected == (("aws", Reason.NO_ROOM), ("nebius", Reason.NO_ROOM))
    assert {burst.reason for burst in found.bursts} == {Reason.PRIMARY_SATURATED}


def test_no_pod_is_sent_while_the_primary_has_room() -> None:
    found = plan(pod("p", 8))
    assert not found.bursts
    assert waits_for(found) == {"p": "aws"}


def test_the_cheapest_standby_with_room_comes_first() -> None:
    priced = (AWS, provider("nebius", price="3.10"), provider("crusoe", price="2.95"))
    found = plan(HOLDER, pod("p", 8), pod("q", 8, waited=30), providers=priced, placement="Cheapest")
    assert sent_to(found) == {"p": "crusoe", "q": "nebius"}


def test_a_standby_without_a_price_comes_last() -> None:
    priced = (AWS, NEBIUS, provider("crusoe", price="99"))
    assert sent_to(plan(HOLDER, pod("p"), providers=priced, placement="Cheapest")) == {"p": "crusoe"}


def test_prices_do_not_matter_to_ordered_placement() -> None:
    priced = (AWS, provider("nebius", price="3.10"), provider("crusoe", price="2.95"))
    assert sent_to(plan(HOLDER, pod("p"), providers=priced)) == {"p": "nebius"}


def test_places_are_given_by_priority_and_age() -> None:
    pods = (pod("young", 8, waited=10), pod("old", 8, waited=20), pod("urgent", 8, waited=6, priority=1))
    found = plan(HOLDER, *pods)
    assert sent_to(found) == {"urgent": "nebius", "old": "crusoe"}
    assert hold_of(found, "young").rejected == (
        ("aws", Reason.NO_ROOM),
        ("nebius", Reason.NO_ROOM),
        ("crusoe", Reason.NO_ROOM),
    )
    assert holds(found) == {"young": Reason.NO_ROOM}


def test_a_pod_that_waits_for_no_one_reason_has_none_left() -> None:
    found = plan(HOLDER, pod("p", 8), pod("x", 1, on="n1"), nodes=[node("a1"), node("n1"), node("c1", cordoned=True)])
    assert holds(found) == {"p": Reason.NO_PROVIDER_LEFT}


def test_a_pod_that_has_not_waited_long_enough_is_held_until_it_has() -> None:
    found = plan(HOLDER, pod("p", waited=1))
    assert hold_of(found, "p").until == NOW + 4
    assert holds(found) == {"p": Reason.BELOW_PENDING_SECONDS}


def test_the_missing_tolerations_are_added_and_no_others() -> None:
    wanted = [{"key": "a", "operator": "Exists"}, {"key": "b", "value": "x", "effect": "NoSchedule"}]
    mine = shape(tolerations=[Toleration("a", "Exists")])
    tainted = node("n1", tainted=False, taints=[Taint("a", "", "NoSchedule"), Taint("b", "x", "NoSchedule")])
    providers = (AWS, provider("nebius", tolerations=wanted))
    found = plan(HOLDER, pod("p", shaped=mine), pod("q"), providers=providers, nodes=[node("a1"), tainted])
    assert burst_of(found, "p").tolerations == (Toleration("b", "Equal", "x", "NoSchedule"),)
    assert burst_of(found, "q").tolerations == (
        Toleration("a", "Exists"),
        Toleration("b", "Equal", "x", "NoSchedule"),
    )


def test_a_standby_whose_other_taints_the_pod_does_not_tolerate_is_no_place() -> None:
    nodes = (node("a1"), node("n1", taints=[Taint("nvidia.com/gpu", "", "NoSchedule")]), node("c1"))
    found = plan(HOLDER, pod("p"), nodes=nodes)
    assert burst_of(found, "p").rejected == (("aws", Reason.NO_ROOM), ("nebius", Reason.TAINTED))
    tolerant = pod("p", shaped=shape(tolerations=[Toleration("nvidia.com/gpu", "Exists")]))
    assert sent_to(plan(HOLDER, tolerant, nodes=nodes)) == {"p": "nebius"}


# -- pinned pods


def at(name: str) -> dict[str, str]:
    return {"computepool.io/provider": name}


def test_a_pod_pinned_to_the_primary_waits_and_says_so() -> None:
    found = plan(HOLDER, pod("p", shaped=shape(selector=at("aws"))))
    assert holds(found) == {"p": Reason.PINNED}
    assert hold_of(found, "p").rejected == (
        ("aws", Reason.NO_ROOM),
        ("nebius", Reason.PINNED),
        ("crusoe", Reason.PINNED),
    )


def test_a_pod_pinned_to_the_primary_waits_though_standbys_can_make_nodes() -> None:
    grows = provider("nebius", on_demand=True)
    by_affinity = shape(affinity=[term(Requirement("computepool.io/provider", "NotIn", ("nebius", "crusoe")))])
    found = plan(HOLDER, pod("p", shaped=by_affinity), nodes=[node("a1")], providers=(AWS, grows))
    assert holds(found) == {"p": Reason.PINNED}


@pytest.mark.parametrize("waited", [0, 60])
def test_a_pod_pinned_to_a_standby_is_sent_there_at_once(waited: float) -> None:
    found = plan(pod("p", waited=waited, shaped=shape(selector=at("crusoe"))))
    assert sent_to(found) == {"p": "crusoe"}
    burst = burst_of(found, "p")
    assert burst.reason is Reason.PINNED
    assert burst.rejected == (("aws", Reason.PINNED), ("nebius", Reason.PINNED))


def test_a_pod_that_the_primarys_taints_keep_off_is_sent_on_with_that_reason() -> None:
    nodes = (node("a1", taints=[Taint("team", "ml", "NoSchedule")]), node("n1"))
    found = plan(pod("p"), nodes=nodes, providers=(AWS, NEBIUS))
    assert burst_of(found, "p").reason is Reason.TAINTED


def test_a_pod_pinned_to_nodes_of_no_provider_waits_and_says_so() -> None:
    found = plan(pod("p", shaped=shape(selector=at("elsewhere"))))
    assert holds(found) == {"p": Reason.PINNED}


# -- the workload's own say


@pytest.mark.parametrize(
    ("allowed", "to"),
    [
        (None, {"p": "nebius"}),
        (("crusoe",), {"p": "crusoe"}),
        (("crusoe", "nebius"), {"p": "nebius"}),
        (("lambda",), {}),
        ((), {}),
    ],
    ids=str,
)
def test_a_pod_goes_only_where_its_owner_allows(allowed: tuple[str, ...] | None, to: dict[str, str]) -> None:
    assert sent_to(plan(HOLDER, pod("p", allowed=allowed))) == to


def test_a_pod_that_never_leaves_says_so() -> None:
    found = plan(HOLDER, pod("p", allowed=()))
    assert holds(found) == {"p": Reason.NOT_ALLOWED}
    assert hold_of(found, "p").rejected == (
        ("aws", Reason.NO_ROOM),
        ("nebius", Reason.NOT_ALLOWED),
        ("crusoe", Reason.NOT_ALLOWED),
    )


def test_a_pod_that_never_leaves_takes_no_place_of_others() -> None:
    found = plan(HOLDER, pod("blocked", 8, allowed=(), priority=9), pod("p", 8))
    assert sent_to(found) == {"p": "nebius"}


# -- reservations


def test_a_pod_sent_on_and_not_bound_holds_its_place() -> None:
    found = plan(HOLDER, pod("p", 8, sent=[("nebius", NOW - 1)]), pod("q", 8))
    assert sent_to(found) == {"q": "crusoe"}
    assert holds(found) == {"p": Reason.AWAITING_SCHEDULER}
    assert hold_of(found, "p").until == NOW + 60


def test_places_of_pods_sent_on_come_before_those_with_more_priority() -> None:
    found = plan(HOLDER, pod("p", 8, sent=[("nebius", NOW - 1)]), pod("q", 8, priority=1000))
    assert sent_to(found) == {"q": "crusoe"}


def test_a_write_under_way_holds_its_place_and_is_not_decided_again() -> None:
    one = pod("p", 8)
    found = plan(HOLDER, one, pod("q", 8), seen={"in_flight": flying(one, to="nebius")})
    assert sent_to(found) == {"q": "crusoe"}
    assert holds(found) == {"p": Reason.AWAITING_SCHEDULER}


def test_a_pod_whose_write_is_under_way_is_sent_nowhere_else_when_its_place_is_gone() -> None:
    one = pod("p", 8)
    nodes = (node("a1"), node("n1", ready="False"), node("c1"))
    found = plan(HOLDER, one, nodes=nodes, seen={"in_flight": flying(one, to="nebius")})
    assert not found.bursts
    assert waits_for(found) == {"p": "nebius"}


def test_a_pod_that_tolerates_a_standby_from_its_creation_waits_there_for_the_scheduler() -> None:
    found = plan(HOLDER, pod("p", 8, tolerates=["nebius"], waited=0), pod("q", 8, priority=-1))
    assert sent_to(found) == {"q": "crusoe"}
    assert hold_of(found, "p").provider == "nebius"
    assert hold_of(found, "p").rejected == (("aws", Reason.NO_ROOM),)


def test_a_pod_that_tolerates_a_standby_gets_a_place_there_in_its_turn() -> None:
    found = plan(HOLDER, pod("young", 8, tolerates=["nebius"], waited=10), pod("old", 8))
    assert sent_to(found) == {"old": "nebius", "young": "crusoe"}


def test_a_pod_that_tolerates_a_full_standby_is_sent_to_the_next() -> None:
    full = pod("other", 8, on="n1")
    found = plan(HOLDER, full, pod("p", 8, tolerates=["nebius"]))
    assert sent_to(found) == {"p": "crusoe"}
    assert burst_of(found, "p").tolerations == (standby_toleration("crusoe"),)


def test_another_pools_pod_that_was_sent_on_holds_its_place() -> None:
    foreign = pod("x", 8, sent=[("nebius", NOW)])
    assert sent_to(plan(HOLDER, pod("p", 8), seen={"foreign": (foreign,)})) == {"p": "crusoe"}


def test_another_pools_pod_holds_no_place_that_it_does_not_tolerate() -> None:
    foreign = pod("x", 8, burst="elsewhere")
    assert sent_to(plan(HOLDER, pod("p", 8), seen={"foreign": (foreign,)})) == {"p": "nebius"}


def test_another_pools_pod_whose_write_is_under_way_holds_its_place_where_it_goes() -> None:
    foreign = pod("x", 8)
    seen = {"foreign": (foreign,), "in_flight": flying(foreign, to="crusoe")}
    found = plan(HOLDER, pod("p", 8), pod("q", 8, waited=30), seen=seen)
    assert sent_to(found) == {"p": "nebius"}


def test_other_pools_pods_take_their_places_in_order_however_they_are_listed() -> None:
    foreign = [pod("big", 8, sent=[("nebius", NOW)]), pod("small", 2, sent=[("nebius", NOW)], waited=30)]
    for order in (foreign, foreign[::-1]):
        assert sent_to(plan(HOLDER, pod("p", 6), seen={"foreign": tuple(order)})) == {"p": "crusoe"}


def test_another_pools_pod_with_a_promised_place_is_counted_once() -> None:
    foreign = pod("x", 4, sent=[("nebius", NOW)], nominated="n1")
    other = pod("y", 4, nominated="n1")
    nodes = (node("a1"), node("n1"), node("n2", 4), node("c1"))
    found = plan(HOLDER, other, pod("p", 4), nodes=nodes, seen={"foreign": (foreign,)})
    assert sent_to(found) == {"p": "nebius"}


# -- not bound in time


def test_a_pod_not_bound_in_time_is_offered_to_the_next_provider() -> None:
    sent = pod("p", 8, sent=[("nebius", NOW - 60)])
    waiting = plan(HOLDER, sent, now=NOW - 1)
    assert holds(waiting) == {"p": Reason.AWAITING_SCHEDULER}
    found = plan(HOLDER, sent, state=pool_state(fitting={(sent.uid, "nebius"): NOW - 60}))
    assert sent_to(found) == {"p": "crusoe"}
    burst = burst_of(found, "p")
    assert burst.reason is Reason.NEXT_PROVIDER
    assert burst.rejected == (("aws", Reason.NO_ROOM), ("nebius", Reason.NOT_BOUND_IN_TIME))


def test_a_pod_whose_place_is_gone_is_offered_to_the_next_provider_at_once() -> None:
    found = plan(HOLDER, pod("other", 8, on="n1"), pod("p", 8, sent=[("nebius", NOW)]))
    assert sent_to(found) == {"p": "crusoe"}
    assert burst_of(found, "p").rejected == (("aws", Reason.NO_ROOM), ("nebius", Reason.NO_ROOM))


def test_a_pod_that_was_sent_on_and_fits_at_home_by_now_is_sent_nowhere_else() -> None:
    found = plan(pod("other", 8, on="n1"), pod("p", 8, sent=[("nebius", NOW)]))
    assert not found.bursts
    assert waits_for(found) == {"p": "aws"}


def test_nodes_that_do_not_come_in_time_are_not_waited_for_even_by_a_new_leader() -> None:
    grows = provider("nebius", on_demand=True, timeout=100)
    sent = pod("p", 8, sent=[("nebius", NOW - 100)])
    nodes = (node("a1"), node("c1"))
    early = plan(HOLDER, sent, nodes=nodes, providers=(AWS, grows, CRUSOE), now=NOW - 1)
    assert holds(early) == {"p": Reason.AWAITING_NODES}
    assert hold_of(early, "p").until == NOW
    found = plan(HOLDER, sent, nodes=nodes, providers=(AWS, grows, CRUSOE))
    assert sent_to(found) == {"p": "crusoe"}
    assert burst_of(found, "p").rejected == (("aws", Reason.NO_ROOM), ("nebius", Reason.NOT_BOUND_IN_TIME))


def test_nodes_that_have_come_give_the_scheduler_its_time() -> None:
    grows = provider("nebius", on_demand=True, timeout=100)
    sent = pod("p", 8, sent=[("nebius", NOW - 99)])
    found = plan(HOLDER, sent, providers=(AWS, grows, CRUSOE))
    assert holds(found) == {"p": Reason.AWAITING_SCHEDULER}
    assert hold_of(found, "p").until == NOW + 100


def walk_through(first: Pod, nodes: Sequence[Node], providers: Sequence[dict[str, Any]]) -> list[tuple[float, str]]:
    """Let time pass with nothing bound, doing what each pass says, until nothing more is said; return the bursts."""
    one, state, now, done = first, pool_state(), NOW, []
    for _ in range(50):
        found = decided(snapshot(pool(*providers), nodes, [HOLDER, one] if HOLDER.node else [one]), state, now)
        for burst in found.bursts:
            done.append((now - NOW, burst.provider))
            one = pod(
                first.name,
                sent=[*((o.provider, o.at) for o in one.offers), (burst.provider, now)],
                shaped=first.shape,
                unschedulable=first.unschedulable,
            )
        state = found.state
        if found.bursts:
            continue
        if found.recheck_at is None:
            return done
        assert found.recheck_at > now
        now = found.recheck_at
    raise AssertionError("time alone goes on and on")


def test_a_pod_that_is_never_bound_is_offered_to_each_standby_once() -> None:
    providers = (AWS, NEBIUS, CRUSOE, provider("lambda"))
    nodes = (*NODES, node("l1", of="lambda"))
    assert walk_through(pod("p", 8), nodes, providers) == [(0, "nebius"), (60, "crusoe"), (120, "lambda")]


def test_a_pod_that_fits_everywhere_and_is_refused_everywhere_is_offered_to_each_standby_once() -> None:
    refused = pod("p", shaped=shape(4, unmodelled=["volumes"]), unschedulable=True)
    roomy = (*NODES, node("a2"))
    assert walk_through(refused, roomy, (AWS, NEBIUS, CRUSOE)) == [(60, "nebius"), (120, "crusoe")]


def test_a_pod_that_tolerates_two_standbys_from_the_start_is_offered_to_the_third_when_neither_takes_it() -> None:
    tolerant = pod("p", tolerates=["nebius", "crusoe"], shaped=shape(4, unmodelled=["volumes"]), unschedulable=True)
    providers = (AWS, NEBIUS, CRUSOE, provider("lambda"))
    nodes = (*NODES, node("l1", of="lambda"))
    assert [to for _, to in walk_through(tolerant, nodes, providers)] == ["lambda"]


def test_the_time_at_a_provider_counts_from_the_offer_or_from_when_there_was_a_place() -> None:
    sent = pod("p", 8, sent=[("nebius", NOW - 600)])
    found = plan(HOLDER, sent, state=pool_state(fitting={(sent.uid, "nebius"): NOW - 59}))
    assert holds(found) == {"p": Reason.AWAITING_SCHEDULER}
    assert hold_of(found, "p").until == NOW + 1


# -- on demand


def test_on_demand_capacity_is_asked_for_more_than_there_is() -> None:
    grows = provider("nebius", on_demand=True)
    found = plan(HOLDER, *(pod(f"p{i}", 8) for i in range(5)), providers=(AWS, grows), nodes=[node("a1"), node("n1")])
    assert len(found.bursts) == 5
    assert plan(HOLDER, pod("p"), providers=(AWS, grows), nodes=[node("a1")]).bursts


def test_standing_capacity_before_on_demand_is_used_up_first() -> None:
    grows = provider("crusoe", on_demand=True)
    found = plan(HOLDER, pod("p", 8), pod("q", 8), providers=(AWS, NEBIUS, grows), nodes=[node("a1"), node("n1")])
    assert sent_to(found) == {"p": "nebius", "q": "crusoe"}


# -- pools that were edited


def test_a_pod_with_a_label_left_over_is_sent_on_like_any_other() -> None:
    found = plan(HOLDER, pod("p", burst="nebius"))
    assert sent_to(found) == {"p": "nebius"}
    assert plan(HOLDER, pod("p", burst="gone")).bursts


def test_a_pod_sent_to_a_provider_whose_tolerations_were_changed_is_sent_there_anew() -> None:
    edited = provider("nebius", tolerations=[{"key": "virtual", "operator": "Exists"}])
    tainted = node("n1", tainted=False, taints=[Taint("virtual", "", "NoSchedule")])
    sent = pod("p", 8, sent=[("nebius", NOW - 5)])
    found = plan(HOLDER, sent, providers=(AWS, edited), nodes=[node("a1"), tainted])
    assert burst_of(found, "p").tolerations == (Toleration("virtual", "Exists"),)


# -- Observe


def test_observing_decides_the_same_as_enforcing() -> None:
    pods = (HOLDER, pod("p", 8), pod("q", 8), pod("r", 8), pod("s", sent=[("nebius", NOW)]), pod("n", waited=1))
    enforcing, observing = plan(*pods, mode="Enforce"), plan(*pods, mode="Observe")
    assert enforcing.bursts == observing.bursts
    assert enforcing.holds == observing.holds
    assert enforcing.recheck_at == observing.recheck_at
    assert not observing.admission.tolerations
