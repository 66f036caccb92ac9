"""The guard beside other writers: mutating policies that change every write, and replicas that led before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from computepool.act.write_access import LEADER_POLICY
from e2e import brisk, chart, objects, pools
from e2e.cluster import Cluster
from e2e.kubeapi import ApiError, KubeApi
from e2e.operator import OperatorProcess, operators
from e2e.site import Site

Json = dict[str, Any]
PODS = 3
POLICIES = "mutatingadmissionpolicies.admissionregistration.k8s.io"
BINDINGS = "mutatingadmissionpolicybindings.admissionregistration.k8s.io"
LABEL = "example.com/cost-center"
STAMP = "example.com/changed-by"
POD_RULE = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["pods"]}
NODE_RULE = {**POD_RULE, "resources": ["nodes"]}
META = f"""Object.metadata{{labels: {{"{LABEL}": "ml"}}, annotations: {{"{STAMP}": request.userInfo.username}}}}"""
APPEND = """[JSONPatch{op: "add", path: "/spec/tolerations/-",
    value: Object.spec.tolerations{key: "example.com/team", operator: "Exists", effect: "NoSchedule"}}]"""
IMAGE = """[JSONPatch{op: "replace", path: "/spec/containers/0/image", value: "mirror.example.com/pause"}]"""


@contextmanager
def _mutating(site: Site, name: str, rule: Json, **mutations: str) -> Iterator[None]:
    """A mutating policy of the cluster for the site's objects, in effect for as long as the block lasts."""
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "reinvocationPolicy": "Never",
            "matchConstraints": {"resourceRules": [rule]},
            "mutations": [_mutation(kind, expression) for kind, expression in mutations.items()],
        },
    }
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name, "matchResources": _only(site, rule)},
    }
    site.api.create(policy)
    site.api.create(binding)
    try:
        yield
    finally:
        site.api.delete(BINDINGS, name)
        site.api.delete(POLICIES, name)


def _only(site: Site, rule: Json) -> Json:
    selector = {"matchLabels": dict(site.labels)}
    return {"objectSelector": selector} if rule["resources"] == ["nodes"] else {"namespaceSelector": selector}


def _mutation(kind: str, expression: str) -> Json:
    if kind == "meta":
        return {
            "patchType": "ApplyConfiguration",
            "applyConfiguration": {"expression": f"Object{{metadata: {expression}}}"},
        }
    return {"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}


def _wait_mutating(site: Site, kind: str, name: str, namespace: str | None, changed: str) -> None:
    """Wait until a dry run of an administrator's write shows the mutation."""
    path = site.api.resource(kind).path(namespace, name)
    probe: Json = {"metadata": {"annotations": {"example.com/probe": "x"}}}

    def seen() -> bool:
        answer = site.api.request(
            "PATCH", path, probe, query=chart.DRY_RUN, content_type="application/merge-patch+json"
        )
        return changed in str(answer)

    chart.until(seen, f"{changed} in {kind}")


def test_pods_and_nodes_are_written_although_a_policy_of_the_cluster_changes_every_write(
    site: Site, own_operator: OperatorProcess
) -> None:
    site.add_taken_node("aws", gpus=4)
    (standby, *_) = site.add_nodes("nebius", count=2, taint=True)
    site.create(*objects.gpu_pods("new", PODS, labels={"app": "new"}))
    site.wait_unschedulable(PODS, labels="app=new")
    with (
        _mutating(site, "e2e-pods", POD_RULE, meta=META, append=APPEND),
        _mutating(site, "e2e-nodes", NODE_RULE, meta=META),
    ):
        _wait_mutating(site, "pods", "new-0", site.namespace, LABEL)
        _wait_mutating(site, "nodes", standby, None, LABEL)
        with pools.pool(site, ("aws", "nebius"), health={**brisk.HEALTH, "unhealthyPercent": 100}):
            for pod in site.wait_bound(PODS, labels="app=new"):
                assert pod["metadata"]["labels"][LABEL] == "ml"
                assert pod["metadata"]["labels"][pools.BURST_LABEL] == "nebius"
            site.break_nodes([standby])
            brisk.wait_quarantined(site, [standby])
            site.mend_nodes([standby])
            brisk.wait_quarantined(site, [])
        assert own_operator.value("computepool_write_refusals_total") == 0


def test_what_another_policy_may_not_change_is_told_with_the_field(site: Site, own_operator: OperatorProcess) -> None:
    site.add_taken_node("aws", gpus=4)
    site.add_nodes("nebius", taint=True)
    site.create(objects.gpu_pod("new", labels={"app": "new"}))
    site.wait_unschedulable(1, labels="app=new")
    with _mutating(site, "e2e-image", POD_RULE, image=IMAGE):
        _wait_mutating(site, "pods", "new", site.namespace, "mirror.example.com")
        with pools.pool(site, ("aws", "nebius")) as pool:
            name = pool["metadata"]["name"]
            said = pools.wait_condition(site, name, "Degraded", "True", "WriteRefused", "spec.containers")
            assert "computepool-guard-pods" in said["message"]
            own_operator.wait_logged("write refused", pool=name)


# -- the fence


def _write(api: KubeApi, identity: str, pod: str, namespace: str) -> str:
    """Try to mark a pod as the process of that name; return what speaks against it, or nothing."""
    path = api.resource("pods").path(namespace, pod)
    patch = {"metadata": {"annotations": {pools.OFFERS: "nebius=2026-11-23T05:00:00Z"}}}
    query = {**chart.DRY_RUN, "fieldManager": identity}
    try:
        api.request("PATCH", path, patch, query=query, content_type="application/merge-patch+json")
    except ApiError as refused:
        return refused.message
    return ""


def test_a_write_of_a_process_that_led_before_is_refused_and_that_process_ends(cluster: Cluster, site: Site) -> None:
    site.create(objects.gpu_pod("any", nodeSelector={"no-such": "node"}))
    with chart.installed(cluster), operators(cluster, 2, lease_seconds=4.0) as (first, second):
        api = cluster.api_for(chart.SERVICE_ACCOUNT, chart.NAMESPACE)
        chart.until(lambda: not _write(api, first.identity, "any", site.namespace), "the leader's write to pass")
        assert LEADER_POLICY in _write(api, second.identity, "any", site.namespace)
        first.pause()
        second.wait_leading()
        # What the first process was about to send when it was stopped.
        chart.until(lambda: _write(api, first.identity, "any", site.namespace), "its write to be refused", timeout=1)
        assert not _write(api, second.identity, "any", site.namespace)
        first.resume()
        assert first.wait_ended() == 1
        site.add_taken_node("aws", gpus=4)
        site.add_nodes("nebius", taint=True)
        site.create(objects.gpu_pod("new", labels={"app": "new"}))
        with pools.pool(site, ("aws", "nebius")):
            site.wait_bound(1, labels="app=new")
        assert second.leading


def test_the_fence_sees_the_leader_after_the_chart_was_uninstalled_and_installed_again(
    cluster: Cluster, site: Site
) -> None:
    site.create(objects.gpu_pod("any", nodeSelector={"no-such": "node"}))
    # An uninstall takes the rights of the operator's ServiceAccount away. This client has them at any time.
    user = f"system:serviceaccount:{chart.NAMESPACE}:{chart.SERVICE_ACCOUNT}"
    api = KubeApi(cluster.url, cluster.admin_token, cluster.ca_file, acts_as=user)
    for identity in ("killed", "next"):
        with chart.installed(cluster), operators(cluster, 1, lease_seconds=4.0, identity=identity) as (leader,):
            says = chart.until(lambda: _write(api, "another", "any", site.namespace), "another's write to be refused")
            assert f'the leader is "{leader.identity}"' in says
            assert not _write(api, leader.identity, "any", site.namespace)
            leader.kill()
        chart.until(lambda: not _write(api, "another", "any", site.namespace), "the fence to be gone")


def _bound_token(cluster: Cluster, pod: str) -> str:
    """A token of the operator's ServiceAccount that belongs to a pod, as a kubelet gives it to a pod."""
    manifest = objects.gpu_pod(pod, schedulingGates=[{"name": "example.com/never"}], serviceAccountName="computepool")
    uid = cluster.api.create(manifest, chart.NAMESPACE)["metadata"]["uid"]
    request = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {
            "expirationSeconds": 3600,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": uid},
        },
    }
    path = cluster.api.resource("serviceaccounts").path(chart.NAMESPACE, chart.SERVICE_ACCOUNT, "token")
    return str(cluster.api.request("POST", path, request)["status"]["token"])


def test_the_pod_of_a_token_is_the_writer_whatever_the_request_says(cluster: Cluster, site: Site) -> None:
    site.create(objects.gpu_pod("any", nodeSelector={"no-such": "node"}))
    values = {**chart.NO_OPERATOR_PODS, "failover.releaseLostPods": True}
    with chart.installed(cluster, values=values):
        chart.record_leader(cluster, "leader")
        leader, other = (
            KubeApi(cluster.url, _bound_token(cluster, pod), cluster.ca_file) for pod in ("leader", "other")
        )
        try:
            says = chart.until(lambda: _write(other, "leader", "any", site.namespace), "the fence to take effect")
            assert 'the leader is "leader", and the writer is "other"' in says
            assert not _write(leader, "any-name", "any", site.namespace)
            _assert_all_are_refused(other, site)
            cluster.api.delete("serviceaccounts", chart.LEADER_RECORD, chart.NAMESPACE)
            chart.until(lambda: not _write(other, "", "any", site.namespace), "no record to be no hindrance")
        finally:
            for pod in ("leader", "other"):
                cluster.api.delete("pods", pod, chart.NAMESPACE, grace_seconds=0)


def _assert_all_are_refused(other: KubeApi, site: Site) -> None:
    """Every kind of write of the operator."""
    (node,) = site.add_nodes("nebius")
    pod = site.api.get("pods", "any", site.namespace)
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": "any", "namespace": site.namespace},
        "deleteOptions": {"preconditions": {"uid": pod["metadata"]["uid"]}},
    }
    # The guard of moves lets this pod be deleted: it is on a node, not ready, and something makes it anew.
    owner = {"apiVersion": "example.com/v1", "kind": "ReplicaSet", "name": "x", "uid": "1", "controller": True}
    lost = objects.gpu_pod("lost", nodeName="no-such-node")
    lost["metadata"]["ownerReferences"] = [owner]
    gone = {"preconditions": {"uid": site.api.create(lost, site.namespace)["metadata"]["uid"]}}
    pods = other.resource("pods")
    merge = "application/merge-patch+json"
    writes: Mapping[str, tuple[str, str, Json, str]] = {
        "eviction": ("POST", pods.path(site.namespace, "any", "eviction"), eviction, "application/json"),
        "deletion": ("DELETE", pods.path(site.namespace, "lost"), gone, "application/json"),
        "node": ("PATCH", other.resource("nodes").path(None, node), {}, merge),
    }
    site.api.create(pools.pool_of(site, ("aws", "nebius")))
    try:
        status = other.resource(pools.POOLS).path(None, site.namespace, "status")
        for what, (verb, path, body, form) in {**writes, "status": ("PATCH", status, {"status": {}}, merge)}.items():
            with pytest.raises(ApiError) as refused:
                other.request(verb, path, body, query=chart.DRY_RUN, content_type=form)
            assert LEADER_POLICY in refused.value.message, what
    finally:
        site.api.delete(pools.POOLS, site.namespace)
