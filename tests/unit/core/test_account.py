"""The account of capacity: all pods of a request or none, trials that leave no trace, and questions without effect."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from computepool.assess.assessment import assess
from computepool.assess.capacity.providers import Provider
from computepool.decide.account.budget import budget_account
from computepool.decide.account.capacity_account import BURST, KEPT, MOVED, Account, PlaceRequest, Terms
from computepool.decide.burst.kept_places import open_account
from computepool.decide.context import Context
from computepool.decide.move.pending_moves import pending_moves
from computepool.model.cluster import Node, Pod
from computepool.model.reasons import Reason
from computepool.model.state import PoolState
from tests.builders import NOW, node, pod, pool, pool_state, provider, shape, snapshot
from tests.unit.core.moving import half_open, opened

NODES = [node("a1", 4), node("n1", 4), node("n2", 2), node("c1", 8)]
GROUP = [pod(f"g{index}", 2) for index in range(3)]


def account_of(
    *providers: dict[str, Any], nodes: list[Node] | None = None, state: PoolState | None = None, **spec: Any
) -> tuple[Account, dict[str, Provider]]:
    """An account as a pass opens it, and the providers by name."""
    of = pool(*providers, **spec)
    seen = snapshot(of, NODES if nodes is None else nodes)
    assessment = assess(seen, state or PoolState(), NOW)
    context = Context(seen, assessment, state or PoolState(), NOW)
    budget = budget_account(context)
    made = open_account(context, budget, pending_moves(seen, assessment.demand, (), NOW), frozenset()).account
    return made, {target.name: target for target in (context.primary, *context.standbys)}


def requests(*pods: Pod) -> list[PlaceRequest]:
    return [PlaceRequest(pod) for pod in pods]


def taken(account: Account, target: Provider, terms: Terms = BURST) -> int:
    """How many more pods of one accelerator the provider takes; the account is as before afterwards."""
    with account.trial():
        count = 0
        while account.reserve(requests(pod(f"p{count}", 1)), target, terms) is None:
            count += 1
    return count


def test_a_group_has_all_of_its_places_or_none() -> None:
    account, targets = account_of()
    nebius = targets["nebius"]
    assert account.reserve(requests(*GROUP, pod("g3", 2)), nebius, BURST) is Reason.NO_ROOM
    assert taken(account, nebius) == 6
    assert account.reserve(requests(*GROUP), nebius, BURST) is None
    assert taken(account, nebius) == 0


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        ({"max_accelerators": 5}, Reason.AT_MAX_ACCELERATORS),
        ({"price": "1", "budget": {"perHour": "5"}}, Reason.BUDGET_EXHAUSTED),
    ],
)
def test_a_group_is_within_its_bounds_as_a_whole(limits: dict[str, Any], why: Reason) -> None:
    spec = {"budget": limits.pop("budget")} if "budget" in limits else {}
    account, targets = account_of(provider("aws"), provider("nebius", **limits), **spec)
    assert account.reserve(requests(*GROUP), targets["nebius"], BURST) is why
    assert account.reserve(requests(*GROUP[:2]), targets["nebius"], BURST) is None
    assert account.reserve(requests(*GROUP[2:]), targets["nebius"], BURST) is why
    # A replacement of a pod that was moved there is taken whatever the bounds say, and counts against them.
    assert account.reserve(requests(pod("kept", 1)), targets["nebius"], KEPT) is None
    assert account.reserve(requests(pod("last", 1)), targets["nebius"], BURST) is why


def test_a_half_open_provider_has_one_request_as_its_canary() -> None:
    account, targets = account_of(state=pool_state(breakers={"nebius": half_open("n1")}))
    assert account.takes_any((), targets["nebius"])
    assert account.reserve(requests(pod("first", 1)), targets["nebius"], BURST) is None
    assert account.reserve(requests(pod("second", 1)), targets["nebius"], BURST) is Reason.CANARY_UNDER_WAY
    assert account.reserve(requests(pod("kept", 1)), targets["nebius"], KEPT) is None


def test_an_open_provider_takes_no_pod_on_any_terms() -> None:
    account, targets = account_of(state=pool_state(breakers={"nebius": opened()}))
    for terms in (BURST, MOVED, KEPT):
        assert account.reserve(requests(pod("p", 1)), targets["nebius"], terms) is Reason.PROVIDER_UNAVAILABLE


def test_where_nodes_are_made_pods_are_sent_before_there_is_room_and_moved_only_after() -> None:
    grows = provider("nebius", on_demand=True)
    account, targets = account_of(provider("aws"), grows, nodes=[node("a1", 4), node("n1", 2)])
    assert account.reserve(requests(*GROUP), targets["nebius"], MOVED) is Reason.NO_ROOM
    assert account.reserve(requests(*GROUP), targets["nebius"], BURST) is None


SIZES = st.lists(st.sampled_from((1, 1, 2, 4)), min_size=1, max_size=3)
RESERVATIONS = st.lists(st.tuples(SIZES, st.sampled_from(("aws", "nebius", "crusoe")), st.booleans()), max_size=8)


@settings(max_examples=80)
@given(RESERVATIONS, RESERVATIONS, st.booleans())
def test_a_trial_that_is_not_committed_leaves_no_trace_and_questions_change_nothing(
    before: list[Any], tried: list[Any], asked: bool
) -> None:
    providers = provider("aws"), provider("nebius", max_accelerators=5, price="1"), provider("crusoe", price="2")
    spec: dict[str, Any] = {"budget": {"perHour": "9"}}
    (one, targets), (other, _) = account_of(*providers, **spec), account_of(*providers, **spec)
    for account in (one, other):
        _reserve_all(account, targets, before)
    with one.trial():
        _reserve_all(one, targets, tried)
    if asked:
        _ask_all(one, targets)
    assert _reserve_all(one, targets, tried) == _reserve_all(other, targets, tried)
    assert _ask_all(one, targets) == _ask_all(other, targets)


def _reserve_all(account: Account, targets: dict[str, Provider], wanted: list[Any]) -> list[Reason | None]:
    return [
        account.reserve(
            [PlaceRequest(pod(f"p{index}", shaped=shape(size))) for index, size in enumerate(sizes)],
            targets[name],
            MOVED if moved else BURST,
        )
        for sizes, name, moved in wanted
    ]


def _ask_all(account: Account, targets: dict[str, Provider]) -> object:
    standbys = [target for target in targets.values() if not target.primary]
    return (
        [account.blocked(target) for target in targets.values()],
        [account.has_room(target) for target in standbys],
        [account.takes_any(asking, target) for target in standbys for asking in ((), GROUP)],
        account.free_on_primary(pod("asks")),
        [dict(left) for _, left in account.remainders_on_primary()],
        account.budget_refused,
    )
