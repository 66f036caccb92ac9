"""What is seen of the pods during a live drill, and when there is nothing more to see."""

from __future__ import annotations

from typing import Any

import msgspec

from computepool.cli.drill_watch import NO_REPLACEMENT_SECONDS, Watched
from computepool.model.cluster import Pod
from tests.builders import NOW, pod
from tests.unit.cli.drilling import fate


def replacement(name: str, owner: str, on: str = "n1", **fields: Any) -> Pod:
    made = pod(name, on=on, owner=owner, owner_kind="ReplicaSet", ready=True, created=NOW + 10)
    return msgspec.structs.replace(made, **fields)


def test_each_pod_that_left_is_matched_with_one_new_ready_pod_of_its_owner_elsewhere() -> None:
    fates = [fate("w1", "web"), fate("w2", "web"), fate("b1", "batch")]
    there = [each.pod for each in fates]
    other = replacement("old", "web", created=NOW - 100)
    watched = Watched(fates, [*there, other], ["a1"])
    assert watched.see([*there, other], 1.0) == []
    # w1 has left. The pod that was there before is no replacement, nor is one that is not Ready, or on the provider.
    pods = [*there[1:], other, replacement("x", "web", ready=False), replacement("y", "web", on="a1")]
    assert watched.see(pods, 2.0) == []
    news = watched.see([*pods, replacement("z", "web")], 3.0)
    assert [(real.fate.pod.name, real.left_at, real.ready_at) for real in news] == [("w1", 2.0, 3.0)]
    assert watched.see([*pods, replacement("z", "web")], 4.0) == []
    assert watched.end is None
    last = [replacement("z", "web"), replacement("v", "web"), replacement("c", "batch")]
    assert {real.fate.pod.name for real in watched.see(last, 5.0)} == {"w2", "b1"}
    assert watched.end is not None
    assert watched.end.well


def test_a_further_replica_that_was_made_before_the_pod_left_replaces_nothing() -> None:
    one = fate("w1", "web")
    watched = Watched([one], [one.pod], ["a1"])
    assert watched.see([one.pod, replacement("more", "web")], 1.0) == []
    assert watched.see([replacement("more", "web"), replacement("new", "web", ready=False)], 60.0) == []
    assert watched.end is None
    assert len(watched.see([replacement("more", "web"), replacement("new", "web")], 61.0)) == 1


def test_a_pod_whose_owner_makes_no_other_has_ended_by_itself() -> None:
    """A rolling update has another owner, a complete Job and a smaller Deployment want no other pod."""
    gone, moved = fate("w1", "old"), fate("w2", "web")
    watched = Watched([gone, moved], [gone.pod, moved.pod], ["a1"])
    new = replacement("n", "new")
    watched.see([new, replacement("z", "web")], 1.0)
    assert watched.end is None
    watched.see([new, replacement("z", "web")], 1.0 + NO_REPLACEMENT_SECONDS)
    assert watched.end is not None
    assert watched.end.why == "1 pod ended, and no other pod was made in place of them."
    assert not watched.end.well


def test_a_pod_that_is_late_is_no_pod_that_was_never_made() -> None:
    one = fate("w1", "web")
    watched = Watched([one], [one.pod], ["a1"])
    late = replacement("late", "web", ready=False)
    for seconds in (1.0, 30.0, 600.0):
        watched.see([late], seconds)
        assert watched.end is None
    assert len(watched.see([replacement("late", "web")], 601.0)) == 1


def test_pods_that_were_planned_to_be_stranded_are_not_waited_for() -> None:
    watched = Watched([fate("w1", "web"), fate("s1", "stuck", stays=True)], [], ["a1"])
    watched.see([fate("s1", "stuck").pod, replacement("z", "web")], 2.0)
    assert watched.end is not None
    assert watched.end.well
