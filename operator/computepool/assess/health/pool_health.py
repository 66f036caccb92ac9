"""What is wrong with a pool's nodes and providers, and since when.

Invariant 4: what can't be judged is neither healthy nor failing. A provider without nodes, a node without a heartbeat
and a view that is not current make nothing fail. If all heartbeats stop at once, every verdict stays as it was.
"""

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from computepool.assess.health.black_holes import black_holes
from computepool.assess.health.faults import rules_of
from computepool.assess.health.hysteresis import Times, frozen_faults, recheck_at
from computepool.assess.health.nodes import NodeInspection, faults_among
from computepool.assess.health.providers import (
    NO_FAULTS,
    ProviderHealth,
    ProviderHeartbeats,
    provider_health,
    suspect_providers,
    with_metrics,
)
from computepool.assess.health.silence import counted_silence, silence_of
from computepool.assess.members import Members
from computepool.assess.recheck_times import soonest
from computepool.assess.signals.pool_signals import NO_SIGNALS, Signals
from computepool.model.api import BreakerState
from computepool.model.reasons import Reason
from computepool.model.snapshot import Snapshot
from computepool.model.state import Breaker, NodeFault, PoolState

SUSPECT_SECONDS = 1.0
"""How often the pool is checked while a provider may be about to fall silent."""
SILENT_SECONDS = 5.0
"""How often the pool is checked while a node is silent: no event announces that its heartbeat is back."""
EARLY_SECONDS = 1.0
"""The heartbeat tracker reports each new silence once, and that report can be slightly early. So the pool is checked
again at the moment of a silence that is nearer than this."""


class Health(msgspec.Struct, frozen=True):
    """The verdict on all nodes of a pool."""

    nodes: Mapping[str, NodeFault] = NO_FAULTS
    """By node: every fault, also a fault that does not count yet. The next pass goes on from it."""
    providers: Mapping[str, ProviderHealth] = MappingProxyType({})
    """By provider: every provider of the pool."""
    all_silent: str = ""
    """Why no verdict can be trusted, for people; empty while verdicts can be trusted."""
    recheck_at: float | None = None
    """When time alone may change a verdict, in seconds since the epoch."""
    suspect: frozenset[str] = frozenset()
    """Providers whose other nodes may soon be silent too, because heartbeats that stop together are missed one by one,
    providers whose silence is not confirmed yet, and providers that a signal from metrics is about to find as sick as
    another provider. They count as failed in the blast-radius check."""
    to_read: frozenset[str] = frozenset()
    """Names of silent nodes whose Leases must be read directly before a breaker opens."""
    joined: frozenset[str] | None = None
    """Nodes that have been ready with accelerators, as far as this process knows; None before the first pass. Other
    nodes just join."""


def health_of(
    snapshot: Snapshot, members: Members, state: PoolState, now: float, signals: Signals = NO_SIGNALS
) -> Health:
    """Return the verdicts on the nodes of a pool's providers, and on the providers."""
    spec = snapshot.pool.spec.health
    silent_seconds = counted_silence(spec.silent_seconds, snapshot.heartbeat_interval)
    silence = silence_of(snapshot.heartbeats, snapshot.listening_since, silent_seconds, now)
    if snapshot.stale or silence.all_silent:
        return _frozen_health(members, state, silence.all_silent, now)
    resource = snapshot.pool.spec.accelerator.resource_name
    times = Times(
        sustain=spec.sustain_seconds,
        clear=spec.clear_seconds,
        silence=snapshot.pool.spec.failover.silence_seconds,
        device_gone=spec.device_gone_seconds,
    )
    holes = black_holes(snapshot.failures, members, spec.black_holes, resource, now)
    rules = rules_of(spec, snapshot.pool.name, resource)
    inspection = NodeInspection(rules, times, silence, holes.failed_pods, state, now, signals.nodes)
    counted = {name: inspection.inspect(name, infos) for name, infos in members.items()}
    of_nodes = {
        name: provider_health(
            counted[name],
            inspection.faults,
            ProviderHeartbeats(
                snapshot.heartbeats, silence, infos, snapshot.read_live, now, opens_by_failure(state.breaker(name))
            ),
            resource,
            spec,
        )
        for name, infos in members.items()
    }
    providers = {name: with_metrics(health, signals.of_provider(name)) for name, health in of_nodes.items()}
    any_silent = any(name in silence.silent for name in inspection.faults)
    while_silent = now + SILENT_SECONDS if any_silent else None
    # The store wakes the pool when a node falls silent, so no recheck is scheduled unless that moment is near.
    next_silent = silence.recheck_at
    if not any_silent and next_silent is not None and next_silent > now + EARLY_SECONDS:
        next_silent = None
    suspect = frozenset[str]()
    if any_silent:
        joined = {name: nodes.infos for name, nodes in counted.items()}
        suspect = suspect_providers(joined, snapshot.heartbeats, silence, spec.silent_percent)
    to_read = frozenset[str]().union(*(health.to_read for health in providers.values()))
    if suspect or to_read:
        while_silent = now + SUSPECT_SECONDS
    of_faults = (recheck_at(fault, times) for fault in inspection.faults.values())
    return Health(
        nodes=inspection.faults,
        providers=providers,
        recheck_at=soonest(now, [next_silent, holes.recheck_at, while_silent, *of_faults]),
        suspect=suspect | signals.suspect | {name for name, health in providers.items() if health.to_read},
        to_read=to_read,
        joined=frozenset(inspection.joined),
    )


def opens_by_failure(breaker: Breaker) -> bool:
    """Say whether a failure of the provider opens its breaker: it is not open, or is open only by hand."""
    return breaker.state is not BreakerState.OPEN or breaker.reason is Reason.DRAINED


def _frozen_health(members: Members, state: PoolState, all_silent: str, now: float) -> Health:
    """Return the verdict while nothing can be judged: unhealthy nodes stay unhealthy, and no provider fails."""
    faults = frozen_faults(state.memory.node_faults)
    return Health(
        nodes=faults,
        providers={name: ProviderHealth(unhealthy=faults_among(infos, faults)) for name, infos in members.items()},
        all_silent=all_silent,
        recheck_at=now + SILENT_SECONDS if all_silent else None,
        joined=state.memory.joined,
    )
