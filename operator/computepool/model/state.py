"""What one pass hands to the next. Everything that matters is in the pool's status; the timers kept here start anew on
a restart, which only ever makes the operator wait longer.

How long a pod has waited is no such timer (`Pod.since`), and there a restart can make the wait shorter: when a gate was
lifted is written nowhere, so a process that has not seen it counts from the pod's creation. At worst a pod that was
gated for long is sent on without the wait for `saturation.pendingSeconds` (or for the primary's nodes to be made), and
even then only if the primary can't take it."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from math import ceil, inf
from types import MappingProxyType
from typing import Final

import msgspec

from computepool.model.api import BreakerState, BreakerStatus, ComputePool, MovesInSecond
from computepool.model.api.base import fits
from computepool.model.api.status import MONEY
from computepool.model.reasons import Reason
from computepool.model.snapshot import MoveKind

Fitting = Mapping[tuple[str, str], float]
"""By pod uid and provider: since when a waiting pod has had a place there by our account, and was not bound."""

_MOST_MOVES: Final = 10_000
"""More than any limit a minute allows."""


class Saturation(msgspec.Struct, frozen=True):
    """The verdict on the primary. `saturated` is None while it can't be told."""

    saturated: bool | None = None
    reason: Reason = Reason.PRIMARY_UNKNOWN
    pressure_since: float | None = None
    """Since when the pressure that would make it saturated lasts; None without such pressure."""
    relief_since: float | None = None
    """Since when the relief that would end it lasts; None without relief."""


class Sickness(msgspec.Struct, frozen=True):
    """A node's trouble. The same trouble seen again, or another before it was well for long enough, keeps `since`."""

    reason: Reason
    detail: str
    """What exactly: the condition's type, the taint's key, a count."""
    since: float
    """Since when something is wrong with it."""
    sick: bool
    """Whether that has lasted long enough to count."""
    clear_since: float | None = None
    """Since when nothing is wrong any more; None while something is."""


class Breaker(msgspec.Struct, frozen=True):
    """A provider's breaker. All but `proving_since` is in the pool's status and outlives this process."""

    state: BreakerState = BreakerState.CLOSED
    reason: Reason | None = None
    """Why it is not closed."""
    since: float = 0.0
    """Since when it is in this state."""
    retry_at: float | None = None
    """When it may be half-open at the earliest."""
    failures: int = 0
    """How often it has opened since it last proved itself."""
    node: str = ""
    """While half-open: the node that is tried."""
    proving_since: float | None = None
    """While half-open: since when a new pod is ready on that node."""
    clear_since: float | None = None
    """While open: since when nothing is wrong with the provider."""

    @property
    def closed(self) -> bool:
        """Whether the provider is used as it fits."""
        return self.state is BreakerState.CLOSED


class Spend(msgspec.Struct, frozen=True):
    """What was spent on standbys in a day."""

    day: str
    """In UTC, as 2026-11-23."""
    spent: Decimal
    at: float
    """Up to when it was reckoned."""
    rate: Decimal = Decimal(0)
    """What the pool's pods on standbys cost in an hour at that time, and from then on until it is reckoned again."""


class Relapse(msgspec.Struct, frozen=True):
    """That a workload was brought home and went to a standby again by itself."""

    times: int
    """How often, one after another."""
    at: float
    """When that was seen last."""


class PoolState(msgspec.Struct, frozen=True):
    """The pool's recorded state between two passes."""

    saturation: Saturation = Saturation()
    fitting: Fitting = MappingProxyType({})
    admitting: str = ""
    """The standby provider that new pods are admitted to; empty while admission is closed."""
    sick: Mapping[str, Sickness] = MappingProxyType({})
    """By node: those with trouble, or that had it not long ago."""
    breakers: Mapping[str, Breaker] = MappingProxyType({})
    """By provider; one that is not there is closed and never failed."""
    unbound: Mapping[str, frozenset[str]] = MappingProxyType({})
    """By provider: uids of pods that it did not bind in time, since it last bound one."""
    bound: Mapping[str, float] = MappingProxyType({})
    """By provider, while pods wait there too long: when the latest pod that it has bound was offered to it."""
    joined: frozenset[str] | None = None
    """Nodes of the pool that have been ready, as far as this process knows; None before its first look."""
    stable_since: float | None = None
    """Since when the primary is well and not saturated; None while it is not."""
    spend: Spend | None = None
    """None without a budget."""
    recent_moves: tuple[tuple[float, MoveKind], ...] = ()
    """When each move of the minute before the latest was decided, oldest first, to the second: what the limits a
    minute count."""
    moved_before: float | None = None
    """When a leader before this one moved a pod last; None where none did. Not recorded: `recent_moves` tells it."""
    relapses: Mapping[str, Relapse] = MappingProxyType({})
    """By owner: workloads that were brought home in vain not long ago. Not recorded."""
    unknown_since: Mapping[str, float] = MappingProxyType({})
    """By node: since when the status of its Ready condition is Unknown."""


def recorded_state(pool: ComputePool, since: float = inf) -> PoolState:
    """Read back from the pool's status what the leader before had decided; timers start anew.

    `since`: when this one took over. All moves that are recorded were made before, whatever the clock said there.
    """
    condition = pool.status.condition("Saturated")
    saturated = {"True": True, "False": False}.get(str(condition.status)) if condition else None
    given = set(pool.status.admission.tolerations)
    admitting = next((p.name for p in pool.spec.standbys if given.issuperset(p.effective_tolerations())), "")
    return PoolState(
        Saturation(saturated),
        admitting=admitting,
        breakers={one.name: _breaker(one.breaker) for one in pool.status.providers if one.breaker != BreakerStatus()},
        spend=_spend(pool),
        recent_moves=_moves(pool.status.recent_moves, since),
    )


def _breaker(written: BreakerStatus) -> Breaker:
    """Read a breaker back; a reason that this version does not know leaves it without one, not without its state."""
    return Breaker(
        state=written.state,
        reason=next((reason for reason in Reason if reason.value == written.reason), None),
        since=0.0 if written.since is None else written.since.timestamp(),
        retry_at=None if written.retry_at is None else written.retry_at.timestamp(),
        failures=written.failures,
        node=written.node,
    )


def _spend(pool: ComputePool) -> Spend | None:
    """Read back what was spent, and the rate at which it has gone on since."""
    budget, primary = pool.status.budget, pool.spec.primary.name
    if budget is None or (spent := _amount(budget.spent)) is None:
        return None
    rates = (_amount(one.cost_per_hour) for one in pool.status.providers if one.name != primary)
    return Spend(budget.day, spent, budget.time.timestamp(), sum((rate for rate in rates if rate), Decimal(0)))


def _amount(text: str | None) -> Decimal | None:
    """Read an amount; None for what is none that we write: anybody with the right may write a status."""
    return Decimal(text) if text is not None and fits(MONEY, text) else None


def _moves(written: Iterable[MovesInSecond], since: float) -> tuple[tuple[float, MoveKind], ...]:
    """Read back the moves of the last minute; what made room counts as failover, under the same limits."""
    latest = since if since == inf else ceil(since) - 1.0
    counts = [
        (min(one.time.timestamp(), latest), kind, min(count, _MOST_MOVES))
        for one in written
        for kind, count in ((MoveKind.FAILOVER, one.failover), (MoveKind.FAILBACK, one.failback))
    ]
    return tuple((at, kind) for at, kind, count in sorted(counts) for _ in range(count))
