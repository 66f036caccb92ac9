"""Health from a real Prometheus: nodes and providers are left for what metrics prove, and for nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from e2e import brisk
from e2e.metrics_source import MetricsSource
from e2e.scene import COUNT, FIRST, SECOND, THIRD, Scene, away
from e2e.site import Site

ERRORS: Mapping[str, Any] = {
    "name": "errors",
    "query": "gpu_errors",
    "labels": {"node": "node"},
    "enter": "1",
    "exit": "0",
    "sustainSeconds": 1,
    "clearSeconds": 1,
    "maxAgeSeconds": 5,
    "coveragePercent": 100,
}


@contextmanager
def measured(source: MetricsSource, site: Site, target: str) -> Iterator[Scene]:
    """The workload runs on the second provider, and every node's errors are measured."""
    metrics = [{**ERRORS, "target": target}]
    health = {"metrics": metrics, "unhealthyPercent": 100, "breaker": brisk.VISIBLY_HALF_OPEN}
    with away(site, health=health) as scene:
        source.serve({node: errors(0) for nodes in scene.nodes.values() for node in nodes}, "node")
        yield scene


def errors(count: int) -> str:
    return f"gpu_errors {count}\n"


def fail(source: MetricsSource, *nodes: str, count: int = 3) -> None:
    for name in nodes:
        source.exporter.serve(name, errors(count))


def test_a_node_whose_devices_fail_is_left_and_used_again_when_they_are_well(
    metrics: MetricsSource, site: Site
) -> None:
    with measured(metrics, site, "Node") as scene:
        bad = scene.nodes[SECOND][0]
        count = sum(one.node == bad for one in scene.history.here("work"))
        fail(metrics, bad)
        brisk.wait_quarantined(site, [bad], "MetricUnhealthy")
        scene.history.wait(lambda: scene.evicted() == count, "the node's pods to be evicted")
        fail(metrics, bad, count=0)
        brisk.wait_quarantined(site, [])
        assert scene.evicted() == count


def test_a_node_whose_exporter_dies_with_its_device_stays_out_of_use_and_keeps_its_other_pods(
    metrics: MetricsSource, site: Site
) -> None:
    with measured(metrics, site, "Node") as scene:
        bad = scene.nodes[THIRD][0]
        fail(metrics, bad)
        brisk.wait_quarantined(site, [bad], "MetricUnhealthy")
        metrics.exporter.fail(bad)
        # Another node's exporter fails as well, and says nothing of its node.
        metrics.exporter.fail(scene.nodes[SECOND][0])
        metrics.prometheus.wait_for("up == 0", 2)
        scene.scale(COUNT + 1)
        brisk.wait_settled(site, {SECOND: COUNT + 1})
        brisk.wait_quarantined(site, [bad], "MetricUnhealthy")
        assert not scene.evicted()


def test_a_provider_whose_devices_fail_is_left_and_tried_again(metrics: MetricsSource, site: Site) -> None:
    with measured(metrics, site, "Provider") as scene:
        fail(metrics, *scene.nodes[SECOND])
        brisk.wait_breaker(site, scene.pool, SECOND, "Open", "MetricUnhealthy")
        brisk.wait_settled(site, {THIRD: COUNT})
        assert scene.evicted() == COUNT
        fail(metrics, *scene.nodes[SECOND], count=0)
        brisk.wait_breaker(site, scene.pool, SECOND, "HalfOpen")
        scene.scale(COUNT + 1)
        brisk.wait_settled(site, {SECOND: 1, THIRD: COUNT})
        brisk.wait_breaker(site, scene.pool, SECOND, "Closed")
        assert scene.evicted() == COUNT


@pytest.mark.parametrize("providers", [(SECOND,), (FIRST, SECOND, THIRD)], ids=["one", "all"])
def test_data_that_is_gone_opens_no_breaker_and_moves_nobody(
    metrics: MetricsSource, site: Site, providers: tuple[str, ...]
) -> None:
    with measured(metrics, site, "Provider") as scene:
        for provider in providers:
            for name in scene.nodes[provider]:
                metrics.exporter.fail(name)
        key = f"health/errors/{SECOND}"
        metrics.wait_verdict(site, scene.pool, key, "Unknown")
        scene.scale(COUNT + 1)
        brisk.wait_settled(site, {SECOND: COUNT + 1})
        assert scene.breaker(SECOND) == "Closed"
        assert not scene.evicted()
