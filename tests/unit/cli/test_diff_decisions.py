"""What `computepool diff` finds: decisions about pods, nodes and pools with a manifest, beside those of today."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from computepool.cli.diff import compare
from computepool.cli.plan_difference import Action, PodDecision
from computepool.model.api import ComputePool
from computepool.model.cluster import Node, Pod
from computepool.model.reasons import Reason
from tests.builders import NOW, POOL, node, pod, pool, provider
from tests.unit.cli.comparing import by_pod, differences, facts, view_of

AWS, NEBIUS, CRUSOE = (provider(name, price=price) for name, price in (("aws", "12"), ("nebius", "3"), ("crusoe", "2")))
NODES = (node("a1"), node("n1"), node("c1"))
AT_HOME = tuple(pod(f"home-{number}", on="a1", owner="home", owner_kind="ReplicaSet") for number in range(8))
WAITING = tuple(pod(f"web-{number}", owner="web", owner_kind="ReplicaSet") for number in range(3))
STABLE = {
    "conditions": [
        {
            "type": "Saturated",
            "status": "False",
            "reason": "PrimaryHasRoom",
            "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
    ]
}


def of(*providers: dict[str, Any], **spec: Any) -> ComputePool:
    return pool(*(providers or (AWS, NEBIUS, CRUSOE)), **spec)


def away(number: int, on: str = "n1", to: str = "nebius", **fields: Any) -> Pod:
    """A pod that has run on a standby for more than an hour."""
    fields = {"owner": f"run-{number}", "owner_kind": "ReplicaSet", "started": NOW - 4000, "waited": 6000, **fields}
    return pod(f"run-{number}", on=on, sent=[(to, NOW - 5000)], **fields)


def send(to: str, **fields: Any) -> PodDecision:
    return PodDecision(Action.SEND, POOL, target=to, reason=Reason.PRIMARY_SATURATED, **fields)


def runs(on: str) -> PodDecision:
    reason = Reason.RUNS_ON_PRIMARY if on == "aws" else Reason.RUNS_ON_STANDBY
    return PodDecision(Action.STAY, POOL, on, reason=reason)


# -- no difference


def test_the_same_manifest_makes_no_difference() -> None:
    found = differences([of()], [of()], NODES, (*AT_HOME, *WAITING))
    assert not found
    assert (found.pools, found.pods, found.quarantine) == ((), (), ())


def test_a_field_without_an_effect_now_is_told_and_decides_nothing() -> None:
    found = differences([of()], [of(failback={"stableSeconds": 600})], NODES, AT_HOME)
    assert found
    assert not found.decides
    (changed,) = found.pools[0].spec
    assert (changed.field, changed.before, changed.after) == ("spec.failback.stableSeconds", 300, 600)


@given(
    st.integers(0, 12),
    st.integers(0, 10),
    st.sampled_from(["Ordered", "Cheapest"]),
    st.sampled_from(["Observe", "Enforce"]),
)
def test_whatever_runs_and_waits_the_same_manifest_makes_no_difference(
    home: int, waiting: int, placement: str, mode: str
) -> None:
    pods = [pod(f"h{number}", on="a1") for number in range(home)] + [pod(f"w{number}") for number in range(waiting)]
    same = of(placement=placement, mode=mode)
    assert not differences([same], [same], NODES, pods)


# -- pods that wait


def test_another_placement_sends_pods_elsewhere() -> None:
    found = differences([of()], [of(placement="Cheapest")], NODES, (*AT_HOME, *WAITING))
    assert by_pod(found) == {f"web-{number}": (send("nebius"), send("crusoe")) for number in range(3)}
    (group,) = found.pods
    assert [one.name for one in group.pods] == ["web-0", "web-1", "web-2"]
    assert facts(found.pools[0]) == {
        "admission": ("open to nebius", "open to crusoe"),
        "cost per hour once pods are sent and moved": ("105.00", "102.00"),
    }


def test_a_budget_holds_pods_and_closes_admission() -> None:
    found = differences([of()], [of(budget={"perHour": "4"})], NODES, (*AT_HOME, *WAITING))
    held = PodDecision(Action.WAIT, POOL, reason=Reason.BUDGET_EXHAUSTED)
    # One pod costs 3 on nebius; and 2 on crusoe, which is too much besides.
    assert by_pod(found) == {name: (send("nebius"), held) for name in ("web-1", "web-2")}
    changed = facts(found.pools[0])
    assert changed["budget"] == ("", "exhausted")
    assert changed["admission"] == ("open to nebius", "closed")


def test_a_longer_patience_lets_pods_wait() -> None:
    found = differences([of()], [of(pending=600)], NODES, (*AT_HOME, *WAITING))
    waits = PodDecision(Action.WAIT, POOL, reason=Reason.BELOW_PENDING_SECONDS)
    assert {then for _, then in by_pod(found).values()} == {waits}
    assert facts(found.pools[0])["admission"] == ("open to nebius", "closed")


# -- modes


def test_from_observe_to_enforce_all_that_was_only_reported_happens() -> None:
    found = differences([of(mode="Observe")], [of(mode="Enforce")], NODES, (*AT_HOME, *WAITING))
    assert set(by_pod(found).values()) == {(send("nebius", observed=True), send("nebius"))}
    assert len(by_pod(found)) == 3
    said = "open to nebius (only reported: mode is Observe)"
    assert facts(found.pools[0])["admission"] == (said, "open to nebius")


def test_from_enforce_to_observe_the_taints_would_go() -> None:
    drained = provider("nebius", drain=True)
    nodes = (node("a1"), node("n1", quarantine="Drained"), node("c1"))
    today, then = (of(AWS, drained, CRUSOE, mode=mode) for mode in ("Enforce", "Observe"))
    found = differences([today], [then], nodes, AT_HOME)
    (change,) = found.quarantine
    assert (change.about, change.today, change.then) == ("n1", "Drained", "")


def test_two_manifests_in_observe_are_compared_by_what_they_would_do() -> None:
    found = differences([of(mode="Observe")], [of(mode="Observe", placement="Cheapest")], NODES, (*AT_HOME, *WAITING))
    ways = (send("nebius", observed=True), send("crusoe", observed=True))
    assert set(by_pod(found).values()) == {ways}
    assert found.quarantine == ()


def test_a_pool_that_observes_taints_no_node() -> None:
    drained = of(AWS, provider("nebius", drain=True), CRUSOE, mode="Observe")
    found = differences([of(mode="Observe")], [drained], NODES, (*AT_HOME, away(1)))
    assert found.quarantine == ()
    assert facts(found.pools[0])["quarantine"] == ("", "1 node: n1 (only reported: mode is Observe)")


# -- pods that run


def test_a_drain_shows_where_pods_go_although_the_taint_is_not_seen_yet() -> None:
    drained = of(AWS, provider("nebius", price="3", drain=True, drain_running_pods="Move"), CRUSOE)
    found = differences([of()], [drained], NODES, (*AT_HOME, away(1), away(2, owner="run-1")))
    moved = PodDecision(Action.MOVE, POOL, "nebius", "crusoe", Reason.LEAVES_PROVIDER)
    waits = PodDecision(Action.BLOCKED, POOL, "nebius", reason=Reason.AWAITS_REPLACEMENT)
    assert by_pod(found) == {"run-1": (runs("nebius"), moved), "run-2": (runs("nebius"), waits)}
    (tainted,) = found.quarantine
    assert (tainted.about, tainted.today, tainted.then) == ("n1", "", "Drained")
    changed = facts(found.pools[0])
    assert changed["moves"] == ("none", "1 at once; 1 wait for the replacement of the pod before (AwaitsReplacement)")
    assert changed["nebius: breaker"] == ("Closed", "Open (Drained)")
    # What happens comes first.
    assert [group.then.action for group in found.pods] == [Action.MOVE, Action.BLOCKED]


def test_failback_shows_moves_within_the_limit_and_counts_the_rest() -> None:
    running = [away(number) for number in range(6)]
    today = of(status=STABLE)
    then = of(status=STABLE, failback={"policy": "WhenStable", "maxConcurrentMoves": 2})
    found = differences([today], [then], NODES, [*AT_HOME[:1], *running])
    ends = [then.action for _, then in by_pod(found).values()]
    assert (ends.count(Action.MOVE), ends.count(Action.BLOCKED)) == (2, 4)
    assert facts(found.pools[0])["moves"][1].startswith("2 at once; ")


def test_every_blocked_move_is_told_however_many_there_are() -> None:
    running = [away(number) for number in range(250)]
    nodes = [node("a1"), node("n1", gpus=250)]
    stopped = of(
        status=STABLE, failback={"policy": "WhenStable", "window": {"schedule": "0 0 30 2 *", "durationSeconds": 3600}}
    )
    found = differences([of(status=STABLE)], [stopped], nodes, running)
    assert len(by_pod(found)) == 250
    assert {then.action for _, then in by_pod(found).values()} == {Action.BLOCKED}


# -- selectors


def test_nodes_that_change_their_provider_are_named_and_so_are_their_pods() -> None:
    wide = provider("aws", price="12", labels={"site": "x"})
    nodes = (node("a1", labels={"site": "x"}), node("n1", labels={"site": "x"}), node("c1"))
    found = differences([of()], [of(wide, NEBIUS, CRUSOE)], nodes, (away(1),))
    (moved,) = found.pools[0].nodes
    assert (moved.today, moved.then, moved.nodes) == ("nebius", "aws", ("n1",))
    assert by_pod(found) == {"run-1": (runs("nebius"), runs("aws"))}
    assert any("match more than one provider" in text or "n1" in text for text in found.pools[0].new_findings)


def test_a_narrower_selector_leaves_pods_to_no_pool() -> None:
    narrow = of(workloads={"podSelector": {"matchLabels": {"team": "ml"}}})
    found = differences([of()], [narrow], NODES, WAITING[:1])
    waits, nothing = by_pod(found)["web-0"]
    assert (waits.pool, nothing.action) == (POOL, Action.NOTHING)


def test_a_primary_without_nodes_freezes_the_pool_and_admission_stays_as_it_is() -> None:
    toleration = {"key": "computepool.io/provider", "operator": "Equal", "value": "nebius", "effect": "NoSchedule"}
    status = {"admission": {"tolerations": [toleration]}}
    typo = of(provider("aws", labels={"site": "nowhere"}), NEBIUS, CRUSOE, status=status)
    found = differences([of(status=status)], [typo], NODES, (*AT_HOME, *WAITING))
    frozen = PodDecision(Action.WAIT, POOL, reason=Reason.FROZEN)
    assert {then for name, (_, then) in by_pod(found).items() if name.startswith("web")} == {frozen}
    changed = facts(found.pools[0])
    assert changed["decisions"][1].startswith("none: no node matches the nodeSelector of the primary 'aws'")
    assert "admission" not in changed


# -- several pools


def test_a_new_pool_is_the_youngest_and_takes_only_pods_without_a_pool() -> None:
    older = of(workloads={"podSelector": {"matchLabels": {"team": "ml"}}})
    mine = pod("mine", labels={"team": "ml"})
    found = differences([older], [pool(AWS, NEBIUS, name="catch-all")], NODES, (mine, *AT_HOME, *WAITING))
    assert {name: then.pool for name, (_, then) in by_pod(found).items() if "-" in name} == dict.fromkeys(
        [one.name for one in (*AT_HOME, *WAITING)], "catch-all"
    )
    new = next(one for one in found.pools if one.name == "catch-all")
    assert new.is_new
    assert facts(new)["admission"][0] == ""


def test_another_pools_decisions_are_compared_too() -> None:
    """The older pool lets the pods go, so the younger pool has them."""
    older = of(name="older", created=NOW - 5000)
    younger = pool(AWS, CRUSOE, name="younger", created=NOW - 1000)
    narrow = of(name="older", created=NOW - 5000, workloads={"podSelector": {"matchLabels": {"team": "ml"}}})
    found = differences([older, younger], [narrow], NODES, (*AT_HOME, *WAITING))
    before, after = by_pod(found)["web-0"]
    assert (before.pool, before.target) == ("older", "nebius")
    assert (after.pool, after.target) == ("younger", "crusoe")
    assert "younger" in {one.name for one in found.pools}


def test_a_node_keeps_its_taint_while_another_pool_wants_it() -> None:
    drains = provider("nebius", drain=True)
    first, second = (pool(AWS, drains, name=name) for name in ("first", "second"))
    nodes = (node("a1"), node("n1", quarantine="Drained"))
    freed = pool(AWS, NEBIUS, name="first")
    assert differences([first, second], [freed], nodes, ()).quarantine == ()


# -- the state


def test_an_open_breaker_of_today_stands_then_too() -> None:
    retry = "2027-02-01T00:00:00Z"
    breaker = {"state": "Open", "reason": "ProvisioningFailed", "since": "2026-01-01T00:00:00Z", "retryAt": retry}
    status = {"providers": [{"name": "nebius", "breaker": breaker}]}
    found = differences([of(status=status)], [of(status=status, placement="Cheapest")], NODES, (*AT_HOME, *WAITING))
    assert not found.decides


@pytest.mark.parametrize("edited", [False, True])
def test_the_verdict_on_a_signal_stands_unless_the_signal_is_edited(edited: bool) -> None:
    signal = {"name": "queue", "query": "waiting", "enter": "5", "exit": "1"}
    on = {"key": "saturation/queue", "name": "queue", "verdict": "On", "on": True}
    nodes, status = (node("a1"), node("n1")), {"signals": [on]}
    today = pool(AWS, NEBIUS, metrics=[signal], status=status, pending=3600)
    then = pool(
        AWS, NEBIUS, metrics=[{**signal, "enter": "50"} if edited else signal], status=status, pending=3600, clear=60
    )
    found = differences([today], [then], nodes, (*AT_HOME, *WAITING))
    assert bool(by_pod(found)) is edited


def test_the_view_has_the_manifests_pools_and_the_stored_pools_keep_their_age() -> None:
    view = view_of([of(uid="stored")], NODES, ())
    compare(view, [of(uid="", placement="Cheapest")])
    assert view.store.pools[POOL].metadata.uid == "stored"


def test_a_node_that_changes_while_nothing_differs_is_no_difference() -> None:
    """Both sides see the same faults."""
    sick: tuple[Node, ...] = (
        node("a1", ready="False"),
        msgspec.structs.replace(node("n1"), unschedulable=True),
        node("c1"),
    )
    assert not differences([of()], [of()], sick, (*AT_HOME, *WAITING))
