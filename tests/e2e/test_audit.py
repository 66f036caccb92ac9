"""`computepool audit` of a real cluster: live and saved, with few rights, and what it says of a loss comes true."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from e2e import brisk, command, objects, pools
from e2e.access import Access
from e2e.cluster import Cluster
from e2e.operator import OperatorProcess
from e2e.scene import COUNT, FIRST, GPUS, SECOND, THIRD, WORK, Json, home
from e2e.site import Site

SAVED = "nodes,pods,namespaces,replicasets,jobs,poddisruptionbudgets"
FEW: Json = {"apiGroups": [""], "resources": ["nodes", "pods"], "verbs": ["list"]}
ALL: list[Json] = [
    {"apiGroups": [""], "resources": ["nodes", "pods", "namespaces"], "verbs": ["get", "list"]},
    {"apiGroups": ["apps", "batch", "policy", "computepool.io"], "resources": ["*"], "verbs": ["get", "list"]},
]


def _audit(cluster: Access, *words: str, kubeconfig: Path | None = None) -> Json:
    env = cluster.command_env() if kubeconfig is None else {"KUBECONFIG": str(kubeconfig)}
    ran = command.run("audit", "-o", "json", *words, env=env)
    assert ran.returncode == 0, ran.stderr
    found: Json = json.loads(ran.stdout)
    return found


def _two_providers(site: Site) -> None:
    """8 accelerators at aws, of which a Deployment holds 6, and 4 at nebius."""
    site.add_nodes("aws", 2, gpus=4)
    site.add_nodes("nebius", gpus=4, taint=True)
    site.create(objects.gpu_deployment("work", 3, gpus=2))
    site.wait_bound(3)


@pytest.fixture
def account(site: Site) -> Iterator[Callable[[str, list[Json]], Path]]:
    """Makes accounts with rights in the whole cluster; a call returns the kubeconfig of a new account."""
    roles: list[str] = []

    def make(name: str, rules: list[Json]) -> Path:
        role = f"{site.namespace}-{name}"
        own = {"name": name, "namespace": site.namespace}
        rbac = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": role}}
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
        subjects = [{"kind": "ServiceAccount", **own}]
        site.api.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": own})
        site.api.create({**rbac, "kind": "ClusterRole", "rules": rules})
        roles.append(role)
        site.api.create({**rbac, "kind": "ClusterRoleBinding", "roleRef": reference, "subjects": subjects})
        return site.cluster.kubeconfig_for(name, site.namespace)

    yield make
    for kind in ("clusterroles", "clusterrolebindings"):
        site.api.delete_many(f"{kind}.rbac.authorization.k8s.io", roles)


def test_a_cluster_is_audited_before_anything_is_installed(cluster: Cluster, site: Site) -> None:
    _two_providers(site)
    found = _audit(cluster)
    assert [each["name"] for each in found["providers"]] == ["aws", "nebius"]
    assert (found["verdict"]["held"], found["verdict"]["placed"], found["verdict"]["stranded"]) == (6, 4, 2)
    (workload,) = found["workloads"]
    assert (workload["kind"], workload["name"], workload["providers"]) == ("Deployment", "work", {"aws": 6})
    assert found["cluster"]["version"].startswith("v1.")
    assert "policy/v1" in found["cluster"]["apis"]
    told = command.run("audit", "--fail-on", "stranded", env=cluster.command_env())
    assert told.returncode == 3
    assert told.stdout.startswith(
        "If aws fails now: 4 of 6 accelerators have somewhere to go; 2 do not, of 1 workload."
    )


def test_a_saved_cluster_gives_the_same_answer(cluster: Cluster, site: Site, tmp_path: Path) -> None:
    _two_providers(site)
    saved = tmp_path / "cluster.json"
    saved.write_text(cluster.kubectl("get", SAVED, "--all-namespaces", "-o", "json"))
    as_yaml = tmp_path / "cluster.yaml"
    as_yaml.write_text(cluster.kubectl("get", SAVED, "--all-namespaces", "-o", "yaml"))
    live, *others = _audit(cluster), _audit(cluster, "--from", str(saved)), _audit(cluster, "--from", str(as_yaml))
    for other in others:
        for part in ("verdict", "providers", "supply", "concentration", "workloads", "losses"):
            assert other[part] == live[part]


def test_the_rights_to_get_and_list_are_enough_and_with_fewer_it_says_what_is_missing(
    cluster: Cluster, site: Site, account: Callable[[str, list[Json]], Path]
) -> None:
    _two_providers(site)
    everything = _audit(cluster, kubeconfig=account("reader", ALL))
    assert everything["cluster"]["notRead"] == {}
    assert everything["workloads"][0]["kind"] == "Deployment"

    few = account("few", [FEW])
    found = _audit(cluster, kubeconfig=few)
    assert found["verdict"]["stranded"] == everything["verdict"]["stranded"]
    assert found["cluster"]["notRead"].keys() >= {"Namespace", "PodDisruptionBudget", "ReplicaSet"}
    assert "poddisruptionbudgets" in found["cluster"]["notRead"]["PodDisruptionBudget"]
    assert found["workloads"][0]["kind"] == "ReplicaSet"
    assert command.run("audit", "--fail-on", "unread", env={"KUBECONFIG": str(few)}).returncode == 3

    none = command.run("audit", env={"KUBECONFIG": str(account("none", []))})
    assert (none.returncode, none.stdout) == (1, "")
    assert "nodes" in none.stderr
    assert "This command needs the right to list nodes and pods in the whole cluster." in " ".join(none.stderr.split())


def test_a_part_of_a_provider_is_lost(cluster: Cluster, site: Site) -> None:
    p5 = {"eks.amazonaws.com/nodegroup": "p5", "topology.kubernetes.io/region": "us-east-1"}
    site.add_nodes("aws", gpus=4, labels=p5)
    site.add_nodes("aws", gpus=4, labels={"eks.amazonaws.com/nodegroup": "g6"})
    site.create(objects.gpu_deployment("work", 2, gpus=3))
    site.wait_bound(2)
    losses = {" ".join(each["name"] for each in loss["lost"]): loss for loss in _audit(cluster)["losses"]}
    assert losses.keys() == {"aws", "us-east-1", "aws/p5", "aws/g6"}
    assert losses["aws/p5"]["stranded"] == losses["us-east-1"]["stranded"] == 3


# -- with an operator


def test_the_suggested_pool_is_accepted_as_it_is(operator: OperatorProcess, site: Site) -> None:
    _two_providers(site)
    text = command.run("audit", "--suggest", env=site.cluster.command_env()).stdout
    name = yaml.safe_load(text)["metadata"]["name"]
    site.cluster.kubectl("apply", "-f", "-", input=text)
    try:
        pools.wait_condition(site, name, "Configured", "True")
        status = brisk.status_of(site, name)
        assert {each["name"]: each["accelerators"]["allocatable"] for each in status["providers"]} == {
            "aws": 8,
            "nebius": 4,
        }
    finally:
        site.cluster.kubectl("delete", "computepool", name)


@pytest.mark.parametrize("count", [COUNT, 2])
def test_what_is_said_of_a_loss_comes_true(operator: OperatorProcess, site: Site, count: int) -> None:
    # The first standby has four places, and the second gives one of its four.
    standbys = pools.provider(site, SECOND), pools.provider(site, THIRD, capacity={"maxAccelerators": 1})
    providers = (FIRST, *standbys)
    with home(site, count=count, standby=1, providers=providers, health={"unhealthyPercent": 50}) as scene:
        told = _audit(site.cluster, "--lose", FIRST)["verdict"]
        assert (told["held"], told["stranded"]) == (count, max(0, count - GPUS - 1))
        scene.silence(FIRST)
        scene.history.wait(lambda: _elsewhere(site) == told["moves"], "what was told")
        left = [pod for pod in _alive(site) if site.providers_of([pod]).keys() <= {FIRST}]
        assert len(left) == told["stranded"]


def _alive(site: Site) -> list[Json]:
    return [pod for pod in site.pods(WORK) if "deletionTimestamp" not in pod["metadata"]]


def _elsewhere(site: Site) -> dict[str, int]:
    bound = site.providers_of(pod for pod in _alive(site) if objects.is_bound(pod))
    return {provider: count for provider, count in bound.items() if provider != FIRST}
