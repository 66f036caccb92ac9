"""Drills on a simulated copy of a cluster: what leaves, when, within which limits, and what is stranded and why."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from computepool.model.api import BreakerState
from computepool.model.cluster import Node, Pod
from computepool.model.labels import Requirement, Selector
from computepool.model.reasons import Reason
from computepool.model.state import recorded_in, restarted
from computepool.observe.disruption_budgets import DisruptionBudget
from computepool.simulate.disruption_budgets import DisruptionBudgets
from computepool.simulate.drill import Course, How, Seed, play
from computepool.simulate.owners import PodTemplate
from computepool.simulate.simulation import Simulation
from tests.builders import NOW, node, pod, pool, provider, shape, standby_toleration

EVERY_POD = Selector(())


def running(name: str, on: str, owner: str = "web", **fields: Any) -> Pod:
    """A pod of a ReplicaSet that has run for a while."""
    return pod(
        name,
        fields.pop("gpus", 1),
        on=on,
        owner=owner,
        owner_kind=fields.pop("owner_kind", "ReplicaSet" if owner else ""),
        ready=True,
        has_run=True,
        started=NOW - 900,
        ready_since=NOW - 880,
        waited=1000,
        **fields,
    )


def seed(nodes: list[Node], pods: list[Pod], *, more: Any = None, **spec: Any) -> Seed:
    made = pool(provider("aws"), provider("nebius"), **spec)
    fields = more or {}
    return Seed(made, tuple(nodes), tuple(pods), NOW, restarted(recorded_in(made)), **fields)


def times(course: Course, name: str) -> list[float]:
    """Every pod's time of that name, in the order of the moves."""
    found = [getattr(fate, name) for fate in course.fates]
    assert None not in found
    return found


def by_name(course: Course) -> dict[str, Any]:
    return {fate.pod.name: fate for fate in course.fates}


# -- a provider that fails


def test_a_lost_provider_is_judged_and_its_pods_are_ready_elsewhere_within_the_limits() -> None:
    limits = {"maxConcurrentMoves": 2, "perMinute": 4}
    pods = [running(f"p{number}", "a1") for number in range(8)]
    course = play(seed([node("a1"), node("n1")], pods, failover=limits), "aws", How.FAILS)
    assert course.stranded == []
    assert not course.unfinished
    assert [(turn.provider, turn.state, turn.reason) for turn in course.turns] == [
        ("aws", BreakerState.OPEN, Reason.PROVIDER_SILENT)
    ]
    # The default of failover.silenceSeconds is 90.
    moved = times(course, "moved_at")
    assert 90 <= moved[0] < 95
    assert moved[4] >= moved[0] + 60
    assert all(later - first >= 60 for first, later in zip(moved, moved[4:], strict=False))
    assert {fate.runs_on for fate in course.fates} == {"nebius"}
    assert course.served_after == max(times(course, "ready_at"))


def test_pods_that_fit_nowhere_are_stranded_and_each_provider_says_why() -> None:
    pods = [running("big", "a1", gpus=6), running("bare", "a1", owner="", gpus=1)]
    course = play(seed([node("a1"), node("n1", 4)], pods), "aws", How.FAILS)
    fates = by_name(course)
    assert fates["big"].stays is Reason.WOULD_STRAND
    assert dict(fates["big"].rejected)["nebius"] is Reason.TOO_LARGE
    assert fates["bare"].stays is Reason.NOT_MOVABLE
    assert {fate.pod.name for fate in course.stranded} == {"big", "bare"}


def test_the_pods_of_a_daemon_set_and_those_of_another_pool_are_not_counted() -> None:
    pods = [
        running("web", "a1"),
        running("agent", "a1", owner_kind="DaemonSet"),
        running("other", "a1", namespace="other"),
    ]
    only_default = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}}
    course = play(seed([node("a1"), node("n1")], pods, workloads=only_default), "aws", How.FAILS)
    assert list(by_name(course)) == ["web"]
    assert course.stranded == []


def test_if_every_node_of_the_cluster_falls_silent_the_operator_does_nothing_and_says_so() -> None:
    made = pool(provider("aws"), provider("nebius"))
    nodes = (node("a1"), node("a2"))
    course = play(Seed(made, nodes, (running("p", "a1"),), NOW, restarted(recorded_in(made))), "aws", How.FAILS)
    assert [fate.pod.name for fate in course.stranded] == ["p"]
    assert "heartbeats of all 2 nodes have stopped" in course.halted


def test_a_pod_that_was_sent_to_a_standby_is_made_again_as_its_owner_makes_it() -> None:
    pods = [running("p", "n1", sent=[("nebius", NOW - 950)])]
    course = play(seed([node("a1", 8), node("n1")], pods), "nebius", How.FAILS)
    (fate,) = course.fates
    assert (fate.target, fate.runs_on) == ("aws", "aws")
    assert fate.pod.shape.tolerations == (standby_toleration("nebius"),)


def test_the_time_that_pods_take_to_start_is_counted() -> None:
    pods = [running("p", "a1")]
    at_once = play(seed([node("a1"), node("n1")], pods), "aws", How.FAILS)
    slow = play(seed([node("a1"), node("n1")], pods, more={"start_seconds": 45.0}), "aws", How.FAILS)
    assert at_once.served_after is not None
    assert slow.served_after == pytest.approx(at_once.served_after + 45, abs=3)


# -- a drain


def test_a_drain_moves_pods_one_owner_at_a_time_and_needs_no_silence() -> None:
    pods = [running(f"p{number}", "a1") for number in range(3)]
    course = play(seed([node("a1"), node("n1")], pods), "aws", How.DRAIN)
    assert course.stranded == []
    assert [(turn.at, turn.reason) for turn in course.turns] == [(0.0, Reason.DRAINED)]
    moved = times(course, "moved_at")
    assert moved[0] < 5
    assert moved == sorted(moved)
    assert len(set(moved)) == 3


def test_a_disruption_budget_holds_until_replacements_are_ready() -> None:
    budget = DisruptionBudget("default", "web", EVERY_POD, desired=3)
    pods = [running(f"p{number}", "a1", owner=f"web-{number}") for number in range(4)]
    how = {"budgets": (budget,), "start_seconds": 20.0}
    course = play(seed([node("a1"), node("n1")], pods, more=how), "aws", How.DRAIN)
    assert course.stranded == []
    assert course.refusals["default/web"] > 0
    events = sorted(zip(times(course, "moved_at"), times(course, "ready_at"), strict=True))
    assert all(ready <= leaves for (_, ready), (leaves, _) in pairwise(events))


def test_a_disruption_budget_that_allows_nothing_strands_all() -> None:
    budget = DisruptionBudget("default", "web", EVERY_POD, desired=2)
    pods = [running(f"p{number}", "a1", owner=f"web-{number}") for number in range(2)]
    course = play(seed([node("a1"), node("n1")], pods, more={"budgets": (budget,)}), "aws", How.DRAIN)
    assert len(course.stranded) == 2
    assert course.refusals["default/web"] > 2


# -- budgets, as the API server decides


@pytest.mark.parametrize(
    ("ready", "desired", "always", "refused"),
    [
        (True, 1, False, False),
        (True, 2, False, True),
        (False, 1, False, False),
        (False, 2, False, True),
        (False, 2, True, False),
        (False, 0, False, False),
    ],
)
def test_evictions_are_refused_as_the_api_server_refuses_them(
    ready: bool, desired: int, always: bool, refused: bool
) -> None:
    budget = DisruptionBudget("default", "web", EVERY_POD, desired=desired, always_unready=always)
    one = running("one", "a1", owner="a")
    two = msgspec.structs.replace(running("two", "a1", owner="b"), ready=ready)
    course_seed = seed([node("a1"), node("n1")], [one, two])
    simulation = Simulation(course_seed.pool, course_seed.nodes, NOW)
    budgets = DisruptionBudgets(simulation.cluster, [budget])
    for each in (one, two):
        simulation.cluster.adopt_pod(each)
    # With `two` Ready there are two Ready pods, else one.
    assert budgets.refuses(two) is refused
    assert budgets.refused["default/web"] == int(refused)


def test_a_pod_of_two_budgets_is_never_evicted_and_one_of_another_namespace_always() -> None:
    simulation = Simulation(pool(provider("aws"), provider("nebius")), [node("a1")], NOW)
    only = Selector((Requirement("app", "In", ("web",)),))
    budgets = DisruptionBudgets(
        simulation.cluster,
        [DisruptionBudget("default", "a", EVERY_POD), DisruptionBudget("default", "b", only)],
    )
    web, bare = running("web", "a1", labels={"app": "web"}), running("bare", "a1", namespace="elsewhere")
    for each in (web, bare):
        simulation.cluster.adopt_pod(each)
    assert budgets.refuses(web)
    assert not budgets.refuses(bare)
    assert dict(budgets.refused) == {"default/a": 1, "default/b": 1}


# -- what a drill strands is what the simulated operator strands


@settings(max_examples=40, deadline=None)
@given(
    aws=st.lists(st.sampled_from([2, 4, 8]), min_size=1, max_size=3),
    nebius=st.lists(st.sampled_from([1, 2, 4, 8]), min_size=1, max_size=3),
    sizes=st.lists(st.sampled_from([1, 1, 2, 4]), min_size=1, max_size=6),
)
def test_a_drill_strands_as_many_accelerators_as_the_simulated_operator_strands(
    aws: list[int], nebius: list[int], sizes: list[int]
) -> None:
    made = pool(provider("aws"), provider("nebius"), admission="Off", pending=0)
    nodes = [node(f"a{at}", gpus) for at, gpus in enumerate(aws)] + [node(f"n{at}", g) for at, g in enumerate(nebius)]
    live = Simulation(made, nodes, NOW)
    for size in sizes:
        live.clock.advance(3)
        live.owners.create(PodTemplate(shape(size)), 1)
    live.settle()
    live.wait(900)
    copy = live.cluster
    drilled = play(
        Seed(
            copy.pool,
            tuple(copy.nodes.values()),
            tuple(copy.pods.values()),
            live.clock.now,
            live.operator.state,
        ),
        "aws",
        How.FAILS,
    )
    lineages = {pod.uid: live.owners.lineage[pod.uid] for pod in copy.pods_on("aws")}
    for name, each in list(copy.nodes.items()):
        if copy.provider_of(each.name) == "aws":
            copy.update_node(name, ready="Unknown")
    live.run(900)
    served = {
        live.owners.lineage[one.uid]
        for one in copy.pods.values()
        if one.node and one.ready and copy.provider_of(one.node) != "aws"
    }
    assert {lineages[fate.pod.uid] for fate in drilled.stranded} == set(lineages.values()) - served


def test_each_of_many_stranded_pods_has_its_own_reason() -> None:
    fields: tuple[dict[str, Any], ...] = ({}, {"movable": False}, {"owner_kind": "Job"})
    pods = [running(f"p{number}", f"a{number % 40}", **fields[number % 3]) for number in range(300)]
    nodes = [*(node(f"a{number}") for number in range(40)), node("n1", 0), node("n2", 8, cordoned=True)]
    course = play(seed(nodes, pods), "aws", How.DRAIN)
    assert len(course.stranded) == 300
    wanted = (Reason.WOULD_STRAND, Reason.NOT_MOVABLE, Reason.NOT_MOVABLE)
    assert {fate.pod.name: fate.stays for fate in course.stranded} == {
        one.name: wanted[number % 3] for number, one in enumerate(pods)
    }
