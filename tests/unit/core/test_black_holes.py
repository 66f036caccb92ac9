"""Nodes that look ready while pods on them fail at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from computepool.model.cluster import Pod, Shape
from computepool.model.reasons import Reason
from computepool.model.snapshot import Failure
from tests.builders import NOW, node, pod, pool, shape, standby_toleration, with_tolerations
from tests.unit.core.watching import Watch

NODES = [node(f"{letter}{index}") for letter in "anc" for index in range(4)]
ELSEWHERE = [pod("well", on="a2", owner="web", ready=True)]


def failures(
    count: int,
    on: str = "a1",
    owner: str = "web",
    at: float = 0,
    *,
    refused: bool = False,
    shaped: Shape | None = None,
    **fields: Any,
) -> list[Failure]:
    """So many pods of an owner that failed on a node. They request one accelerator unless told."""
    asked = shaped or shape()
    return [
        Failure(f"uid-{on}-{owner}-{at}-{i}", on, owner, NOW + at, refused, shape=asked, **fields) for i in range(count)
    ]


def black(seen: Sequence[Failure], pods: Sequence[Pod] = (), now: float = 0, **rules: Any) -> list[str]:
    """The nodes that are unhealthy for it."""
    watch = Watch(pool(health={"blackHoles": {"pods": 3, "windowSeconds": 300, **rules}}))
    watch.see(now, NODES, pods, failures=tuple(seen))
    assert all(fault.reason is Reason.BLACK_HOLE for fault in watch.state.memory.node_faults.values())
    return sorted(watch.state.memory.node_faults)


@pytest.mark.parametrize(("count", "unhealthy"), [(2, []), (3, ["a1"]), (7, ["a1"])])
def test_so_many_pods_that_the_kubelet_refused_make_their_node_unhealthy_at_once(
    count: int, unhealthy: list[str]
) -> None:
    assert black(failures(count, refused=True)) == unhealthy


def test_the_same_pod_counts_once() -> None:
    assert black(failures(1, refused=True) * 5) == []


def test_pods_are_counted_for_the_window_only() -> None:
    seen = [*failures(2, at=-299, refused=True), *failures(1, at=0, refused=True)]
    assert black(seen) == ["a1"]
    assert black(seen, now=1) == []


def test_a_black_hole_is_looked_at_when_the_next_of_its_pods_is_too_old() -> None:
    watch = Watch(pool())
    found = watch.see(0, NODES, failures=tuple(failures(3, at=-100, refused=True)))
    assert found.recheck_at == NOW + 200


def test_a_black_hole_is_unhealthy_until_clear_seconds_passed_without_a_failure() -> None:
    watch = Watch(pool(health={"clearSeconds": 120}))
    seen = tuple(failures(3, refused=True))
    for now, unhealthy in ((0, True), (300, True), (419, True), (420, False)):
        watch.see(now, NODES, failures=seen)
        assert ("a1" in watch.unhealthy()) is unhealthy


def test_pods_whose_containers_do_not_start_count_where_others_of_the_workload_run_elsewhere() -> None:
    assert black(failures(3), ELSEWHERE) == ["a1"]
    assert black(failures(3)) == []
    assert black(failures(3), [pod("same node", on="a1", owner="web", ready=True)]) == []
    assert black(failures(3), [pod("not ready", on="a2", owner="web")]) == []
    assert black(failures(3), [pod("other workload", on="a2", owner="batch", ready=True)]) == []


def test_a_workload_that_fails_wherever_it_is_tried_blames_no_node() -> None:
    everywhere = [*failures(3, "a1", refused=True), *failures(3, "n1", refused=True)]
    assert black(everywhere) == []
    assert black(everywhere, ELSEWHERE) == ["a1", "n1"]


def test_a_provider_that_refuses_everything_is_to_blame() -> None:
    seen = [
        failure for on in ("n1", "n2") for owner in ("web", "batch") for failure in failures(2, on, owner, refused=True)
    ]
    assert black(seen) == ["n1", "n2"]


def test_one_workload_that_several_nodes_refuse_and_that_runs_nowhere_does_not_empty_its_provider() -> None:
    everywhere = [failure for on in ("a0", "a1", "a2", "a3") for failure in failures(3, on, refused=True)]
    assert black(everywhere) == []
    # It says something of the node that refused others as well.
    assert black([*everywhere, *failures(1, "a1", "batch", refused=True)]) == ["a1"]
    assert black([*everywhere, *failures(1, "a1", "", refused=True)]) == ["a1"]
    # Containers of others that do not start there are no refusal.
    assert black([*everywhere, *failures(1, "a1", "batch")]) == []


def test_pods_of_several_workloads_count_together() -> None:
    seen = [*failures(2, owner="web"), *failures(1, owner="batch", refused=True)]
    assert black(seen, ELSEWHERE) == ["a1"]


def test_pods_without_an_owner_count_only_if_they_were_refused() -> None:
    assert black([*failures(3, "a1", owner="", refused=True), *failures(3, "n1", owner="", refused=True)]) == [
        "a1",
        "n1",
    ]
    assert black(failures(3, owner=""), [pod("bare", on="a2", ready=True)]) == []


def test_nodes_of_no_provider_are_not_looked_at() -> None:
    assert black(failures(3, "z9", refused=True)) == []


def test_none_is_looked_for_where_the_spec_says_so() -> None:
    watch = Watch(pool(health={"blackHoles": {"pods": 0}}))
    watch.see(0, NODES, failures=tuple(failures(9, refused=True)))
    assert dict(watch.state.memory.node_faults) == {}


# -- a node that starts pods is no black hole


def runs(owner: str = "other", *, since: float | None = -1000, on: str = "a1", gpus: int = 1, **fields: Any) -> Pod:
    """A pod that has been ready on a node since so many seconds after NOW."""
    ready_since = None if since is None else NOW + since
    return pod(f"ready-{owner}-{on}", gpus, on=on, owner=owner, ready=True, ready_since=ready_since, **fields)


@pytest.mark.parametrize("owner", ["other", "web"])
def test_a_node_on_which_a_pod_became_ready_since_they_failed_is_no_black_hole(owner: str) -> None:
    assert black(failures(5, refused=True), [runs(owner, since=1)], now=2) == []
    assert black(failures(5, refused=True), [runs(owner, since=-1)], now=2) == ["a1"]


def test_only_failures_since_a_pod_became_ready_count() -> None:
    seen = [*failures(3, at=0, refused=True), *failures(2, at=20, refused=True)]
    assert black(seen, [runs(since=10)], now=30) == []
    assert black([*seen, *failures(1, at=25, refused=True)], [runs(since=10)], now=30) == ["a1"]


def test_containers_that_do_not_start_fail_since_they_began_to_and_not_since_they_were_seen_last() -> None:
    seen = failures(3, at=100, began=NOW)
    assert black(seen, [*ELSEWHERE, runs("web", since=50)], now=101) == []
    assert black(seen, [*ELSEWHERE, runs("web", since=-50)], now=101) == ["a1"]


def test_a_pod_that_fails_itself_an_agent_and_a_pod_of_unknown_age_show_nothing() -> None:
    flapping = runs(since=1, uid=failures(1)[0].uid)
    assert black(failures(3, refused=True), [flapping], now=2) == ["a1"]
    assert black(failures(3, refused=True), [runs("agent", since=1, gpus=0)], now=2) == ["a1"]
    assert black(failures(3, refused=True), [runs(since=None)], now=2) == ["a1"]
    assert black(failures(3, refused=True), [runs(since=1, on="a2")], now=2) == ["a1"]


# -- the fault may be the workload's own


def test_a_workload_that_crashes_convicts_no_node_where_other_workloads_run() -> None:
    assert black(failures(9), [*ELSEWHERE, runs("llm")]) == []
    assert black([*failures(9), *failures(9, owner="batch")], [*ELSEWHERE, runs("batch", on="a3"), runs("llm")]) == []
    assert black(failures(9), [*ELSEWHERE, runs("agent", gpus=0)]) == ["a1"]
    assert black(failures(9), [*ELSEWHERE, pod("not ready", on="a1", owner="llm")]) == ["a1"]


def test_a_virtual_kubelet_that_refuses_may_mean_the_pod_and_a_kubelet_that_refuses_means_the_node() -> None:
    assert black(failures(3, refused=True, unclear=True)) == ["a1"]
    assert black(failures(3, refused=True, unclear=True), [runs("llm")]) == []
    assert black(failures(3, refused=True), [runs("llm")]) == ["a1"]


@pytest.mark.parametrize(
    ("ready", "same"),
    [
        (pod("sent", on="a2", owner="web", ready=True, sent=[("nebius", NOW)]), True),
        (pod("same labels", on="a2", owner="web", ready=True, labels={"role": "worker"}), True),
        (pod("head", on="a2", owner="web", ready=True, labels={"role": "head"}), False),
        (pod("larger", 2, on="a2", owner="web", ready=True, labels={"role": "worker"}), False),
        (
            pod("pinned", on="a2", owner="web", ready=True, shaped=shape(selector={"zone": "a"})),
            False,
        ),
    ],
    ids=lambda value: value.name if isinstance(value, Pod) else str(value),
)
def test_a_pod_that_runs_elsewhere_says_nothing_about_others_of_its_owner_that_have_other_terms(
    ready: Pod, same: bool
) -> None:
    """A tolerance and the label of a burst are the operator's own, and change no terms."""
    labels = {key: value for key, value in ready.labels.items() if key == "role"} and {"role": "worker"}
    tolerating = with_tolerations(shape(), standby_toleration("nebius"))
    assert black(failures(3, shaped=tolerating, labels=labels), [ready]) == (["a1"] if same else [])


def test_each_member_of_an_indexed_workload_has_terms_of_its_own() -> None:
    index = "batch.kubernetes.io/job-completion-index"
    crashed = [failure for i in (1, 2, 3) for failure in failures(1, at=-i, labels={index: str(i)})]
    assert black(crashed, [pod("w-0", on="a2", owner="web", ready=True, labels={index: "0"})]) == []


def test_a_kubelets_refusal_does_not_depend_on_arguments() -> None:
    everywhere = [
        failure for on in ("a1", "n1") for failure in failures(3, on, refused=True, labels={"role": "worker"})
    ]
    head = pod("head", on="a2", owner="web", ready=True, labels={"role": "head"})
    assert black(everywhere, [head]) == ["a1", "n1"]
    larger = pod("head", 2, on="a2", owner="web", ready=True)
    assert black(everywhere, [larger]) == []


@pytest.mark.parametrize(
    "shaped", [shape(9), shape(selector={"zone": "a"}), shape(more={"example.com/fpga": 1})], ids=str
)
def test_a_pod_that_its_user_has_bound_to_a_node_where_it_never_fits_says_nothing_about_the_node(shaped: Shape) -> None:
    assert black(failures(5, owner="", refused=True, shaped=shaped)) == []
    assert black(failures(5, owner="", refused=True)) == ["a1"]
