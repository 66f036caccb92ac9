"""Whether a signal is on: its reading over time.

Off -> On   its value has been at `enter` or beyond for sustainSeconds.
On  -> Off  its value has been at `exit` or beyond for clearSeconds.

Invariant 4: an Unknown reading changes nothing and every timer starts anew. So a signal that is on stays on while it is
Unknown, and whatever follows from it stays as it was. After a restart the timers start anew too.

A signal that is only presumed to be on has to show that itself: between its thresholds it is off.
"""

from collections.abc import Sequence
from math import ceil
from typing import Final

import msgspec

from computepool.assess.signals.reading import Reading, Side
from computepool.model.api import MetricSignal
from computepool.model.state import SignalState

MARGIN_SECONDS: Final = 0.01
"""A check at the very moment when a sample becomes too old could round to a moment before, and find it still good."""
STEPS: Final = 10
"""A sample that has become too old is noticed within this part of maxAgeSeconds, or a second."""
OFF: Final = SignalState()


class Signal(msgspec.Struct, frozen=True):
    """A signal's verdict."""

    reading: Reading
    state: SignalState
    names: tuple[str, ...] | None = None
    """The nodes or pods that should have a sample; None for series of the whole pool."""

    @property
    def on(self) -> bool:
        """Whether it is on, also if it is Unknown and was on before."""
        return self.state.on

    @property
    def shown(self) -> bool:
        """Whether its data shows now that it is on: it is neither Unknown nor at `exit`, as it is while it clears."""
        return self.on and self.reading.side in (Side.ENTER, Side.BETWEEN)

    @property
    def turns_on(self) -> bool:
        """Whether it is off, and its value is at `enter` or beyond."""
        return not self.on and self.reading.side is Side.ENTER

    @property
    def known(self) -> bool:
        """Whether its data is current and complete enough."""
        return self.reading.side is not Side.UNKNOWN


def reached(metric: MetricSignal) -> str:
    """Say for people which threshold the values of a signal that is on have reached."""
    return f"{metric.name} was at {metric.enter} or beyond"


def switched(metric: MetricSignal, before: SignalState, reading: Reading, now: float) -> SignalState:
    """Return the signal's next state. `now`: seconds since the epoch."""
    if before.presumed and reading.side is Side.BETWEEN:
        return OFF
    if before.on:
        presumed = before.presumed and reading.side is not Side.ENTER
        if reading.side is not Side.EXIT:
            return SignalState(on=True, presumed=presumed)
        since = now if before.since is None else before.since
        return OFF if now >= since + metric.clear_seconds else SignalState(on=True, since=since, presumed=presumed)
    if reading.side is not Side.ENTER:
        return OFF
    since = now if before.since is None else before.since
    return SignalState(on=True) if now >= since + metric.sustain_seconds else SignalState(since=since)


def rechecks(metric: MetricSignal, signal: Signal, now: float) -> Sequence[float]:
    """Return when time alone may change the verdict, in seconds since the epoch."""
    times = []
    if signal.state.since is not None:
        times.append(signal.state.since + (metric.clear_seconds if signal.on else metric.sustain_seconds))
    if signal.reading.age is not None:
        # If no answer comes until then, the oldest sample that counts is too old. While the source is down, the samples
        # of thousands of nodes become too old one after the other: a pass at the end of each step finds many of them.
        too_old = now + metric.max_age_seconds - signal.reading.age + MARGIN_SECONDS
        step = max(1, metric.max_age_seconds // STEPS)
        times.append(float(ceil(too_old / step) * step))
    return times
