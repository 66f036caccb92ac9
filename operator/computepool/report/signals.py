"""A pool's signals from metrics as users see them: verdicts, rounded values, and missing data."""

import re
from collections.abc import Iterable, Sequence
from math import ceil, isclose, isfinite
from typing import Final

import msgspec

from computepool.assess.signals.pool_signals import Signals
from computepool.assess.signals.switch import Signal
from computepool.model.api import ComputePool, MetricSignal, SignalStatus, SignalVerdict
from computepool.model.presets import Scope, reads_of
from computepool.model.reasons import Reason
from computepool.model.signals import signal_key
from computepool.report.formatting import full_stop
from computepool.report.pass_report import PassReport

TENS: Final = 10
FEW: Final = 20
"""So few nodes or pods are told exactly."""
MINUTE: Final = 60
STEADY: Final = 0.1
"""Part of a value by which it may change before the status shows the change."""
SMALLEST: Final = 1e-6
LARGEST: Final = 1e12
"""Values outside this range are written with an exponent."""
_NUMBER: Final = re.compile(r"-?\d+(\.\d+)?(e[+-]\d+)?")
NEXT_STEPS: Final = {
    Reason.NO_ANSWER: "`computepool signals POOL` asks the source again.",
    Reason.NO_SERIES: "`computepool signals POOL` shows every series, and why it was left out.",
    Reason.TOO_FEW_SERIES: "`computepool signals POOL` shows which nodes or pods are missing.",
}


class Told(msgspec.Struct, frozen=True):
    """A signal and its verdict."""

    key: str
    metric: MetricSignal
    signal: Signal

    @property
    def verdict(self) -> SignalVerdict:
        """On, Off or Unknown."""
        if not self.signal.known:
            return SignalVerdict.UNKNOWN
        return SignalVerdict.ON if self.signal.on else SignalVerdict.OFF

    @property
    def value(self) -> str:
        """The value with two significant digits and its unit; empty while it is Unknown."""
        value = self.signal.reading.value
        if value is None:
            return ""
        unit = reads_of(self.metric).unit
        return f"{rounded(value)} {unit}".strip()

    @property
    def coverage(self) -> int:
        """Percent of the nodes or pods that have a sample."""
        reading = self.signal.reading
        return 100 * reading.sampled // reading.expected if reading.expected else 0

    @property
    def found(self) -> str:
        """How many nodes or pods have a current sample, as a sentence; empty if there is nothing to measure."""
        reading = self.signal.reading
        if not reading.expected:
            return ""
        if reads_of(self.metric).scope is Scope.POOL:
            return f"The pool has {'a' if reading.sampled else 'no'} current sample."
        return f"{reading.sampled} of {reading.expected} {self._owners} have a current sample."

    @property
    def missing(self) -> str:
        """What is missing, and the next step; empty while the signal is known."""
        reading = self.signal.reading
        if reading.unknown is None:
            return ""
        detail = full_stop(reading.detail) if reading.detail else self._roughly_found
        return " ".join(filter(None, (detail, NEXT_STEPS[reading.unknown])))

    @property
    def _owners(self) -> str:
        return "nodes" if reads_of(self.metric).scope is Scope.NODE else "pods"

    @property
    def _roughly_found(self) -> str:
        """The same for the status. The number of many nodes changes with each answer, so it is rounded."""
        reading = self.signal.reading
        if not reading.sampled or reading.expected <= FEW:
            return self.found
        percent = TENS * round(10 * reading.sampled / reading.expected)
        share = f"About {percent} %" if percent else "Few"
        return f"{share} of {reading.expected} {self._owners} have a current sample."


def signals_told(report: PassReport) -> Sequence[Told]:
    """Return the pool's signals in the order of the spec."""
    return told_of(report.snapshot.pool, report.assessment.signals)


def told_of(pool: ComputePool, signals: Signals) -> Sequence[Told]:
    """Return the signals of a pool with their verdicts."""
    saturation = [
        Told(signal_key(metric, ""), metric, signals.saturation[metric.name])
        for metric in pool.spec.saturation.metrics
        if metric.name in signals.saturation
    ]
    health = [Told(signal_key(found.metric, found.provider), found.metric, found.signal) for found in signals.health]
    return [*saturation, *health]


def status_of_signals(told: Iterable[Told], before: Iterable[SignalStatus]) -> tuple[SignalStatus, ...]:
    """Return the signals as the status has them. `before`: the status before this pass.

    A value that is near the value before stays as it is: otherwise the status would change with every answer.
    """
    earlier = {one.key: one for one in before}
    return tuple(_status(one, earlier.get(one.key)) for one in told)


def _status(told: Told, before: SignalStatus | None) -> SignalStatus:
    now = SignalStatus(
        key=told.key,
        verdict=told.verdict,
        on=told.signal.on,
        value=told.value,
        coverage_percent=min(told.coverage // TENS * TENS, 100),
        age_seconds=_shown_age(told.signal.reading.age, None if before is None else before.age_seconds),
        reason=str(told.signal.reading.unknown or ""),
        message=told.missing,
    )
    if before is None or before.verdict is not now.verdict or not _near(before.value, told.signal.reading.value):
        return now
    return now.model_copy(update={"value": before.value})


def _shown_age(age: float | None, before: int | None) -> int | None:
    """Round an age up to whole minutes. What was shown before stays while it is at most two minutes too high."""
    if age is None or not isfinite(age):
        return None
    if before is not None and before - 2 * MINUTE < age <= before:
        return before
    return max(1, ceil(age / MINUTE)) * MINUTE


def _near(shown: str, value: float | None) -> bool:
    """Say whether a value differs from the value that is shown by a tenth at most."""
    number, _, _ = shown.partition(" ")
    if value is None or not _NUMBER.fullmatch(number):
        return False
    return isclose(float(number), value, rel_tol=STEADY)


def rounded(value: float) -> str:
    """Write a number with two significant digits; with an exponent only where it is very large or very small."""
    if value == 0:
        return "0"
    if not SMALLEST <= abs(value) < LARGEST:
        return f"{value:.1e}"
    shown = float(f"{value:.1e}")
    return f"{shown:.0f}" if abs(shown) >= TENS else f"{shown:.10f}".rstrip("0").rstrip(".")
