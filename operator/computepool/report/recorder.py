"""Tells what a pass did: events on pools and pods, log lines, counters."""

import logging
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import msgspec

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
from computepool.model.moves import MoveKind
from computepool.model.reasons import Reason, reason_of
from computepool.model.references import pod_reference, pool_reference
from computepool.report.conditions import BUDGET_EXHAUSTED, DEGRADED, READY, SATURATED
from computepool.report.events import Event
from computepool.report.logs import log
from computepool.report.metrics import Metrics
from computepool.report.pass_report import PassReport
from computepool.report.sicknodes import News, NodeNews
from computepool.report.tally import Tally
from computepool.report.trouble import full_stop
from computepool.report.words import burst_tally, burst_words, in_mode, move_tally, move_words, place_words

_logger = logging.getLogger("computepool")
_MOVED = ("moved", "released")
_HELD = {"refused": Reason.EVICTION_REFUSED, "failed": Reason.WRITE_REFUSED}
_HALF = BreakerState.HALF_OPEN
_TRIAL = "Nothing is wrong with it any more: one of its nodes is tried with a first pod."
_TOLD = frozenset({READY, SATURATED, DEGRADED, BUDGET_EXHAUSTED})
"""Conditions whose turning is an event; Bursting and Resilient follow from them and would only repeat."""
_TOLD_BY_REASON = frozenset({READY, DEGRADED, BUDGET_EXHAUSTED})
"""Those of which another reason is news as well: that something worse has come upon what is wrong already. Why the
primary is saturated changes all the time."""
_SAID = 3
"""So many pods are named in a log line."""
_NO_WORDS: Mapping[str, str] = MappingProxyType({})


class EventRecorder:
    """What happened, told once each."""

    def __init__(self, metrics: Metrics, tell: Callable[[Event], None]) -> None:
        """`tell` queues an event."""
        self.metrics = metrics
        self._tell = tell
        self._observed: dict[str, set[tuple[str, str]]] = {}
        self._unmoved: dict[str, set[str]] = {}
        self._nodes = NodeNews()

    def burst(self, pool: ComputePool, bursts: Sequence[Burst], took: float) -> None:
        """Tell of pods sent on; `took`: seconds from the event that made them overflow."""
        for burst in bursts:
            self.metrics.sent_on(pool.name, burst.provider, burst.reason)
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

    def moved(self, pool: ComputePool, moves: Sequence[Move], result: str, why: Mapping[str, str] = _NO_WORDS) -> None:
        """Tell what became of the evictions of running pods.

        `result`: one of metrics.RESULTS; `why`: by pod uid, the API server's words where it did not let the pod go.
        """
        for move in moves:
            self.metrics.moved(pool.name, move.source, move.target, result)
            if result in _MOVED:
                self._tell(Event(pod_reference(move.pod), move.reason, str(move.kind), move_words(move)))
            elif result in _HELD:
                held = _HELD[result]
                said = f" {full_stop(why[move.pod.uid])}" if why.get(move.pod.uid) else ""
                note = f"{held.help}{said} It should run on {place_words(move)}. {move.reason.help}"
                self._tell(Event(pod_reference(move.pod), held, str(move.kind), note, warning=True))
        if result == "failed":
            self.metrics.refused.labels(pool.name).inc(len(moves))
        if result in _MOVED:
            self._pool_moves(pool, moves, "", "moved")
        level = logging.INFO if result in (*_MOVED, "dropped") else logging.WARNING
        groups: dict[tuple[str, str, Reason], list[Move]] = {}
        for move in moves:
            groups.setdefault((move.source, move.target, move.reason), []).append(move)
        for (source, target, reason), some in groups.items():
            fields = {"source": source, "provider": target, "reason": str(reason), "pods": len(some)}
            log(_logger, level, f"running pods {result}", pool=pool.name, **fields, **_details(some, result, why))

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
            self._pool_moves(pool, fresh, "Would", "to be moved")
            log(_logger, logging.INFO, "would move running pods", pool=pool.name, pods=len(fresh))
        return bool(fresh)

    def refused(self, pool: ComputePool, message: str, count: int) -> None:
        """Tell that the API server refused writes."""
        self.metrics.refused.labels(pool.name).inc(count)
        self._tell(Event(pool_reference(pool), Reason.WRITE_REFUSED, "Burst", message, warning=True))
        log(_logger, logging.WARNING, "write refused", pool=pool.name, pods=count, error=message)

    def turned(self, pool: ComputePool, before: PoolStatus, after: PoolStatus) -> None:
        """Tell of conditions that turned, and of admission opened, moved to another standby, or closed."""
        for condition in after.conditions:
            old = before.condition(condition.type)
            if _worth_telling(old, condition):
                self._turned(pool, condition)
        for provider in after.providers:
            old_breaker = next((one.breaker for one in before.providers if one.name == provider.name), BreakerStatus())
            if old_breaker.state is not provider.breaker.state:
                self._breaker(pool, provider)
        if before.admission.tolerations != after.admission.tolerations and after.last_decision:
            self._admission(pool, before, after, reason_of(after.last_decision.reason))

    def nodes(self, outcome: PassReport, now: float) -> float | None:
        """Tell of nodes that have become sick and of those that are well again; return when to look for more, if so.

        `now`: seconds since the epoch.
        """
        pool = outcome.snapshot.pool

        def tell(news: News) -> None:
            self._tell(Event(pool_reference(pool), news.reason, "Health", news.note, news.unhealthy, state=True))
            level, what = (logging.WARNING, "nodes sick") if news.unhealthy else (logging.INFO, "nodes well")
            fields = {"provider": news.provider, "reason": str(news.reason), "nodes": news.nodes, "names": news.names}
            log(_logger, level, what, pool=pool.name, **fields, detail=news.note)

        return self._nodes.look(outcome, now, tell)

    def forget(self, pool: str) -> None:
        """Drop what is remembered of a pool that is gone."""
        self._nodes.forget(pool)
        self._observed.pop(pool, None)
        self._unmoved.pop(pool, None)
        self.metrics.forget(pool)

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
        by_hand = condition.reason == Reason.DRAINED
        warning = condition.type in _TOLD_BY_REASON and bad and not by_hand
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
            self._count(pool, bursts[0].reason, action, burst_tally(bursts))

    def _pool_moves(self, pool: ComputePool, moves: Sequence[Move], would: str, done: str) -> None:
        alike: dict[tuple[MoveKind, Reason], list[Move]] = {}
        for move in moves:
            alike.setdefault((move.kind, move.reason), []).append(move)
        for (kind, reason), some in alike.items():
            self._count(pool, reason, f"{would}{kind}", move_tally(some, done))

    def _count(self, pool: ComputePool, reason: Reason, action: str, tally: Tally) -> None:
        tally = msgspec.structs.replace(tally, before=in_mode(pool.spec.mode, ""))
        self._tell(Event(pool_reference(pool), reason, action, str(tally), tally=tally))

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
    if new.type not in _TOLD or (old is None and new.reason in _NO_NEWS):
        return False
    if new.type == DEGRADED and new.status is not ConditionStatus.TRUE:
        # Nodes are told of by themselves; and that nothing can be seen, by Ready.
        over = old is not None and old.status is not ConditionStatus.FALSE
        return over and new.status is ConditionStatus.FALSE
    another = old is not None and new.type in _TOLD_BY_REASON and old.reason != new.reason
    return old is None or old.status is not new.status or another


def _details(moves: Sequence[Move], result: str, why: Mapping[str, str]) -> dict[str, str]:
    """Name pods that were not let go, and say in the API server's words why the first of them was not."""
    if result in _MOVED:
        return {}
    names = ", ".join(f"{move.pod.namespace}/{move.pod.name}" for move in moves[:_SAID])
    said = next((why[move.pod.uid] for move in moves if why.get(move.pod.uid)), None)
    return {"names": names, **({"error": said} if said else {})}
