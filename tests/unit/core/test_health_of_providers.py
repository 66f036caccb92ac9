"""When a provider fails: by its nodes, or by its accelerators."""

from __future__ import annotations

from typing import Any

import pytest

from computepool.model.cluster import Node
from computepool.model.reasons import Reason
from computepool.model.taints import Taint
from tests.builders import node, pool
from tests.unit.core.watching import Watch


def some(count: int, start: int = 0, **options: Any) -> list[Node]:
    """So many nodes of aws."""
    return [node(f"a{index}", **options) for index in range(start, start + count)]


def watching(count: int = 10, **health: Any) -> Watch:
    watch = Watch(pool(health=health))
    watch.see(-1000, some(count))
    return watch


@pytest.mark.parametrize(("lost", "failing"), [(0, False), (1, False), (5, False), (6, True), (10, True)])
def test_a_provider_fails_when_so_many_of_its_nodes_are_unhealthy(lost: int, failing: bool) -> None:
    watch = watching(unhealthyPercent=60)
    watch.see(0, [*some(lost, ready="Unknown"), *some(10 - lost, lost)])
    assert watch.provider().known
    assert watch.provider().failing is (Reason.PROVIDER_UNHEALTHY if failing else None)
    assert watch.provider().detail == (f"{lost} of 10 nodes are unhealthy" if failing else "")


def test_nodes_whose_faults_do_not_count_yet_do_not_fail_their_provider() -> None:
    watch = watching(sustainSeconds=30)
    watch.see(0, some(10, ready="False"))
    assert (watch.provider().failing, watch.provider().troubled) == (None, True)
    watch.see(30, some(10, ready="False"))
    assert watch.provider().failing is Reason.PROVIDER_UNHEALTHY


@pytest.mark.parametrize("how", [{"ready": "False"}, {"gpus": 0, "capacity": 8}], ids=str)
def test_cordoned_nodes_that_are_upgraded_do_not_fail_their_provider(how: dict[str, Any]) -> None:
    watch = watching(sustainSeconds=30, unhealthyPercent=60)
    for now in (0, 30, 1000):
        watch.see(now, [*some(9, cordoned=True, **how), node("a9")])
        assert (watch.provider().failing, watch.provider().troubled) == (None, False)
    # Each of them is still unhealthy.
    assert len(watch.unhealthy()) == 9
    watch.see(1001, [*some(5, cordoned=True, **how), *some(5, 5, ready="Unknown")])
    assert watch.provider().failing is None
    watch.see(1002, [*some(4, cordoned=True, **how), *some(6, 4, ready="Unknown")])
    assert watch.provider().detail == "6 of 10 nodes are unhealthy"


def test_cordoned_nodes_that_the_control_plane_has_lost_fail_their_provider() -> None:
    watch = watching(unhealthyPercent=60)
    watch.see(0, [*some(9, cordoned=True, ready="Unknown"), node("a9")])
    assert watch.provider().failing is Reason.PROVIDER_UNHEALTHY


def test_a_few_big_nodes_are_most_of_a_provider() -> None:
    watch = watching()
    big = [node("a0", 80, ready="Unknown"), node("a1", 40, ready="Unknown"), *some(8, 2)]
    watch.see(0, big)
    assert watch.provider().failing is Reason.PROVIDER_UNHEALTHY
    assert watch.provider().detail == "120 of 184 accelerators are gone"


def test_a_few_devices_of_every_node_count_together_with_whole_nodes() -> None:
    watch = watching(unhealthyPercent=60)
    some_gone = [node(f"a{index}", 4, capacity=8) for index in range(2, 10)]
    watch.see(0, [*some(2, ready="Unknown"), *some_gone])
    assert watch.provider().detail == "48 of 80 accelerators are gone"
    watch.see(1, [*some(1, ready="Unknown"), node("a1"), *some_gone])
    watch.see(1000, [*some(1, ready="Unknown"), node("a1"), *some_gone])
    assert watch.provider().failing is None


def test_a_device_plugin_that_is_restarted_everywhere_is_no_failure() -> None:
    watch = watching(sustainSeconds=30)
    watch.see(0, [node(f"a{index}", 0, capacity=8) for index in range(10)])
    assert watch.provider().failing is None
    watch.see(29, some(10))
    watch.see(60, some(10))
    assert watch.provider().failing is None


def test_recovery_is_timed_from_when_enough_of_it_is_well() -> None:
    watch = watching(clearSeconds=120)
    watch.see(0, some(10, ready="Unknown"))
    watch.see(10, [*some(5, ready="Unknown"), *some(5, 5)])
    assert (watch.provider().failing, watch.provider().troubled) == (Reason.PROVIDER_UNHEALTHY, False)
    watch.see(130, [*some(5, ready="Unknown"), *some(5, 5)])
    assert watch.provider().failing is None
    assert len(watch.unhealthy()) == 5


def test_a_provider_without_nodes_can_not_be_judged() -> None:
    watch = watching()
    watch.see(0, some(10))
    assert (watch.provider("nebius").known, watch.provider("nebius").failing) == (False, None)


def test_nodes_that_an_autoscaler_takes_away_do_not_count() -> None:
    watch = watching()
    taken = some(9, ready="Unknown", taints=[Taint("ToBeDeletedByClusterAutoscaler", "1", "NoSchedule")])
    watch.see(0, [*taken, node("a9")])
    assert (watch.provider().known, watch.provider().failing) == (True, None)
    watch.see(1, taken)
    assert (watch.provider().known, watch.provider().failing) == (False, None)
