"""All breakers and hold-offs of a pool, under the limit on how many providers may fail at once.

What always holds: two providers that fail together never empty a third. While more than `health.maxUnhealthyPercent` of
all providers have failed at once, no breaker opens, and `exceeded` says so.
"""

from collections.abc import Mapping, Sequence

import msgspec

from computepool.assess.breakers.breaker import BreakerInput, BreakerRules, exceeded_of, has_failed, rechecks, step
from computepool.assess.breakers.canary import breaker_input
from computepool.assess.breakers.hold_offs import HoldOffs, hold_offs_of
from computepool.assess.breakers.not_bound import not_bound_in_time
from computepool.assess.capacity.providers import Provider
from computepool.assess.health.pool_health import Health
from computepool.assess.members import Members
from computepool.assess.recheck_times import soonest
from computepool.model.snapshot import Snapshot
from computepool.model.state import Breaker, BreakerTimers, PoolState

SETTLE_SECONDS = 1.0
"""A pool is looked at again so soon after a breaker changed: its inputs are judged by the new state, and no event
announces that."""


class Breakers(msgspec.Struct, frozen=True):
    """The breakers of a pool, the pods that they count, and the hold-offs."""

    of: Mapping[str, Breaker]
    """By provider: every provider of the pool."""
    timers: Mapping[str, BreakerTimers]
    """By provider."""
    not_bound: Mapping[str, frozenset[tuple[str, str]]]
    """By provider: the workloads and shapes that count against it."""
    last_bound_offer: Mapping[str, float]
    hold_offs: HoldOffs = HoldOffs()
    exceeded: str = ""
    """Why no breaker opens and no running pod is moved; empty while the limit is kept."""
    recheck_at: float | None = None


def breakers_of(
    snapshot: Snapshot, providers: Sequence[Provider], members: Members, health: Health, state: PoolState, now: float
) -> Breakers:
    """Return the breakers and hold-offs after one step."""
    before = {provider.name: state.breaker(provider.name) for provider in providers}
    if snapshot.stale or health.all_silent:
        # While nothing can be judged, the states stand and the timers start anew.
        memory = state.memory
        return Breakers(
            before,
            {},
            memory.not_bound,
            memory.last_bound_offer,
            HoldOffs(state.recorded.hold_offs, memory.failed_pods),
        )
    not_bound = not_bound_in_time(snapshot, providers, members, health, state, now)
    hold_offs = hold_offs_of(snapshot, providers, members, not_bound, state, now)
    seen = {
        provider.name: breaker_input(
            snapshot,
            provider,
            members[provider.name],
            health.providers[provider.name],
            before[provider.name],
            not_bound.against(provider.name),
            _drilled_since(state, provider.name),
        )
        for provider in providers
    }
    spec = snapshot.pool.spec.health
    rules = {name: BreakerRules(spec, f"{snapshot.pool.name}/{name}") for name in before}
    timers = {name: state.memory.breaker_timers.get(name, BreakerTimers()) for name in before}
    free, held = (
        {name: step(breaker, timers[name], seen[name], rules[name], now, held=hold) for name, breaker in before.items()}
        for hold in (False, True)
    )
    # The breakers after a free step count, so that a provider that is about to be tried again does not count.
    failed = [
        name for name, (breaker, _) in free.items() if has_failed(breaker, seen[name]) or _suspect(name, health, seen)
    ]
    exceeded = exceeded_of(failed, len(providers), spec.max_unhealthy_percent)
    after = held if exceeded else free
    # A breaker that has just changed counts pods from nothing.
    changed = {
        name
        for name, (breaker, _) in after.items()
        if (breaker.state, breaker.since) != (before[name].state, before[name].since)
    }
    of_breakers = [
        at for name, (breaker, timer) in after.items() for at in rechecks(breaker, timer, seen[name], rules[name])
    ]
    return Breakers(
        of={name: breaker for name, (breaker, _) in after.items()},
        timers={name: timer for name, (_, timer) in after.items() if timer != BreakerTimers()},
        not_bound={name: pairs for name, pairs in not_bound.counted.items() if name not in changed},
        last_bound_offer=not_bound.last_bound_offer,
        hold_offs=hold_offs,
        exceeded=exceeded,
        recheck_at=soonest(
            now, [not_bound.recheck_at, hold_offs.recheck_at, now + SETTLE_SECONDS if changed else None, *of_breakers]
        ),
    )


def _drilled_since(state: PoolState, provider: str) -> float | None:
    drill = state.recorded.drills.get(provider)
    return None if drill is None or drill.stopped else drill.since


def _suspect(provider: str, health: Health, seen: Mapping[str, BreakerInput]) -> bool:
    return provider in health.suspect and not seen[provider].drained
