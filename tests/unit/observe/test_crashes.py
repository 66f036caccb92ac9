"""Pods that ran for a moment and ended as Failed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from computepool.observe.crashes import KEPT_SECONDS, MOST, Crashes, crashed_soon
from computepool.observe.decode import Records
from computepool.observe.failures import read_failed_pod
from computepool.observe.store import Store
from tests.builders import NOW, namespace, node, pool
from tests.unit.observe.storing import AT, Clock, Enqueued, put


def ended(seconds: int | None = 5, code: int = 1, *, init: bool = False, **changed: Any) -> bytes:
    """A pod that failed after its container ran for so long; None: the container never ran."""
    minutes, rest = divmod(seconds or 0, 60)
    times = {"startedAt": "2026-11-23T05:00:00Z", "finishedAt": f"2026-11-23T05:{minutes:02}:{rest:02}Z"}
    state = {"terminated": {"exitCode": code, "reason": "Error", **({} if seconds is None else times)}}
    containers = "initContainerStatuses" if init else "containerStatuses"
    return msgspec.json.encode(
        {
            "metadata": {
                "name": "p",
                "uid": "u",
                "resourceVersion": "7",
                "creationTimestamp": "2026-11-23T05:00:00Z",
                "ownerReferences": [{"kind": "Job", "name": "j", "uid": "job", "controller": True}],
                **changed.pop("metadata", {}),
            },
            "spec": {"nodeName": "n1", "containers": []},
            "status": {"phase": "Failed", containers: [{"name": "main", "state": state}], **changed},
        }
    )


@pytest.mark.parametrize(
    ("raw", "crashed"),
    [
        (ended(), True),
        (ended(init=True), True),
        (ended(59), True),
        (ended(61), False),
        (ended(code=0), False),
        (ended(None), False),
        (ended(reason="Evicted"), False),
        (ended(metadata={"deletionTimestamp": "2026-11-23T05:00:09Z"}), False),
        (b"{}", False),
        (b'{"status": {"containerStatuses": 7}}', False),
    ],
    ids=[
        "it failed at once",
        "its init container did",
        "within a minute",
        "after more than a minute",
        "it succeeded",
        "it never ran",
        "it was evicted",
        "it is being deleted",
        "nothing is known",
        "it can't be read",
    ],
)
def test_a_crash_is_a_program_that_fails_by_itself_soon_after_its_start(raw: bytes, crashed: bool) -> None:
    assert crashed_soon(raw) is crashed


def test_the_store_hands_crashes_on_and_they_are_no_failures_of_the_node() -> None:
    enqueued, clock = Enqueued(), Clock()
    store = Store(lambda name, at, **_: enqueued.append((name, at)), wall=clock, clock=clock)
    for item in (pool(), namespace(), node("n1")):
        put(store, item)
    enqueued.clear()
    for _ in range(2):
        store.put_failed_pod(read_failed_pod(ended(), Records()), AT, listed=False)
    seen = store.snapshot("inference")
    assert [(crash.uid, crash.node, crash.owner) for crash in seen.crashes] == [("u", "n1", "job")]
    assert seen.failures == ()
    assert len(enqueued) == 1


def refused(reason: str, *, accepted: int = 0, **changed: Any) -> bytes:
    """A pod that ended without any container. `accepted`: how many seconds ago the kubelet saw it first."""
    start = datetime.fromtimestamp(NOW - accepted, UTC).isoformat().replace("+00:00", "Z")
    return ended(reason=reason, startTime=start, containerStatuses=[], **changed)


@pytest.mark.parametrize(
    ("raw", "counts"),
    [
        (refused("TopologyAffinityError"), True),
        (refused("PodSandboxFailed"), True),
        (refused(""), True),
        (ended(None, reason="CreationFailed"), True),
        (refused("TopologyAffinityError", accepted=600), False),
        (refused("Evicted"), False),
        (refused("Preempting"), False),
        (refused("", conditions=[{"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC"}]), False),
        (refused("", metadata={"deletionTimestamp": "2026-11-23T05:00:09Z"}), False),
        (ended(600, reason="CreationFailed"), False),
    ],
    ids=[
        "kubelet without a fault of the node",
        "reason that nobody knows",
        "no reason",
        "container that never started",
        "kubelet that restarts",
        "evicted",
        "preempted",
        "ended by a controller",
        "deleted",
        "it ran",
    ],
)
def test_a_pod_that_ends_before_it_runs_tells_of_its_workload_whatever_the_reason(raw: bytes, counts: bool) -> None:
    clock = Clock()
    store = Store(lambda _name, _at, **_: None, wall=clock, clock=clock)
    for item in (pool(), namespace(), node("n1")):
        put(store, item)
    store.put_failed_pod(read_failed_pod(raw, Records()), AT, listed=False)
    seen = store.snapshot("inference")
    assert [crash.owner for crash in seen.crashes] == (["job"] if counts else [])
    assert seen.failures == ()


def test_crashes_are_kept_for_some_minutes_and_never_too_many() -> None:
    clock = [NOW]
    crashes = Crashes(lambda: clock[0])
    assert not crashes.add("old", "n1", "job", NOW - KEPT_SECONDS)
    for index in range(MOST + 1):
        assert crashes.add(f"u{index}", "n1", "job", NOW)
    assert len(crashes.all()) == MOST
    clock[0] += KEPT_SECONDS
    assert crashes.all() == ()
