"""A node in doubt gets no new pods, and its ready pods stay until a fault has lasted as long as its kind asks for."""

from __future__ import annotations

from typing import Any

import pytest

from computepool.model.reasons import Reason
from computepool.model.snapshot import Failure
from computepool.model.state import PoolState
from tests.builders import NOW, node, pool, provider, snapshot
from tests.unit.core.moving import blocked, moved_to, owned
from tests.unit.core.passes import Decided, decided

FAILED: dict[str, Any] = {"ready": "False"}
BAD: dict[str, Any] = {"conditions": {"XidError": "True"}}
GONE: dict[str, Any] = {"gpus": 0, "capacity": 8}
FEW: dict[str, Any] = {"gpus": 2, "capacity": 8}
DOUBTS: dict[str, dict[str, Any]] = {
    "silence": {"silent": True},
    "status Unknown": {"ready": "Unknown"},
    "all devices gone": GONE,
    "most devices gone": FEW,
    "pods that fail at once": {"holes": 5},
}
POLICIES = ["MoveFromUnhealthyNodes", "Move"]


class Site:
    """Passes over a pool whose only standby has one node with a ready pod. `now` is in seconds after NOW."""

    def __init__(self, policy: str = "Move") -> None:
        self.pool = pool(
            provider("aws"),
            provider("nebius"),
            health={"conditions": [{"type": "XidError", "badStatus": "True"}]},
            failover={"runningPods": policy},
        )
        self.state = PoolState()
        self.taint: str | None = None
        self.heard_at = 0.0
        self.see(0)

    def see(self, now: float, *, silent: bool = False, holes: int = 0, stale: str = "", **fields: Any) -> Decided:
        """One pass. `holes`: how many pods fail on the node now; `fields`: of the node."""
        self.heard_at = self.heard_at if silent else now
        plan = decided(
            snapshot(
                self.pool,
                [node("a1"), node("n1", **{"gpus": 8, "quarantine": self.taint, **fields})],
                [owned("web", on="n1", ready=True)],
                at=NOW + now,
                heartbeats={"a1": NOW + now, "n1": NOW + self.heard_at},
                failures=tuple(Failure(f"f{i}", "n1", f"rs-{i}", NOW + now, refused=True) for i in range(holes)),
                stale=stale,
            ),
            self.state,
            NOW + now,
        )
        self.state = plan.state
        if plan.quarantine is not None:
            self.taint = str(plan.quarantine["n1"]) if "n1" in plan.quarantine else None
        return plan

    def stays(self, first: int, last: int, **seen: Any) -> None:
        """Let the same be seen every second, and expect that no pod leaves."""
        for now in range(first, last):
            assert moved_to(self.see(now, **seen)) == {}, now


@pytest.mark.parametrize("fault", [FAILED, BAD], ids=["not ready", "a bad condition"])
@pytest.mark.parametrize("doubt", DOUBTS.values(), ids=DOUBTS.keys())
@pytest.mark.parametrize("policy", POLICIES)
def test_a_fault_after_a_doubt_is_no_proof_before_it_has_lasted_itself(
    policy: str, doubt: dict[str, Any], fault: dict[str, Any]
) -> None:
    site = Site(policy)
    site.stays(1, 41, **doubt)
    plan = site.see(41, **fault)
    assert plan.moves == ()
    assert blocked(plan) == {"web": Reason.AWAITING_VERDICT}
    assert plan.assessment.health.nodes["n1"].unhealthy
    site.stays(42, 71, **fault)
    assert moved_to(site.see(71, **fault)) == {"web": "aws"}


@pytest.mark.parametrize("doubt", DOUBTS.values(), ids=DOUBTS.keys())
def test_nor_is_a_fault_soon_after_a_doubt_that_passed(doubt: dict[str, Any]) -> None:
    site = Site()
    site.stays(1, 41, **doubt)
    site.stays(41, 60)
    site.stays(60, 90, **FAILED)
    assert moved_to(site.see(90, **FAILED)) == {"web": "aws"}


def test_nor_is_a_fault_in_the_first_passes_of_another_leader() -> None:
    site = Site("MoveFromUnhealthyNodes")
    site.stays(1, 41, ready="Unknown")
    # The breaker of a provider with more nodes stays closed, and the taint speaks of the node.
    site.state, site.taint = PoolState(), "NodeUnknown"
    plan = site.see(41, **FAILED)
    assert plan.assessment.health.nodes["n1"].unhealthy
    site.stays(42, 71, **FAILED)
    assert moved_to(site.see(71, **FAILED)) == {"web": "aws"}


@pytest.mark.parametrize(("proof", "after"), [({"silent": True, "ready": "Unknown"}, 90), (GONE, 1801)])
def test_a_confirmed_fault_that_turns_into_another_stays_confirmed(proof: dict[str, Any], after: int) -> None:
    site = Site()
    for now in range(1, after, 5):
        assert site.see(now, **proof).moves == ()
    assert moved_to(site.see(after, **proof)) == {"web": "aws"}
    # A node without any devices had no taint before.
    site.see(after + 1, **FAILED)
    assert moved_to(site.see(after + 2, **FAILED)) == {"web": "aws"}


def test_nor_is_a_fault_after_a_proven_silence_has_ended() -> None:
    site = Site()
    site.stays(1, 90, silent=True)
    assert moved_to(site.see(90, silent=True, ready="Unknown")) == {"web": "aws"}
    site.stays(91, 100)
    site.see(100, stale="the watch of nodes has ended")
    site.stays(101, 131, **FAILED)


def test_faults_that_the_node_reports_prove_each_other_and_a_gap_does_not_count() -> None:
    site = Site()
    site.stays(1, 41, **GONE)
    site.stays(41, 51, **FAILED)
    site.stays(51, 71)
    site.stays(71, 91, **BAD)
    assert moved_to(site.see(91, **BAD)) == {"web": "aws"}
    # The fault is proven: a gap takes that back only once it has lasted for clearSeconds.
    site.stays(92, 100)
    assert moved_to(site.see(100, **FAILED)) == {"web": "aws"}


def test_devices_that_go_again_after_a_freeze_begin_their_wait_anew() -> None:
    site = Site()
    for now in range(10, 1720, 10):
        assert site.see(now, **GONE).moves == ()
    site.stays(1720, 1727)
    site.see(1727, stale="the watch of nodes has ended")
    for now in range(1730, 3530, 10):
        assert site.see(now, **GONE).moves == ()
    assert moved_to(site.see(3530, **GONE)) == {"web": "aws"}


@pytest.mark.parametrize(
    ("fault", "reason", "after"),
    [
        (FAILED, Reason.NODE_NOT_READY, 30),
        (BAD, Reason.NODE_CONDITION, 30),
        (GONE, Reason.DEVICE_PLUGIN_GONE, 1800),
        (FEW, Reason.DEVICES_MISSING, 1800),
    ],
)
@pytest.mark.parametrize("policy", POLICIES)
def test_pods_that_fail_at_once_hide_no_worse_fault_and_make_it_count_at_once(
    policy: str, fault: dict[str, Any], reason: Reason, after: int
) -> None:
    site = Site(policy)
    assert site.see(1, holes=5).assessment.health.nodes["n1"].reason is Reason.BLACK_HOLE
    site = Site(policy)
    plan = site.see(1, holes=5, **fault)
    found = plan.assessment.health.nodes["n1"]
    assert (found.reason, found.unhealthy) == (reason, True)
    for now in range(2, 1 + after, 7):
        assert site.see(now, holes=5, **fault).moves == ()
    site.see(1 + after, holes=5, **fault)
    assert moved_to(site.see(2 + after, holes=5, **fault)) == {"web": "aws"}
