"""When a pool's primary will be full, and whether admission opens ahead of time.

A forecast only advances a burst. It opens admission, and has no other effect: no pod is evicted or brought home because
of it, and the primary does not count as saturated.

Invariant 4: a forecast is Unknown without a window of demand that has no gap, or without the primary's capacity. Then
it opens nothing, and what it has opened closes at once. A restart forgets what it has opened: until the history is back
the forecast is Unknown.
"""

from math import ceil
from typing import Final

import msgspec

from computepool.assess.capacity.supply import Supply
from computepool.assess.forecast.demand import capacity_of, demand_on
from computepool.assess.forecast.standby_ready import ready_seconds, ready_times
from computepool.assess.forecast.trend import FullIn, full_in, trend_of
from computepool.model.api import LOOKS_AHEAD, ForecastMode
from computepool.model.demand import MINUTE, DemandHistory, joined, noted, samples
from computepool.model.reasons import Reason
from computepool.model.snapshot import Snapshot
from computepool.model.state import PoolState, ReadyTimes

HOLD_SECONDS: Final = 300.0
"""How long admission stays open after the last forecast that the primary will be full within the horizon: a forecast
that comes and goes must not open and close it each minute."""


class Forecast(msgspec.Struct, frozen=True):
    """The forecast of one pass."""

    reason: Reason | None = None
    """What the forecast says, or why it is Unknown; None if the pool has no forecast."""
    demand: int | None = None
    """The demand on the primary now, in thousandths; None if it can't be seen."""
    full: FullIn | None = None
    """In how many minutes the primary is full; None if it is not foreseen."""
    horizon: int | None = None
    """Seconds; None if it was neither given nor measured."""
    measured: int | None = None
    """Seconds until most pods were Ready on a standby; None if none was seen."""
    opens_admission: bool = False
    open_until: float | None = None
    """Until when admission stays open without another such forecast."""
    history: DemandHistory | None = None
    ready: ReadyTimes = ()
    recheck_at: float | None = None


NO_FORECAST: Final = Forecast()


def forecast_of(
    snapshot: Snapshot, supplies: tuple[Supply, ...], state: PoolState, now: float, *, unseen: bool
) -> Forecast:
    """Return the forecast. `unseen`: the view can't be trusted now, so the pool freezes."""
    spec, memory = snapshot.pool.spec.forecast, state.memory
    if spec.mode is ForecastMode.OFF:
        return NO_FORECAST
    primary = supplies[0]
    ready = ready_times(memory.standby_ready, () if unseen else supplies[1:], snapshot.pool.name, now)
    measured = state.recorded.standby_ready_seconds if not ready else ready_seconds(ready)
    horizon = measured if spec.horizon_seconds is None else spec.horizon_seconds
    base = Forecast(horizon=horizon, measured=measured, ready=ready)
    unknown = _unknown(primary, unseen=unseen)
    if unknown is not None:
        # While the pool is frozen admission stays as it is.
        kept = memory.forecast_until if unseen else None
        return msgspec.structs.replace(base, reason=unknown, history=memory.demand, open_until=kept)
    demand = demand_on(primary, snapshot)
    history = noted(memory.demand, demand, spec.window_minutes, now)
    history = joined(history, snapshot.past_demand, spec.window_minutes, now)
    base = msgspec.structs.replace(base, demand=demand, history=history, recheck_at=now + MINUTE)
    window = samples(history, spec.window_minutes, now)
    if window is None:
        return msgspec.structs.replace(base, reason=Reason.HISTORY_TOO_SHORT)
    full = full_in(trend_of(window), capacity_of(primary), LOOKS_AHEAD * spec.window_minutes)
    reason = _reason(full, horizon, acts=spec.mode is ForecastMode.ACT)
    until = now + HOLD_SECONDS if reason is Reason.FORECAST_FULL else memory.forecast_until
    opens = spec.mode is ForecastMode.ACT and until is not None and now < until
    return msgspec.structs.replace(
        base, reason=reason, full=full, opens_admission=opens, open_until=until if opens else None
    )


def _unknown(primary: Supply, *, unseen: bool) -> Reason | None:
    """Return why nothing can be foreseen; None if it can."""
    if primary.provider.kind.before_room:
        return Reason.PRIMARY_GROWS
    if not primary.breaker.closed:
        return Reason.PROVIDER_UNAVAILABLE
    return Reason.PRIMARY_UNKNOWN if unseen or not (primary.known and primary.countable) else None


def _reason(full: FullIn | None, horizon: int | None, *, acts: bool) -> Reason:
    if full is None:
        return Reason.NO_TREND
    if not full.likely:
        return Reason.PRIMARY_FULL
    if horizon is None:
        return Reason.HORIZON_UNKNOWN if acts else Reason.PRIMARY_FILLING
    # Forecasts have whole minutes.
    return Reason.FORECAST_FULL if full.likely <= ceil(horizon / MINUTE) else Reason.PRIMARY_FILLING
