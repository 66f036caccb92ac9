"""All verdicts on one snapshot, gathered in one place."""

from types import MappingProxyType

import msgspec

from computepool.assess.breakers.pool_breakers import Breakers, breakers_of
from computepool.assess.capacity.fit import Packer, label_keys
from computepool.assess.capacity.providers import Provider, providers_of
from computepool.assess.capacity.supply import NodeStates, Supply, members_of, supply_of
from computepool.assess.demand.overflow import Demand, demand_of
from computepool.assess.demand.saturation import saturation_of
from computepool.assess.health.pool_health import Health, health_of
from computepool.assess.health.providers import Members
from computepool.assess.recheck_times import soonest
from computepool.model.reasons import Reason
from computepool.model.snapshot import Snapshot
from computepool.model.state import PoolState, Saturation

NO_BREAKERS = Breakers(MappingProxyType({}), MappingProxyType({}), MappingProxyType({}), MappingProxyType({}))


class Assessment(msgspec.Struct, frozen=True):
    """The verdicts on one snapshot."""

    supplies: tuple[Supply, ...]
    """One per provider, in the order of the spec."""
    overlapping_nodes: int
    """How many nodes match more than one provider."""
    demand: Demand
    saturation: Saturation
    recheck_at: float | None
    """When a verdict may change by time alone."""
    label_keys: frozenset[str]
    """Every node label that the selectors of waiting pods read."""
    health: Health = Health()
    breakers: Breakers = NO_BREAKERS

    @property
    def primary(self) -> Supply:
        """The first provider's supply."""
        return self.supplies[0]

    @property
    def exceeded(self) -> str:
        """Why no running pod is moved and no node quarantined: too many providers failed at once. Empty otherwise."""
        return self.breakers.exceeded

    @property
    def all_silent(self) -> str:
        """Why the whole pool freezes: all heartbeats stopped at once. Empty otherwise."""
        return self.health.all_silent

    def supply(self, provider: str) -> Supply | None:
        """Return the supply of the provider of that name."""
        return next((supply for supply in self.supplies if supply.provider.name == provider), None)


def assess(snapshot: Snapshot, state: PoolState, now: float) -> Assessment:
    """Return the verdicts on a snapshot. `now`: seconds since the epoch; no time of the state is after it."""
    spec = snapshot.pool.spec
    resource = spec.accelerator.resource_name
    providers = providers_of(snapshot.pool)
    members, overlapping_nodes = members_of(snapshot.nodes, providers)
    health = health_of(snapshot, members, state, now)
    breakers = breakers_of(snapshot, providers, members, health, state, now)
    supplies = _supplies(snapshot, providers, members, health, breakers)
    keys = label_keys((*snapshot.waiting, *snapshot.foreign))
    demand = demand_of(
        snapshot.waiting,
        snapshot.in_flight,
        providers[1:],
        Packer(supplies[0], resource, keys, now),
        pending_seconds=spec.saturation.pending_seconds,
        fitting=state.memory.fitting,
        now=now,
    )
    before = Saturation(
        state.recorded.saturated,
        pressure_since=state.memory.pressure_since,
        relief_since=state.memory.relief_since,
    )
    saturation, recheck_at = saturation_of(before, supplies[0], demand.pressing, spec.saturation, now)
    return Assessment(
        supplies=supplies,
        overlapping_nodes=overlapping_nodes,
        demand=demand,
        saturation=saturation,
        recheck_at=soonest(now, (recheck_at, health.recheck_at, breakers.recheck_at)),
        label_keys=keys,
        health=health,
        breakers=breakers,
    )


def _supplies(
    snapshot: Snapshot, providers: tuple[Provider, ...], members: Members, health: Health, breakers: Breakers
) -> tuple[Supply, ...]:
    silent = frozenset(
        node for node, fault in health.nodes.items() if fault.reason is Reason.NODE_SILENT and fault.present
    )
    return tuple(
        supply_of(
            provider,
            members[provider.name],
            snapshot.pool.name,
            snapshot.pool.spec.accelerator.resource_name,
            breaker=breakers.of[provider.name],
            states=NodeStates(
                unhealthy=frozenset(health.providers[provider.name].unhealthy),
                silent=silent,
                joining=health.providers[provider.name].joining,
                uncounted=health.providers[provider.name].uncounted,
            ),
        )
        for provider in providers
    )
