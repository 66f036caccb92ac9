"""Records what passes did: events on pools and pods, log lines, counters."""

import logging
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, Final, TypeVar

from computepool.decide.plan import Burst, LabelFix, Move, Plan
from computepool.decide.refused_patches import patch_text
from computepool.kube.denial import with_advice
from computepool.kube.errors import ApiError
from computepool.model.api import (
    BreakerState,
    BreakerStatus,
    ComputePool,
    Condition,
    ConditionStatus,
    DrillStatus,
    Mode,
    PoolStatus,
    ProviderStatus,
)
from computepool.model.moves import Outcome, PodMove
from computepool.model.object_references import pod_reference, pool_reference
from computepool.model.reasons import Reason, reason_of
from computepool.report.admitted_pods import AdmittedPods
from computepool.report.conditions import BUDGET_EXHAUSTED, DEGRADED, READY, SATURATED
from computepool.report.event_rate import EventRate
from computepool.report.events import Event
from computepool.report.formatting import Tally, about, full_stop, listed, pod_names
from computepool.report.logs import log
from computepool.report.metrics import Metrics, MoveResult
from computepool.report.move_outcomes import REASONS, MoveOutcomes, outcome_of
from computepool.report.node_changes import NodeChanges
from computepool.report.pass_report import PassReport
from computepool.report.problems import NAMED_NODES
from computepool.report.sentences import (
    burst_sentence,
    burst_tally,
    destination,
    eviction_tally,
    in_mode,
    move_sentence,
    outcome_sentence,
    outcome_tally,
    wish_tally,
)
from computepool.report.unknown_providers import UnknownProviders
from computepool.report.waiting import event_reason, waiting_note
from computepool.report.waiting_pods import WaitingPods

_logger = logging.getLogger("computepool")
_LET_GO: Final = frozenset({MoveResult.MOVED, MoveResult.RELEASED})
_DONE: Final = {MoveResult.MOVED: "evicted"}
"""The word of the log line if the result's own word says more than is known: no pod runs on the target yet."""
_ENDED: Final = {
    Outcome.REPLACED: "moved pods run where they were meant to",
    Outcome.ELSEWHERE: "moved pods landed elsewhere",
    Outcome.RETURNED: "moved pods came back",
    Outcome.NOT_REPLACED: "moved pods were not replaced in time",
}
_KEPT: Final = {MoveResult.REFUSED: Reason.EVICTION_REFUSED, MoveResult.FAILED: Reason.WRITE_REFUSED}
"""Results of moves whose pod stays against the operator's will, and the reason of its event."""
_CANARY: Final = "Nothing is wrong with it any more: one of its nodes {is_or_would_be} tried with a first pod."
_RECORDED_BY_REASON: Final = frozenset({READY, DEGRADED, BUDGET_EXHAUSTED})
"""Conditions of which another reason is an event as well: something worse has happened. Why the primary is saturated
changes all the time."""
_RECORDED: Final = _RECORDED_BY_REASON | {SATURATED}
"""Conditions whose change is an event; Bursting and Resilient follow from these and would only repeat them."""
_EXPECTED: Final = (Reason.PRIMARY_HAS_ROOM, Reason.ALL_WELL, Reason.NO_BUDGET, Reason.WITHIN_BUDGET)
"""Reasons that need no event when a pool is new."""
_Failure = tuple[Burst, ApiError]
_Key = TypeVar("_Key", bound=Hashable)
_Item = TypeVar("_Item")


class EventRecorder:
    """Records each thing that happens to a pool once."""

    def __init__(self, metrics: Metrics, send: Callable[[Event], None]) -> None:
        """`send` queues an event."""
        self.metrics = metrics
        self._send = send
        # The decisions of the last pass in mode Observe, by pool.
        self._announced: dict[str, frozenset[tuple[str, str]]] = {}
        self._node_changes = NodeChanges()
        self._outcomes = MoveOutcomes()
        self._unknown_providers = UnknownProviders()
        rate = EventRate()
        self._waiting = WaitingPods(rate)
        self._admitted = AdmittedPods(rate)
        self._refusal_rate = EventRate()

    # --- bursts

    def record_bursts(self, pool: ComputePool, bursts: Sequence[Burst], took: float) -> None:
        """Record pods that were sent to a standby. `took`: seconds from the event that made them overflow."""
        for burst in bursts:
            self.metrics.sent_to_standby(pool.name, burst.provider, burst.reason)
            self._pod_event(burst, "Burst", burst_sentence(burst))
        self._count_bursts(pool, bursts, "Burst", "burst", took_ms=round(took * 1000, 1))

    def record_unsent(
        self, pool: ComputePool, refused: Sequence[_Failure], failed: Sequence[_Failure], now: float
    ) -> None:
        """Record pods that could not be sent to a standby, at least one, each with the API server's answer.

        `refused`: the API server does not accept the patch as it is. `failed`: the same patch may succeed later.
        `now`: seconds of any clock.
        """
        texts = [
            patch_text(burst.pod, burst.provider, f"{what}: {with_advice(error)}")
            for what, group in (("was refused", refused), ("failed", failed))
            for burst, error in group
        ]
        self.metrics.refused.labels(pool.name).inc(len(texts))
        self._send(Event(pool_reference(pool), Reason.WRITE_REFUSED, "Burst", texts[0], warning=True))
        log(_logger, logging.WARNING, "write refused", pool=pool.name, pods=len(texts), error=texts[0])
        for (burst, _), text in islice(zip(refused, texts, strict=False), self._refusal_rate.take(len(refused), now)):
            note = (
                f"{text[:1].upper()}{full_stop(text[1:])} After a second refusal, the pod may go to the next provider."
            )
            subject, reason = pod_reference(burst.pod), Reason.WRITE_REFUSED
            self._send(Event(subject, reason, "Burst", note, warning=True, provider=burst.provider))

    # --- moves

    def record_moves(
        self, pool: ComputePool, moves: Sequence[Move], result: MoveResult, why: Mapping[str, str]
    ) -> None:
        """Record what became of the requests to let running pods go.

        `why`: by pod uid, why the pod was not let go.
        """
        for move in moves:
            self.metrics.moved(pool.name, move.source, move.target, result)
            if result in _LET_GO:
                self._pod_event(move, str(move.kind), move_sentence(move))
            elif result in _KEPT:
                kept = _KEPT[result]
                answer = f" {full_stop(why[move.pod.uid])}" if why.get(move.pod.uid) else ""
                note = f"{kept.help}{answer} It should run on {destination(move)}. {move.reason.help}"
                self._send(Event(pod_reference(move.pod), kept, str(move.kind), note, warning=True))
        if result is MoveResult.FAILED:
            self.metrics.refused.labels(pool.name).inc(len(moves))
        if result in _LET_GO:
            self._count_moves(pool, moves, "", eviction_tally)
        level = logging.INFO if result in {*_LET_GO, MoveResult.DROPPED} else logging.WARNING
        for (source, target, reason), group in _grouped(moves, lambda m: (m.source, m.target, m.reason)).items():
            fields: dict[str, Any] = {"source": source, "target": target, "reason": str(reason), "pods": len(group)}
            fields["names"] = pod_names(move.pod for move in group)
            if result not in _LET_GO:
                fields["error"] = next((why[move.pod.uid] for move in group if why.get(move.pod.uid)), None)
            log(_logger, level, f"running pods {_DONE.get(result, result)}", pool=pool.name, **fields)

    def record_outcomes(self, pool: ComputePool, moves: Iterable[PodMove]) -> None:
        """Record where the replacements of evicted pods went, each once. `moves`: the moves of the pass's snapshot."""
        news = self._outcomes.news(pool.name, moves)
        for move in news:
            self.metrics.ended(pool.name, move)
            if (outcome := outcome_of(move)) is not Outcome.REPLACED:
                note = outcome_sentence(move, REASONS[outcome])
                self._send(Event(pod_reference(move.pod), REASONS[outcome], str(move.kind), note, warning=True))
        for (outcome, kind), ended in _grouped(news, lambda m: (outcome_of(m), m.kind)).items():
            tally = outcome_tally(ended, REASONS[outcome])
            self._count(pool, REASONS[outcome], str(kind), tally, warning=outcome is not Outcome.REPLACED)
        for (outcome, source, target, landed), group in _grouped(
            news, lambda m: (outcome_of(m), m.source, m.target, m.landed)
        ).items():
            well = outcome is Outcome.REPLACED
            fields: dict[str, Any] = {"source": source, "target": target, "provider": landed or None}
            fields |= {"outcome": str(outcome), "reason": str(REASONS[outcome]), "pods": len(group)}
            fields["names"] = pod_names(move.pod for move in group)
            log(_logger, logging.INFO if well else logging.WARNING, _ENDED[outcome], pool=pool.name, **fields)

    # --- mode Observe

    def observe(self, pool: ComputePool, plan: Plan) -> None:
        """Announce what Enforce would have done, once for each pod, and once for each provider that it is sent to."""
        announced = self._announced.get(pool.name, frozenset())
        self._announced[pool.name] = frozenset((*map(_key, plan.bursts), *map(_key, plan.moves)))
        bursts = [burst for burst in plan.bursts if _key(burst) not in announced]
        moves = [move for move in plan.moves if _key(move) not in announced]
        for burst in bursts:
            self._pod_event(burst, "WouldBurst", burst_sentence(burst, pool.spec.mode))
        for move in moves:
            self._pod_event(move, f"Would{move.kind}", move_sentence(move, pool.spec.mode))
        self._count_bursts(pool, bursts, "WouldBurst", "would burst")
        self._count_moves(pool, moves, "Would", partial(wish_tally, mode=pool.spec.mode))
        for (source, target, reason), group in _grouped(moves, lambda m: (m.source, m.target, m.reason)).items():
            fields = {"source": source, "target": target, "reason": str(reason), "pods": len(group)}
            names = pod_names(move.pod for move in group)
            log(_logger, logging.INFO, "would move running pods", pool=pool.name, **fields, names=names)

    def announced(self, pool: str, decisions: Iterable[Burst | Move]) -> bool:
        """Say whether the last `observe` had all of these decisions."""
        return self._announced.get(pool, frozenset()).issuperset(map(_key, decisions))

    # --- changes of the status and of nodes

    def record_status(self, pool: ComputePool, before: PoolStatus, after: PoolStatus) -> None:
        """Record conditions and breakers that changed, and admission that opened, moved on or closed."""
        for condition in after.conditions:
            if _is_event(before.condition(condition.type), condition):
                self._condition_changed(pool, condition)
        seen = {provider.name: provider for provider in before.providers}
        for provider in after.providers:
            old = seen.get(provider.name)
            if (BreakerStatus() if old is None else old.breaker).state is not provider.breaker.state:
                self._breaker_changed(pool, provider)
            self._drill_changed(pool, provider, None if old is None else old.drill)
        held = after.admission.message not in ("", before.admission.message)
        if (held or before.admission.tolerations != after.admission.tolerations) and after.last_decision:
            reason = reason_of(after.last_decision.reason)
            if held and reason is not Reason.CANARY_UNDER_WAY:
                # The last decision may be a burst of the same pass.
                reason = Reason.PREFERRED_STANDBY_FIRST
            self._admission_changed(pool, before, after, reason)

    def record_nodes(self, report: PassReport, now: float) -> float | None:
        """Record nodes that have become unhealthy, healthy or gone. Return when to look for more; None: no need.

        `now`: seconds since the epoch.
        """
        subject = pool_reference(report.snapshot.pool)
        changes, recheck_at = self._node_changes.announce(report, now)
        for change in changes:
            names = listed(change.names, NAMED_NODES)
            fields = {"provider": change.provider, "nodes": len(change.names), "names": names, "detail": change.note}
            event = Event(subject, change.reason, "Health", change.note, change.unhealthy, state=True)
            self._send_and_log(event, "nodes unhealthy" if change.unhealthy else "nodes healthy", **fields)
        return recheck_at

    def record_unknown_providers(self, report: PassReport) -> None:
        """Record waiting pods whose annotation has names that are no provider, each once."""
        pool = report.snapshot.pool
        for pod, names in self._unknown_providers.news(pool.name, report.unknown_providers):
            reason = Reason.UNKNOWN_PROVIDER
            note = f"{names}: {reason.help} The pool {pool.name} has {_standbys(pool)}."
            self._send(Event(pod_reference(pod), reason, "Burst", note, warning=True))

    def record_waiting(self, report: PassReport, now: float) -> float | None:
        """Record why pods wait, each once for each reason. Return when to look for more; None: no need.

        `now`: seconds since the epoch.
        """
        pool = report.snapshot.pool
        news = self._waiting.news(report, now)
        for hold, key in news.waits:
            note = in_mode(pool.spec.mode, waiting_note(report, hold))
            reason = event_reason(hold)
            self._send(Event(pod_reference(hold.pod), reason, "Wait", note, warning=True, state=True, key=key))
        if news.waits and news.left_out:
            more = about(news.left_out, "more pod")
            note = f"{more} wait, and are told why one after another. `computepool explain` says why at once."
            self._send(Event(pool_reference(pool), Reason.PODS_WAITING, "Wait", note, warning=True, state=True))
        return news.recheck_at

    def note_admission(self, report: PassReport, now: float) -> None:
        """Note whether new pods are admitted to a standby after this pass. `now`: seconds since the epoch."""
        admits = not report.observed and report.gaps.admission is None
        self._admitted.note_admission(report.snapshot.pool.name, report.state.recorded.admitting if admits else "", now)

    def record_admitted(self, pool: ComputePool, fixes: Iterable[LabelFix]) -> bool:
        """Record pods that the admission policy has sent to a standby, as far as that is known.

        `fixes`: corrections of labels that were written. Return whether there are such pods: `record_admitted_pods`
        records each on its own.
        """
        admitted = self._admitted.add(pool, fixes)
        if admitted:
            counts = Counter(f"to {fix.provider}" for fix in admitted)
            self._count(
                pool, Reason.ADMITTED, "Burst", Tally("pod(s) admitted to standbys", counts, Reason.ADMITTED.help)
            )
            for provider, pods in Counter(fix.provider for fix in admitted).items():
                log(_logger, logging.INFO, "admitted", pool=pool.name, provider=provider, pods=pods)
        return bool(admitted)

    def record_admitted_pods(self, pool: ComputePool, now: float) -> float | None:
        """Record the admitted pods, each on its own. Return when to look for more; None: no need.

        `now`: seconds since the epoch.
        """
        fixes, recheck_at = self._admitted.news(pool.name, now)
        for fix in fixes:
            note = f"Admitted to {fix.provider}. {Reason.ADMITTED.help}"
            self._send(Event(pod_reference(fix.pod), Reason.ADMITTED, "Burst", note))
        return recheck_at

    def forget(self, pool: str) -> None:
        """Drop what is remembered of a pool that is gone."""
        self._waiting.forget(pool)
        self._admitted.forget(pool)
        self._node_changes.forget(pool)
        self._unknown_providers.forget(pool)
        self._outcomes.forget(pool)
        self._announced.pop(pool, None)
        self.metrics.forget(pool)

    def _condition_changed(self, pool: ComputePool, condition: Condition) -> None:
        bad = (condition.type == READY) != (condition.status is ConditionStatus.TRUE)
        warning = condition.type in _RECORDED_BY_REASON and bad
        note = f"{condition.type} is {condition.status}: {condition.message}"
        reason = reason_of(condition.reason)
        self._send_and_log(Event(pool_reference(pool), reason, condition.type, note, warning, state=True), note)

    def _breaker_changed(self, pool: ComputePool, provider: ProviderStatus) -> None:
        state = provider.breaker.state
        reason = reason_of(provider.breaker.reason) if provider.breaker.reason else Reason.PROVIDER_WELL
        text = reason.help
        if state is BreakerState.HALF_OPEN:
            # The status keeps why the breaker opened; the event is about the trial.
            would = "would be" if pool.spec.mode is Mode.OBSERVE else "is"
            reason, text = Reason.CANARY_UNDER_WAY, _CANARY.format(is_or_would_be=would)
        warning = state is BreakerState.OPEN and reason is not Reason.DRAINED
        note = f"Breaker of {provider.name} is {state}. {text}"
        event = Event(pool_reference(pool), reason, "Breaker", note, warning, state=True)
        self._send_and_log(event, "breaker", provider=provider.name, state=str(state))

    def _drill_changed(self, pool: ComputePool, provider: ProviderStatus, before: DrillStatus | None) -> None:
        """Record that a drill has begun, or has ended: for good, before its time, or for another drill."""
        after = provider.drill
        is_same = before is not None and after is not None and before.since == after.since
        if before is not None and not before.stopped and not is_same:
            self._drill_event(pool, provider.name, Reason.DRILL_ENDED, Reason.DRILL_ENDED.help)
        if after is not None and not is_same:
            self._drill_event(pool, provider.name, Reason.DRILL_BEGAN, Reason.DRILL_BEGAN.help)
        if after is not None and after.stopped and not (is_same and before is not None and before.stopped):
            note = f"{after.stopped}. {Reason.DRILL_STOPPED.help}"
            self._drill_event(pool, provider.name, Reason.DRILL_STOPPED, note)

    def _drill_event(self, pool: ComputePool, provider: str, reason: Reason, note: str) -> None:
        event = Event(pool_reference(pool), reason, "Drill", f"{provider}: {note}", reason is Reason.DRILL_STOPPED)
        self._send_and_log(event, "drill", provider=provider)

    def _admission_changed(self, pool: ComputePool, before: PoolStatus, after: PoolStatus, reason: Reason) -> None:
        given = after.admission.tolerations
        name = next((p.name for p in pool.spec.standbys if given and p.effective_tolerations() == given), None)
        if given:
            note = f"New pods may use {name} from their creation on."
            what = "admission moved" if before.admission.tolerations else "admission opened"
        else:
            note = f"New pods are left as they are created. {after.admission.message}".rstrip()
            what, name = "admission closed", after.admission.held_by or None
        self._send_and_log(Event(pool_reference(pool), reason, "Admission", note, state=True), what, provider=name)

    def _send_and_log(self, event: Event, line: str, **fields: Any) -> None:
        self._send(event)
        level = logging.WARNING if event.warning else logging.INFO
        log(_logger, level, line, pool=event.subject["name"], reason=str(event.reason), **fields)

    def _pod_event(self, decision: Burst | Move, action: str, sentence: str) -> None:
        self._send(Event(pod_reference(decision.pod), decision.reason, action, sentence))

    def _count_bursts(
        self, pool: ComputePool, bursts: Sequence[Burst], action: str, what: str, **fields: float
    ) -> None:
        if bursts:
            self._count(pool, bursts[0].reason, action, burst_tally(bursts, pool.spec.mode))
        for (provider, reason), group in _grouped(bursts, lambda b: (b.provider, b.reason)).items():
            counts = {"provider": provider, "reason": str(reason), "pods": len(group)}
            names = pod_names(burst.pod for burst in group)
            log(_logger, logging.INFO, what, pool=pool.name, **counts, **fields, names=names)

    def _count_moves(
        self, pool: ComputePool, moves: Sequence[Move], would: str, tally: Callable[[Sequence[Move]], Tally]
    ) -> None:
        for (kind, reason), group in _grouped(moves, lambda move: (move.kind, move.reason)).items():
            self._count(pool, reason, f"{would}{kind}", tally(group))

    def _count(self, pool: ComputePool, reason: Reason, action: str, tally: Tally, *, warning: bool = False) -> None:
        self._send(Event(pool_reference(pool), reason, action, str(tally), warning, tally=tally))


def _standbys(pool: ComputePool) -> str:
    names = [standby.name for standby in pool.spec.standbys]
    return f"the standbys {', '.join(names)}" if len(names) > 1 else f"the standby {names[0]}"


def _key(decision: Burst | Move) -> tuple[str, str]:
    return decision.pod.uid, decision.provider if isinstance(decision, Burst) else ""


def _grouped(items: Iterable[_Item], key: Callable[[_Item], _Key]) -> dict[_Key, list[_Item]]:
    groups: dict[_Key, list[_Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def _is_event(old: Condition | None, new: Condition) -> bool:
    """Say whether a condition has changed in a way that a person should hear about."""
    if new.type not in _RECORDED or (old is None and new.reason in _EXPECTED):
        return False
    if new.type == DEGRADED and new.status is not ConditionStatus.TRUE:
        # Nodes have events of their own, and Ready reports that nothing can be seen.
        return old is not None and old.status is not ConditionStatus.FALSE and new.status is ConditionStatus.FALSE
    other_reason = old is not None and new.type in _RECORDED_BY_REASON and old.reason != new.reason
    return old is None or old.status is not new.status or other_reason
