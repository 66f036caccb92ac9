"""No quarantine taint outlives the release: the hook of `helm uninstall`, its command, and the one by hand.

It has a cluster of its own: a cleanup frees every node there is.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e import chart, command, objects
from e2e.chart import CLEANUP_ACCOUNT, NAMESPACE
from e2e.cluster import Cluster
from e2e.errors import CommandError
from tests.unit.docs.blocks import UNINSTALL, blocks

Json = dict[str, Any]

KEY = "computepool.io/unavailable"
JOBS = "jobs.batch"
HOOKS = ("serviceaccounts", "clusterroles.rbac.authorization.k8s.io", "clusterrolebindings.rbac.authorization.k8s.io")
OTHER = {"key": "maintenance", "value": "x", "effect": "NoSchedule"}
OWN = {"key": KEY, "value": "ProviderSilent", "effect": "NoSchedule"}
CLEANUP = "cleanup.yaml"


@pytest.fixture(scope="module")
def own() -> Iterator[Cluster]:
    with Cluster() as cluster:
        cluster.api.create(objects.namespace(NAMESPACE))
        yield cluster


@pytest.fixture
def quarantined(own: Cluster) -> Iterator[Cluster]:
    """Three nodes that can take pods, two of which carry the taint."""
    for name, taints in (("a1", []), ("n1", [OTHER, OWN]), ("n2", [OWN])):
        own.api.create(objects.gpu_node(name, "nebius", taints=taints))
    own.api.wait_for("nodes", lambda found: all(map(_ready, found)), what="nodes to be ready")
    yield own
    own.api.delete_all("nodes", grace_seconds=0)


def _ready(node: Json) -> bool:
    return objects.condition_of(node, "Ready") == "True" and len(_taints(node)) == len(node["spec"].get("taints", []))


def _taints(node: Json) -> list[str]:
    return [one["key"] for one in node["spec"].get("taints", []) if one["key"] in (KEY, "maintenance")]


def _left(cluster: Cluster) -> dict[str, list[str]]:
    return {node["metadata"]["name"]: _taints(node) for node in cluster.api.list("nodes")}


FREED = {"a1": [], "n1": ["maintenance"], "n2": []}


@pytest.fixture
def account(quarantined: Cluster) -> Iterator[Path]:
    """A kubeconfig of the hook's ServiceAccount, made as Helm makes it while the hook runs."""
    rendered = chart.rendered(quarantined, CLEANUP)
    # The Job's own pod would be played by kwok, which runs no command.
    parts = "---".join(one for one in rendered.split("---") if "kind: Job" not in one)
    quarantined.kubectl("create", "--filename", "-", input=parts)
    yield quarantined.kubeconfig_for(CLEANUP_ACCOUNT, NAMESPACE)
    quarantined.kubectl("delete", "--filename", "-", input=parts)


def _run(config: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return command.run(*words, env={"KUBECONFIG": str(config)})


def test_the_hooks_command_frees_all_nodes_with_the_rights_that_the_hook_has(
    quarantined: Cluster, account: Path
) -> None:
    told = _run(account, "cleanup", "--dry-run")
    assert (told.returncode, told.stdout.splitlines()[-1]) == (0, "2 nodes would be freed. Nothing was changed.")
    assert _left(quarantined) == FREED | {"n1": ["maintenance", KEY], "n2": [KEY]}
    ran = _run(account, "cleanup")
    assert ran.returncode == 0, ran.stderr
    assert "2 nodes freed." in ran.stdout
    assert _left(quarantined) == FREED


def test_somebody_without_the_right_is_told_what_it_takes(quarantined: Cluster) -> None:
    ran = _run(quarantined.kubeconfig_for("default", NAMESPACE), "cleanup")
    assert ran.returncode == 1
    assert "needs the right to list and patch nodes" in " ".join(ran.stderr.split())
    assert "Traceback" not in ran.stderr


def test_the_one_command_that_is_documented_frees_all_nodes_too(quarantined: Cluster) -> None:
    # It complains about nodes that have no such taint, and goes on.
    quarantined.kubectl("taint", "nodes", "--all", f"{KEY}-", check=False)
    assert _left(quarantined) == FREED


def test_an_uninstall_makes_the_hooks_objects_runs_the_job_and_leaves_none_of_them(quarantined: Cluster) -> None:
    chart.install(quarantined, values={**chart.NO_OPERATOR_PODS, "cleanup.enabled": True})
    assert not any(_hooks(quarantined).values()), "they are made when they are needed"
    chart.uninstall(quarantined)
    assert not any(_hooks(quarantined).values())
    (ended,) = [event for event in _events(quarantined) if event["reason"] == "Completed"]
    assert ended["regarding"]["kind"] == "Job"
    pods = quarantined.api.list("pods", NAMESPACE, labels="app.kubernetes.io/component=cleanup")
    assert all(pod["metadata"].get("deletionTimestamp") or pod["status"]["phase"] == "Succeeded" for pod in pods)


def test_a_job_that_no_node_takes_holds_the_uninstall_up_for_its_time_and_no_longer(quarantined: Cluster) -> None:
    values = {
        **chart.NO_OPERATOR_PODS,
        "cleanup": {"enabled": True, "timeoutSeconds": 10},
        "nodeSelector": {"no-such": "node"},
    }
    chart.install(quarantined, values=values)
    with pytest.raises(CommandError, match="uninstallation completed with 1 error") as failed:
        chart.uninstall(quarantined)
    assert f"Job/{NAMESPACE}/{CLEANUP_ACCOUNT} not ready" in failed.value.stderr
    (job,) = quarantined.api.list(JOBS, NAMESPACE)
    assert {one["reason"] for one in job["status"]["conditions"]} == {"DeadlineExceeded"}
    assert quarantined.helm("list", "--all-namespaces", "--short").strip() == ""
    assert _hooks(quarantined) == {kind: [] for kind in HOOKS} | {JOBS: [CLEANUP_ACCOUNT]}
    # A new release, and its end, take what was left of the one before away.
    chart.install(quarantined, values={**chart.NO_OPERATOR_PODS, "cleanup.enabled": True})
    chart.uninstall(quarantined)
    assert not any(_hooks(quarantined).values())


def test_what_an_older_helm_leaves_of_a_job_that_failed_is_shown_and_removed_as_documented(
    quarantined: Cluster,
) -> None:
    # A Job that can't come to its end.
    rendered = chart.rendered(quarantined, CLEANUP, {"nodeSelector": {"no-such": "node"}})
    quarantined.kubectl("create", "--filename", "-", input=rendered)
    assert _hooks(quarantined) == {kind: [CLEANUP_ACCOUNT] for kind in (*HOOKS, JOBS)}
    (block,) = (one for one in blocks(UNINSTALL) if "get job" in one.text)
    show, remove = (shlex.split(command)[1:] for command in block.commands())
    assert quarantined.kubectl(*show).count(CLEANUP_ACCOUNT) >= len((*HOOKS, JOBS))
    quarantined.kubectl(*remove)
    assert not any(_hooks(quarantined).values())
    # Once there is nothing, both say so by saying nothing.
    assert [quarantined.kubectl(*command) for command in (show, remove)] == ["", ""]


def _hooks(cluster: Cluster) -> dict[str, list[str]]:
    """The hook's objects that are there, by kind."""
    return {
        kind: [one["metadata"]["name"] for one in cluster.api.list(kind) if one["metadata"]["name"] == CLEANUP_ACCOUNT]
        for kind in (*HOOKS, JOBS)
    }


def _events(cluster: Cluster) -> list[Json]:
    return [
        event
        for event in cluster.api.list("events.events.k8s.io", NAMESPACE)
        if event["regarding"]["name"].startswith(CLEANUP_ACCOUNT)
    ]
