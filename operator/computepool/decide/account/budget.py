"""The cost of standbys, the spend of the day, and the rest of the budget. Invariant 3: no decision exceeds a budget.

Pods bound to standbys count against the hour, and so do waiting pods that may go there without a further decision. A
terminating pod adds to the spend while it runs. It does not count against the hour, so that the pod in its place need
not wait. A pod that terminates on a lost node costs nothing: the API may show it for days after it has ended.
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
"""Time between updates of the recorded spend while it grows. Each update is a write of the status."""
_MICROS: Final = Decimal("0.000001")


class BudgetAccount(msgspec.Struct, frozen=True):
    """A pool's money at one moment, in the currency of its prices."""

    spend: Spend | None = None
    """The spend to record; None without a budget."""
    rate: Decimal | None = None
    """Hourly cost of the pool's pods on standbys from now on."""
    remaining: Decimal | None = None
    """Hourly cost that may be added; negative if the budget is exceeded already; None without a bound."""
    excess: Decimal = NOTHING
    """Hourly cost above the budget, counting pods on standbys that are not terminating."""
    recheck_at: float | None = None
    """Next time at which the account may change although the cluster does not."""


def budget_account(context: Context) -> BudgetAccount:
    """Return the spend up to now, and the rest of the budget."""
    budget = context.spec.budget
    if budget is None:
        return BudgetAccount()
    standbys = context.assessment.supplies[1:]
    costs = [hourly_cost(supply.provider, supply.accelerators) for supply in standbys]
    rate = sum(costs, NOTHING)
    exact = recorded_spend(_spend_before(context), rate, context.now)
    spent = accrued(exact, rate, context.now).spent
    running = rate - sum((hourly_cost(supply.provider, supply.ending) for supply in standbys), NOTHING)
    bound = hourly_bound(budget, spent)
    return BudgetAccount(
        spend=msgspec.structs.replace(exact, rate=sum(map(in_cents, costs), NOTHING)),
        rate=rate,
        remaining=bound - running - _expected(context),
        excess=max(NOTHING, running - bound),
        recheck_at=_recheck_at(budget, exact, spent, running, context.now),
    )


def _spend_before(context: Context) -> Spend | None:
    """Return the recorded spend, with the exact rate if the memory has it: the record is rounded to cents."""
    spend, rate = context.state.recorded.spend, context.state.memory.rate
    return spend if spend is None or rate is None else msgspec.structs.replace(spend, rate=rate)


def cost_of(provider: Provider, pod: Pod, resource: str) -> Decimal:
    """Return the pod's hourly cost on a provider; zero on the primary."""
    return NOTHING if provider.primary else hourly_cost(provider, request_of(pod, resource))


def hourly_cost(provider: Provider, amount: int) -> Decimal:
    """Return the hourly cost of `amount` thousandths of an accelerator; zero if the provider has no price."""
    return NOTHING if provider.price is None else provider.price * amount / MILLI


def recorded_spend(before: Spend | None, rate: Decimal, now: float) -> Spend:
    """Return the spend to record: `before` while it is still right, else the spend up to now.

    `rate`: hourly cost of the pool's pods on standbys from now on.
    """
    current = accrued(before, rate, now)
    if before is None or before.day != current.day or before.rate != rate or now < before.at:
        return current
    due = before.rate > 0 and now >= before.at + RECORD_SECONDS
    return current if due else before


def accrued(before: Spend | None, rate: Decimal, now: float) -> Spend:
    """Return the spend up to now: the spend before plus the time since then at the rate before.

    `rate`: hourly cost from now on. A clock that goes backwards adds nothing. A day begins at midnight, UTC.
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


def hourly_bound(budget: Budget, spent: Decimal) -> Decimal:
    """Return the highest hourly cost that the budget allows. `spent`: on this day."""
    hour, day = budget.hourly(), budget.daily()
    # The rest of the day's budget must cover at least one hour.
    return min([bound for bound in (hour, None if day is None else day - spent) if bound is not None])


def _expected(context: Context) -> Decimal:
    """Return the highest hourly cost of the pods that are not seen on a node yet and may go to standbys."""
    dearest = sorted(
        (standby for standby in context.standbys if standby.price),
        key=lambda standby: standby.price or NOTHING,
        reverse=True,
    )
    pods: Iterable[Pod] = (*context.snapshot.waiting, *context.snapshot.on_unknown_nodes) if dearest else ()
    cost = NOTHING
    for pod in pods:
        if pod.deleting is None:
            provider = next((standby for standby in dearest if context.may_land_on(pod, standby)), None)
            cost += NOTHING if provider is None else cost_of(provider, pod, context.resource)
    return cost


def _recheck_at(budget: Budget, spend: Spend, spent: Decimal, running: Decimal, now: float) -> float | None:
    """Return when the rest of the day stops covering an hour, the day ends or the record needs an update."""
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
