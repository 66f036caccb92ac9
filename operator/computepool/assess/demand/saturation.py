"""Whether the primary is saturated.

It becomes saturated:
- at once, if pods overflow: they have waited pendingSeconds and the primary has no room for them;
- at once, if its breaker is not closed;
- after sustainSeconds with enterPercent of its accelerators or more allocated, starting nodes included.

It stops being saturated after clearSeconds without overflow and with exitPercent of its accelerators or less allocated.

Besides, it is saturated while a signal from metrics is on (`assess.signals`). Each signal has timers of its own, and
does not touch the timers of allocation and overflow.

Invariant 4: a primary of unknown capacity is neither saturated nor free, and every timer starts anew. A primary whose
breaker is not closed takes no pods, also once its nodes are gone.
"""

import msgspec

from computepool.assess.capacity.supply import Supply
from computepool.assess.signals.pool_signals import Signals
from computepool.model.api import SaturationSpec
from computepool.model.reasons import Reason
from computepool.model.state import Saturation


def saturation_of(
    before: Saturation, primary: Supply, pressing: int, thresholds: SaturationSpec, now: float
) -> tuple[Saturation, float | None]:
    """Return the verdict and when to check again (None: when something changes).

    `pressing` is how many pods overflow and may be sent to a standby.
    """
    if not primary.breaker.closed:
        return Saturation(True, Reason.PROVIDER_UNAVAILABLE), None
    if not primary.known:
        return Saturation(), None
    if before.saturated:
        return _leaving(before, primary, pressing, thresholds, now)
    return _entering(before, primary, pressing, thresholds, now)


def with_signals(saturation: Saturation, signals: Signals) -> Saturation:
    """Return the verdict with the pool's signals from metrics."""
    if saturation.saturated is not False or not signals.pressing:
        return saturation
    reason = Reason.METRIC_UNKNOWN if signals.held else Reason.METRIC_PRESSURE
    return msgspec.structs.replace(saturation, saturated=True, reason=reason)


def percent(supply: Supply) -> int:
    """Return the percent of usable accelerators that is allocated, rounded down; 100 if none is usable."""
    return 100 * supply.allocated // supply.allocatable if supply.allocatable else 100


def _is_filling_up(supply: Supply, thresholds: SaturationSpec) -> bool:
    # A provider that makes nodes on demand normally has few nodes, all in use: that is no pressure. Nor is a full
    # provider whose next nodes are starting.
    total = supply.allocatable + supply.coming
    full = not total or 100 * supply.allocated // total >= thresholds.allocation.enter_percent
    return full and not supply.provider.kind.before_room


def _entering(
    before: Saturation, primary: Supply, pressing: int, thresholds: SaturationSpec, now: float
) -> tuple[Saturation, float | None]:
    if pressing:
        return Saturation(True, Reason.PODS_OVERFLOW), None
    if not _is_filling_up(primary, thresholds):
        return Saturation(False, Reason.PRIMARY_HAS_ROOM), None
    since = now if before.pressure_since is None else before.pressure_since
    due = since + thresholds.sustain_seconds
    if now >= due:
        return Saturation(True, Reason.PRIMARY_ALLOCATED), None
    return Saturation(False, Reason.PRIMARY_HAS_ROOM, pressure_since=since), due


def _leaving(
    before: Saturation, primary: Supply, pressing: int, thresholds: SaturationSpec, now: float
) -> tuple[Saturation, float | None]:
    # The allocation of an on-demand primary need not fall: only the queue shows relief.
    relieved = primary.provider.kind.before_room or percent(primary) <= thresholds.allocation.exit_percent
    if pressing:
        return Saturation(True, Reason.PODS_OVERFLOW), None
    if not relieved:
        return Saturation(True, Reason.PRIMARY_ALLOCATED), None
    since = now if before.relief_since is None else before.relief_since
    due = since + thresholds.clear_seconds
    if now >= due:
        return Saturation(False, Reason.PRIMARY_HAS_ROOM), None
    return Saturation(True, Reason.PRIMARY_CLEARING, relief_since=since), due
