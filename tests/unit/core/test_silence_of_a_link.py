"""A link that is silent for a while is no dead provider: new pods avoid it at once, running pods wait longer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from computepool.assess.health.silence import Silence
from computepool.decide.move.failover import OUT_OF_SERVICE
from computepool.decide.move.revalidate import Revalidation
from computepool.model.cluster import Node, Pod
from computepool.model.reasons import Reason
from computepool.model.state import PoolState, restarted
from computepool.model.taints import Taint
from tests.builders import GPU, NOW, node, pod, pool, snapshot
from tests.unit.core.moving import QUARANTINE, blocked, moved_to, owned
from tests.unit.core.passes import Decided, decided, sent_to

AWS, NEBIUS, CRUSOE = ("a1", "a2"), ("n1", "n2"), ("c1", "c2")
RUNNING = [owned(f"p{number}", 2, on=name, ready=True) for number, name in enumerate((*NEBIUS, *NEBIUS))]


class Link:
    """The nodes of nebius are last heard at NOW, unless told; all other nodes are heard all the time."""

    def __init__(self, **failover: Any) -> None:
        self.pool = pool(failover=failover)
        self.state = PoolState()
        self.tainted: Mapping[str, Reason] = {}
        self.heard_at: dict[str, float] = dict.fromkeys(NEBIUS, 0.0)
        self.see(-30, heard=dict.fromkeys(NEBIUS, -30.0))

    def see(
        self,
        now: float,
        pods: Sequence[Pod] = RUNNING,
        *,
        heard: Mapping[str, float] | None = None,
        ready: str = "True",
        nodes: Sequence[Node] = (),
        listening_since: float = -1000,
    ) -> Decided:
        """Run a pass. `nodes`: the nodes of nebius, if they are not as the operator has left them."""
        beats = {**dict.fromkeys((*AWS, *CRUSOE), now), **(self.heard_at if heard is None else heard)}
        others = [node(name) for name in (*AWS, *CRUSOE)]
        seen = snapshot(
            self.pool,
            [*others, *(nodes or [self._node(name, ready) for name in NEBIUS])],
            pods,
            heartbeats={name: NOW + at for name, at in beats.items()},
            listening_since=NOW + listening_since,
        )
        plan = decided(seen, self.state, NOW + now)
        self.state = plan.state
        self.tainted = self.tainted if plan.quarantine is None else plan.quarantine
        return plan

    def _node(self, name: str, ready: str) -> Node:
        reason = self.tainted.get(name)
        return node(name, ready=ready, quarantine=None if reason is None else reason.value)


@pytest.mark.parametrize("policy", ["MoveFromUnhealthyNodes", "Move"])
def test_a_link_that_is_away_for_a_moment_costs_no_running_pod_and_gets_no_new_pod(policy: str) -> None:
    link = Link(runningPods=policy)
    full = [pod(f"full-{name}", 8, on=name) for name in AWS]
    for now in (25, 26, 34):
        plan = link.see(now, [*RUNNING, *full, pod("new")])
        assert plan.state.breaker("nebius").reason is Reason.PROVIDER_SILENT
        assert sent_to(plan) == {"new": "crusoe"}
        assert plan.moves == ()
    assert set(blocked(plan).values()) == {Reason.AWAITING_VERDICT}
    back = link.see(36, heard=dict.fromkeys(NEBIUS, 35.0))
    assert back.moves == ()
    assert link.see(300, heard=dict.fromkeys(NEBIUS, 299.0)).moves == ()


@pytest.mark.parametrize("ready", ["True", "Unknown"])
def test_pods_leave_a_silent_node_at_once_if_its_end_was_announced(ready: str) -> None:
    gone = node("n1", ready=ready, taints=[Taint(OUT_OF_SERVICE, "", "NoExecute"), QUARANTINE])
    link = Link()
    for now in (24, 25):
        plan = link.see(now, nodes=[gone, node("n2", ready=ready, taints=[QUARANTINE])])
    assert set(moved_to(plan)) == {pod.name for pod in RUNNING if pod.node == "n1"}
    assert set(blocked(plan).values()) == {Reason.AWAITING_VERDICT}


def test_so_they_do_from_a_single_silent_node() -> None:
    spot = Taint("aws-node-termination-handler/spot-itn", "", "NoSchedule")
    link, heard = Link(), {"n1": 0.0, "n2": 25.0}
    for taints, moves in (([QUARANTINE], 0), ([QUARANTINE, spot], 2)):
        plan = link.see(25, heard=heard, nodes=[node("n1", taints=taints), node("n2")])
        assert len(plan.moves) == moves


@pytest.mark.parametrize("policy", ["MoveFromUnhealthyNodes", "Move"])
def test_a_provider_that_stays_silent_is_left_after_silence_seconds(policy: str) -> None:
    link = Link(runningPods=policy)
    link.see(25)
    assert link.see(60, ready="Unknown").moves == ()
    plan = link.see(89.9, ready="Unknown")
    assert plan.moves == ()
    assert plan.recheck_at == NOW + 90
    assert len(link.see(90, ready="Unknown").moves) == len(RUNNING)


def test_whoever_needs_a_fast_failover_sets_a_shorter_time() -> None:
    for seconds in (0, 25):
        link = Link(silenceSeconds=seconds)
        link.see(25)
        assert len(link.see(25.1).moves) == len(RUNNING)


def test_the_status_unknown_of_a_single_node_is_no_sooner_a_reason() -> None:
    link = Link()
    beats = {"n1": 0.0}
    for now in (50.0, 70.0, 89.0):
        plan = link.see(now, heard={**beats, "n2": now}, ready="Unknown")
        assert plan.moves == ()
        assert blocked(plan)["p0"] is Reason.AWAITING_VERDICT
    assert set(moved_to(link.see(90, heard={**beats, "n2": 90.0}, ready="Unknown"))) == {"p0", "p2"}


def test_a_restart_begins_the_wait_anew() -> None:
    link = Link()
    link.see(25)
    link.state = restarted(link.state.recorded)
    # A new process counts what it finds as heard.
    link.heard_at = dict.fromkeys(NEBIUS, 80.0)
    assert link.see(110, listening_since=80).moves == ()
    assert link.see(169, listening_since=80).moves == ()
    assert len(link.see(170, listening_since=80).moves) == len(RUNNING)


def test_silence_that_the_operator_could_not_hear_does_not_count() -> None:
    link = Link()
    link.see(25)
    assert link.see(100, listening_since=50).moves == ()
    assert len(link.see(140, listening_since=50).moves) == len(RUNNING)


def test_a_healthy_node_of_a_silent_provider_is_left_only_with_the_others() -> None:
    """One of the nodes has no Lease, so it can't be silent."""
    link = Link(runningPods="Move")
    link.heard_at = {"n1": 0.0}
    for now in (25, 89):
        plan = link.see(now)
        assert plan.state.breaker("nebius").reason is Reason.PROVIDER_SILENT
        assert plan.moves == ()
    assert set(blocked(plan).values()) == {Reason.AWAITING_VERDICT}
    assert {move.pod.node for move in link.see(90).moves} == set(NEBIUS)


def test_a_move_that_waits_is_dropped_once_heartbeats_are_back() -> None:
    link = Link()
    link.see(25)
    moves = link.see(90).moves
    assert len(moves) == len(RUNNING)
    still = Revalidation(link.see(91).assessment, GPU, NOW + 91)
    assert [still.why_not(move) for move in moves] == [None] * len(moves)
    back = Revalidation(link.see(92, heard=dict.fromkeys(NEBIUS, 91.5)).assessment, GPU, NOW + 92)
    assert {back.why_not(move) for move in moves} == {Reason.RECOVERING}


@pytest.mark.parametrize(
    ("heard", "listening", "unknown", "expected"),
    [
        (None, 0, 50, 50),
        (10, 0, None, 10),
        (10, 30, None, 30),
        (10, 0, 50, 10),
        (10, 60, 50, 50),
        (70, 0, 50, 70),
    ],
    ids=[
        "only the status is known",
        "the last heartbeat counts",
        "no time counts in which nothing could be heard",
        "the last heartbeat is earlier than the status",
        "the status shows that it was dark before",
        "a heartbeat after the status contradicts it",
    ],
)
def test_a_node_is_dark_since(heard: float | None, listening: float, unknown: float | None, expected: float) -> None:
    silence = Silence(heartbeats={} if heard is None else {"n1": heard}, listening_since=listening)
    assert silence.dark_since("n1", unknown) == expected
