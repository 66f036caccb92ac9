"""From the API server's JSON to records: only what decisions need, as the scheduler would count it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from computepool.model.accelerators import request_of
from computepool.model.cluster import Node, Offer, Pod
from computepool.model.labels import Requirement, Term
from computepool.model.taints import Taint, Toleration
from computepool.observe.decode import Namespace, Records
from tests.builders import GPU

TIME = "2026-11-23T05:00:00Z"
AT = 1_795_410_000.0
ASKING = {"resources": {"requests": {GPU: "1"}}}
"""A container that asks for a GPU."""


def read_pod(
    spec: Mapping[str, Any] | None = None,
    status: Mapping[str, Any] | None = None,
    records: Records | None = None,
    **meta: Any,
) -> Pod:
    metadata = {"name": "p", "namespace": "ml", "uid": "u", "resourceVersion": "7", "creationTimestamp": TIME, **meta}
    obj = {"metadata": metadata, "spec": {"containers": [], **(spec or {})}, "status": dict(status or {})}
    return (records or Records()).pod(msgspec.json.encode(obj))


def read_node(spec: Mapping[str, Any] | None = None, status: Mapping[str, Any] | None = None, **meta: Any) -> Node:
    metadata = {"name": "n", "uid": "u", "resourceVersion": "7", **meta}
    return Records().node(msgspec.json.encode({"metadata": metadata, "spec": spec or {}, "status": status or {}}))


# -- where a pod may go


def test_selectors_tolerations_and_required_affinity_make_the_shape() -> None:
    node_affinity = {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [
                {
                    "matchExpressions": [{"key": "zone", "operator": "In", "values": ["a", "b"]}],
                    "matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}],
                },
                {"matchExpressions": [{"key": "gpu", "operator": "Exists"}]},
            ]
        },
        "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": {}}],
    }
    shape = read_pod(
        {
            "nodeSelector": {"b": "2", "a": "1"},
            "affinity": {"nodeAffinity": node_affinity},
            "tolerations": [
                {"key": "k", "operator": "Exists"},
                {"key": "k", "value": "v", "effect": "NoExecute", "tolerationSeconds": 300},
            ],
        }
    ).shape
    assert shape.node_selector == (("a", "1"), ("b", "2"))
    assert shape.affinity == (
        Term((Requirement("zone", "In", ("a", "b")),), (Requirement("metadata.name", "In", ("n1",)),)),
        Term((Requirement("gpu", "Exists"),)),
    )
    assert shape.tolerations == (Toleration("k", "Exists"), Toleration("k", "", "v", "NoExecute", 300))


@pytest.mark.parametrize("affinity", [None, {}, {"nodeAffinity": {}}, {"podAffinity": {}}], ids=str)
def test_a_pod_without_required_node_affinity_has_no_such_constraint(affinity: dict[str, Any] | None) -> None:
    assert read_pod({"affinity": affinity}).shape.affinity is None


REQUIRED = {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "zone"}]}
PREFERRED = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1}]}


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        ({}, ()),
        ({"affinity": {"podAffinity": REQUIRED}}, ("podAffinity",)),
        ({"affinity": {"podAntiAffinity": REQUIRED}}, ("podAntiAffinity",)),
        ({"affinity": {"podAntiAffinity": PREFERRED}}, ()),
        ({"topologySpreadConstraints": [{"whenUnsatisfiable": "DoNotSchedule"}]}, ("topologySpreadConstraints",)),
        ({"topologySpreadConstraints": [{"whenUnsatisfiable": "ScheduleAnyway"}]}, ()),
        ({"volumes": [{"persistentVolumeClaim": {"claimName": "c"}}]}, ("volumes",)),
        ({"volumes": [{"ephemeral": {}}]}, ("volumes",)),
        ({"volumes": [{"emptyDir": {}}, {"configMap": {"name": "c"}}]}, ()),
        ({"containers": [{"ports": [{"containerPort": 80}, {"hostPort": 80}]}]}, ("hostPorts",)),
        ({"containers": [{"ports": [{"containerPort": 80}]}]}, ()),
        ({"resourceClaims": [{"name": "gpu"}]}, ("resourceClaims",)),
    ],
    ids=str,
)
def test_constraints_that_fit_does_not_know_are_named(spec: dict[str, Any], names: tuple[str, ...]) -> None:
    assert read_pod(spec).shape.unmodelled == names


# -- the rest of a pod


def test_a_pod_is_read_with_all_that_decisions_need() -> None:
    found = read_pod(
        {"priority": 5, "nodeName": "n1", "schedulingGates": [{"name": "g"}]},
        labels={"app": "web", "computepool.io/burst": "nebius"},
        annotations={
            "computepool.io/offers": f"nebius={TIME}",
            "computepool.io/providers": "nebius, crusoe,",
            "controller.kubernetes.io/pod-deletion-cost": "7",
        },
        deletionTimestamp="2026-11-23T05:00:30Z",
    )
    assert (found.uid, found.namespace, found.name, found.resource_version) == ("u", "ml", "p", 7)
    assert (found.created, found.since, found.deleting) == (AT, AT, AT + 30)
    assert (found.priority, found.node, found.gated, found.gates, found.burst) == (5, "n1", True, ("g",), "nebius")
    assert found.labels == {"app": "web", "computepool.io/burst": "nebius"}
    assert (found.offers, found.allowed, found.deletion_cost) == (
        (Offer("nebius", AT),),
        ("nebius", "crusoe"),
        "7",
    )


@pytest.mark.parametrize(
    ("policy", "to_completion"), [("Always", False), ("OnFailure", True), ("Never", True), ("", False)]
)
def test_a_pod_runs_to_completion_unless_it_always_starts_again(policy: str, to_completion: bool) -> None:
    assert read_pod({"restartPolicy": policy}).to_completion is to_completion


@pytest.mark.parametrize(
    ("kind", "name", "prefix", "keeps_name"),
    [
        ("ReplicaSet", "web-x2x4z", "web-", False),
        ("ReplicaSet", "by-hand", "", False),
        ("StatefulSet", "db-0", "db-", True),
        ("Job", "train-0-x2x4z", "train-0-", False),
        ("Job", "volcano-worker-0", "", True),
        ("PyTorchJob", "train-worker-0", "train-", True),
        ("CloneSet", "web-x2x4z", "web-", False),
    ],
)
def test_a_name_that_the_owner_has_given_is_taken_until_the_pod_is_gone(
    kind: str, name: str, prefix: str, keeps_name: bool
) -> None:
    owner = {"apiVersion": "x/v1", "kind": kind, "name": "o", "uid": "o", "controller": True}
    pod = read_pod(name=name, ownerReferences=[owner], generateName=prefix)
    assert pod.keeps_name is keeps_name
    assert read_pod(name=name).keeps_name is False


def test_what_a_pod_does_not_say_is_empty() -> None:
    found = read_pod()
    assert (found.priority, found.node, found.nominated, found.gated, found.deleting) == (0, "", "", False, None)
    assert (found.labels, found.offers, found.allowed, found.deletion_cost) == ({}, (), None, None)


@pytest.mark.parametrize(("text", "allowed"), [("", ()), ("  ", ()), (" ,, ", (",,",)), ("a", ("a",)), ("a,,", ("a",))])
def test_an_empty_allow_list_allows_no_provider_and_commas_alone_are_a_name_that_nothing_has(
    text: str, allowed: tuple[str, ...]
) -> None:
    assert read_pod(annotations={"computepool.io/providers": text}).allowed == allowed


@pytest.mark.parametrize("phase", ["Succeeded", "Failed", "Running", "Pending", "Unknown"])
def test_a_pod_that_has_ended_is_finished(phase: str) -> None:
    assert read_pod(status={"phase": phase}).finished is (phase in ("Succeeded", "Failed"))


@pytest.mark.parametrize(
    ("condition", "unschedulable"),
    [
        ({"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}, True),
        ({"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}, False),
        ({"type": "PodScheduled", "status": "True"}, False),
        ({"type": "Ready", "status": "False", "reason": "Unschedulable"}, False),
    ],
    ids=str,
)
def test_the_schedulers_verdict_is_read_from_its_condition(condition: dict[str, str], unschedulable: bool) -> None:
    assert read_pod(status={"conditions": [{"type": "Initialized", "status": "True"}, condition]}).unschedulable is (
        unschedulable
    )


@pytest.mark.parametrize(("name", "scheduler"), [("default-scheduler", ""), ("volcano", "volcano"), ("", "")])
def test_a_pods_scheduler_is_read_unless_it_is_the_usual_one(name: str, scheduler: str) -> None:
    assert read_pod(spec={"schedulerName": name}).shape.scheduler == scheduler


def test_a_nomination_counts_until_the_pod_is_bound() -> None:
    nominated = {"nominatedNodeName": "n1"}
    assert read_pod(status=nominated).nominated == "n1"
    assert read_pod({"nodeName": "n2"}, status=nominated).nominated == ""


@pytest.mark.parametrize(
    ("status", "claimed"),
    [
        ({}, ()),
        ({"extendedResourceClaimStatus": {"resourceClaimName": "p-extended-resources-x", "requestMappings": []}}, ()),
        (
            {
                "extendedResourceClaimStatus": {
                    "resourceClaimName": "p-extended-resources-x",
                    "requestMappings": [
                        {"containerName": "two", "resourceName": GPU, "requestName": "r1"},
                        {"containerName": "one", "resourceName": GPU, "requestName": "r0"},
                        {"containerName": "one", "resourceName": "example.com/nic", "requestName": "r2"},
                    ],
                }
            },
            ("example.com/nic", GPU),
        ),
    ],
    ids=["no claim", "an empty claim", "a claim for two resources"],
)
def test_the_resources_that_a_pod_holds_by_claim_are_read(status: dict[str, Any], claimed: tuple[str, ...]) -> None:
    assert read_pod(status=status).claimed == claimed


# -- nodes and namespaces


def test_a_node_is_read_with_all_that_decisions_need() -> None:
    found = read_node(
        {"unschedulable": True, "taints": [{"key": "a", "value": "b", "effect": "NoSchedule"}, {"key": "c"}]},
        {
            "allocatable": {GPU: "8", "memory": "32Gi"},
            "capacity": {GPU: "8", "memory": "33554436Ki"},
            "conditions": [{"type": "DiskPressure", "status": "False"}, {"type": "Ready", "status": "True"}],
        },
        labels={"zone": "a"},
        deletionTimestamp=TIME,
    )
    assert (found.name, found.resource_version, found.labels) == ("n", 7, {"zone": "a"})
    assert found.allocatable == {GPU: 8000, "memory": 32 * 2**30 * 1000}
    assert found.capacity == {GPU: 8000, "memory": 33_554_436 * 1024 * 1000}
    assert found.taints == (Taint("a", "b", "NoSchedule"), Taint("c"))
    assert (found.ready, found.unschedulable, found.deleting, found.usable) == ("True", True, True, False)


def test_a_node_that_has_said_nothing_yet_is_unknown_and_no_supply() -> None:
    found = read_node()
    assert (found.ready, found.allocatable, found.taints, found.usable) == ("Unknown", {}, (), False)


def test_a_namespace_is_its_name_and_labels() -> None:
    raw = msgspec.json.encode({"metadata": {"name": "ml", "resourceVersion": "3", "labels": {"team": "x"}}})
    assert Records().namespace(raw) == Namespace("ml", 3, {"team": "x"})


# -- sharing, and what can't be read


def test_equal_parts_of_records_are_one_object() -> None:
    records = Records()
    spec = {"containers": [ASKING], "tolerations": [{"key": "k", "operator": "Exists"}]}
    one, other = (read_pod(spec, records=records, uid=uid, labels={"b": "1", "a": "2"}) for uid in ("u1", "u2"))
    assert one.shape is other.shape
    assert one.labels is other.labels
    assert one.namespace is other.namespace


def test_pods_that_differ_in_anything_that_decides_where_they_fit_have_shapes_of_their_own() -> None:
    records = Records()
    specs: list[dict[str, Any]] = [
        {},
        {"containers": [ASKING]},
        {"nodeSelector": {"a": "1"}},
        {"tolerations": [{"key": "a"}]},
        {"tolerations": [{"key": "a", "tolerationSeconds": 1}]},
        {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}},
        {"resourceClaims": [{"name": "gpu"}]},
    ]
    assert len({read_pod(spec, records=records).shape for spec in specs}) == len(specs)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{}",
        b'{"metadata": {"name": 3}, "spec": {}}',
        b'{"metadata": {"name": "p", "resourceVersion": "new"}, "spec": {}}',
        b'{"metadata": {"name": "p"}, "spec": {"containers": [{"resources": {"requests": {"cpu": "much"}}}]}}',
        b'{"metadata": {"name": "p", "creationTimestamp": "yesterday"}, "spec": {}}',
    ],
)
def test_what_is_no_pod_is_refused_with_a_value_error(raw: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, ValueError)):
        Records().pod(raw)


SERVED_POD = """
{"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "train-0", "generateName": "train-", "namespace": "ml",
 "uid": "2f0c", "resourceVersion": "812345", "generation": 2, "creationTimestamp": "2026-11-23T05:00:00Z",
 "labels": {"app": "train", "apps.kubernetes.io/pod-index": "0"}, "annotations": {"a": "b"},
 "ownerReferences": [{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "train", "uid": "1", "controller": true}],
 "managedFields": [{"manager": "kube-controller-manager", "operation": "Update", "fieldsType": "FieldsV1",
   "fieldsV1": {"f:metadata": {"f:labels": {".": {}, "f:app": {}}}}}]},
"spec": {"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data-train-0"}},
   {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"spec": {"accessModes": ["ReadWriteOnce"]}}}},
   {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "64Gi"}},
   {"name": "token", "projected": {"sources": [{"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}],
     "defaultMode": 420}}],
  "initContainers": [{"name": "warm", "image": "busybox", "resources": {"requests": {"cpu": "100m"}}}],
  "containers": [{"name": "main", "image": "train:1", "command": ["train"], "ports": [{"containerPort": 29500,
     "hostPort": 29500, "protocol": "TCP"}], "env": [{"name": "RANK", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}],
    "resources": {"limits": {"nvidia.com/gpu": "8", "memory": "1Ti"},
     "requests": {"nvidia.com/gpu": "8", "memory": "1Ti", "cpu": "96"}}, "volumeMounts": [{"name": "data",
     "mountPath": "/data"}], "livenessProbe": {"httpGet": {"path": "/", "port": "http"}},
    "securityContext": {"privileged": false}}],
  "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
  "serviceAccountName": "default", "nodeName": "gpu-1", "hostNetwork": true, "securityContext": {"fsGroup": 1},
  "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"labelSelector":
    {"matchLabels": {"app": "train"}}, "topologyKey": "kubernetes.io/hostname"}]}},
  "schedulerName": "default-scheduler",
  "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute",
    "tolerationSeconds": 300}, {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
  "priorityClassName": "high", "priority": 1000, "enableServiceLinks": true, "preemptionPolicy": "PreemptLowerPriority",
  "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
    "labelSelector": {}}]},
"status": {"phase": "Running", "conditions": [{"type": "PodScheduled", "status": "True", "lastProbeTime": null,
    "lastTransitionTime": "2026-11-23T05:00:01Z"}], "hostIP": "10.0.0.1", "hostIPs": [{"ip": "10.0.0.1"}],
  "podIP": "10.0.0.1", "startTime": "2026-11-23T05:00:01Z", "containerStatuses": [{"name": "main", "ready": true,
    "restartCount": 0, "state": {"running": {"startedAt": "2026-11-23T05:00:02Z"}}}], "qosClass": "Burstable"}}
"""


def test_a_pod_as_the_api_server_serves_it_is_read() -> None:
    found = Records().pod(SERVED_POD.encode())
    assert (found.name, found.node, found.priority, request_of(found, GPU)) == ("train-0", "gpu-1", 1000, 8000)
    assert found.shape.unmodelled == ("podAntiAffinity", "topologySpreadConstraints", "volumes", "hostPorts")
    assert len(found.shape.tolerations) == 2


def test_unneeded_fields_may_hold_anything() -> None:
    found = read_pod({"containers": [{"image": 3, "env": [{}]}], "future": {"x": [1]}}, status={"hostIP": 7})
    assert found.name == "p"
