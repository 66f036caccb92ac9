"""Pods that wait are told why on their own events, once for each reason, on a real API server."""

from __future__ import annotations

from collections import Counter

import pytest

from e2e import brisk, objects, pools
from e2e.admission import wait_admits
from e2e.command import explained
from e2e.operator import OperatorProcess
from e2e.scene import SECOND, Json
from e2e.site import Site

EVENTS = "events.events.k8s.io"
NEW = "app=new"
SOON = {"pendingSeconds": 1, "sustainSeconds": 0, "clearSeconds": 1}


@pytest.fixture
def full(operator: OperatorProcess, site: Site) -> Site:
    """A site whose primary, one node of 2, is taken, with a standby node of 4."""
    site.add_taken_node("aws", gpus=2)
    site.add_nodes(SECOND, gpus=4, taint=True)
    return site


def _fill(site: Site, count: int = 4) -> None:
    """Take places of the standby, with pods that are not the pool's."""
    tolerated = [objects.provider_toleration(SECOND)]
    site.create(*objects.gpu_pods("other", count, labels={"app": "other"}, tolerations=tolerated))
    site.wait_bound(count, labels="app=other")


def _wait(site: Site, count: int, **how: object) -> None:
    site.create(*objects.gpu_pods("new", count, labels={"app": "new"}, **how))


def _told(events: list[Json]) -> list[Json]:
    """The events of the operator that say why a pod waits."""
    return [event for event in events if event.get("action") == "Wait" and event["regarding"]["kind"] == "Pod"]


def _wait_told(site: Site, reason: str, count: int) -> list[Json]:
    """Wait until so many events about pods have a reason, and return them."""

    def found(events: list[Json]) -> list[Json] | None:
        told = [event for event in _told(events) if event["reason"] == reason]
        return told if len(told) >= count else None

    return site.api.wait_for(EVENTS, found, site.namespace, what=f"{count} events {reason}")


def _events(site: Site) -> Counter[tuple[str, str]]:
    """The number of events of each reason about each waiting pod."""
    told = _told(site.api.list(EVENTS, site.namespace))
    return Counter((event["regarding"]["name"], event["reason"]) for event in told)


def test_pods_of_a_full_pool_are_told_once_and_once_more_when_the_reason_changes(full: Site) -> None:
    _fill(full)
    with pools.pool(full, ("aws", SECOND), saturation=SOON) as pool:
        name = pool["metadata"]["name"]
        _wait(full, 3)
        (first, *_) = _wait_told(full, "NoRoom", 3)
        assert first["type"] == "Warning"
        assert first["note"] == (
            "No provider of the pool can take the pod now. aws: full (0 of 2 accelerators free), "
            "nebius: full (0 of 4 accelerators free). The pod runs once other pods end, or nodes join, on aws, nebius."
        )
        condition = pools.wait_condition(full, name, "Degraded", "True", "PodsWaiting", says="NoRoom")
        assert f"{full.namespace}/new-0, {full.namespace}/new-1, {full.namespace}/new-2" in condition["message"]
        # More passes, and a fourth pod: the first three are not told again.
        full.create(objects.gpu_pod("late", labels={"app": "new"}))
        _wait_told(full, "NoRoom", 4)
        assert _events(full) == dict.fromkeys([(pod, "NoRoom") for pod in ("new-0", "new-1", "new-2", "late")], 1)
        brisk.drain(full, name, SECOND)
        _wait_told(full, "ProviderUnavailable", 4)
        assert set(_events(full).values()) == {1}
        assert sum(_events(full).values()) == 8


def test_the_condition_ends_once_no_pod_waits(full: Site) -> None:
    _fill(full)
    with pools.pool(full, ("aws", SECOND), saturation=SOON) as pool:
        name = pool["metadata"]["name"]
        _wait(full, 1)
        pools.wait_condition(full, name, "Degraded", "True", "PodsWaiting")
        full.api.delete_many("pods", ["other-0", "other-1"], full.namespace)
        full.wait_bound(1, labels=NEW)
        # For longer than the hysteresis lasts.
        pools.wait_condition(full, name, "Degraded", "False", "AllWell", timeout=60)


@pytest.mark.parametrize(
    ("budget", "says"),
    [
        ({"perHour": "0.5"}, "The pod alone costs 2.95 an hour, more than the budget per hour of 0.5"),
        ({"perDay": "0.5"}, "The pod alone costs 2.95 an hour, more than the budget per day of 0.5"),
    ],
    ids=["hour", "day"],
)
def test_pods_that_the_budget_does_not_cover_are_told_the_amounts(full: Site, budget: Json, says: str) -> None:
    standby = pools.provider(full, SECOND, pricePerAcceleratorHour="2.95")
    with pools.pool(full, ("aws", standby), saturation=SOON, budget=budget) as pool:
        _wait(full, 2)
        for event in _wait_told(full, "BudgetExhausted", 2):
            assert says in event["note"]
            assert "raise spec.budget.per" in event["note"]
        assert set(_events(full).values()) == {1}
        pools.wait_condition(full, pool["metadata"]["name"], "Degraded", "True", "PodsWaiting", says="BudgetExhausted")
        assert says in explained(full, "new-0")


def test_a_pod_that_kueue_has_pinned_to_full_nodes_is_told_by_what(full: Site) -> None:
    # What Kueue leaves on a pod that it has admitted to a flavor: its label, and the flavor's nodeLabels.
    flavor = {objects.PROVIDER_KEY: "aws"}
    queued = objects.gpu_pod("queued", labels={"kueue.x-k8s.io/podset": "main"}, nodeSelector=flavor)
    with pools.pool(full, ("aws", SECOND), saturation=SOON) as pool:
        full.create(queued)
        (event,) = _wait_told(full, "Pinned", 1)
        pin = f"Pinned by its nodeSelector {objects.PROVIDER_KEY}=aws. Kueue manages the pod"
        assert pin in event["note"]
        assert pin in explained(full, "queued")
        # Its own constraints keep it off the standby: that degrades no pool, but HEALTH says that it waits.
        pools.wait_condition(full, pool["metadata"]["name"], "Degraded", "False", "PodsWaiting", says="queued")


def test_a_pod_whose_scheduler_binds_no_pod_is_told_so(full: Site) -> None:
    quick = pools.provider(full, SECOND, provisionTimeoutSeconds=10)
    with pools.pool(full, ("aws", quick), saturation=SOON):
        full.create(objects.gpu_pod("odd", schedulerName="volcano"))
        (event,) = _wait_told(full, "SchedulerAbsent", 1)
        assert "The pod waits for the scheduler 'volcano'." in event["note"]


def test_a_pod_that_waits_for_a_moment_only_is_told_nothing(full: Site) -> None:
    with pools.pool(full, ("aws", SECOND), saturation=SOON):
        _wait(full, 4)
        full.wait_bound(4, labels=NEW)
        full.create(objects.gpu_pod("last", labels={"app": "last"}))
        _wait_told(full, "NoRoom", 1)
        assert _events(full) == {("last", "NoRoom"): 1}


def test_pods_that_admission_sends_are_told_so_once(full: Site) -> None:
    with pools.pool(full, ("aws", SECOND), admission={"mode": "Always"}) as pool:
        wait_admits(full, SECOND)
        _wait(full, 3)
        assert full.providers_of(full.wait_bound(3, labels=NEW)) == {SECOND: 3}

        def admitted(events: list[Json]) -> list[Json] | None:
            found = [event for event in events if event["reason"] == "Admitted"]
            return found if len(found) >= 3 else None

        told = full.api.wait_for(EVENTS, admitted, full.namespace, what="an event on each admitted pod")
        assert Counter(event["regarding"]["name"] for event in told) == {"new-0": 1, "new-1": 1, "new-2": 1}
        assert told[0]["note"].startswith("Admitted to nebius.")
        name = pool["metadata"]["name"]
        full.api.wait_for(
            EVENTS,
            lambda events: _admitted_in_all(events, name) == 3 or None,
            "default",
            what="the pool's own count",
        )


def _admitted_in_all(events: list[Json], pool: str) -> int:
    notes = [e["note"] for e in events if e["regarding"]["name"] == pool and e["reason"] == "Admitted"]
    return sum(int(note.split()[0]) for note in notes)
