"""Which drills are under way. A drill is a drain for a limited time.

A drill gives way to everything that is no rehearsal. What always holds: a drill has no effect while any provider of the
pool fails, and none while pods wait or are stuck that the drilled provider would take. The pass that follows such a
verdict stops the drill. A stopped drill never goes on, so that pods do not leave twice.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import msgspec

from computepool.assess.capacity.providers import Provider
from computepool.assess.health.pool_health import Health
from computepool.assess.recheck_times import soonest
from computepool.model.api import BreakerState, ComputePool, Drill, RunningPods
from computepool.model.reasons import Reason
from computepool.model.state import DrillRecord, PoolState


class Drills(msgspec.Struct, frozen=True):
    """The drills of a pool that have begun and are not over."""

    of: Mapping[str, DrillRecord] = MappingProxyType({})
    """By provider. A stopped drill is among them until its field is removed."""
    recheck_at: float | None = None
    """When a drill begins or ends by time."""

    def is_under_way(self, provider: str) -> bool:
        """Say whether the provider is drained by a drill."""
        return provider in self.of and not self.of[provider].stopped


def drills_of(pool: ComputePool, health: Health, state: PoolState, now: float) -> Drills:
    """Return the pool's drills. `now`: seconds since the epoch."""
    drills = {spec.name: spec.drill for spec in pool.spec.providers if spec.drill is not None}
    found = {name: _record(name, drill, pool, health, state, now) for name, drill in drills.items()}
    times = (at.timestamp() for drill in drills.values() for at in (drill.since, drill.until))
    return Drills({name: record for name, record in found.items() if record is not None}, soonest(now, times))


def with_drills(providers: Iterable[Provider], drills: Drills) -> tuple[Provider, ...]:
    """Drain the providers that a drill drains. Where a person drains the provider besides, that drain says what becomes
    of running pods.
    """
    return tuple(
        msgspec.structs.replace(
            provider,
            drain=True,
            drill=True,
            running_pods=provider.running_pods if provider.drain else RunningPods.MOVE,
        )
        if drills.is_under_way(provider.name)
        else provider
        for provider in providers
    )


def _record(
    name: str, drill: Drill, pool: ComputePool, health: Health, state: PoolState, now: float
) -> DrillRecord | None:
    since, before = drill.since.timestamp(), state.recorded.drills.get(name)
    if before is not None and before.since == since and before.stopped:
        return before
    if not drill.lasts_at(now):
        return None
    return DrillRecord(since, _why_stop(name, pool, health, state))


def _why_stop(drilled: str, pool: ComputePool, health: Health, state: PoolState) -> str:
    """Say why the drill can't go on; empty if it can."""
    for provider in pool.spec.providers:
        name, breaker = provider.name, state.breaker(provider.name)
        judged = health.providers.get(name)
        if judged is not None and judged.failing is not None:
            return f"{name} fails ({judged.failing})"
        if name != drilled and breaker.state is BreakerState.OPEN and breaker.reason is not Reason.DRAINED:
            return f"{name} has failed ({breaker.reason})" if breaker.reason else f"{name} has failed"
    missed = state.memory.missed_drain
    if missed is not None and drilled in missed.providers:
        named = ", ".join(missed.pods)
        return (
            f"pods need {drilled}, such as {named}: they wait, or should leave an unhealthy node, and no other "
            "provider takes them"
        )
    return ""
