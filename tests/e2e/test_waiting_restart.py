"""A new leader tells waiting pods nothing that the leader before it has told them."""

from __future__ import annotations

from collections import Counter

from e2e import chart, objects, pools
from e2e.cluster import Cluster
from e2e.operator import operators
from e2e.scene import SECOND, Json
from e2e.site import Site

EVENTS = "events.events.k8s.io"
LEASE_SECONDS = 8.0


def test_pods_are_not_told_again_by_the_next_leader(cluster: Cluster, site: Site) -> None:
    with chart.installed(cluster), operators(cluster, 2, lease_seconds=LEASE_SECONDS) as (leader, standby):
        site.add_taken_node("aws", gpus=2)
        site.add_nodes(SECOND, gpus=1, taint=True)
        with pools.pool(site, ("aws", SECOND)):
            # One pod takes the last place.
            site.create(*objects.gpu_pods("new", 4, labels={"app": "new"}))
            told = _wait_told(site, 3)
            leader.kill()
            standby.wait_leading()
            # The new leader has looked at all pods once it has told of a later pod.
            site.create(objects.gpu_pod("late", labels={"app": "new"}))
            told = _wait_told(site, 4)
            assert Counter(event["regarding"]["name"] for event in told)["late"] == 1
            assert max(Counter(event["regarding"]["name"] for event in told).values()) == 1
            assert standby.value("computepool_leader") == 1


def _wait_told(site: Site, count: int) -> list[Json]:
    def told(events: list[Json]) -> list[Json] | None:
        found = [event for event in events if event.get("action") == "Wait" and event["regarding"]["kind"] == "Pod"]
        return found if len(found) >= count else None

    return site.api.wait_for(EVENTS, told, site.namespace, timeout=60, what=f"{count} events about waiting pods")
