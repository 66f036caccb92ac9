"""The budget: how much money may be spent on standby providers."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from computepool.model.api.base import DECIMAL, ApiModel, fits, rule

Amount = Annotated[str, Field(max_length=16)]


class OnExhausted(StrEnum):
    """What happens to pods on standbys when the budget is spent."""

    HOLD = "Hold"
    RETURN = "Return"


class Budget(ApiModel):
    """How much the pool may spend on standby providers, at their pricePerAcceleratorHour.

    The budget is checked before a pod is sent to a standby, and before a running pod is moved to a provider where it
    costs more. So the budget limits failover too: if the primary fails, pods that the budget does not cover wait, or
    stay where they are.
    """

    per_hour: Amount | None = None
    """Limit for the hourly cost of the pool's pods on standbys, as a decimal in quotes, such as "200"."""
    per_day: Amount | None = None
    """Limit for the money spent on standbys in a day (UTC). A pod is sent to a standby only if the rest of the day's
    budget covers one hour of that pod and of all the pool's pods on standbys."""
    on_exhausted: OnExhausted = OnExhausted.HOLD
    """Hold: no more pods are sent to standbys; pods that run there keep running, and keep costing money. Return: these
    pods are also brought home where the primary has room. The limits of `failback` apply, its policy and window do
    not."""

    @rule(
        cel="has(self.perHour) || has(self.perDay)",
        message="a budget without an amount limits nothing: give perHour or perDay, or remove the budget",
    )
    def _bounds_something(self) -> bool:
        return self.per_hour is not None or self.per_day is not None

    @rule(
        field="perHour",
        cel=f"!has(self.perHour) || self.perHour.matches(r'{DECIMAL}')",
        message='an amount is a decimal with at most six digits on either side of the point, such as "200": remove '
        "signs, currency symbols, exponents and separators",
        shows="self.perHour",
    )
    def _hour_is_decimal(self) -> bool:
        return self.per_hour is None or fits(DECIMAL, self.per_hour)

    @rule(
        field="perDay",
        cel=f"!has(self.perDay) || self.perDay.matches(r'{DECIMAL}')",
        message='an amount is a decimal with at most six digits on either side of the point, such as "2000": remove '
        "signs, currency symbols, exponents and separators",
        shows="self.perDay",
    )
    def _day_is_decimal(self) -> bool:
        return self.per_day is None or fits(DECIMAL, self.per_day)

    def hourly(self) -> Decimal | None:
        """Return the limit for an hour; None without a limit."""
        return None if self.per_hour is None else Decimal(self.per_hour)

    def daily(self) -> Decimal | None:
        """Return the limit for a day; None without a limit."""
        return None if self.per_day is None else Decimal(self.per_day)
