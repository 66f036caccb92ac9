"""`computepool drill`: the dry run reads the cluster once, says what would happen, and changes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fakes.apiserver import NODES, PODS, FakeApiServer
from tests.unit.act.objects import node, pod
from tests.unit.app.cluster import NAMESPACES, make_pool
from tests.unit.cli.serving import Shell, shell

BUDGETS = "/apis/policy/v1/poddisruptionbudgets"
RUNNING = {
    "phase": "Running",
    "startTime": "2026-11-23T04:00:00Z",
    "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-23T04:00:30Z"}],
}


def owned(name: str, on: str, gpus: int = 1, **how: Any) -> dict[str, Any]:
    item = pod(name, gpus, on=on, labels={"app": "web"}, **how)
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "web", "controller": True}
    item["metadata"]["ownerReferences"] = [owner]
    item["status"] = RUNNING
    return item


def cluster(free: int = 8, **spec: Any) -> Callable[[FakeApiServer], None]:
    """Two pods of one ReplicaSet on aws, one pod that needs 6 accelerators, and so much room on nebius."""

    def before(server: FakeApiServer) -> None:
        server.create(NAMESPACES, {"metadata": {"name": "default"}})
        for item in (node("a1", "aws", 8), node("n1", "nebius", free)):
            server.create(NODES, item)
        for item in (owned("web-1", "a1"), owned("web-2", "a1"), owned("large", "a1", 6)):
            server.create(PODS, item)
        make_pool(server, "aws", "nebius", **spec)

    return before


def writes(sh: Shell) -> list[str]:
    return sh.server.do(lambda server: [call.verb for call in server.calls if call.verb not in ("get", "list")])


def test_it_says_what_moves_and_when_and_changes_nothing(tmp_path: Path) -> None:
    with shell(tmp_path, cluster()) as sh:
        said = sh.prints("drill", "inference", "--lose", "aws")
        assert "If aws of pool inference failed now: a dry run, nothing is changed." in said
        assert "3 of 3 pods would be Ready elsewhere after 2:00 min." in said
        assert "the breaker of aws is Open (ProviderSilent)" in said
        assert "default/large (6 accelerators) leaves for nebius (LostNode)" in said or "default/large (6" in said
        assert "Pods are Ready 30 s after they are bound, as the median of 3 pods that run now." in said
        assert "is stranded" not in said
        assert writes(sh) == []


def test_it_names_stranded_pods_with_the_reason_of_each_provider(tmp_path: Path) -> None:
    with shell(tmp_path, cluster(free=4)) as sh:
        said = sh.prints("drill", "inference", "--lose", "aws")
        assert "2 of 3 pods would be Ready elsewhere" in said
        assert "1 pod with 6 accelerators would be stranded." in said
        assert "default/large" in said
        assert "WouldStrand" in said
        assert "nebius: TooLarge" in said


def test_programs_get_all_pods_in_json(tmp_path: Path) -> None:
    with shell(tmp_path, cluster(free=4)) as sh:
        found = json.loads(sh.prints("drill", "inference", "--lose", "aws", "--drain", "--output", "json"))
    assert (found["pool"], found["provider"], found["how"], found["stranded"]) == ("inference", "aws", "Drain", 1)
    pods = {entry["pod"]: entry for entry in found["pods"]}
    assert pods["web-1"]["runsOn"] == "nebius"
    assert pods["web-1"]["readyAt"] > pods["web-1"]["movedAt"]
    assert pods["large"]["staysBecause"] == "WouldStrand"
    assert {"name": "nebius", "reason": "TooLarge"} in pods["large"]["providers"]
    assert found["breakers"][0] == {"at": 0.0, "provider": "aws", "state": "Open", "reason": "Drained"}


def test_disruption_budgets_hold_and_are_named(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        cluster()(server)
        budget = {
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"selector": {"matchLabels": {"app": "web"}}},
            "status": {"desiredHealthy": 3},
        }
        server.create(BUDGETS, budget)

    with shell(tmp_path, before) as sh:
        said = sh.prints("drill", "inference", "--lose", "aws", "--drain")
        assert "3 pods with 8 accelerators would be stranded." in said
        assert "The disruption budget default/web would refuse" in said


def test_a_pool_in_mode_observe_is_played_as_if_it_were_enforced(tmp_path: Path) -> None:
    with shell(tmp_path, cluster(mode="Observe")) as sh:
        said = sh.prints("drill", "inference", "--lose", "aws")
        assert "3 of 3 pods would be Ready elsewhere" in said
        assert "The pool is in mode Observe, and was played in mode Enforce" in said


def test_a_pool_or_a_provider_that_does_not_exist_is_told_with_what_there_is(tmp_path: Path) -> None:
    with shell(tmp_path, cluster()) as sh:
        assert "there is no ComputePool 'nope'; there is inference" in sh.fails("drill", "nope", "--lose", "aws")
        assert "has no provider 'gcp'; it has aws, nebius" in sh.fails("drill", "inference", "--lose", "gcp")
