"""The status of a pool, from one pass. Values only; writing it is for `act`."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

from computepool.assess.capacity.supply import Supply
from computepool.decide.account.budget import hourly_cost
from computepool.decide.plan import Admission, Move
from computepool.model.accelerators import requested_by
from computepool.model.api import (
    AcceleratorCounts,
    AdmissionMode,
    AdmissionStatus,
    BreakerState,
    BreakerStatus,
    BudgetStatus,
    Decision,
    Mode,
    MovesInSecond,
    Pending,
    PoolStatus,
    ProviderStatus,
    SelectorOperator,
    SelectorRequirement,
    TaintEffect,
    Toleration,
    TolerationOperator,
)
from computepool.model.api.base import MAX_COUNT
from computepool.model.api.status import MAX_MONEY
from computepool.model.moves import MoveKind
from computepool.model.quantity import MILLI, whole
from computepool.model.reasons import Reason
from computepool.model.state import Breaker, Spend
from computepool.report.conditions import conditions_of
from computepool.report.moments import moment
from computepool.report.pass_report import PassReport
from computepool.report.words import burst_message, in_mode, move_message

BURST, OPEN, CLOSE = "Burst", "OpenAdmission", "CloseAdmission"


def status_of(outcome: PassReport, before: PoolStatus, now: datetime) -> PoolStatus:
    """Return the pool's status after a pass; equal to `before` unless something that a reader cares about changed."""
    pool = outcome.snapshot.pool
    providers = tuple(_provider(outcome, supply) for supply in outcome.assessment.supplies)
    cost = money(cost for s in outcome.assessment.supplies if (cost := cost_per_hour(s)) is not None)
    resource = pool.spec.accelerator.resource_name
    waiting = outcome.snapshot.waiting
    return PoolStatus(
        observed_generation=pool.metadata.generation,
        conditions=conditions_of(outcome, before.conditions, now),
        primary=providers[0].name,
        providers=providers,
        pending=Pending(pods=_count(len(waiting)), accelerators=_devices(requested_by(waiting, resource))),
        burst_pods=_count(sum(provider.burst_pods for provider in providers)),
        cost_per_hour=cost,
        admission=_admission(outcome.plan.admission) if not outcome.plan.frozen else before.admission,
        budget=_budget(outcome.state.recorded.spend),
        recent_moves=moves_by_second(outcome.state.recorded.recent_moves),
        last_decision=_decision(outcome, before, now),
    )


def cost_per_hour(supply: Supply) -> Decimal | None:
    """Return what the pool's pods cost there in an hour, or None where no price is given."""
    return None if supply.provider.price is None else hourly_cost(supply.provider, supply.accelerators)


def money(costs: Iterable[Decimal]) -> str | None:
    """Add up costs and write them with cents; None where there are none."""
    known = list(costs)
    return f"{min(sum(known, Decimal(0)), MAX_MONEY):.2f}" if known else None


def moves_by_second(moves: Iterable[tuple[float, MoveKind]]) -> tuple[MovesInSecond, ...]:
    """Return how many moves were made in which second, oldest first."""
    counts: dict[int, Counter[bool]] = {}
    for at, kind in moves:
        counts.setdefault(int(at), Counter())[kind is MoveKind.FAILBACK] += 1
    return tuple(
        MovesInSecond(time=moment(second), failover=_count(by_kind[False]), failback=_count(by_kind[True]))
        for second, by_kind in sorted(counts.items())
    )


def _provider(outcome: PassReport, supply: Supply) -> ProviderStatus:
    cost = cost_per_hour(supply)
    name = supply.provider.name
    health = outcome.assessment.health.providers.get(name)
    return ProviderStatus(
        name=name,
        nodes=_count(len(supply.nodes)),
        accelerators=AcceleratorCounts(
            allocatable=_devices(supply.allocatable),
            allocated=_devices(supply.allocated),
            free=_count(supply.free // MILLI),
            unhealthy=_devices(supply.unusable),
        ),
        burst_pods=0 if supply.provider.primary else _count(supply.pods),
        unhealthy_nodes=_count(len(health.unhealthy)) if health is not None else 0,
        breaker=_breaker(outcome.state.breaker(name)),
        cost_per_hour=None if cost is None else money([cost]),
    )


def _breaker(breaker: Breaker) -> BreakerStatus:
    return BreakerStatus(
        state=breaker.state,
        reason=str(breaker.reason or ""),
        since=moment(breaker.since) if breaker.since else None,
        retry_at=None if breaker.retry_at is None else moment(breaker.retry_at),
        failures=_count(breaker.failures),
        node=breaker.node,
    )


def _budget(spend: Spend | None) -> BudgetStatus | None:
    return None if spend is None else BudgetStatus(day=spend.day, spent=_exact(spend.spent), time=moment(spend.at))


def _exact(amount: Decimal) -> str:
    return f"{min(amount, MAX_MONEY):.6f}"


def _devices(milli: int) -> int:
    return _count(whole(milli))


def _count(number: int) -> int:
    """Return as much of a number as the status may hold: one pod may ask for any number of devices."""
    return min(max(number, 0), MAX_COUNT)


def _admission(admission: Admission) -> AdmissionStatus:
    return AdmissionStatus(
        tolerations=tuple(
            Toleration(
                key=t.key,
                operator=TolerationOperator(t.operator or "Equal"),
                value=t.value,
                effect=TaintEffect(t.effect) if t.effect else None,
            )
            for t in admission.tolerations
        ),
        preference=tuple(
            SelectorRequirement(key=r.key, operator=SelectorOperator(r.operator), values=r.values)
            for r in admission.preference
        ),
    )


def _decision(outcome: PassReport, before: PoolStatus, now: datetime) -> Decision | None:
    """Return what was decided in this pass; where nothing was, what stands from before."""
    plan = outcome.plan
    if plan.bursts and not outcome.told:
        message = in_mode(outcome.snapshot.pool.spec.mode, burst_message(plan.bursts))
        return Decision(time=now, action=BURST, reason=plan.bursts[0].reason, message=message)
    moves = () if outcome.moves_told else _news(outcome)
    if moves:
        message = in_mode(outcome.snapshot.pool.spec.mode, move_message(moves, "to be moved"))
        return Decision(time=now, action=str(moves[0].kind), reason=moves[0].reason, message=message)
    if plan.frozen:
        return before.last_decision
    given = _admission(plan.admission).tolerations
    if given != before.admission.tolerations:
        # Opened, moved from one standby to another, or closed.
        reason, message = _why_opened(outcome) if given else _why_closed(outcome)
        return Decision(time=now, action=OPEN if given else CLOSE, reason=reason, message=message)
    return before.last_decision


def _news(outcome: PassReport) -> tuple[Move, ...]:
    """Return the moves of this pass that are not just tried again: a disruption budget held those the last time."""
    held = {move.pod.uid for move in outcome.snapshot.moves if move.refused}
    return tuple(move for move in outcome.plan.moves if move.pod.uid not in held)


def _why_opened(outcome: PassReport) -> tuple[Reason, str]:
    reason = outcome.assessment.saturation.reason
    always = outcome.snapshot.pool.spec.admission.mode is AdmissionMode.ALWAYS
    why = "spec.admission.mode is Always." if always else reason.help
    return reason, f"New pods may use {outcome.plan.admission.provider} from their creation on. {why}"


def _why_closed(outcome: PassReport) -> tuple[Reason, str]:
    spec, saturation = outcome.snapshot.pool.spec, outcome.assessment.saturation
    if spec.mode is Mode.OBSERVE:
        return Reason.OBSERVING, Reason.OBSERVING.help
    if spec.admission.mode is AdmissionMode.OFF:
        return saturation.reason, "spec.admission.mode is Off."
    if outcome.snapshot.conflicts:
        return Reason.CLAIMED_BY_OLDER_POOL, Reason.CLAIMED_BY_OLDER_POOL.help
    if saturation.saturated or spec.admission.mode is AdmissionMode.ALWAYS:
        return _nobody_to_admit_to(outcome)
    return saturation.reason, saturation.reason.help


def _nobody_to_admit_to(outcome: PassReport) -> tuple[Reason, str]:
    if outcome.plan.exhausted:
        return Reason.BUDGET_EXHAUSTED, Reason.BUDGET_EXHAUSTED.help
    if outcome.snapshot.pool.spec.budget is not None:
        return Reason.WITHIN_BUDGET, "The pool has a budget, and at admission nobody counts."
    standbys = [provider.name for provider in outcome.snapshot.pool.spec.standbys]
    tried = [name for name in standbys if outcome.state.breaker(name).state is BreakerState.HALF_OPEN]
    if not tried:
        return Reason.NO_STANDBY_ROOM, "No standby provider that has no maxAccelerators can take another pod now."
    return Reason.CANARY_UNDER_WAY, f"{tried[0]} is on trial: the next pod that overflows is its first."
