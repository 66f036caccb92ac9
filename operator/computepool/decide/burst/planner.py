"""Chooses the standby provider of each overflowing pod.

Each burst keeps these invariants:
- 1: A pod goes to the most preferred provider that can take it. Only pods that the primary can't take are here.

- 2: Bursts never exceed the free capacity of a provider. The account has taken all promised places before. Pods that
  are sent to preempt others take the places of pods of lower priority, each place once.
- 3: Bursts never exceed `maxAccelerators` or a budget. A pod that tolerates a limited provider counts there until it is
  seen on a node elsewhere.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from computepool.assess.breakers.hold_offs import allows_places
from computepool.assess.capacity.providers import Provider
from computepool.assess.demand.overflow import Hold, Overflow, in_order
from computepool.decide.account.capacity_account import (
    BURST,
    LAST_RESORT,
    MOVED,
    PREEMPTING,
    SENT_TO_PREEMPT,
    PlaceRequest,
)
from computepool.decide.burst.kept_places import Opened
from computepool.decide.context import Context
from computepool.decide.move.pending_moves import PendingMoves
from computepool.decide.plan import Burst
from computepool.model.cluster import Pod
from computepool.model.reasons import Reason

Rejected = list[tuple[str, Reason]]
Rejections = tuple[tuple[str, Reason], ...]
"""Providers and the reasons of their rejections, as in `Hold.rejected`."""
Verdicts = tuple[tuple[str, Reason], ...]
"""Names of providers with the verdict on each."""
LASTING: Final = frozenset({Reason.NOT_ALLOWED, Reason.PINNED, Reason.TAINTED, Reason.TOO_LARGE})
"""Rejections that last however long the pod waits."""
_NO_FREE_PLACE: Final = frozenset({Reason.NO_ROOM, Reason.INSUFFICIENT_CAPACITY})
"""Rejections of pods that may preempt others: the provider is full, and makes no node."""

BURST_REASONS: Final = (
    Reason.PRIMARY_SATURATED,
    Reason.NEXT_PROVIDER,
    Reason.PINNED,
    Reason.TAINTED,
    Reason.TOO_LARGE,
    Reason.SENT_TO_PREEMPT,
)
"""The reasons that a burst may have."""


class BurstPlan(msgspec.Struct, frozen=True):
    """The decisions about overflowing pods."""

    bursts: tuple[Burst, ...]
    holds: tuple[Hold, ...]
    stuck: tuple[Pod, ...]
    """Pods for which the primary has no room, and which no standby can ever take."""
    survey: Verdicts = ()
    """The verdicts on all providers, in order, about the pod that was asked about."""


def plan_bursts(context: Context, opened: Opened, pending: PendingMoves, survey: str = "") -> BurstPlan:
    """Offer each overflowing pod to the first provider that can take it, in order of priority and age.

    `survey`: the uid of a pod about which each provider is asked, also behind the provider that takes it. That changes
    no decision.
    """
    planner = _Planner(context, opened, pending)
    verdicts: Verdicts = ()
    for overflow in _queue(opened.onward, context.assessment.demand.overflow):
        if overflow.pod.uid == survey:
            verdicts = planner.survey(overflow.pod)
        planner.place(overflow)
    planner.place_poor_canaries()
    if survey and not verdicts:
        held = (*context.assessment.demand.held, *opened.holds)
        # A held pod that waits for no provider, or for its own node, is not the operator's to place.
        to_place = (hold for hold in held if hold.provider and hold.reason is not Reason.NODE_BOUND)
        pods = [hold.pod for hold in to_place if hold.pod.uid == survey]
        verdicts = planner.survey(pods[0]) if pods else ()
    return BurstPlan(tuple(planner.bursts), (*opened.holds, *planner.holds), tuple(planner.stuck), verdicts)


def _queue(onward: Sequence[Overflow], overflow: Sequence[Overflow]) -> Sequence[Overflow]:
    if not onward:
        # The demand is in order already.
        return overflow
    by_uid = {entry.pod.uid: entry for entry in (*onward, *overflow)}
    return [by_uid[pod.uid] for pod in in_order(entry.pod for entry in by_uid.values())]


class _Planner:
    def __init__(self, context: Context, opened: Opened, pending: PendingMoves) -> None:
        self._context = context
        self._account = opened.account
        self._waiting = opened.waiting
        self._replacing = pending.replacing
        self._signals = tuple(context.assessment.signals.causing)
        self.bursts: list[Burst] = []
        self.holds: list[Hold] = []
        self.stuck: list[Pod] = []
        # Pods that a half-open provider gets as its canary only if there is no better one.
        self._poor_canaries: list[Overflow] = []
        self._takes_poor_canaries = False
        # Thousands of pods are rejected alike: they share a tuple, so that reports tell them apart by its identity.
        self._rejections: dict[Rejections, Rejections] = {}

    def survey(self, pod: Pod) -> Verdicts:
        """Ask each provider about a pod, as if no other provider took it. Nothing is reserved.

        LESS_PREFERRED: the provider could take the pod.
        """
        verdicts = []
        for provider in (self._context.primary, *self._context.standbys):
            with self._account.trial():
                if provider.primary:
                    why = self._account.reserve([PlaceRequest(pod)], provider, MOVED)
                else:
                    why = self._refusal(pod, provider)
            verdicts.append((provider.name, why or Reason.LESS_PREFERRED))
        return tuple(verdicts)

    def place_poor_canaries(self) -> None:
        """Offer the pods that were put off to half-open providers that have no canary yet."""
        self._takes_poor_canaries = True
        for overflow in self._poor_canaries:
            self.place(overflow)

    def place(self, overflow: Overflow) -> None:
        """Offer one pod to the first provider that can take it, or hold it with every rejection."""
        if overflow.wait is not None and overflow.pod.uid in self._replacing:
            # The pod replaces a moved pod, and the move has found it a place on a standby.
            overflow = msgspec.structs.replace(overflow, wait=None, until=None)
        rejected: Rejected = [(self._context.primary.name, overflow.why)]
        for provider in self._context.standbys:
            outcome = self._consider(overflow, provider, rejected)
            if isinstance(outcome, Burst):
                self.bursts.append(outcome)
                return
            if isinstance(outcome, Hold):
                self.holds.append(outcome)
                return
            rejected.append((provider.name, outcome))
        if self._account.half_open and any(self._is_put_off(overflow.pod, by) for by in self._context.standbys):
            self._poor_canaries.append(overflow)
            return
        last = self._last_resort(overflow, rejected) or self._preempt(overflow, rejected)
        if isinstance(last, Burst):
            self.bursts.append(last)
            return
        if last is not None:
            self.holds.append(last)
            return
        full = overflow.wait is None and overflow.why is Reason.NO_ROOM
        if full and all(why in LASTING for _, why in rejected[1:]):
            self.stuck.append(overflow.pod)
        found = tuple(rejected)
        shared = self._rejections.setdefault(found, found)
        self.holds.append(_rejected_everywhere(overflow, shared, self._context))

    def _consider(self, overflow: Overflow, provider: Provider, rejected: Rejected) -> Burst | Hold | Reason:
        """Return a burst to the provider, a hold if the pod waits there already, or the reason of a rejection."""
        pod = overflow.pod
        if provider.tolerated_by(pod.shape):
            outcome = self._wait_there(pod, provider)
            if isinstance(outcome, Reason):
                return outcome
            return msgspec.structs.replace(outcome, rejected=tuple(rejected))
        why = self._refusal(pod, provider, overflow.wait)
        if why is not None:
            return why
        return self._burst(pod, provider, _burst_reason(pod, overflow.why), tuple(rejected))

    def _refusal(self, pod: Pod, provider: Provider, wait: Reason | None = None) -> Reason | None:
        """Reserve a place for a pod that is sent to a standby now, or return why not. `wait`: why it may not go yet."""
        if not pod.allows(provider.name):
            return Reason.NOT_ALLOWED
        if self._context.is_refused(pod, provider):
            with self._account.trial():
                return wait or self._account.reserve([PlaceRequest(pod)], provider, BURST) or Reason.WRITE_REFUSED
        if self._account.half_open and self._is_put_off(pod, provider):
            return Reason.CANARY_UNDER_WAY
        return wait or self._account.reserve([PlaceRequest(pod)], provider, BURST)

    def _is_put_off(self, pod: Pod, provider: Provider) -> bool:
        return not self._takes_poor_canaries and self._account.is_poor_canary(pod, provider)

    def _wait_there(self, pod: Pod, provider: Provider) -> Hold | Reason:
        """Hold the pod for a provider that it tolerates, or return why it should go on to the next provider."""
        outcome = self._waiting.at(provider, pod, pod.offered_since(provider.name))
        # A pod that was sent there keeps its time. A pod that was created with the toleration was not.
        sent = pod.offered(provider.name) is not None
        if sent or isinstance(outcome, Reason) or (held := self._account.try_there(pod, provider)) is None:
            return outcome
        makes_no_node = outcome.reason is Reason.AWAITING_NODES or not allows_places(held)
        return held.reason if makes_no_node else outcome

    def _last_resort(self, overflow: Overflow, rejected: Rejected) -> Burst | None:
        """Send a pod that no provider takes to a place that the scheduler has not used for the pods of others."""
        pod = overflow.pod
        for position, provider in enumerate(self._context.standbys, start=1):
            held_off = rejected[position][1] is Reason.INSUFFICIENT_CAPACITY and overflow.wait is None
            if not held_off or provider.tolerated_by(pod.shape) or not pod.allows(provider.name):
                continue
            if self._context.is_refused(pod, provider):
                continue
            if self._account.reserve([PlaceRequest(pod)], provider, LAST_RESORT) is None:
                return self._burst(pod, provider, _burst_reason(pod, overflow.why), tuple(rejected[:position]))
        return None

    def _preempt(self, overflow: Overflow, rejected: Rejected) -> Burst | Hold | None:
        """Let a pod that no provider has free room for preempt pods of lower priority on a full standby.

        Return None if it may not, or finds no such pods.
        """
        pod, now = overflow.pod, self._context.now
        if pod.priority <= self._account.lowest_priority:
            return None
        waited = now >= pod.since + self._context.spec.saturation.pending_seconds
        # A pod that fits on the primary and is not bound there has another problem than other pods.
        doubtful = overflow.why is Reason.NOT_BOUND_IN_TIME
        if overflow.wait is not None or doubtful or not pod.preempts or not waited:
            return None
        if any(why is Reason.WRITE_REFUSED for _, why in rejected):
            # A provider has room, and a person can make the API server accept the pod there.
            return None
        for position, provider in enumerate(self._context.standbys, start=1):
            full = rejected[position][1] in _NO_FREE_PLACE and self._account.breaker_is_closed(provider)
            if not full or not provider.preemption or self._context.is_refused(pod, provider):
                continue
            if not pod.unschedulable and self._account.can_preempt_at_home(pod):
                # The scheduler has not tried yet, and may make room at home.
                return None
            request, before = [PlaceRequest(pod)], tuple(rejected[:position])
            if not provider.tolerated_by(pod.shape):
                if self._account.reserve(request, provider, PREEMPTING) is None:
                    return self._burst(pod, provider, Reason.SENT_TO_PREEMPT, before)
                continue
            due = pod.offered_since(provider.name) + provider.timeout
            if now < due and self._account.reserve(request, provider, SENT_TO_PREEMPT) is None:
                return Hold(pod, Reason.SENT_TO_PREEMPT, provider.name, before, until=due)
        return None

    def _burst(self, pod: Pod, provider: Provider, reason: Reason, rejected: Rejections) -> Burst:
        missing = tuple(added for added in provider.tolerations if added not in pod.shape.tolerations)
        return Burst(pod, provider.name, reason, rejected, missing, self._signals)


def _burst_reason(pod: Pod, why: Reason) -> Reason:
    if pod.offers:
        return Reason.NEXT_PROVIDER
    return why if why in BURST_REASONS else Reason.PRIMARY_SATURATED


def _rejected_everywhere(overflow: Overflow, rejected: Rejections, context: Context) -> Hold:
    """Hold a pod that all providers reject. The hold has the standbys' reason if they agree."""
    if overflow.wait is not None:
        return Hold(overflow.pod, overflow.wait, rejected=rejected, until=overflow.until)
    reasons = {reason for _, reason in rejected[1:]}
    reason = reasons.pop() if len(reasons) == 1 else Reason.NO_PROVIDER_LEFT
    # From then on the pod may preempt others.
    due = overflow.pod.since + context.spec.saturation.pending_seconds
    return Hold(overflow.pod, reason, rejected=rejected, until=due if due > context.now else None)
