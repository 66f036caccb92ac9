"""When a pass must read new answers of a pool's signals: at once if a verdict may change, and otherwise later.

Most answers change a value that people see, and no verdict. A pass looks at the whole pool, so it costs far more than
to read the answers alone.
"""

from collections.abc import Iterable, Mapping

from computepool.assess.recheck_times import soonest
from computepool.assess.signals.node_signals import nodes_at_enter
from computepool.assess.signals.pool_signals import Signals
from computepool.assess.signals.reading import Reading, reading_of
from computepool.assess.signals.switch import Signal, rechecks
from computepool.model.api import ComputePool, HealthMetric, MetricSignal, Target
from computepool.model.presets import reads_of
from computepool.model.signals import NO_DATA, SignalData, signal_key


def answers_due(
    verdicts: Signals, pool: ComputePool, data: Mapping[str, SignalData], now: float, shown_seconds: float
) -> float:
    """Return when a pass must read the answers, in seconds since the epoch; `now` if they may change a verdict.

    `verdicts`: those of the last pass. `data`: the answers by the keys of the signals. `shown_seconds`: how old the
    values that people see may become. All else that verdicts depend on makes a pass by itself.
    """
    times = [now + shown_seconds]
    for metric, key, signal in _judged(verdicts, pool):
        if signal is None:
            return now
        answer = data.get(key, NO_DATA)
        reading = reading_of(metric, reads_of(metric), answer, signal.names, now)
        if _differ(reading, signal.reading) or _concerns_nodes(metric, key, signal, answer, verdicts):
            return now
        times.extend(rechecks(metric, Signal(reading, signal.state), now))
    return soonest(now, times) or now


def _judged(verdicts: Signals, pool: ComputePool) -> Iterable[tuple[MetricSignal, str, Signal | None]]:
    """Return the signals of the spec with their keys and last verdicts; None for a signal without a verdict."""
    health = {signal_key(found.metric, found.provider): found.signal for found in verdicts.health}
    for metric in pool.spec.saturation.metrics:
        yield metric, signal_key(metric, ""), verdicts.saturation.get(metric.name)
    for of_health in pool.spec.health.metrics:
        for provider in pool.spec.providers:
            key = signal_key(of_health, provider.name)
            yield of_health, key, health.get(key)


def _differ(reading: Reading, before: Reading) -> bool:
    return (reading.side, reading.unknown) != (before.side, before.unknown)


def _concerns_nodes(metric: MetricSignal, key: str, signal: Signal, data: SignalData, verdicts: Signals) -> bool:
    """Say whether a signal about nodes is on for a node, or may turn on."""
    if not isinstance(metric, HealthMetric) or metric.target is not Target.NODE:
        return False
    if any(own.startswith(f"{key}/") for own in verdicts.states):
        return True
    return data.answer is not None and not nodes_at_enter(metric, data.answer).isdisjoint(signal.names or ())
