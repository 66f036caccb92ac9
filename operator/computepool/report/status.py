"""The status of a pool, from one pass. Values only; writing it is for `act`."""

from collections import Counter
from collections.abc import Iterable, Mapping
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
    ComputePool,
    Decision,
    DrillStatus,
    HoldOffStatus,
    Mode,
    MovesInSecond,
    Pending,
    PoolStatus,
    ProviderStatus,
    SchedulingGate,
    SelectorRequirement,
    TolerationSpec,
    UnsettledOwner,
)
from computepool.model.api.base import MAX_COUNT
from computepool.model.api.status import MAX_GATE_NAME, MAX_HOLD_OFFS, MAX_MONEY
from computepool.model.cluster import Pod
from computepool.model.moves import MoveKind
from computepool.model.quantity import MILLI, whole
from computepool.model.reasons import Reason
from computepool.model.scheduling_gates import MAX_GATES
from computepool.model.state import Breaker, DrillRecord, HoldOff, Spend, UnsettledMove
from computepool.report.conditions import conditions_of, failed_conditions, saturation_message, unseen_conditions
from computepool.report.forecast import opened_by_forecast, status_of_forecast
from computepool.report.formatting import moment
from computepool.report.pass_report import PassReport
from computepool.report.sentences import burst_tally, held_admission, wish_tally
from computepool.report.signals import signals_told, status_of_signals

BURST, OPEN, CLOSE, HOLD = "Burst", "OpenAdmission", "CloseAdmission", "HoldAdmission"


def status_of(report: PassReport, before: PoolStatus, now: datetime) -> PoolStatus:
    """Return the pool's status after a pass; equal to `before` unless something that a reader cares about changed."""
    pool = report.snapshot.pool
    supplies = report.assessment.supplies
    providers = tuple(_provider(report, supply) for supply in supplies)
    resource = pool.spec.accelerator.resource_name
    pending = report.pending
    return PoolStatus(
        observed_generation=pool.metadata.generation,
        conditions=conditions_of(report, before.conditions, now),
        primary=providers[0].name,
        providers=providers,
        pending=Pending(
            pods=_count(len(pending)),
            accelerators=_devices(requested_by(pending, resource)),
            gated=_count(report.gated),
        ),
        scheduling_gates=_gates(report.snapshot.waiting),
        burst_pods=_count(sum(provider.burst_pods for provider in providers)),
        cost_per_hour=_money(cost_per_hour(supply) for supply in supplies),
        admission=_admission(report.plan.admission) if not report.plan.frozen else before.admission,
        budget=_budget(report.state.recorded.spend),
        recent_moves=moves_by_second(report.state.recorded.recent_moves),
        unsettled_moves=_unsettled(report.state.recorded.unsettled),
        hold_offs=tuple(map(_hold_off, report.state.recorded.hold_offs[:MAX_HOLD_OFFS])),
        signals=before.signals if report.plan.frozen else status_of_signals(signals_told(report), before.signals),
        forecast=status_of_forecast(report, before.forecast),
        last_decision=_decision(report, before, now),
    )


def failed_status(pool: ComputePool, error: Exception, before: PoolStatus, now: datetime) -> PoolStatus:
    """Return the pool's status after a pass that failed: its conditions say so, and everything else stays."""
    conditions = failed_conditions(error, pool.metadata.generation, before.conditions, now)
    return before.model_copy(update={"conditions": conditions})


def unseen_status(pool: ComputePool, why: str, before: PoolStatus, now: datetime, *, denied: bool) -> PoolStatus:
    """Return the pool's status while nothing of the cluster was seen: its conditions say so, and everything else stays.

    `why`: what is missing, and what to do; `denied`: the API server denies it to the operator.
    """
    conditions = unseen_conditions(why, pool.metadata.generation, before.conditions, now, denied=denied)
    return before.model_copy(update={"conditions": conditions})


def cost_per_hour(supply: Supply) -> Decimal | None:
    """Return the hourly cost of the pool's pods there; None where no price is given."""
    return None if supply.provider.price is None else hourly_cost(supply.provider, supply.accelerators)


def moves_by_second(moves: Iterable[tuple[float, MoveKind]]) -> tuple[MovesInSecond, ...]:
    """Count the moves of each second, oldest first. Times are seconds since the epoch."""
    counts: dict[int, Counter[bool]] = {}
    for at, kind in moves:
        counts.setdefault(int(at), Counter())[kind is MoveKind.FAILBACK] += 1
    return tuple(
        MovesInSecond(time=moment(second), failover=_count(by_kind[False]), failback=_count(by_kind[True]))
        for second, by_kind in sorted(counts.items())
    )


def _money(costs: Iterable[Decimal | None]) -> str | None:
    """Return the sum of the known costs, written with cents; None without any."""
    known = [cost for cost in costs if cost is not None]
    return f"{min(sum(known, Decimal(0)), MAX_MONEY):.2f}" if known else None


def _provider(report: PassReport, supply: Supply) -> ProviderStatus:
    name = supply.provider.name
    health = report.assessment.health.providers.get(name)
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
        breaker=_breaker(report.state.breaker(name)),
        drill=_drill(report.state.recorded.drills.get(name)),
        cost_per_hour=_money([cost_per_hour(supply)]),
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


def _drill(drill: DrillRecord | None) -> DrillStatus | None:
    return None if drill is None else DrillStatus(since=moment(drill.since), stopped=drill.stopped)


def _hold_off(held: HoldOff) -> HoldOffStatus:
    return HoldOffStatus(
        provider=held.provider,
        reason=held.reason,
        subject=held.subject,
        since=moment(held.since),
        until=moment(held.until),
        failures=_count(held.failures),
        running=_count(held.running),
        unused_place=held.unused_place,
    )


def _gates(pods: Iterable[Pod]) -> tuple[SchedulingGate, ...]:
    """Return the gates that hold most pods back, in alphabetical order."""
    counts = Counter(gate for pod in pods if pod.gates for gate in pod.gates if 0 < len(gate) <= MAX_GATE_NAME)
    most = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))[:MAX_GATES]
    return tuple(SchedulingGate(name=name, pods=_count(pods)) for name, pods in sorted(most))


def _budget(spend: Spend | None) -> BudgetStatus | None:
    if spend is None:
        return None
    return BudgetStatus(day=spend.day, spent=f"{min(spend.spent, MAX_MONEY):.6f}", time=moment(spend.at))


def _unsettled(unsettled: Mapping[str, UnsettledMove]) -> tuple[UnsettledOwner, ...]:
    return tuple(
        UnsettledOwner(owner=owner, times=_count(move.times), time=moment(move.at), pods=_count(move.pods))
        for owner, move in sorted(unsettled.items())
    )


def _devices(milli: int) -> int:
    return _count(whole(milli))


def _count(number: int) -> int:
    """Keep a number within what the status may hold: one pod may request any number of devices."""
    return min(max(number, 0), MAX_COUNT)


def _admission(admission: Admission) -> AdmissionStatus:
    return AdmissionStatus(
        tolerations=tuple(map(TolerationSpec.from_compiled, admission.tolerations)),
        preference=tuple(map(SelectorRequirement.from_compiled, admission.preference)),
        held_by=admission.held_by,
        message=held_admission(admission)[1] if admission.held_by else "",
    )


def _decision(report: PassReport, before: PoolStatus, now: datetime) -> Decision | None:
    """Return the decision of this pass; without one, the decision before it."""
    plan, mode = report.plan, report.snapshot.pool.spec.mode
    if plan.bursts and not report.announced_bursts:
        message = str(burst_tally(plan.bursts, mode))
        return Decision(time=now, action=BURST, reason=plan.bursts[0].reason, message=message)
    moves = () if report.announced_moves else _new_moves(report)
    if moves:
        message = str(wish_tally(moves, mode))
        return Decision(time=now, action=str(moves[0].kind), reason=moves[0].reason, message=message)
    if plan.frozen:
        return before.last_decision
    admission = _admission(plan.admission)
    if admission.tolerations != before.admission.tolerations:
        # Opened, moved from one standby to another, or closed.
        given = admission.tolerations
        reason, message = _why_opened(report) if given else _why_closed(report)
        return Decision(time=now, action=OPEN if given else CLOSE, reason=reason, message=message)
    if admission.message and admission.message != before.admission.message:
        reason, message = held_admission(plan.admission)
        return Decision(time=now, action=HOLD, reason=reason, message=message)
    return before.last_decision


def _new_moves(report: PassReport) -> tuple[Move, ...]:
    """Return the moves of this pass that do not just repeat an attempt that a disruption budget has refused."""
    refused = {move.pod.uid for move in report.snapshot.moves if move.refused}
    return tuple(move for move in report.plan.moves if move.pod.uid not in refused)


def _why_opened(report: PassReport) -> tuple[Reason, str]:
    reason = Reason.FORECAST_FULL if opened_by_forecast(report) else report.assessment.saturation.reason
    always = report.snapshot.pool.spec.admission.mode is AdmissionMode.ALWAYS
    why = "spec.admission.mode is Always." if always else reason.help
    return reason, f"New pods may use {report.plan.admission.provider} from their creation on. {why}"


def _why_closed(report: PassReport) -> tuple[Reason, str]:
    spec, saturation = report.snapshot.pool.spec, report.assessment.saturation
    if spec.mode is Mode.OBSERVE:
        return Reason.OBSERVING, Reason.OBSERVING.help
    if spec.admission.mode is AdmissionMode.OFF:
        return saturation.reason, "spec.admission.mode is Off."
    if report.snapshot.conflicts:
        return Reason.CLAIMED_BY_OLDER_POOL, Reason.CLAIMED_BY_OLDER_POOL.help
    if saturation.saturated or spec.admission.mode is AdmissionMode.ALWAYS:
        return _why_none_admits(report)
    return saturation.reason, saturation_message(report)


def _why_none_admits(report: PassReport) -> tuple[Reason, str]:
    if report.plan.admission.held_by:
        return held_admission(report.plan.admission)
    if report.plan.exhausted:
        return Reason.BUDGET_EXHAUSTED, Reason.BUDGET_EXHAUSTED.help
    if report.snapshot.pool.spec.budget is not None:
        return Reason.WITHIN_BUDGET, "The pool has a budget, and nothing is counted at admission."
    standbys = [provider.name for provider in report.snapshot.pool.spec.standbys]
    half_open = [name for name in standbys if report.state.breaker(name).state is BreakerState.HALF_OPEN]
    if not half_open:
        return Reason.NO_STANDBY_ROOM, "No standby provider that has no maxAccelerators can take another pod now."
    return Reason.CANARY_UNDER_WAY, f"{half_open[0]} is on trial: the next pod that overflows is its first."
