"""Which running pods leave, and for what: workloads of every kind, kinds of trouble, and a drain by hand."""

from __future__ import annotations

import pytest

from e2e import brisk, objects, pools
from e2e.operator import OperatorProcess
from e2e.scene import COUNT, FIRST, LABELS, SECOND, THIRD, WORK, Json, away, work
from e2e.site import Site

pytestmark = pytest.mark.usefixtures("operator")


@pytest.mark.parametrize(
    "workload",
    [
        objects.gpu_deployment("work", 4, labels=LABELS),
        objects.gpu_statefulset("work", 4, labels=LABELS),
        # One pod: for each that went, a Job waits twice as long before it makes another, from ten seconds on.
        objects.gpu_job("work", 1, labels=LABELS, runs=3600, annotations={brisk.MOVABLE: "true"}),
    ],
    ids=lambda workload: workload["kind"],
)
def test_the_pods_of_a_controller_leave_a_drained_provider_one_for_one(site: Site, workload: Json) -> None:
    count = workload["spec"].get("replicas", 1)
    with away(site, [workload], count=count) as scene:
        brisk.drain(site, scene.pool, SECOND)
        brisk.wait_settled(site, {THIRD: count})
        assert scene.evicted() == count
        scene.history.wait(lambda: len(scene.history.here("work")) == count, "the recorder to see the last pod bound")
        # kwok ends pods by name, without their uid. So it may delete a StatefulSet's next pod before that is bound.
        lives = [one for one in scene.history.lives("work") if one.bound is not None]
        assert [str(one) for one in lives if not one.here and one.evicted is None] == []
        assert len(lives) == 2 * count


def test_bare_pods_leave_only_if_they_say_that_they_may(site: Site) -> None:
    bare = objects.gpu_pod("bare", labels={"app": "bare", **LABELS})
    movable = objects.gpu_pod("movable", labels={"app": "movable", **LABELS}, annotations={brisk.MOVABLE: "true"})
    held = objects.gpu_deployment("held", 1, labels=LABELS, annotations={brisk.MOVABLE: "false"})
    with away(site, [work(1), bare, movable, held], count=4) as scene:
        brisk.drain(site, scene.pool, SECOND)
        brisk.wait_settled(site, {THIRD: 1}, "app=work")
        scene.history.wait(lambda: scene.history.evicted("movable"), "the movable pod to be evicted")
        scene.history.wait(lambda: not scene.history.here("movable"), "the movable pod to be gone")
        assert len(scene.history.here("bare")) == len(scene.history.here("held")) == 1
        assert not scene.history.evicted("bare")
        assert not scene.history.evicted("held")


def test_a_drained_provider_is_left_and_used_again_when_the_drain_is_lifted(site: Site) -> None:
    with away(site, health={"breaker": brisk.VISIBLY_HALF_OPEN}) as scene:
        brisk.drain(site, scene.pool, SECOND)
        brisk.wait_settled(site, {THIRD: COUNT})
        brisk.wait_breaker(site, scene.pool, SECOND, "Open", "Drained")
        brisk.wait_quarantined(site, scene.nodes[SECOND], "Drained")
        brisk.drain(site, scene.pool, SECOND, on=False)
        brisk.wait_breaker(site, scene.pool, SECOND, "HalfOpen")
        scene.scale(COUNT + 1)
        brisk.wait_settled(site, {SECOND: 1, THIRD: COUNT})
        brisk.wait_breaker(site, scene.pool, SECOND, "Closed")
        brisk.wait_quarantined(site, [])
        assert scene.evicted() == COUNT


def test_higher_priorities_leave_first(site: Site) -> None:
    site.api.apply(_priority_class("e2e-high", 1000))
    high = objects.gpu_deployment("high", 2, labels=LABELS, priorityClassName="e2e-high")
    with away(site, [work(4), high], failover={"maxConcurrentMoves": 1}) as scene:
        scene.break_down(SECOND)
        brisk.wait_settled(site, {THIRD: COUNT})
        assert [one.app for one in scene.history.evicted()] == ["high"] * 2 + ["work"] * 4


def test_a_node_whose_condition_tells_of_broken_devices_is_left_until_it_is_mended(site: Site) -> None:
    with away(site, health={"unhealthyPercent": 100}) as scene:
        unhealthy = scene.nodes[SECOND][0]
        count = sum(one.node == unhealthy for one in scene.history.here("work"))
        _set_condition(site, unhealthy, "XIDErrors", "True")
        brisk.wait_quarantined(site, [unhealthy], "NodeCondition")
        scene.history.wait(lambda: scene.evicted() == count, "the unhealthy node's pods to be evicted")
        _set_condition(site, unhealthy, "XIDErrors", "False")
        brisk.wait_quarantined(site, [])
        site.wait_bound(COUNT, labels=WORK)
        assert scene.evicted() == count


def test_a_node_whose_devices_are_gone_for_long_is_left(site: Site) -> None:
    with away(site, health={"unhealthyPercent": 100, "deviceGoneSeconds": 1}) as scene:
        unhealthy = scene.nodes[SECOND][0]
        count = sum(one.node == unhealthy for one in scene.history.here("work"))
        allocatable = {"status": {"allocatable": {objects.ACCELERATOR: "0"}}}
        site.api.patch("nodes", unhealthy, allocatable, subresource="status")
        scene.history.wait(lambda: scene.evicted() == count, "the unhealthy node's pods to be evicted")
        # The taint would keep off the DaemonSet's pod that brings them back.
        brisk.wait_quarantined(site, [])


def test_pods_that_are_not_ready_leave_a_node_on_which_pods_fail_at_once(site: Site) -> None:
    """Pods that are ready there stay."""
    slow = objects.gpu_deployment("slow", 1, labels=LABELS, ready_after=3600)
    health = {"unhealthyPercent": 100, "blackHoles": {"pods": 3, "windowSeconds": 60}}
    with away(site, [work(4), slow], count=5, health=health) as scene:
        (starting,) = scene.history.here("slow")
        hole = str(starting.node)
        refused = objects.gpu_pods(
            "refused", 3, labels={"app": "refused"}, fails="UnexpectedAdmissionError", nodeName=hole
        )
        site.create(*refused)
        brisk.wait_quarantined(site, [hole], "BlackHole")
        scene.history.wait(lambda: len(scene.history.evicted("slow")) == 1, "the pod that is not ready to be evicted")
        assert scene.evicted() == 0


def test_new_pods_are_admitted_to_the_next_provider_at_once(site: Site) -> None:
    with away(site, admission={"mode": "WhenSaturated"}) as scene:
        admission = pools.wait_admission(site, scene.pool, is_open=True)
        assert [one["value"] for one in admission["tolerations"]] == [SECOND]
        scene.break_down(SECOND)
        pools.wait_status(
            site.api,
            scene.pool,
            lambda status: [one["value"] for one in status["admission"].get("tolerations", [])] == [THIRD],
            "admission to the third",
        )
        brisk.wait_settled(site, {THIRD: COUNT})


def test_the_primary_that_fails_opens_admission_and_sends_what_waits_on_without_delay(site: Site) -> None:
    slow = {"pendingSeconds": 3600, "sustainSeconds": 3600, "clearSeconds": 1}
    with away(site, [], count=0, saturation=slow, admission={"mode": "WhenSaturated"}) as scene:
        pools.wait_condition(site, scene.pool, "Saturated", "False")
        site.create(work(2))
        site.wait_unschedulable(2, labels=WORK)
        scene.break_down(FIRST)
        brisk.wait_settled(site, {SECOND: 2})
        pools.wait_admission(site, scene.pool, is_open=True)
        pools.wait_condition(site, scene.pool, "Saturated", "True", "ProviderUnavailable")


def test_observe_mode_tells_of_moves_and_changes_nothing(site: Site) -> None:
    with away(site, count=4) as scene:
        brisk.set_spec(site, scene.pool, {"mode": "Observe"})
        pools.wait_condition(site, scene.pool, "Ready", "True", "Observing")
        brisk.drain(site, scene.pool, SECOND)
        told = site.api.wait_for(
            "events.events.k8s.io",
            lambda found: [one for one in found if one.get("action") == "WouldFailover"],
            site.namespace,
            what="an event that tells what would be done",
        )
        assert told[0]["note"].startswith(f"Observe: would be evicted, meant for {THIRD}")
        assert not scene.history.evicted()
        assert not brisk.quarantine_of(site.nodes())
        assert not scene.status().get("recentMoves")


@pytest.mark.parametrize("policy", ["MoveFromUnhealthyNodes", "Leave"])
def test_what_becomes_of_running_pods_is_for_the_policy_to_say(site: Site, policy: str) -> None:
    with away(site, count=4, failover={"runningPods": policy}) as scene:
        brisk.drain(site, scene.pool, SECOND)
        brisk.wait_quarantined(site, scene.nodes[SECOND], "Drained")
        # A pod more goes elsewhere: passes have come and gone.
        scene.scale(5)
        brisk.wait_settled(site, {SECOND: 4, THIRD: 1})
        assert not scene.history.evicted()


def test_no_taint_outlives_its_pool(site: Site, operator: OperatorProcess) -> None:
    with away(site, health={"unhealthyPercent": 100}) as scene:
        site.break_nodes(scene.nodes[SECOND][:1])
        brisk.drain(site, scene.pool, THIRD)
        brisk.wait_quarantined(site, [*scene.nodes[SECOND][:1], *scene.nodes[THIRD]])
        site.api.delete(pools.POOLS, scene.pool)
        brisk.wait_quarantined(site, [])
        assert operator.running


def test_a_foreign_value_of_a_node_s_taints_is_left_alone(site: Site) -> None:
    other = {"key": "example.com/maintenance", "value": "x", "effect": "PreferNoSchedule"}
    with away(site, health={"unhealthyPercent": 100}) as scene:
        unhealthy = scene.nodes[SECOND][0]
        taints = site.api.get("nodes", unhealthy)["spec"]["taints"]
        site.api.patch("nodes", unhealthy, {"spec": {"taints": [*taints, other]}})
        site.break_nodes([unhealthy])
        brisk.wait_quarantined(site, [unhealthy])
        site.mend_nodes([unhealthy])
        brisk.wait_quarantined(site, [])
        kept = site.api.get("nodes", unhealthy)["spec"]["taints"]
        assert other in kept
        assert objects.provider_taint(SECOND) in kept


def _priority_class(name: str, value: int) -> Json:
    return {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": name},
        "value": value,
        # Or the scheduler itself would make room on the primary.
        "preemptionPolicy": "Never",
    }


def _set_condition(site: Site, node: str, kind: str, status: str) -> None:
    condition = {"type": kind, "status": status, "reason": "Test", "message": "said by a test"}
    site.api.patch("nodes", node, {"status": {"conditions": [condition]}}, how="strategic", subresource="status")
