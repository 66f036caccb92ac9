"""`computepool explain` for pods with a say of their own: annotations, gates, gangs, DaemonSets, pools that overlap."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from computepool.model.reasons import Reason
from tests.fakes.apiserver import COMPUTEPOOLS, PODS, FakeApiServer
from tests.unit.act.objects import pod, pool
from tests.unit.app.cluster import NAMESPACES, full, make_pool
from tests.unit.cli.explaining import cluster, explained, full_with_pool


@pytest.mark.parametrize(
    ("allowed", "note"),
    [
        ("", "Its annotation computepool.io/providers is empty: it never leaves the primary."),
        ("crusoe, nebius", "Its annotation computepool.io/providers allows only crusoe, nebius."),
        ("NEBIUS, nebius", "'NEBIUS': The pod's annotation computepool.io/providers has a name that is no provider"),
    ],
)
def test_a_pods_own_say_is_told(tmp_path: Path, allowed: str, note: str) -> None:
    assert note in explained(tmp_path, "web", cluster(annotations={"computepool.io/providers": allowed}))


def test_what_fit_does_not_look_at_is_told(tmp_path: Path) -> None:
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]
    assert "Not looked at: its volumes; the scheduler" in explained(tmp_path, "web", cluster(volumes=volumes))


def test_a_frozen_pool_says_why_nothing_is_decided(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        server.create(NAMESPACES, {"metadata": {"name": "default"}})
        make_pool(server)
        server.create(PODS, pod("web"))

    text = explained(tmp_path, "web", before)
    assert "Frozen" in text
    assert "Nothing is decided: no node matches the nodeSelector of the primary 'aws'" in text


def test_a_gated_pod_says_whose_it_is(tmp_path: Path) -> None:
    text = explained(tmp_path, "web", cluster(schedulingGates=[{"name": "kueue.x-k8s.io/admission"}]))
    assert f"Gated: {Reason.GATED.help}" in text
    assert "Its scheduling gate kueue.x-k8s.io/admission is removed by Kueue." in text
    assert "Provider  Verdict" not in text


@pytest.mark.parametrize(
    ("gate", "holder"),
    [
        ("example.com/quota", "the controller of example.com"),
        ("my-gate", "the controller that has set it"),
        ("sub.kueue.x-k8s.io/topology", "Kueue"),
    ],
)
def test_a_gate_of_another_controller_names_it_as_far_as_the_gate_tells(tmp_path: Path, gate: str, holder: str) -> None:
    text = explained(tmp_path, "web", cluster(schedulingGates=[{"name": gate}]))
    assert f"Its scheduling gate {gate} is removed by {holder}." in text


def test_a_member_of_a_gang_names_the_gang_and_counts_its_members(tmp_path: Path) -> None:
    labels = {"jobset.sigs.k8s.io/jobset-name": "llama"}

    def before(server: FakeApiServer) -> None:
        cluster(labels=labels)(server)
        server.create(PODS, pod("web-2", labels=labels))
        server.create(PODS, pod("web-3", on="c1", labels=labels))
        server.create(PODS, pod("another", labels={"jobset.sigs.k8s.io/jobset-name": "mistral"}))

    text = " ".join(explained(tmp_path, "web", before).split())
    assert (
        "It is a member of the gang llama (jobset.sigs.k8s.io/jobset-name) of 3 pods, of which 1 bound and 2 waiting."
        in text
    )
    assert "ComputePool sends the pods of a gang one by one." in text


def test_a_gang_that_only_an_annotation_or_the_spec_marks_is_told_too(tmp_path: Path) -> None:
    by_annotation = explained(tmp_path, "web", cluster(annotations={"scheduling.k8s.io/group-name": "llama"}))
    assert "It is a member of the gang llama (scheduling.k8s.io/group-name)." in by_annotation
    by_spec = explained(tmp_path, "web", cluster(schedulingGroup={"podGroupName": "llama"}))
    assert "It is a member of a gang, by its spec." in by_spec


def owned_by(kind: str, name: str) -> dict[str, Any]:
    """The fields of a pod of such a controller that names node n1."""
    fields = [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]
    required = {"nodeSelectorTerms": [{"matchFields": fields}]}
    owner = {"apiVersion": "v1", "kind": kind, "name": name, "uid": f"uid-{name}", "controller": True}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    return {"ownerReferences": [owner], "affinity": affinity}


def test_a_pod_of_a_daemonset_names_it_and_its_node(tmp_path: Path) -> None:
    how = owned_by("DaemonSet", "agent")

    def before(server: FakeApiServer) -> None:
        cluster()(server)
        item = pod("agent-1", affinity=how["affinity"])
        server.create(PODS, {**item, "metadata": {**item["metadata"], "ownerReferences": how["ownerReferences"]}})

    text = explained(tmp_path, "agent-1", before)
    assert f"NodeBound: {Reason.NODE_BOUND.help}" in " ".join(text.split())
    assert "The DaemonSet agent made it for node n1: it runs there or nowhere." in text
    assert "Provider  Verdict" not in text


def test_a_static_pod_says_that_nothing_can_move_it(tmp_path: Path) -> None:
    mirror = {"kubernetes.io/config.mirror": "hash"}
    assert "It is a static pod: the kubelet" in explained(tmp_path, "web", cluster(on="n1", annotations=mirror))


def test_of_two_pools_that_select_it_the_older_is_named_first(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        cluster()(server)
        younger = pool(name="younger")
        younger["metadata"]["creationTimestamp"] = "2026-02-01T00:00:00Z"
        server.create(COMPUTEPOOLS, younger)

    text = explained(tmp_path, "web", before)
    assert "pool inference" in text
    assert "Also selected by younger; the oldest pool, inference, keeps it." in text


A = {"app": "a"}


NOT_A_OR_B = {"key": "app", "operator": "NotIn", "values": ["a", "b"]}


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"pod": {"gpus": 0}}, "It requests no accelerator of any pool (nvidia.com/gpu)."),
        (
            {"pool": {"workloads": {"podSelector": {"matchLabels": {"app": "other"}}}}},
            "Pool inference: its podSelector wants app=other, and the pod has no label app.",
        ),
        (
            {"pool": {"workloads": {"podSelector": {"matchLabels": {"app": "a"}}}}, "pod": {"labels": {"app": "b"}}},
            "Pool inference: its podSelector wants app=a, and the pod has app=b.",
        ),
        (
            {"pool": {"workloads": {"namespaceSelector": {"matchLabels": {"team": "ml"}}}}},
            "Pool inference: its namespaceSelector wants team=ml, and namespace default has no label team.",
        ),
        (
            {"pool": {"workloads": {"podSelector": {"matchExpressions": [NOT_A_OR_B]}}}, "pod": {"labels": A}},
            "Pool inference: its podSelector wants app NotIn (a, b), and the pod has app=a.",
        ),
        (
            {"pool": {"accelerator": {"resourceName": "amd.com/gpu"}}},
            "It requests no accelerator of any pool (amd.com/gpu); it requests 1 nvidia.com/gpu.",
        ),
    ],
)
def test_a_pod_that_no_pool_selects_says_why(tmp_path: Path, how: dict[str, Any], why: str) -> None:
    text = explained(tmp_path, "web", cluster(pool=how.get("pool", {}), **how.get("pod", {})))
    assert "No ComputePool looks after this pod." in text
    assert why in text


def test_without_pools_it_says_that_there_is_none(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        full(server)

    assert "There is no ComputePool in the cluster." in explained(tmp_path, "old-1", before)


@pytest.mark.parametrize(
    ("namespace", "words"),
    [
        ("kube-system", ()),
        ("computepool-system", ()),
        ("elsewhere", ("--operator-namespace", "elsewhere")),
    ],
)
def test_pods_of_reserved_namespaces_are_never_managed(tmp_path: Path, namespace: str, words: tuple[str, ...]) -> None:
    def before(server: FakeApiServer) -> None:
        full_with_pool(server)
        item = pod("web")
        server.create(PODS, {**item, "metadata": {**item["metadata"], "namespace": namespace}})

    text = explained(tmp_path, f"{namespace}/web", before, *words)
    assert f"Pods of namespace {namespace} are never managed." in text
