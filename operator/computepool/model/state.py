"""What one pass over a pool hands to the next: a part that the status records, and a part that dies with the process.

`Recorded` outlives the process: it survives the way into a status and back unchanged (invariant 8). `Memory` holds
timers and counts that start anew after a restart, which only ever makes the operator wait longer.

The wait of a pod (`Pod.since`) is no such timer: a restart can make it shorter, because no object records when a gate
was lifted, and a new process counts from the pod's creation. At worst a pod that was gated for long is sent to a
standby without waiting for `saturation.pendingSeconds`, and even then only if the primary can't take it.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from math import ceil, inf
from types import MappingProxyType
from typing import Final

import msgspec

from computepool.model.api import (
    BreakerState,
    BreakerStatus,
    ComputePool,
    HoldOffStatus,
    MovesInSecond,
    ProviderStatus,
)
from computepool.model.api.base import fits
from computepool.model.api.status import MAX_MONEY, MONEY
from computepool.model.demand import DemandHistory
from computepool.model.moves import MoveKind
from computepool.model.reasons import Reason

Fitting = Mapping[tuple[str, str], float]
"""By pod uid and provider: since when a waiting pod has a place there by our account without being bound. By pod uid
and NOMINATED: since when the scheduler has nominated the pod to nodes, whichever they were."""
NOMINATED: Final = "nominated/"
"""No provider has a name with a slash."""
RecentMoves = tuple[tuple[float, MoveKind], ...]
"""When each move was decided, in whole seconds since the epoch, oldest first. Its kind is FAILOVER or FAILBACK: moves
that make room count as failover, whose limits they share."""

ReadyTimes = tuple[tuple[float, float], ...]
"""When a pod became Ready on a standby, and how many seconds it took, oldest first."""
BY_METRICS: Final = (Reason.METRIC_PRESSURE, Reason.METRIC_UNKNOWN)
"""Reasons of a saturation that only signals from metrics show."""
CENT: Final = Decimal("0.01")
_MOST_MOVES: Final = 10_000
"""More than any limit a minute allows."""


class Breaker(msgspec.Struct, frozen=True):
    """A provider's breaker, as the pool's status records it."""

    state: BreakerState = BreakerState.CLOSED
    reason: Reason | None = None
    """Why it is not closed."""
    since: float = 0.0
    """Since when it is in this state."""
    retry_at: float | None = None
    """When it may be half-open at the earliest."""
    failures: int = 0
    """How often it has opened since the provider's last proof."""
    node: str = ""
    """While half-open: the node that is tried."""

    @property
    def closed(self) -> bool:
        """Whether the provider is used without restriction."""
        return self.state is BreakerState.CLOSED


HOLD_OFF_REASONS: Final = (Reason.INSUFFICIENT_CAPACITY, Reason.WORKLOAD_BACK_OFF)


class HoldOff(msgspec.Struct, frozen=True):
    """A standby that the pods of a workload, or of a shape, are not sent to for a while. `assess` has the rules."""

    provider: str
    reason: Reason
    """One of `HOLD_OFF_REASONS`."""
    subject: str
    """The uid of the workload, or the digest of the shape, or both for one workload's pods of the shape."""
    failures: int = 0
    """How often in a row it has begun; 0: it has not."""
    since: float = 0.0
    until: float = 0.0
    """When one pod may be tried there again."""
    running: int = 0
    """How many such pods were ready there (workload) or bound there (shape) when it began."""
    unused_place: bool = False
    """Whether a node there had a place for the shape when it began, which the scheduler did not use."""


class Spend(msgspec.Struct, frozen=True):
    """The money spent on standbys in one day."""

    day: str
    """In UTC, as 2026-11-23."""
    spent: Decimal
    """Until `at`, with six decimals."""
    at: float
    rate: Decimal = Decimal(0)
    """The hourly cost of the pool's pods on standbys since `at`, in whole cents."""


class UnsettledMove(msgspec.Struct, frozen=True):
    """An owner whose latest move by choice has not ended well: it is under way, or it came to nothing."""

    times: int
    """How many of its moves by choice came to nothing in a row; 0 while the first is under way."""
    at: float
    """When the latest began, in whole seconds since the epoch."""
    pods: int
    """How many pods of the owner were in the pool then, with the moved pod; 0 once all moved pods are replaced."""


class DrillRecord(msgspec.Struct, frozen=True):
    """A drill of a provider that has begun."""

    since: float
    """When it began by its field, in seconds since the epoch. It tells one drill from another."""
    stopped: str = ""
    """Why the operator stopped it before its time; empty while it is under way."""


class Recorded(msgspec.Struct, frozen=True):
    """The part of the state that the pool's status records."""

    saturated: bool | None = None
    """The last verdict on the primary by its allocation and its queue; None if unknown."""
    admitting: str = ""
    """The standby provider that new pods are admitted to; empty while admission is closed."""
    breakers: Mapping[str, Breaker] = MappingProxyType({})
    """By provider. A missing provider has a closed breaker and never failed."""
    spend: Spend | None = None
    """None without a budget."""
    recent_moves: RecentMoves = ()
    """The moves of the minute before the latest move: what `perMinute` counts."""
    unsettled: Mapping[str, UnsettledMove] = MappingProxyType({})
    """By the owner's uid: at most MAX_UNSETTLED owners, those whose latest move is the newest."""
    hold_offs: tuple[HoldOff, ...] = ()
    """The newest first."""
    drills: Mapping[str, DrillRecord] = MappingProxyType({})
    """By provider."""
    signals_on: frozenset[str] = frozenset()
    """Keys of the signals from metrics that are on."""
    standby_ready_seconds: int | None = None
    """Seconds until most pods were Ready on a standby; None if it is not known, or nothing is forecast."""
    held_by: str = ""
    """The standby that keeps admission closed to less preferred standbys; empty if no standby does."""


class SignalState(msgspec.Struct, frozen=True):
    """A signal from metrics over time."""

    on: bool = False
    """Whether it is on. It stays on while its data is Unknown."""
    since: float | None = None
    """Since when its value is at the threshold that changes it; None while it is not there."""
    presumed: bool = False
    """Whether it counts as on only because its node was found in quarantine, which does not tell the signal."""


class Saturation(msgspec.Struct, frozen=True):
    """The verdict on the primary, and the timers of its next change."""

    saturated: bool | None = None
    """None while it is unknown."""
    reason: Reason = Reason.PRIMARY_UNKNOWN
    pressure_since: float | None = None
    """Since when there is pressure that would make it saturated; None without pressure."""
    relief_since: float | None = None
    """Since when there is relief that would end saturation; None without relief."""

    @property
    def without_signals(self) -> bool | None:
        """The verdict by allocation and queue alone."""
        return False if self.reason in BY_METRICS else self.saturated


class BreakerTimers(msgspec.Struct, frozen=True):
    """A breaker's timers, which start anew after a restart."""

    proving_since: float | None = None
    """While half-open: since when a new pod is ready on the node that is tried."""
    clear_since: float | None = None
    """While open: since when the provider has no fault."""
    was_full: bool = False
    """While open: whether the provider was seen without a free accelerator."""


class NodeFault(msgspec.Struct, frozen=True):
    """A node's fault over time. `since` stays if the fault returns, or turns into another, before a full recovery."""

    reason: Reason
    detail: str
    """The condition's type, the taint's key, or a count."""
    since: float
    """Since when the node has a fault."""
    unhealthy: bool
    """Whether the fault has lasted long enough to count."""
    clear_since: float | None = None
    """Since when the fault is gone; None while it lasts."""
    confirm_at: float | None = None
    """When the fault is confirmed, if it lasts until then; None for a confirmed fault, infinite for a fault that time
    does not confirm. Before, it may pass by itself: new pods avoid the node, and pods that run well stay."""
    run_since: float | None = None
    """Since when the run of faults lasts whose length confirms the fault; None for faults that no such run confirms,
    and after a restart or a freeze."""

    @property
    def present(self) -> bool:
        """Whether the fault lasts."""
        return self.clear_since is None

    @property
    def confirmed(self) -> bool:
        """Whether the fault has lasted long enough for pods that run well to leave."""
        return self.confirm_at is None


class Shortage(msgspec.Struct, frozen=True):
    """Pods wait for want of room or money."""

    pods: tuple[str, ...]
    """The names of a few of them, with their namespaces."""
    reasons: tuple[Reason, ...]
    """Why the providers reject them."""
    confined: bool
    """Whether the pods' own constraints keep all of them off every standby, so that they wait for the primary."""
    seen_at: float
    """When such a pod was last seen."""


class MissedDrain(msgspec.Struct, frozen=True):
    """Pods wait that drained providers would take."""

    providers: tuple[str, ...]
    """These providers."""
    pods: tuple[str, ...]
    """The names of a few of the pods, with their namespaces."""
    seen_at: float
    """When such a pod was last seen."""


class RefusedProvider(msgspec.Struct, frozen=True):
    """A standby that the API server lets no pod be sent to."""

    message: str
    """Which patch was refused, and what the API server answered."""
    generation: int
    """The spec's, as the pool had it."""
    until: float | None
    """Until when it is told although no such pod waits; None if no pod was refused again lately."""

    def lasts(self, generation: int, now: float, longest: float) -> bool:
        """Say whether it is told although no pod waits, under the spec of that generation, for `longest` at most."""
        return self.until is not None and self.generation == generation and now < self.until <= now + longest


class Memory(msgspec.Struct, frozen=True):
    """The part of the state that dies with the process."""

    pressure_since: float | None = None
    """As in `Saturation`."""
    relief_since: float | None = None
    """As in `Saturation`."""
    fitting: Fitting = MappingProxyType({})
    node_faults: Mapping[str, NodeFault] = MappingProxyType({})
    """By node: faults that last, or that ended not long ago."""
    breaker_timers: Mapping[str, BreakerTimers] = MappingProxyType({})
    """By provider."""
    not_bound: Mapping[str, frozenset[tuple[str, str]]] = MappingProxyType({})
    """By provider: the workloads, and digests of the shapes, of the pods that it did not bind in time since it last
    bound a pod."""
    last_bound_offer: Mapping[str, float] = MappingProxyType({})
    """By provider with pods that wait too long: when the latest pod that it has bound was offered to it."""
    failed_pods: Mapping[tuple[str, Reason, str], frozenset[str]] = MappingProxyType({})
    """By provider, reason and subject of a hold-off: uids of the pods that it has counted."""
    joined: frozenset[str] | None = None
    """Nodes of the pool that have been ready with accelerators, as far as this process knows; None before its first
    look."""
    stable_since: float | None = None
    """Since when the primary is healthy and not saturated; None otherwise."""
    moved_before: float | None = None
    """When an earlier leader last moved a pod; None if it moved none. `recent_moves` gives it after a restart."""
    rate: Decimal | None = None
    """The hourly cost of pods on standbys before rounding to cents; None if only the recorded rate is known."""
    failed_at: Mapping[str, float] = MappingProxyType({})
    """By owner: when this process last saw a move by choice come to nothing."""
    moved_well: frozenset[str] = frozenset()
    """Owners of which this process has seen a move end well, and since then no move by choice come to nothing."""
    unknown_since: Mapping[str, float] = MappingProxyType({})
    """By node: since when the status of its Ready condition is Unknown."""
    starting_since: Mapping[str, float] = MappingProxyType({})
    """By node with a startup taint that the spec lists: since when the node is starting."""
    signals: Mapping[str, SignalState] = MappingProxyType({})
    """By key of a signal from metrics: its state, if it is on or about to turn on."""
    signal_definitions: Mapping[str, str] = MappingProxyType({})
    """By name of a signal: its definition, by which an edit is noticed. `assess.signals.definitions` has the keys."""
    demand: DemandHistory | None = None
    """The demand on the primary over the last minutes; None without a forecast."""
    standby_ready: ReadyTimes = ()
    """The times of the pods that became Ready on a standby last."""
    forecast_until: float | None = None
    """Until when admission stays open by the last forecast; None if no forecast has opened it."""
    shortage: Shortage | None = None
    """The pods that wait for want of room or money, or did so until a moment ago; None if there are none."""
    missed_drain: MissedDrain | None = None
    """Pods that drained providers would take, likewise."""
    refused: Mapping[str, RefusedProvider] = MappingProxyType({})
    """By name: standbys that the API server lets no pod be sent to."""
    hold_over_since: float | None = None
    """Since when nothing has called for the standby `Recorded.held_by` to keep admission closed; None while it must."""


class PoolState(msgspec.Struct, frozen=True):
    """The state that one pass over a pool starts from."""

    recorded: Recorded = Recorded()
    memory: Memory = Memory()

    def breaker(self, provider: str) -> Breaker:
        """Return a provider's breaker."""
        return self.recorded.breakers.get(provider, Breaker())


def restarted(recorded: Recorded, took_over: float = inf) -> PoolState:
    """Return the state of a process that knows only the recorded part.

    `took_over`: when this process began to lead. All recorded moves were made before then, whatever the earlier
    leader's clock said.
    """
    latest = took_over if took_over == inf else ceil(took_over) - 1.0
    moves = tuple(sorted((min(at, latest), kind) for at, kind in recorded.recent_moves))
    unsettled = {
        owner: move if move.at <= latest else msgspec.structs.replace(move, at=latest)
        for owner, move in recorded.unsettled.items()
    }
    return PoolState(msgspec.structs.replace(recorded, recent_moves=moves, unsettled=unsettled))


def recorded_in(pool: ComputePool) -> Recorded:
    """Read the recorded part back from a pool's status. Unreadable entries count as not recorded."""
    condition = pool.status.condition("Saturated")
    saturated = {"True": True, "False": False}.get(str(condition.status)) if condition else None
    if condition is not None and condition.reason in BY_METRICS:
        saturated = False
    given = set(pool.status.admission.tolerations)
    admitting = next(
        (standby.name for standby in pool.spec.standbys if given.issuperset(standby.effective_tolerations())), ""
    )
    providers = pool.status.providers
    return Recorded(
        saturated=saturated,
        signals_on=frozenset(found.key for found in pool.status.signals if found.on),
        standby_ready_seconds=None if pool.status.forecast is None else pool.status.forecast.standby_ready_seconds,
        admitting=admitting,
        held_by=pool.status.admission.held_by,
        breakers={found.name: _breaker(found.breaker) for found in providers if found.breaker != BreakerStatus()},
        spend=_spend(pool),
        recent_moves=_moves(pool.status.recent_moves),
        unsettled={
            move.owner: UnsettledMove(move.times, move.time.timestamp(), move.pods)
            for move in pool.status.unsettled_moves
        },
        hold_offs=tuple(_hold_offs(pool.status.hold_offs)),
        drills={
            found.name: DrillRecord(found.drill.since.timestamp(), found.drill.stopped)
            for found in providers
            if found.drill is not None
        },
    )


def in_cents(amount: Decimal) -> Decimal:
    """Round a cost to whole cents, as the status shows it."""
    return min(amount, MAX_MONEY).quantize(CENT)


def _breaker(written: BreakerStatus) -> Breaker:
    """Read a breaker back. It keeps its state even if this version does not know its reason."""
    return Breaker(
        state=written.state,
        reason=next((reason for reason in Reason if reason.value == written.reason), None),
        since=0.0 if written.since is None else written.since.timestamp(),
        retry_at=None if written.retry_at is None else written.retry_at.timestamp(),
        failures=written.failures,
        node=written.node,
    )


def _hold_offs(written: Iterable[HoldOffStatus]) -> Iterable[HoldOff]:
    """Read hold-offs back. A reason that this version does not know is no hold-off."""
    reasons = {str(reason): reason for reason in HOLD_OFF_REASONS}
    for held in written:
        if held.failures and (reason := reasons.get(held.reason)) is not None:
            yield HoldOff(
                held.provider,
                reason,
                held.subject,
                held.failures,
                held.since.timestamp(),
                held.until.timestamp(),
                held.running,
                held.unused_place,
            )


def _spend(pool: ComputePool) -> Spend | None:
    """Read back the amount spent, and the hourly cost since."""
    budget, primary = pool.status.budget, pool.spec.primary.name
    if budget is None or (spent := _amount(budget.spent)) is None:
        return None
    rate = sum((_rate(found) for found in pool.status.providers if found.name != primary), Decimal(0))
    return Spend(budget.day, spent, budget.time.timestamp(), rate)


def _rate(provider: ProviderStatus) -> Decimal:
    return _amount(provider.cost_per_hour) or Decimal(0)


def _amount(text: str | None) -> Decimal | None:
    """Read an amount; None for text that the operator never writes: other clients may write a status too."""
    return Decimal(text) if text is not None and fits(MONEY, text) else None


def _moves(written: Iterable[MovesInSecond]) -> RecentMoves:
    """Read back the moves of the last minute."""
    counts = [
        (second.time.timestamp(), kind, min(count, _MOST_MOVES))
        for second in written
        for kind, count in ((MoveKind.FAILOVER, second.failover), (MoveKind.FAILBACK, second.failback))
    ]
    return tuple((at, kind) for at, kind, count in sorted(counts) for _ in range(count))
