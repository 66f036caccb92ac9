"""What bounds the moves of running pods: disruption budgets, limits at once and in a minute, money."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from e2e import brisk, objects, pools
from e2e.operator import OperatorProcess
from e2e.scene import COUNT, FIRST, SECOND, THIRD, WORK, Json, Scene, away, home, work
from e2e.site import Site

pytestmark = pytest.mark.usefixtures("operator")


def test_a_disruption_budget_that_allows_none_is_told_of_and_kept_until_it_lets_go(site: Site) -> None:
    with away(site, count=4) as scene:
        site.create(objects.disruption_budget("none", {"app": "work"}, max_unavailable=0))
        _wait_budget(site, allowed=0)
        brisk.drain(site, scene.pool, SECOND)
        site.api.wait_for(
            "events.events.k8s.io",
            lambda found: [one for one in found if one["reason"] == "EvictionRefused"],
            site.namespace,
            what="an event that tells of the refusal",
        )
        assert not scene.history.evicted()
        site.api.patch("poddisruptionbudgets.policy", "none", {"spec": {"maxUnavailable": 4}}, site.namespace)
        brisk.wait_settled(site, {THIRD: 4})
        assert scene.evicted() == 4


def test_an_eviction_refused_for_longer_than_its_time_is_a_condition_of_the_pool(site: Site) -> None:
    with away(site, count=4, failover={"evictionTimeoutSeconds": 1}) as scene:
        site.create(objects.disruption_budget("none", {"app": "work"}, max_unavailable=0))
        _wait_budget(site, allowed=0)
        # An unhealthy node in place of a drain, which would be the first thing that the condition tells.
        unhealthy = scene.nodes[SECOND][0]
        brisk.set_spec(site, scene.pool, {"health": {"unhealthyPercent": 100}})
        site.break_nodes([unhealthy])
        pools.wait_condition(site, scene.pool, "Degraded", "True", "EvictionRefused", says=f"{site.namespace}/work-")
        assert not scene.history.evicted()


def test_a_disruption_budget_of_one_lets_them_go_one_by_one(site: Site) -> None:
    with away(site, [work(4, ready_after=1)], count=4) as scene:
        _wait_ready(site, 4)
        site.create(objects.disruption_budget("one", {"app": "work"}, max_unavailable=1))
        _wait_budget(site, allowed=1)
        brisk.drain(site, scene.pool, SECOND)
        scene.history.wait(lambda: scene.evicted() >= 2, "the second eviction")
        _assert_replaced_before_the_next(scene)
    # All of them would only take longer: the same is done again and again.


@pytest.mark.parametrize("most", [1, 2])
def test_no_more_are_on_their_way_than_the_pool_allows(site: Site, most: int) -> None:
    with away(site, failover={"maxConcurrentMoves": most}) as scene:
        brisk.drain(site, scene.pool, SECOND)
        brisk.wait_settled(site, {THIRD: COUNT})
        lives = scene.history.lives("work")
        for moment in scene.history.eviction_times("work"):
            gone = sum(one.evicted is not None and one.evicted <= moment for one in lives)
            bound = sum(one.evicted is None and one.bound is not None and one.bound < moment for one in lives)
            # What one watch shows may be ahead of what the operator's has shown, never behind by a whole move.
            assert gone - bound <= most


def test_no_more_leave_in_a_minute_than_the_pool_allows(site: Site, operator: OperatorProcess) -> None:
    with away(site, failover={"perMinute": 4}) as scene:
        brisk.drain(site, scene.pool, SECOND)
        brisk.wait_settled(site, {SECOND: COUNT - 4, THIRD: 4})
        scene.let_pass(operator)
        assert scene.evicted() == 4
        # A move that is decided in one second and asked for in the next may be recorded in both.
        assert sum(one.get("failover", 0) for one in scene.status()["recentMoves"]) >= 4
        # It is the limit that holds them: with a higher one they leave.
        brisk.set_spec(site, scene.pool, {"failover": {"perMinute": 100}})
        brisk.wait_settled(site, {THIRD: COUNT})


def test_a_budget_that_is_spent_sends_nobody_on_and_says_so(site: Site, operator: OperatorProcess) -> None:
    priced = _priced(site)
    with away(site, [], count=0, providers=priced, budget={"perHour": "3"}) as scene:
        site.create(work(4))
        brisk.wait_settled(site, {SECOND: 3, "": 1})
        pools.wait_condition(site, scene.pool, "BudgetExhausted", "True", "BudgetExhausted")
        scene.let_pass(operator)
        assert site.providers_of(site.pods(WORK)) == {SECOND: 3, "": 1}
        brisk.set_spec(site, scene.pool, {"budget": {"perHour": "10"}})
        brisk.wait_settled(site, {SECOND: 4})
        pools.wait_condition(site, scene.pool, "BudgetExhausted", "False", "WithinBudget")


def test_running_pods_leave_a_failed_primary_only_as_far_as_the_budget_goes(
    site: Site, operator: OperatorProcess
) -> None:
    with home(site, count=4, providers=_priced(site), budget={"perHour": "2"}) as scene:
        scene.break_down(FIRST)
        brisk.wait_settled(site, {FIRST: 2, SECOND: 2})
        scene.let_pass(operator)
        assert scene.evicted() == 2


def test_an_exhausted_budget_brings_pods_home_where_the_pool_says_so(site: Site) -> None:
    with away(site, providers=_priced(site), count=4, budget={"perHour": "10", "onExhausted": "Return"}) as scene:
        site.add_nodes(FIRST, gpus=8)
        brisk.set_spec(
            site,
            scene.pool,
            {"budget": {"perHour": "2"}, "failback": {"stableSeconds": 0, "perMinute": 100, "headroomPercent": 0}},
        )
        scene.history.wait(lambda: scene.evicted() >= 2, "what the budget does not cover to come home")
        site.api.wait_for(
            "pods",
            lambda found: (
                site.providers_of(one for one in found if "deletionTimestamp" not in one["metadata"]).get(SECOND, 0)
                <= 2
            ),
            site.namespace,
            labels=WORK,
            what="at most two pods on the standby",
        )


def _priced(site: Site) -> list[Json]:
    return [pools.provider(site, name, pricePerAcceleratorHour="1") for name in (FIRST, SECOND, THIRD)]


def _wait_budget(site: Site, *, allowed: int) -> None:
    """Wait until the disruption controller has seen all pods."""

    def known(found: list[Json]) -> bool:
        status = found[0].get("status", {}) if found else {}
        return status.get("expectedPods") == 4 and status.get("disruptionsAllowed") == allowed

    site.api.wait_for(
        "poddisruptionbudgets.policy", lambda found: known(found) or None, site.namespace, what="a budget that is known"
    )


def _wait_ready(site: Site, count: int) -> None:
    enough: Callable[[list[Json]], bool] = lambda found: sum(map(objects.is_ready, found)) >= count  # noqa: E731
    site.api.wait_for("pods", lambda found: enough(found) or None, site.namespace, labels=WORK, what="ready pods")


def _assert_replaced_before_the_next(scene: Scene) -> None:
    for earlier, later in pairwise(scene.history.eviction_times("work")):
        assert any(one.ready is not None and earlier < one.ready < later + 0.2 for one in scene.history.lives("work"))
