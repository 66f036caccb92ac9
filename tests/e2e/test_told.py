"""What is told, on a real API server, of pods that can't leave and of nodes that are unhealthy."""

from __future__ import annotations

import pytest

from e2e import brisk, objects, pools
from e2e.command import explained
from e2e.operator import OperatorProcess
from e2e.scene import SECOND, WORK, Json, away
from e2e.site import Site

pytestmark = pytest.mark.usefixtures("operator")


def _pool_events(site: Site, pool: str, reason: str) -> list[Json]:
    return site.api.wait_for(
        "events.events.k8s.io",
        lambda found: [one for one in found if one["regarding"]["name"] == pool and one["reason"] == reason] or None,
        what=f"an event {reason} of the pool",
    )


def test_a_refused_eviction_names_its_budget_to_whoever_asks(site: Site, operator: OperatorProcess) -> None:
    with away(site, count=4) as scene:
        site.create(objects.disruption_budget("none", {"app": "work"}, max_unavailable=0))
        _wait_known(site)
        brisk.drain(site, scene.pool, SECOND)
        (refused, *_) = site.api.wait_for(
            "events.events.k8s.io",
            lambda found: [one for one in found if one["reason"] == "EvictionRefused"] or None,
            site.namespace,
            what="an event that tells of the refusal",
        )
        assert "disruption budget none" in refused["note"]
        text = explained(site, refused["regarding"]["name"])
        assert "and its eviction has been refused for" in text
        assert "disruption budget none" in text
        assert "disruption budget none" in operator.wait_logged("running pods refused", pool=scene.pool)["error"]
        (drained, *_) = _pool_events(site, scene.pool, "Drained")
        assert drained["type"] == "Normal"


def test_an_unhealthy_node_is_named_and_degrades_nothing_and_its_moves_are_counted(site: Site) -> None:
    with away(site, count=4, health={"unhealthyPercent": 100, "clearSeconds": 1}) as scene:
        pods = site.api.list("pods", site.namespace, labels=WORK)
        unhealthy = pods[0]["spec"]["nodeName"]
        there = sum(one["spec"]["nodeName"] == unhealthy for one in pods)
        site.break_nodes([unhealthy])
        pools.wait_condition(site, scene.pool, "Degraded", "False", "NodesUnhealthy", says=f"{unhealthy} of {SECOND}")
        (told, *_) = _pool_events(site, scene.pool, "NodeNotReady")
        assert told["note"].startswith(f"1 node of {SECOND} became unhealthy: {unhealthy} (NodeNotReady")
        scene.history.wait(lambda: scene.evicted() == there, "its pods to leave")
        _wait_counted(site, scene.pool, there)


def _wait_counted(site: Site, pool: str, count: int) -> None:
    """Wait until the numbers that events of the pool say add up to so many."""

    def counted(found: list[Json]) -> bool | None:
        notes = [
            one["note"] for one in found if one["regarding"]["name"] == pool and "running pod(s) evicted" in one["note"]
        ]
        return sum(int(note.split()[0]) for note in notes) == count or None

    site.api.wait_for("events.events.k8s.io", counted, what=f"{count} moves to be told of")


def _wait_known(site: Site) -> None:
    """Wait until the disruption controller has seen all pods."""
    site.api.wait_for(
        "poddisruptionbudgets.policy",
        lambda found: bool(found and found[0].get("status", {}).get("expectedPods") == 4) or None,
        site.namespace,
        what="a budget that is known",
    )
