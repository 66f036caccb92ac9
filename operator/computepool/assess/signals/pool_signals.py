"""The verdicts on all signals of a pool, and what follows from them.

Invariant 4: a signal that is Unknown is neither pressure nor relief. It turns nothing on. If it was on before, what it
has caused stays. While a signal of pressure, or a signal of the primary's health, is Unknown, no pod is brought home.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import msgspec

from computepool.assess.members import Members
from computepool.assess.recheck_times import soonest
from computepool.assess.signals.definitions import Definitions, definitions_of, without_edited
from computepool.assess.signals.node_signals import NodeSignal, NodeVerdicts, node_verdicts
from computepool.assess.signals.reading import Side, reading_of
from computepool.assess.signals.switch import OFF, Signal, reached, rechecks, switched
from computepool.model.api import ComputePool, HealthMetric, MetricSignal, Target, Where
from computepool.model.cluster import NodeInfo, members_on
from computepool.model.presets import Scope, reads_of
from computepool.model.signals import NO_DATA, SATURATION, signal_key
from computepool.model.snapshot import Snapshot
from computepool.model.state import PoolState, SignalState


class HealthSignal(msgspec.Struct, frozen=True):
    """A signal of the health of one provider, and its verdict."""

    metric: HealthMetric
    provider: str
    signal: Signal


class ProviderSignals(msgspec.Struct, frozen=True):
    """What the health signals of one provider say together."""

    unhealthy: str = ""
    """The signals whose data shows now that they are on, for people; empty without any."""
    troubled: bool = False
    """Whether a signal is on, also if it is Unknown by now, or at its threshold `enter`."""
    unknown: bool = False
    """Whether a signal is Unknown."""


WELL: Final = ProviderSignals()


class Signals(msgspec.Struct, frozen=True):
    """The verdicts on a pool's signals."""

    saturation: Mapping[str, Signal] = MappingProxyType({})
    """By name."""
    health: tuple[HealthSignal, ...] = ()
    """By the order of the spec, each for every provider."""
    states: Mapping[str, SignalState] = MappingProxyType({})
    """By key: the state of signals that are on, or about to turn on."""
    nodes: Mapping[str, NodeSignal] = MappingProxyType({})
    """By node: a signal that is on for the node."""
    definitions: Definitions = MappingProxyType({})
    recheck_at: float | None = None

    @property
    def recorded(self) -> frozenset[str]:
        """The keys of the signals that are on, without single nodes: a node in quarantine carries a taint."""
        own = frozenset(signal_key(found.metric, found.provider) for found in self.health if found.signal.on)
        return own.union(f"{SATURATION}/{name}" for name in self.pressing)

    @property
    def pressing(self) -> Sequence[str]:
        """The names of the saturation signals that are on."""
        return [name for name, signal in self.saturation.items() if signal.on]

    @property
    def causing(self) -> Sequence[str]:
        """The names of the saturation signals that are on and known: because of them pods skip `pendingSeconds`."""
        return [name for name in self.pressing if self.saturation[name].known]

    @property
    def held(self) -> bool:
        """Whether no signal is on and known. Signals that are on and Unknown keep what they have caused, and cause no
        more."""
        return not self.causing

    def keeps_away(self, primary: str) -> bool:
        """Say whether no pod may come home, because data about the primary's pressure or health is Unknown."""
        return not all(signal.known for signal in self.saturation.values()) or not all(
            found.signal.known for found in self.health if found.provider == primary
        )

    @property
    def suspect(self) -> frozenset[str]:
        """The providers for which a signal is about to turn on that is on for another provider.

        Each provider's query has its own time, so what all of them share, such as a broken exporter, shows one by one.
        """
        judging = [found for found in self.health if found.metric.target is Target.PROVIDER]
        shown = {found.metric.name for found in judging if found.signal.shown}
        return frozenset(found.provider for found in judging if found.metric.name in shown and found.signal.turns_on)

    def of_provider(self, provider: str) -> ProviderSignals:
        """Return what a provider's health signals say together."""
        own = [found for found in self.health if found.provider == provider and found.metric.target is Target.PROVIDER]
        if not own:
            return WELL
        shown = [found.metric for found in own if found.signal.shown]
        return ProviderSignals(
            unhealthy=", ".join(map(reached, shown)),
            troubled=any(found.signal.on or found.signal.reading.side is Side.ENTER for found in own),
            unknown=any(not found.signal.known for found in own),
        )


NO_SIGNALS: Final = Signals()


def signals_of(snapshot: Snapshot, members: Members, state: PoolState, now: float) -> Signals:
    """Return the verdicts. `members`: the nodes of each provider."""
    pool = snapshot.pool
    if not pool.spec.saturation.metrics and not pool.spec.health.metrics:
        return NO_SIGNALS
    definitions = definitions_of(pool)
    state = without_edited(state, definitions)
    saturation = {
        metric.name: _signal(snapshot, metric, "", _baseline(pool, members, metric.where), state, now)
        for metric in pool.spec.saturation.metrics
    }
    of_nodes = _of_nodes(snapshot, members, state, now)
    health = tuple(
        HealthSignal(metric, name, _health(snapshot, metric, name, members[name], state, now, of_nodes))
        for metric in pool.spec.health.metrics
        for name in (provider.name for provider in pool.spec.providers)
    )
    judged: list[tuple[MetricSignal, str, Signal]] = [
        *((metric, "", saturation[metric.name]) for metric in pool.spec.saturation.metrics),
        *((found.metric, found.provider, found.signal) for found in health),
    ]
    states = {signal_key(metric, of): signal.state for metric, of, signal in judged if signal.state != OFF}
    times = [
        *(at for metric, _, signal in judged for at in rechecks(metric, signal, now)),
        *(at for verdicts in of_nodes.values() for at in verdicts.rechecks),
    ]
    for verdicts in of_nodes.values():
        states.update(verdicts.states)
    return Signals(
        saturation=saturation,
        health=health,
        states=states,
        nodes={name: signal for verdicts in of_nodes.values() for name, signal in verdicts.on.items()},
        definitions=definitions,
        recheck_at=soonest(now, times),
    )


def _of_nodes(snapshot: Snapshot, members: Members, state: PoolState, now: float) -> Mapping[str, NodeVerdicts]:
    """Return the verdicts of the signals about nodes, by the keys of the signals."""
    wanted = [
        (metric, provider.name, signal_key(metric, provider.name))
        for metric in snapshot.pool.spec.health.metrics
        if metric.target is Target.NODE
        for provider in snapshot.pool.spec.providers
    ]
    return {
        key: node_verdicts(
            metric,
            provider,
            snapshot.signals.get(key, NO_DATA),
            [info.node for info in members[provider]],
            state,
            now,
        )
        for metric, provider, key in wanted
    }


def _health(
    snapshot: Snapshot,
    metric: HealthMetric,
    provider: str,
    infos: Iterable[NodeInfo],
    state: PoolState,
    now: float,
    of_nodes: Mapping[str, NodeVerdicts],
) -> Signal:
    """Return a health signal of one provider. A signal about nodes is on if it is on for any node."""
    signal = _signal(snapshot, metric, provider, infos, state, now)
    verdicts = of_nodes.get(signal_key(metric, provider))
    return signal if verdicts is None else Signal(signal.reading, SignalState(on=bool(verdicts.on)), signal.names)


def _baseline(pool: ComputePool, members: Members, where: Where) -> Iterable[NodeInfo]:
    if where is Where.BASELINE:
        return members[pool.spec.primary.name]
    return [info for infos in members.values() for info in infos]


def _signal(
    snapshot: Snapshot, metric: MetricSignal, provider: str, infos: Iterable[NodeInfo], state: PoolState, now: float
) -> Signal:
    key = signal_key(metric, provider)
    reads = reads_of(metric)
    names = _names(metric, reads.scope, infos, snapshot.pool.name)
    reading = reading_of(metric, reads, snapshot.signals.get(key, NO_DATA), names, now)
    before = state.memory.signals.get(key, SignalState(on=key in state.recorded.signals_on))
    return Signal(reading, switched(metric, before, reading, now), names)


def _names(metric: MetricSignal, scope: Scope, infos: Iterable[NodeInfo], pool: str) -> tuple[str, ...] | None:
    """Return the names that should have a sample: nodes, or the pool's pods that have started; None for the pool."""
    match scope:
        case Scope.NODE:
            return tuple([info.node.name for info in infos])
        case Scope.POD:
            serves = metric.pod_selector.compiled()
            started = [pod for pod in members_on(infos, pool) if pod.deleting is None and (pod.ready or pod.has_run)]
            return tuple([f"{pod.namespace}/{pod.name}" for pod in started if serves.matches(pod.labels)])
        case Scope.POOL:
            return None
