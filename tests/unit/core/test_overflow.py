"""Which waiting pods the primary takes, which wait, and which overflow."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from computepool.assess.assessment import assess
from computepool.assess.capacity.fit import SLACK_SECONDS
from computepool.assess.demand.overflow import Demand, in_order
from computepool.model.cluster import Node, Offer, Pod, Shape
from computepool.model.labels import Requirement
from computepool.model.reasons import Reason
from computepool.model.taints import Taint
from tests.builders import NOW, node, pod, pool, pool_state, provider, shape, snapshot, term
from tests.unit.core.passes import flying, names

FULL = (node("a1"), node("n1"))
HOLDER = pod("holder", 8, on="a1")


def demand(
    *pods: Pod,
    nodes: Sequence[Node] = FULL,
    fitting: Mapping[tuple[str, str], float] | None = None,
    now: float = NOW,
    in_flight: Mapping[str, Offer] | None = None,
    **of: Any,
) -> Demand:
    providers = of.pop("providers", (provider("aws"), provider("nebius")))
    seen = snapshot(pool(*providers, **of), nodes, pods, in_flight=in_flight or {})
    return assess(seen, pool_state(fitting=fitting or {}), now).demand


def held(found: Demand) -> dict[str, Reason]:
    return {hold.pod.name: hold.reason for hold in found.held}


def overflowing(found: Demand) -> dict[str, tuple[Reason, Reason | None]]:
    return {overflow.pod.name: (overflow.why, overflow.wait) for overflow in found.overflow}


# -- the order


def test_pods_come_by_priority_then_age_then_name() -> None:
    pods = [
        pod("young", waited=1),
        pod("b", waited=5),
        pod("a", waited=5),
        pod("a", waited=5, namespace="another"),
        pod("urgent", waited=0, priority=1),
        pod("later", waited=9, priority=-1),
    ]
    assert [(queued.namespace, queued.name) for queued in in_order(pods)] == [
        ("default", "urgent"),
        ("another", "a"),
        ("default", "a"),
        ("default", "b"),
        ("default", "young"),
        ("default", "later"),
    ]


def test_the_primary_is_given_to_the_first_in_order() -> None:
    found = demand(pod("old", 8, waited=90), pod("young", 8, waited=60), pod("urgent", 8, waited=10, priority=5))
    assert held(found) == {"urgent": Reason.FITS_ON_PREFERRED}
    assert [overflow.pod.name for overflow in found.overflow] == ["old", "young"]


def test_a_pod_behind_a_big_one_that_overflows_still_gets_what_is_left() -> None:
    found = demand(pod("big", 16, waited=90), pod("small", 1))
    assert held(found) == {"small": Reason.FITS_ON_PREFERRED}
    assert list(overflowing(found)) == ["big"]


# -- overflow


@pytest.mark.parametrize(
    ("waited", "pending", "wait"),
    [(4.9, 5, Reason.BELOW_PENDING_SECONDS), (5.0, 5, None), (60, 5, None), (0, 0, None)],
)
def test_a_pod_that_the_primary_has_no_room_for_may_be_sent_on_after_pending_seconds(
    waited: float, pending: int, wait: Reason | None
) -> None:
    found = demand(HOLDER, pod("p", waited=waited), pending=pending)
    assert overflowing(found) == {"p": (Reason.NO_ROOM, wait)}
    assert found.pressing == (wait is None)
    assert found.overflow[0].until == (None if wait is None else NOW - waited + pending)


def test_pending_seconds_count_from_when_the_pod_was_free_to_be_scheduled() -> None:
    found = demand(HOLDER, pod("p", created=NOW - 600, since=NOW - 1))
    assert overflowing(found) == {"p": (Reason.NO_ROOM, Reason.BELOW_PENDING_SECONDS)}


@pytest.mark.parametrize("unfit", [node("a1", ready="Unknown"), node("a1", cordoned=True)])
def test_a_primary_whose_nodes_take_no_pods_overflows_like_a_full_one(unfit: Node) -> None:
    found = demand(pod("p"), pod("new", waited=1), nodes=[unfit])
    assert overflowing(found) == {
        "p": (Reason.NO_NODES, None),
        "new": (Reason.NO_NODES, Reason.BELOW_PENDING_SECONDS),
    }
    assert found.pressing == 1


def test_a_pod_that_can_never_run_on_the_primary_has_nothing_to_wait_for_and_is_no_pressure() -> None:
    pinned = pod("pinned", shaped=shape(selector={"computepool.io/provider": "nebius"}), waited=0)
    found = demand(pinned)
    assert overflowing(found) == {"pinned": (Reason.PINNED, None)}
    assert found.pressing == 0


@pytest.mark.parametrize(
    ("wanted", "used", "pressing"),
    [
        (shape(selector={"team": "x"}), 1, 0),
        (shape(affinity=[term(Requirement("kubernetes.io/hostname", "In", ("a1", "a2")))]), 1, 0),
        (shape(), 8, 1),
        (shape(selector={"team": "x"}), 8, 1),
        (shape(8, selector={"team": "x"}), 1, 1),
    ],
    ids=["label", "two nodes", "no selector", "other nodes are full too", "too large for what is free"],
)
def test_a_pod_whose_selectors_confine_it_to_full_nodes_of_a_free_primary_is_no_pressure(
    wanted: Shape, used: int, pressing: int
) -> None:
    nodes = [node(name, labels={"team": "x"} if name < "a3" else {}) for name in ("a1", "a2", "a3")]
    running = [HOLDER, pod("second", 8, on="a2"), pod("third", used, on="a3")]
    found = demand(*running, pod("p", shaped=wanted), nodes=nodes)
    assert overflowing(found) == {"p": (Reason.NO_ROOM, None)}
    assert found.pressing == pressing


def test_a_pod_larger_than_any_node_of_the_primary_has_nothing_to_wait_for_and_is_no_pressure() -> None:
    found = demand(pod("p", 16, waited=0))
    assert overflowing(found) == {"p": (Reason.TOO_LARGE, None)}
    assert found.pressing == 0


def test_a_pod_that_the_primarys_taints_keep_off_has_nothing_to_wait_for_and_is_no_pressure() -> None:
    found = demand(pod("p", waited=0), nodes=[node("a1", taints=[Taint("team", "ml", "NoSchedule")])])
    assert overflowing(found) == {"p": (Reason.TAINTED, None)}
    assert found.pressing == 0


# -- pods that are somebody else's


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"gated": True}, Reason.GATED),
        ({"deleting": NOW + 1}, Reason.TERMINATING),
        ({"nominated": "a1"}, Reason.NOMINATED),
        ({"gated": True, "deleting": NOW + 1}, Reason.TERMINATING),
    ],
    ids=str,
)
def test_pods_that_others_act_on_are_left_alone(fields: dict[str, Any], reason: Reason) -> None:
    found = demand(HOLDER, pod("p", **fields))
    assert held(found) == {"p": reason}
    assert not found.overflow


def test_a_gated_pod_takes_no_place_from_others() -> None:
    found = demand(pod("gated", 8, gated=True, priority=9), pod("p", 8))
    assert held(found) == {"gated": Reason.GATED, "p": Reason.FITS_ON_PREFERRED}


def test_a_nominated_pod_whose_room_never_comes_goes_on_after_the_nodes_providers_timeout() -> None:
    nominated = pod("p", nominated="a1", unschedulable=True)
    found = demand(HOLDER, nominated)
    assert (found.held[0].reason, found.held[0].until) == (Reason.NOMINATED, NOW + 60)
    assert demand(HOLDER, nominated, fitting=found.fitting, now=NOW + 59).held
    late = demand(HOLDER, nominated, fitting=found.fitting, now=NOW + 60)
    assert overflowing(late) == {"p": (Reason.NO_ROOM, None)}
    assert late.fitting == found.fitting


def test_a_pod_that_is_nominated_to_one_node_after_another_waits_no_longer_in_all() -> None:
    found = demand(HOLDER, pod("p", nominated="a1"))
    other = pod("p", nominated="a2")
    found = demand(HOLDER, other, fitting=found.fitting, now=NOW + 59)
    assert (found.held[0].reason, found.held[0].until) == (Reason.NOMINATED, NOW + 60)
    assert overflowing(demand(HOLDER, other, fitting=found.fitting, now=NOW + 60)) == {"p": (Reason.NO_ROOM, None)}
    # After a time without any nomination, the next begins anew.
    between = demand(HOLDER, pod("p"), fitting=found.fitting, now=NOW + 60)
    assert held(demand(HOLDER, other, fitting=between.fitting, now=NOW + 61)) == {"p": Reason.NOMINATED}


def test_a_pod_nominated_to_a_node_of_a_standby_has_that_standbys_timeout() -> None:
    slow = (provider("aws"), provider("nebius", timeout=120))
    found = demand(HOLDER, pod("p", nominated="n1", sent=[("nebius", NOW - 9)]), providers=slow)
    assert found.held[0].until == NOW + 120


def test_a_place_promised_by_preemption_is_taken() -> None:
    found = demand(pod("first", 8, nominated="a1"), pod("p", 8))
    assert list(overflowing(found)) == ["p"]


# -- soon free


def test_a_pod_waits_for_a_place_that_is_soon_free() -> None:
    found = demand(pod("x", 8, on="a1", deleting=NOW + 10), pod("p", 8, waited=20), pod("q", 8, waited=10))
    assert held(found) == {"p": Reason.SOON_FREE}
    assert found.held[0].until == NOW + 10 + SLACK_SECONDS
    assert list(overflowing(found)) == ["q"]


@pytest.mark.parametrize("waited", [39, 40])
def test_a_pod_whose_soon_free_places_others_take_again_and_again_waits_no_longer_than_one_grace_period(
    waited: int,
) -> None:
    found = demand(pod("x", 8, on="a1", deleting=NOW + 10), pod("p", 8, waited=waited))
    assert held(found) == ({"p": Reason.SOON_FREE} if waited < 40 else {})
    assert [hold.until for hold in found.held] == ([NOW + 1] if waited < 40 else [])
    assert overflowing(found) == ({} if waited < 40 else {"p": (Reason.NO_ROOM, None)})


def test_a_pod_does_not_wait_for_one_that_is_stuck() -> None:
    found = demand(pod("x", 8, on="a1", deleting=NOW - SLACK_SECONDS), pod("p", 8))
    assert list(overflowing(found)) == ["p"]


def test_a_pod_that_waits_for_a_place_soon_free_keeps_no_pod_off_a_place_that_is_free_now() -> None:
    found = demand(pod("x", 4, on="a1", deleting=NOW + 10), pod("big", 8, waited=30), pod("small", 4, waited=20))
    assert held(found) == {"big": Reason.SOON_FREE, "small": Reason.FITS_ON_PREFERRED}


# -- the scheduler refuses


def test_a_pod_that_fits_is_left_to_the_scheduler_for_the_primarys_timeout() -> None:
    found = demand(pod("p", unschedulable=True))
    assert held(found) == {"p": Reason.FITS_ON_PREFERRED}
    assert found.held[0].until == NOW + 60
    assert found.fitting == {("uid-default-p", "aws"): NOW}


def test_a_pod_that_fits_and_is_refused_for_that_long_overflows_without_being_pressure() -> None:
    since = {("uid-default-p", "aws"): NOW - 60}
    found = demand(pod("p", 8, unschedulable=True), pod("q", 8, waited=1), fitting=since)
    assert overflowing(found) == {"p": (Reason.NOT_BOUND_IN_TIME, None)}
    assert held(found) == {"q": Reason.FITS_ON_PREFERRED}
    assert found.pressing == 0
    assert found.fitting.items() >= since.items()


def test_a_scheduler_that_says_nothing_about_a_pod_has_ten_minutes() -> None:
    found = demand(pod("p"), fitting={("uid-default-p", "aws"): NOW - 599})
    assert held(found) == {"p": Reason.FITS_ON_PREFERRED}
    assert found.held[0].until == NOW + 1
    found = demand(pod("p"), fitting={("uid-default-p", "aws"): NOW - 600})
    assert overflowing(found) == {"p": (Reason.NOT_BOUND_IN_TIME, None)}
    assert found.pressing == 0


def test_the_time_that_a_pod_fits_starts_anew_when_it_did_not_fit_in_between() -> None:
    since = {("uid-default-p", "aws"): NOW - 59}
    assert demand(HOLDER, pod("p"), fitting=since).fitting == {}


# -- an on-demand primary


def on_demand(*pods: Pod, **options: Any) -> Demand:
    return demand(*pods, providers=(provider("aws", on_demand=True), provider("nebius")), **options)


def test_an_autoscaler_behind_the_primary_is_given_its_time() -> None:
    found = on_demand(HOLDER, pod("p", waited=599), pod("q", waited=600))
    assert overflowing(found) == {
        "q": (Reason.NO_ROOM, None),
        "p": (Reason.NO_ROOM, Reason.AWAITING_NODES),
    }
    assert found.overflow[1].until == NOW + 1


def test_an_on_demand_primary_without_nodes_waits_for_its_first() -> None:
    assert overflowing(on_demand(pod("p"), nodes=[])) == {"p": (Reason.NO_NODES, Reason.AWAITING_NODES)}


def test_pending_seconds_longer_than_the_autoscalers_time_are_kept() -> None:
    found = on_demand(HOLDER, pod("p", waited=650), pending=700)
    assert overflowing(found) == {"p": (Reason.NO_ROOM, Reason.AWAITING_NODES)}
    assert found.overflow[0].until == NOW + 50


# -- pods that were sent to a standby


def test_a_pod_that_was_sent_on_is_known_by_its_label_and_its_toleration() -> None:
    found = demand(HOLDER, pod("p", sent=[("nebius", NOW - 7)]))
    assert [(sent.pod.name, sent.offer) for sent in found.sent] == [("p", Offer("nebius", NOW - 7))]
    assert not found.overflow


def test_a_label_without_the_toleration_sends_no_pod_anywhere() -> None:
    found = demand(HOLDER, pod("p", burst="nebius"))
    assert list(overflowing(found)) == ["p"]


def test_a_label_of_a_provider_that_the_pool_has_lost_counts_for_nothing() -> None:
    found = demand(HOLDER, pod("p", sent=[("crusoe", NOW - 7)]))
    assert list(overflowing(found)) == ["p"]


def test_a_pod_with_the_label_and_no_word_of_when_was_sent_when_it_came() -> None:
    found = demand(HOLDER, pod("p", burst="nebius", tolerates=["nebius"], waited=33))
    assert found.sent[0].offer == Offer("nebius", NOW - 33)


def test_a_write_under_way_counts_before_the_pod_shows_it() -> None:
    one = pod("p")
    found = demand(HOLDER, one, in_flight=flying(one, to="nebius"))
    assert names(sent.pod for sent in found.sent) == ["p"]


def test_a_pod_whose_write_goes_to_a_provider_that_the_pool_has_lost_is_left_alone_until_it_is_seen() -> None:
    one = pod("p")
    found = demand(HOLDER, one, in_flight=flying(one, to="crusoe"))
    assert held(found) == {"p": Reason.AWAITING_SCHEDULER}


def test_pods_that_were_sent_on_take_places_at_home_only_after_all_others() -> None:
    found = demand(pod("sent", 8, sent=[("nebius", NOW)], priority=9), pod("p", 8))
    assert held(found) == {"p": Reason.FITS_ON_PREFERRED}
    assert found.sent[0].home is None


def test_a_pod_that_was_sent_on_and_fits_at_home_after_all_waits_for_either() -> None:
    found = demand(pod("sent", 8, sent=[("nebius", NOW)]))
    home = found.sent[0].home
    assert home is not None
    assert (home.reason, home.provider, home.until) == (Reason.FITS_ON_PREFERRED, "aws", NOW + 600)


def test_a_pod_that_was_sent_on_because_home_refused_it_is_not_called_back() -> None:
    refused = pod("sent", 8, sent=[("nebius", NOW)], unschedulable=True)
    found = demand(refused, fitting={(refused.uid, "aws"): NOW - 60})
    assert found.sent[0].home is None
