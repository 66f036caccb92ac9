"""Times of the state that lie in the future, because our clock was set back: brought back to now.

Otherwise whatever waits for such a time to pass would wait for as long as the clock was set back by.
"""

from collections.abc import Callable, Mapping
from math import floor
from typing import TypeVar

import msgspec

from computepool.assess.breaker import backoff
from computepool.model.api import Breaker as BreakerSpec
from computepool.model.api import ComputePool
from computepool.model.snapshot import MoveKind
from computepool.model.state import Breaker, PoolState, Relapse, Saturation, Sickness

Key = TypeVar("Key")
Value = TypeVar("Value")


def brought_back(state: PoolState, pool: ComputePool, now: float) -> PoolState:
    """Return the state with no time after `now`, and no breaker's later than its backoff from now on."""
    spec, name = pool.spec.health.breaker, pool.name
    return msgspec.structs.replace(
        state,
        saturation=_saturation(state.saturation, now),
        fitting=_each(state.fitting, lambda _, at: min(at, now)),
        sick=_each(state.sick, lambda _, one: _sickness(one, now)),
        breakers=_each(state.breakers, lambda of, one: _breaker(one, spec, f"{name}/{of}", now)),
        bound=_each(state.bound, lambda _, at: min(at, now)),
        stable_since=_past(state.stable_since, now),
        recent_moves=_moves(state.recent_moves, now),
        moved_before=_past(state.moved_before, now),
        relapses=_each(state.relapses, lambda _, one: _relapse(one, now)),
        unknown_since=_each(state.unknown_since, lambda _, at: min(at, now)),
    )


def _saturation(one: Saturation, now: float) -> Saturation:
    pressure, relief = _past(one.pressure_since, now), _past(one.relief_since, now)
    if (pressure, relief) == (one.pressure_since, one.relief_since):
        return one
    return msgspec.structs.replace(one, pressure_since=pressure, relief_since=relief)


def _sickness(one: Sickness, now: float) -> Sickness:
    if one.since <= now and (one.clear_since is None or one.clear_since <= now):
        return one
    return msgspec.structs.replace(one, since=min(one.since, now), clear_since=_past(one.clear_since, now))


def _breaker(one: Breaker, spec: BreakerSpec, key: str, now: float) -> Breaker:
    times = (one.since, one.retry_at, one.proving_since, one.clear_since)
    if all(at is None or at <= now for at in times):
        return one
    return msgspec.structs.replace(
        one,
        since=min(one.since, now),
        retry_at=_past(one.retry_at, now + backoff(spec, max(1, one.failures), key)),
        proving_since=_past(one.proving_since, now),
        clear_since=_past(one.clear_since, now),
    )


def _relapse(one: Relapse, now: float) -> Relapse:
    return one if one.at <= now else msgspec.structs.replace(one, at=now)


def _moves(recent: tuple[tuple[float, MoveKind], ...], now: float) -> tuple[tuple[float, MoveKind], ...]:
    """Return them as made just now, those in the future: else they would count for ever, and keep others out.

    They are recorded in whole seconds, and those of the second in which a leader took over are rounded up.
    """
    if all(at <= now + 1.0 for at, _ in recent):
        return recent
    return tuple(sorted((at if at <= now + 1.0 else floor(now) - 1.0, kind) for at, kind in recent))


def _past(at: float | None, now: float) -> float | None:
    return None if at is None else min(at, now)


def _each(of: Mapping[Key, Value], changed: Callable[[Key, Value], Value]) -> Mapping[Key, Value]:
    """Return the same mapping where nothing changes, which is nearly always."""
    after = {key: changed(key, value) for key, value in of.items()}
    return of if all(after[key] is value for key, value in of.items()) else after
