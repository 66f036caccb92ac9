"""Whether pods wait for want of room or money, and have waited for longer than a moment.

The verdict has a hysteresis, so that the pool's condition does not come and go with every pod: it begins once a pod has
waited for `patience_of`, and lasts for CLEAR_SECONDS after the last such pod. It decides nothing about pods.
"""

from collections.abc import Iterable, Mapping, Sequence
from heapq import nsmallest
from itertools import chain
from typing import Final

import msgspec

from computepool.assess.demand.overflow import Hold
from computepool.decide.burst.planner import LASTING, Rejections
from computepool.model.api import PoolSpec
from computepool.model.cluster import Pod
from computepool.model.reasons import Reason
from computepool.model.state import MissedDrain, Shortage

CLEAR_SECONDS: Final = 30.0
MOMENT_SECONDS: Final = 5.0
"""A wait that is shorter is not worth a word, whatever saturation.pendingSeconds is."""
NAMED_PODS: Final = 3
"""How many pods a shortage names."""
SHORT_OF: Final = (
    Reason.NO_ROOM,
    Reason.NO_NODES,
    Reason.AT_MAX_ACCELERATORS,
    Reason.BUDGET_EXHAUSTED,
    Reason.PROVIDER_UNAVAILABLE,
    Reason.CANARY_UNDER_WAY,
    Reason.INSUFFICIENT_CAPACITY,
    Reason.WORKLOAD_BACK_OFF,
    Reason.TOO_LARGE,
)
"""Rejections for want of room or money: more room, a larger node or more money would help. In the order of texts."""
_SHORT_OF: Final = frozenset(SHORT_OF)
_NOT_YET: Final = frozenset({Reason.BELOW_PENDING_SECONDS, Reason.AWAITING_NODES})


class ShortageVerdict(msgspec.Struct, frozen=True):
    """The verdict of a pass."""

    shortage: Shortage | None
    """None while no pod waits for want of room or money."""
    recheck_at: float | None
    """When the verdict may change by time alone."""


def patience_of(spec: PoolSpec) -> float:
    """Return how many seconds a pod waits before its wait is worth a word."""
    return max(float(spec.saturation.pending_seconds), MOMENT_SECONDS)


def is_rejected_everywhere(hold: Hold) -> bool:
    """Say whether every provider has rejected the pod, and its time to wait for the primary is over."""
    return bool(hold.rejected) and not hold.provider and hold.reason not in _NOT_YET


def lasts(before: Shortage | MissedDrain, now: float) -> bool:
    """Say whether a verdict stays although no pod calls for it any more."""
    return before.seen_at <= now < before.seen_at + CLEAR_SECONDS


def first_names(pods: Iterable[Pod]) -> tuple[str, ...]:
    """Return the first names of pods in alphabetical order, which change only when these pods do."""
    return tuple("/".join(name) for name in nsmallest(NAMED_PODS, ((pod.namespace, pod.name) for pod in pods)))


def shortage_of(holds: Iterable[Hold], spec: PoolSpec, before: Shortage | None, now: float) -> ShortageVerdict:
    """Return the verdict on the waiting pods of a pass. `before`: of the pass before."""
    lacking = {rejected: pods for rejected, pods in _by_rejections(holds).items() if _lacks(rejected)}
    patience = patience_of(spec)
    latest = now - patience
    young = [pod.since for pods in lacking.values() for pod in pods if pod.since > latest]
    due = min(young) + patience if young else None
    if young:
        lacking = {rejected: [pod for pod in pods if pod.since <= latest] for rejected, pods in lacking.items()}
    if any(lacking.values()):
        return ShortageVerdict(_shortage(lacking, now), due)
    if before is not None and lasts(before, now):
        clear_at = before.seen_at + CLEAR_SECONDS
        return ShortageVerdict(before, clear_at if due is None else min(due, clear_at))
    return ShortageVerdict(None, due)


def _by_rejections(holds: Iterable[Hold]) -> dict[Rejections, list[Pod]]:
    """Group the pods that every provider rejects: thousands of pods have the same rejections."""
    found: dict[Rejections, list[Pod]] = {}
    for hold in holds:
        if is_rejected_everywhere(hold):
            pods = found.get(hold.rejected)
            if pods is None:
                found[hold.rejected] = [hold.pod]
            else:
                pods.append(hold.pod)
    return found


def _lacks(rejected: Rejections) -> bool:
    """Say whether pods lack room or money. Where the API server refuses a patch, a provider would take the pod."""
    reasons = {reason for _, reason in rejected}
    return Reason.WRITE_REFUSED not in reasons and not reasons.isdisjoint(_SHORT_OF)


def _keeps_to_primary(rejected: Rejections) -> bool:
    return all(reason in LASTING for _, reason in rejected[1:])


def _shortage(lacking: Mapping[Rejections, Sequence[Pod]], now: float) -> Shortage:
    """Sum up the pods. Pods that their own constraints keep off every standby count only if there are no other pods."""
    others = {rejected: pods for rejected, pods in lacking.items() if pods and not _keeps_to_primary(rejected)}
    told = others or {rejected: pods for rejected, pods in lacking.items() if pods}
    found = {reason for rejected in told for _, reason in rejected}
    reasons = tuple(reason for reason in SHORT_OF if reason in found)
    return Shortage(first_names(chain.from_iterable(told.values())), reasons, not others, now)
