"""Each plan that breaks an invariant is refused: each case spoils a good plan in one way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from computepool.decide.account.budget import budget_account
from computepool.decide.context import Context
from computepool.decide.invariants import InvariantBreachError, check_invariants
from computepool.decide.plan import Admission, Burst, Move, Plan
from computepool.model.cluster import Node, Offer, Pod
from computepool.model.moves import MoveKind, Outcome, PodMove
from computepool.model.reasons import Reason
from computepool.model.snapshot import Failure, Snapshot
from computepool.model.state import PoolState
from tests.builders import NOW, node, pod, pod_move, pool, pool_state, provider, snapshot
from tests.unit.core.moving import faults_of, half_open, opened, owned, unhealthy_node
from tests.unit.core.passes import decided

PROVIDERS = (
    provider("aws", price="1"),
    provider("nebius", max_accelerators=4, price="1"),
    provider("crusoe", price="1"),
)
NODES = [unhealthy_node("a1"), node("a2", 2), node("n1", 4), node("c1", 4)]
HEALTHY = [node("a1"), node("a2", 2), node("n1", 4), node("c1", 4)]
PENDING = [pod(f"p{index}", 2) for index in range(2)]
WEB = owned("web", 2, on="a1")
REJECTED = (("aws", Reason.NO_ROOM),)


def burst(one: Pod, to: str, *rejected: str) -> Burst:
    return Burst(one, to, Reason.PRIMARY_SATURATED, tuple((name, Reason.NO_ROOM) for name in ("aws", *rejected)), ())


def move(one: Pod, to: str, kind: MoveKind = MoveKind.FAILOVER, source: str = "aws") -> Move:
    return Move(one, source, to, kind, Reason.LEAVES_SICK_NODE)


def checked(
    change: Callable[[Plan], Plan],
    *,
    nodes: Sequence[Node] = NODES,
    breakers: Any = None,
    seen: dict[str, Any] | None = None,
    **spec: Any,
) -> None:
    """Check the plan that a pass makes, changed in one way."""
    of = pool(*spec.pop("providers", PROVIDERS), **spec)
    view: Snapshot = snapshot(of, nodes, [*PENDING, WEB], **(seen or {}))
    unhealthy = faults_of("a1") if nodes is NODES else {}
    state: PoolState = pool_state(node_faults=unhealthy, breakers=breakers or {})
    plan = decided(view, state)
    context = Context(view, plan.assessment, state, NOW)
    good = Plan(**{name: getattr(plan, name) for name in Plan.__struct_fields__})
    check_invariants(context, budget_account(context), good)
    check_invariants(context, budget_account(context), change(good))


def replaced(**fields: Any) -> Callable[[Plan], Plan]:
    return lambda plan: msgspec.structs.replace(plan, **fields)


REFUSED = tuple(Failure(f"f{index}", "a1", "other", NOW, refused=True) for index in range(3))


def coming_home(name: str) -> Move:
    return move(owned(name, 1, on="c1"), "aws", MoveKind.FAILBACK, "crusoe")


LEAVING = pod_move(owned("gone", 1, on="c1"), "aws", at=NOW - 20, source="crusoe", kind=MoveKind.FAILBACK)
RETURNED = msgspec.structs.replace(LEAVING, outcome=Outcome.RETURNED)


def returned(owner: str) -> PodMove:
    """A pod of another owner that came back."""
    gone = owned(f"gone-{owner}", 1, on="c1", owner=owner)
    return msgspec.structs.replace(RETURNED, pod=gone)


ON_CRUSOE = owned("away", 2, on="c1")
BREACHES: dict[str, tuple[int, Callable[[Plan], Plan], dict[str, Any]]] = {
    "a preferred provider was not asked": (1, replaced(bursts=(burst(PENDING[0], "crusoe"),)), {}),
    "more than fits": (
        2,
        replaced(bursts=tuple(burst(pod(f"x{index}", 2), "crusoe", "nebius") for index in range(3)), moves=()),
        {},
    ),
    "on places of pods of equal priority": (
        2,
        replaced(
            bursts=(Burst(pod("x", 6), "crusoe", Reason.SENT_TO_PREEMPT, (*REJECTED, ("nebius", Reason.NO_ROOM)), ()),),
            moves=(),
        ),
        {},
    ),
    "to a provider that the pool does not have": (2, replaced(bursts=(burst(PENDING[0], "gone"),), moves=()), {}),
    "to a provider that has failed": (
        2,
        replaced(bursts=(burst(PENDING[0], "crusoe", "nebius"),), moves=()),
        {"breakers": {"crusoe": opened()}},
    ),
    "two canaries": (
        2,
        replaced(bursts=tuple(burst(pod, "crusoe", "nebius") for pod in PENDING), moves=()),
        {"breakers": {"crusoe": half_open("c1")}},
    ),
    "beyond maxAccelerators": (
        3,
        replaced(bursts=tuple(burst(pod, "nebius") for pod in PENDING), moves=(move(WEB, "nebius"),)),
        {},
    ),
    "beyond the budget": (
        3,
        replaced(bursts=tuple(burst(pod, "nebius") for pod in PENDING), moves=()),
        {"budget": {"perHour": "3"}},
    ),
    "admission to a bounded provider": (3, replaced(admission=Admission("nebius")), {"admission": "Always"}),
    "admission passes by a standby with room": (
        1,
        replaced(admission=Admission("crusoe")),
        {"admission": "Always", "nodes": HEALTHY},
    ),
    "admission without saturation": (
        4,
        replaced(admission=Admission("crusoe")),
        {"nodes": HEALTHY},
    ),
    "a move while all is held back": (4, replaced(held_back="2 of 3 have failed", moves=(move(WEB, "crusoe"),)), {}),
    "a ready pod leaves a black hole": (
        12,
        replaced(bursts=(), moves=(move(msgspec.structs.replace(WEB, ready=True), "crusoe"),)),
        {"nodes": HEALTHY, "seen": {"failures": REFUSED}},
    ),
    "a ready pod leaves a drained provider whose pods stay": (
        12,
        replaced(bursts=(), moves=(move(msgspec.structs.replace(WEB, ready=True), "crusoe"),)),
        {
            "nodes": HEALTHY,
            "providers": [provider("aws", drain=True, drain_running_pods="Leave"), *PROVIDERS[1:]],
        },
    ),
    "a pod leaves a healthy node": (4, replaced(bursts=(), moves=(move(WEB, "crusoe"),)), {"nodes": HEALTHY}),
    "a pod comes home to a full primary": (
        4,
        replaced(bursts=(), moves=(move(ON_CRUSOE, "aws", MoveKind.FAILBACK, "crusoe"),)),
        {},
    ),
    "too many moves at once": (
        6,
        replaced(bursts=(), moves=tuple(move(owned(f"m{index}", 1, on="a1"), "crusoe") for index in range(2))),
        {"failover": {"maxConcurrentMoves": 1}},
    ),
    "two pods of an owner come home at first": (
        11,
        replaced(bursts=(), moves=tuple(coming_home(f"h{index}") for index in range(2))),
        {"nodes": HEALTHY},
    ),
    "a pod comes home after a move that came to nothing": (
        11,
        replaced(bursts=(), moves=(coming_home("h"),)),
        {"nodes": HEALTHY, "seen": {"moves": (RETURNED,)}},
    ),
    "a pod comes home while another of its owner does": (
        11,
        replaced(bursts=(), moves=(coming_home("h"),)),
        {"nodes": HEALTHY, "seen": {"moves": (LEAVING,)}},
    ),
    "a pod comes home after moves of two other owners there came to nothing": (
        11,
        replaced(bursts=(), moves=(coming_home("h"),)),
        {"nodes": HEALTHY, "seen": {"moves": (returned("rs-2"), returned("rs-3"))}},
    ),
    "a pod twice": (8, replaced(bursts=(burst(PENDING[0], "nebius"), burst(PENDING[0], "nebius")), moves=()), {}),
    "a bound pod is burst": (8, replaced(bursts=(burst(WEB, "nebius"),), moves=()), {}),
    "a pod whose write is under way": (
        8,
        replaced(bursts=(burst(PENDING[0], "nebius"),), moves=()),
        {"seen": {"in_flight": {PENDING[0].uid: Offer("crusoe", NOW)}}},
    ),
    "a node of no provider": (9, replaced(quarantine={"elsewhere": Reason.NODE_NOT_READY}), {}),
}


@pytest.mark.parametrize(("number", "change", "options"), BREACHES.values(), ids=BREACHES.keys())
def test_a_plan_that_breaks_an_invariant_is_refused_with_the_facts(
    number: int, change: Callable[[Plan], Plan], options: dict[str, Any]
) -> None:
    with pytest.raises(InvariantBreachError, match=f"invariant {number}: .+") as found:
        checked(change, **options)
    assert number in {breach.invariant for breach in found.value.breaches}


def test_a_plan_as_a_pass_makes_it_is_carried_out() -> None:
    checked(lambda plan: plan)
