"""Which pods leave only a node that is dead, and which pods stay even there because no other pod can replace them."""

from __future__ import annotations

from typing import Any

import pytest

from computepool.model.reasons import Reason
from computepool.model.taints import Taint
from tests.builders import NOW, node, pool, pool_state, provider, snapshot
from tests.unit.core.moving import QUARANTINE, blocked, faults_of, moved_to, opened, owned, stay_of
from tests.unit.core.passes import Decided, decided

SILENCE_SECONDS = 90
"""The default of failover.silenceSeconds."""
OUT_OF_SERVICE = Taint("node.kubernetes.io/out-of-service", "", "NoExecute")
DOUBTS: dict[str, dict[str, Any]] = {
    "not ready": {"ready": "False"},
    "all devices gone": {"gpus": 0, "capacity": 8},
    "most devices gone": {"gpus": 1, "capacity": 8},
    "a bad condition": {"conditions": {"XidError": "True"}},
}
UNKNOWN: dict[str, Any] = {"ready": "Unknown", "heard": NOW - 200, "unknown_since": {"n1": NOW - 150}}
ENDS: dict[str, dict[str, Any]] = {
    "unknown": UNKNOWN,
    "silent for long": {"heard": NOW - SILENCE_SECONDS},
    "out of service": {"taints": [OUT_OF_SERVICE]},
    "about to be removed": {"taints": [Taint("aws-node-termination-handler/spot-itn", "", "NoSchedule")]},
}


def off_nebius(*pods: Any, heard: float = NOW, gpus: int = 8, **fields: Any) -> Decided:
    """One pass after nebius has failed with its only node."""
    lost_pods = fields.pop("lost_pods", "Leave")
    of = pool(
        provider("aws"),
        provider("nebius"),
        health={"conditions": [{"type": "XidError", "badStatus": "True"}], "deviceGoneSeconds": 60},
        failover={"runningPods": "Move", "lostPods": lost_pods, "lostSeconds": 60},
    )
    taints = [QUARANTINE, *fields.pop("taints", ())]
    reason = Reason.NODE_SILENT if heard < NOW else Reason.NODE_NOT_READY
    reason = Reason.DEVICES_MISSING if "capacity" in fields else reason
    state = pool_state(
        node_faults=faults_of("n1", reason=reason),
        breakers={"nebius": opened()},
        unknown_since=fields.pop("unknown_since", {}),
    )
    nodes = [node("a1"), node("n1", gpus, taints=taints, **fields)]
    heartbeats = {"n1": heard, "a1": NOW}
    return decided(snapshot(of, nodes, pods, heartbeats=heartbeats), state)


def once(**fields: Any) -> Any:
    return owned("train", on="n1", **{"owner_kind": "Job", "ready": True, **fields})


RUNS_ONCE: dict[str, dict[str, Any]] = {
    "job": {"owner_kind": "Job"},
    "workflow": {"owner_kind": "Workflow", "to_completion": True},
}


@pytest.mark.parametrize("kind", RUNS_ONCE.values(), ids=RUNS_ONCE.keys())
@pytest.mark.parametrize("doubt", DOUBTS.values(), ids=DOUBTS.keys())
def test_a_pod_that_runs_once_stays_on_a_node_that_is_only_doubted(doubt: dict[str, Any], kind: dict[str, Any]) -> None:
    assert blocked(off_nebius(once(**kind), **doubt)) == {"train": Reason.NOT_MOVABLE}
    assert moved_to(off_nebius(once(**kind, movable=True), **doubt)) == {"train": "aws"}
    assert moved_to(off_nebius(owned("web", on="n1", ready=True), **doubt)) == {"web": "aws"}


@pytest.mark.parametrize("kind", RUNS_ONCE.values(), ids=RUNS_ONCE.keys())
@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
def test_a_pod_that_runs_once_leaves_a_node_that_is_dead_or_about_to_go(
    end: dict[str, Any], kind: dict[str, Any]
) -> None:
    assert moved_to(off_nebius(once(**kind), **end)) == {"train": "aws"}


@pytest.mark.parametrize("ready", ["True", "False"])
def test_a_pod_is_looked_at_again_when_its_silent_node_counts_as_dead(ready: str) -> None:
    plan = off_nebius(once(), heard=NOW - 30, ready=ready)
    assert blocked(plan) == {"train": Reason.AWAITING_VERDICT}
    assert plan.recheck_at is not None
    assert plan.recheck_at <= NOW - 30 + SILENCE_SECONDS


def named(**fields: Any) -> Any:
    return owned("db-0", on="n1", **{"owner_kind": "StatefulSet", "ready": True, **fields})


@pytest.mark.parametrize("kind", [{}, {"owner_kind": "VolcanoJob", "fixed_name": True}], ids=["StatefulSet", "other"])
@pytest.mark.parametrize("end", [UNKNOWN, {"heard": NOW - 200}], ids=["unknown", "silent"])
def test_a_pod_with_a_fixed_name_stays_where_its_name_is_taken_until_the_node_is_gone(
    end: dict[str, Any], kind: dict[str, Any]
) -> None:
    plan = off_nebius(named(**kind), **end)
    assert (plan.moves, blocked(plan)) == ((), {"db-0": Reason.LOST_NODE})


def test_a_pod_of_a_stateful_set_is_released_if_the_policy_says_so_and_not_before_its_time() -> None:
    lost: dict[str, Any] = {"ready": "Unknown", "heard": NOW - 200, "lost_pods": "Release"}
    early = off_nebius(named(), unknown_since={"n1": NOW - 59}, **lost)
    assert stay_of(early, "db-0").reason is Reason.LOST_NODE
    assert early.recheck_at == NOW + 1
    (released,) = off_nebius(named(), unknown_since={"n1": NOW - 60}, **lost).moves
    assert (released.release, released.reason) == (True, Reason.LOST_NODE)


@pytest.mark.parametrize(
    "fields", [{"ready": "False"}, {**UNKNOWN, "taints": [OUT_OF_SERVICE]}], ids=["answers", "out of service"]
)
def test_a_pod_of_a_stateful_set_leaves_a_node_from_which_its_name_becomes_free(fields: dict[str, Any]) -> None:
    assert moved_to(off_nebius(named(), **fields)) == {"db-0": "aws"}


def drained(*pods: Any) -> Decided:
    """One pass after a person has drained nebius, on which nothing is wrong."""
    of = pool(provider("aws"), provider("nebius", drain=True), failover={"runningPods": "Move"})
    return decided(snapshot(of, [node("a1"), node("n1", taints=[QUARANTINE])], pods))


@pytest.mark.parametrize(
    "fields",
    [{"owner_kind": "Job"}, {"to_completion": True}, {"gang": True}, {"protected_until": NOW + 60}, {"age": 60}],
    ids=["job", "runs to completion", "gang", "asks not to be disrupted", "has come lately"],
)
def test_a_drain_is_a_move_by_choice(fields: dict[str, Any]) -> None:
    assert moved_to(drained(owned("web", on="n1"))) == {"web": "aws"}
    assert moved_to(drained(owned("web", on="n1", **fields))) == {}
