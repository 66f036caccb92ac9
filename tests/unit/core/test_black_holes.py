"""Nodes that look ready while pods on them fail at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from computepool.model.cluster import Pod
from computepool.model.reasons import Reason
from computepool.model.snapshot import Failure
from tests.builders import NOW, node, pod, pool
from tests.unit.core.watching import Watch

NODES = [node(f"{letter}{index}") for letter in "anc" for index in range(4)]
ELSEWHERE = [pod("well", on="a2", owner="web", ready=True)]


def failures(count: int, on: str = "a1", owner: str = "web", at: float = 0, *, refused: bool = False) -> list[Failure]:
    """So many pods of an owner that failed on a node."""
    return [Failure(f"uid-{on}-{owner}-{at}-{i}", on, owner, NOW + at, refused) for i in range(count)]


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
