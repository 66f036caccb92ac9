"""Two outcomes, compared as values."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from computepool.cli.plan_difference import (
    Action,
    Change,
    NodesMoved,
    Outcome,
    PodDecision,
    PodName,
    PoolOutcome,
    difference,
    merged,
)
from computepool.cli.spec_changes import SpecChange
from computepool.model.reasons import Reason

UIDS = [f"uid-{number}" for number in range(8)]
NAMES = {
    uid: PodName("team-a" if index % 2 else "team-b", uid, owner=f"o{index % 3}") for index, uid in enumerate(UIDS)
}
DECISIONS = st.builds(
    PodDecision,
    st.sampled_from([Action.SEND, Action.WAIT, Action.MOVE, Action.STAY]),
    st.sampled_from(["one", "two"]),
    target=st.sampled_from(["", "nebius"]),
    reason=st.sampled_from([None, Reason.NO_ROOM]),
)
OUTCOMES = st.dictionaries(st.sampled_from(UIDS), DECISIONS)
EMPTY = Outcome({}, {}, {})


@given(OUTCOMES, OUTCOMES)
def test_each_pod_that_differs_is_in_one_group_and_no_other_pod_is(
    today: dict[str, PodDecision], then: dict[str, PodDecision]
) -> None:
    found = difference(Outcome({}, today, {}), Outcome({}, then, {}), NAMES, {})
    told = [pod.name for group in found.pods for pod in group.pods]
    nothing = PodDecision(Action.NOTHING)
    assert sorted(told) == [uid for uid in UIDS if today.get(uid, nothing) != then.get(uid, nothing)]
    assert bool(found) is bool(told)
    for group in found.pods:
        assert {today.get(pod.name, nothing) for pod in group.pods} == {group.today}
        assert {then.get(pod.name, nothing) for pod in group.pods} == {group.then}
        assert len({(pod.namespace, pod.owner) for pod in group.pods}) == 1
    assert sorted(pod.name for group in merged(found.pods) for pod in group.pods) == sorted(told)
    assert len({(group.today, group.then) for group in merged(found.pods)}) == len(merged(found.pods))


@given(OUTCOMES)
def test_an_outcome_does_not_differ_from_itself(pods: dict[str, PodDecision]) -> None:
    same = Outcome({"one": PoolOutcome({"admission": "closed"}, ("a",), {"n1": "aws"})}, pods, {"n1": "Drained"})
    assert not difference(same, same, NAMES, {})


def test_what_happens_to_pods_comes_first_and_then_what_happens_no_more() -> None:
    stay, wait = PodDecision(Action.STAY, "one"), PodDecision(Action.WAIT, "one")
    send, move = PodDecision(Action.SEND, "one", target="nebius"), PodDecision(Action.MOVE, "one", "nebius", "aws")
    many = {f"uid-{number}": stay for number in range(4)}
    today = {**many, "uid-4": send, "uid-5": stay}
    then = {**dict.fromkeys(many, wait), "uid-4": wait, "uid-5": move}
    found = merged(difference(Outcome({}, today, {}), Outcome({}, then, {}), NAMES, {}).pods)
    assert [len(group.pods) for group in found] == [1, 1, 4]
    assert [group.then for group in found] == [move, wait, wait]


def test_facts_keep_their_order_and_nodes_and_findings_are_told() -> None:
    today = PoolOutcome({"saturated": "no", "admission": "closed", "moves": "none"}, ("old", "both"), {"n1": "aws"})
    then = PoolOutcome(
        {"saturated": "yes", "admission": "open to x", "moves": "none"}, ("both", "new"), {"n1": "x", "n2": "x"}
    )
    (pool,) = difference(Outcome({"p": today}, {}, {}), Outcome({"p": then}, {}, {}), {}, {}).pools
    assert pool.facts == (Change("saturated", "no", "yes"), Change("admission", "closed", "open to x"))
    assert pool.nodes == (NodesMoved("", "x", ("n2",)), NodesMoved("aws", "x", ("n1",)))
    assert (pool.new_findings, pool.gone_findings) == (("new",), ("old",))
    assert not pool.is_new


def test_a_spec_alone_is_a_difference_that_decides_nothing() -> None:
    changed = SpecChange("spec.placement", "Ordered", "Cheapest")
    same = Outcome({"p": PoolOutcome({})}, {}, {})
    found = difference(same, same, {}, {"p": [changed]})
    assert (bool(found), found.decides) == (True, False)
    assert found.pools[0].spec == (changed,)


def test_a_taint_that_comes_goes_or_changes_its_value_is_a_difference() -> None:
    today, then = (
        {"n1": "Drained", "n2": "Drained", "n3": "Drained"},
        {"n2": "NodeNotReady", "n3": "Drained", "n0": "x"},
    )
    found = difference(Outcome({}, {}, today), Outcome({}, {}, then), {}, {})
    assert found.quarantine == (
        Change("n0", "", "x"),
        Change("n1", "Drained", ""),
        Change("n2", "Drained", "NodeNotReady"),
    )
    assert not difference(EMPTY, EMPTY, {}, {})
