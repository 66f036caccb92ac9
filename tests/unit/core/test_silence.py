"""Heartbeats: which nodes and providers are silent, and when the fault is on the operator's side."""

from __future__ import annotations

from typing import Any

import pytest

from computepool.assess.health.silence import counted_silence, silence_of
from computepool.model.cluster import Node
from computepool.model.reasons import Reason
from tests.builders import NOW, node, pod, pool, snapshot
from tests.unit.core.passes import decided
from tests.unit.core.watching import Watch, beating

AWS = [f"a{index}" for index in range(5)]
NEBIUS = [f"n{index}" for index in range(5)]
NODES: list[Node] = [node(name) for name in (*AWS, *NEBIUS)]
FULL = [pod(f"holder-{name}", 8, on=name) for name in AWS]


def watching(**health: Any) -> Watch:
    watch = Watch(pool(health={"silentSeconds": 25, **health}))
    watch.see(-10, NODES, heartbeats=beating(-10, *AWS, *NEBIUS))
    return watch


def fell_silent(watch: Watch, now: float, *names: str, since: float = 0, **fields: Any) -> None:
    """A pass in which these nodes were last heard at `since`, and all the others just now."""
    others = [name for name in (*AWS, *NEBIUS, "elsewhere") if name not in names]
    watch.see(now, NODES, heartbeats={**beating(since, *names), **beating(now, *others)}, **fields)


def test_a_node_is_silent_after_silent_seconds() -> None:
    watch = watching(silentSeconds=25)
    fell_silent(watch, 20, "a1")
    # The store wakes the pool when a node falls silent, so no recheck is scheduled unless that moment is near.
    assert watch.found.recheck_at is None
    fell_silent(watch, 24.9, "a1")
    assert watch.unhealthy() == {}
    assert watch.found.recheck_at == NOW + 25
    fell_silent(watch, 25, "a1")
    assert watch.unhealthy() == {"a1": Reason.NODE_SILENT}
    assert watch.found.recheck_at is not None
    assert watch.found.recheck_at <= NOW + 35


def test_silence_is_not_looked_for_where_silent_seconds_is_zero() -> None:
    watch = watching(silentSeconds=0)
    fell_silent(watch, 1000, "a1")
    assert watch.unhealthy() == {}


def test_a_node_without_a_heartbeat_ever_is_not_silent() -> None:
    watch = watching()
    watch.see(1000, NODES, heartbeats=beating(1000, *AWS[1:], *NEBIUS))
    assert watch.unhealthy() == {}


def test_no_node_is_silent_for_a_time_before_the_operator_listened() -> None:
    watch = watching()
    fell_silent(watch, 100, "a1", listening_since=NOW + 90)
    assert watch.unhealthy() == {}
    fell_silent(watch, 115, "a1", listening_since=NOW + 90)
    assert watch.unhealthy() == {"a1": Reason.NODE_SILENT}


def test_a_silent_node_that_beats_again_is_healthy_after_clear_seconds() -> None:
    watch = watching(clearSeconds=60)
    fell_silent(watch, 30, "a1")
    fell_silent(watch, 40)
    assert watch.unhealthy() == {"a1": Reason.NODE_SILENT}
    fell_silent(watch, 100)
    assert watch.unhealthy() == {}


@pytest.mark.parametrize(("silent", "failing"), [(3, False), (4, True), (5, True)])
def test_a_provider_fails_when_so_many_of_its_nodes_are_silent_together(silent: int, failing: bool) -> None:
    watch = watching(silentPercent=80, unhealthyPercent=100)
    fell_silent(watch, 30, *NEBIUS[:silent])
    assert watch.provider("nebius").failing is (Reason.PROVIDER_SILENT if failing else None)
    assert watch.provider("nebius").detail == (f"{silent} of 5 nodes have fallen silent" if failing else "")
    assert watch.provider("aws").failing is None


def test_only_nodes_with_a_heartbeat_are_asked() -> None:
    watch = watching(silentPercent=80, unhealthyPercent=100)
    watch.see(30, NODES, heartbeats={**beating(0, *NEBIUS[:3]), **beating(30, *AWS)})
    assert watch.provider("nebius").failing is Reason.PROVIDER_SILENT
    assert watch.provider("nebius").detail == "3 of 3 nodes have fallen silent"


def test_a_few_nodes_with_a_heartbeat_do_not_speak_for_all() -> None:
    watch = watching(silentPercent=80, unhealthyPercent=100)
    watch.see(30, NODES, heartbeats={**beating(0, *NEBIUS[:2]), **beating(30, *AWS)})
    assert watch.provider("nebius").failing is None
    assert watch.unhealthy("nebius") == dict.fromkeys(NEBIUS[:2], Reason.NODE_SILENT)


def test_half_of_the_nodes_speak_for_all() -> None:
    watch = watching(silentPercent=80, unhealthyPercent=100)
    watch.see(30, NODES[:9], heartbeats={**beating(0, *NEBIUS[:2]), **beating(30, *AWS)})
    assert watch.provider("nebius").failing is Reason.PROVIDER_SILENT


def test_any_node_of_the_cluster_shows_that_we_hear() -> None:
    watch = watching(silentPercent=100)
    watch.see(30, NODES, heartbeats={**beating(0, *AWS, *NEBIUS), **beating(30, "no-pools-node")})
    assert watch.provider("aws").failing is watch.provider("nebius").failing is Reason.PROVIDER_SILENT
    assert not watch.found.all_silent


def test_if_all_nodes_are_silent_at_once_no_node_is_unhealthy_and_the_pool_freezes() -> None:
    watch = watching()
    found = watch.see(30, NODES, heartbeats=beating(0, *AWS, *NEBIUS))
    assert "all 10 nodes" in found.all_silent
    assert watch.unhealthy() == watch.unhealthy("nebius") == {}
    assert watch.provider("nebius").failing is None
    assert {breaker.closed for breaker in found.breakers.of.values()} == {True}
    assert found.recheck_at is not None
    plan = decided(snapshot(watch.pool, NODES, [*FULL, pod("p")], heartbeats=beating(0, *AWS, *NEBIUS)), now=NOW + 30)
    assert plan.frozen == found.all_silent
    assert not plan.bursts
    assert plan.quarantine is None


def test_while_all_nodes_are_silent_unhealthy_nodes_stay_so_and_every_timer_starts_anew() -> None:
    watch = watching(sustainSeconds=30, clearSeconds=60)
    fell_silent(watch, 30, "a1")
    fell_silent(watch, 40)
    watch.see(80, NODES, heartbeats=beating(40, *AWS, *NEBIUS))
    assert watch.found.all_silent
    assert watch.unhealthy() == {"a1": Reason.NODE_SILENT}
    fell_silent(watch, 101)
    assert watch.unhealthy() == {"a1": Reason.NODE_SILENT}
    fell_silent(watch, 161)
    assert watch.unhealthy() == {}


def test_a_cluster_without_heartbeats_is_not_all_silent() -> None:
    assert silence_of({}, 0, 25, NOW).all_silent == ""


def test_the_message_about_the_only_node_is_in_the_singular() -> None:
    assert silence_of({"a1": NOW - 25}, 0, 25, NOW).all_silent.startswith("the only node's heartbeat")


# -- silence and the time between two heartbeats


def test_a_silence_of_less_than_two_heartbeats_convicts_nobody() -> None:
    watch = watching(silentSeconds=10)
    for now in (10, 15, 20.9):
        fell_silent(watch, now, *NEBIUS, "a1", heartbeat_interval=10.2)
        assert watch.unhealthy() == {}
        assert watch.breaker("nebius").closed
    fell_silent(watch, 21, "a1", heartbeat_interval=10.2)
    assert watch.unhealthy() == {"a1": Reason.NODE_SILENT}


@pytest.mark.parametrize(
    ("silent", "interval", "counted"), [(25, 10.2, 25), (10, 10.2, 21), (10, None, 10), (0, 10.2, 0), (20, 10.0, 20)]
)
def test_silence_is_counted_from_two_heartbeats_at_least(silent: int, interval: float | None, counted: int) -> None:
    assert counted_silence(silent, interval) == counted
