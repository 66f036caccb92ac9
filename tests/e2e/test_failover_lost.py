"""What happens to running pods when providers, or parts of them, are lost: on a real control plane."""

from __future__ import annotations

from itertools import pairwise

import pytest

from e2e import brisk, objects, pools
from e2e.cluster import Cluster
from e2e.components import SCHEDULER
from e2e.operator import OperatorProcess
from e2e.recorder import Recorder
from e2e.scene import ALL_NODES, COUNT, FIRST, LABELS, SECOND, THIRD, WORK, Json, away, home
from e2e.site import Site

pytestmark = pytest.mark.usefixtures("operator")

DWELL_SECONDS = 15
"""Longer than a busy machine takes for a primary to come and go three times: a pod on its way home at such a moment
comes back, and then its workload stays for minutes."""
PATIENCE = 120.0


def test_a_provider_whose_nodes_fall_silent_together_is_left_and_used_again_once_it_has_proved_itself(
    site: Site,
) -> None:
    with away(site, health=ALL_NODES) as scene:
        site.silence(scene.nodes[SECOND])
        brisk.wait_settled(site, {THIRD: COUNT})
        status = brisk.wait_breaker(site, scene.pool, SECOND, "Open", "ProviderSilent")
        assert brisk.breaker_of(status, FIRST)["state"] == brisk.breaker_of(status, THIRD)["state"] == "Closed"
        brisk.wait_quarantined(site, scene.nodes[SECOND], "ProviderSilent")
        pools.wait_condition(site, scene.pool, "Degraded", "True", "ProviderSilent", says=SECOND)
        assert scene.evicted() == COUNT
        assert not scene.history.evicted("resident")

        site.revive(scene.nodes[SECOND])
        scene.history.wait(lambda: scene.breaker(SECOND) != "Open", "the provider to be tried again")
        # The next pod is the canary: it is sent to the provider that is preferred, and closes its breaker.
        scene.scale(COUNT + 1)
        brisk.wait_settled(site, {SECOND: 1, THIRD: COUNT})
        brisk.wait_breaker(site, scene.pool, SECOND, "Closed")
        brisk.wait_quarantined(site, [])
        assert scene.evicted() == COUNT


def test_of_a_provider_that_loses_half_of_its_nodes_only_those_are_left(site: Site) -> None:
    with away(site, health={"unhealthyPercent": 60}) as scene:
        lost, well = scene.nodes[SECOND]
        on_lost = [one.name for one in scene.history.here("work") if one.node == lost]
        site.silence([lost])
        brisk.wait_quarantined(site, [lost], "NodeSilent")
        # Its kubelet may just be restarted: nothing leaves before the control plane has lost the node too.
        assert not scene.evicted()
        site.wait_unknown([lost], 90)
        # The other node of the same provider takes what it has room for, and the third the rest.
        room = 2 * 4 - COUNT
        stays = COUNT - len(on_lost)
        brisk.wait_settled(site, {SECOND: stays + min(room, 4 - stays), THIRD: COUNT - stays - min(room, 4 - stays)})
        assert sorted(one.name for one in scene.history.evicted("work")) == sorted(on_lost)
        assert brisk.breaker_of(scene.status(), SECOND)["state"] == "Closed"
        assert not any(pod["spec"]["nodeName"] == lost for pod in _staying(site.pods(WORK)))
        assert {one.node for one in scene.history.here("work")} & {well}


def test_one_node_that_is_not_ready_is_left_and_used_again_once_it_is_well(site: Site) -> None:
    with away(site, health={"unhealthyPercent": 100}) as scene:
        unhealthy = scene.nodes[SECOND][0]
        on_sick = {one.name for one in scene.history.here("work") if one.node == unhealthy}
        site.break_nodes([unhealthy])
        brisk.wait_quarantined(site, [unhealthy], "NodeNotReady")
        scene.history.wait(lambda: scene.evicted() == len(on_sick), "the unhealthy node's pods to be evicted")
        _wait_running(site, COUNT)
        assert {one.name for one in scene.history.evicted("work")} == on_sick
        site.mend_nodes([unhealthy])
        brisk.wait_quarantined(site, [])
        assert scene.evicted() == len(on_sick)


@pytest.mark.parametrize(("lost", "left"), [((SECOND, THIRD), FIRST), ((FIRST, SECOND), THIRD)])
def test_two_providers_lost_together_hold_everything_back_and_the_third_is_not_touched(
    site: Site, lost: tuple[str, str], left: str
) -> None:
    # Admission follows the status a moment later: a pod made in that moment would still be let in to a lost provider.
    with away(site, health=ALL_NODES, admission={"mode": "Off"}) as scene:
        count = sum(len(scene.nodes[provider]) for provider in lost)
        before = {pod["metadata"]["uid"] for pod in site.pods()}
        site.silence([name for provider in lost for name in scene.nodes[provider]])
        pools.wait_condition(site, scene.pool, "Degraded", "True", "TooManyFailed")
        # A provider that may be about to fall silent counts, and is used until it is: all of them are by then.
        brisk.wait_unhealthy(site, scene.pool, count)
        # Bursting goes on, where there is room: a pod more shows that passes came and went.
        if left == THIRD:
            scene.scale(COUNT + 1)
            brisk.wait_settled(site, {SECOND: COUNT, THIRD: 1})
        assert not scene.history.evicted()
        assert before <= {pod["metadata"]["uid"] for pod in site.pods()}
        assert not brisk.quarantine_of(site.nodes())

        # With one of them back it is a failure like any other, and what is on the other one leaves.
        site.revive(scene.nodes[lost[0] if lost[1] == SECOND else lost[1]])
        brisk.wait_quarantined(site, scene.nodes[SECOND], "ProviderSilent")
        scene.history.wait(lambda: scene.evicted() == COUNT, "the lost provider's pods to leave")
        _wait_running(site, COUNT + (left == THIRD))


def test_both_standbys_lost_send_their_pods_home_where_the_pool_allows_that_many(site: Site) -> None:
    with away(site, health={"maxUnhealthyPercent": 100}) as scene:
        site.add_nodes(FIRST, 2, gpus=4)
        site.silence([*scene.nodes[SECOND], *scene.nodes[THIRD]])
        brisk.wait_settled(site, {FIRST: COUNT})
        assert scene.evicted() == COUNT


def test_pods_that_fit_nowhere_else_stay_and_that_is_told(site: Site) -> None:
    with away(site, third=1, health=ALL_NODES) as scene:
        site.silence(scene.nodes[SECOND])
        pools.wait_condition(site, scene.pool, "Degraded", "True", "ProviderSilent")
        brisk.wait_settled(site, {SECOND: COUNT - 4, THIRD: 4})
        assert scene.evicted() == 4
        # Room for the rest: they follow.
        site.add_nodes(THIRD, gpus=4, taint=True)
        brisk.wait_settled(site, {THIRD: COUNT})
        assert scene.evicted() == COUNT


def test_a_provider_that_recovers_during_the_move_keeps_the_pods_that_have_not_left(site: Site) -> None:
    # Some leave, and the others would have to wait for a minute: there is time to recover.
    with away(site, failover={"perMinute": 2}) as scene:
        scene.break_down(SECOND)
        brisk.wait_settled(site, {SECOND: COUNT - 2, THIRD: 2})
        scene.mend(SECOND)
        brisk.wait_breaker(site, scene.pool, SECOND, "Closed")
        brisk.wait_quarantined(site, [])
        # It is used as before, and what has not left would stay whatever the limit.
        brisk.set_spec(site, scene.pool, {"failover": {"perMinute": 100}})
        scene.scale(COUNT + 1)
        brisk.wait_settled(site, {SECOND: COUNT - 1, THIRD: 2})
        assert scene.evicted() == 2


def test_an_api_server_that_restarts_in_the_middle_of_the_move_neither_loses_nor_repeats_any(
    site: Site, cluster: Cluster, operator: OperatorProcess
) -> None:
    with away(site, failover={"maxConcurrentMoves": 2}) as scene:
        # Nobody binds the first replacements: the move is under way for as long as that.
        cluster.pause(SCHEDULER)
        scene.break_down(SECOND)
        scene.history.wait(lambda: scene.evicted() == 2, "the first evictions")
        cluster.restart_apiserver()
        cluster.resume(SCHEDULER)
        brisk.wait_settled(site, {THIRD: COUNT}, timeout=PATIENCE)
        assert operator.running
        assert scene.evicted() == COUNT
        lives = scene.history.lives("work")
        assert all(one.evicted is not None for one in lives[:COUNT])
        # After a crash of the API server, the controller of the ReplicaSet may not see a pod that it has just made.
        # Then it makes another, and takes one of the two away before that is bound.
        assert len([one for one in lives if one.bound is not None]) == 2 * COUNT


def test_a_primary_that_comes_and_goes_moves_each_workload_once_in_a_dwell_window(site: Site) -> None:
    apps = [f"work-{number}" for number in range(3)]
    workloads = [objects.gpu_deployment(app, 1, labels=LABELS) for app in apps]
    failback = {"policy": "WhenStable", "stableSeconds": 0, "minDwellSeconds": DWELL_SECONDS, "headroomPercent": 0}
    limits = {"perMinute": 1000, "maxConcurrentMoves": 10}
    with home(site, workloads, count=3, failback=failback | limits) as scene:
        for turn in range(3):
            scene.break_down(FIRST)
            scene.history.wait(lambda: scene.breaker(FIRST) == "Open", "the primary to be taken for failed")
            if not turn:
                # Nobody leaves any more once it is well again.
                scene.history.wait(lambda: all(map(scene.history.eviction_times, apps)), "each of them to leave")
            scene.mend(FIRST)
            scene.history.wait(lambda: scene.breaker(FIRST) != "Open", "the primary to be tried again")
        brisk.wait_settled(site, {FIRST: 3})
        for app in apps:
            _assert_dwells(app, scene.history)


def _assert_dwells(app: str, history: Recorder) -> None:
    """A workload was moved, and never twice within the window; what is seen may be late by a little."""
    times = history.eviction_times(app)
    assert times, f"{app} was never moved"
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert all(gap > DWELL_SECONDS - 0.5 for gap in gaps), f"{app}: {gaps}"


def _staying(pods: list[Json]) -> list[Json]:
    return [pod for pod in pods if objects.is_bound(pod) and "deletionTimestamp" not in pod["metadata"]]


def _wait_running(site: Site, count: int) -> None:
    site.api.wait_for(
        "pods",
        lambda found: len(_staying(found)) == count or None,
        site.namespace,
        labels=WORK,
        what=f"{count} pods that run",
    )
