"""What a waiting pod is told: the reason, each rejection, and what would help."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from computepool.assess.demand.overflow import Hold
from computepool.model.cluster import Node, Pod
from computepool.model.labels import Requirement
from computepool.model.reasons import Reason
from computepool.model.taints import Taint
from computepool.report.pass_report import PassReport
from computepool.report.waiting import MAX_PIN, event_reason, waiting_note
from tests.builders import MINUTE, NOW, node, pod, pool, pool_state, provider, shape, term
from tests.unit.core.moving import opened
from tests.unit.report.passes import report_on

AWS, NEBIUS, CRUSOE = provider("aws"), provider("nebius"), provider("crusoe")
NODES = [node("a1", 2), node("n1", 4), node("c1", 4)]
FULL = (pod("a", 2, on="a1"), pod("n", 4, on="n1"), pod("c", 4, on="c1"))


def told(waiting: Pod, *, beside: Sequence[Pod] = FULL, **options: Any) -> tuple[Reason, str]:
    """The reason and the note of the event about a pod."""
    report, hold = held(waiting, beside=beside, **options)
    return event_reason(hold), waiting_note(report, hold)


def held(
    waiting: Pod, *, beside: Sequence[Pod] = FULL, providers: Any = (), nodes: Sequence[Node] = NODES, **options: Any
) -> tuple[PassReport, Hold]:
    state, seen = options.pop("state", None), options.pop("seen", None)
    report = report_on(pool(*providers, **options), nodes, [*beside, waiting], state=state, seen=seen)
    (hold,) = [hold for hold in report.plan.holds if hold.pod.uid == waiting.uid]
    return report, hold


def test_a_full_pool_says_how_much_is_free_where() -> None:
    assert told(pod("w")) == (
        Reason.NO_ROOM,
        "No provider of the pool can take the pod now. aws: full (0 of 2 accelerators free), nebius: full (0 of 4 "
        "accelerators free), crusoe: full (0 of 4 accelerators free). The pod runs once other pods end, or nodes join, "
        "on aws, nebius, crusoe.",
    )


def test_free_accelerators_that_are_too_few_or_too_scattered_are_not_called_full() -> None:
    _, note = told(pod("w", 2), beside=[FULL[0], pod("n", 3, on="n1"), FULL[2]])
    assert "nebius: no node has room for the pod (1 of 4 accelerators free)" in note


def test_a_limit_is_named_with_its_field() -> None:
    reason, note = told(
        pod("w"), providers=(AWS, provider("nebius", max_accelerators=4)), nodes=[NODES[0], node("n1", 8)]
    )
    assert reason is Reason.AT_MAX_ACCELERATORS
    assert "nebius: the pool may use 4 accelerators there (capacity.maxAccelerators)." in note
    assert "A higher capacity.maxAccelerators of nebius would let the pod go there." in note


@pytest.mark.parametrize(
    ("waiting", "size"),
    [(pod("w"), 4), (pod("w", 16), 16), (pod("w", shaped=shape(1, selector={"zone": "z"})), 8)],
    ids=["full", "too large for what is free", "pinned to other nodes"],
)
def test_a_higher_limit_that_would_not_help_is_not_proposed(waiting: Pod, size: int) -> None:
    home = node("a1", 2, labels={"zone": "z"})
    _, note = told(waiting, providers=(AWS, provider("nebius", max_accelerators=4)), nodes=[home, node("n1", size)])
    assert "nebius: the pool may use 4 accelerators there (capacity.maxAccelerators)." in note
    assert "A higher capacity.maxAccelerators" not in note


def test_a_higher_limit_that_the_budget_does_not_cover_is_not_proposed() -> None:
    limited = (AWS, provider("nebius", max_accelerators=4, price="2"))
    _, note = told(pod("w"), providers=limited, nodes=[NODES[0], node("n1", 8)], budget={"perHour": "9"})
    assert "A higher capacity.maxAccelerators" not in note
    _, note = told(pod("w"), providers=limited, nodes=[NODES[0], node("n1", 8)], budget={"perHour": "10"})
    assert "A higher capacity.maxAccelerators of nebius would let the pod go there." in note


def test_nodes_that_offer_no_accelerators_are_not_called_full() -> None:
    _, note = told(pod("w"), beside=[FULL[0]], providers=(AWS, NEBIUS), nodes=[NODES[0], node("n1", 0)])
    assert "nebius: none of its nodes offers the pool accelerators now." in note
    assert "The pod runs once other pods end, or nodes join, on aws." in note


PRICED = (AWS, provider("nebius", price="2"))


@pytest.mark.parametrize(
    ("budget", "says"),
    [
        (
            {"perHour": "9"},
            "The budget per hour does not cover the pod, which costs 2.00 an hour: pods on standbys cost 8.00 of 9. "
            "Pods wait until other pods there end, or raise spec.budget.perHour.",
        ),
        (
            {"perDay": "9"},
            "The budget per day does not cover the pod: 0.00 of 9 are spent, and pods on standbys cost 8.00 an hour. "
            "Pods wait until other pods there end, or raise spec.budget.perDay.",
        ),
        (
            {"perHour": "1"},
            "The pod alone costs 2.00 an hour, more than the budget per hour of 1: raise spec.budget.perHour.",
        ),
        (
            {"perDay": "1.5"},
            "The pod alone costs 2.00 an hour, more than the budget per day of 1.5: raise spec.budget.perDay.",
        ),
        ({"perHour": "9", "perDay": "1"}, "more than the budget per day of 1: raise spec.budget.perDay."),
        ({"perHour": "9", "perDay": "100"}, "The budget per hour does not cover the pod"),
        ({"perHour": "100", "perDay": "9"}, "The budget per day does not cover the pod"),
    ],
    ids=[
        "hour",
        "day",
        "the pod alone, hour",
        "the pod alone, day",
        "the pod alone, both",
        "the hour is smaller",
        "the day is smaller",
    ],
)
def test_a_budget_is_told_with_its_amounts_and_its_end(budget: dict[str, str], says: str) -> None:
    nodes = [NODES[0], node("n1", 8)]
    reason, note = told(pod("w"), providers=PRICED, nodes=nodes, budget=budget)
    assert reason is Reason.BUDGET_EXHAUSTED
    assert says in note


def test_a_day_that_is_spent_says_so() -> None:
    spent = {"day": "2027-01-15", "spent": "2000.12", "time": "2027-01-15T08:00:00Z"}
    reason, note = told(
        pod("w"),
        beside=FULL[:1],
        providers=PRICED,
        nodes=NODES[:2],
        budget={"perDay": "2000"},
        status={"budget": spent},
    )
    assert reason is Reason.BUDGET_EXHAUSTED
    assert "The budget per day is spent: 2000.12 of 2000. Pods wait until midnight UTC, or raise" in note


def test_money_is_the_reason_where_only_money_is_missing() -> None:
    nodes = [NODES[0], node("n1", 8), NODES[2]]
    reason, _ = told(
        pod("w"), providers=(*PRICED, provider("crusoe", price="1")), nodes=nodes, budget={"perHour": "13"}
    )
    assert reason is Reason.BUDGET_EXHAUSTED


def test_an_allow_list_is_named() -> None:
    reason, note = told(pod("w", allowed=("nebius",)))
    assert reason is Reason.NO_PROVIDER_LEFT
    assert "crusoe: the pod's annotation computepool.io/providers does not list it" in note
    assert (
        "To let the pod go to crusoe, add this name to its annotation computepool.io/providers, or remove the "
        "annotation."
    ) in note


def test_a_pod_that_never_leaves_the_primary_is_told_how_it_could() -> None:
    _, note = told(pod("w", allowed=()))
    assert "To let the pod go to nebius, crusoe, add these names to its annotation computepool.io/providers" in note


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (shape(1, selector={"computepool.io/provider": "aws"}), "nodeSelector computepool.io/provider=aws"),
        (
            shape(1, selector={"zone": "z", "computepool.io/provider": "aws"}),
            "nodeSelector computepool.io/provider=aws",
        ),
        (shape(1, selector={"zone": "z" * 200}), f"nodeSelector zone={'z' * (MAX_PIN - 6)}…"),
    ],
    ids=["one label", "the label that excludes", "a long value"],
)
def test_a_pinned_pod_is_told_by_which_label(wanted: Any, says: str) -> None:
    nodes = [
        node("a1", 2, labels={"zone": "z"}),
        node("n1", 4, labels={"zone": "z"}),
        node("c1", 4, labels={"zone": "z"}),
    ]
    reason, note = told(pod("w", shaped=wanted), nodes=nodes)
    assert reason is Reason.PINNED
    assert f"nebius: excluded by the pod's {says}" in note
    assert f"Pinned by its {says}." in note


def test_a_node_affinity_is_told_with_its_terms() -> None:
    zone = term(Requirement("computepool.io/provider", "In", ("aws", "gcp")), Requirement("gpu", "DoesNotExist"))
    _, note = told(pod("w", shaped=shape(1, affinity=[zone])))
    assert "Pinned by its required node affinity." in note
    assert "The node affinity asks for computepool.io/provider In (aws, gcp), gpu DoesNotExist." in note


def test_a_provider_without_nodes_is_excluded_by_its_own_selector() -> None:
    grows = (AWS, provider("nebius", on_demand=True))
    _, note = told(
        pod("w", shaped=shape(1, selector={"computepool.io/provider": "aws"})), providers=grows, nodes=NODES[:1]
    )
    assert "nebius: excluded by the pod's nodeSelector computepool.io/provider=aws." in note


@pytest.mark.parametrize("labels", [{}, {"kueue.x-k8s.io/podset": "main"}], ids=["by itself", "by Kueue"])
def test_a_flavor_of_kueue_is_named_as_the_pin(labels: dict[str, str]) -> None:
    _, note = told(pod("w", shaped=shape(1, selector={"computepool.io/provider": "aws"}), labels=labels))
    assert ("probably those of the flavor that Kueue has chosen" in note) == bool(labels)


def test_a_taint_is_named() -> None:
    tainted = node("n1", 4, taints=[Taint("team", "other", "NoSchedule")])
    _, note = told(pod("w"), nodes=[NODES[0], tainted, NODES[2]])
    assert "nebius: the pod does not tolerate the taint team=other:NoSchedule" in note
    assert (
        "To let the pod go to nebius, add a toleration of team=other:NoSchedule to the pod, or to the provider's "
        "tolerations in the pool."
    ) in note


def test_providers_with_the_same_taints_share_a_sentence() -> None:
    both = [Taint("team", "other", "NoSchedule"), Taint("spot", "", "NoExecute")]
    _, note = told(pod("w"), nodes=[NODES[0], node("n1", 4, taints=both), node("c1", 4, taints=both)])
    assert "To let the pod go to nebius, crusoe, add tolerations of spot:NoExecute, team=other:NoSchedule to" in note


def test_the_pool_has_no_tolerations_for_the_primary() -> None:
    mine = node("a1", 2, taints=[Taint("team", "mine", "NoSchedule")])
    _, note = told(pod("w"), nodes=[mine, *NODES[1:]], beside=FULL[1:])
    assert "To let the pod go to aws, add a toleration of team=mine:NoSchedule to the pod." in note


def test_a_taint_of_nodes_that_the_pod_excludes_itself_is_not_named() -> None:
    mine = node("n1", 4, labels={"zone": "z"}, taints=[Taint("mine", "", "NoSchedule")])
    theirs = node("n2", 4, taints=[Taint("theirs", "", "NoSchedule")])
    waiting = pod("w", shaped=shape(1, selector={"zone": "z"}))
    _, note = told(waiting, beside=[FULL[0]], providers=(AWS, NEBIUS), nodes=[NODES[0], mine, theirs])
    assert "nebius: the pod does not tolerate the taint mine:NoSchedule." in note


def test_a_pod_that_is_too_large_and_a_failed_provider_are_told_apart() -> None:
    state = pool_state(breakers={"crusoe": opened()})
    _, note = told(pod("w", 5), state=state, nodes=[node("a1", 2), node("n1", 4), node("c1", 8)])
    assert "aws: its largest node has 2 accelerators" in note
    assert "The pod requests 5 accelerators: request less of what is scarce, or add larger nodes." in note
    assert "crusoe: it has failed or is drained" in note


def test_a_pod_that_is_too_large_for_every_node_is_not_told_to_wait() -> None:
    reason, note = told(pod("w", shaped=shape(1, more={"cpu": 1_000_000})))
    assert reason is Reason.TOO_LARGE
    assert note.startswith("No provider of the pool can take the pod. aws: none of its nodes is large enough")


def test_a_scheduler_that_binds_no_pod_is_named() -> None:
    reason, note = told(pod("w", shaped=shape(1, scheduler="volcano"), waited=10 * MINUTE))
    assert reason is Reason.SCHEDULER_ABSENT
    assert note.startswith("The pod waits for the scheduler 'volcano'.")


def test_constraints_that_fit_does_not_model_are_named_where_the_scheduler_refused_a_place() -> None:
    constrained = shape(1, unmodelled=["volumes", "hostPorts"])
    waiting = pod("w", shaped=constrained, sent=[("nebius", NOW - 300)], unschedulable=True, waited=600)
    state = pool_state(fitting={(waiting.uid, "nebius"): NOW - 300})
    reason, note = told(waiting, beside=[FULL[0]], providers=(AWS, NEBIUS), nodes=NODES[:2], state=state)
    assert reason is Reason.NOT_BOUND_IN_TIME
    assert "Not looked at: the pod's volumes, hostPorts. A volume may pin it to another provider." in note


def test_a_scheduler_that_has_not_looked_at_the_pod_is_the_reason() -> None:
    waiting = pod("w", sent=[("nebius", NOW - 300)], waited=600)
    state = pool_state(fitting={(waiting.uid, "nebius"): NOW - 300})
    reason, note = told(waiting, beside=[FULL[0]], providers=(AWS, NEBIUS), nodes=NODES[:2], state=state)
    assert reason is Reason.SCHEDULER_SILENT
    assert note.startswith("The pod waits for the scheduler 'default-scheduler'.")


def test_a_note_about_many_providers_stays_short() -> None:
    many = [provider(f"p{index}", labels={"of": str(index)}) for index in range(15)]
    nodes = [node("a1", 2), *(node(f"x{i}", 1, of=f"p{i}", labels={"of": str(i)}) for i in range(15))]
    holders = [pod(f"h{i}", on=f"x{i}") for i in range(15)]
    _, note = told(pod("w"), providers=(AWS, *many), nodes=nodes, beside=[FULL[0], *holders])
    assert "and 12 more." in note
    assert len(note.encode()) < 1024
