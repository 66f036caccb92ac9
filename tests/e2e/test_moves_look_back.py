"""Moves by choice look back: the next move of an owner waits for a good end of its last, on a real control plane."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from e2e import brisk, objects, pools
from e2e.operator import OperatorProcess
from e2e.scene import COUNT, FIRST, LABELS, SECOND, THIRD, WORK, Scene, away, work
from e2e.site import Site

pytestmark = pytest.mark.usefixtures("operator")

Json = dict[str, Any]
HOMEWARD: Mapping[str, Any] = {"policy": "WhenStable", "stableSeconds": 0, "perMinute": 100, "headroomPercent": 0}
ZONE = "topology.kubernetes.io/zone"


def ready(site: Site) -> int:
    """How many pods of the workload are Ready and stay."""
    staying = [pod for pod in site.pods(WORK) if "deletionTimestamp" not in pod["metadata"]]
    return sum(map(objects.is_ready, staying))


def give_up_soon(scene: Scene) -> None:
    """Have a pod that a provider does not bind offered to the next one after two seconds."""
    providers = scene.site.api.get(pools.POOLS, scene.pool)["spec"]["providers"]
    soon = [entry | {"provisionTimeoutSeconds": 2} for entry in providers]
    brisk.set_spec(scene.site, scene.pool, {"providers": soon})


def wait_unsettled(scene: Scene, times: int) -> None:
    """Wait until the status counts so many failed moves of an owner."""

    def turned(status: Json) -> bool:
        return any(entry.get("times", 0) == times for entry in status.get("unsettledMoves", []))

    pools.wait_status(scene.site.api, scene.pool, turned, f"{times} failed moves of an owner")


def test_a_pod_that_can_not_run_at_home_is_brought_home_once_and_then_left(
    site: Site, operator: OperatorProcess
) -> None:
    apart = {
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"labelSelector": {"matchLabels": {"app": "work"}}, "topologyKey": "example.com/rack"}
            ]
        }
    }
    # A resident of the same app keeps the workload off the primary's rack.
    resident = objects.gpu_pod("stays", labels={"app": "work", "role": "stays"}, gpus=1)
    with away(site, [], count=0, failback=HOMEWARD) as scene:
        (rack,) = site.add_nodes(FIRST, 1, gpus=4)
        for name in (rack, *scene.nodes[FIRST]):
            site.api.patch("nodes", name, {"metadata": {"labels": {"example.com/rack": "one"}}})
        site.create(resident | {"spec": resident["spec"] | {"nodeSelector": {"kubernetes.io/hostname": rack}}})
        site.wait_bound(1, labels="role=stays")
        give_up_soon(scene)
        site.create(work(2, affinity=apart))
        scene.history.wait(lambda: scene.evicted() == 1, "the first to be brought home")
        wait_unsettled(scene, 1)
        site.wait_bound(2, labels=WORK)
        pools.wait_condition(site, scene.pool, "Degraded", "False", "MoveFailed")
        scene.let_pass(operator)
        assert scene.evicted() == 1


def test_without_replacements_a_single_pod_is_lost(site: Site, operator: OperatorProcess) -> None:
    with away(site, failback=HOMEWARD) as scene:
        quota = {"hard": {f"requests.{objects.ACCELERATOR}": "0"}}
        site.create(
            {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none", "namespace": site.namespace}}
            | {"spec": quota}
        )
        site.add_nodes(FIRST, 2, gpus=4)
        scene.history.wait(lambda: scene.evicted() == 1, "the first to be brought home")
        scene.history.wait(lambda: ready(site) == COUNT - 1, "the pod to be gone")
        for _ in range(3):
            scene.let_pass(operator)
        assert (scene.evicted(), ready(site)) == (1, COUNT - 1)


def test_the_second_pod_comes_home_once_the_first_is_ready(site: Site, operator: OperatorProcess) -> None:
    with away(site, [work(4, ready_after=8)], count=4, failback=HOMEWARD) as scene:
        site.wait_bound(4, labels=WORK)
        scene.history.wait(lambda: ready(site) == 4, "all to be Ready")
        site.add_nodes(FIRST, 2, gpus=4)
        scene.history.wait(lambda: scene.evicted() == 1, "the first to be brought home")
        site.api.wait_for(
            "pods",
            lambda found: any(site.providers_of([pod]).get(FIRST) for pod in found),
            site.namespace,
            labels=WORK,
            what="the first at home",
        )
        scene.let_pass(operator)
        assert (scene.evicted(), ready(site)) == (1, 3)
        scene.history.wait(lambda: scene.evicted() == 2, "the second to be brought home")
        assert ready(site) >= 3


def test_a_drain_tries_a_pod_with_constraints_alone(site: Site, operator: OperatorProcess) -> None:
    spread = {
        "maxSkew": 1,
        "topologyKey": ZONE,
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": LABELS},
    }
    with away(site, [], count=0) as scene:
        near = [*site.add_nodes(FIRST, 1, gpus=4), *scene.nodes[FIRST], *scene.nodes[THIRD]]
        for zone, names in (("near", near), ("far", scene.nodes[SECOND])):
            for name in names:
                site.api.patch("nodes", name, {"metadata": {"labels": {ZONE: zone}}})
        give_up_soon(scene)
        site.create(work(4, topologySpreadConstraints=[spread]))
        brisk.wait_settled(site, {FIRST: 2, SECOND: 2})
        scene.history.wait(lambda: ready(site) == 4, "all to be Ready")
        brisk.drain(site, scene.pool, SECOND)
        scene.history.wait(lambda: scene.evicted() == 1, "the first to leave")
        for _ in range(3):
            scene.let_pass(operator)
        assert scene.evicted() == 1
        assert ready(site) >= 3
