"""The conditions of a pool: what each says in each state, and since when."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from computepool.assess.breakers.not_bound import digest_of
from computepool.model.api import PROVIDER_KEY
from computepool.model.reasons import Reason
from computepool.model.state import HoldOff
from computepool.model.taints import Taint
from computepool.report.conditions import conditions_of
from computepool.report.pass_report import Gaps
from tests.builders import NOW, node, pod, pool, pool_state, provider, shape
from tests.unit.report.passes import AT, FULL, NO_POLICY, RESIDENTS, condition, report_on, said

SATURATED = {
    "conditions": [{"type": "Saturated", "status": "True", "reason": "PodsOverflow", "lastTransitionTime": AT}]
}


def test_there_are_always_the_same_eight_in_the_same_order() -> None:
    for seen in (report_on(), report_on(nodes=[], pods=[]), report_on(seen={"stale": "pods are not listed yet"})):
        kinds = [one.type for one in conditions_of(seen, (), AT)]
        assert kinds == [
            *("Ready", "Saturated", "Bursting", "Degraded", "BudgetExhausted", "Resilient", "Configured"),
            "SignalsKnown",
        ]


# -- Ready


def test_a_pool_that_is_acted_upon_is_ready() -> None:
    assert said(report_on(), "Ready")[:2] == ("True", "Reconciled")


def test_a_pool_that_is_only_observed_is_ready_and_says_so() -> None:
    assert said(report_on(pool(mode="Observe")), "Ready") == ("True", "Observing", Reason.OBSERVING.help)


def test_a_view_that_is_not_current_makes_readiness_unknown_and_says_what_is_wrong() -> None:
    stale = report_on(seen={"stale": "the view of pods is 130 s old: cannot watch pods: forbidden"})
    assert said(stale, "Ready") == (
        "Unknown",
        "CacheStale",
        "the view of pods is 130 s old: cannot watch pods: forbidden.",
    )


def test_a_view_that_the_api_server_denies_is_for_a_person_to_mend() -> None:
    denied = report_on(seen={"stale": "nodes are not listed yet: forbidden"}, gaps=Gaps(denied=True))
    text = "nodes are not listed yet: forbidden."
    assert said(denied, "Ready") == ("False", "AccessMissing", text)
    assert said(denied, "Degraded") == ("True", "AccessMissing", text)
    assert said(denied, "Saturated")[0] == "Unknown"
    assert said(denied, "Resilient")[0] == "Unknown"


def test_a_primary_without_nodes_makes_it_not_ready_and_names_the_field_and_the_next_step() -> None:
    status, reason, message = said(report_on(nodes=[node("n1", of="nebius")], pods=[]), "Ready")
    assert (status, reason) == ("False", "NoNodesMatch")
    assert "nodeSelector of the primary 'aws'" in message
    assert "capacity.type to OnDemand" in message


# -- Saturated


def test_a_primary_with_room_is_not_saturated_and_says_how_full_it_is() -> None:
    status, reason, message = said(report_on(pods=RESIDENTS[:1]), "Saturated")
    assert (status, reason) == ("False", "PrimaryHasRoom")
    assert message.startswith("aws: 1 of 2 accelerators allocated (50 %).")


def test_pods_that_overflow_saturate() -> None:
    status, reason, message = said(report_on(pods=[*RESIDENTS, pod("new")]), "Saturated")
    assert (status, reason) == ("True", "PodsOverflow")
    assert message.startswith("aws: 2 of 2 accelerators allocated (100 %).")


def test_allocation_alone_saturates() -> None:
    assert said(report_on(pool(sustain=0)), "Saturated")[:2] == ("True", "PrimaryAllocated")


def test_a_primary_without_usable_accelerators_is_not_told_as_full() -> None:
    gone = report_on(pool(provider("aws", drain=True), provider("nebius")), [node("a1", 0, of="aws"), node("n1")], [])
    status, reason, message = said(gone, "Saturated")
    assert (status, reason) == ("True", "ProviderUnavailable")
    assert message.startswith("aws: no accelerator can be used now. ")


def test_a_primary_that_is_being_relieved_is_still_saturated() -> None:
    cleared = report_on(pool(status=SATURATED), pods=[])
    assert said(cleared, "Saturated")[:2] == ("True", "PrimaryClearing")


@pytest.mark.parametrize("how", [{"nodes": [], "pods": []}, {"seen": {"stale": "nodes are not listed yet"}}])
def test_what_can_not_be_told_is_neither_saturated_nor_not(how: dict[str, Any]) -> None:
    assert said(report_on(**how), "Saturated") == ("Unknown", "PrimaryUnknown", Reason.PRIMARY_UNKNOWN.help)


# -- Bursting


def test_no_pod_on_a_standby_is_no_bursting() -> None:
    assert said(report_on(), "Bursting")[:2] == ("False", "NoBurstPods")


def test_pods_on_standbys_are_counted_by_provider() -> None:
    away = [pod("b-1", on="n1"), pod("b-2", on="n1"), pod("b-3", on="c1")]
    assert said(report_on(pods=[*RESIDENTS, *away]), "Bursting") == (
        "True",
        "PodsOnStandby",
        "3 pod(s) run on a standby provider: 2 on nebius, 1 on crusoe.",
    )


# -- Degraded


def test_nothing_wrong_is_not_degraded() -> None:
    assert said(report_on(), "Degraded") == ("False", "AllWell", Reason.ALL_WELL.help)


def test_a_refused_write_is_told_in_the_api_servers_words() -> None:
    refused = report_on(refused="the patch of pod default/web was refused: 422 Invalid: spec.tolerations: no")
    assert said(refused, "Degraded") == ("True", "WriteRefused", f"{refused.refused}.")


def test_a_pod_that_an_older_pool_keeps_names_that_pool_and_the_field_to_narrow() -> None:
    conflicts = report_on(seen={"conflicts": 3, "conflicting_pool": "training"})
    status, reason, message = said(conflicts, "Degraded")
    assert (status, reason) == ("True", "ClaimedByOlderPool")
    assert "'training'" in message
    assert "narrow spec.workloads" in message


def test_what_can_not_be_read_is_told_with_the_resource_and_what_to_do() -> None:
    status, reason, message = said(
        report_on(gaps=Gaps(unreadable="cannot read one of the nodes: odd (n7)")), "Degraded"
    )
    assert (status, reason) == ("True", "ObjectsUnreadable")
    assert message.startswith("cannot read one of the nodes: odd (n7). Correct it, ")
    assert said(report_on(gaps=Gaps(unreadable="odd"), refused="no"), "Degraded")[1] == "WriteRefused"


def test_signals_that_do_not_come_are_told_and_nothing_worse_is_hidden_by_that() -> None:
    lost = report_on(gaps=Gaps(unfollowed="node leases can't be followed: no; silence is not noticed"))
    status, reason, message = said(lost, "Degraded")
    assert (status, reason) == ("True", "EvidenceMissing")
    assert message.startswith("node leases can't be followed: no; silence is not noticed. ")
    assert said(report_on(gaps=Gaps(unfollowed="odd"), refused="no"), "Degraded")[1] == "WriteRefused"


def test_how_many_pods_an_older_pool_keeps_does_not_have_the_status_tick() -> None:
    few, many = (report_on(seen={"conflicts": count, "conflicting_pool": "training"}) for count in (3, 4))
    assert condition(few, "Degraded") == condition(many, "Degraded")
    assert "waiting" not in said(few, "Degraded")[2]


def test_nodes_of_two_providers_are_named_with_the_providers_and_the_field() -> None:
    twice = pool(provider("aws"), provider("again", labels={"kubernetes.io/hostname": "a1"}))
    status, reason, message = said(report_on(twice), "Degraded")
    assert (status, reason) == ("True", "NodesClaimedTwice")
    assert message.startswith("nodes match the nodeSelectors of aws and again and count for aws: a1.")
    assert "disjoint" in message


def test_an_accelerator_that_no_node_offers_is_named_with_where_to_look() -> None:
    status, reason, message = said(report_on(pool(accelerator={"resourceName": "amd.com/gpu"})), "Degraded")
    assert (status, reason) == ("True", "AcceleratorNotFound")
    assert "no node of its providers offers 'amd.com/gpu': a1, c1, n1." in message
    assert "'amd.com/gpu'" in message
    assert "spec.accelerator.resourceName" in message
    assert "device plugin" in message


def test_an_accelerator_that_is_there_and_not_allocatable_is_found() -> None:
    # The device plugin is restarting: that is the nodes' trouble, not a wrong name.
    broken = [node("a1", 0, of="aws", capacity=2), *FULL[1:]]
    assert said(report_on(nodes=broken, pods=[]), "Degraded")[1] != "AcceleratorNotFound"


def test_standbys_without_nodes_are_named_with_what_to_do() -> None:
    status, reason, message = said(report_on(nodes=FULL[:1]), "Degraded")
    assert (status, reason) == ("True", "NoNodesMatch")
    assert "nodeSelector of nebius (computepool.io/provider=nebius)" in message
    assert "`kubectl label nodes NODE computepool.io/provider=nebius --overwrite`" in message
    assert "Also NoNodesMatch: no node matches the nodeSelector of crusoe" in message


def test_an_on_demand_standby_without_nodes_is_as_it_should_be() -> None:
    grown = pool(provider("aws"), provider("grown", on_demand=True))
    assert said(report_on(grown), "Degraded")[:2] == ("False", "AllWell")


def test_a_missing_policy_is_told() -> None:
    assert said(report_on(gaps=NO_POLICY), "Degraded") == ("True", "PolicyMissing", Reason.POLICY_MISSING.help)


def test_of_several_troubles_the_one_that_stops_most_is_told() -> None:
    twice = pool(provider("aws"), provider("again", labels={"kubernetes.io/hostname": "a1"}), provider("nowhere"))
    conflicts = {"conflicts": 1, "conflicting_pool": "training"}
    assert said(report_on(twice, seen=conflicts, refused="no", gaps=NO_POLICY), "Degraded")[1] == "WriteRefused"
    assert said(report_on(twice, seen=conflicts, gaps=NO_POLICY), "Degraded")[1] == "ClaimedByOlderPool"
    assert said(report_on(twice, gaps=NO_POLICY), "Degraded")[1] == "NodesClaimedTwice"
    assert said(report_on(nodes=FULL[:1], gaps=NO_POLICY), "Degraded")[1] == "NoNodesMatch"


def test_every_other_trouble_is_told_in_short_behind_the_worst() -> None:
    twice = pool(provider("aws"), provider("again", labels={"kubernetes.io/hostname": "a1"}))
    message = said(report_on(twice, refused="no", gaps=NO_POLICY), "Degraded")[2]
    assert message == (
        "no. Also NodesClaimedTwice: nodes match the nodeSelectors of aws and again and count for aws: a1; "
        "NoNodesMatch: no node matches the nodeSelector of again (kubernetes.io/hostname=a1); "
        "PolicyMissing: pods are burst by patching alone."
    )


def test_however_long_the_worst_trouble_is_the_others_are_not_cut_off() -> None:
    message = said(report_on(refused="x" * 5000, gaps=NO_POLICY), "Degraded")[2]
    assert len(message) == 1024
    assert message.endswith("xxx… Also PolicyMissing: pods are burst by patching alone.")


@pytest.mark.parametrize(
    ("how", "reason"), [({"stale": "the view is old"}, "CacheStale"), ({"heartbeats": {"a1": 0.0}}, "AllSilent")]
)
def test_what_can_not_be_seen_is_not_told_to_be_well(how: dict[str, Any], reason: str) -> None:
    assert said(report_on(seen=how), "Degraded")[:2] == ("Unknown", reason)


# -- nodes that are unhealthy


def test_an_unhealthy_node_of_a_provider_in_use_is_named_and_does_not_degrade_the_pool() -> None:
    seen = report_on(nodes=[*FULL, node("n2"), node("n3"), node("n4", ready="Unknown", quarantine="NodeUnknown")])
    assert said(seen, "Degraded") == (
        "False",
        "NodesUnhealthy",
        "1 node is unhealthy and gets no new pods: n4 of nebius (NodeUnknown).",
    )


def test_unhealthy_nodes_are_counted_and_some_are_named_with_what_is_wrong() -> None:
    aws = [node(f"a{index}", of="aws") for index in range(2, 20)]
    going = [node(f"g{index}", of="aws", taints=[Taint("gone-soon", "", "NoSchedule")]) for index in range(7)]
    health = {"removalTaints": ["gone-soon"]}
    status, reason, message = said(report_on(pool(health=health), nodes=[*FULL, *aws, *going]), "Degraded")
    assert (status, reason) == ("False", "NodesUnhealthy")
    assert message.startswith(
        "7 nodes are unhealthy and get no new pods: g0 of aws (RemovalAnnounced: gone-soon), g1 of"
    )
    assert message.endswith(" and 2 more.")


def test_beside_something_worse_unhealthy_nodes_are_told_too() -> None:
    seen = report_on(
        nodes=[*FULL, node("n2"), node("n3"), node("n4", ready="Unknown", quarantine="NodeUnknown")],
        gaps=NO_POLICY,
    )
    status, reason, message = said(seen, "Degraded")
    assert (status, reason) == ("True", "PolicyMissing")
    assert message.endswith(" Also NodesUnhealthy: 1 node is unhealthy: n4 of nebius (NodeUnknown).")


# -- Resilient


def test_free_standby_capacity_is_counted_by_provider() -> None:
    full_nebius = [*RESIDENTS, pod("b", 4, on="n1")]
    assert said(report_on(), "Resilient") == (
        "True",
        "StandbyHasRoom",
        "free accelerators: 4 on nebius, 4 on crusoe.",
    )
    assert said(report_on(pods=full_nebius), "Resilient")[2] == "free accelerators: 4 on crusoe."


def test_a_standby_that_makes_nodes_counts_as_room() -> None:
    grown = pool(provider("aws"), provider("grown", on_demand=True))
    assert said(report_on(grown), "Resilient") == ("True", "StandbyHasRoom", "grown makes nodes on demand.")


def test_room_that_no_running_pod_could_use_is_told_as_room_for_waiting_pods_only() -> None:
    pinned = [pod("old", on="a1", shaped=shape(1, selector={"computepool.io/provider": "aws"}))]
    status, reason, message = said(report_on(pods=pinned), "Resilient")
    assert (status, reason) == ("False", "NoRoomForRunningPods")
    assert message.startswith("free accelerators: 4 on nebius, 4 on crusoe, for other pods only.")


@pytest.mark.parametrize(
    "kept",
    [
        {"allowed": ()},
        {"allowed": ("crusoe",), "shaped": shape(1, selector={"computepool.io/provider": "nebius"})},
        {"shaped": shape(1, unmodelled=("volumes",))},
        {"shaped": shape(8)},
        {"shaped": shape(1, more={"cpu": 65})},
    ],
    ids=["may-not-leave", "pinned-elsewhere", "volumes", "too-large", "processors"],
)
def test_running_pods_without_a_place_on_any_standby_make_no_pool_resilient(kept: dict[str, Any]) -> None:
    old = pod("old", on="a1", **kept)
    assert said(report_on(pods=[old]), "Resilient")[:2] == ("False", "NoRoomForRunningPods")
    # A single pod that could use the room is enough.
    assert said(report_on(pods=[old, RESIDENTS[0]]), "Resilient")[0] == "True"


def test_only_accelerators_that_running_pods_could_use_are_counted() -> None:
    nodes = [*FULL, node("n2", 4, room={"cpu": 1})]
    old = pod("old", on="a1", shaped=shape(1, more={"cpu": 2}))
    assert said(report_on(nodes=nodes, pods=[old]), "Resilient")[2] == "free accelerators: 4 on nebius, 4 on crusoe."


def test_of_a_pool_without_running_pods_the_waiting_pods_count() -> None:
    assert said(report_on(pods=[pod("web", 8)]), "Resilient")[:2] == ("False", "NoStandbyRoom")
    assert said(report_on(pods=[pod("web", 4)]), "Resilient")[0] == "True"


def test_nodes_that_are_made_on_demand_count_only_if_running_pods_may_use_them() -> None:
    grown = pool(provider("aws"), provider("grown", on_demand=True))
    pinned = [pod("old", on="a1", shaped=shape(1, selector={"computepool.io/provider": "aws"}))]
    assert said(report_on(grown, pods=pinned), "Resilient")[1] == "NoRoomForRunningPods"


def test_an_on_demand_standby_whose_taint_no_pod_tolerates_makes_no_pool_resilient() -> None:
    grown = pool(provider("aws"), provider("grown", on_demand=True))
    wrong = node("g1", 4, of="grown", tainted=False, taints=[Taint(PROVIDER_KEY, "groan", "NoSchedule")])
    for pods in ([], RESIDENTS):
        assert said(report_on(grown, [FULL[0], wrong], pods), "Resilient")[:2] == ("False", "NoStandbyRoom")


def test_without_standby_room_the_pool_is_not_resilient() -> None:
    taken = [*RESIDENTS, pod("b", 4, on="n1"), pod("c", 4, on="c1")]
    assert said(report_on(pods=taken), "Resilient")[:2] == ("False", "NoStandbyRoom")


@pytest.mark.parametrize(
    ("limit", "on_demand", "message"),
    [
        (4, False, None),
        (6, False, "free accelerators: 2 on nebius."),
        (4, True, None),
        (6, True, "free accelerators: 2 on nebius; nebius makes nodes on demand."),
    ],
)
def test_room_beyond_the_limit_of_a_standby_is_no_resilience(limit: int, on_demand: bool, message: str | None) -> None:
    of = pool(provider("aws"), provider("nebius", max_accelerators=limit, on_demand=on_demand))
    pods = [*RESIDENTS, pod("b", 4, on="n1", shaped=shape(4))]
    found = said(report_on(of, [node("a1"), node("n1", 8)], pods), "Resilient")
    help_text = Reason.NO_STANDBY_ROOM.help
    assert found == (("False", "NoStandbyRoom", help_text) if message is None else ("True", "StandbyHasRoom", message))


@pytest.mark.parametrize(("gpus", "resilient"), [(4, False), (2, True)])
@pytest.mark.parametrize(("waited", "over"), [(0, False), (61, True)])
def test_a_standby_that_made_no_node_in_time_for_pods_like_the_running_pods_is_no_resilience(
    gpus: int, resilient: bool, waited: float, over: bool
) -> None:
    of = pool(provider("aws"), provider("grown", on_demand=True))
    nodes, pods = [node("a1")], [pod("runs", 4, on="a1", shaped=shape(4))]
    held = HoldOff("grown", Reason.INSUFFICIENT_CAPACITY, digest_of(shape(gpus)), 1, NOW, NOW + 60)
    seen = report_on(of, nodes, pods, now=NOW + waited, state=pool_state(hold_offs=(held,)))
    assert said(seen, "Resilient")[0] == str(resilient or over)


def test_room_that_no_pod_may_have_for_want_of_money_is_no_resilience() -> None:
    priced = pool(provider("aws"), provider("nebius", price="2.50"), budget={"perHour": "0.01"})
    seen = report_on(priced, FULL[:2])
    spent = msgspec.structs.replace(seen, plan=msgspec.structs.replace(seen.plan, exhausted=True))
    assert said(spent, "Resilient") == ("False", "BudgetExhausted", Reason.BUDGET_EXHAUSTED.help)


def test_resilience_is_unknown_where_the_view_is_not_current() -> None:
    assert said(report_on(seen={"stale": "old"}), "Resilient")[:2] == ("Unknown", "CacheStale")


# -- since when


def test_the_time_of_a_condition_moves_only_as_its_status_turns() -> None:
    before = conditions_of(report_on(pods=RESIDENTS[:1]), (), AT)
    later = AT + timedelta(minutes=1)
    same = condition(report_on(pods=[]), "Saturated", before, later)
    assert same.last_transition_time == AT
    assert "0 of 2" in same.message
    turned = condition(report_on(pods=[*RESIDENTS, pod("new")]), "Saturated", before, later)
    assert turned.last_transition_time == later


def test_another_reason_for_the_same_status_keeps_the_time() -> None:
    before = conditions_of(report_on(refused="no"), (), AT)
    other = condition(report_on(gaps=NO_POLICY), "Degraded", before, AT + timedelta(minutes=1))
    assert (other.reason, other.last_transition_time) == ("PolicyMissing", AT)


def test_conditions_carry_the_generation_of_the_spec_they_are_about() -> None:
    edited = pool()
    edited = edited.model_copy(update={"metadata": edited.metadata.model_copy(update={"generation": 7})})
    assert {one.observed_generation for one in conditions_of(report_on(edited), (), AT)} == {7}


def test_a_message_from_the_api_server_of_any_length_is_cut_to_what_a_status_may_hold() -> None:
    assert len(said(report_on(refused="x" * 5000), "Degraded")[2]) == 1024


def test_every_reason_given_is_of_the_closed_set() -> None:
    for one in conditions_of(report_on(), (), AT):
        assert one.reason in {reason.value for reason in Reason}
