"""The verdicts on one snapshot, gathered in one place."""

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from computepool.assess.clock import brought_back
from computepool.assess.fit import Packer, label_keys
from computepool.assess.health import Health, health_of, soonest
from computepool.assess.overflow import Demand, demand_of
from computepool.assess.saturation import saturation_of
from computepool.assess.supply import Supply, members_of, supply_of
from computepool.assess.targets import targets_of
from computepool.assess.trust import trust_of
from computepool.model.reasons import Reason
from computepool.model.snapshot import Snapshot
from computepool.model.state import Breaker, PoolState, Saturation


class Assessment(msgspec.Struct, frozen=True):
    """What one snapshot means."""

    supplies: tuple[Supply, ...]
    """One per provider, in the order of the spec."""
    doubles: int
    """How many nodes match more than one provider."""
    demand: Demand
    saturation: Saturation
    look_again: float | None
    """When a verdict may change by time alone."""
    label_keys: frozenset[str]
    health: Health = Health()
    breakers: Mapping[str, Breaker] = MappingProxyType({})
    """By provider, each of the pool: the next state of its breaker."""
    unbound: Mapping[str, frozenset[str]] = MappingProxyType({})
    """By standby provider: uids of pods that it did not bind in time, since it last bound one; the next state."""
    bound: Mapping[str, float] = MappingProxyType({})
    """By standby provider: when the latest pod that it has bound was offered to it; the next state."""
    exceeded: str = ""
    """Why no running pod is moved and no node quarantined: too many providers have failed at once. Else empty."""
    blind: str = ""
    """Why the whole pool freezes: all heartbeats stopped at once. Else empty."""

    @property
    def primary(self) -> Supply:
        """The first provider's supply."""
        return self.supplies[0]


def assess(snapshot: Snapshot, state: PoolState, now: float) -> Assessment:
    """Return the verdicts on a snapshot. `now`: seconds since the epoch."""
    spec = snapshot.pool.spec
    state = brought_back(state, snapshot.pool, now)
    resource = spec.accelerator.resource_name
    targets = targets_of(snapshot.pool)
    members, doubles = members_of(snapshot.nodes, targets)
    health = health_of(snapshot, members, state, now)
    trust = trust_of(snapshot, targets, members, health, state, now)
    trouble = health.nodes.items()
    silent = frozenset(n for n, one in trouble if one.reason is Reason.NODE_SILENT and one.clear_since is None)
    supplies = tuple(
        supply_of(
            target,
            members[target.name],
            snapshot.pool.name,
            resource,
            breaker=trust.breakers[target.name],
            sick=frozenset(health.providers[target.name].sick),
            silent=silent,
        )
        for target in targets
    )
    keys = label_keys((*snapshot.waiting, *snapshot.foreign))
    demand = demand_of(
        snapshot.waiting,
        snapshot.in_flight,
        targets[1:],
        Packer(supplies[0], resource, keys, now),
        pending_seconds=spec.saturation.pending_seconds,
        fitting=state.fitting,
        now=now,
    )
    saturation, look_again = saturation_of(state.saturation, supplies[0], demand.pressing, spec.saturation, now)
    return Assessment(
        supplies=supplies,
        doubles=doubles,
        demand=demand,
        saturation=saturation,
        look_again=soonest(now, (look_again, health.look_again, trust.look_again)),
        label_keys=keys,
        health=health,
        breakers=trust.breakers,
        unbound=trust.unbound,
        bound=trust.bound,
        exceeded=trust.exceeded,
        blind=health.blind,
    )
