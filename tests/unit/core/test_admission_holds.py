"""Which standby keeps admission closed to less preferred standbys: only a standby that takes pods, and for a while."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from computepool.assess.breakers.hold_off_evidence import shape_key, workload_key
from computepool.decide.burst.admission import SETTLED_SECONDS
from computepool.model.accelerators import request_of
from computepool.model.cluster import Pod
from computepool.model.reasons import Reason
from computepool.model.state import HoldOff, PoolState, Saturation
from computepool.model.taints import Taint
from tests.builders import GPU, NOW, changed, node, pod, pool, pool_state, provider, snapshot
from tests.unit.core.clusters import SHAPES, Case, cases
from tests.unit.core.moving import QUARANTINE, half_open, opened
from tests.unit.core.oracle import Oracle
from tests.unit.core.passes import Decided, decided, sent_to

AWS, NEBIUS, CRUSOE = provider("aws"), provider("nebius"), provider("crusoe")
HOME = pod("home", 8, on="a1")
SATURATED = Saturation(True)
NODES = [node("a1"), node("n1"), node("c1"), node("c2")]


def limited(limit: int = 64, **options: Any) -> tuple[dict[str, Any], ...]:
    return AWS, provider("nebius", max_accelerators=limit, **options), CRUSOE


def look(
    *pods: Pod,
    providers: tuple[dict[str, Any], ...] = (AWS, NEBIUS, CRUSOE),
    state: PoolState | None = None,
    at: float = 0,
    **of: Any,
) -> Decided:
    nodes = of.pop("nodes", NODES)
    seen = snapshot(pool(*providers, **of), nodes, pods)
    return decided(seen, state or pool_state(SATURATED), NOW + at)


def choice(found: Decided) -> tuple[str, str]:
    """What admission opens to, and which standby keeps it closed."""
    return found.admission.provider, found.admission.held_by


def held_off(key: tuple[str, Reason, str]) -> HoldOff:
    return HoldOff(*key, failures=1, since=NOW - 10, until=NOW + 600, running=5)


# -- a standby that no pod of the pool can use holds nothing


UNUSABLE: dict[str, tuple[list[Pod], dict[str, Any]]] = {
    "its limit leaves less than a pod requests": (
        [pod("x", 8, on="n1"), pod("y", 8, on="n2"), pod("w", 8)],
        {"providers": limited(20), "nodes": [*NODES, node("n2"), node("n3")]},
    ),
    "no pod waits, and its limit leaves less than the running pods request": (
        [pod("x", 8, on="n1")],
        {"providers": limited(12), "nodes": [*NODES, node("n2")]},
    ),
    "no node has so many accelerators left": (
        [pod("x", 4, on="n1"), pod("y", 3, on="n1"), pod("w", 4)],
        {"providers": limited()},
    ),
    "a taint keeps the pods off its free node": (
        [pod("x", 8, on="n1"), pod("w")],
        {"providers": limited(), "nodes": [*NODES, node("n2", taints=[Taint("x", "", "NoSchedule")])]},
    ),
    "the pods' annotation leaves it out": (
        [pod("w", allowed=("aws", "crusoe"))],
        {"providers": limited(), "home": pod("home", 8, on="a1", allowed=("aws", "crusoe"))},
    ),
    "on demand, and out of stock for the pods' shape": (
        [pod("x", 8, on="n1"), pod("w", 8)],
        {
            "providers": limited(on_demand=True),
            "state": pool_state(SATURATED, hold_offs=(held_off(shape_key("nebius", pod("w", 8).shape)),)),
        },
    ),
    "on trial, and its limit is used up": (
        [pod("x", 8, on="n2", waited=900), pod("w")],
        {
            "providers": limited(8),
            "nodes": [*NODES, node("n2")],
            "state": pool_state(SATURATED, breakers={"nebius": half_open("n1")}),
        },
    ),
}


@pytest.mark.parametrize(("pods", "options"), UNUSABLE.values(), ids=UNUSABLE.keys())
def test_a_standby_that_no_pod_of_the_pool_can_use_does_not_keep_admission_closed(
    pods: list[Pod], options: dict[str, Any]
) -> None:
    of = dict(options)
    found = look(of.pop("home", HOME), *pods, **of)
    assert set(sent_to(found).values()) <= {"crusoe"}
    assert choice(found) == ("crusoe", "")


def test_the_smallest_kind_that_fits_keeps_admission_closed() -> None:
    pods = [pod("x", 7, on="n1"), pod("w", 8)]
    assert choice(look(HOME, *pods, providers=limited())) == ("crusoe", "")
    small = pod("s", 1, on="c1", tolerates=["crusoe"])
    assert choice(look(HOME, *pods, small, providers=limited())) == ("", "nebius")


def test_a_pool_without_pods_leaves_admission_to_a_limit_with_room() -> None:
    assert choice(look(providers=limited(), admission="Always")) == ("", "nebius")
    assert choice(look(providers=limited(), admission="Always", nodes=[node("a1"), node("n1", 0), node("c1")])) == (
        "crusoe",
        "",
    )


def test_selectors_of_running_pods_count() -> None:
    """No pod waits, so nothing else has the operator tell the nodes apart by this label."""
    zones = [node("a1"), node("n1", labels={"zone": "a"}), node("n2", labels={"zone": "b"}), node("c1")]
    in_zone = pod("home", 8, on="a1", shaped=msgspec.structs.replace(HOME.shape, node_selector=(("zone", "a"),)))
    for taken, expected in (("n1", ("crusoe", "")), ("n2", ("", "nebius"))):
        full = pod("x", 8, on=taken, shaped=in_zone.shape)
        assert choice(look(in_zone, full, providers=limited(), nodes=zones)) == expected


# -- a workload that is held off a standby


def test_a_standby_that_a_workload_is_held_off_keeps_admission_closed_while_others_may_go_there() -> None:
    state = pool_state(SATURATED, hold_offs=(held_off(workload_key("nebius", "job")),))
    ours = pod("r", on="c1", owner="job")
    found = look(HOME, ours, pod("o", on="c1"), state=state)
    assert (*choice(found), found.admission.held_because) == ("", "nebius", Reason.WORKLOAD_BACK_OFF)
    assert choice(look(HOME, ours, state=state)) == ("", "nebius"), "another workload may have such pods"
    assert choice(look(HOME, ours, pod("x", 8, on="n1"), state=state)) == ("crusoe", ""), "it is full"


def test_a_full_standby_that_a_workload_is_held_off_is_not_listed_either() -> None:
    state = pool_state(SATURATED, admitting="nebius", hold_offs=(held_off(workload_key("nebius", "job")),))
    full = [pod("x", 8, on="n1", owner="job"), pod("y", 8, on="c1"), pod("z", 8, on="c2")]
    assert choice(look(HOME, *full, state=state)) == ("", "")


# -- replacements of moved pods


DRAINED = provider("aws", drain=True, drain_running_pods="Move")


def leaving(on_nebius: int, nebius: dict[str, Any]) -> Decided:
    """A pod that leaves the drained primary, with so many pods on nebius, which is preferred to crusoe."""
    pods = [
        pod("home", on="a1", owner="home", movable=True),
        *(pod(f"x{index}", on="n1") for index in range(on_nebius)),
    ]
    nodes = [node("a1", taints=[QUARANTINE]), *NODES[1:]]
    return look(*pods, providers=(DRAINED, nebius, CRUSOE), nodes=nodes, failback={"minDwellSeconds": 0})


def test_admission_does_not_send_the_replacement_of_a_moved_pod_past_the_last_place_that_is_kept_for_it() -> None:
    found = leaving(7, NEBIUS)
    assert [move.target for move in found.moves] == ["nebius"]
    assert choice(found) == ("nebius", "")


def test_where_its_standby_can_not_be_listed_admission_is_closed_until_the_replacement_is_there() -> None:
    found = leaving(7, provider("nebius", max_accelerators=8))
    assert [move.target for move in found.moves] == ["nebius"]
    assert choice(found)[0] == ""
    assert choice(leaving(8, provider("nebius", max_accelerators=8)))[0] == "crusoe"


# -- nothing changes with each last place


ORDERS = {
    "the preferred standby has the limit": limited(),
    "the less preferred standby has the limit": (AWS, NEBIUS, provider("crusoe", max_accelerators=64)),
}


@pytest.mark.parametrize("providers", ORDERS.values(), ids=ORDERS.keys())
def test_a_last_place_that_comes_and_goes_changes_admission_at_most_once(providers: tuple[dict[str, Any], ...]) -> None:
    state = pool_state(SATURATED, admitting="nebius")
    seen = []
    for second in range(8):
        pods = [pod(f"x{index}", on="n1") for index in range(8 - second % 2)]
        found = look(HOME, *pods, providers=providers, state=state, at=second)
        seen.append(choice(found))
        state = found.state
    assert sum(before != after for before, after in pairwise(seen)) <= 1


def test_a_hold_that_closes_a_full_standby_stays_while_its_own_standby_takes_pods() -> None:
    pods = [*(pod(f"x{index}", on="n1") for index in range(6)), *(pod(f"y{index}", on="c1") for index in range(8))]
    first = look(HOME, *pods, providers=limited(), state=pool_state(SATURATED, admitting="crusoe"), nodes=NODES[:3])
    assert choice(first) == ("", "nebius")
    again = look(HOME, *pods, providers=limited(), state=first.state, nodes=NODES[:3])
    assert again.admission == first.admission


FILL = st.tuples(st.integers(6, 8), st.integers(6, 8))


@settings(max_examples=60)
@given(st.sampled_from(tuple(ORDERS.values())), st.lists(FILL, min_size=2, max_size=10))
def test_within_the_time_of_a_hold_admission_only_turns_to_more_preferred_standbys(
    providers: tuple[dict[str, Any], ...], fills: list[tuple[int, int]]
) -> None:
    state, seen = pool_state(SATURATED), []
    for second, (on_nebius, on_crusoe) in enumerate(fills):
        pods = [pod(f"x{index}", on="n1") for index in range(on_nebius)]
        pods += [pod(f"y{index}", on="c1") for index in range(on_crusoe)]
        found = look(HOME, *pods, providers=providers, state=state, at=second, nodes=NODES[:3])
        state = found.state
        # An opening to nebius or a hold by it is final. A change to the other standby can only come before.
        seen.append({"nebius": 2, "crusoe": 1, "": 0}[found.admission.provider or found.admission.held_by])
    assert seen == sorted(seen)


def test_a_hold_ends_once_nothing_has_called_for_it_for_some_seconds_and_the_next_pass_is_due_then() -> None:
    some = [pod(f"x{index}", on="n1") for index in range(7)]
    first = look(HOME, *some, providers=limited())
    assert (*choice(first), first.admission.over_since) == ("", "nebius", None)
    full = [*some, pod("x7", on="n1")]
    state = first.state
    for at in (100.0, 100.0 + SETTLED_SECONDS / 2):
        found = look(HOME, *full, providers=limited(), state=state, at=at)
        assert (*choice(found), found.admission.over_since) == ("", "nebius", NOW + 100)
        assert found.recheck_at == NOW + 100 + SETTLED_SECONDS
        state = found.state
    ended = look(HOME, *full, providers=limited(), state=state, at=100 + SETTLED_SECONDS)
    assert choice(ended) == ("crusoe", "")
    assert (ended.state.recorded.held_by, ended.state.memory.hold_over_since) == ("", None)
    again = look(HOME, *some, providers=limited(), state=state, at=100 + SETTLED_SECONDS / 2)
    assert again.admission.over_since is None, "the next time counts anew"


HELD: dict[str, Any] = {"held_by": "nebius"}


@pytest.mark.parametrize(
    ("options", "state"),
    [
        ({"providers": limited()}, pool_state(SATURATED, breakers={"nebius": opened()}, **HELD)),
        ({"providers": (AWS, NEBIUS, CRUSOE)}, pool_state(SATURATED, **HELD)),
        ({"providers": (AWS, CRUSOE)}, pool_state(SATURATED, **HELD)),
        ({"providers": (AWS, CRUSOE, limited()[1])}, pool_state(SATURATED, **HELD)),
    ],
    ids=["its breaker opened", "it lost its limit", "it is gone", "it is less preferred now"],
)
def test_a_hold_ends_at_once_with_what_it_stood_on(options: dict[str, Any], state: PoolState) -> None:
    full = [pod(f"x{index}", on="n1") for index in range(8)]
    assert choice(look(HOME, *full, state=state, **options)) == ("crusoe", "")


def test_a_hold_by_a_standby_on_trial_ends_with_its_first_pod() -> None:
    breakers = {"nebius": half_open("n1")}
    waits = look(HOME, state=pool_state(SATURATED, breakers=breakers))
    assert (*choice(waits), waits.admission.held_because) == ("", "nebius", Reason.CANARY_UNDER_WAY)
    assert choice(look(HOME, pod("canary", on="n1", waited=1), state=waits.state)) == ("crusoe", "")


def test_admission_that_closes_for_another_reason_forgets_the_hold() -> None:
    found = look(pod("home", 1, on="a1"), state=pool_state(Saturation(False), **HELD), providers=limited())
    assert choice(found) == ("", "")
    assert found.state.recorded.held_by == ""


def test_a_clock_that_was_ahead_does_not_prolong_a_hold() -> None:
    full = [pod(f"x{index}", on="n1") for index in range(8)]
    found = look(HOME, *full, providers=limited(), state=pool_state(SATURATED, hold_over_since=NOW + 9999, **HELD))
    assert found.admission.over_since == NOW


# -- any pool: the check of the invariants refuses no plan, and a hold is by a standby that takes pods


@st.composite
def states(draw: st.DrawFn, case: Case) -> PoolState:
    """The state, with hold-offs, breakers that are not closed and a hold of the pass before."""
    subject = st.sampled_from([pod("of", shaped=shaped) for shaped in SHAPES])
    held = [
        held_off(shape_key(draw(st.sampled_from(("nebius", "crusoe"))), draw(subject).shape))
        for _ in range(draw(st.integers(0, 3)))
    ]
    if draw(st.booleans()):
        held.append(held_off(workload_key("nebius", "job")))
    breaker = draw(st.sampled_from((None, None, None, opened(), half_open("nebius-0"))))
    return changed(
        case.state,
        saturated=draw(st.sampled_from((True, True, False))),
        hold_offs=tuple({(one.provider, one.reason, one.subject): one for one in held}.values()),
        breakers={} if breaker is None else {"nebius": breaker},
        held_by=draw(st.sampled_from(("", "nebius", "crusoe"))),
        hold_over_since=draw(st.sampled_from((None, NOW - 5))),
    )


@settings(max_examples=150)
@given(st.data())
def test_in_any_pool_no_plan_breaks_the_order_and_a_hold_is_by_a_standby_that_some_pod_may_use(
    data: st.DataObject,
) -> None:
    case = data.draw(cases())
    waiting = tuple(msgspec.structs.replace(one, owner="job") for one in case.seen.waiting)
    seen, state = msgspec.structs.replace(case.seen, waiting=waiting), data.draw(states(case))
    for at in (0, 6, 20):
        found = decided(seen, state, NOW + at)  # It raises if the plan breaks an invariant.
        truth, admission = Oracle(seen), found.admission
        if admission.held_by and admission.over_since is None:
            holder = next(one for one in truth.providers if one.name == admission.held_by)
            limit = holder.capacity.max_accelerators
            room = 10**9 if limit is None else limit * 1000 - truth.committed(holder, found.bursts)
            kinds = [*found.assessment.waiting, *found.assessment.running]
            assert not kinds or any(truth.allows(one, holder) and request_of(one, GPU) <= room for one in kinds)
        state = found.state
