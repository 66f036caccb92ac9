"""Tells what a pass did: events on pools and pods, log lines, counters."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence

from computepool.decide.plan import Burst, Move
from computepool.model.api import (
    BreakerState,
    BreakerStatus,
    ComputePool,
    Condition,
    ConditionStatus,
    PoolStatus,
    ProviderStatus,
)
from computepool.model.reasons import Reason, reason_of
from computepool.model.references import pod_reference, pool_reference
from computepool.report.conditions import BUDGET_EXHAUSTED, DEGRADED, READY, SATURATED
from computepool.report.events import Event
from computepool.report.logs import log
from computepool.report.metrics import Metrics
from computepool.report.words import burst_message, burst_words, in_mode, move_message, move_words

_logger = logging.getLogger("computepool")
_MOVED = ("moved", "released")
_HALF = BreakerState.HALF_OPEN
_TRIAL = "Nothing is wrong with it any more: one of its nodes is tried with a first pod."
_TOLD = frozenset({READY, SATURATED, DEGRADED, BUDGET_EXHAUSTED})
"""Conditions whose turning is an event; Bursting and Resilient follow from them and would only repeat."""


class Story:
    """What happened, told once each."""

    def __init__(self, metrics: Metrics, tell: Callable[[Event], None]) -> None:
        """`tell` queues an event."""
        self._metrics = metrics
        self._tell = tell
        self._observed: dict[str, set[tuple[str, str]]] = {}
        self._unmoved: dict[str, set[str]] = {}

    def burst(self, pool: ComputePool, bursts: Sequence[Burst], took: float) -> None:
        """Tell of pods sent on; `took`: seconds from the event that made them overflow."""
        for burst in bursts:
            self._metrics.sent_on(pool.name, burst.provider, burst.reason)
            self._tell(Event(pod_reference(burst.pod), burst.reason, "Burst", burst_words(burst)))
        self._pool_burst(pool, bursts, "Burst")
        self._lines("burst", pool, bursts, took)

    def would_burst(self, pool: ComputePool, bursts: Sequence[Burst]) -> bool:
        """Tell what Enforce would have done, once for each pod and provider; return whether there was any news."""
        told = self._observed.setdefault(pool.name, set())
        now = {(burst.pod.uid, burst.provider): burst for burst in bursts}
        told.intersection_update(now)
        fresh = [burst for key, burst in now.items() if key not in told]
        told.update(now)
        for burst in fresh:
            note = in_mode(pool.spec.mode, burst_words(burst))
            self._tell(Event(pod_reference(burst.pod), burst.reason, "WouldBurst", note))
        self._pool_burst(pool, fresh, "WouldBurst")
        self._lines("would burst", pool, fresh, None)
        return bool(fresh)

    def moved(self, pool: ComputePool, moves: Sequence[Move], result: str) -> None:
        """Tell what became of the evictions of running pods; `result`: one of metrics.RESULTS."""
        for move in moves:
            self._metrics.moved(pool.name, move.source, move.target, result)
            if result in _MOVED:
                self._tell(Event(pod_reference(move.pod), move.reason, str(move.kind), move_words(move)))
            elif result == "refused":
                note = f"{Reason.EVICTION_REFUSED.help} It should run on {move.target}. {move.reason.help}"
                self._tell(Event(pod_reference(move.pod), Reason.EVICTION_REFUSED, str(move.kind), note, warning=True))
        if moves and result in _MOVED:
            first = moves[0]
            self._tell(Event(pool_reference(pool), first.reason, str(first.kind), move_message(moves)))
        for (source, target, reason), count in Counter((m.source, m.target, m.reason) for m in moves).items():
            level = logging.INFO if result in _MOVED else logging.WARNING
            fields = {"source": source, "provider": target, "reason": str(reason), "pods": count}
            log(_logger, level, f"running pods {result}", pool=pool.name, **fields)

    def would_move(self, pool: ComputePool, moves: Sequence[Move]) -> bool:
        """Tell what Enforce would have moved, once for each pod; return whether there was any news."""
        told = self._unmoved.setdefault(pool.name, set())
        now = {move.pod.uid: move for move in moves}
        told.intersection_update(now)
        fresh = [move for uid, move in now.items() if uid not in told]
        told.update(now)
        for move in fresh:
            note = in_mode(pool.spec.mode, move_words(move))
            self._tell(Event(pod_reference(move.pod), move.reason, f"Would{move.kind}", note))
        if fresh:
            note = in_mode(pool.spec.mode, move_message(fresh, "to be moved"))
            self._tell(Event(pool_reference(pool), fresh[0].reason, f"Would{fresh[0].kind}", note))
            log(_logger, logging.INFO, "would move running pods", pool=pool.name, pods=len(fresh))
        return bool(fresh)

    def refused(self, pool: ComputePool, message: str, count: int) -> None:
        """Tell that the API server refused writes."""
        self._metrics.refused.labels(pool.name).inc(count)
        self._tell(Event(pool_reference(pool), Reason.WRITE_REFUSED, "Burst", message, warning=True))
        log(_logger, logging.WARNING, "write refused", pool=pool.name, pods=count, error=message)

    def turned(self, pool: ComputePool, before: PoolStatus, after: PoolStatus) -> None:
        """Tell of conditions that turned, and of admission opened, moved to another standby, or closed."""
        for condition in after.conditions:
            old = before.condition(condition.type)
            if (old is None or old.status is not condition.status) and _worth_telling(old, condition):
                self._turned(pool, condition)
        for provider in after.providers:
            old_breaker = next((one.breaker for one in before.providers if one.name == provider.name), BreakerStatus())
            if old_breaker.state is not provider.breaker.state:
                self._breaker(pool, provider)
        if before.admission.tolerations != after.admission.tolerations and after.last_decision:
            self._admission(pool, before, after, reason_of(after.last_decision.reason))

    def forget(self, pool: str) -> None:
        """Drop what is remembered of a pool that is gone."""
        self._observed.pop(pool, None)
        self._unmoved.pop(pool, None)
        self._metrics.forget(pool)

    def _breaker(self, pool: ComputePool, provider: ProviderStatus) -> None:
        breaker = provider.breaker
        reason = reason_of(breaker.reason) if breaker.reason else Reason.PROVIDER_WELL
        if breaker.state is _HALF:
            # The status keeps why it opened; what happens now is the trial.
            reason = Reason.CANARY_UNDER_WAY
        note = f"Breaker of {provider.name} is {breaker.state}. {_TRIAL if breaker.state is _HALF else reason.help}"
        warning = breaker.state is BreakerState.OPEN and reason is not Reason.DRAINED
        self._tell(Event(pool_reference(pool), reason, "Breaker", note, warning, state=True))
        level = logging.WARNING if warning else logging.INFO
        fields = {"provider": provider.name, "state": str(breaker.state), "reason": str(reason)}
        log(_logger, level, "breaker", pool=pool.name, **fields)

    def _turned(self, pool: ComputePool, condition: Condition) -> None:
        bad = (condition.type == READY) != (condition.status is ConditionStatus.TRUE)
        note = f"{condition.type} is {condition.status}: {condition.message}"
        warning = condition.type in (READY, DEGRADED, BUDGET_EXHAUSTED) and bad
        self._tell(Event(pool_reference(pool), reason_of(condition.reason), condition.type, note, warning, state=True))
        level = logging.WARNING if warning else logging.INFO
        log(_logger, level, note, pool=pool.name, reason=condition.reason)

    def _admission(self, pool: ComputePool, before: PoolStatus, after: PoolStatus, reason: Reason) -> None:
        given = after.admission.tolerations
        name = next((p.name for p in pool.spec.standbys if given and p.effective_tolerations() == given), None)
        note = f"New pods may use {name} from their creation on." if given else "New pods are left as they are created."
        self._tell(Event(pool_reference(pool), reason, "Admission", note, state=True))
        log(
            _logger,
            logging.INFO,
            _admission_words(bool(before.admission.tolerations), bool(given)),
            pool=pool.name,
            provider=name,
            reason=str(reason),
        )

    def _pool_burst(self, pool: ComputePool, bursts: Sequence[Burst], action: str) -> None:
        if bursts:
            note = in_mode(pool.spec.mode, burst_message(bursts))
            self._tell(Event(pool_reference(pool), bursts[0].reason, action, note))

    def _lines(self, what: str, pool: ComputePool, bursts: Sequence[Burst], took: float | None) -> None:
        groups: dict[tuple[str, Reason], int] = {}
        for burst in bursts:
            key = (burst.provider, burst.reason)
            groups[key] = groups.get(key, 0) + 1
        took_ms = None if took is None else round(took * 1000, 1)
        for (provider, reason), pods in groups.items():
            log(
                _logger,
                logging.INFO,
                what,
                pool=pool.name,
                provider=provider,
                reason=str(reason),
                pods=pods,
                took_ms=took_ms,
            )


def _admission_words(was_open: bool, is_open: bool) -> str:
    if not is_open:
        return "admission closed"
    return "admission moved" if was_open else "admission opened"


_NO_NEWS = (Reason.PRIMARY_HAS_ROOM, Reason.ALL_WELL, Reason.NO_BUDGET, Reason.WITHIN_BUDGET)


def _worth_telling(old: Condition | None, new: Condition) -> bool:
    # A new pool that is ready, not saturated and not degraded is no news.
    return new.type in _TOLD and not (old is None and new.reason in _NO_NEWS)
