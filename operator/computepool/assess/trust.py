"""Which providers are used: their breakers, all together, under the limit on how many may fail at once.

Always holds: two providers that fail together never empty a third. More than `health.maxUnhealthyPercent` of all that
have failed at once open no breaker, and `exceeded` says so.
"""

from collections.abc import Mapping, Sequence

import msgspec

from computepool.assess.breaker import Signs, exceeded_of, has_failed, look_again, step
from computepool.assess.health import Health, Members, soonest
from computepool.assess.targets import Target
from computepool.assess.trial import signs_of
from computepool.assess.unbound import unbound_of
from computepool.model.snapshot import Snapshot
from computepool.model.state import Breaker, PoolState

SETTLE_SECONDS = 1.0
"""After a breaker has changed: what is seen counts for its new state, and that shows in no change."""


class Trust(msgspec.Struct, frozen=True):
    """The breakers and what they count."""

    breakers: Mapping[str, Breaker]
    """By provider, each of the pool."""
    unbound: Mapping[str, frozenset[str]]
    bound: Mapping[str, float]
    exceeded: str = ""
    """Why no breaker opens and no running pod is moved; empty where nothing is wrong."""
    look_again: float | None = None


def trust_of(
    seen: Snapshot, targets: Sequence[Target], members: Members, health: Health, state: PoolState, now: float
) -> Trust:
    """Return the breakers after one step, each from its own state and from what is seen of its provider."""
    before = {target.name: state.breakers.get(target.name, Breaker()) for target in targets}
    if seen.stale or health.blind:
        return Trust({name: held(one) for name, one in before.items()}, state.unbound, state.bound)
    spec = seen.pool.spec.health
    unbound = unbound_of(seen, targets, members, state, now)
    signs = {
        one.name: signs_of(
            seen,
            one,
            members[one.name],
            health.providers[one.name],
            before[one.name],
            len(unbound.pods.get(one.name, ())),
        )
        for one in targets
    }
    keys = {name: f"{seen.pool.name}/{name}" for name in before}
    free, calm = (
        {name: step(one, signs[name], spec, keys[name], now, held=hold) for name, one in before.items()}
        for hold in (False, True)
    )
    # By what would be open, so that a provider is not counted that is about to be tried again.
    failed = [name for name, one in free.items() if has_failed(one, signs[name]) or _doubted(name, health, signs[name])]
    exceeded = exceeded_of(failed, len(targets), spec.max_unhealthy_percent)
    after = calm if exceeded else free
    # What was counted is counted for one change: a breaker that has just changed starts from nothing.
    changed = {
        name for name, one in after.items() if (one.state, one.since) != (before[name].state, before[name].since)
    }
    dues = [at for name, one in after.items() for at in look_again(one, signs[name], spec, keys[name])]
    return Trust(
        breakers=after,
        unbound={name: uids for name, uids in unbound.pods.items() if name not in changed},
        bound=unbound.bound,
        exceeded=exceeded,
        look_again=soonest(now, [unbound.look_again, now + SETTLE_SECONDS if changed else None, *dues]),
    )


def _doubted(provider: str, health: Health, signs: Signs) -> bool:
    return provider in health.doubtful and not signs.drained


def held(breaker: Breaker) -> Breaker:
    """Return what stands while nothing can be seen: its state; its timers start anew."""
    if breaker.proving_since is None and breaker.clear_since is None:
        return breaker
    return msgspec.structs.replace(breaker, proving_since=None, clear_since=None)
