"""A survey asks each provider about one pod, and changes no decision."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from computepool.decide.reconcile import reconcile
from computepool.model.reasons import Reason
from computepool.model.snapshot import Snapshot
from computepool.model.state import PoolState
from tests.builders import NOW, node, pod, pool, provider, snapshot
from tests.unit.core.clusters import Case, cases

FULL = [node("a1", 1), node("n1", 4), node("c1", 4)]
RESIDENT = pod("old", on="a1")


def survey(seen: Snapshot, name: str = "web", state: PoolState | None = None) -> dict[str, Reason]:
    (found,) = [waiting for waiting in seen.waiting if waiting.name == name]
    return dict(reconcile(seen, state or PoolState(), NOW, found.uid).survey)


@settings(max_examples=80)
@given(cases(), st.data())
def test_a_survey_changes_no_decision_and_names_each_provider_once_in_order(case: Case, data: st.DataObject) -> None:
    plain = reconcile(case.seen, case.state, NOW)
    asked = data.draw(st.sampled_from(case.seen.waiting)).uid if case.seen.waiting else "nobody"
    found = reconcile(case.seen, case.state, NOW, asked)
    assert msgspec.structs.replace(found, survey=()) == plain
    if found.survey:
        names = [name for name, _ in found.survey]
        spec = case.seen.pool.spec
        assert names[0] == spec.primary.name
        assert sorted(names) == sorted(entry.name for entry in spec.providers)
    for burst in plain.plan.bursts:
        if burst.pod.uid == asked and burst.reason is not Reason.SENT_TO_PREEMPT:
            held_off = (Reason.INSUFFICIENT_CAPACITY, Reason.CANARY_UNDER_WAY)
            assert dict(found.survey)[burst.provider] in (Reason.LESS_PREFERRED, *held_off)


def test_it_goes_on_behind_the_provider_that_is_chosen() -> None:
    seen = snapshot(pool(), FULL, [RESIDENT, pod("web")])
    assert survey(seen) == {
        "aws": Reason.NO_ROOM,
        "nebius": Reason.LESS_PREFERRED,
        "crusoe": Reason.LESS_PREFERRED,
    }


def test_a_later_provider_that_would_not_take_the_pod_says_why() -> None:
    taken = [pod(f"taken-{index}", on="c1") for index in range(4)]
    assert survey(snapshot(pool(), FULL, [RESIDENT, *taken, pod("web")]))["crusoe"] is Reason.NO_ROOM
    unwanted = pod("web", allowed=("nebius",))
    assert survey(snapshot(pool(), FULL, [RESIDENT, unwanted]))["crusoe"] is Reason.NOT_ALLOWED


def test_it_sees_the_account_at_the_pods_turn() -> None:
    before, after = (pod(f"{name}", 4, priority=priority) for name, priority in (("first", 10), ("last", -10)))
    seen = snapshot(pool(), FULL, [RESIDENT, before, pod("web"), after])
    assert survey(seen)["nebius"] is Reason.NO_ROOM, "the pod before has taken it"
    assert survey(seen)["crusoe"] is Reason.LESS_PREFERRED, "the pod behind has not"


def test_a_pod_that_fits_at_home_learns_which_standbys_could_take_it() -> None:
    seen = snapshot(pool(), FULL, [pod("web")])
    found = survey(seen)
    assert (found["nebius"], found["crusoe"]) == (Reason.LESS_PREFERRED, Reason.LESS_PREFERRED)


def test_a_pod_too_young_to_leave_learns_whether_a_standby_has_room_for_it() -> None:
    patient = pool(saturation={"pendingSeconds": 3600})
    seen = snapshot(patient, [*FULL[:2], node("c1", 1)], [RESIDENT, pod("taken", on="c1"), pod("web", waited=5)])
    found = survey(seen)
    assert (found["nebius"], found["crusoe"]) == (Reason.LESS_PREFERRED, Reason.NO_ROOM)


def test_the_order_is_that_of_the_prices_where_the_pool_says_so() -> None:
    priced = [provider("aws"), provider("nebius", price="3"), provider("crusoe", price="2")]
    seen = snapshot(pool(*priced, placement="Cheapest"), FULL, [RESIDENT, pod("web")])
    assert list(survey(seen)) == ["aws", "crusoe", "nebius"]


def test_pods_that_are_not_for_the_operator_to_place_are_not_asked_about() -> None:
    for fields in ({"gated": True}, {"deleting": NOW + 30}):
        seen = snapshot(pool(), FULL, [RESIDENT, pod("web", **fields)])
        assert survey(seen) == {}
