"""Home again: within the governor's rate, not while the primary is saturated, and by moves that make room."""

from __future__ import annotations

import pytest

from e2e import brisk, objects, pools
from e2e.operator import OperatorProcess
from e2e.scene import COUNT, FIRST, LABELS, SECOND, WORK, Json, Scene, away, home, work
from e2e.site import Site

pytestmark = pytest.mark.usefixtures("operator")

HOMEWARD = {"policy": "WhenStable", "stableSeconds": 0, "perMinute": 100, "headroomPercent": 0}


def test_pods_come_home_once_the_primary_has_room_and_nothing_else_moves(site: Site) -> None:
    with away(site, failback=HOMEWARD) as scene:
        site.add_nodes(FIRST, 2, gpus=4)
        brisk.wait_settled(site, {FIRST: COUNT})
        assert scene.evicted() == COUNT
        pools.wait_condition(site, scene.pool, "Bursting", "False")


def test_pods_come_home_to_a_primary_that_had_failed(site: Site) -> None:
    with home(site, failback=HOMEWARD) as scene:
        scene.break_down(FIRST)
        brisk.wait_settled(site, {SECOND: COUNT})
        scene.mend(FIRST)
        brisk.wait_settled(site, {FIRST: COUNT})
        brisk.wait_breaker(site, scene.pool, FIRST, "Closed")
        brisk.wait_quarantined(site, [])
        assert scene.evicted() == 2 * COUNT


def test_they_come_within_the_rate_of_a_minute(site: Site, operator: OperatorProcess) -> None:
    with away(site, failback=HOMEWARD | {"perMinute": 2}) as scene:
        site.add_nodes(FIRST, 2, gpus=4)
        brisk.wait_settled(site, {FIRST: 2, SECOND: COUNT - 2})
        scene.let_pass(operator)
        assert scene.evicted() == 2
        # A move that is decided in one second and asked for in the next may be recorded in both.
        assert sum(one.get("failback", 0) for one in scene.status()["recentMoves"]) >= 2


def test_some_of_the_primary_is_left_free(site: Site, operator: OperatorProcess) -> None:
    with away(site, failback=HOMEWARD | {"headroomPercent": 50}) as scene:
        # 2 + 8 accelerators, of which 2 are taken: half of 10 may be.
        site.add_nodes(FIRST, 2, gpus=4)
        brisk.wait_settled(site, {FIRST: 3, SECOND: COUNT - 3})
        scene.let_pass(operator)
        assert scene.evicted() == 3


def test_nobody_comes_home_while_the_policy_or_the_window_says_no(site: Site, operator: OperatorProcess) -> None:
    # February has no 31st: the window never opens.
    window = {"schedule": "0 0 31 2 *", "durationSeconds": 60}
    with away(site, failback=HOMEWARD | {"window": window}) as scene:
        site.add_nodes(FIRST, 2, gpus=4)
        pools.wait_condition(site, scene.pool, "Saturated", "False")
        scene.let_pass(operator)
        brisk.set_spec(site, scene.pool, {"failback": {"window": None, "policy": "Never"}})
        scene.let_pass(operator)
        assert not scene.evicted()
        brisk.set_spec(site, scene.pool, {"failback": {"policy": "WhenStable"}})
        brisk.wait_settled(site, {FIRST: COUNT})


def test_it_stops_the_moment_the_primary_saturates_again_and_goes_on_after(
    site: Site, operator: OperatorProcess
) -> None:
    # One at a time, and each takes a second to go: there is time for others to come. Each pod has an owner of its own,
    # because a pod that finds no place at home delays the next pod of its owner.
    manifests = [objects.gpu_deployment(f"work-{index}", 1, labels=LABELS, terminates_for=1) for index in range(COUNT)]
    with away(site, manifests, failback=HOMEWARD | {"maxConcurrentMoves": 1}) as scene:
        site.add_nodes(FIRST, 2, gpus=4)
        scene.history.wait(scene.history.evicted, "the first to come home")
        # More than there is room for, and before all others: the primary is full at once.
        first = objects.gpu_pods("filler", 8, labels={"app": "filler"}, priorityClassName="system-cluster-critical")
        site.create(*first)
        pools.wait_condition(site, scene.pool, "Saturated", "True")
        _wait_nobody_on_the_way(scene)
        stopped = len(scene.history.evicted())
        scene.let_pass(operator)
        assert len(scene.history.evicted()) == stopped < COUNT
        site.api.delete_all("pods", site.namespace, labels="app=filler", grace_seconds=0)
        # The pod that was on its way when the primary became full may have gone back, and then stays for a while.
        _wait_home(site, COUNT - 1)


def test_a_pod_that_can_run_nowhere_else_is_made_room_for_by_one_move(site: Site) -> None:
    site.api.apply(
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": "e2e-never-preempting"},
            "value": 1000,
            "preemptionPolicy": "Never",
        }
    )
    reschedule = {"policy": "WhenSaturated", "podSelector": {"matchLabels": {"app": "work"}}}
    # A pod takes a while to end. By then its replacement is bound on the standby, and can't take the place again.
    with home(site, [work(8, terminates_for=2)], count=8, reschedule=reschedule) as scene:
        pinned = objects.gpu_pod(
            "pinned",
            labels={"app": "pinned", "role": "pinned"},
            annotations={pools.ALLOWED: ""},
            priorityClassName="e2e-never-preempting",
        )
        site.create(pinned)
        site.wait_bound(1, labels="app=pinned")
        brisk.wait_settled(site, {FIRST: 7, SECOND: 1})
        assert site.providers_of(site.pods("app=pinned")) == {FIRST: 1}
        assert scene.evicted() == 1


def _wait_home(site: Site, least: int) -> None:
    """Wait until at least so many pods of the workloads run on the primary."""

    def settled(found: list[Json]) -> bool:
        return site.providers_of(found).get(FIRST, 0) >= least

    site.api.wait_for("pods", settled, site.namespace, labels=WORK, what=f"{least} at home", timeout=60)


def _wait_nobody_on_the_way(scene: Scene) -> None:
    """Wait until all pods of the workload are bound and none is leaving."""

    def calm(found: list[Json]) -> bool:
        there = all(objects.is_bound(one) and "deletionTimestamp" not in one["metadata"] for one in found)
        return there and len(found) == COUNT

    scene.site.api.wait_for(
        "pods", lambda found: calm(found) or None, scene.site.namespace, labels=WORK, what="nobody on the way"
    )
