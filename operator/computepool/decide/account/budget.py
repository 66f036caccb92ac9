"""What standbys cost, what was spent today, and what may be added. Invariant 3: a budget is never exceeded by decision.

What counts against the hour: pods bound to standbys, and waiting pods that may go there without any further decision.
A terminating pod costs as long as it runs, and that is counted as spent. It does not count against the hour, so that
the pod made in its place does not have to wait for it. A pod that terminates on a lost node costs nothing: it may be
seen so for days, while nothing runs there any more.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

import msgspec

from computepool.assess.capacity.providers import Provider
from computepool.decide.context import Context
from computepool.model.accelerators import request_of
from computepool.model.api import Budget
from computepool.model.api.status import MAX_MONEY
from computepool.model.cluster import Pod
from computepool.model.quantity import MILLI
from computepool.model.state import Spend, in_cents

HOUR: Final = Decimal(3600)
NOTHING: Final = Decimal(0)
RECORD_SECONDS: Final = 60.0
"""How often the recorded spend is brought up to date while it grows. What a status shows must not tick."""
_MICROS: Final = Decimal("0.000001")


class BudgetAccount(msgspec.Struct, frozen=True):
    """A pool's money at one moment, in the currency of its prices."""

    spend: Spend | None = None
    """What is recorded from now on; None without a budget."""
    rate: Decimal | None = None
    """What the pool's pods on standbys cost in an hour from now on."""
    remaining: Decimal | None = None
    """How much more an hour may be added, below zero where there is too much already; None: without bound."""
    excess: Decimal = NOTHING
    """Hourly cost above the budget, counting pods on standbys that are not terminating."""
    recheck_at: float | None = None
    """When time alone may change any of it."""


def budget_account(context: Context) -> BudgetAccount:
    """Return what was spent since the state before, and what the budget leaves."""
    budget = context.spec.budget
    if budget is None:
        return BudgetAccount()
    standbys = context.assessment.supplies[1:]
    costs = [hourly_cost(supply.provider, supply.accelerators) for supply in standbys]
    rate = sum(costs, NOTHING)
    exact = recorded_spend(_spend_before(context), rate, context.now)
    spent = accrued(exact, rate, context.now).spent
    running = rate - sum((hourly_cost(s.provider, s.ending) for s in standbys), NOTHING)
    bound = min(_bounds(budget, spent))
    return BudgetAccount(
        spend=msgspec.structs.replace(exact, rate=sum(map(in_cents, costs), NOTHING)),
        rate=rate,
        remaining=bound - running - _expected(context),
        excess=max(NOTHING, running - bound),
        recheck_at=_recheck_at(budget, exact, spent, running, context.now),
    )


def _spend_before(context: Context) -> Spend | None:
    """Return the recorded spend, with the rate as exact as it is known."""
    spend, rate = context.state.recorded.spend, context.state.memory.rate
    return spend if spend is None or rate is None else msgspec.structs.replace(spend, rate=rate)


def cost_of(target: Provider, pod: Pod, resource: str) -> Decimal:
    """Return what the pod costs in an hour on a provider: nothing on the primary."""
    return NOTHING if target.primary else hourly_cost(target, request_of(pod, resource))


def hourly_cost(target: Provider, amount: int) -> Decimal:
    """Return what so many thousandths of an accelerator cost in an hour; nothing where no price is given."""
    return NOTHING if target.price is None else target.price * amount / MILLI


def recorded_spend(before: Spend | None, rate: Decimal, now: float) -> Spend:
    """Return the spend to record: the one before as long as it tells the truth, else what is spent by now.

    `rate`: what the pool's pods on standbys cost in an hour from now on.
    """
    current = accrued(before, rate, now)
    if before is None or before.day != current.day or before.rate != rate or now < before.at:
        return current
    due = before.rate > 0 and now >= before.at + RECORD_SECONDS
    return current if due else before


def accrued(before: Spend | None, rate: Decimal, now: float) -> Spend:
    """Return what is spent by now: what was spent before, and since then by the rate of then. `rate`: from now on.

    A clock that goes backwards adds nothing; at midnight (UTC) a new day begins.
    """
    today = _day_of(now)
    day = today.date().isoformat()
    if before is None:
        return Spend(day, NOTHING, now, rate)
    if day > before.day:
        spent = _cost(before.rate, now - max(today.timestamp(), before.at))
    else:
        spent = before.spent + _cost(before.rate, now - before.at)
    return Spend(day, min(spent, MAX_MONEY).quantize(_MICROS), now, rate)


def _day_of(now: float) -> datetime:
    """Return the beginning of the day, in UTC."""
    return datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _cost(rate: Decimal, seconds: float) -> Decimal:
    return rate * Decimal(max(0.0, seconds)) / HOUR


def _bounds(budget: Budget, spent: Decimal) -> list[Decimal]:
    hour, day = budget.hourly(), budget.daily()
    # The rest of the day's budget has to cover one hour at least.
    return [bound for bound in (hour, None if day is None else day - spent) if bound is not None]


def _expected(context: Context) -> Decimal:
    """Return what pods that are not seen on a node yet will cost at most in an hour, wherever they may go."""
    dearest = sorted((t for t in context.standbys if t.price), key=lambda t: t.price or NOTHING, reverse=True)
    pods: Iterable[Pod] = (*context.snapshot.waiting, *context.snapshot.on_unknown_nodes) if dearest else ()
    cost = NOTHING
    for pod in pods:
        if pod.deleting is None:
            target = next((t for t in dearest if context.may_land_on(pod, t)), None)
            cost += NOTHING if target is None else cost_of(target, pod, context.resource)
    return cost


def _recheck_at(budget: Budget, spend: Spend, spent: Decimal, running: Decimal, now: float) -> float | None:
    """Return when the rest of the day no longer covers an hour, the next day begins, or the record is out of date."""
    if not (spent or spend.rate):
        return None
    times = [_day_of(now).timestamp() + 86_400]
    if spend.rate:
        times.append(spend.at + RECORD_SECONDS)
    day = budget.daily()
    rest = NOTHING if day is None else day - spent - running
    if spend.rate and rest > 0:
        times.append(now + float(rest / spend.rate * HOUR))
    return min(times)
