"""`computepool diff` on a real cluster: what it says, and that the running operator then does it."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e import command, objects, pools
from e2e.operator import OperatorProcess
from e2e.site import Site
from tests.e2e.people import person, role

Json = dict[str, Any]
PRICES = {"aws": "12", "nebius": "3", "crusoe": "2"}
PATIENT = {**pools.AT_ONCE, "pendingSeconds": 3600}
# The next pod of an owner leaves a moment after the replacement of the pod before has become Ready.
BRISK: Json = {
    "health": {"breaker": {"proveSeconds": 1, "backoffSeconds": 1}, "clearSeconds": 1},
    "failback": {"minDwellSeconds": 0},
}


@pytest.fixture
def scene(operator: OperatorProcess, site: Site) -> Site:
    """A full primary, and two standbys of which the second is cheaper."""
    site.add_taken_node("aws", gpus=2)
    for name in ("nebius", "crusoe"):
        site.add_nodes(name, gpus=4, taint=True)
    return site


def providers(site: Site, **more: Json) -> list[Json]:
    """All three, with prices; `more`: fields of one of them, by its name."""
    return [
        pools.provider(site, name, **{"pricePerAcceleratorHour": price, **more.get(name, {})})
        for name, price in PRICES.items()
    ]


def compared(site: Site, folder: Path, manifest: Json, *words: str, env: Json | None = None) -> Any:
    """The answer of `computepool diff` about a manifest in a file."""
    file = folder / "pool.yaml"
    file.write_text(yaml.safe_dump(manifest))
    return command.run("diff", "-f", str(file), *words, env=site.cluster.command_env() if env is None else env)


def differs(site: Site, folder: Path, manifest: Json) -> Json:
    """What differs, for programs."""
    ended = compared(site, folder, manifest, "--output", "json")
    assert ended.returncode == 1, ended.stderr
    return dict(json.loads(ended.stdout))


def decisions(found: Json, side: str, site: Site) -> dict[str, tuple[str, str, str]]:
    """By the name of each of the site's pods that differ: the action, the target and the reason."""
    pods = [pod for pod in found["pods"] if pod["namespace"] == site.namespace]
    return {pod["name"]: tuple(pod[side][key] for key in ("action", "target", "reason")) for pod in pods}


def facts(found: Json, site: Site) -> dict[str, tuple[str, str]]:
    """What differs about the site's pool."""
    (pool,) = [pool for pool in found["pools"] if pool["name"] == site.namespace]
    return {fact["about"]: (fact["today"], fact["then"]) for fact in pool["facts"]}


def apply(site: Site, manifest: Json) -> None:
    """Replace the pool's spec by the manifest's."""
    stored = site.api.get(pools.POOLS, site.namespace)
    site.api.replace({**stored, "spec": manifest["spec"]})


def wait_providers(site: Site, labels: str, wanted: dict[str, int], timeout: float = 60) -> None:
    def so(found: list[Json]) -> bool:
        return site.providers_of([pod for pod in found if objects.is_bound(pod)]) == wanted

    site.api.wait_for("pods", so, site.namespace, labels=labels, timeout=timeout, what=f"pods on {wanted}")


# -- pods that wait


def test_from_observe_to_enforce_and_another_placement_the_operator_does_what_was_said(
    scene: Site, tmp_path: Path
) -> None:
    with pools.pool(scene, providers(scene), mode="Observe"):
        names = [f"new-{number}" for number in range(3)]
        scene.create(*objects.gpu_pods("new", 3, labels={"app": "new"}))
        scene.wait_unschedulable(3, labels="app=new")
        pools.wait_condition(scene, scene.namespace, "Saturated", "True")
        manifest = pools.pool_of(scene, providers(scene), placement="Cheapest")
        found = differs(scene, tmp_path, manifest)
        sent = ("Send", "crusoe", "PrimarySaturated")
        assert decisions(found, "today", scene) == dict.fromkeys(names, ("Send", "nebius", "PrimarySaturated"))
        assert {pod["today"]["onlyReported"] for pod in found["pods"]} == {True}
        assert decisions(found, "then", scene) == dict.fromkeys(names, sent)
        assert {pod["then"]["onlyReported"] for pod in found["pods"]} == {False}
        (pool,) = found["pools"]
        assert [field["field"] for field in pool["spec"]] == ["spec.mode", "spec.placement"]
        told = compared(scene, tmp_path, manifest).stdout
        assert told.startswith(f"Pool {scene.namespace}\n  spec.mode: Observe -> Enforce\n")
        assert "only reported: sent to nebius (PrimarySaturated)  sent to crusoe (PrimarySaturated)" in told
        apply(scene, manifest)
        wait_providers(scene, "app=new", {"crusoe": 3})


def test_a_budget_lets_as_many_pods_go_as_was_said(scene: Site, tmp_path: Path) -> None:
    with pools.pool(scene, providers(scene), saturation=PATIENT):
        scene.create(*objects.gpu_pods("new", 3, labels={"app": "new"}))
        scene.wait_unschedulable(3, labels="app=new")
        pools.wait_status(
            scene.api, scene.namespace, lambda status: status.get("pending", {}).get("pods") == 3, "3 pods that wait"
        )
        manifest = pools.pool_of(scene, providers(scene), budget={"perHour": "7"})
        found = differs(scene, tmp_path, manifest)
        then = decisions(found, "then", scene)
        assert {today[2] for today in decisions(found, "today", scene).values()} == {"BelowPendingSeconds"}
        assert Counter(then.values()) == {("Send", "nebius", "PrimarySaturated"): 2, ("Wait", "", "BudgetExhausted"): 1}
        assert facts(found, scene)["budget"] == ("", "exhausted")
        assert facts(found, scene)["cost per hour once pods are sent and moved"] == ("24.00", "30.00")
        apply(scene, manifest)
        wait_providers(scene, "app=new", {"nebius": 2})
        pools.wait_condition(scene, scene.namespace, "BudgetExhausted", "True")
        sent = {pod["metadata"]["name"] for pod in pools.sent(scene)}
        assert sent == {name for name, decision in then.items() if decision[0] == "Send"}
        pools.wait_status(
            scene.api, scene.namespace, lambda status: status.get("costPerHour") == "30.00", "the cost that was said"
        )


def test_a_new_pool_is_told_before_it_exists(scene: Site, tmp_path: Path) -> None:
    scene.create(*objects.gpu_pods("new", 2, labels={"app": "new"}))
    scene.wait_unschedulable(2, labels="app=new")
    manifest = pools.pool_of(scene, providers(scene))
    found = differs(scene, tmp_path, manifest)
    (pool,) = found["pools"]
    assert (pool["name"], pool["new"], pool["spec"]) == (scene.namespace, True, [])
    assert {today[0] for today in decisions(found, "today", scene).values()} == {"NoPool"}
    then = decisions(found, "then", scene)
    assert Counter(decision[:2] for decision in then.values()) == {("Send", "nebius"): 2, ("Stay", ""): 2}
    with pools.pool(scene, providers(scene)):
        wait_providers(scene, "app=new", {"nebius": 2})


# -- pods that run


def test_a_drain_moves_pods_to_where_it_was_said_and_taints_the_nodes_that_were_named(
    scene: Site, tmp_path: Path
) -> None:
    with pools.pool(scene, providers(scene), **BRISK):
        scene.create(objects.gpu_deployment("chat", 2))
        scene.wait_bound(2, labels="app=chat")
        wait_providers(scene, "app=chat", {"nebius": 2})
        running = {pod["metadata"]["name"] for pod in scene.pods("app=chat")}
        pools.wait_status(scene.api, scene.namespace, lambda status: status.get("burstPods") == 2, "two burst pods")
        drained = providers(scene, nebius={"drain": True, "drainRunningPods": "Move"})
        manifest = pools.pool_of(scene, drained, **BRISK)
        found = differs(scene, tmp_path, manifest)
        then = decisions(found, "then", scene)
        assert then.keys() == running
        moved = [name for name, decision in then.items() if decision == ("Move", "crusoe", "LeavesProvider")]
        assert len(moved) == 1, then
        assert {decision[::2] for name, decision in then.items() if name not in moved} == {
            ("BlockedMove", "AwaitsReplacement")
        }
        (nebius,) = [node["metadata"]["name"] for node in scene.nodes() if "-nebius-" in node["metadata"]["name"]]
        assert found["quarantine"] == [{"node": nebius, "today": "", "then": "Drained"}]
        assert facts(found, scene)["nebius: breaker"] == ("Closed", "Open (Drained)")
        apply(scene, manifest)
        assert first_to_leave(scene, running) == set(moved)
        wait_providers(scene, "app=chat", {"crusoe": 2}, timeout=90)
        taints = scene.api.get("nodes", nebius)["spec"]["taints"]
        assert [taint["value"] for taint in taints if taint["key"] == "computepool.io/unavailable"] == ["Drained"]


def test_the_pod_that_was_said_to_come_home_first_comes_home_first(scene: Site, tmp_path: Path) -> None:
    with pools.pool(scene, providers(scene), **BRISK):
        scene.create(objects.gpu_deployment("chat", 2))
        wait_providers(scene, "app=chat", {"nebius": 2})
        running = {pod["metadata"]["name"] for pod in scene.pods("app=chat")}
        scene.api.delete_all("pods", scene.namespace, labels="app=resident")
        pools.wait_condition(scene, scene.namespace, "Saturated", "False")
        failback = {**BRISK["failback"], "policy": "WhenStable", "stableSeconds": 0, "headroomPercent": 0}
        manifest = pools.pool_of(scene, providers(scene), **{**BRISK, "failback": failback})
        found = differs(scene, tmp_path, manifest)
        then = decisions(found, "then", scene)
        assert then.keys() == running
        assert Counter(then.values()) == {("Move", "aws", "ComesHome"): 1, ("BlockedMove", "", "AwaitsReplacement"): 1}
        assert facts(found, scene)["moves"][1].startswith("1 at once; 1 wait for the replacement of the pod before")
        apply(scene, manifest)
        assert first_to_leave(scene, running) == {name for name, decision in then.items() if decision[0] == "Move"}
        wait_providers(scene, "app=chat", {"aws": 2}, timeout=90)


def first_to_leave(site: Site, running: set[str]) -> set[str]:
    """The first of these pods that terminate or are gone."""

    def left(pods: list[Json]) -> set[str]:
        return running - {pod["metadata"]["name"] for pod in pods if "deletionTimestamp" not in pod["metadata"]}

    return site.api.wait_for("pods", left, site.namespace, labels="app=chat", what="the first pod to leave")


# -- selectors


def test_a_selector_that_matches_no_node_is_told_with_the_pods_and_the_finding(scene: Site, tmp_path: Path) -> None:
    with pools.pool(scene, providers(scene)):
        scene.create(objects.gpu_deployment("chat", 1))
        wait_providers(scene, "app=chat", {"nebius": 1})
        pools.wait_status(scene.api, scene.namespace, lambda status: status.get("burstPods") == 1, "a burst pod")
        typo = {"nodeSelector": {"matchLabels": {"e2e.computepool.io/site": "nowhere"}}}
        manifest = pools.pool_of(scene, providers(scene, nebius=typo))
        found = differs(scene, tmp_path, manifest)
        assert {decision[::2] for decision in decisions(found, "then", scene).values()} == {("Stay", "RunsElsewhere")}
        (pool,) = found["pools"]
        (finding,) = pool["newFindings"]
        assert finding.startswith("no node matches the nodeSelector of nebius")
        (moved,) = pool["nodes"]
        assert (moved["today"], moved["then"], len(moved["names"])) == ("nebius", "", 1)
        apply(scene, manifest)
        told = pools.wait_condition(scene, scene.namespace, "Configured", "False", "NoNodesMatch")
        assert "no node matches the nodeSelector of nebius" in told["message"]
        back = differs(scene, tmp_path, pools.pool_of(scene, providers(scene)))
        assert back["pools"][0]["goneFindings"] == [finding]


# -- no difference, errors, rights


def test_the_stored_pool_makes_no_difference_and_nothing_is_written(scene: Site) -> None:
    with pools.pool(scene, providers(scene)):
        scene.create(objects.gpu_pod("new", labels={"app": "new"}))
        wait_providers(scene, "app=new", {"nebius": 1})
        pools.wait_status(scene.api, scene.namespace, lambda status: status.get("burstPods") == 1, "a burst pod")
        before = scene.api.get(pools.POOLS, scene.namespace)
        stored = scene.cluster.kubectl("get", "cpool", scene.namespace, "--output", "yaml")
        ended = subprocess.run(
            [command.COMMAND, "diff", "-f", "-"],
            input=stored,
            env=scene.cluster.command_env(),
            capture_output=True,
            text=True,
            timeout=command.SECONDS,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.startswith("No difference: ")
        assert scene.api.get(pools.POOLS, scene.namespace)["metadata"]["generation"] == before["metadata"]["generation"]


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"placement": "Cheap"}, "spec.placement"),
        (
            {"saturation": {"allocation": {"enterPercent": 50, "exitPercent": 60}}},
            "spec.saturation.allocation.exitPercent",
        ),
        ({"placment": "Cheapest"}, "spec.placment"),
    ],
)
def test_an_invalid_manifest_names_the_field_that_the_api_server_names(
    scene: Site, tmp_path: Path, spec: Json, field: str
) -> None:
    manifest = pools.pool_of(scene, providers(scene), **spec)
    ended = compared(scene, tmp_path, manifest)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert f"{field}: " in ended.stderr
    file = str(tmp_path / "pool.yaml")
    assert field in scene.cluster.kubectl("create", "--dry-run=server", "--filename", file, check=False)


def test_the_rights_of_explain_are_enough_and_a_missing_right_is_named(scene: Site, tmp_path: Path) -> None:
    manifest = pools.pool_of(scene, providers(scene))
    enough = {"kind": "ClusterRoleBinding", "roleRef": role("computepool-explainer")}
    with person(scene, tmp_path, "planner", enough) as config:
        ended = compared(scene, tmp_path, manifest, "--kubeconfig", str(config), env={})
        assert ended.returncode == 1, ended.stderr
    view = {"kind": "ClusterRoleBinding", "roleRef": role("view")}
    with person(scene, tmp_path, "viewer", view) as config:
        ended = compared(scene, tmp_path, manifest, "--kubeconfig", str(config), env={})
    assert (ended.returncode, ended.stdout) == (2, "")
    assert 'cannot list resource "nodes"' in ended.stderr
    assert "computepool-explainer" in ended.stderr
