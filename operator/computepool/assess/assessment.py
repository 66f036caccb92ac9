"""The verdicts on one snapshot, gathered in one place."""

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from computepool.assess.fit import Packer, label_keys
from computepool.assess.health import Health
from computepool.assess.overflow import Demand, demand_of
from computepool.assess.saturation import saturation_of
from computepool.assess.supply import Supply, supplies_of
from computepool.assess.targets import targets_of
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
    """When the saturation verdict may change by time alone."""
    label_keys: frozenset[str]
    health: Health = Health()
    breakers: Mapping[str, Breaker] = MappingProxyType({})
    """By provider, each of the pool: the next state of its breaker."""
    unbound: Mapping[str, frozenset[str]] = MappingProxyType({})
    """By standby provider: uids of pods that it did not bind in time, since it last bound one; the next state."""
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
    resource = spec.accelerator.resource_name
    targets = targets_of(snapshot.pool)
    supplies, doubles = supplies_of(snapshot.nodes, targets, snapshot.pool.name, resource)
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
    return Assessment(supplies, doubles, demand, saturation, look_again, keys)
