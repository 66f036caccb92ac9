"""Nodes that the control plane itself has lost: what becomes of their pods is for the policy to say.

A control plane of its own, whose node controller gives up within seconds.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from e2e import brisk, chart, objects
from e2e.cluster import Cluster
from e2e.components import CONTROLLER_MANAGER, Options
from e2e.operator import OperatorProcess
from e2e.scene import GPUS, NODES, SECOND, THIRD, away, work
from e2e.site import Site

QUICK_TO_GIVE_UP = Options(
    node_lease_seconds=4,
    extra_flags={CONTROLLER_MANAGER: ["--node-monitor-grace-period=10s", "--node-monitor-period=500ms"]},
)
VALUES = dict(chart.NO_OPERATOR_PODS) | {"failover": {"releaseLostPods": True}}
# Silence alone is not what these tests are about.
NOT_BY_SILENCE = {"silentSeconds": 0, "unhealthyPercent": 60}
COUNT = NODES * GPUS
"""All of the provider's places: the node that is lost second gives none to the pods of the first."""


@pytest.fixture(scope="module")
def own() -> Iterator[Cluster]:
    with (
        Cluster(options=QUICK_TO_GIVE_UP) as cluster,
        chart.installed(cluster, values=VALUES),
        OperatorProcess(cluster) as operator,
    ):
        operator.wait_leading()
        yield cluster


@pytest.fixture
def own_site(own: Cluster) -> Iterator[Site]:
    site = Site(own)
    try:
        yield site
    finally:
        site.close()


def test_pods_on_lost_nodes_are_evicted_as_far_as_their_budgets_let_them(own_site: Site) -> None:
    with away(own_site, [work(COUNT)], count=COUNT, health=NOT_BY_SILENCE) as scene:
        own_site.silence(scene.nodes[SECOND])
        brisk.wait_settled(own_site, {THIRD: COUNT})
        assert scene.evicted() == COUNT
        # No kubelet is there to let them go: they are asked to, and not torn away from one that may come back.
        before = scene.history.lives("work")[:COUNT]
        assert all(one.deleting is not None and one.gone is None for one in before)


@pytest.mark.parametrize("policy", ["Release", "Leave"])
def test_pods_on_lost_nodes_are_released_whatever_their_budgets_say_only_if_the_policy_says_so(
    own_site: Site, policy: str
) -> None:
    limits = {"lostPods": policy, "lostSeconds": 1}
    with away(own_site, [work(COUNT)], count=COUNT, health=NOT_BY_SILENCE, failover=limits) as scene:
        own_site.create(objects.disruption_budget("none", {"app": "work"}, max_unavailable=0))
        own_site.api.wait_for(
            "poddisruptionbudgets.policy",
            lambda found: found and found[0].get("status", {}).get("expectedPods") == COUNT,
            own_site.namespace,
            what="a budget that is known",
        )
        own_site.silence(scene.nodes[SECOND])
        if policy == "Release":
            brisk.wait_settled(own_site, {THIRD: COUNT})
        else:
            own_site.api.wait_for(
                "events.events.k8s.io",
                lambda found: [one for one in found if one["reason"] == "EvictionRefused"],
                own_site.namespace,
                what="an event that tells of the refusal",
            )
            brisk.wait_settled(own_site, {SECOND: COUNT})
        assert scene.evicted() == 0
