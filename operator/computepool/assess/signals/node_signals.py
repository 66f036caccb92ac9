"""Signals from metrics about single nodes: the same switch as for providers, for each node by itself.

A node that has no sample is not missed here: its signal is Unknown, and stays as it was.
"""

from collections.abc import Iterable, Mapping

import msgspec

from computepool.assess.signals.reading import reading_of
from computepool.assess.signals.switch import OFF, Signal, rechecks, switched
from computepool.model.api import HealthMetric, Reduce
from computepool.model.cluster import Node
from computepool.model.presets import reads_of
from computepool.model.reasons import Reason
from computepool.model.signals import Samples, SignalData
from computepool.model.state import Memory, SignalState


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
    key: str,
    data: SignalData,
    nodes: Iterable[Node],
    memory: Memory,
    now: float,
) -> NodeVerdicts:
    """Return the verdicts on these nodes. `key`: of the signal.

    In the first pass of a process, a quarantine shows that an earlier leader knew a signal to be on.
    """
    reads, samples = reads_of(metric), {} if data.answer is None else data.answer.nodes
    on: dict[str, NodeSignal] = {}
    states: dict[str, SignalState] = {}
    times: list[float] = []
    first = memory.joined is None
    for node in nodes:
        name, own = node.name, f"{key}/{node.name}"
        earlier = memory.signals.get(own, OFF)
        if first and node.quarantine == Reason.METRIC_UNHEALTHY:
            earlier = SignalState(on=True)
        if earlier is OFF and not _may_enter(metric, samples.get(name)):
            continue
        reading = reading_of(metric, reads, data, (name,), now)
        state = switched(metric, earlier, reading, now)
        if state == OFF:
            continue
        states[own] = state
        times.extend(rechecks(metric, Signal(reading, state), now))
        if state.on:
            on[name] = NodeSignal(f"{metric.name} was at {metric.enter} or beyond", Signal(reading, state).shown)
    return NodeVerdicts(on, states, tuple(times))


def _may_enter(metric: HealthMetric, samples: Samples | None) -> bool:
    """Say at little cost whether the value of a node may be at the threshold `enter`: that of most nodes is not."""
    if samples is None:
        return False
    if metric.reduce is Reduce.SUM:
        return True
    enter = float(metric.enter)
    return max(samples.values) >= enter if metric.rises else min(samples.values) <= enter
