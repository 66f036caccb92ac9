"""`computepool status` and `explain` against a real cluster, with the rights a person would have."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e import chart, command, kubeconfig, objects, pools
from e2e.cluster import Cluster
from e2e.command import COMMAND
from e2e.operator import OperatorProcess
from e2e.site import Site

# What `explain` needs beyond the cluster role `view`, as its help says.
NODES = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRole",
    "metadata": {"name": "e2e-list-nodes"},
    "rules": [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]}],
}


@pytest.fixture(scope="module")
def scene(operator: OperatorProcess, cluster: Cluster) -> Iterator[Site]:
    """A primary that is full, a standby that is full of burst pods, one that may take one more, and pods that wait."""
    site = Site(cluster)
    try:
        site.add_taken_node("aws", gpus=4)
        site.add_nodes("nebius", gpus=4, taint=True)
        site.add_nodes("crusoe", gpus=4, taint=True)
        priced = [
            pools.provider(site, "aws", pricePerAcceleratorHour="12.29"),
            pools.provider(site, "nebius", pricePerAcceleratorHour="2.95"),
            pools.provider(site, "crusoe", capacity={"maxAccelerators": 1}),
        ]
        with pools.pool(site, priced):
            site.create(*objects.gpu_pods("chat", 5, labels={"app": "chat"}))
            site.wait_bound(5, labels="app=chat")
            site.create(
                objects.gpu_pod("waiting"),
                objects.gpu_pod("stays", annotations={pools.ALLOWED: ""}),
                objects.gpu_pod("processors-only", gpus=0, nodeSelector={"no-such": "node"}),
            )
            pools.wait_condition(site, site.namespace, "Bursting", "True", says="5 pod(s)")
            two = {"pods": 2, "accelerators": 2, "gated": 0}
            pools.wait_status(
                site.api, site.namespace, lambda status: status.get("pending") == two, "two pods that wait"
            )
            yield site
    finally:
        site.close()


@pytest.fixture(scope="module")
def viewer(scene: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The kubeconfig of somebody who may view the cluster, and list nodes."""
    api, account = scene.api, {"kind": "ServiceAccount", "name": "viewer", "namespace": scene.namespace}
    scene.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "viewer"}})
    api.create(NODES)
    roles = ("view", "e2e-list-nodes")
    for role in roles:
        api.create(_bound(role, account))
    # `view` gains what the chart adds to it a moment after the release is installed.
    chart.until(lambda: _may_list_pools(scene), "the cluster role view to know pools")
    yield kubeconfig.write(
        tmp_path_factory.mktemp("viewer") / "kubeconfig",
        server=scene.cluster.url,
        ca_file=scene.cluster.ca_file,
        token=api.token("viewer", scene.namespace),
        namespace=scene.namespace,
    )
    for role in roles:
        api.delete("clusterrolebindings.rbac.authorization.k8s.io", f"e2e-{role}")
    api.delete("clusterroles.rbac.authorization.k8s.io", "e2e-list-nodes")


def _bound(role: str, account: dict[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": f"e2e-{role}"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [account],
    }


def _may_list_pools(site: Site) -> bool:
    rules = site.api.get("clusterroles.rbac.authorization.k8s.io", "view")["rules"]
    return any("computepools" in rule.get("resources", []) for rule in rules)


def _run(config: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return command.run(*words, "--kubeconfig", str(config))


def _prints(config: Path, *words: str) -> str:
    ended = _run(config, *words)
    assert ended.returncode == 0, ended.stderr
    return "\n".join(line.rstrip() for line in ended.stdout.splitlines())


def _fails(config: Path, *words: str) -> str:
    ended = _run(config, *words)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr
    return " ".join(ended.stderr.split())


# -- status


def test_status_shows_who_leads_and_what_the_operator_reported(
    scene: Site, viewer: Path, operator: OperatorProcess
) -> None:
    leader, blank, *lines = _prints(viewer, "status", scene.namespace).splitlines()
    assert leader.startswith(f"Leader: {operator.identity} (renewed "), "which the cluster role view lets a person read"
    assert leader.endswith(" ago). The figures are current.")
    assert blank == ""
    assert lines[0] == f"{scene.namespace}  Enforce  nvidia.com/gpu"
    assert [line.split() for line in lines[2:5]] == [
        ["aws", "primary", "1", "4/4", "0", "0", "0", "49.16"],
        ["nebius", "standby", "1", "4/4", "0", "0", "4", "11.80"],
        ["crusoe", "standby", "1", "1/4", "3", "0", "1", "-"],
    ]
    assert " 2 pods waiting for 2 accelerators. The pool costs 60.96 an hour." in lines
    conditions = {
        line.split()[0]: line.split()[1:3] for line in lines if line.startswith(" ") and len(line.split()) > 2
    }
    assert conditions["Ready"] == ["True", "Reconciled"]
    assert conditions["Saturated"][0] == "True"
    assert conditions["Bursting"] == ["True", "PodsOnStandby"]
    assert "ago: Burst (PrimarySaturated)" in lines[-1]


def test_status_of_all_pools_has_this_one_among_them(scene: Site, viewer: Path) -> None:
    assert scene.namespace in _prints(viewer, "status")


def test_programs_get_the_same_as_json(scene: Site, viewer: Path) -> None:
    told = json.loads(_prints(viewer, "status", scene.namespace, "--output", "json"))
    assert told["leader"]["leading"] == "Leads"
    (pool,) = told["pools"]
    assert (pool["name"], pool["current"]) == (scene.namespace, True)
    assert pool["status"]["burstPods"] == 5


# -- explain


def test_a_pod_on_the_primary_runs_at_home(scene: Site, viewer: Path) -> None:
    text = _prints(viewer, "explain", "resident-0")
    assert f"Runs on aws, node {scene.namespace}-aws" in text
    assert "RunsOnPrimary" in text


def test_a_burst_pod_says_where_it_was_sent(scene: Site, viewer: Path) -> None:
    text = _prints(viewer, "explain", "chat-0", "-n", scene.namespace)
    assert f"{scene.namespace}/chat-0  1 nvidia.com/gpu  priority 0  pool {scene.namespace}" in text
    assert "Runs on nebius" in text
    assert "It was sent to nebius " in text
    assert "failback.policy is Never" in text


def test_a_waiting_pod_lists_the_providers_in_order_with_their_reasons(scene: Site, viewer: Path) -> None:
    lines = _prints(viewer, "explain", f"{scene.namespace}/waiting").splitlines()
    verdicts = [
        line.split()[:2] for line in lines if line.split()[:1] and line.split()[0] in ("aws", "nebius", "crusoe")
    ]
    assert verdicts == [["aws", "NoRoom"], ["nebius", "NoRoom"], ["crusoe", "AtMaxAccelerators"]]
    assert any(line.startswith("NoProviderLeft: ") for line in lines)


def test_a_pod_that_may_not_leave_says_so(scene: Site, viewer: Path) -> None:
    text = _prints(viewer, "explain", "stays")
    assert "NotAllowed" in text
    assert "is empty: it never leaves the primary" in text


def test_a_pod_that_no_pool_looks_after_says_why(scene: Site, viewer: Path) -> None:
    text = _prints(viewer, "explain", "processors-only")
    assert "No ComputePool looks after this pod." in text
    assert "It requests no accelerator of any pool" in text


# -- what goes wrong


def test_an_unknown_pod_and_an_unknown_pool_are_told(scene: Site, viewer: Path) -> None:
    assert f"there is no pod 'nobody' in namespace '{scene.namespace}'" in _fails(viewer, "explain", "nobody")
    assert "there is no ComputePool 'nobody'" in _fails(viewer, "status", "nobody")


def test_without_the_right_to_list_nodes_status_works_and_explain_says_what_it_needs(scene: Site, viewer: Path) -> None:
    name = "e2e-e2e-list-nodes"
    binding = scene.api.get("clusterrolebindings.rbac.authorization.k8s.io", name)
    scene.api.delete("clusterrolebindings.rbac.authorization.k8s.io", name)
    try:
        chart.until(lambda: _run(viewer, "explain", "chat-0").returncode == 1, "the right to be gone")
        partly = _run(viewer, "explain", "chat-0")
        assert f"Runs on node {scene.namespace}-nebius" in partly.stdout
        said = " ".join(partly.stderr.split())
        assert 'cannot list resource "nodes"' in said
        assert "This command needs the right to list computepools, namespaces, nodes and pods" in said
        assert scene.namespace in _prints(viewer, "status")
    finally:
        scene.api.create({**binding, "metadata": {"name": name}})
        chart.until(lambda: _run(viewer, "explain", "chat-0").returncode == 0, "the right to be back")


def test_a_cluster_that_is_not_there_is_told(scene: Site, viewer: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "kubeconfig"
    elsewhere.write_text(viewer.read_text().replace(scene.cluster.url, "https://127.0.0.1:1"))
    assert "the API server does not answer: Cannot connect to host 127.0.0.1:1" in _fails(elsewhere, "status")
    assert f"no kubeconfig file at {tmp_path / 'none'}" in _fails(tmp_path / "none", "status")


def test_a_cluster_that_can_not_be_trusted_is_told(scene: Site, viewer: Path, tmp_path: Path) -> None:
    untrusting = tmp_path / "kubeconfig"
    lines = [line for line in viewer.read_text().splitlines() if "certificate-authority" not in line]
    untrusting.write_text("\n".join(lines))
    said = _fails(untrusting, "status")
    assert said.startswith("the server's certificate is not accepted: 127.0.0.1:")


# -- as a plugin


def test_kubectl_finds_the_command_as_its_plugin(scene: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(Path(COMMAND).parent), prepend=os.pathsep)
    assert scene.namespace in scene.cluster.kubectl("computepool", "status")
    assert "Usage: kubectl computepool" in scene.cluster.kubectl("computepool", "--help")
    flags = ("--kubeconfig", str(scene.cluster.kubeconfig), "--namespace", scene.namespace)
    assert "RunsOnPrimary" in scene.cluster.kubectl("computepool", *flags, "explain", "pod/resident-0")
