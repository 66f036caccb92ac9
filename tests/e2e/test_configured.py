"""The manifest held against a real cluster: each difference is told with the objects and the command that mends it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest

from e2e import command, objects, pools
from e2e.objects import PROVIDER_KEY
from e2e.operator import OperatorProcess
from e2e.site import Site

Json = dict[str, Any]

TEAM = "example.com/team"
NEW = "app=new"
LABELS = {"app": "new"}
MOST_MENDS = 4
AT_ONCE = {"provisionTimeoutSeconds": 1}
"""A foreign taint of a new node counts as a startup taint for as long as this."""


def _taint(key: str, value: str = "", effect: str = "NoSchedule") -> Json:
    return {"key": key, "effect": effect, **({"value": value} if value else {})}


def _told(site: Site, reason: str, *names: str, degraded: str = "True", about: str = "") -> str:
    """Wait until Configured, Degraded, HEALTH and `computepool status` tell it; return the message of Configured."""
    # The operator may see the nodes one after another.
    for text in (about, *names):
        told = pools.wait_condition(site, site.namespace, "Configured", "False", reason, text)
    pools.wait_condition(site, site.namespace, "Degraded", degraded, reason)
    assert reason in site.cluster.kubectl("get", "computepools", site.namespace)
    shown = command.run("status", site.namespace, env=site.cluster.command_env()).stdout
    assert all(f"   {line}\n" in shown for line in _commands(told["message"]))
    return str(told["message"])


def _commands(message: str) -> list[str]:
    return re.findall(r"`(kubectl [^`]+)`", message)


def _mend(site: Site, message: str, given: Mapping[str, str] | None = None) -> None:
    """Run the commands that a message tells, with these words in place of others."""
    commands = _commands(message)
    assert commands
    for line in commands:
        for word, name in (given or {}).items():
            line = line.replace(word, name)
        site.cluster.kubectl(*shlex.split(line)[1:])


def _well(site: Site) -> None:
    pools.wait_condition(site, site.namespace, "Configured", "True", "ConfigurationWell")
    # On a busy machine a pod may have waited for long enough to be told of, which lasts for 30 seconds.
    pools.wait_condition(site, site.namespace, "Degraded", "False", "AllWell", timeout=90)


def _run_one(site: Site, **how: Any) -> None:
    site.create(objects.gpu_pod("new", labels=LABELS, **how))


# -- taints of a standby


@pytest.mark.parametrize("taints", [[], [_taint(PROVIDER_KEY, "nebius", "PreferNoSchedule")]], ids=["none", "prefer"])
def test_a_standby_without_a_taint_that_keeps_pods_off(
    operator: OperatorProcess, site: Site, taints: list[Json]
) -> None:
    site.add_nodes("aws", gpus=4)
    names = site.add_nodes("nebius", 2, gpus=4, taints=taints)
    with pools.pool(site, ("aws", "nebius")):
        _run_one(site)
        message = _told(site, "StandbyNotTainted", *names)
        assert "StandbyNotTainted" in command.explained(site, "new")
        _mend(site, message)
        _well(site)
        assert all(objects.provider_taint("nebius") in node["spec"]["taints"] for node in _nodes(site, names))


def test_a_standby_with_a_taint_that_all_pods_tolerate(operator: OperatorProcess, site: Site) -> None:
    site.add_nodes("aws", gpus=4, taints=[_taint(objects.ACCELERATOR)])
    names = site.add_nodes("nebius", gpus=4, taints=[_taint(objects.ACCELERATOR)])
    with pools.pool(site, ("aws", pools.provider(site, "nebius", **AT_ONCE))):
        _run_one(site, tolerations=[{"key": objects.ACCELERATOR, "operator": "Exists"}])
        _mend(site, _told(site, "StandbyNotTainted", *names))
        _well(site)


@pytest.mark.parametrize(
    "taints",
    [
        pytest.param([_taint(PROVIDER_KEY, "nebius1")], id="another-value"),
        pytest.param([_taint(PROVIDER_KEY, "nebius", "NoExecute")], id="another-effect"),
        pytest.param([objects.provider_taint("nebius"), _taint(TEAM, "vision")], id="a-second-taint"),
    ],
)
@pytest.mark.parametrize("pods", [1, 0], ids=["with-pods", "without-pods"])
def test_a_standby_whose_taint_no_pod_tolerates(
    operator: OperatorProcess, site: Site, taints: list[Json], pods: int
) -> None:
    site.add_nodes("aws", gpus=4)
    names = site.add_nodes("nebius", 2, gpus=4, taints=taints)
    with pools.pool(site, ("aws", pools.provider(site, "nebius", **AT_ONCE))):
        if pods:
            _run_one(site)
        # The next pods of a pool without pods may tolerate a foreign taint.
        degraded = "True" if pods or len(taints) == 1 else "False"
        message = _told(site, "StandbyTaintNotTolerated", *names, degraded=degraded)
        room = ("False", "NoStandbyRoom") if degraded == "True" else ("True", "StandbyHasRoom")
        pools.wait_condition(site, site.namespace, "Resilient", *room)
        if pods:
            assert "StandbyTaintNotTolerated" in command.explained(site, "new")
        _mend(site, message)
        pools.wait_condition(site, site.namespace, "Configured", "True")
        pools.wait_condition(site, site.namespace, "Resilient", "True", "StandbyHasRoom")


def test_a_single_node_that_is_reserved_for_others_does_not_degrade_the_pool(
    operator: OperatorProcess, site: Site
) -> None:
    site.add_nodes("aws", gpus=4)
    names = site.add_nodes("nebius", 2, gpus=4, taint=True)
    with pools.pool(site, ("aws", pools.provider(site, "nebius", **AT_ONCE))):
        _run_one(site)
        _well(site)
        site.taint(names[:1], TEAM, "vision")
        message = _told(site, "StandbyTaintNotTolerated", names[0], degraded="False")
        assert names[1] not in message
        pools.wait_condition(site, site.namespace, "Resilient", "True", says="4 on nebius")


def test_a_liqo_taint_is_as_good_as_our_own(operator: OperatorProcess, site: Site) -> None:
    liqo = _taint("virtual-node.liqo.io/not-allowed", "true", "NoExecute")
    site.add_nodes("aws", gpus=4)
    site.add_nodes("nebius", gpus=4, taints=[liqo])
    own = pools.provider(site, "nebius", tolerations=[liqo | {"operator": "Equal"}])
    with pools.pool(site, ("aws", own)):
        _run_one(site)
        _well(site)


# -- the primary


def test_a_primary_whose_taint_no_pod_tolerates(operator: OperatorProcess, site: Site) -> None:
    names = site.add_nodes("aws", 2, gpus=4, taints=[_taint(TEAM, "vision")])
    site.add_nodes("nebius", gpus=4, taint=True)
    with pools.pool(site, (pools.provider(site, "aws", **AT_ONCE), "nebius")):
        _run_one(site)
        site.wait_bound(1, labels=NEW)
        message = _told(site, "PrimaryTaintNotTolerated", *names)
        assert f"{TEAM}=vision:NoSchedule" in message
        assert "PrimaryTaintNotTolerated" in command.explained(site, "new")
        _mend(site, message)
        _well(site)


def test_nodes_that_two_providers_claim(operator: OperatorProcess, site: Site) -> None:
    site.add_nodes("aws", gpus=4)
    both = site.add_nodes("aws", gpus=4, labels={"twice": "yes"}, taint=False)
    second = {"name": "nebius", "nodeSelector": {"matchLabels": {"twice": "yes", **site.labels}}}
    with pools.pool(site, ("aws", second)):
        _run_one(site)
        message = _told(site, "NodesClaimedTwice", *both)
        _mend(site, message)
        # The nodes belong to the second provider now, and lack its taint.
        _mend(site, _told(site, "StandbyNotTainted", *both))
        _well(site)


def test_a_provider_without_nodes(operator: OperatorProcess, site: Site) -> None:
    site.add_nodes("aws", gpus=4)
    names = site.add_nodes("spare", gpus=4, taints=[objects.provider_taint("nebius")])
    with pools.pool(site, ("aws", "nebius")):
        _run_one(site)
        message = _told(site, "NoNodesMatch", about="nebius")
        _mend(site, message, {"NODE": names[0]})
        _well(site)


# -- workloads


def test_a_selector_that_matches_no_namespace(operator: OperatorProcess, site: Site) -> None:
    site.add_nodes("aws", gpus=4)
    site.add_nodes("nebius", gpus=4, taint=True)
    team = f"team-{site.namespace}"
    with pools.pool(site, ("aws", "nebius"), workloads={"namespaceSelector": {"matchLabels": {"team": team}}}):
        message = _told(site, "NoNamespaceMatches")
        _run_one(site)
        _mend(site, message, {"NAMESPACE": site.namespace})
        _well(site)


def test_a_selector_that_matches_no_pod_pages_nobody(operator: OperatorProcess, site: Site) -> None:
    site.add_nodes("aws", gpus=4)
    site.add_nodes("nebius", gpus=4, taint=True)
    with pools.pool(site, ("aws", "nebius")):
        pools.wait_condition(site, site.namespace, "Configured", "True", "NoPodsMatch")
        pools.wait_condition(site, site.namespace, "Degraded", "False", "AllWell")
        _run_one(site)
        _well(site)


def test_pods_that_request_another_accelerator(operator: OperatorProcess, site: Site) -> None:
    other = "example.com/gpu"
    site.add_nodes("aws", gpus=4)
    site.add_nodes("nebius", gpus=4, taint=True)
    with pools.pool(site, ("aws", "nebius")):
        site.create(objects.gpu_pod("processors", gpus=0))
        found = pools.wait_condition(site, site.namespace, "Configured", "True", "AcceleratorNotRequested")
        assert objects.ACCELERATOR in found["message"]
        _run_one(site, resource=other)
        assert other in _told(site, "AcceleratorNotRequested", degraded="False", about=other)
        site.api.delete("pods", "new", site.namespace)
        pools.wait_condition(site, site.namespace, "Configured", "True", "AcceleratorNotRequested")


def test_pods_that_name_no_provider(operator: OperatorProcess, site: Site) -> None:
    site.add_taken_node("aws", gpus=1)
    site.add_nodes("nebius", gpus=4, taint=True)
    with pools.pool(site, ("aws", "nebius")):
        _run_one(site, annotations={pools.ALLOWED: "NEBIUS"})
        _mend(site, _told(site, "UnknownProvider", degraded="False"))
        assert site.providers_of(site.wait_bound(1, labels=NEW)) == {"nebius": 1}
        _well(site)


# -- settings, devices


def test_silence_of_less_than_two_heartbeats(operator: OperatorProcess, site: Site) -> None:
    site.add_nodes("aws", gpus=4)
    site.add_nodes("nebius", gpus=4, taint=True)
    # The kubelets of the test cluster renew their Leases every second.
    with pools.pool(site, ("aws", "nebius"), health={"silentSeconds": 1}):
        _run_one(site)
        message = _told(site, "SilentSecondsTooShort", about="health.silentSeconds is 1,")
        pools.wait_condition(site, site.namespace, "Degraded", "True", "SilentSecondsTooShort")
        _mend_for_good(site, message)
        _well(site)


def _mend_for_good(site: Site, message: str) -> None:
    """Mend again where the next message has more seconds: on a busy machine heartbeats become slower meanwhile."""
    for _ in range(MOST_MENDS):
        _mend(site, message)
        message = pools.wait_status(site.api, site.namespace, partial(_another, message), "another message")
        if not _commands(message):
            return
    raise AssertionError(f"still not well: {message}")


def _another(message: str, status: Json) -> str | None:
    messages = [each["message"] for each in status.get("conditions", []) if each["type"] == "Configured"]
    return next((str(found) for found in messages if found != message), None)


def test_nodes_of_a_standby_that_never_got_devices(operator: OperatorProcess, site: Site) -> None:
    site.add_nodes("aws", gpus=4)
    site.add_nodes("nebius", gpus=4, taint=True)
    (bare,) = site.add_nodes("nebius", gpus=0, taint=True)
    with pools.pool(site, ("aws", pools.provider(site, "nebius", **AT_ONCE))):
        _run_one(site)
        message = _told(site, "NoDevicesOnNode", bare, degraded="False")
        assert f'"key":"{PROVIDER_KEY}"' in message
        amounts = {objects.ACCELERATOR: "4"}
        site.api.patch("nodes", bare, {"status": {"capacity": amounts, "allocatable": amounts}}, subresource="status")
        _well(site)


# -- Resilient


def test_room_that_no_running_pod_could_use_makes_no_pool_resilient(operator: OperatorProcess, site: Site) -> None:
    site.add_nodes("aws", gpus=4)
    site.add_nodes("nebius", gpus=4, taint=True)
    with pools.pool(site, ("aws", "nebius")):
        _run_one(site, nodeSelector={PROVIDER_KEY: "aws"})
        site.wait_bound(1, labels=NEW)
        found = pools.wait_condition(site, site.namespace, "Resilient", "False", "NoRoomForRunningPods")
        assert "4 on nebius, for other pods only" in found["message"]
        site.create(objects.gpu_pod("free"))
        pools.wait_condition(site, site.namespace, "Resilient", "True", "StandbyHasRoom")


def _nodes(site: Site, names: list[str]) -> list[Json]:
    return [node for node in site.nodes() if node["metadata"]["name"] in names]
