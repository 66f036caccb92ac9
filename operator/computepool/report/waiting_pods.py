"""Which waiting pods are told why they wait: each once, and again when the reason changes.

A pod is told once it has waited for `patience_of`, and once the reason has stood for SETTLED_SECONDS. A pass looks only
at reasons that changed. Pods are told in the order of the plan: the highest priority first, then the oldest.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from math import inf
from typing import Final

import msgspec

from computepool.assess.demand.overflow import Hold
from computepool.decide.shortage import is_rejected_everywhere, patience_of
from computepool.model.reasons import Reason
from computepool.report.event_rate import RETRY_SECONDS, EventRate
from computepool.report.pass_report import PassReport
from computepool.report.waiting import event_reason

SETTLED_SECONDS: Final = 3.0
"""A reason that is gone sooner is not worth an event: the pod is sent, or its node comes."""
MAX_KINDS: Final = 4_096
_ALIKE: Final = {
    Reason.NO_NODES: Reason.NO_ROOM,
    Reason.NODE_STARTING: Reason.NO_ROOM,
    Reason.INSUFFICIENT_CAPACITY: Reason.NO_ROOM,
    Reason.CANARY_UNDER_WAY: Reason.PROVIDER_UNAVAILABLE,
}
"""Rejections that follow from each other while a pod waits: a change between these is no news."""
_Kind = tuple[Reason, tuple[tuple[str, Reason], ...]]


class News(msgspec.Struct, frozen=True):
    """The pods that a pass tells."""

    waits: tuple[tuple[Hold, str], ...] = ()
    """Each with a key that names the event: the same pod, told the same for the same time, has the same key."""
    left_out: int = 0
    """How many more pods are to be told, beyond the rate of events."""
    recheck_at: float | None = None
    """When the next pod is to be told."""


class _Told(msgspec.Struct, frozen=True, gc=False):
    """What one pod was told, and what it waits for now."""

    kind: _Kind
    since: float
    told: _Kind | None = None
    times: int = 0


class WaitingPods:
    """Remembers what each waiting pod was told."""

    def __init__(self, rate: EventRate) -> None:
        """No pod was told yet. `rate`: of events about single pods."""
        self._rate = rate
        # Equal kinds are one object where possible, because a pass compares them quickly then.
        self._kinds: dict[_Kind, _Kind] = {}
        self._told: dict[str, dict[str, _Told]] = {}
        """By pool, and by the pod's uid."""

    def news(self, report: PassReport, now: float) -> News:
        """Return the waiting pods to tell now. `now`: seconds since the epoch."""
        if report.snapshot.stale or report.assessment.all_silent:
            return News()
        name, bursts = report.snapshot.pool.name, report.plan.bursts
        before = self._told.get(name, {})
        # A pod that is sent to a standby may come back.
        after = {burst.pod.uid: before[burst.pod.uid] for burst in bursts if burst.pod.uid in before}
        untold = self._untold(report, before, after, now)
        self._told[name] = after
        patience = patience_of(report.snapshot.pool.spec)
        node_patience = max(patience, report.assessment.primary.provider.timeout)
        due: list[Hold] = []
        later = inf
        for hold, told in untold:
            waits = node_patience if hold.reason is Reason.NODE_BOUND else patience
            at, settled = hold.pod.since + waits, told.since + SETTLED_SECONDS
            if at < settled:
                at = settled
            if at <= now:
                due.append(hold)
            elif at < later:
                later = at
        return self._tell(due, after, None if later == inf else later, now)

    def forget(self, pool: str) -> None:
        """Drop a pool that is gone."""
        self._told.pop(pool, None)

    def _untold(
        self, report: PassReport, before: Mapping[str, _Told], after: dict[str, _Told], now: float
    ) -> Sequence[tuple[Hold, _Told]]:
        """Return the pods that were not told why they wait now. `after` gets what is remembered of all pods."""
        untold: list[tuple[Hold, _Told]] = []
        # Nearly all pods of a pool share a few combinations, and the plan lets equal rejections be one object.
        kinds: dict[tuple[object, ...], _Kind | None] = {}
        for hold in report.plan.holds:
            uid = hold.pod.uid
            told = before.get(uid)
            key = (hold.reason, hold.provider, id(hold.rejected), hold.pod.unschedulable)
            if key not in kinds:
                kinds[key] = self._kind_of(hold)
            kind = kinds[key]
            if kind is None:
                if told is not None:
                    after[uid] = told
                continue
            if told is None:
                told = _Told(kind, now)
            elif told.kind is not kind and told.kind != kind:
                told = msgspec.structs.replace(told, kind=kind, since=now)
            after[uid] = told
            if told.told is not kind and told.told != kind:
                untold.append((hold, told))
        return untold

    def _tell(self, due: Sequence[Hold], after: dict[str, _Told], recheck_at: float | None, now: float) -> News:
        """Tell as many of the pods as the rate of events allows."""
        if not due:
            return News(recheck_at=recheck_at)
        waits = []
        for hold in due[: self._rate.take(len(due), now)]:
            told = after[hold.pod.uid]
            waits.append((hold, _key(told)))
            after[hold.pod.uid] = msgspec.structs.replace(told, told=told.kind, times=told.times + 1)
        left_out = len(due) - len(waits)
        if left_out:
            recheck_at = min(now + RETRY_SECONDS, recheck_at or now + RETRY_SECONDS)
        return News(tuple(waits), left_out, recheck_at)

    def _kind_of(self, hold: Hold) -> _Kind | None:
        """Return why the pod waits, without what changes back and forth; None if its wait is not worth a word."""
        if not _is_worth_a_word(hold):
            return None
        if len(self._kinds) > MAX_KINDS:
            self._kinds.clear()
        reason = event_reason(hold)
        kind = _ALIKE.get(reason, reason), tuple((name, _ALIKE.get(why, why)) for name, why in hold.rejected)
        return self._kinds.setdefault(kind, kind)


def _is_worth_a_word(hold: Hold) -> bool:
    if hold.reason is Reason.NODE_BOUND:
        return not hold.provider
    return hold.reason in (Reason.SCHEDULER_ABSENT, Reason.FROZEN) or is_rejected_everywhere(hold)


def _key(told: _Told) -> str:
    """Return a key that is the same in every process, so that a restart tells no pod twice."""
    reason, rejected = told.kind
    words: Iterable[str] = (reason, *(f"{name}={why}" for name, why in rejected), str(told.times))
    return sha256("\n".join(words).encode()).hexdigest()
