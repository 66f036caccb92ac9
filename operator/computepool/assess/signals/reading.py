"""What a signal reads now: one value over the series that count, or Unknown with the reason.

Invariant 4: what is missing, stale or partial is Unknown. An empty answer is not 0. The nodes and pods that should have
a sample are known from the cluster, so those that fell silent are missed here: without them the rest looks well.
"""

from collections.abc import Iterable, Sequence
from enum import Enum, auto
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
    spoke: int = 0
    """How many of them have a sample that is not too old."""
    age: float | None = None
    """Age of the oldest sample that counts, in seconds."""


class Counted(msgspec.Struct, frozen=True):
    """The samples that count."""

    values: list[float]
    spoke: int
    age: float | None


def reading_of(
    metric: MetricSignal, reads: Reads, data: SignalData, names: Sequence[str] | None, now: float
) -> Reading:
    """Return what the signal reads at `now`, in seconds since the epoch.

    `names`: the nodes or pods that should have a sample; None for series of the whole pool.
    """
    expected = 1 if names is None else len(names)
    if data.verdict is not None:
        return Reading(Side.ENTER if data.verdict else Side.EXIT)
    if not expected:
        # Nothing is missing where nobody should speak.
        return Reading(Side.EXIT)
    answer = data.answer
    if answer is None:
        return Reading(unknown=Reason.NO_ANSWER, detail=data.error, expected=expected)
    counted = _counted(_samples(answer, reads.scope, names), metric.max_age_seconds, now - answer.at)
    if not counted.spoke or 100 * counted.spoke < metric.coverage_percent * expected:
        reason = Reason.TOO_FEW_SERIES if counted.spoke else Reason.NO_SERIES
        # While the source fails, its last answer grows old, and that is why samples are missing.
        reason = Reason.NO_ANSWER if data.error else reason
        return Reading(unknown=reason, detail=data.error, expected=expected, spoke=counted.spoke, age=counted.age)
    value = _reduced(reduce_of(metric), counted.values)
    return Reading(side_of(metric, value), value, expected=expected, spoke=counted.spoke, age=counted.age)


def side_of(metric: MetricSignal, value: float) -> Side:
    """Return on which side of the signal's thresholds a value is."""
    # As numbers of the same kind: 0.7 of the source is the threshold "0.7".
    enter, leave = float(metric.enter), float(metric.exit)
    if value >= enter if metric.rises else value <= enter:
        return Side.ENTER
    if value <= leave if metric.rises else value >= leave:
        return Side.EXIT
    return Side.BETWEEN


def _samples(answer: Answer, scope: Scope, names: Sequence[str] | None) -> Iterable[Samples]:
    if names is None:
        return () if answer.whole is None else (answer.whole,)
    by_name = answer.nodes if scope is Scope.NODE else answer.pods
    return (by_name[name] for name in names if name in by_name)


def _counted(samples: Iterable[Samples], max_age: float, since: float) -> Counted:
    """Return the samples that are not too old, and not of a future that no difference of clocks explains.

    `since`: seconds since the answer.
    """
    values: list[float] = []
    spoke, oldest = 0, None
    for found in samples:
        age = max(found.age, 0.0) + max(since, 0.0)
        if age >= max_age or found.age <= -max_age:
            continue
        spoke += 1
        values.extend(found.values)
        oldest = age if oldest is None else max(oldest, age)
    return Counted(values, spoke, oldest)


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
