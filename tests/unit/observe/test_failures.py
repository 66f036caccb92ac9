"""Pods that failed at once: which count, where, and for how long."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from computepool.model.snapshot import Failure
from computepool.observe.decode import Records
from computepool.observe.failures import (
    PER_NODE,
    REFRESH_SECONDS,
    STARTED_PODS,
    FailedPod,
    Failures,
    read_failed_pod,
)
from tests.builders import NOW, pod, shape
from tests.unit.observe.storing import Clock

Json = dict[str, Any]
WINDOW = 300.0


def read(status: Json, node: str = "a1", **meta: Any) -> FailedPod:
    owner = {"kind": "ReplicaSet", "uid": "rs", "controller": True, "name": "x", "apiVersion": "apps/v1"}
    metadata = {
        "name": "p",
        "uid": "u",
        "resourceVersion": "7",
        "creationTimestamp": "2026-11-23T05:00:00Z",
        "ownerReferences": [owner],
        **meta,
    }
    obj = {"metadata": metadata, "spec": {"nodeName": node} if node else {}, "status": {"phase": "Failed", **status}}
    return read_failed_pod(msgspec.json.encode(obj), Records())


def failed(uid: str = "u", node: str = "a1", *, created: float = NOW, refused: bool = True, **fields: Any) -> FailedPod:
    stuck = fields.pop("stuck", not refused)
    return FailedPod(pod(uid, uid=uid, on=node, owner="rs", created=created), refused, stuck=stuck, **fields)


def counts(found: FailedPod, *, at: float = NOW, listed: bool = False, started: bool = False) -> bool:
    """Whether it counts against its node when it is seen at this time."""
    failures = Failures(lambda: at)
    failures.ended(found, listed=listed, started=started)
    return bool(failures.all())


def new_failures() -> tuple[Failures, Clock]:
    clock = Clock()
    failures = Failures(clock)
    failures.keep(WINDOW)
    return failures, clock


def ages(failures: Failures, clock: Clock) -> dict[str, float]:
    return {failure.uid: clock.now - failure.at for failure in failures.all()}


# -- reading


@pytest.mark.parametrize(
    ("reason", "refused"),
    [
        ("UnexpectedAdmissionError", True),
        ("OutOfcpu", True),
        ("OutOfnvidia.com/gpu", True),
        ("NodeAffinity", True),
        ("TopologyAffinityError", False),
        ("NodeShutdown", True),
        ("ProviderFailed", True),
        ("OffloadingBackOff", True),
        ("OffloadingAborted", True),
        ("Evicted", False),
        ("DeadlineExceeded", False),
        ("PodOSNotSupported", False),
        ("SysctlForbidden", False),
        ("", False),
    ],
)
def test_a_pod_that_the_kubelet_refused_counts(reason: str, refused: bool) -> None:
    found = read({"reason": reason})
    assert (found.refused, counts(found)) == (refused, refused)


def test_a_pod_whose_container_never_ran_counts_too_and_is_not_refused() -> None:
    found = read({"containerStatuses": [{"state": {"terminated": {"reason": "StartError", "exitCode": 128}}}]})
    assert (found.refused, counts(found)) == (False, True)


def test_a_pod_that_ran_and_failed_does_not_count() -> None:
    found = read({"containerStatuses": [{"state": {"terminated": {"reason": "Error", "exitCode": 1}}}]})
    assert not counts(found)


def test_a_pod_that_never_had_a_node_does_not_count() -> None:
    assert not counts(read({"reason": "UnexpectedAdmissionError"}, node=""))


def test_all_that_is_needed_is_read() -> None:
    found = read({"reason": "OutOfcpu"}).pod
    assert (found.uid, found.resource_version, found.node) == ("u", 7, "a1")
    assert (found.owner, found.created) == ("rs", 1_795_410_000.0)
    assert read({}, ownerReferences=None).pod.owner == ""


# -- a refusal counts only for a pod that never ran

TERMINATED = {"exitCode": 137, "reason": "ContainerStatusUnknown", "finishedAt": "2026-11-23T05:00:00Z"}
REFUSED: Json = {"reason": "UnexpectedAdmissionError"}
START = "2026-11-23T05:00:00Z"
STARTED_AT = 1_795_410_000.0


@pytest.mark.parametrize(
    ("status", "evidence"),
    [
        ({}, True),
        ({"containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]}, True),
        # A kubelet that restarts writes this of pods that it refused before.
        ({"containerStatuses": [{"state": {"terminated": {**TERMINATED, "startedAt": None}}}]}, True),
        ({"containerStatuses": [{"state": {"terminated": {**TERMINATED, "startedAt": "1970-01-01T00:00:00Z"}}}]}, True),
        ({"containerStatuses": [{"state": {"terminated": {**TERMINATED, "startedAt": START}}}]}, False),
        ({"containerStatuses": [{"state": {"running": {"startedAt": START}}}]}, False),
        ({"containerStatuses": [{}, {"lastState": {"terminated": {**TERMINATED, "startedAt": START}}}]}, False),
        ({"initContainerStatuses": [{"state": {"terminated": {**TERMINATED, "startedAt": START}}}]}, False),
        ({"conditions": [{"type": "Ready", "status": "True"}]}, False),
        ({"conditions": [{"type": "Ready", "status": "False"}]}, True),
    ],
    ids=str,
)
def test_a_refused_pod_whose_containers_have_run_says_nothing_about_its_node(status: Json, evidence: bool) -> None:
    assert counts(read({**REFUSED, **status})) is evidence


@pytest.mark.parametrize(("after", "evidence"), [(0, True), (30, True), (31, False), (86_400, False)])
def test_a_pod_that_its_kubelet_had_accepted_long_before_says_nothing_about_its_node(
    after: float, evidence: bool
) -> None:
    found = read({**REFUSED, "startTime": START})
    assert counts(found, at=STARTED_AT + after) is evidence
    # When it failed is not known of a pod that is found in a list, unless the object says when its status was written.
    assert counts(found, at=STARTED_AT + after, listed=True) is evidence


@pytest.mark.parametrize(("written", "evidence"), [("05:00:02", True), ("05:02:00", False), ("never", True)])
def test_a_listed_pod_failed_when_its_status_was_written(written: str, evidence: bool) -> None:
    fields = [
        {"manager": "kubelet", "subresource": "status", "time": f"2026-11-23T{written}Z"},
        {"manager": "kube-controller-manager", "time": "2026-11-23T09:00:00Z"},
    ]
    found = read({**REFUSED, "startTime": START}, managedFields=fields)
    assert counts(found, at=STARTED_AT + 20, listed=True) is evidence


def test_a_pod_that_was_seen_to_start_says_nothing_about_its_node() -> None:
    assert not counts(read(REFUSED), started=True)
    failures, _ = new_failures()
    failures.started("u")
    assert not failures.ended(failed(), listed=False)
    assert failures.ended(failed("another"), listed=False)


def test_only_so_many_pods_that_started_are_remembered() -> None:
    failures, _ = new_failures()
    for number in range(STARTED_PODS + 1):
        failures.started(f"u{number}")
    assert failures.ended(failed("u0"), listed=False)
    assert not failures.ended(failed("u1"), listed=False)


# -- pods that ended


def test_a_pod_that_fails_before_our_eyes_failed_now_whenever_it_was_made() -> None:
    failures, _ = new_failures()
    assert failures.ended(failed(created=NOW - 5000), listed=False)
    assert failures.all() == (Failure("u", "a1", "rs", NOW, refused=True, shape=shape()),)


@pytest.mark.parametrize(("created", "ages_by"), [(NOW - 100, [100]), (NOW - 301, []), (NOW + 50, [0])])
def test_a_pod_that_is_found_in_a_list_failed_when_it_was_made(created: float, ages_by: list[float]) -> None:
    failures, clock = new_failures()
    assert failures.ended(failed(created=created), listed=True) is bool(ages_by)
    assert list(ages(failures, clock).values()) == ages_by


def test_a_pod_that_is_listed_again_keeps_its_time() -> None:
    failures, clock = new_failures()
    failures.ended(failed(created=NOW - 5000), listed=False)
    clock.now += 100
    assert not failures.ended(failed(created=NOW - 5000), listed=True)
    assert not failures.ended(failed(created=NOW - 5000), listed=False)
    assert ages(failures, clock) == {"u": 100}


def test_what_does_not_count_is_not_kept() -> None:
    failures, _ = new_failures()
    assert not failures.ended(failed(refused=False, stuck=False), listed=False)
    assert failures.all() == ()


def test_a_failure_is_forgotten_after_the_longest_window() -> None:
    failures, clock = new_failures()
    failures.ended(failed(), listed=False)
    clock.now += WINDOW - 1
    assert failures.all()
    clock.now += 1 + REFRESH_SECONDS
    assert failures.all() == ()


def test_a_shorter_window_forgets_at_once() -> None:
    failures, clock = new_failures()
    failures.ended(failed(), listed=False)
    clock.now += 100
    assert failures.all()
    failures.keep(60)
    assert failures.all() == ()


def test_each_node_keeps_so_many_and_forgets_the_oldest() -> None:
    failures, _ = new_failures()
    failures.ended(failed("other", "n1"), listed=False)
    for number in range(PER_NODE + 3):
        failures.ended(failed(f"u{number}"), listed=False)
    kept = [failure.uid for failure in failures.all() if failure.node == "a1"]
    assert kept == [f"u{number}" for number in range(3, PER_NODE + 3)]
    assert len(failures.all()) == PER_NODE + 1


# -- pods that do not start


def test_a_pod_that_still_does_not_start_fails_now() -> None:
    failures, clock = new_failures()
    failures.stuck(pod("p", on="a1", owner="rs"))
    clock.now += 1000
    assert failures.all() == (
        Failure("uid-default-p", "a1", "rs", NOW + 1000, refused=False, began=NOW, shape=shape()),
    )


def test_once_it_starts_or_is_gone_its_failure_ages() -> None:
    failures, clock = new_failures()
    stuck = pod("p", on="a1", owner="rs")
    failures.stuck(stuck)
    clock.now += 1000
    failures.recovered(stuck.uid)
    clock.now += 200
    failures.recovered(stuck.uid)
    assert ages(failures, clock) == {stuck.uid: 200}
    clock.now += 101
    assert failures.all() == ()


def test_a_pod_that_did_not_start_and_then_ended_counts_once() -> None:
    failures, clock = new_failures()
    stuck = pod("p", on="a1", owner="rs")
    failures.stuck(stuck)
    clock.now += 50
    failures.ended(failed(stuck.uid, refused=False), listed=False)
    failures.recovered(stuck.uid)
    clock.now += 100
    assert [failure.uid for failure in failures.all()] == [stuck.uid]


def test_what_was_handed_out_is_the_same_until_something_changes_or_it_is_old() -> None:
    failures, clock = new_failures()
    failures.stuck(pod("p", on="a1"))
    seen = failures.all()
    clock.now += REFRESH_SECONDS - 1
    assert failures.all() is seen
    clock.now += 1
    assert failures.all() != seen
    assert seen[0].at == NOW


def test_a_pod_that_a_virtual_kubelet_leaves_pending_is_refused() -> None:
    failures, _ = new_failures()
    failures.stuck(pod("p", on="v1", owner="rs", failing=True, refused=True))
    (failure,) = failures.all()
    assert (failure.refused, failure.unclear) == (True, True)
