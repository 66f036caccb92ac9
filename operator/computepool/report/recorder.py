"""Records what passes did: events on pools and pods, log lines, counters."""

import logging
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, TypeVar

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
from computepool.model.reasons import Reason, reason_of
from computepool.model.references import pod_reference, pool_reference
from computepool.report.conditions import BUDGET_EXHAUSTED, DEGRADED, READY, SATURATED
from computepool.report.events import Event
from computepool.report.logs import log
from computepool.report.metrics import Metrics
from computepool.report.node_changes import NodeChanges
from computepool.report.pass_report import PassReport
from computepool.report.problems import NAMED_NODES
from computepool.report.sentences import burst_sentence, burst_tally, destination, in_mode, move_sentence, move_tally
from computepool.report.words import Tally, full_stop, listed, pod_names

_logger = logging.getLogger("computepool")
_LET_GO: Final = frozenset({"moved", "released"})
_KEPT: Final = {"refused": Reason.EVICTION_REFUSED, "failed": Reason.WRITE_REFUSED}
"""Results of moves whose pod stays against the operator's will, and the reason of its event."""
_CANARY: Final = "Nothing is wrong with it any more: one of its nodes is tried with a first pod."
_RECORDED_BY_REASON: Final = frozenset({READY, DEGRADED, BUDGET_EXHAUSTED})
"""Conditions of which another reason is an event as well: something worse has happened. Why the primary is saturated
changes all the time."""
_RECORDED: Final = _RECORDED_BY_REASON | {SATURATED}
"""Conditions whose change is an event; Bursting and Resilient follow from these and would only repeat them."""
_EXPECTED: Final = (Reason.PRIMARY_HAS_ROOM, Reason.ALL_WELL, Reason.NO_BUDGET, Reason.WITHIN_BUDGET)
"""Reasons that need no event when a pool is new."""
_NO_WORDS: Final[Mapping[str, str]] = MappingProxyType({})
_Key = TypeVar("_Key", bound=Hashable)
_Item = TypeVar("_Item")


class EventRecorder:
    """Records each thing that happens to a pool once."""

    def __init__(self, metrics: Metrics, send: Callable[[Event], None]) -> None:
        """`send` queues an event."""
        self._metrics = metrics
        self._send = send
        # What was announced in mode Observe and is still decided, by pool: pods with their provider, and pods.
        self._announced_bursts: dict[str, frozenset[tuple[str, str]]] = {}
        self._announced_moves: dict[str, frozenset[str]] = {}
        self._node_changes = NodeChanges()

    # --- bursts

    def record_bursts(self, pool: ComputePool, bursts: Sequence[Burst], took: float) -> None:
        """Record pods that were sent on. `took`: seconds from the event that made them overflow."""
        for burst in bursts:
            self._metrics.sent_on(pool.name, burst.provider, burst.reason)
            self._send(Event(pod_reference(burst.pod), burst.reason, "Burst", burst_sentence(burst)))
        self._record_bursts(pool, bursts, "Burst", "burst", took_ms=round(took * 1000, 1))

    def observe_bursts(self, pool: ComputePool, bursts: Sequence[Burst]) -> None:
        """Announce what Enforce would have sent on, once for each pod and provider."""
        announced = self._announced_bursts.get(pool.name, frozenset())
        new = [burst for burst in bursts if _burst_key(burst) not in announced]
        self._announced_bursts[pool.name] = frozenset(map(_burst_key, bursts))
        for burst in new:
            note = in_mode(pool.spec.mode, burst_sentence(burst))
            self._send(Event(pod_reference(burst.pod), burst.reason, "WouldBurst", note))
        self._record_bursts(pool, new, "WouldBurst", "would burst")

    def announced_bursts(self, pool: str, bursts: Sequence[Burst]) -> bool:
        """Say whether all of these bursts were announced before, in mode Observe."""
        return self._announced_bursts.get(pool, frozenset()).issuperset(map(_burst_key, bursts))

    def record_refusal(self, pool: ComputePool, message: str, count: int) -> None:
        """Record that the API server refused to send `count` pods on."""
        self._metrics.refused.labels(pool.name).inc(count)
        self._send(Event(pool_reference(pool), Reason.WRITE_REFUSED, "Burst", message, warning=True))
        log(_logger, logging.WARNING, "write refused", pool=pool.name, pods=count, error=message)

    # --- moves

    def record_moves(
        self, pool: ComputePool, moves: Sequence[Move], result: str, why: Mapping[str, str] = _NO_WORDS
    ) -> None:
        """Record what became of the requests to let running pods go.

        `result`: one of metrics.RESULTS. `why`: by pod uid, why the pod was not let go.
        """
        for move in moves:
            self._metrics.moved(pool.name, move.source, move.target, result)
            if result in _LET_GO:
                self._send(Event(pod_reference(move.pod), move.reason, str(move.kind), move_sentence(move)))
            elif result in _KEPT:
                kept = _KEPT[result]
                answer = f" {full_stop(why[move.pod.uid])}" if why.get(move.pod.uid) else ""
                note = f"{kept.help}{answer} It should run on {destination(move)}. {move.reason.help}"
                self._send(Event(pod_reference(move.pod), kept, str(move.kind), note, warning=True))
        if result == "failed":
            self._metrics.refused.labels(pool.name).inc(len(moves))
        if result in _LET_GO:
            self._count_moves(pool, moves, "", "moved")
        level = logging.INFO if result in {*_LET_GO, "dropped"} else logging.WARNING
        for (source, target, reason), group in _grouped(moves, lambda m: (m.source, m.target, m.reason)).items():
            fields: dict[str, Any] = {"source": source, "provider": target, "reason": str(reason), "pods": len(group)}
            if result not in _LET_GO:
                first = next((why[move.pod.uid] for move in group if why.get(move.pod.uid)), None)
                fields |= {"names": pod_names(move.pod for move in group), "error": first}
            log(_logger, level, f"running pods {result}", pool=pool.name, **fields)

    def observe_moves(self, pool: ComputePool, moves: Sequence[Move]) -> None:
        """Announce what Enforce would have moved, once for each pod."""
        announced = self._announced_moves.get(pool.name, frozenset())
        new = [move for move in moves if move.pod.uid not in announced]
        self._announced_moves[pool.name] = frozenset(move.pod.uid for move in moves)
        for move in new:
            note = in_mode(pool.spec.mode, move_sentence(move))
            self._send(Event(pod_reference(move.pod), move.reason, f"Would{move.kind}", note))
        self._count_moves(pool, new, "Would", "to be moved")
        if new:
            log(_logger, logging.INFO, "would move running pods", pool=pool.name, pods=len(new))

    def announced_moves(self, pool: str, moves: Sequence[Move]) -> bool:
        """Say whether all of these moves were announced before, in mode Observe."""
        return self._announced_moves.get(pool, frozenset()).issuperset(move.pod.uid for move in moves)

    # --- changes of the status and of nodes

    def record_status(self, pool: ComputePool, before: PoolStatus, after: PoolStatus) -> None:
        """Record conditions and breakers that changed, and admission that opened, moved on or closed."""
        for condition in after.conditions:
            if _is_event(before.condition(condition.type), condition):
                self._condition_changed(pool, condition)
        breakers = {provider.name: provider.breaker for provider in before.providers}
        for provider in after.providers:
            if breakers.get(provider.name, BreakerStatus()).state is not provider.breaker.state:
                self._breaker_changed(pool, provider)
        if before.admission.tolerations != after.admission.tolerations and after.last_decision:
            self._admission_changed(pool, before, after, reason_of(after.last_decision.reason))

    def record_nodes(self, report: PassReport, now: float) -> float | None:
        """Record nodes that have become unhealthy, healthy or gone. Return when to look for more; None: no need.

        `now`: seconds since the epoch.
        """
        pool = report.snapshot.pool
        changes, recheck_at = self._node_changes.announce(report, now)
        for change in changes:
            self._send(Event(pool_reference(pool), change.reason, "Health", change.note, change.unhealthy, state=True))
            level, what = (logging.WARNING, "unhealthy") if change.unhealthy else (logging.INFO, "healthy")
            names = listed(change.names, NAMED_NODES)
            fields = {"reason": str(change.reason), "nodes": len(change.names), "names": names, "detail": change.note}
            log(_logger, level, f"nodes {what}", pool=pool.name, provider=change.provider, **fields)
        return recheck_at

    def forget(self, pool: str) -> None:
        """Drop what is remembered of a pool that is gone."""
        self._node_changes.forget(pool)
        self._announced_bursts.pop(pool, None)
        self._announced_moves.pop(pool, None)
        self._metrics.forget(pool)

    def _condition_changed(self, pool: ComputePool, condition: Condition) -> None:
        bad = (condition.type == READY) != (condition.status is ConditionStatus.TRUE)
        by_hand = condition.reason == Reason.DRAINED
        warning = condition.type in _RECORDED_BY_REASON and bad and not by_hand
        note = f"{condition.type} is {condition.status}: {condition.message}"
        self._state_changed(pool, reason_of(condition.reason), condition.type, note, warning=warning)
        log(_logger, _level(warning=warning), note, pool=pool.name, reason=condition.reason)

    def _breaker_changed(self, pool: ComputePool, provider: ProviderStatus) -> None:
        state = provider.breaker.state
        reason = reason_of(provider.breaker.reason) if provider.breaker.reason else Reason.PROVIDER_WELL
        text = reason.help
        if state is BreakerState.HALF_OPEN:
            # The status keeps why the breaker opened; the event is about the trial.
            reason, text = Reason.CANARY_UNDER_WAY, _CANARY
        warning = state is BreakerState.OPEN and reason is not Reason.DRAINED
        note = f"Breaker of {provider.name} is {state}. {text}"
        self._state_changed(pool, reason, "Breaker", note, warning=warning)
        fields = {"provider": provider.name, "state": str(state), "reason": str(reason)}
        log(_logger, _level(warning=warning), "breaker", pool=pool.name, **fields)

    def _admission_changed(self, pool: ComputePool, before: PoolStatus, after: PoolStatus, reason: Reason) -> None:
        given = after.admission.tolerations
        name = next((p.name for p in pool.spec.standbys if given and p.effective_tolerations() == given), None)
        if given:
            note = f"New pods may use {name} from their creation on."
            what = "admission moved" if before.admission.tolerations else "admission opened"
        else:
            note, what = "New pods are left as they are created.", "admission closed"
        self._state_changed(pool, reason, "Admission", note)
        log(_logger, logging.INFO, what, pool=pool.name, provider=name, reason=str(reason))

    def _state_changed(
        self, pool: ComputePool, reason: Reason, action: str, note: str, *, warning: bool = False
    ) -> None:
        self._send(Event(pool_reference(pool), reason, action, note, warning, state=True))

    def _record_bursts(
        self, pool: ComputePool, bursts: Sequence[Burst], action: str, what: str, **fields: float
    ) -> None:
        if bursts:
            self._count(pool, bursts[0].reason, action, burst_tally(bursts))
        for (provider, reason), group in _grouped(bursts, lambda b: (b.provider, b.reason)).items():
            counts = {"provider": provider, "reason": str(reason), "pods": len(group)}
            log(_logger, logging.INFO, what, pool=pool.name, **counts, **fields)

    def _count_moves(self, pool: ComputePool, moves: Sequence[Move], would: str, done: str) -> None:
        for (kind, reason), group in _grouped(moves, lambda move: (move.kind, move.reason)).items():
            self._count(pool, reason, f"{would}{kind}", move_tally(group, done))

    def _count(self, pool: ComputePool, reason: Reason, action: str, tally: Tally) -> None:
        tally = msgspec.structs.replace(tally, before=in_mode(pool.spec.mode, ""))
        self._send(Event(pool_reference(pool), reason, action, str(tally), tally=tally))


def _burst_key(burst: Burst) -> tuple[str, str]:
    return burst.pod.uid, burst.provider


def _grouped(items: Iterable[_Item], key: Callable[[_Item], _Key]) -> dict[_Key, list[_Item]]:
    groups: dict[_Key, list[_Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def _level(*, warning: bool) -> int:
    return logging.WARNING if warning else logging.INFO


def _is_event(old: Condition | None, new: Condition) -> bool:
    """Say whether a condition has changed in a way that a person should hear about."""
    if new.type not in _RECORDED or (old is None and new.reason in _EXPECTED):
        return False
    if new.type == DEGRADED and new.status is not ConditionStatus.TRUE:
        # Nodes have events of their own, and Ready reports that nothing can be seen.
        return old is not None and old.status is not ConditionStatus.FALSE and new.status is ConditionStatus.FALSE
    other_reason = old is not None and new.type in _RECORDED_BY_REASON and old.reason != new.reason
    return old is None or old.status is not new.status or other_reason
