"""What has to hold of every decision, checked after it was made, in production too.

A breach is a defect of the operator. The pass then fails as a whole: nothing of the plan is carried out, and the breach
is logged with its facts and counted. Invariants have the numbers of ARCHITECTURE.md. The check looks at the outcome
alone, and counts again from the snapshot and the assessment what the decision has counted in its account.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Final

import msgspec

from computepool.assess.capacity.providers import Provider
from computepool.decide.account.budget import NOTHING, BudgetAccount, cost_of
from computepool.decide.context import Context
from computepool.decide.move.pending import FORCED, HOMEWARD
from computepool.decide.plan import Burst, Move, Plan
from computepool.model.accelerators import request_of, requested_by
from computepool.model.api import AdmissionMode, BreakerState, Mode
from computepool.model.cluster import Pod
from computepool.model.moves import MoveKind


class Breach(msgspec.Struct, frozen=True):
    """One invariant that a decision does not keep."""

    invariant: int
    """Its number in ARCHITECTURE.md."""
    facts: str
    """What was decided, and what it contradicts."""


class InvariantBreachError(Exception):
    """A decision that must not be carried out."""

    def __init__(self, breaches: tuple[Breach, ...]) -> None:
        """`breaches`: at least one."""
        super().__init__("; ".join(f"invariant {one.invariant}: {one.facts}" for one in breaches))
        self.breaches = breaches


def check_invariants(context: Context, budget: BudgetAccount, plan: Plan) -> None:
    """Raise InvariantBreachError where the plan breaks an invariant. `budget`: as the account was opened."""
    checked = _Checked(context, budget, plan)
    breaches = tuple(breach for check in _CHECKS for breach in check(checked))
    if breaches:
        raise InvariantBreachError(breaches)


class _Checked:
    """A plan, with sums that several checks need."""

    def __init__(self, context: Context, budget: BudgetAccount, plan: Plan) -> None:
        self.context = context
        self.budget = budget
        self.plan = plan
        self.targets = {target.name: target for target in (context.primary, *context.standbys)}
        self.new: Counter[str] = Counter()
        """By provider: thousandths of the accelerator that bursts and moves take there."""
        self.arrivals: Counter[str] = Counter()
        """By provider: how many pods go there."""
        for decided, provider in self.decided():
            self.new[provider] += request_of(decided.pod, context.resource)
            self.arrivals[provider] += 1

    def decided(self) -> Iterable[tuple[Burst | Move, str]]:
        """Yield every burst and every move, and the provider it goes to."""
        yield from ((burst, burst.provider) for burst in self.plan.bursts)
        yield from ((move, move.target) for move in self.plan.moves)

    def hands_over(self, move: Move) -> bool:
        """Say whether the moved pod leaves its devices at the provider to its replacement there."""
        return move.source == move.target and move.pod.node not in self.context.lost_nodes


def _preferred_first(checked: _Checked) -> Iterable[Breach]:
    """Invariant 1: every preferred provider was asked, and has rejected the pod, before a pod is burst."""
    primary, standbys = checked.context.primary.name, [target.name for target in checked.context.standbys]
    before = {name: [primary, *standbys[:index]] for index, name in enumerate(standbys)}
    for burst in checked.plan.bursts:
        if [name for name, _ in burst.rejected] != before.get(burst.provider):
            yield Breach(1, f"{_name(burst.pod)} is burst to {burst.provider}, but rejected were {burst.rejected}")


def _only_what_fits(checked: _Checked) -> Iterable[Breach]:
    """Invariant 2 (and 5): pods that go to a provider request no more than what is free there."""
    for name, amount in checked.new.items():
        supply = checked.context.assessment.supply(name)
        free = 0 if supply is None else supply.free
        if name not in checked.targets or (not checked.targets[name].kind.before_room and amount > free):
            yield Breach(2, f"pods that request {amount} thousandths go to {name}, where {free} are free")


def _trusted_only(checked: _Checked) -> Iterable[Breach]:
    """Invariant 2: no pod goes to a provider whose breaker is open, and a single one to a half-open provider."""
    for name, pods in checked.arrivals.items():
        supply = checked.context.assessment.supply(name)
        if supply is None or supply.breaker.state is BreakerState.OPEN:
            yield Breach(2, f"{pods} pods go to {name}, which is not used")
        elif supply.breaker.state is BreakerState.HALF_OPEN and pods > 1:
            yield Breach(2, f"{pods} pods go to {name}, which is tried with a single pod")


def _within_limits(checked: _Checked) -> Iterable[Breach]:
    """Invariant 3: maxAccelerators is not exceeded by what is added."""
    context = checked.context
    for target in context.standbys:
        added = checked.new[target.name] - requested_by(
            (move.pod for move in checked.plan.moves if move.target == target.name and checked.hands_over(move)),
            context.resource,
        )
        if target.limit is not None and added > 0 and added > _allowance(context, target):
            yield Breach(3, f"{added} thousandths are added to {target.name} beyond capacity.maxAccelerators")


def _within_budget(checked: _Checked) -> Iterable[Breach]:
    """Invariant 3: the budget is not exceeded by what is added."""
    costs = [_cost(checked, decided, provider) for decided, provider in checked.decided() if checked.budget.spend]
    remaining = checked.budget.remaining
    if remaining is not None and any(cost > 0 for cost in costs) and sum(costs, NOTHING) > remaining:
        yield Breach(3, f"{sum(costs, NOTHING)} an hour is added, and the budget leaves {remaining}")


def _counted_admission(checked: _Checked) -> Iterable[Breach]:
    """Invariant 3: admission lists no provider where anything has to be counted, and none that is not used."""
    context, admitted = checked.context, checked.plan.admission.provider
    if not admitted:
        return
    target, supply = checked.targets.get(admitted), context.assessment.supply(admitted)
    bounded = target is None or target.primary or target.limit is not None or context.spec.budget is not None
    if bounded or supply is None or not supply.breaker.closed:
        yield Breach(3, f"admission lists {admitted}, which may take only counted pods, or none")
    opened = context.assessment.saturation.saturated is True or context.spec.admission.mode is AdmissionMode.ALWAYS
    if not opened or context.spec.mode is Mode.OBSERVE:
        yield Breach(4, f"admission lists {admitted} although the primary is not known to be saturated")


def _held_back(checked: _Checked) -> Iterable[Breach]:
    """Invariant 4: where too much has failed at once, no pod is moved and no node quarantined."""
    plan = checked.plan
    if plan.held_back and (plan.moves or plan.quarantine is not None):
        yield Breach(4, f"{len(plan.moves)} pods are moved, or nodes quarantined, although {plan.held_back}")


def _reason_to_leave(checked: _Checked) -> Iterable[Breach]:
    """Invariants 4 and 5: a pod leaves only what is known to fail, and comes home only to what is known to be free."""
    context = checked.context
    for move in checked.plan.moves:
        source = context.assessment.supply(move.source)
        unhealthy = source is not None and move.pod.node in source.unhealthy
        match move.kind:
            case MoveKind.FAILOVER if not unhealthy and (source is None or source.breaker.closed):
                yield Breach(4, f"{_name(move.pod)} leaves node {move.pod.node}, and neither it nor its provider fails")
            case MoveKind.FAILBACK if move.target != context.primary.name or not _is_home_free(context):
                yield Breach(4, f"{_name(move.pod)} comes home to {move.target}, which is not known to be free")


def _few_moves(checked: _Checked) -> Iterable[Breach]:
    """Invariant 6: one pass begins no more moves than may be under way at once."""
    spec = checked.context.spec
    for kinds, most in ((FORCED, spec.failover.max_concurrent_moves), (HOMEWARD, spec.failback.max_concurrent_moves)):
        count = sum(1 for move in checked.plan.moves if move.kind in kinds)
        if count > most:
            yield Breach(6, f"{count} moves begin, and maxConcurrentMoves is {most}")


def _each_pod_once(checked: _Checked) -> Iterable[Breach]:
    """Invariant 8: a pod is decided about once, and never while it ends or another decision about it is under way."""
    plan, snapshot = checked.plan, checked.context.snapshot
    seen: set[str] = set()
    for decided, _ in checked.decided():
        pod = decided.pod
        if pod.uid in seen or pod.deleting is not None or pod.uid in snapshot.in_flight:
            yield Breach(8, f"{_name(pod)} is decided about twice, or while it ends")
        seen.add(pod.uid)
    if any(burst.pod.node or burst.pod.gated for burst in plan.bursts) or any(not move.pod.node for move in plan.moves):
        yield Breach(8, "a bound or gated pod is burst, or a pending pod is moved")


def _own_only(checked: _Checked) -> Iterable[Breach]:
    """Invariant 9: only nodes of the pool's providers are quarantined."""
    quarantine = checked.plan.quarantine
    if quarantine:
        own = {info.node.name for info in checked.context.snapshot.nodes}
        if not own.issuperset(quarantine):
            yield Breach(9, f"nodes of no provider are quarantined: {sorted(quarantine.keys() - own)}")


_CHECKS: Final[tuple[Callable[[_Checked], Iterable[Breach]], ...]] = (
    _preferred_first,
    _only_what_fits,
    _trusted_only,
    _within_limits,
    _within_budget,
    _counted_admission,
    _held_back,
    _reason_to_leave,
    _few_moves,
    _each_pod_once,
    _own_only,
)


def _allowance(context: Context, target: Provider) -> int:
    supply = context.assessment.supply(target.name)
    pods = (*context.snapshot.waiting, *context.snapshot.on_unknown_nodes)
    expected = requested_by((pod for pod in pods if context.may_land_on(pod, target)), context.resource)
    return (target.limit or 0) - (supply.held if supply is not None else 0) - expected


def _cost(checked: _Checked, decided: Burst | Move, provider: str) -> Decimal:
    resource = checked.context.resource
    cost = cost_of(checked.targets[provider], decided.pod, resource)
    if isinstance(decided, Move) and decided.source in checked.targets:
        cost -= cost_of(checked.targets[decided.source], decided.pod, resource)
    return cost


def _is_home_free(context: Context) -> bool:
    # A half-open primary counts as saturated, and takes one pod to be tried with.
    half_open = context.assessment.primary.breaker.state is BreakerState.HALF_OPEN
    return half_open or context.assessment.saturation.saturated is False


def _name(pod: Pod) -> str:
    return f"pod {pod.namespace}/{pod.name}"
