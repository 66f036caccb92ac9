"""`computepool explain` for pods that run: where, why they stay there, and what moves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from computepool.model.reasons import Reason
from tests.fakes.apiserver import COMPUTEPOOLS, EVENTS, NODES, PODS, FakeApiServer
from tests.unit.act.objects import node, pod, provider
from tests.unit.app.cluster import OFFERS, full, make_pool
from tests.unit.cli.explaining import MOVABLE, SIGNALS, cluster, explained, full_with_pool, stamp


def test_a_pod_on_the_primary_is_said_to_run_there(tmp_path: Path) -> None:
    text = explained(tmp_path, "old-1", full_with_pool)
    assert text.splitlines() == [
        "default/old-1  1 nvidia.com/gpu  priority 0  pool inference",
        "Runs on aws, node a1.",
        f"RunsOnPrimary: {Reason.RUNS_ON_PRIMARY.help}",
    ]


def test_a_burst_pod_says_where_it_runs_and_where_it_was_sent_and_when(tmp_path: Path) -> None:
    text = explained(
        tmp_path,
        "web",
        cluster(
            on="c1",
            labels={"computepool.io/burst": "crusoe"},
            annotations={OFFERS: f"nebius={stamp(7300)},crusoe={stamp(200)}"},
        ),
    )
    assert "Runs on crusoe, node c1." in text
    assert "RunsOnStandby" in text
    assert "It was sent to nebius 2 h ago, to crusoe 3 min ago." in text
    assert "It stays there until it ends: failback.policy is Never, and nothing asks it to leave." in text


def untainted(server: FakeApiServer, **of_pod: Any) -> None:
    """A standby's node lacks the taint, and a pod is on the primary."""
    full(server)
    server.create(NODES, node("n2", "nebius", 4, tainted=False))
    make_pool(server)
    server.create(PODS, pod("web", **of_pod))


def test_what_is_wrong_with_a_provider_that_the_pod_may_use_is_told_with_the_command(tmp_path: Path) -> None:
    text = explained(tmp_path, "web", untainted)
    assert "StandbyNotTainted: nodes of nebius have no taint that keeps other pods off: n2." in text
    assert "`kubectl taint nodes n2 computepool.io/provider=nebius:NoSchedule --overwrite`" in text


def test_a_provider_that_the_pod_may_not_use_is_none_of_its_business(tmp_path: Path) -> None:
    stays = {"computepool.io/providers": "crusoe"}
    text = explained(tmp_path, "web", lambda server: untainted(server, annotations=stays))
    assert "StandbyNotTainted" not in text


QUEUE = {"name": "queue", "query": "waiting", "enter": "5", "exit": "1"}


def reporting(server: FakeApiServer, signal: dict[str, Any], **of_pod: Any) -> None:
    """A pool whose status has a verdict on the signal `queue`, and a pod that has just been created."""
    full(server, policy=True)
    saturation = {"pendingSeconds": 3600, "metrics": [QUEUE]}
    item = make_pool(server, saturation=saturation)
    server.update(COMPUTEPOOLS, {**item, "status": {"signals": [{"key": "saturation/queue", **signal}]}})
    web = pod("web", **of_pod)
    web["metadata"]["creationTimestamp"] = stamp(5)
    server.create(PODS, web)


def test_the_operators_verdict_on_a_signal_decides_here_too_and_is_named(tmp_path: Path) -> None:
    on = explained(tmp_path, "web", lambda server: reporting(server, {"verdict": "On", "on": True}))
    assert "About to be sent to nebius." in on
    assert "Signals that are on: queue." in on
    off = explained(tmp_path, "web", lambda server: reporting(server, {"verdict": "Off"}))
    assert "Has waited for" in off


def test_a_signal_that_is_unknown_sends_nobody_here_either(tmp_path: Path) -> None:
    held = {"verdict": "Unknown", "on": True, "message": "Nothing came."}
    assert "Has waited for" in explained(tmp_path, "web", lambda server: reporting(server, held))


def test_a_pod_that_a_signal_sent_says_which(tmp_path: Path) -> None:
    how = {"on": "n1", "labels": {"computepool.io/burst": "nebius"}, "annotations": {SIGNALS: "queue,busy"}}
    text = explained(tmp_path, "web", lambda server: reporting(server, {"verdict": "Off"}, **how))
    assert "It was sent to nebius while these signals were on: queue, busy." in text


def test_a_burst_pod_that_is_not_brought_home_yet_says_why(tmp_path: Path) -> None:
    text = explained(
        tmp_path,
        "web",
        cluster(
            pool={"failback": {"policy": "WhenStable"}},
            on="n1",
            labels={"computepool.io/burst": "nebius"},
            annotations={OFFERS: f"nebius={stamp(200)}"},
        ),
    )
    assert "Runs on nebius, node n1, may come home, and stays." in text
    assert "NotStable" in text
    assert "It was sent to nebius 3 min ago." in text
    assert "failback.policy is Never" not in text


def test_a_primary_that_has_been_stable_for_long_is_no_reason_to_stay(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        cluster(on="n1", labels={"computepool.io/burst": "nebius"})(server)
        calm = {"type": "Saturated", "status": "False", "reason": "PrimaryHasRoom", "lastTransitionTime": stamp(7300)}
        item = server.get(COMPUTEPOOLS, "inference")
        patient = {**item["spec"]["saturation"], "sustainSeconds": 3600}
        spec = {**item["spec"], "failback": {"policy": "WhenStable"}, "saturation": patient}
        server.update(COMPUTEPOOLS, {**item, "spec": spec, "status": {"conditions": [calm]}})

    text = explained(tmp_path, "web", before)
    assert "Runs on nebius" in text
    assert "stays" in text
    assert "NotStable" not in text


def test_a_pod_on_a_drained_provider_that_nobody_can_take_should_leave_and_stays(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        full(server)
        make_pool(server, "aws", provider("nebius", drain=True))
        server.create(PODS, pod("web", on="n1"))

    text = explained(tmp_path, "web", before)
    assert "Runs on nebius, node n1, should leave it, and stays" in text
    assert "To let it leave: `computepool drain inference/nebius --move`." in text


def test_a_drain_that_was_ended_is_told_as_ended(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        full(server)
        breaker = {"state": "HalfOpen", "reason": "Drained", "since": stamp(5)}
        entries = [{"name": "aws"}, {"name": "nebius", "breaker": breaker}, {"name": "crusoe"}]
        server.update(COMPUTEPOOLS, {**make_pool(server), "status": {"providers": entries}})
        server.create(PODS, pod("web", on="n1", labels={"computepool.io/burst": "nebius"}))

    text = explained(tmp_path, "web", before)
    assert f"The breaker of nebius is HalfOpen: {Reason.DRAIN_ENDED.help}" in " ".join(text.split())


@pytest.mark.parametrize(
    ("times", "ago", "reason", "stays"),
    [
        (0, 20, "AwaitsReplacement", "stays."),
        (1, 90, "MoveFailed", "stays, at least 3 min more."),
        (1, 1200, "MoveFailed", "stays."),
    ],
    ids=["under way", "came to nothing", "came to nothing long ago"],
)
def test_the_last_move_of_the_owner_is_told_as_the_leader_has_recorded_it(
    tmp_path: Path, times: int, ago: float, reason: str, stays: str
) -> None:
    def before(server: FakeApiServer) -> None:
        drained(server)
        web = server.get(PODS, "web", "default")
        owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "rs", "controller": True}
        server.update(PODS, {**web, "metadata": {**web["metadata"], "ownerReferences": [owner]}})
        unsettled = [{"owner": "rs", "times": times, "time": stamp(ago), "pods": 0}]
        server.update(COMPUTEPOOLS, {**server.get(COMPUTEPOOLS, "inference"), "status": {"unsettledMoves": unsettled}})

    text = explained(tmp_path, "web", before)
    assert stays in text
    assert f"{reason}: " in text


def drained(server: FakeApiServer) -> None:
    """Pods of nebius leave its node, which carries the taint, for crusoe."""
    full(server)
    make_pool(server, "aws", provider("nebius", drain=True), "crusoe", failover={"runningPods": "Move"})
    n1 = server.get(NODES, "n1")
    taints = [*n1["spec"]["taints"], {"key": "computepool.io/unavailable", "value": "Drained", "effect": "NoSchedule"}]
    server.update(NODES, {**n1, "spec": {**n1["spec"], "taints": taints}})
    server.create(PODS, pod("web", on="n1", labels={"computepool.io/burst": "nebius"}, annotations=MOVABLE))


def refusal(server: FakeApiServer, seconds_ago: float, uid: str = "", by: str = "computepool.io/operator") -> None:
    """An event that the operator made of the pod."""
    web = server.get(PODS, "web", "default")
    server.create(
        EVENTS,
        {
            "metadata": {"name": f"web.{seconds_ago}.{uid}", "namespace": "default"},
            "involvedObject": {"kind": "Pod", "name": "web", "uid": uid or web["metadata"]["uid"]},
            "reason": "EvictionRefused",
            "message": "The disruption budget web needs 2 healthy pods and has 2 currently.",
            "eventTime": stamp(seconds_ago),
            "reportingComponent": by,
        },
    )


def test_a_pod_about_to_be_moved_says_where(tmp_path: Path) -> None:
    text = explained(tmp_path, "web", drained)
    assert "Runs on nebius, node n1; about to be moved to crusoe." in text
    assert "LeavesProvider" in text


def test_a_pod_whose_eviction_is_refused_says_so_since_when_by_whom_and_when_it_is_tried_again(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        drained(server)
        refusal(server, 900)
        refusal(server, 300)

    text = explained(tmp_path, "web", before)
    assert (
        "Runs on nebius, node n1; to be moved to crusoe, and its eviction has been refused for 15 min: "
        "it is tried again within 60 s." in text
    )
    assert f"EvictionRefused: {Reason.EVICTION_REFUSED.help}" in text
    assert "The disruption budget web needs 2 healthy pods and has 2 currently." in text


def test_refusals_of_long_ago_of_another_pod_and_of_others_are_none(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        drained(server)
        refusal(server, 800)
        refusal(server, 20, uid="before")
        refusal(server, 10, by="somebody-else")

    assert "about to be moved to crusoe." in explained(tmp_path, "web", before)


def test_where_events_may_not_be_listed_it_says_what_it_can_not_know(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        drained(server)
        refusal(server, 20)
        server.fault("list", status=403, path="/events", times=9)

    text = explained(tmp_path, "web", before)
    assert "about to be moved to crusoe." in text
    assert "Its events may not be listed" in text


def test_a_pod_that_leaves_a_unhealthy_node_for_another_of_its_provider_says_so(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        full(server)
        for name in ("n2", "n3"):
            server.create(NODES, node(name, "nebius"))
        make_pool(server)
        n1 = server.get(NODES, "n1")
        lost = {"key": "computepool.io/unavailable", "value": "NodeUnknown", "effect": "NoSchedule"}
        gone = [{"type": "Ready", "status": "Unknown", "lastTransitionTime": "2026-11-23T04:00:00Z"}]
        spec = {**n1["spec"], "taints": [*n1["spec"]["taints"], lost]}
        server.update(NODES, {**n1, "spec": spec, "status": {**n1["status"], "conditions": gone}})
        server.create(PODS, pod("web", on="n1", labels={"computepool.io/burst": "nebius"}, annotations=MOVABLE))

    text = explained(tmp_path, "web", before)
    assert "about to be moved to another node of nebius." in text
    assert f"Node n1 counts as unhealthy: NodeUnknown. {Reason.NODE_UNKNOWN.help}" in text
