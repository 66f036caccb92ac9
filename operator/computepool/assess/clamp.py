"""Times of the state that lie in the future, because a clock was set back, brought back to now.

Otherwise whatever waits for such a time would wait for as long as the clock was set back by.
"""

from collections.abc import Callable, Mapping
from math import floor
from typing import TypeVar

import msgspec

from computepool.assess.breakers.breaker import backoff
from computepool.model.api import Breaker as BreakerSpec
from computepool.model.api import ComputePool
from computepool.model.state import Breaker, BreakerTimers, FailedReturn, NodeFault, PoolState, RecentMoves

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
        ),
        msgspec.structs.replace(
            memory,
            pressure_since=_past(memory.pressure_since, now),
            relief_since=_past(memory.relief_since, now),
            fitting=_each(memory.fitting, lambda _, at: min(at, now)),
            node_faults=_each(memory.node_faults, lambda _, trouble: _sickness(trouble, now)),
            breaker_timers=_each(memory.breaker_timers, lambda _, timers: _timers(timers, now)),
            last_bound_offer=_each(memory.last_bound_offer, lambda _, at: min(at, now)),
            stable_since=_past(memory.stable_since, now),
            moved_before=_past(memory.moved_before, now),
            failed_returns=_each(memory.failed_returns, lambda _, relapse: _relapse(relapse, now)),
            unknown_since=_each(memory.unknown_since, lambda _, at: min(at, now)),
        ),
    )


def _sickness(trouble: NodeFault, now: float) -> NodeFault:
    if trouble.since <= now and (trouble.clear_since is None or trouble.clear_since <= now):
        return trouble
    since, clear_since = min(trouble.since, now), _past(trouble.clear_since, now)
    return msgspec.structs.replace(trouble, since=since, clear_since=clear_since)


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
    return BreakerTimers(_past(timers.proving_since, now), _past(timers.clear_since, now))


def _relapse(relapse: FailedReturn, now: float) -> FailedReturn:
    return relapse if relapse.at <= now else msgspec.structs.replace(relapse, at=now)


def _moves(recent: RecentMoves, now: float) -> RecentMoves:
    """Return moves of the future as made just now: else they would count for ever, and keep other pods from moving.

    They are recorded in whole seconds, and moves of the second in which a leader took over are rounded up.
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
