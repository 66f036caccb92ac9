"""When the primary will be full, by its demand of the last minutes."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from computepool.model.api.base import ApiModel, Int, rule

LOOKS_AHEAD: Final = 4
"""How far a forecast looks ahead, in windows: a line through a quarter of an hour says nothing about tomorrow."""


class ForecastMode(StrEnum):
    """What the operator does with a forecast."""

    OFF = "Off"
    REPORT = "Report"
    ACT = "Act"


class ForecastSpec(ApiModel):
    """A forecast of when the primary will be full. It only ever advances a burst: no pod is evicted or brought home
    because of it.
    """

    mode: ForecastMode = ForecastMode.OFF
    """"Off": there is no forecast. Report: the status says when the primary will be full. Act: admission also opens
    while the primary will be full within the horizon, if `admission.mode` is WhenSaturated. Write "Off" in quotes,
    because YAML reads a bare Off as false."""
    window_minutes: Annotated[Int, Field(ge=10, le=120)] = 15
    """Minutes of demand that the forecast is made from. The forecast is Unknown until the demand of all these minutes
    is known. A longer window sees slow growth, and notices sudden growth later."""
    horizon_seconds: Annotated[Int, Field(ge=60, le=7_200)] | None = None
    """How many seconds before the primary is full admission opens, at most four windows. Left out: the measured time
    until a pod on a standby is Ready, which is known once a pod has become Ready there."""

    @rule(
        field="horizonSeconds",
        cel=f"!has(self.horizonSeconds) || self.horizonSeconds <= {60 * LOOKS_AHEAD} * self.windowMinutes",
        message="a forecast looks ahead four times its window: lower horizonSeconds or raise windowMinutes",
    )
    def _horizon_is_looked_at(self) -> bool:
        return self.horizon_seconds is None or self.horizon_seconds <= 60 * LOOKS_AHEAD * self.window_minutes
