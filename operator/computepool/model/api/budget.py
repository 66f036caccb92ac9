"""What may be spent on standby providers."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from computepool.model.api.base import DECIMAL, ApiModel, fits, rule

Amount = Annotated[str, Field(max_length=16)]


class OnExhausted(StrEnum):
    """What becomes of pods that run on standbys when the budget is spent."""

    HOLD = "Hold"
    RETURN = "Return"


class Budget(ApiModel):
    """What the pool may spend on standby providers, by their pricePerAcceleratorHour.

    Held when a pod is sent on, and when a running pod would cost more where it is moved to. So it bounds failover too:
    where the primary fails, pods that the budget does not cover wait, or stay where they are.
    """

    per_hour: Amount | None = None
    """Most that the pool's pods on standbys may cost in an hour, as a decimal in quotes, such as "200"."""
    per_day: Amount | None = None
    """Most that may be spent on standbys in a day (UTC). A pod is sent on only if the rest of the day's budget covers
    an hour of it and of all that run there."""
    on_exhausted: OnExhausted = OnExhausted.HOLD
    """Hold: pods that run on standbys go on, and cost; no more are sent. Return: they are brought home too, where the
    primary has room, under the limits of `failback` and whatever its policy and window say."""

    @rule(
        cel="has(self.perHour) || has(self.perDay)",
        message="a budget without an amount bounds nothing: give perHour or perDay, or remove the budget",
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
        """The bound of an hour; None where there is none."""
        return None if self.per_hour is None else Decimal(self.per_hour)

    def daily(self) -> Decimal | None:
        """The bound of a day; None where there is none."""
        return None if self.per_day is None else Decimal(self.per_day)
