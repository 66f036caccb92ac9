"""The breakers of a pool, all together, under the limit on how many providers may fail at once.

Always holds: two providers that fail together never empty a third. While more than `health.maxUnhealthyPercent` of all
providers have failed at once no breaker opens, and `exceeded` says so.
"""

from collections.abc import Mapping, Sequence

import msgspec

from computepool.assess.breakers.breaker import BreakerInput, Rules, exceeded_of, has_failed, rechecks, step
from computepool.assess.breakers.canary import breaker_input
from computepool.assess.breakers.not_bound import not_bound_in_time
from computepool.assess.capacity.providers import Provider
from computepool.assess.health.pool_health import Health
from computepool.assess.health.providers import Members
from computepool.assess.times import soonest
from computepool.model.snapshot import Snapshot
from computepool.model.state import Breaker, BreakerTimers, PoolState

SETTLE_SECONDS = 1.0
"""A pool is looked at again so soon after a breaker changed: its inputs are judged by the new state, and no event
announces that."""


class Breakers(msgspec.Struct, frozen=True):
    """The breakers and what they count."""

    of: Mapping[str, Breaker]
    """By provider, each of the pool."""
    timers: Mapping[str, BreakerTimers]
    """By provider."""
    not_bound: Mapping[str, frozenset[str]]
    last_bound_offer: Mapping[str, float]
    exceeded: str = ""
    """Why no breaker opens and no running pod is moved; empty where nothing is wrong."""
    recheck_at: float | None = None


def breakers_of(
    snapshot: Snapshot, providers: Sequence[Provider], members: Members, health: Health, state: PoolState, now: float
) -> Breakers:
    """Return the breakers after one step, each from its own state and from what is seen of its provider."""
    before = {provider.name: state.breaker(provider.name) for provider in providers}
    if snapshot.stale or health.all_silent:
        # What stands while nothing can be seen is the state; the timers start anew.
        return Breakers(before, {}, state.memory.not_bound, state.memory.last_bound_offer)
    not_bound = not_bound_in_time(snapshot, providers, members, state, now)
    seen = {
        provider.name: breaker_input(
            snapshot,
            provider,
            members[provider.name],
            health.providers[provider.name],
            before[provider.name],
            len(not_bound.pods.get(provider.name, ())),
        )
        for provider in providers
    }
    spec = snapshot.pool.spec.health
    rules = {name: Rules(spec, f"{snapshot.pool.name}/{name}") for name in before}
    timers = {name: state.memory.breaker_timers.get(name, BreakerTimers()) for name in before}
    free, calm = (
        {name: step(one, timers[name], seen[name], rules[name], now, held=held) for name, one in before.items()}
        for held in (False, True)
    )
    # Counted by what would be open, so that a provider that is about to be tried again does not count.
    failed = [name for name, (one, _) in free.items() if has_failed(one, seen[name]) or _suspect(name, health, seen)]
    exceeded = exceeded_of(failed, len(providers), spec.max_unhealthy_percent)
    after = calm if exceeded else free
    # What was counted is counted for one change: a breaker that has just changed starts from nothing.
    changed = {
        name for name, (one, _) in after.items() if (one.state, one.since) != (before[name].state, before[name].since)
    }
    dues = [at for name, (one, timer) in after.items() for at in rechecks(one, timer, seen[name], rules[name])]
    return Breakers(
        of={name: one for name, (one, _) in after.items()},
        timers={name: timer for name, (_, timer) in after.items() if timer != BreakerTimers()},
        not_bound={name: uids for name, uids in not_bound.pods.items() if name not in changed},
        last_bound_offer=not_bound.last_bound_offer,
        exceeded=exceeded,
        recheck_at=soonest(now, [not_bound.recheck_at, now + SETTLE_SECONDS if changed else None, *dues]),
    )


def _suspect(provider: str, health: Health, seen: Mapping[str, BreakerInput]) -> bool:
    return provider in health.suspect and not seen[provider].drained
