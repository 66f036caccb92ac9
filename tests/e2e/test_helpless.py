"""An operator that is gone, or may not do its work, shows: in the pools, its log, /readyz and `computepool status`.

Each right is taken from the chart's roles, and `helm upgrade` gives it back, as the messages say.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from e2e import chart, command, objects, pools
from e2e.cluster import Cluster
from e2e.operator import OperatorProcess
from e2e.site import Site

Json = dict[str, Any]
ROLES = "clusterroles.rbac.authorization.k8s.io"
OWN_ROLES = "roles.rbac.authorization.k8s.io"
LEASE_SECONDS = 4.0
ADVICE = "helm upgrade"


@pytest.fixture(autouse=True)
def release(cluster: Cluster) -> Iterator[None]:
    with chart.installed(cluster):
        yield


@pytest.fixture
def ready_site(site: Site) -> Site:
    site.add_nodes("aws", gpus=4)
    site.add_nodes("nebius", gpus=4, taint=True)
    return site


def _without(site: Site, kind: str, name: str, resource: str, namespace: str | None = None) -> None:
    """Take all rights on a resource from a role."""
    rules = site.api.get(kind, name, namespace)["rules"]
    left = [{**rule, "resources": [one for one in rule["resources"] if one != resource]} for rule in rules]
    site.api.patch(kind, name, {"rules": [rule for rule in left if rule["resources"]]}, namespace)


def _restore(site: Site) -> None:
    """Do as the messages say. Helm 4 does not overwrite by itself what somebody else has changed."""
    where = ("--namespace", chart.NAMESPACE, "--reuse-values", "--force-conflicts")
    site.cluster.helm("upgrade", chart.RELEASE, str(chart.CHART), *where)


def _readyz(operator: OperatorProcess) -> str:
    """What /readyz says, whether 200 or 503; empty while nothing is served."""
    if not operator.port:
        return ""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{operator.port}/readyz", timeout=5) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as refused:
        return str(refused.read().decode())


def _wait_readyz(operator: OperatorProcess, *words: str, timeout: float = 90.0) -> None:
    operator.wait_for(lambda: all(word in _readyz(operator) for word in words), f"/readyz to say {words}", timeout)


def _wait_ready(site: Site) -> None:
    """Wait until the pool is Ready. After a refusal, attempts to list wait for up to half a minute."""

    def is_ready(status: Json) -> bool:
        return any((one["type"], one["status"]) == ("Ready", "True") for one in status.get("conditions", []))

    pools.wait_status(site.api, site.namespace, is_ready, "a pool that is Ready", timeout=90)


def _wait_trouble(operator: OperatorProcess, *words: str) -> None:
    """Wait for a log line that says what is wrong and what to do."""

    def told() -> bool:
        lines = [str(line["trouble"]) for line in operator.log_lines() if line["message"] == "trouble"]
        return any(all(word in line for word in words) for line in lines)

    operator.wait_for(told, f"a log line with {words}", 60)


def _headline(site: Site) -> str:
    """The first line of `computepool status`."""
    ran = command.run("status", env=site.cluster.command_env())
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()[0].rstrip()


def _wait_headline(operator: OperatorProcess, site: Site, is_so: Callable[[str], bool], what: str) -> str:
    return operator.wait_for(lambda: line if is_so(line := _headline(site)) else None, what, 60)


def _start(site: Site) -> OperatorProcess:
    return OperatorProcess(site.cluster, lease_seconds=LEASE_SECONDS)


def test_a_right_to_read_that_is_missing_at_the_start_is_told_everywhere(ready_site: Site) -> None:
    site = ready_site
    with pools.pool(site, ("aws", "nebius")) as pool:
        with _start(site) as operator:
            pools.wait_condition(site, site.namespace, "Ready", "True")
            operator.terminate()
        for resource in ("nodes", "pods", "namespaces"):
            _without(site, ROLES, f"{chart.RELEASE}-read", resource)
            with _start(site) as operator:
                name = pool["metadata"]["name"]
                for kind, status in (("Ready", "False"), ("Degraded", "True")):
                    told = pools.wait_condition(site, name, kind, status, "AccessMissing", f"cannot list {resource}")
                    assert ADVICE in told["message"]
                # What was known stays: nothing is known of the cluster now.
                providers = site.api.get(pools.POOLS, name)["status"]["providers"]
                assert [one["accelerators"]["allocatable"] for one in providers] == [4, 4]
                _wait_readyz(operator, f"{resource} are not listed yet", ADVICE)
                _wait_trouble(operator, f"cannot list {resource}", ADVICE)
                said = _wait_headline(operator, site, lambda line: "can't do its work" in line, "the headline to tell")
                assert said.startswith(f"Leader: {operator.identity} ")
                assert f"cannot list {resource}" in said
                _restore(site)
                _wait_ready(site)
                _wait_readyz(operator, "ok")
                operator.wait_logged("trouble is over")
                _wait_headline(operator, site, lambda line: line.endswith("The figures are current."), "all to be well")


def test_a_status_that_may_not_be_written_is_told_by_the_lease(ready_site: Site) -> None:
    site = ready_site
    with _start(site) as operator, pools.pool(site, ("aws", "nebius")):
        pools.wait_condition(site, site.namespace, "Ready", "True")
        _without(site, ROLES, f"{chart.RELEASE}-write", "computepools/status")
        site.create(*objects.gpu_pods("new", 4, labels={"app": "new"}))
        _wait_readyz(operator, "can't be written", "patch computepools/status", ADVICE)
        _wait_trouble(operator, "can't be written", ADVICE)
        said = _wait_headline(operator, site, lambda line: "can't do its work" in line, "the headline to tell")
        assert f"the status of pool {site.namespace} can't be written" in said
        _restore(site)
        _wait_headline(operator, site, lambda line: line.endswith("The figures are current."), "all to be well")
        pools.wait_status(
            site.api,
            site.namespace,
            lambda status: pools.provider_in(status, "aws").get("accelerators", {}).get("allocated") == 4,
            "a status that was written again",
            timeout=90,
        )


def test_a_right_to_patch_pods_that_is_missing_degrades_the_pool_and_says_what_to_do(ready_site: Site) -> None:
    site = ready_site
    _without(site, ROLES, f"{chart.RELEASE}-write", "pods")
    with _start(site) as operator, pools.pool(site, ("aws", "nebius")):
        site.create(*objects.gpu_pods("new", 6, labels={"app": "new"}))
        told = pools.wait_condition(site, site.namespace, "Degraded", "True", "WriteRefused", "patch pods")
        assert ADVICE in told["message"]
        assert ADVICE in operator.wait_logged("write refused", pool=site.namespace)["error"]
        _restore(site)
        site.wait_bound(6, labels="app=new", timeout=120)
        pools.wait_condition(site, site.namespace, "Degraded", "False")


def test_an_operator_that_may_not_have_its_lease_says_so_and_nobody_leads(ready_site: Site) -> None:
    site = ready_site
    _without(site, OWN_ROLES, f"{chart.RELEASE}-write", "leases", chart.NAMESPACE)
    with _start(site) as operator:
        _wait_readyz(operator, "can't be elected", "get leases", ADVICE)
        _wait_trouble(operator, "can't be elected", ADVICE)
        assert ADVICE in operator.wait_logged("lease not taken or renewed, trying again")["error"]
        assert _headline(site).startswith("Nobody leads")
        _restore(site)
        operator.wait_leading()
        _wait_headline(operator, site, lambda line: line.startswith("Leader: "), "the headline to name it")


def test_a_definition_that_is_deleted_is_told_and_pools_are_taken_in_when_it_is_back(ready_site: Site) -> None:
    site = ready_site
    with _start(site) as operator:
        with pools.pool(site, ("aws", "nebius")):
            _wait_ready(site)
            site.api.delete(chart.CRDS, "computepools.computepool.io")
            _wait_readyz(operator, "pools are not listed yet", "CRD", ADVICE, timeout=150)
            _wait_trouble(operator, "CRD", ADVICE)
            assert "CRD" in operator.wait_logged("pools not listed, trying again")["advice"]
            _restore(site)
            chart.until(lambda: _served(site), "pools to be served")
        with pools.pool(site, ("aws", "nebius")):
            _wait_ready(site)
            _wait_readyz(operator, "ok")


def _served(site: Site) -> bool:
    return command.run("status", env=site.cluster.command_env()).returncode == 0


def test_a_dead_leader_shows_with_the_time_of_its_last_renewal(ready_site: Site) -> None:
    site = ready_site
    with pools.pool(site, ("aws", "nebius")):
        with _start(site) as operator:
            pools.wait_condition(site, site.namespace, "Ready", "True")
            assert _headline(site).startswith(f"Leader: {operator.identity} (renewed ")
            operator.kill()
        chart.until(lambda: _headline(site).startswith("Nobody leads"), "the Lease to be over")
        renewed = site.api.get("leases.coordination.k8s.io", "computepool", chart.NAMESPACE)["spec"]["renewTime"]
        assert f"was last renewed at {renewed[:19]}Z by {operator.identity}. That was " in _headline(site)
        with _start(site) as successor:
            _wait_headline(
                successor, site, lambda line: line.startswith(f"Leader: {successor.identity}"), "the successor"
            )
