"""Patches that the chart's guard refuses for one provider: the pod goes to the next provider, and people learn why."""

from __future__ import annotations

import pytest

from e2e import objects, pools
from e2e.command import explained
from e2e.kubeapi import Json
from e2e.operator import OperatorProcess
from e2e.site import Site

FOREIGN = "example.com/foreign"
"""A key that is not in the chart's value guard.tolerationKeys."""
SECONDARY, THIRD = "nebius", "crusoe"
NEW = "app=new"


@pytest.fixture
def full(operator: OperatorProcess, site: Site) -> Site:
    """A site whose primary is taken, with a free standby node whose taint has a key that the guard does not know."""
    site.add_taken_node("aws", gpus=4)
    site.add_nodes(SECONDARY, gpus=4, taints=[{"key": FOREIGN, "effect": "NoSchedule"}])
    return site


def _foreign(site: Site) -> Json:
    return pools.provider(site, SECONDARY, tolerations=[{"key": FOREIGN, "operator": "Exists", "effect": "NoSchedule"}])


def _wait_told(site: Site, pod: str) -> Json:
    (told, *_) = site.api.wait_for(
        "events.events.k8s.io",
        lambda found: [
            event for event in found if event["reason"] == "WriteRefused" and event["regarding"]["name"] == pod
        ],
        site.namespace,
        what=f"an event that the patch of {pod} is refused",
    )
    return told


def test_a_pod_goes_to_the_next_provider_and_the_refusal_is_told(full: Site) -> None:
    full.add_nodes(THIRD, gpus=4, taint=True)
    with pools.pool(full, ("aws", _foreign(full), THIRD)) as pool:
        full.create(*objects.gpu_pods("new", 2, labels={"app": "new"}))
        assert full.providers_of(full.wait_bound(2, labels=NEW)) == {THIRD: 2}
        told = _wait_told(full, "new-0")
        assert FOREIGN in told["note"]
        assert told["metadata"]["annotations"] == {"computepool.io/provider": SECONDARY}
        pools.wait_condition(full, pool["metadata"]["name"], "Degraded", "True", "WriteRefused", says=FOREIGN)


def test_a_pod_without_another_provider_waits_and_explain_says_why(full: Site) -> None:
    with pools.pool(full, ("aws", _foreign(full))) as pool:
        full.create(objects.gpu_pod("new", labels={"app": "new"}))
        pools.wait_condition(full, pool["metadata"]["name"], "Degraded", "True", "WriteRefused", says=FOREIGN)
        _wait_told(full, "new")
        text = explained(full, "new")
        assert f"{SECONDARY} WriteRefused" in text
        assert f"to {SECONDARY} was refused" in text
        assert FOREIGN in text
