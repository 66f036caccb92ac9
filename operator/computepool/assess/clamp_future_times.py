"""Brings times of the state that lie in the future back to now: the clock of an earlier leader was ahead.

Otherwise whatever waits for such a time would wait for as long as that clock was ahead.
"""

from collections.abc import Callable, Mapping
from math import floor
from typing import TypeVar

import msgspec

from computepool.assess.breakers.breaker import backoff
from computepool.assess.forecast.pool_forecast import HOLD_SECONDS
from computepool.model.api import BreakerSpec, ComputePool
from computepool.model.demand import DemandHistory
from computepool.model.state import (
    Breaker,
    BreakerTimers,
    HoldOff,
    NodeFault,
    PoolState,
    RecentMoves,
    SignalState,
    UnsettledMove,
)

Key = TypeVar("Key")
Value = TypeVar("Value")


def clamped_to(now: float, state: PoolState, pool: ComputePool) -> PoolState:
    """Return the state with no time after `now`, and with no breaker's retry later than its backoff from now on."""
    spec, name = pool.spec.health.breaker, pool.name
    recorded, memory = state.recorded, state.memory
    return PoolState(
        msgspec.structs.replace(
            recorded,
            breakers=_each(recorded.breakers, lambda of, breaker: _breaker(breaker, spec, f"{name}/{of}", now)),
            recent_moves=_moves(recorded.recent_moves, now),
            unsettled=_each(recorded.unsettled, lambda _, move: _unsettled(move, now)),
            hold_offs=tuple(_hold_off(held, spec, name, now) for held in recorded.hold_offs),
        ),
        msgspec.structs.replace(
            memory,
            pressure_since=_past(memory.pressure_since, now),
            relief_since=_past(memory.relief_since, now),
            fitting=_each(memory.fitting, lambda _, at: min(at, now)),
            node_faults=_each(memory.node_faults, lambda _, fault: _node_fault(fault, now)),
            breaker_timers=_each(memory.breaker_timers, lambda _, timers: _timers(timers, now)),
            last_bound_offer=_each(memory.last_bound_offer, lambda _, at: min(at, now)),
            stable_since=_past(memory.stable_since, now),
            moved_before=_past(memory.moved_before, now),
            failed_at=_each(memory.failed_at, lambda _, at: min(at, now)),
            unknown_since=_each(memory.unknown_since, lambda _, at: min(at, now)),
            starting_since=_each(memory.starting_since, lambda _, at: min(at, now)),
            demand=_demand(memory.demand, now),
            standby_ready=tuple((min(at, now), seconds) for at, seconds in memory.standby_ready),
            forecast_until=_past(memory.forecast_until, now + HOLD_SECONDS),
            signals=_each(memory.signals, lambda _, signal: _signal(signal, now)),
        ),
    )


def _node_fault(fault: NodeFault, now: float) -> NodeFault:
    since, clear_since, run_since = min(fault.since, now), _past(fault.clear_since, now), _past(fault.run_since, now)
    if (since, clear_since, run_since) == (fault.since, fault.clear_since, fault.run_since):
        return fault
    return msgspec.structs.replace(fault, since=since, clear_since=clear_since, run_since=run_since)


def _signal(signal: SignalState, now: float) -> SignalState:
    since = _past(signal.since, now)
    return signal if since == signal.since else msgspec.structs.replace(signal, since=since)


def _breaker(breaker: Breaker, spec: BreakerSpec, key: str, now: float) -> Breaker:
    if breaker.since <= now and (breaker.retry_at is None or breaker.retry_at <= now):
        return breaker
    retry_at = _past(breaker.retry_at, round(now + backoff(spec, max(1, breaker.failures), key), 3))
    if breaker.since <= now and retry_at == breaker.retry_at:
        return breaker
    return msgspec.structs.replace(breaker, since=min(breaker.since, now), retry_at=retry_at)


def _timers(timers: BreakerTimers, now: float) -> BreakerTimers:
    if (timers.proving_since or 0.0) <= now and (timers.clear_since or 0.0) <= now:
        return timers
    return BreakerTimers(_past(timers.proving_since, now), _past(timers.clear_since, now), timers.was_full)


def _unsettled(move: UnsettledMove, now: float) -> UnsettledMove:
    # As with recent moves, those of the second in which a leader took over are rounded up.
    return move if move.at <= now + 1.0 else msgspec.structs.replace(move, at=floor(now) - 1.0)


def _hold_off(held: HoldOff, spec: BreakerSpec, pool: str, now: float) -> HoldOff:
    if held.until <= now:
        return held
    latest = round(now + backoff(spec, max(1, held.failures), f"{pool}/{held.provider}/{held.subject}"), 3)
    if held.since <= now and held.until <= latest:
        return held
    return msgspec.structs.replace(held, since=min(held.since, now), until=min(held.until, latest))


def _demand(history: DemandHistory | None, now: float) -> DemandHistory | None:
    # After a time of the future its points are in no order that could be trusted.
    return history if history is None or max(history.since, history.points[-1][0], history.seen_at) <= now else None


def _moves(recent: RecentMoves, now: float) -> RecentMoves:
    """Return moves of the future as made just now. Otherwise they would keep other pods from moving until then.

    Moves are recorded in whole seconds, and moves of the second in which a leader took over are rounded up.
    """
    if all(at <= now + 1.0 for at, _ in recent):
        return recent
    return tuple(sorted((at if at <= now + 1.0 else floor(now) - 1.0, kind) for at, kind in recent))


def _past(at: float | None, now: float) -> float | None:
    return None if at is None else min(at, now)


def _each(of: Mapping[Key, Value], changed: Callable[[Key, Value], Value]) -> Mapping[Key, Value]:
    """Return the mapping with its values changed; the same mapping if no value changes, as is nearly always so."""
    after = {key: changed(key, value) for key, value in of.items()}
    return of if all(after[key] is value for key, value in of.items()) else after
