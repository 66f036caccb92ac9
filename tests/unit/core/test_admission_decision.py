"""Which provider admission opens to new pods: one at a time, and none with a limit."""

from typing import Any

import pytest

from computepool.decide.plan import Admission
from computepool.model.cluster import Pod
from computepool.model.labels import Requirement
from computepool.model.reasons import Reason
from computepool.model.state import PoolState, Saturation
from computepool.model.taints import Taint, Toleration
from tests.builders import NOW, node, pod, pool, pool_state, provider, snapshot, standby_toleration
from tests.unit.core.moving import half_open, opened
from tests.unit.core.passes import Decided, decided

AWS, NEBIUS, CRUSOE = provider("aws"), provider("nebius"), provider("crusoe")
FULL = pod("holder", 8, on="a1")
SATURATED = pool_state(Saturation(True))


def plan(
    *pods: Pod,
    providers: tuple[dict[str, Any], ...] = (AWS, NEBIUS, CRUSOE),
    state: PoolState = SATURATED,
    mode: str = "WhenSaturated",
    conflicts: int = 0,
    **of: Any,
) -> Decided:
    nodes = of.pop("nodes", [node("a1"), node("n1"), node("c1")])
    return decided(snapshot(pool(*providers, admission=mode, **of), nodes, pods, conflicts=conflicts), state)


def admitted(*pods: Pod, **options: Any) -> str:
    return plan(*pods, **options).admission.provider


def test_while_the_primary_is_saturated_new_pods_tolerate_the_first_standby_and_prefer_the_primary() -> None:
    assert plan(FULL).admission == Admission(
        "nebius",
        (standby_toleration("nebius"),),
        (Requirement("computepool.io/provider", "In", ("aws",)),),
    )


def test_new_pods_get_all_tolerations_of_the_provider() -> None:
    wanted = [{"key": "a", "operator": "Exists"}, {"key": "b", "value": "x"}]
    tainted = node("n1", tainted=False, taints=[Taint("a", "", "NoSchedule"), Taint("b", "x", "NoSchedule")])
    found = plan(FULL, providers=(AWS, provider("nebius", tolerations=wanted)), nodes=[node("a1"), tainted])
    assert found.admission.tolerations == (Toleration("a", "Exists"), Toleration("b", "Equal", "x"))


@pytest.mark.parametrize("before", [None, False], ids=["unknown", "not saturated"])
def test_admission_is_closed_while_the_primary_is_not_saturated(before: bool | None) -> None:
    assert plan(FULL, state=pool_state(Saturation(before), admitting="nebius")).admission == Admission()


def test_admission_opens_in_the_pass_that_finds_pods_overflowing() -> None:
    found = plan(FULL, pod("p"), state=pool_state())
    assert found.bursts
    assert found.admission.provider == "nebius"


def test_admission_may_be_open_at_all_times() -> None:
    assert admitted(state=pool_state(), mode="Always") == "nebius"


@pytest.mark.parametrize("options", [{"mode": "Off"}, {"mode_": "Observe"}], ids=["off", "observing"])
def test_admission_stays_closed_where_it_is_off_and_where_the_pool_only_observes(options: dict[str, str]) -> None:
    mode = options.get("mode", "Always")
    found = decided(
        snapshot(pool(admission=mode, mode=options.get("mode_", "Enforce")), [node("a1"), node("n1")], [FULL]),
        SATURATED,
    )
    assert found.admission == Admission()


def test_a_pool_that_an_older_one_contests_admits_no_pod() -> None:
    assert plan(FULL, conflicts=1).admission == Admission()
    assert plan(FULL, conflicts=1, mode="Always").admission == Admission()


LIMITED = (AWS, provider("nebius", max_accelerators=64), CRUSOE)


def held(*pods: Pod, **options: Any) -> tuple[str, str, Reason | None]:
    """What admission opens to, and which standby keeps it closed, and why."""
    found = plan(*pods, **options).admission
    return found.provider, found.held_by, found.held_because


def test_a_provider_with_a_bound_is_never_admitted_to() -> None:
    assert plan(FULL, providers=LIMITED[:2]).admission == Admission()
    assert plan(FULL, providers=LIMITED[:2], state=pool_state(Saturation(True), admitting="nebius")).admission == (
        Admission()
    )


def test_a_bounded_standby_with_room_keeps_admission_closed_to_less_preferred_standbys() -> None:
    before = pool_state(Saturation(True), admitting="crusoe")
    for state in (SATURATED, before):
        assert held(FULL, pod("x", on="n1"), providers=LIMITED, state=state) == (
            "",
            "nebius",
            Reason.AT_MAX_ACCELERATORS,
        )


def test_a_bounded_standby_that_makes_nodes_has_room_until_its_limit_is_reached() -> None:
    grows = (AWS, provider("nebius", max_accelerators=9, on_demand=True), CRUSOE)
    small = pod("s", on="a2")
    nodes = [node("a1"), node("a2", 1), node("n1"), node("n2", 1), node("c1")]
    assert held(FULL, small, pod("x", 8, on="n1"), providers=grows, nodes=nodes)[:2] == ("", "nebius")
    full = [pod("x", 8, on="n1"), pod("y", 1, on="n2")]
    assert held(FULL, small, *full, providers=grows, nodes=nodes)[:2] == ("crusoe", "")


@pytest.mark.parametrize(
    ("pods", "limit"),
    [
        ((pod("x", 8, on="n1"),), 64),
        ((pod("x", 4, on="n1"),), 4),
        ((pod("p", 8),), 64),
        ((pod("p", 4),), 4),
        ((pod("p", 8, sent=[("nebius", NOW - 1)]),), 64),
    ],
    ids=["full", "limit reached", "filled in this pass", "limit reached in this pass", "filled by pods on their way"],
)
def test_a_bounded_standby_that_takes_no_more_pods_is_passed_over(pods: tuple[Pod, ...], limit: int) -> None:
    providers = (AWS, provider("nebius", max_accelerators=limit), CRUSOE)
    assert held(FULL, *pods, providers=providers) == ("crusoe", "", None)


def test_a_bounded_standby_whose_breaker_is_open_is_passed_over() -> None:
    state = pool_state(Saturation(True), breakers={"nebius": opened()})
    assert held(FULL, providers=LIMITED, state=state) == ("crusoe", "", None)


def test_a_less_preferred_standby_with_a_bound_keeps_nothing_closed() -> None:
    assert held(FULL, providers=(AWS, NEBIUS, provider("crusoe", max_accelerators=64))) == ("nebius", "", None)


def test_a_bounded_standby_comes_first_by_price_too() -> None:
    priced = (AWS, provider("nebius", price="3"), provider("crusoe", price="2", max_accelerators=64))
    assert held(FULL, providers=priced, placement="Cheapest")[:2] == ("", "crusoe")


def test_while_the_less_preferred_standbys_are_full_no_standby_keeps_admission_closed() -> None:
    assert held(FULL, pod("y", 8, on="c1"), providers=LIMITED) == ("", "", None)


def test_pending_pods_are_patched_in_order_while_a_bounded_standby_keeps_admission_closed() -> None:
    found = plan(FULL, *(pod(f"p{index}") for index in range(3)), providers=LIMITED)
    assert {burst.provider for burst in found.bursts} == {"nebius"}
    assert found.admission.held_by == "nebius"


def test_new_pods_go_to_the_first_that_has_room_after_what_this_pass_sends_there() -> None:
    assert admitted(FULL, pod("p", 7)) == "nebius"
    assert admitted(FULL, pod("p", 8)) == "crusoe"


def test_places_of_pods_on_their_way_count() -> None:
    assert admitted(FULL, pod("p", 8, sent=[("nebius", NOW - 1)])) == "crusoe"


def test_nodes_made_on_demand_are_room() -> None:
    grows = provider("nebius", on_demand=True)
    assert admitted(FULL, pod("x", 8, on="n1"), providers=(AWS, grows, CRUSOE)) == "nebius"


def test_the_cheapest_is_the_first() -> None:
    priced = (AWS, provider("nebius", price="3"), provider("crusoe", price="2"))
    assert admitted(FULL, providers=priced, placement="Cheapest") == "crusoe"


CROWDED = (FULL, pod("x", 8, on="n1"), pod("y", 8, on="c1"))


@pytest.mark.parametrize("before", ["nebius", "crusoe"])
def test_the_present_choice_stays_while_no_standby_has_room(before: str) -> None:
    assert admitted(*CROWDED, state=pool_state(Saturation(True), admitting=before)) == before


@pytest.mark.parametrize(
    ("tried", "there", "expected"),
    [
        ("nebius", (), ""),
        ("nebius", (pod("canary", on="n1", waited=1),), "crusoe"),
        ("nebius", (pod("other", 8, on="n1", waited=900),), "crusoe"),
        ("crusoe", (), "nebius"),
    ],
    ids=["no pod has come yet", "its first pod is there", "it has no room", "it is less preferred"],
)
def test_new_pods_do_not_pass_by_a_provider_that_waits_for_its_first(
    tried: str, there: tuple[Pod, ...], expected: str
) -> None:
    state = pool_state(Saturation(True), breakers={tried: half_open(f"{tried[0]}1")})
    assert admitted(FULL, *there, state=state) == expected


def test_the_first_pod_for_a_provider_on_trial_opens_admission_to_the_next() -> None:
    found = plan(FULL, pod("p"), state=pool_state(Saturation(True), breakers={"nebius": half_open("n1")}))
    assert [burst.provider for burst in found.bursts] == ["nebius"]
    assert found.admission.provider == "crusoe"


def test_nothing_is_opened_while_no_standby_has_room() -> None:
    assert plan(*CROWDED).admission == Admission()


def test_what_stood_at_a_provider_that_is_gone_is_closed() -> None:
    assert plan(*CROWDED, state=pool_state(Saturation(True), admitting="lambda")).admission == Admission()


def test_the_next_pass_knows_whom_this_one_admits_to() -> None:
    assert plan(FULL).state.recorded.admitting == "nebius"
