"""A pool's forecast as users see it: the reason, and rounded minutes."""

from typing import Final

from computepool.assess.forecast.pool_forecast import Forecast
from computepool.assess.forecast.trend import FullIn
from computepool.model.api import AdmissionMode, ForecastMode, ForecastStatus
from computepool.report.pass_report import PassReport

EXACT_MINUTES: Final = 15
"""Above, minutes are rounded, so that the status does not change each minute."""
ROUND_MINUTES: Final = 5


def opened_by_forecast(report: PassReport) -> bool:
    """Say whether admission is open, and would be closed without the forecast."""
    always = report.snapshot.pool.spec.admission.mode is AdmissionMode.ALWAYS
    alone = report.assessment.forecast.opens_admission and not (always or report.assessment.saturation.saturated)
    return alone and bool(report.plan.admission.provider)


def status_of_forecast(report: PassReport, before: ForecastStatus | None) -> ForecastStatus | None:
    """Return the forecast as the status has it. `before`: the status before this pass, which a frozen pool keeps."""
    forecast = report.assessment.forecast
    if report.snapshot.pool.spec.forecast.mode is ForecastMode.OFF or forecast.reason is None:
        return None
    if report.plan.frozen and before is not None:
        return before
    full = forecast.full
    return ForecastStatus(
        reason=forecast.reason,
        message=_message(report),
        full_in_minutes=None if full is None else _nearest(full.likely),
        earliest_minutes=None if full is None else _rounded_down(full.earliest),
        latest_minutes=None if full is None or full.latest is None else _rounded_up(full.latest),
        horizon_seconds=forecast.horizon,
        # While the pool is frozen nothing is recorded.
        standby_ready_seconds=report.state.recorded.standby_ready_seconds,
        opens_admission=opened_by_forecast(report),
    )


def _message(report: PassReport) -> str:
    forecast, primary = report.assessment.forecast, report.assessment.primary.provider.name
    reason = forecast.reason
    told = "" if reason is None else reason.help
    if forecast.full is not None and forecast.full.likely:
        told = f"{primary} will be full {in_minutes(forecast.full)}. {told}"
    return " ".join(filter(None, (told, _admission(report, forecast))))


def _admission(report: PassReport, forecast: Forecast) -> str:
    if opened_by_forecast(report):
        return f"New pods may use {report.plan.admission.provider} from their creation on."
    saturated = report.assessment.saturation.saturated
    if forecast.opens_admission and not saturated and not report.plan.admission.provider:
        return "But admission can't open: spec.mode, spec.admission, a budget, a limit or a breaker keeps it closed."
    return ""


def in_minutes(full: FullIn) -> str:
    """Write when the primary is full: `in about 14 min, range 9 to 25`."""
    earliest = _rounded_down(full.earliest)
    bounds = f"{earliest} at the earliest" if full.latest is None else f"range {earliest} to {_rounded_up(full.latest)}"
    return f"in about {_nearest(full.likely)} min, {bounds}"


def _nearest(minutes: int) -> int:
    return minutes if minutes <= EXACT_MINUTES else ROUND_MINUTES * round(minutes / ROUND_MINUTES)


def _rounded_down(minutes: int) -> int:
    return minutes if minutes <= EXACT_MINUTES else minutes // ROUND_MINUTES * ROUND_MINUTES


def _rounded_up(minutes: int) -> int:
    return minutes if minutes <= EXACT_MINUTES else -(-minutes // ROUND_MINUTES) * ROUND_MINUTES
