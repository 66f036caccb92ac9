"""What standbys cost, what was spent today, and what may be added. Invariant 3: a budget is never exceeded by decision.

What counts against the hour: pods bound to standbys, and waiting ones that may go there without anybody deciding
anything more. A terminating pod costs as long as it runs, and that is counted as spent; but it will not for an hour,
so that the pod made in its place does not have to wait for it. One that is terminating on a lost node costs nothing:
it may be seen so for days, while nothing runs there any more.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

import msgspec

from computepool.assess.supply import Supply
from computepool.assess.targets import Target
from computepool.model.api import Budget
from computepool.model.quantity import MILLI
from computepool.model.snapshot import Pod, Snapshot
from computepool.model.state import Spend

HOUR: Final = Decimal(3600)
NOTHING: Final = Decimal(0)
TELL_SECONDS: Final = 60.0
"""While anything is spent, so often it is said how much."""


class Purse(msgspec.Struct, frozen=True):
    """A pool's money at one moment, in the currency of its prices."""

    spend: Spend | None = None
    """None without a budget."""
    left: Decimal | None = None
    """How much more an hour may be added, below zero where there is too much already; None: without bound."""
    over: Decimal = NOTHING
    """How much less an hour would be within the budget again, of what runs on standbys and stays there."""
    look_again: float | None = None
    """When time alone may change any of it."""


def purse_of(snapshot: Snapshot, supplies: Sequence[Supply], before: Spend | None, now: float) -> Purse:
    """Reckon what was spent since `before`, and what the budget leaves."""
    budget = snapshot.pool.spec.budget
    if budget is None:
        return Purse()
    standbys = supplies[1:]
    rate = sum((_hourly(s.target, s.accelerators) for s in standbys), NOTHING)
    spend = accrued(before, rate, now)
    running = rate - sum((_hourly(s.target, s.ending) for s in standbys), NOTHING)
    coming = _coming(snapshot, [supply.target for supply in standbys])
    bounds = _bounds(budget, spend.spent)
    bound = min(bounds)
    return Purse(
        spend=spend,
        left=bound - running - coming,
        over=max(NOTHING, running - bound),
        look_again=_look_again(budget, spend, running, now),
    )


def cost_of(target: Target, pod: Pod, resource: str) -> Decimal:
    """Return what the pod costs in an hour on a provider: nothing on the primary."""
    return NOTHING if target.primary else _hourly(target, pod.shape.request(resource))


def accrued(before: Spend | None, rate: Decimal, now: float) -> Spend:
    """Return what is spent by now: what was before, and since then by the rate of then. `rate`: from now on.

    A clock that goes backwards adds nothing; at midnight (UTC) a new day begins.
    """
    today = _day_of(now)
    day = today.date().isoformat()
    if before is None:
        return Spend(day, NOTHING, now, rate)
    if day > before.day:
        return Spend(day, _cost(before.rate, now - max(today.timestamp(), before.at)), now, rate)
    return Spend(day, before.spent + _cost(before.rate, now - before.at), now, rate)


def _day_of(now: float) -> datetime:
    """Return the beginning of the day, in UTC."""
    return datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _cost(rate: Decimal, seconds: float) -> Decimal:
    return rate * Decimal(max(0.0, seconds)) / HOUR


def _hourly(target: Target, amount: int) -> Decimal:
    return NOTHING if target.price is None else target.price * amount / MILLI


def _bounds(budget: Budget, spent: Decimal) -> list[Decimal]:
    hour, day = budget.hourly(), budget.daily()
    # Of the day, what is left has to last for an hour at least.
    return [bound for bound in (hour, None if day is None else day - spent) if bound is not None]


def _coming(snapshot: Snapshot, standbys: Sequence[Target]) -> Decimal:
    """Return what pods that are not seen on a node yet will cost at most in an hour, wherever they may go."""
    resource = snapshot.pool.spec.accelerator.resource_name
    dearest = sorted((t for t in standbys if t.price), key=lambda t: t.price or NOTHING, reverse=True)
    cost = NOTHING
    for pod in (*snapshot.waiting, *snapshot.astray) if dearest else ():
        if pod.deleting is None:
            target = next((t for t in dearest if t.tolerated_by(pod.shape) or _flies_to(snapshot, pod, t)), None)
            cost += NOTHING if target is None else cost_of(target, pod, resource)
    return cost


def _flies_to(snapshot: Snapshot, pod: Pod, target: Target) -> bool:
    offer = snapshot.in_flight.get(pod.uid)
    return offer is not None and offer.provider == target.name


def _look_again(budget: Budget, spend: Spend, running: Decimal, now: float) -> float | None:
    """Return when the rest of the day no longer covers an hour, the next day begins, or what is told is out of date."""
    if not (spend.spent or spend.rate):
        return None
    times = [_day_of(now).timestamp() + 86_400]
    if spend.rate:
        times.append(now + TELL_SECONDS)
    day = budget.daily()
    rest = NOTHING if day is None else day - spend.spent - running
    if spend.rate and rest > 0:
        times.append(now + float(rest / spend.rate * HOUR))
    return min(times)
