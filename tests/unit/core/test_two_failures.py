"""Two providers that fail together never empty a third, and changing load moves no pod back and forth."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.builders import node, pool, provider, shape
from tests.unit.core.fleet import Fleet

HEALTH = {"sustainSeconds": 0, "clearSeconds": 30, "breaker": {"backoffSeconds": 20, "proveSeconds": 5}}


def three(**options: Any) -> Fleet:
    """Three providers with room for eight each, and four pods on each of them."""
    fleet = Fleet(
        pool(pending=0, clear=10, health=HEALTH, failover={"runningPods": "Move", "perMinute": None}, **options),
        [node(name, 4) for name in ("a1", "a2", "n1", "n2", "c1", "c2")],
    )
    for provider_, selected in (("aws", None), ("nebius", ("nebius",)), ("crusoe", ("crusoe",))):
        of = shape(1, selector={"computepool.io/provider": provider_})
        fleet.create(4, of, allowed=selected)
        fleet.settle()
    return fleet


@pytest.mark.parametrize("pair", ["an", "ac", "nc"])
@pytest.mark.parametrize("state", ["False", "Unknown"])
@pytest.mark.parametrize("gap", [0.0, 40.0], ids=["at once", "one after the other"])
def test_the_third_keeps_its_pods(pair: str, state: str, gap: float) -> None:
    fleet = three()
    (third,) = {"a": "aws", "n": "nebius", "c": "crusoe"}.keys() - set(pair)
    there = {pod.uid for pod in fleet.pods() if pod.node.startswith(third)}
    assert len(there) == 4
    for letter in pair:
        for name in fleet.cluster.nodes:
            if name.startswith(letter):
                fleet.turn(name, ready=state)
        fleet.settle()
        fleet.wait(gap)
    fleet.run(200)
    assert there <= {pod.uid for pod in fleet.pods() if pod.node.startswith(third)}
    assert fleet.evictions == []


def test_what_can_go_elsewhere_leaves_the_first_that_fails_and_stays_when_the_second_does() -> None:
    fleet = Fleet(
        pool(pending=0, health=HEALTH, failover={"perMinute": None}),
        [node(name, 4) for name in ("a1", "n1", "c1")],
    )
    fleet.create(4, shape(1))
    fleet.settle()
    fleet.create(3, shape(1))
    fleet.settle()
    fleet.wait(30)
    fleet.turn("n1", ready="False")
    for _ in range(5):
        fleet.settle()
        fleet.wait(2)
    assert Counter(fleet.cluster.provider_of(pod.node) for pod in fleet.pods()) == {"aws": 4, "crusoe": 3}
    moved = len(fleet.evictions)
    fleet.turn("c1", ready="False")
    for _ in range(5):
        fleet.settle()
        fleet.wait(2)
    assert len(fleet.evictions) == moved
    assert fleet.step().plan.held_back


@pytest.mark.parametrize("period", [20.0, 90.0, 400.0])
def test_load_that_comes_and_goes_moves_a_workload_once_a_dwell_window_at_most(period: float) -> None:
    of = pool(
        provider("aws"),
        provider("nebius"),
        pending=0,
        clear=10,
        failback={"policy": "WhenStable", "stableSeconds": 30, "minDwellSeconds": 300, "perMinute": None},
    )
    fleet = Fleet(of, [node(name, 4) for name in ("a1", "a2", "n1", "n2")])
    for _ in range(round(4000 / period)):
        fleet.create(10 - len(fleet.pods()), shape(1))
        fleet.run(period / 2)
        fleet.finish(sorted(pod.uid for pod in fleet.cluster.pods_on("aws"))[:7])
        fleet.run(period / 2)
    assert fleet.evictions


@pytest.mark.parametrize("seconds", [4.0, 20.0])
def test_a_provider_that_comes_and_goes_moves_a_workload_once_a_dwell_window_at_most(seconds: float) -> None:
    of = pool(
        provider("aws"),
        provider("nebius"),
        provider("crusoe"),
        pending=0,
        clear=10,
        health={**HEALTH, "clearSeconds": 5},
        failover={"runningPods": "Move", "perMinute": None},
        failback={"policy": "WhenStable", "stableSeconds": 5, "minDwellSeconds": 120, "perMinute": None},
    )
    fleet = Fleet(of, [node(name, 4) for name in ("a1", "n1", "c1")])
    fleet.create(7, shape(1))
    fleet.settle()
    fleet.wait(200)
    for turn in range(round(1200 / seconds)):
        fleet.turn("n1", ready="False" if turn % 2 == 0 else "True")
        fleet.run(seconds)
    assert fleet.evictions
    assert all(pod.node for pod in fleet.pods())
