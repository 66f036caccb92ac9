"""All verdicts on one snapshot, gathered in one place."""

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from computepool.assess.breakers.pool_breakers import Breakers, breakers_of
from computepool.assess.capacity.fit import Packer, label_keys
from computepool.assess.capacity.providers import Provider, providers_of
from computepool.assess.capacity.reach import Reach
from computepool.assess.capacity.startup import Starting, starting_nodes, startup_taints
from computepool.assess.capacity.supply import NodeStates, Supply, members_of, supply_of
from computepool.assess.configuration.pool_configuration import Configuration, configuration_of
from computepool.assess.demand.absent_schedulers import absent_schedulers
from computepool.assess.demand.overflow import Demand, Hold, demand_of
from computepool.assess.demand.saturation import saturation_of, with_signals
from computepool.assess.drills import Drills, drills_of, with_drills
from computepool.assess.forecast.pool_forecast import NO_FORECAST, Forecast, forecast_of
from computepool.assess.health.pool_health import Health, health_of
from computepool.assess.members import Members
from computepool.assess.recheck_times import soonest
from computepool.assess.signals.pool_signals import NO_SIGNALS, Signals, signals_of
from computepool.model.cluster import Pod
from computepool.model.reasons import Reason
from computepool.model.snapshot import Snapshot
from computepool.model.state import PoolState, Saturation

NO_BREAKERS = Breakers(MappingProxyType({}), MappingProxyType({}), MappingProxyType({}), MappingProxyType({}))


class Assessment(msgspec.Struct, frozen=True):
    """The verdicts on one snapshot."""

    supplies: tuple[Supply, ...]
    """One per provider, in the order of the spec."""
    demand: Demand
    saturation: Saturation
    recheck_at: float | None
    """When a verdict may change by time alone."""
    label_keys: frozenset[str]
    """Every node label that the selectors of waiting pods read."""
    health: Health = Health()
    breakers: Breakers = NO_BREAKERS
    starting_since: Mapping[str, float] = MappingProxyType({})
    """By node with a listed startup taint: since when it is starting."""
    signals: Signals = NO_SIGNALS
    forecast: Forecast = NO_FORECAST
    configuration: Configuration = Configuration()
    drills: Drills = Drills()
    running: tuple[Pod, ...] = ()
    """One of each kind of the pool's running pods that may run on more than one node."""
    waiting: tuple[Pod, ...] = ()
    """One of each kind of the pool's waiting pods, likewise."""

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

    @property
    def keeps_away(self) -> bool:
        """Whether nobody may come home: a signal that is about the primary is Unknown."""
        return self.signals.keeps_away(self.primary.provider.name)

    def supply(self, provider: str) -> Supply | None:
        """Return the supply of the provider of that name."""
        return next((supply for supply in self.supplies if supply.provider.name == provider), None)


def assess(snapshot: Snapshot, state: PoolState, now: float) -> Assessment:
    """Return the verdicts on a snapshot. `now`: seconds since the epoch; no time of the state is after it."""
    spec = snapshot.pool.spec
    resource = spec.accelerator.resource_name
    providers = providers_of(snapshot.pool)
    members, overlaps = members_of(snapshot.nodes, providers)
    signals = signals_of(snapshot, members, state, now)
    health = health_of(snapshot, members, state, now, signals)
    drills = drills_of(snapshot.pool, health, state, now)
    providers = with_drills(providers, drills)
    waiting = absent_schedulers(snapshot, providers, now)
    # A pod that no scheduler looks at is no evidence against a provider, and needs no place.
    looked_at = msgspec.structs.replace(snapshot, waiting=waiting.present) if waiting.absent else snapshot
    breakers = breakers_of(looked_at, providers, members, health, state, now)
    listed = startup_taints(spec.health.startup_taints)
    starting = {
        provider.name: starting_nodes(provider, members[provider.name], listed, state.memory.starting_since, now)
        for provider in providers
    }
    reach = Reach(snapshot)
    supplies = _supplies(snapshot, providers, members, _Judged(health, breakers, starting), reach)
    configuration = configuration_of(snapshot, supplies, overlaps, reach, health, now)
    keys = label_keys((*snapshot.waiting, *snapshot.foreign))
    demand = demand_of(
        waiting.present,
        snapshot.in_flight,
        supplies,
        Packer(supplies[0], resource, keys, now),
        # Once metrics show that the primary is overloaded, pods that it can't take wait no longer.
        pending_seconds=spec.saturation.pending_seconds if signals.held else 0,
        fitting=state.memory.fitting,
        now=now,
    )
    demand = _with_absent(demand, waiting.absent)
    before = Saturation(
        state.recorded.saturated,
        pressure_since=state.memory.pressure_since,
        relief_since=state.memory.relief_since,
    )
    saturation, recheck_at = saturation_of(before, supplies[0], demand.pressing, spec.saturation, now)
    saturation = with_signals(saturation, signals)
    unseen = bool(snapshot.stale or health.all_silent)
    forecast = forecast_of(looked_at, supplies, state, now, unseen=unseen)
    return Assessment(
        supplies=supplies,
        demand=demand,
        saturation=saturation,
        recheck_at=soonest(
            now,
            (
                recheck_at,
                health.recheck_at,
                breakers.recheck_at,
                waiting.recheck_at,
                signals.recheck_at,
                forecast.recheck_at,
                forecast.open_until,
                configuration.recheck_at,
                drills.recheck_at,
                *(found.recheck_at for found in starting.values()),
            ),
        ),
        label_keys=keys,
        health=health,
        breakers=breakers,
        starting_since={node: since for found in starting.values() for node, since in found.since.items()},
        signals=signals,
        forecast=forecast,
        configuration=configuration,
        drills=drills,
        running=reach.running,
        waiting=reach.waiting,
    )


def _with_absent(demand: Demand, pods: tuple[Pod, ...]) -> Demand:
    """Hold the pods whose scheduler is absent."""
    if not pods:
        return demand
    return msgspec.structs.replace(demand, held=(*demand.held, *(Hold(pod, Reason.SCHEDULER_ABSENT) for pod in pods)))


class _Judged(msgspec.Struct, frozen=True):
    """The verdicts that decide which nodes are supply."""

    health: Health
    breakers: Breakers
    starting: Mapping[str, Starting]


def _supplies(
    snapshot: Snapshot, providers: tuple[Provider, ...], members: Members, judged: _Judged, reach: Reach
) -> tuple[Supply, ...]:
    health = judged.health
    silent = frozenset(
        node for node, fault in health.nodes.items() if fault.reason is Reason.NODE_SILENT and fault.present
    )
    return tuple(
        supply_of(
            provider,
            members[provider.name],
            snapshot.pool.name,
            snapshot.pool.spec.accelerator.resource_name,
            breaker=judged.breakers.of[provider.name],
            states=NodeStates(
                unhealthy=frozenset(health.providers[provider.name].unhealthy),
                silent=silent,
                joining=health.providers[provider.name].joining,
                uncounted=health.providers[provider.name].uncounted,
                starting=judged.starting[provider.name].taints,
            ),
            reach=reach,
        )
        for provider in providers
    )
