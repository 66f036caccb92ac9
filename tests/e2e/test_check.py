"""`computepool check` as `helm test` runs it: with the arguments and the rights of the chart's hook."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from e2e import chart, command, pools
from e2e.chart import CHECK_ACCOUNT, NAMESPACE
from e2e.cluster import Cluster
from e2e.kubeapi import KubeApi
from e2e.operator import OperatorProcess
from e2e.site import Site


@pytest.fixture
def check(cluster: Cluster, own_operator: OperatorProcess) -> Iterator[list[str]]:
    """The hook's objects without its Job, whose pod kwok would play; and the arguments of the Job."""
    parts = list(yaml.safe_load_all(chart.rendered(cluster, "check.yaml")))
    (job,) = (part for part in parts if part["kind"] == "Job")
    others = yaml.safe_dump_all(part for part in parts if part is not job)
    cluster.kubectl("create", "--filename", "-", input=others)
    yield list(job["spec"]["template"]["spec"]["containers"][0]["args"])
    cluster.kubectl("delete", "--filename", "-", input=others)


def _run(account: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return command.run(*words, env={"KUBECONFIG": str(account)})


def test_the_hook_passes_while_an_operator_leads_and_fails_once_it_is_gone(
    check: list[str], cluster: Cluster, own_operator: OperatorProcess, site: Site
) -> None:
    account = cluster.kubeconfig_for(CHECK_ACCOUNT, NAMESPACE)
    with pools.pool(site, ["aws", "nebius"]) as pool:
        passed = _run(account, *check)
        assert passed.returncode == 0, passed.stderr
        leads, *told = passed.stdout.splitlines()
        lease = f"the Lease computepool in namespace {NAMESPACE}"
        assert leads == f"{own_operator.identity} leads: it has just renewed {lease}."
        # No node matches, which the operator has seen: that is the pool's own problem.
        assert told[0] == "It has read 1 pool."
        assert told[1].startswith(f"Pool {pool['metadata']['name']} is not Ready (NoNodesMatch): ")

        own_operator.pause()
        paused = _run(account, *check[:-1], "--wait-seconds=4")
        assert paused.returncode == 1
        # On a slow machine the Lease may have run out by the time the command looks: then it names the last holder.
        assert own_operator.identity in paused.stderr
        assert "has just renewed" not in paused.stdout
        own_operator.resume()


def test_the_hook_may_read_the_lease_and_the_pools_and_nothing_else(check: list[str], cluster: Cluster) -> None:
    account = cluster.api_for(CHECK_ACCOUNT, NAMESPACE)
    lease = {"group": "coordination.k8s.io", "resource": "leases", "namespace": NAMESPACE, "name": "computepool"}
    listed = {"group": "computepool.io", "resource": "computepools", "verb": "list"}
    assert _may(account, lease | {"verb": "get"})
    assert _may(account, listed)
    refused = [lease | {"verb": verb} for verb in ("list", "patch", "update", "delete")]
    refused += [listed | {"verb": verb} for verb in ("watch", "patch", "create", "delete")]
    refused += [{"group": "", "resource": kind, "verb": "list"} for kind in ("pods", "nodes", "secrets", "events")]
    assert [right for right in refused if _may(account, right)] == []


def _may(account: KubeApi, right: dict[str, str]) -> bool:
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": right},
    }
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    return bool(account.request("POST", path, review)["status"]["allowed"])
