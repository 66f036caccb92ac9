"""Where each overflowing pod goes: the walk over the standby providers, most preferred first.

Kept here, for every burst:
- invariant 1: no pod is burst that fits now on a preferred, healthy provider: providers are tried in order of
  preference, and a pod is in the queue only after the primary was tried;
- invariant 2: bursts never exceed what fits on the target: the account has taken the places of everything promised;
- invariant 3: `maxAccelerators` and budgets are never exceeded: every pod of the pool that tolerates a limited provider
  and is not seen on a node elsewhere counts against it, wherever it was last sent.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from computepool.assess.capacity.providers import Provider
from computepool.assess.demand.overflow import Hold, Overflow, in_order
from computepool.decide.account.account import BURST, Request
from computepool.decide.burst.promises import Opened
from computepool.decide.context import Context
from computepool.decide.move.pending import PendingMoves
from computepool.decide.plan import Burst
from computepool.model.cluster import Pod
from computepool.model.reasons import Reason

Rejected = list[tuple[str, Reason]]
LASTING: Final = frozenset({Reason.NOT_ALLOWED, Reason.PINNED, Reason.TAINTED, Reason.TOO_LARGE})
"""Rejections that waiting does not change."""


class BurstPlan(msgspec.Struct, frozen=True):
    """What was decided about overflowing pods."""

    bursts: tuple[Burst, ...]
    holds: tuple[Hold, ...]
    stuck: tuple[Pod, ...]
    """Pods that the primary has no room for and no standby may ever take."""


def plan_bursts(context: Context, opened: Opened, pending: PendingMoves) -> BurstPlan:
    """Offer each pod that overflows to the first provider that can take it, in order of priority and age."""
    planner = _Planner(context, opened, pending)
    for overflow in _queue((*opened.onward, *context.assessment.demand.overflow)):
        planner.place(overflow)
    return BurstPlan(tuple(planner.bursts), (*opened.holds, *planner.holds), tuple(planner.stuck))


def _queue(overflow: Iterable[Overflow]) -> list[Overflow]:
    by_uid = {entry.pod.uid: entry for entry in overflow}
    return [by_uid[pod.uid] for pod in in_order(entry.pod for entry in by_uid.values())]


class _Planner:
    """What was decided so far."""

    def __init__(self, context: Context, opened: Opened, pending: PendingMoves) -> None:
        self._context = context
        self._account = opened.account
        self._waiting = opened.waiting
        self._replacing = pending.replacing
        self.bursts: list[Burst] = []
        self.holds: list[Hold] = []
        self.stuck: list[Pod] = []

    def place(self, overflow: Overflow) -> None:
        """Offer one pod to the first provider that can take it, or hold it with every rejection."""
        if overflow.wait is not None and overflow.pod.uid in self._replacing:
            # It replaces a pod that was moved to a standby, and its place there was found before that.
            overflow = msgspec.structs.replace(overflow, wait=None, until=None)
        rejected: Rejected = [(self._context.primary.name, overflow.why)]
        for target in self._context.standbys:
            outcome = self._consider(overflow, target, rejected)
            if isinstance(outcome, Burst):
                self.bursts.append(outcome)
                return
            if isinstance(outcome, Hold):
                self.holds.append(outcome)
                return
            rejected.append((target.name, outcome))
        full = overflow.wait is None and overflow.why is Reason.NO_ROOM
        if full and all(why in LASTING for _, why in rejected[1:]):
            self.stuck.append(overflow.pod)
        self.holds.append(_nowhere(overflow, rejected))

    def _consider(self, overflow: Overflow, target: Provider, rejected: Rejected) -> Burst | Hold | Reason:
        """Return what becomes of the pod at one provider: sent there, waiting there already, or why not."""
        pod = overflow.pod
        if self._context.tolerates(pod, target):
            outcome = self._waiting.at(target, pod, pod.offered_since(target.name))
            if isinstance(outcome, Reason):
                return outcome
            return msgspec.structs.replace(outcome, rejected=tuple(rejected))
        if not pod.allows(target.name):
            return Reason.NOT_ALLOWED
        why = overflow.wait or self._account.reserve([Request(pod)], target, BURST)
        if why is not None:
            return why
        missing = tuple(t for t in target.tolerations if t not in pod.shape.tolerations)
        return Burst(pod, target.name, _because(pod, overflow.why), tuple(rejected), missing)


def _because(pod: Pod, why: Reason) -> Reason:
    if pod.offers:
        return Reason.NEXT_PROVIDER
    return why if why in (Reason.PINNED, Reason.TAINTED, Reason.TOO_LARGE) else Reason.PRIMARY_SATURATED


def _nowhere(overflow: Overflow, rejected: Rejected) -> Hold:
    """Hold a pod that no provider takes; where all standbys say the same, that is the reason."""
    if overflow.wait is not None:
        return Hold(overflow.pod, overflow.wait, rejected=tuple(rejected), until=overflow.until)
    reasons = {reason for _, reason in rejected[1:]}
    reason = reasons.pop() if len(reasons) == 1 else Reason.NO_PROVIDER_LEFT
    return Hold(overflow.pod, reason, rejected=tuple(rejected))
