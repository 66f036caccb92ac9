"""Bursting on a real control plane: what overflows runs on a standby, what may not go stays and says why."""

from __future__ import annotations

import pytest

from e2e import chart, objects, pools
from e2e.admission import wait_admits
from e2e.autoscaler import Autoscaler
from e2e.operator import OperatorProcess
from e2e.site import Site

SECONDARY = "nebius"
THIRD = "crusoe"


@pytest.fixture
def full(operator: OperatorProcess, site: Site) -> Site:
    """A site whose primary, one node of 4, is taken, with one standby node of 4 each on two providers."""
    site.add_taken_node("aws", gpus=4)
    site.add_nodes(SECONDARY, gpus=4, taint=True)
    site.add_nodes(THIRD, gpus=4, taint=True)
    return site


ALL = ("aws", SECONDARY, THIRD)
NEW = "app=new"


def _overflow(site: Site, count: int, **how: object) -> None:
    site.create(*objects.gpu_pods("new", count, labels={"app": "new"}, **how))


def test_pods_beyond_the_primary_run_on_the_secondary_and_then_on_the_third(full: Site) -> None:
    with pools.pool(full, ALL) as pool:
        _overflow(full, 6)
        assert full.providers_of(full.wait_bound(6, labels=NEW)) == {SECONDARY: 4, THIRD: 2}
        pools.wait_condition(
            full, pool["metadata"]["name"], "Bursting", "True", "PodsOnStandby", says="4 on nebius, 2 on crusoe"
        )
        pools.wait_condition(full, pool["metadata"]["name"], "Saturated", "True")


def test_a_burst_pod_carries_its_label_its_offer_and_a_low_deletion_cost(full: Site) -> None:
    with pools.pool(full, ALL):
        _overflow(full, 1)
        (pod,) = full.wait_bound(1, labels=NEW)
        assert pod["metadata"]["labels"][pools.BURST_LABEL] == SECONDARY
        assert pod["metadata"]["annotations"][pools.OFFERS].startswith(f"{SECONDARY}=")
        assert pod["metadata"]["annotations"]["controller.kubernetes.io/pod-deletion-cost"] == "-100"
        assert objects.provider_toleration(SECONDARY) in pod["spec"]["tolerations"]


def test_a_burst_is_told_on_the_pool_and_on_the_pod(full: Site) -> None:
    with pools.pool(full, ALL) as pool:
        _overflow(full, 1)
        full.wait_bound(1, labels=NEW)
        told = full.api.wait_for(
            "events.events.k8s.io",
            lambda found: [e for e in found if e["reason"] == "PrimarySaturated"],
            full.namespace,
            what="an event on the pod",
        )
        assert "Sent to nebius" in told[0]["note"]
        assert "aws: NoRoom" in told[0]["note"]
        names = pool["metadata"]["name"]
        full.api.wait_for(
            "events.events.k8s.io",
            lambda found: [e for e in found if e["regarding"]["name"] == names and e["reason"] == "PrimarySaturated"],
            "default",
            what="an event on the pool",
        )


def test_a_pod_that_fits_on_the_primary_is_left_alone(operator: OperatorProcess, site: Site) -> None:
    site.add_nodes("aws", gpus=4)
    site.add_nodes(SECONDARY, gpus=4, taint=True)
    with pools.pool(site, ("aws", SECONDARY)) as pool:
        site.create(*objects.gpu_pods("new", 4))
        bound = site.wait_bound(4)
        assert site.providers_of(bound) == {"aws": 4}
        assert not any(pools.BURST_LABEL in pod["metadata"].get("labels", {}) for pod in bound)
        pools.wait_condition(site, pool["metadata"]["name"], "Bursting", "False")


def test_the_cheapest_standby_is_taken_first_where_the_pool_says_so(full: Site) -> None:
    dear = pools.provider(full, SECONDARY, pricePerAcceleratorHour="2.95")
    cheap = pools.provider(full, THIRD, pricePerAcceleratorHour="1.10")
    with pools.pool(full, ("aws", dear, cheap), placement="Cheapest"):
        _overflow(full, 2)
        assert full.providers_of(full.wait_bound(2, labels=NEW)) == {THIRD: 2}


def test_max_accelerators_bounds_a_standby_and_the_rest_goes_on(full: Site) -> None:
    bounded = pools.provider(full, SECONDARY, capacity={"maxAccelerators": 2})
    with pools.pool(full, ("aws", bounded, THIRD)):
        _overflow(full, 4)
        assert full.providers_of(full.wait_bound(4, labels=NEW)) == {SECONDARY: 2, THIRD: 2}


def test_a_pod_that_may_not_leave_waits_and_others_pass_it(full: Site) -> None:
    with pools.pool(full, ALL) as pool:
        stays = objects.gpu_pod("stays", annotations={pools.ALLOWED: ""}, labels={"app": "stays"})
        only_third = objects.gpu_pod("only-third", annotations={pools.ALLOWED: THIRD}, labels={"app": "new"})
        full.create(stays, only_third)
        assert full.providers_of(full.wait_bound(1, labels=NEW)) == {THIRD: 1}
        waiting = full.wait_unschedulable(1, labels="app=stays")
        assert objects.provider_toleration(SECONDARY) not in waiting[0]["spec"].get("tolerations", [])
        one = {"pods": 1, "accelerators": 1, "gated": 0}
        name = pool["metadata"]["name"]
        pools.wait_status(full.api, name, lambda status: status.get("pending") == one, "one pod pending")


def test_a_pod_pinned_to_the_primary_waits(full: Site) -> None:
    with pools.pool(full, ALL):
        pinned = objects.gpu_pod("pinned", labels={"app": "pinned"}, nodeSelector={objects.PROVIDER_KEY: "aws"})
        full.create(pinned, objects.gpu_pod("free", labels={"app": "new"}))
        assert full.providers_of(full.wait_bound(1, labels=NEW)) == {SECONDARY: 1}
        (waiting,) = full.pods("app=pinned")
        assert pools.BURST_LABEL not in waiting["metadata"]["labels"]


def test_gated_pods_belong_to_somebody_else(full: Site) -> None:
    with pools.pool(full, ALL):
        full.create(
            objects.gpu_pod("gated", labels={"app": "gated"}, schedulingGates=[{"name": "kueue.x-k8s.io/admission"}]),
            objects.gpu_pod("free", labels={"app": "new"}),
        )
        full.wait_bound(1, labels=NEW)
        (gated,) = full.pods("app=gated")
        assert pools.OFFERS not in gated["metadata"].get("annotations", {})


def test_pods_sent_to_an_autoscaled_standby_get_nodes_made_for_them(full: Site) -> None:
    grown = pools.provider(full, "grown", capacity={"type": "OnDemand"})
    with pools.pool(full, ("aws", grown)), Autoscaler(full, "grown", delay=0.5, max_nodes=1, gpus=4):
        _overflow(full, 2)
        assert full.providers_of(full.wait_bound(2, labels=NEW)) == {"grown": 2}


def test_a_standby_that_makes_no_nodes_in_time_is_passed_over(full: Site) -> None:
    dry = pools.provider(full, "dry", capacity={"type": "OnDemand"}, provisionTimeoutSeconds=1)
    with pools.pool(full, ("aws", dry, SECONDARY)):
        _overflow(full, 1)
        (pod,) = full.wait_bound(1, labels=NEW)
        assert full.providers_of([pod]) == {SECONDARY: 1}
        offers = pod["metadata"]["annotations"][pools.OFFERS].split(",")
        assert [offer.split("=")[0] for offer in offers] == ["dry", SECONDARY]


def test_observe_mode_tells_what_it_would_do_and_changes_nothing(full: Site) -> None:
    with pools.pool(full, ALL, mode="Observe", admission={"mode": "Always"}) as pool:
        _overflow(full, 2)
        told = full.api.wait_for(
            "events.events.k8s.io",
            lambda found: [e for e in found if e.get("action") == "WouldBurst"],
            full.namespace,
            what="an event that tells what would be done",
        )
        assert told[0]["note"].startswith("Observe: would be sent to nebius")
        pools.wait_condition(full, pool["metadata"]["name"], "Ready", "True", "Observing")
        held = full.wait_unschedulable(2, labels=NEW)
        assert not any(pools.OFFERS in pod["metadata"].get("annotations", {}) for pod in held)
        status = full.api.get(pools.POOLS, pool["metadata"]["name"])["status"]
        assert not status["admission"].get("tolerations")
        assert full.api.find(pools.BINDINGS, f"computepool-{pool['metadata']['name']}") is None


def test_pods_created_while_saturated_are_admitted_to_the_standby(full: Site) -> None:
    with pools.pool(full, ALL, admission={"mode": "WhenSaturated"}) as pool:
        name = pool["metadata"]["name"]
        pools.wait_admission(full, name, is_open=True)
        full.api.wait_for(pools.BINDINGS, lambda found: found, name=f"computepool-{name}", what="its binding")
        wait_admits(full, SECONDARY)
        full.create(objects.gpu_pod("admitted", labels={"app": "new"}))
        (pod,) = full.wait_bound(1, labels=NEW)
        assert full.providers_of([pod]) == {SECONDARY: 1}
        assert objects.provider_toleration(SECONDARY) in pod["spec"]["tolerations"]
        assert pools.OFFERS not in pod["metadata"].get("annotations", {}), "nobody had to patch it"
        marked = full.api.wait_for(
            "pods",
            lambda found: found if found[0]["metadata"]["labels"].get(pools.BURST_LABEL) == SECONDARY else None,
            full.namespace,
            labels=NEW,
            what="the label of a pod on a standby",
        )
        assert marked


def test_admission_closes_once_the_pressure_is_off(full: Site) -> None:
    with pools.pool(full, ALL, admission={"mode": "WhenSaturated"}) as pool:
        pools.wait_admission(full, pool["metadata"]["name"], is_open=True)
        full.api.delete_all("pods", full.namespace, labels="app=resident", grace_seconds=0)
        pools.wait_condition(full, pool["metadata"]["name"], "Saturated", "False")
        pools.wait_admission(full, pool["metadata"]["name"], is_open=False)


def test_of_two_pools_that_claim_a_pod_the_older_wins_and_the_other_says_so(full: Site) -> None:
    first, second = f"{full.namespace}-z", f"{full.namespace}-a"
    with pools.pool(full, ("aws", SECONDARY), first) as old:
        created = old["metadata"]["creationTimestamp"]
        # Creation times have whole seconds; the younger pool must be younger by one.
        chart.until(lambda: _second_later(full, created), "the next second")
        with pools.pool(full, ("aws", THIRD), second):
            full.create(*objects.gpu_pods("new", 5, labels={"app": "new"}))
            assert full.providers_of(full.wait_bound(4, labels=NEW)) == {SECONDARY: 4}
            pools.wait_condition(full, second, "Degraded", "True", "ClaimedByOlderPool", says=repr(first))


def test_what_only_a_running_operator_can_see_becomes_a_condition(operator: OperatorProcess, site: Site) -> None:
    site.add_nodes("aws", gpus=4)
    with pools.pool(site, ("aws", "nowhere")) as pool:
        pools.wait_condition(site, pool["metadata"]["name"], "Degraded", "True", "NoNodesMatch", says="nowhere")
    with pools.pool(site, ("nowhere", "aws")) as pool:
        pools.wait_condition(site, pool["metadata"]["name"], "Ready", "False", "NoNodesMatch", says="capacity.type")
    with pools.pool(site, ("aws", "aws2"), accelerator={"resourceName": "example.com/none"}) as pool:
        pools.wait_condition(
            site, pool["metadata"]["name"], "Degraded", "True", "AcceleratorNotFound", says="example.com/none"
        )


def _second_later(site: Site, created: str) -> bool:
    probe = objects.gpu_pod("probe")
    answer = site.api.request("POST", f"/api/v1/namespaces/{site.namespace}/pods?dryRun=All", probe)
    return bool(answer["metadata"]["creationTimestamp"] > created)
