"""What a signal reads now: one value over the series that count, or Unknown with the reason.

Invariant 4: what is missing, stale or partial is Unknown. An empty answer is not 0. The nodes and pods that should have
a sample are known from the cluster, so the silent ones are missed here. Without them the others would look well.
"""

from collections.abc import Sequence
from enum import Enum, auto
from itertools import chain
from math import ceil
from typing import Final

import msgspec

from computepool.model.api import MetricSignal, Reduce
from computepool.model.presets import Reads, Scope, reduce_of
from computepool.model.reasons import Reason
from computepool.model.signals import Answer, Samples, SignalData


class Side(Enum):
    """On which side of its thresholds a value is."""

    ENTER = auto()
    """At `enter` or beyond."""
    BETWEEN = auto()
    EXIT = auto()
    """At `exit` or beyond."""
    UNKNOWN = auto()


class Reading(msgspec.Struct, frozen=True):
    """What a signal reads at one moment."""

    side: Side = Side.UNKNOWN
    value: float | None = None
    """None if it is Unknown, or if there is nothing to measure."""
    unknown: Reason | None = None
    """Why it is Unknown."""
    detail: str = ""
    """What is missing, for people."""
    expected: int = 0
    """How many nodes or pods should have a sample; 1 for the whole pool."""
    sampled: int = 0
    """How many of them have a sample that is not too old."""
    age: float | None = None
    """Age of the oldest sample that counts, in seconds."""


class Sum(msgspec.Struct, frozen=True):
    """The samples of many nodes or pods."""

    value: float
    sampled: int
    """How many nodes or pods they are of."""
    oldest: float
    newest: float
    """The greatest and the least age when the source answered, in seconds."""


def reading_of(
    metric: MetricSignal, reads: Reads, data: SignalData, names: tuple[str, ...] | None, now: float
) -> Reading:
    """Return what the signal reads at `now`, in seconds since the epoch.

    `names`: the nodes or pods that should have a sample; None for series of the whole pool.
    """
    expected = 1 if names is None else len(names)
    if data.verdict is not None:
        return Reading(Side.ENTER if data.verdict else Side.EXIT)
    if not expected:
        # Without nodes and started pods no sample is missing.
        return Reading(Side.EXIT)
    answer = data.answer
    if answer is None:
        return Reading(unknown=Reason.NO_ANSWER, detail=data.error, expected=expected)
    # An answer of the future came before the clock was set back, nobody knows when.
    since = abs(now - answer.at)
    counted = _counted(metric, answer, reads.scope, names, since)
    sampled, age = (0, None) if counted is None else (counted.sampled, max(counted.oldest, 0.0) + since)
    if counted is None or 100 * sampled < metric.coverage_percent * expected:
        reason = Reason.TOO_FEW_SERIES if sampled else Reason.NO_SERIES
        # While the source fails, its last answer grows old, and that is why samples are missing.
        reason = Reason.NO_ANSWER if data.error else reason
        return Reading(unknown=reason, detail=data.error, expected=expected, sampled=sampled, age=age)
    return Reading(side_of(metric, counted.value), counted.value, expected=expected, sampled=sampled, age=age)


def side_of(metric: MetricSignal, value: float) -> Side:
    """Return on which side of the signal's thresholds a value is."""
    # As numbers of the same kind: 0.7 of the source is the threshold "0.7".
    enter, leave = float(metric.enter), float(metric.exit)
    if value >= enter if metric.rises else value <= enter:
        return Side.ENTER
    if value <= leave if metric.rises else value >= leave:
        return Side.EXIT
    return Side.BETWEEN


FEW: Final = 8
"""Number of names up to which a lookup is as quick as a remembered result."""


def _counted(
    metric: MetricSignal, answer: Answer, scope: Scope, names: tuple[str, ...] | None, since: float
) -> Sum | None:
    """Return the samples that count; None if there are none. `since`: seconds since the answer."""
    reduce, max_age = reduce_of(metric), metric.max_age_seconds

    def all_samples() -> Sum | None:
        return _sum_up(reduce, _samples(answer, scope, names))

    many = names is not None and len(names) > FEW
    whole = answer.once((reduce, names), all_samples) if many else all_samples()
    if whole is None or (_counts(whole.oldest, since, max_age) and _counts(whole.newest, since, max_age)):
        return whole
    return _sum_up(reduce, [found for found in _samples(answer, scope, names) if _counts(found.age, since, max_age)])


def _counts(age: float, since: float, max_age: float) -> bool:
    """Say whether a sample is not too old, and not of a future that no difference of clocks explains."""
    return max(age, 0.0) + since < max_age and age > -max_age


def _samples(answer: Answer, scope: Scope, names: tuple[str, ...] | None) -> Sequence[Samples]:
    if names is None:
        return () if answer.whole is None else (answer.whole,)
    by_name = answer.nodes if scope is Scope.NODE else answer.pods
    return [found for found in map(by_name.get, names) if found is not None]


def _sum_up(reduce: Reduce, samples: Sequence[Samples]) -> Sum | None:
    if not samples:
        return None
    ages = [found.age for found in samples]
    values = list(chain.from_iterable([found.values for found in samples]))
    return Sum(_reduced(reduce, values), len(samples), max(ages), min(ages))


P95: Final = 0.95


def _reduced(reduce: Reduce, values: list[float]) -> float:
    match reduce:
        case Reduce.MAX:
            return max(values)
        case Reduce.AVG:
            return sum(values) / len(values)
        case Reduce.SUM:
            return sum(values)
        case Reduce.P95:
            # The nearest rank: a value that was measured.
            return sorted(values)[ceil(P95 * len(values)) - 1]
