"""Faults that may pass by themselves cost no running pod: silent links, device plugins that are away, joining nodes."""

from __future__ import annotations

import pytest

from e2e import brisk, objects, pools
from e2e.scene import ALL_NODES, COUNT, FIRST, SECOND, THIRD, WORK, Json, Scene, away, home
from e2e.site import Site

pytestmark = pytest.mark.usefixtures("operator")


def test_a_link_that_is_silent_for_a_while_gets_no_new_pods_and_keeps_its_running_pods(site: Site) -> None:
    with away(site, health=ALL_NODES, failover={"silenceSeconds": 600}) as scene:
        site.silence(scene.nodes[SECOND])
        # The breaker opens, so the operator has the right to read the Leases itself.
        brisk.wait_breaker(site, scene.pool, SECOND, "Open", "ProviderSilent")
        brisk.wait_quarantined(site, scene.nodes[SECOND], "ProviderSilent")
        scene.scale(COUNT + 1)
        brisk.wait_settled(site, {SECOND: COUNT, THIRD: 1})
        site.revive(scene.nodes[SECOND])
        scene.history.wait(lambda: scene.breaker(SECOND) != "Open", "the provider to be tried again")
        assert scene.evicted() == 0


def test_a_device_plugin_that_is_away_costs_no_running_pod_and_devices_that_are_lost_do(site: Site) -> None:
    with away(site) as scene:
        site.lose_plugin(scene.nodes[SECOND])
        brisk.wait_unhealthy(site, scene.pool, len(scene.nodes[SECOND]))
        scene.scale(COUNT + 1)
        brisk.wait_settled(site, {SECOND: COUNT, THIRD: 1})
        assert scene.breaker(SECOND) == "Closed"
        site.set_devices(scene.nodes[SECOND], 4)
        brisk.wait_unhealthy(site, scene.pool, 0)
        assert scene.evicted() == 0

        brisk.set_spec(site, scene.pool, {"health": {"deviceGoneSeconds": 1}})
        site.lose_plugin(scene.nodes[SECOND])
        brisk.wait_breaker(site, scene.pool, SECOND, "Open", "ProviderUnhealthy")
        brisk.wait_settled(site, {THIRD: COUNT + 1})


def test_a_provider_grows_by_nodes_whose_devices_come_later(site: Site) -> None:
    with away(site, failover={"runningPods": "Move"}) as scene:
        joining = site.add_nodes(SECOND, 4, gpus=0, taint=True)
        _wait_nodes(scene, SECOND, len(scene.nodes[SECOND]) + len(joining))
        brisk.wait_unhealthy(site, scene.pool, 0)
        assert scene.breaker(SECOND) == "Closed"
        assert not brisk.quarantine_of(site.nodes())
        site.set_devices(joining, 4)
        scene.scale(COUNT + 4)
        brisk.wait_settled(site, {SECOND: COUNT + 4})
        assert scene.evicted() == 0


def test_devices_that_are_served_by_claims_freeze_the_pool_and_move_no_pod(site: Site) -> None:
    with home(site) as scene:
        for pod in site.pods(WORK):
            _hold_by_claim(site, pod["metadata"]["name"], pod["spec"]["containers"][0]["name"])
        site.lose_plugin(scene.nodes[FIRST])
        pools.wait_condition(site, scene.pool, "Ready", "False", "DevicesUnknown", says="dynamic resource allocation")
        pools.wait_condition(site, scene.pool, "Degraded", "True", "DevicesUnknown", says=scene.nodes[FIRST][0])
        assert brisk.breaker_of(scene.status(), FIRST)["state"] == "Closed"
        assert scene.evicted() == 0


def _hold_by_claim(site: Site, pod: str, container: str) -> None:
    """Let a pod hold its devices through a claim, as the scheduler says so of extended resources that DRA serves."""
    mapping = {"containerName": container, "resourceName": objects.ACCELERATOR, "requestName": "container-0-request-0"}
    claim = {"resourceClaimName": f"{pod}-extended-resources-1", "requestMappings": [mapping]}
    status = {"status": {"extendedResourceClaimStatus": claim}}
    site.api.patch("pods", pod, status, site.namespace, subresource="status")


def _wait_nodes(scene: Scene, provider: str, count: int) -> None:
    def turned(status: Json) -> bool:
        return bool(pools.provider_in(status, provider).get("nodes") == count)

    pools.wait_status(scene.site.api, scene.pool, turned, f"{count} nodes of {provider}")
