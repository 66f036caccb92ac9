"""`computepool explain` on a real cluster, for each kind of pod and with less than all rights.

The pool is in mode Observe, so that pods that would be sent to a standby wait until they are explained.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e import chart, command, objects, pools
from e2e.cluster import Cluster
from e2e.operator import OperatorProcess
from e2e.site import Site
from tests.e2e.people import person, role

Json = dict[str, Any]
GANG = "jobset.sigs.k8s.io/jobset-name"


@pytest.fixture(scope="module")
def scene(operator: OperatorProcess, cluster: Cluster) -> Iterator[Site]:
    """A full primary; a standby behind another team's taint; a standby that takes pods; and a cheaper one behind it."""
    site = Site(cluster)
    try:
        site.add_taken_node("aws", gpus=2)
        (reserved,) = site.add_nodes("nebius", gpus=4, taint=True)
        site.taint([reserved], "team", "vision")
        site.add_nodes("crusoe", gpus=4, taint=True)
        site.add_nodes("lambda", gpus=4, taint=True)
        priced = [
            pools.provider(site, "aws"),
            # A new node's taint counts as a startup taint for so long.
            pools.provider(site, "nebius", provisionTimeoutSeconds=1),
            pools.provider(site, "crusoe", pricePerAcceleratorHour="3.40"),
            pools.provider(site, "lambda", pricePerAcceleratorHour="1.10"),
        ]
        with pools.pool(site, priced, mode="Observe"):
            site.create(
                objects.gpu_pod("web"),
                objects.gpu_pod("huge", gpus=64),
                objects.gpu_pod("gated", schedulingGates=[{"name": "kueue.x-k8s.io/admission"}]),
                *objects.gpu_pods("member", 3, labels={GANG: "llama"}),
                objects.gpu_pod("other-accelerator", resource="amd.com/gpu"),
            )
            pools.wait_condition(site, site.namespace, "Ready", "True")
            yield site
    finally:
        site.close()


def explained(site: Site, *words: str, config: Path | None = None) -> subprocess.CompletedProcess[str]:
    if config is not None:
        return command.run("explain", *words, "--kubeconfig", str(config))
    return command.run("explain", *words, env=site.cluster.command_env())


def said(site: Site, *words: str) -> str:
    """What it prints about a pod, on one line."""
    ended = explained(site, *words, "--namespace", site.namespace)
    assert ended.returncode == 0, ended.stderr
    return " ".join(ended.stdout.split())


def verdicts(site: Site, name: str) -> dict[str, str]:
    """Provider and verdict of each row of the table about a pod."""
    lines = explained(site, f"{site.namespace}/{name}").stdout.splitlines()
    rows = [line.split()[:2] for line in lines if line.startswith(" ")]
    return {provider: verdict for provider, verdict in rows if provider != "Provider"}


# -- the walk over all providers


def test_it_walks_all_providers_and_goes_on_past_the_chosen_one(scene: Site) -> None:
    chart.until(lambda: verdicts(scene, "web")["nebius"] == "Tainted", "the time of a startup taint to be over")
    found = verdicts(scene, "web")
    assert list(found.items()) == [
        ("aws", "NoRoom"),
        ("nebius", "Tainted"),
        ("crusoe", "Chosen"),
        ("lambda", "LessPreferred"),
    ]
    text = said(scene, "web")
    assert "Would be sent to crusoe." in text
    (reserved,) = [node["metadata"]["name"] for node in scene.nodes() if "-nebius-" in node["metadata"]["name"]]
    assert f"Node {reserved} has the taint team=vision:NoSchedule." in text
    assert "It is cheaper (1.10 against 3.40 an hour), but the price is not asked for: placement is Ordered." in text


def test_a_pod_that_fits_nowhere_learns_why_of_each(scene: Site) -> None:
    assert verdicts(scene, "huge") == {
        "aws": "TooLarge",
        "nebius": "Tainted",
        "crusoe": "TooLarge",
        "lambda": "TooLarge",
    }


# -- kinds of pods


def test_a_gated_pod_names_its_gate_and_who_removes_it(scene: Site) -> None:
    text = said(scene, "gated")
    assert "Gated: " in text
    assert "Its scheduling gate kueue.x-k8s.io/admission is removed by Kueue." in text


def test_a_member_of_a_gang_names_the_gang(scene: Site) -> None:
    assert f"It is a member of the gang llama ({GANG}) of 3 pods, of which 0 bound and 3 waiting." in said(
        scene, "member-0"
    )


def test_a_pod_of_a_daemonset_names_it_and_its_node(scene: Site) -> None:
    template = objects.gpu_pod("agent", labels={"app": "agent"}, nodeSelector={objects.PROVIDER_KEY: "aws"})
    template["spec"]["nodeSelector"] |= scene.labels
    daemonset = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "agent"},
        "spec": {
            "selector": {"matchLabels": {"app": "agent"}},
            "template": {"metadata": {"labels": {"app": "agent"}}, "spec": template["spec"]},
        },
    }
    scene.create(daemonset)
    (pod,) = scene.wait_unschedulable(1, labels="app=agent")
    (node,) = [node["metadata"]["name"] for node in scene.nodes() if "-aws-" in node["metadata"]["name"]]
    text = said(scene, pod["metadata"]["name"])
    assert "NodeBound: " in text
    assert f"The DaemonSet agent made it for node {node}: it runs there or nowhere." in text


def test_a_pod_that_has_ended_says_how(scene: Site) -> None:
    tolerations = [{"key": objects.PROVIDER_KEY, "operator": "Equal", "value": "lambda", "effect": "NoSchedule"}]
    scene.create(objects.gpu_job("once", 1, runs=1, tolerations=tolerations))
    ended = scene.api.wait_for(
        "pods",
        lambda found: [pod for pod in found if pod["status"].get("phase") == "Succeeded"],
        scene.namespace,
        labels="app=once",
        what="a pod that has ended",
    )
    text = said(scene, ended[0]["metadata"]["name"])
    assert "It has ended, so nothing is decided about it." in text
    assert "Its phase is Succeeded." in text


def test_a_pod_of_another_accelerator_says_which(scene: Site) -> None:
    text = said(scene, "other-accelerator")
    assert "No ComputePool looks after this pod." in text
    assert "it requests 1 amd.com/gpu." in text


def test_a_pod_of_a_namespace_that_no_pool_selects_names_the_selector(scene: Site, cluster: Cluster) -> None:
    elsewhere = Site(cluster)
    try:
        elsewhere.create(objects.gpu_pod("lost", nodeSelector={"no-such": "node"}))
        text = said(elsewhere, "lost")
        wanted = f"its namespaceSelector wants e2e.computepool.io/site={scene.namespace}"
        assert f"Pool {scene.namespace}: {wanted}, and namespace {elsewhere.namespace} has" in text
    finally:
        elsewhere.close()


# -- the ways to name it, as kubectl passes them on


def test_every_form_of_a_reference_finds_the_pod(scene: Site) -> None:
    names = (("web",), ("pod/web",), (f"{scene.namespace}/web",), (f"{scene.namespace}/pod/web",))
    assert len({said(scene, *words).partition("Would")[2] for words in names}) == 1
    ended = explained(scene, "a/b/c/d")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "names no pod" in ended.stderr
    assert "Traceback" not in ended.stderr


# -- rights


def test_the_charts_role_is_enough(scene: Site, tmp_path: Path) -> None:
    binding = {"kind": "ClusterRoleBinding", "roleRef": role("computepool-explainer")}
    with person(scene, tmp_path, "explainer", binding) as config:
        ended = explained(scene, "web", config=config)
    assert ended.returncode == 0, ended.stderr
    assert "Would be sent to crusoe." in ended.stdout


def test_it_runs_with_the_operators_own_rights_as_in_its_pod(scene: Site) -> None:
    config = scene.cluster.kubeconfig_for(chart.SERVICE_ACCOUNT, chart.NAMESPACE)
    ended = explained(scene, f"{scene.namespace}/web", config=config)
    assert ended.returncode == 0, ended.stderr
    assert "Would be sent to crusoe." in ended.stdout


def test_who_may_only_view_the_namespace_learns_what_is_missing_and_what_can_be_said(
    scene: Site, tmp_path: Path
) -> None:
    with person(scene, tmp_path, "tenant", {"kind": "RoleBinding", "roleRef": role("view")}) as config:
        ended = explained(scene, "pod/gated", config=config)
    assert ended.returncode == 1
    assert f"{scene.namespace}/gated  1 nvidia.com/gpu" in ended.stdout
    assert "There is no verdict, because not all of the cluster may be read." in ended.stdout
    told = " ".join(ended.stderr.split())
    for resource in ("computepools", "namespaces", "nodes", "pods"):
        assert f'cannot list resource "{resource}"' in told
    assert "the ClusterRole computepool-explainer" in told
    assert "Traceback" not in told
