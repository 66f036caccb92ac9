"""The status of a pool, from one pass. Values only; writing it is for `act`."""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

from computepool.assess.supply import Supply
from computepool.decide.plan import Admission
from computepool.model.api import (
    AcceleratorCounts,
    AdmissionMode,
    AdmissionStatus,
    Decision,
    Mode,
    Pending,
    PoolStatus,
    ProviderStatus,
    SelectorOperator,
    SelectorRequirement,
    TaintEffect,
    Toleration,
    TolerationOperator,
)
from computepool.model.quantity import MILLI, whole
from computepool.model.reasons import Reason
from computepool.report.conditions import conditions_of
from computepool.report.outcome import Outcome
from computepool.report.words import burst_message, in_mode

BURST, OPEN, CLOSE = "Burst", "OpenAdmission", "CloseAdmission"


def status_of(outcome: Outcome, before: PoolStatus, now: datetime) -> PoolStatus:
    """Return the pool's status after a pass; equal to `before` unless something that a reader cares about changed."""
    pool = outcome.snapshot.pool
    providers = tuple(_provider(supply) for supply in outcome.assessment.supplies)
    resource = pool.spec.accelerator.resource_name
    waiting = outcome.snapshot.waiting
    return PoolStatus(
        observed_generation=pool.metadata.generation,
        conditions=conditions_of(outcome, before.conditions, now),
        primary=providers[0].name,
        providers=providers,
        pending=Pending(pods=len(waiting), accelerators=whole(sum(p.shape.request(resource) for p in waiting))),
        burst_pods=sum(provider.burst_pods for provider in providers),
        cost_per_hour=money(cost for s in outcome.assessment.supplies if (cost := cost_per_hour(s)) is not None),
        admission=_admission(outcome.plan.admission) if not outcome.plan.frozen else before.admission,
        last_decision=_decision(outcome, before, now),
    )


def cost_per_hour(supply: Supply) -> Decimal | None:
    """Return what the pool's pods cost there in an hour, or None where no price is given."""
    price = supply.target.price
    return None if price is None else price * supply.accelerators / MILLI


def money(costs: Iterable[Decimal]) -> str | None:
    """Add up costs and write them with cents; None where there are none."""
    known = list(costs)
    return f"{sum(known, Decimal(0)):.2f}" if known else None


def _provider(supply: Supply) -> ProviderStatus:
    cost = cost_per_hour(supply)
    return ProviderStatus(
        name=supply.target.name,
        nodes=len(supply.nodes),
        accelerators=AcceleratorCounts(
            allocatable=whole(supply.allocatable),
            allocated=whole(supply.allocated),
            free=supply.free // MILLI,
            unhealthy=whole(supply.unhealthy),
        ),
        burst_pods=0 if supply.target.primary else supply.pods,
        cost_per_hour=None if cost is None else money([cost]),
    )


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


def _decision(outcome: Outcome, before: PoolStatus, now: datetime) -> Decision | None:
    """Return what was decided in this pass; where nothing was, what stands from before."""
    plan = outcome.plan
    if plan.bursts and not outcome.told:
        message = in_mode(outcome.snapshot.pool.spec.mode, burst_message(plan.bursts))
        return Decision(time=now, action=BURST, reason=plan.bursts[0].reason, message=message)
    if plan.frozen:
        return before.last_decision
    opened, was_open = bool(plan.admission.tolerations), bool(before.admission.tolerations)
    if opened != was_open:
        reason, message = _why_opened(outcome) if opened else _why_closed(outcome)
        return Decision(time=now, action=OPEN if opened else CLOSE, reason=reason, message=message)
    return before.last_decision


def _why_opened(outcome: Outcome) -> tuple[Reason, str]:
    reason = outcome.assessment.saturation.reason
    always = outcome.snapshot.pool.spec.admission.mode is AdmissionMode.ALWAYS
    why = "spec.admission.mode is Always." if always else reason.help
    return reason, f"New pods may use {outcome.plan.admission.provider} from their creation on. {why}"


def _why_closed(outcome: Outcome) -> tuple[Reason, str]:
    spec, saturation = outcome.snapshot.pool.spec, outcome.assessment.saturation
    if spec.mode is Mode.OBSERVE:
        return Reason.OBSERVING, Reason.OBSERVING.help
    if spec.admission.mode is AdmissionMode.OFF:
        return saturation.reason, "spec.admission.mode is Off."
    if outcome.snapshot.contested:
        return Reason.CLAIMED_BY_OLDER_POOL, Reason.CLAIMED_BY_OLDER_POOL.help
    if saturation.saturated or spec.admission.mode is AdmissionMode.ALWAYS:
        return Reason.NO_STANDBY_ROOM, "No standby provider that has no maxAccelerators can take another pod now."
    return saturation.reason, saturation.reason.help
