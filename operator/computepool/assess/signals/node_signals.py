"""Signals from metrics about single nodes: the same switch as for providers, for each node by itself.

A node that has no sample is not missed here: its signal is Unknown, and stays as it was.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from computepool.assess.signals.reading import reading_of
from computepool.assess.signals.switch import OFF, Signal, reached, rechecks, switched
from computepool.model.api import HealthMetric, Reduce
from computepool.model.cluster import Node
from computepool.model.presets import reads_of
from computepool.model.reasons import Reason
from computepool.model.signals import Answer, SignalData, signal_key
from computepool.model.state import PoolState, SignalState

PRESUMED: Final = SignalState(on=True, presumed=True)


class NodeSignal(msgspec.Struct, frozen=True):
    """A signal that is on for a node."""

    text: str
    """What was measured, for people."""
    shown: bool
    """Whether the data shows that now. Otherwise it is Unknown, or the signal clears."""


class NodeVerdicts(msgspec.Struct, frozen=True):
    """The verdicts of one signal on many nodes."""

    on: Mapping[str, NodeSignal]
    """By node."""
    states: Mapping[str, SignalState]
    """By key: the states of nodes whose signal is on, or about to turn on."""
    rechecks: tuple[float, ...]


def node_verdicts(
    metric: HealthMetric,
    provider: str,
    data: SignalData,
    nodes: Iterable[Node],
    state: PoolState,
    now: float,
) -> NodeVerdicts:
    """Return the verdicts on these nodes of the provider.

    In the first pass of a process, a quarantine shows that an earlier leader knew a signal to be on, unless a breaker
    that is not closed explains it.
    """
    reads = reads_of(metric)
    prefix = f"{signal_key(metric, provider)}/"
    on: dict[str, NodeSignal] = {}
    states: dict[str, SignalState] = {}
    times: list[float] = []
    earlier = state.memory.signals
    presumes = state.memory.joined is None and state.breaker(provider).closed
    for node in _concerned(metric, prefix, data, nodes, earlier, presumes=presumes):
        name, own = node.name, prefix + node.name
        before = PRESUMED if presumes and _is_quarantined(node) else earlier.get(own, OFF)
        reading = reading_of(metric, reads, data, (name,), now)
        after = switched(metric, before, reading, now)
        if after == OFF:
            continue
        states[own] = after
        times.extend(rechecks(metric, Signal(reading, after), now))
        if after.on:
            text = "in quarantine already" if after.presumed else reached(metric)
            on[name] = NodeSignal(text, Signal(reading, after).shown)
    return NodeVerdicts(on, states, tuple(times))


def _concerned(
    metric: HealthMetric,
    prefix: str,
    data: SignalData,
    nodes: Iterable[Node],
    earlier: Mapping[str, SignalState],
    *,
    presumes: bool,
) -> Iterable[Node]:
    """Return the nodes whose signal is on or may turn on, at little cost: of thousands they are few."""
    names = {key.removeprefix(prefix) for key in earlier if key.startswith(prefix)}
    if data.answer is not None:
        names |= nodes_at_enter(metric, data.answer)
    return [node for node in nodes if node.name in names or (presumes and _is_quarantined(node))]


def _is_quarantined(node: Node) -> bool:
    return node.quarantine == Reason.METRIC_UNHEALTHY


def nodes_at_enter(metric: HealthMetric, answer: Answer) -> frozenset[str]:
    """Return the nodes whose value may be at the threshold `enter`."""
    if metric.reduce is Reduce.SUM:
        return frozenset(answer.nodes)
    enter, rises = float(metric.enter), metric.rises

    def found() -> frozenset[str]:
        if rises:
            return frozenset(name for name, samples in answer.nodes.items() if max(samples.values) >= enter)
        return frozenset(name for name, samples in answer.nodes.items() if min(samples.values) <= enter)

    return answer.once((enter, rises), found)
