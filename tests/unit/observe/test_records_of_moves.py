"""What failover reads of pods and nodes: who owns a pod, whether it may be moved or starts, and what a node says."""

from __future__ import annotations

from datetime import UTC, datetime
from math import inf
from typing import Any

import msgspec
import pytest

from computepool.model.gang_marks import GANG_ANNOTATIONS, GANG_LABELS
from computepool.observe.decode import Records
from tests.unit.observe.test_records import SERVED_POD, read_node, read_pod

Json = dict[str, Any]
STARTED = datetime(2026, 11, 23, 5, tzinfo=UTC).timestamp()


def owned_by(kind: str, uid: str, *, controller: bool | None = True) -> Json:
    """One entry of ownerReferences."""
    said = {} if controller is None else {"controller": controller}
    return {"apiVersion": "apps/v1", "kind": kind, "name": "x", "uid": uid, **said}


def container(**state: Json) -> Json:
    """One entry of containerStatuses."""
    return {"name": "main", "ready": False, "restartCount": 1, "image": "i", "state": state}


# -- pods


def test_the_owner_is_the_controller_and_no_other_reference() -> None:
    owners = [owned_by("Policy", "u1", controller=None), owned_by("Set", "u2", controller=False)]
    found = read_pod(ownerReferences=[*owners, owned_by("ReplicaSet", "u3")])
    assert (found.owner, found.owner_kind) == ("u3", "ReplicaSet")
    nobody = read_pod(ownerReferences=owners)
    assert (nobody.owner, nobody.owner_kind) == ("", "")


def test_pods_of_one_owner_share_its_uid() -> None:
    records = Records()
    one, other = (read_pod(records=records, ownerReferences=[owned_by("Job", "u1")]) for _ in range(2))
    assert one.owner is other.owner


@pytest.mark.parametrize(("said", "movable"), [("true", True), ("false", False), ("", None), ("maybe", None)])
def test_the_annotation_says_whether_a_pod_may_be_moved(said: str, movable: bool | None) -> None:
    assert read_pod(annotations={"computepool.io/movable": said}).movable is movable


def test_without_the_annotation_nothing_is_said_about_moving() -> None:
    assert read_pod().movable is None


@pytest.mark.parametrize(
    ("key", "said", "until"),
    [
        ("karpenter.sh/do-not-disrupt", "true", inf),
        ("karpenter.sh/do-not-disrupt", "false", 0),
        ("karpenter.sh/do-not-disrupt", "4h", STARTED + 4 * 3600),
        ("karpenter.sh/do-not-disrupt", "1h30m", STARTED + 5400),
        ("karpenter.sh/do-not-disrupt", "1.5h0.5s", STARTED + 5400.5),
        ("karpenter.sh/do-not-disrupt", "0s", STARTED),
        ("karpenter.sh/do-not-disrupt", "1d", inf),
        ("karpenter.sh/do-not-disrupt", "-4h", inf),
        ("karpenter.sh/do-not-disrupt", "4 h", inf),
        ("karpenter.sh/do-not-disrupt", "", inf),
        ("karpenter.sh/do-not-disrupt", "9" * 400 + "h", inf),
        ("cluster-autoscaler.kubernetes.io/safe-to-evict", "false", inf),
        ("cluster-autoscaler.kubernetes.io/safe-to-evict", "true", 0),
        ("cluster-autoscaler.kubernetes.io/safe-to-evict", "False", inf),
        ("cluster-autoscaler.kubernetes.io/safe-to-evict", "", inf),
        ("karpenter.sh/do-not-evict", "true", inf),
        ("karpenter.sh/do-not-evict", "false", 0),
        ("descheduler.alpha.kubernetes.io/prefer-no-eviction", "", inf),
        ("descheduler.alpha.kubernetes.io/evict", "true", 0),
    ],
)
def test_annotations_of_other_tools_ask_not_to_be_disrupted(key: str, said: str, until: float) -> None:
    assert read_pod(annotations={key: said}, status={"startTime": "2026-11-23T05:00:00Z"}).protected_until == until


def test_a_time_without_disruption_has_not_begun_before_the_pod_starts() -> None:
    assert read_pod(annotations={"karpenter.sh/do-not-disrupt": "4h"}).protected_until == inf


@pytest.mark.parametrize("key", GANG_LABELS)
def test_a_label_marks_the_member_of_a_gang(key: str) -> None:
    assert read_pod(labels={"app": "x", key: "any"}).gang


@pytest.mark.parametrize("key", GANG_ANNOTATIONS)
def test_an_annotation_marks_the_member_of_a_gang(key: str) -> None:
    assert read_pod(annotations={key: "any"}).gang


@pytest.mark.parametrize("field", ["schedulingGroup", "workloadRef"])
def test_the_schedulers_own_field_marks_the_member_of_a_gang(field: str) -> None:
    assert read_pod(spec={field: {"podGroupName": "g"}}).gang


def test_other_pods_are_in_no_gang() -> None:
    assert not read_pod(labels={"app": "web", "kueue.x-k8s.io/queue-name": "q"}, annotations={"a": "b"}).gang


@pytest.mark.parametrize(("status", "ready"), [("True", True), ("False", False), ("Unknown", False)])
def test_a_pod_is_ready_by_its_condition(status: str, ready: bool) -> None:
    conditions = [{"type": "ContainersReady", "status": "True"}, {"type": "Ready", "status": status}]
    assert read_pod(status={"conditions": conditions}).ready is ready
    assert not read_pod().ready


@pytest.mark.parametrize(
    ("reason", "failing"),
    [
        ("CrashLoopBackOff", True),
        ("RunContainerError", True),
        ("CreateContainerError", True),
        ("PreCreateHookError", True),
        ("PreStartHookError", True),
        ("CreateContainerConfigError", False),
        ("PostStartHookError", False),
        ("ErrImagePull", False),
        ("ImagePullBackOff", False),
        ("ContainerCreating", False),
        ("PodInitializing", False),
    ],
)
@pytest.mark.parametrize("kind", ["containerStatuses", "initContainerStatuses"])
def test_a_pod_fails_whose_container_waits_because_it_did_not_start(kind: str, reason: str, failing: bool) -> None:
    waits = container(waiting={"reason": reason, "message": "..."})
    assert read_pod(status={kind: [container(running={}), waits]}).failing is failing


@pytest.mark.parametrize(
    ("reason", "failing"),
    [("StartError", True), ("ContainerCannotRun", True), ("Error", False), ("Completed", False), ("OOMKilled", False)],
)
def test_a_pod_fails_whose_container_ended_without_ever_having_run(reason: str, failing: bool) -> None:
    ended = container(terminated={"reason": reason, "exitCode": 128})
    assert read_pod(status={"containerStatuses": [ended]}).failing is failing


def test_a_container_that_runs_now_does_not_fail_whatever_it_did_before() -> None:
    runs = container(running={}) | {"lastState": {"terminated": {"reason": "StartError", "exitCode": 128}}}
    assert not read_pod(status={"containerStatuses": [runs, {"name": "new"}]}).failing


@pytest.mark.parametrize(
    ("condition", "since"),
    [
        ({"status": "True", "lastTransitionTime": "2026-11-23T05:00:00Z"}, 1_795_410_000.0),
        ({"status": "True", "lastTransitionTime": "+292277026596-12-04T15:30:07Z"}, None),
        ({"status": "True"}, None),
        ({"status": "False", "lastTransitionTime": "2026-11-23T05:00:00Z"}, None),
    ],
    ids=str,
)
def test_a_ready_pod_says_since_when_unless_the_time_can_not_be_read(condition: Json, since: float | None) -> None:
    found = read_pod(status={"conditions": [{"type": "Ready", **condition}]})
    assert (found.ready, found.ready_since) == (condition["status"] == "True", since)


@pytest.mark.parametrize(
    ("status", "has_run"),
    [
        ({"containerStatuses": [container(running={})]}, True),
        ({"containerStatuses": [container(terminated={"exitCode": 1, "startedAt": "2026-11-23T05:00:00Z"})]}, True),
        ({"containerStatuses": [container(waiting={"reason": "ContainerCreating"})]}, False),
        ({"conditions": [{"type": "Ready", "status": "True"}]}, True),
        ({}, False),
    ],
    ids=str,
)
def test_a_pod_has_started_once_any_container_has_run(status: Json, has_run: bool) -> None:
    assert read_pod(status=status).has_run is has_run


@pytest.mark.parametrize(
    ("node", "reason", "refused"),
    [
        ("v1", "ProviderFailed", True),
        ("v1", "OffloadingBackOff", True),
        ("v1", "", False),
        ("v1", "Evicted", False),
        ("", "ProviderFailed", False),
    ],
)
def test_a_pod_that_a_virtual_kubelet_refuses_and_leaves_pending_fails(node: str, reason: str, refused: bool) -> None:
    found = read_pod({"nodeName": node}, {"phase": "Pending", "reason": reason})
    assert (found.refused, found.failing) == (refused, refused)


def test_what_no_decision_reads_leaves_the_record_equal() -> None:
    def said(restarts: int, at: str, message: str) -> Json:
        one = container(waiting={"reason": "CrashLoopBackOff", "message": message}) | {"restartCount": restarts}
        since = "2026-11-23T05:00:00Z"
        conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": since, "lastProbeTime": at}]
        return {"containerStatuses": [one], "conditions": conditions, "podIP": at}

    assert read_pod(status=said(1, "2026-11-23T05:00:00Z", "back-off 10s")) == read_pod(
        status=said(7, "2026-11-23T06:00:00Z", "back-off 5m")
    )


def test_a_pod_as_the_api_server_serves_it_has_its_owner() -> None:
    found = Records().pod(SERVED_POD.encode())
    assert (found.owner, found.owner_kind, found.ready, found.failing) == ("1", "StatefulSet", False, False)


# -- nodes


def test_a_nodes_conditions_are_types_and_statuses_in_order_without_ready() -> None:
    conditions = [
        {"type": "XIDErrors", "status": "True", "reason": "XID79", "lastHeartbeatTime": "2026-11-23T05:00:00Z"},
        {"type": "Ready", "status": "True"},
        {"type": "DiskPressure", "status": "False"},
    ]
    assert read_node(status={"conditions": conditions}).conditions == (("DiskPressure", "False"), ("XIDErrors", "True"))
    assert read_node().conditions == ()


def test_nodes_that_say_the_same_share_it() -> None:
    records = Records()
    raw = {"status": {"conditions": [{"type": "DiskPressure", "status": "False"}]}}
    one, other = (
        records.node(msgspec.json.encode({"metadata": {"name": name, "resourceVersion": "1"}, **raw})) for name in "ab"
    )
    assert one.conditions is other.conditions
