"""Whether the primary is saturated: two ways in, one way out, each lasting long enough to be believed.

In, at once: pods overflow, that is, they have waited pendingSeconds and the primary has no room for them.
In, at once: its breaker is not closed, whatever waits.
In, after sustainSeconds: its accelerators are allocated to enterPercent or more, before anything has to wait.
Out, after clearSeconds: nothing overflows and allocation is at exitPercent or less.

Invariant 4: a primary whose capacity can't be told is neither saturated nor free, and every timer starts anew. One
whose breaker is not closed takes no pods whatever can be told of it, also once its nodes are gone.
"""

from computepool.assess.capacity.supply import Supply
from computepool.model.api import Saturation as Thresholds
from computepool.model.reasons import Reason
from computepool.model.state import Saturation


def saturation_of(
    before: Saturation, primary: Supply, pressing: int, thresholds: Thresholds, now: float
) -> tuple[Saturation, float | None]:
    """Return the verdict and when to look again (None: when something changes).

    `pressing` is how many pods overflow and may be sent on.
    """
    if not primary.breaker.closed:
        return Saturation(True, Reason.PROVIDER_UNAVAILABLE), None
    if not primary.known:
        return Saturation(), None
    if before.saturated:
        return _leaving(before, primary, pressing, thresholds, now)
    return _entering(before, primary, pressing, thresholds, now)


def percent(supply: Supply) -> int:
    """Return the share of usable accelerators that is allocated, rounded down; 100 where none is usable."""
    return 100 * supply.allocated // supply.allocatable if supply.allocatable else 100


def _entering(
    before: Saturation, primary: Supply, pressing: int, thresholds: Thresholds, now: float
) -> tuple[Saturation, float | None]:
    if pressing:
        return Saturation(True, Reason.PODS_OVERFLOW), None
    # Where nodes are made on demand, few nodes that are all in use are the normal state and no pressure.
    loaded = percent(primary) >= thresholds.allocation.enter_percent and not primary.provider.kind.before_room
    if not loaded:
        return Saturation(False, Reason.PRIMARY_HAS_ROOM), None
    since = now if before.pressure_since is None else before.pressure_since
    due = since + thresholds.sustain_seconds
    if now >= due:
        return Saturation(True, Reason.PRIMARY_ALLOCATED), None
    return Saturation(False, Reason.PRIMARY_HAS_ROOM, pressure_since=since), due


def _leaving(
    before: Saturation, primary: Supply, pressing: int, thresholds: Thresholds, now: float
) -> tuple[Saturation, float | None]:
    # An on-demand primary has no allocation to fall: there the queue alone tells.
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
