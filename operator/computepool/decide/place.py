"""Where each overflowing pod goes: the walk over the standby providers, most preferred first.

Kept here, for every burst:
- invariant 1: no pod is burst that fits now on a preferred, healthy provider: providers are tried in order of
  preference, and a pod is in the queue only after the primary was tried;
- invariant 2: bursts never exceed what fits on the target: pods sent on before take their places first, in the same
  packing as the new ones, and so do pods that are being moved;
- invariant 3: `maxAccelerators` and budgets are never exceeded: every pod of the pool that tolerates a limited provider
  and is not seen on a node elsewhere counts against it, wherever it was last sent.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import cached_property
from typing import Final

import msgspec

from computepool.assess.assessment import Assessment
from computepool.assess.overflow import Hold, Overflow, Sent, fit_since, in_order
from computepool.assess.targets import Target
from computepool.decide.budget import NOTHING, cost_of
from computepool.decide.flights import Flights
from computepool.decide.plan import Burst
from computepool.decide.room import Room
from computepool.model.reasons import Reason
from computepool.model.snapshot import Moving, Offer, Pod
from computepool.model.state import Fitting

Rejected = list[tuple[str, Reason]]
MAY_NOT: Final = frozenset({Reason.NOT_ALLOWED, Reason.PINNED, Reason.TAINTED, Reason.TOO_LARGE})
"""Rejections that waiting does not change."""


class Placement:
    """The walk's state, and what was decided so far. Places and limits are in `room`."""

    def __init__(
        self,
        room: Room,
        assessment: Assessment,
        in_flight: Mapping[str, Offer],
        flights: Flights,
        fitted: Fitting,
        now: float,
    ) -> None:
        """`fitted`: since when the passes before have had places for the pods."""
        self._room = room
        self._now = now
        self._fitted = fitted
        self._in_flight = in_flight
        self._flights = flights
        self._target = {target.name: target for target in room.standbys}
        self._primary = assessment.primary.target
        self._supplies = assessment.supplies
        self.fitting: dict[tuple[str, str], float] = {}
        self.bursts: list[Burst] = []
        self.holds: list[Hold] = []
        self.stuck: list[Pod] = []
        """Pods that the primary has no room for and no standby may ever take."""

    def reserve_foreign(self, pods: Iterable[Pod]) -> None:
        """Take the places of other pools' pods that were sent on and may land on nodes of this pool's providers."""
        for pod in in_order(pods):
            if pod.nominated:
                # The node's own account has it.
                continue
            offer = self._in_flight.get(pod.uid)
            # One whose write is under way does not show its tolerations yet.
            as_is = offer is None
            sent_to = pod.burst if offer is None else offer.provider
            # Pools that share a provider mostly call it the same; it may still land on any other that it tolerates.
            packers = sorted(self._room.places(), key=lambda packer: packer.supply.target.name != sent_to)
            any(packer.place(pod.shape, as_is=as_is) for packer in packers)

    def reserve(self, sent: Iterable[Sent]) -> list[Overflow]:
        """Take the places of the pool's own pods that were sent on; return those to be offered to the next provider."""
        onward = []
        for one in sent:
            self._remember(one)
            outcome = self._wait_at(self._target[one.offer.provider], one.pod, one.offer.at)
            if isinstance(outcome, Hold):
                self.holds.append(outcome)
            elif one.pod.uid in self._in_flight:
                # Its write is under way: until that is seen nothing else is decided about it.
                self.holds.append(Hold(one.pod, Reason.AWAITING_SCHEDULER, one.offer.provider))
            elif one.home is not None:
                self.holds.append(one.home)
            else:
                onward.append(Overflow(one.pod, Reason.NO_ROOM))
        return onward

    def keep(self, moves: Iterable[Moving]) -> None:
        """Take the places of moves under way whose replacement is not seen yet, so that nobody else does.

        One whose target has failed since, or is full, will be sent on: it has the place there, and the money, before
        another running pod is moved.
        """
        for one in moves:
            target = self._kept_at(one)
            if target is not None:
                credit, leaves = self._held_by(one, target)
                self._room.charge(target, one.pod, credit, leaves=leaves)
                self._room.enter(target)

    def _kept_at(self, one: Moving) -> Target | None:
        """Take a place for the replacement at a standby, and return that: the move's own target if it can have it."""
        if one.target == self._primary.name and not self._room.shut(self._primary):
            # The primary's own account has it.
            return None
        meant = self._target.get(one.target)
        if meant is not None and not self._room.shut(meant) and self._room.take(meant, one.pod):
            return meant
        others = (target for target in self._target.values() if target is not meant and one.pod.allows(target.name))
        for target in others:
            credit, leaves = self._held_by(one, target)
            if self._rejects(target, one.pod, credit, leaves=leaves) is None:
                return target
        return None

    def _held_by(self, one: Moving, target: Target) -> tuple[Decimal, bool]:
        """Return what the moved pod itself still costs, and whether it leaves to its replacement what it holds there.

        That is counted already, and ends with it.
        """
        there = self._flights.there.get(one.pod.uid)
        if there is None:
            return NOTHING, False
        source = self._target.get(one.source)
        cost = NOTHING if source is None or there.deleting is not None else cost_of(source, there, self._room.resource)
        return cost, one.source == target.name and there.node not in self._lost

    @cached_property
    def _lost(self) -> frozenset[str]:
        """Names of the nodes whose status is Unknown; hardly a pass asks for them."""
        return frozenset(use.node.name for one in self._supplies for use in one.nodes if use.node.ready == "Unknown")

    def walk(self, overflow: Overflow) -> None:
        """Offer one pod to the first provider that can take it, or hold it with every rejection."""
        if overflow.wait is not None and overflow.pod.uid in self._flights.urgent:
            # It replaces a pod that was moved to a standby, and its place there was found before that.
            overflow = msgspec.structs.replace(overflow, wait=None, until=None)
        rejected: Rejected = [(self._primary.name, overflow.why)]
        for target in self._target.values():
            outcome = self._consider(overflow, target, rejected)
            if isinstance(outcome, Burst):
                self.bursts.append(outcome)
                return
            if isinstance(outcome, Hold):
                self.holds.append(outcome)
                return
            rejected.append((target.name, outcome))
        if overflow.wait is None and overflow.why is Reason.NO_ROOM and all(why in MAY_NOT for _, why in rejected[1:]):
            self.stuck.append(overflow.pod)
        self.holds.append(_nowhere(overflow, rejected))

    def _consider(self, overflow: Overflow, target: Target, rejected: Rejected) -> Burst | Hold | Reason:
        """Return what becomes of the pod at one provider: sent there, waiting there already, or why not."""
        pod = overflow.pod
        if target.tolerated_by(pod.shape):
            at = pod.offered(target.name)
            outcome = self._wait_at(target, pod, pod.since if at is None else at)
            return outcome if isinstance(outcome, Reason) else _with(outcome, rejected)
        if not pod.allows(target.name):
            return Reason.NOT_ALLOWED
        why = overflow.wait or self._rejects(target, pod)
        return self._send(pod, target, overflow.why, rejected) if why is None else why

    def _rejects(self, target: Target, pod: Pod, credit: Decimal = NOTHING, *, leaves: bool = False) -> Reason | None:
        """Give the pod a place at the provider, now or on a node to be made; return why not otherwise."""
        why = self._room.barred(target) or self._room.beyond(target, pod, credit, leaves=leaves)
        if why is not None or self._room.take(target, pod):
            return why
        why = self._room.why_not(target, pod.shape)
        return None if target.on_demand and why is not Reason.PINNED else why

    def _wait_at(self, target: Target, pod: Pod, offered: float) -> Hold | Reason:
        """Keep the pod at a provider that it may use already, while that may still work out.

        Its time runs while there is a place that the scheduler does not give it, or nodes that do not come.
        """
        if (barred := self._room.barred(target)) is not None:
            return barred
        since = fit_since(self._fitted, pod, target, self._now)
        due = max(offered, since) + target.timeout
        if self._now >= due:
            self.fitting[pod.uid, target.name] = since
            return Reason.NOT_BOUND_IN_TIME
        if self._room.take(target, pod):
            self.fitting[pod.uid, target.name] = since
            self._room.enter(target)
            return Hold(pod, Reason.AWAITING_SCHEDULER, target.name, until=due)
        why = self._room.why_not(target, pod.shape)
        due = offered + target.timeout
        if not target.on_demand or why is Reason.PINNED:
            return why
        if self._now >= due:
            return Reason.NOT_BOUND_IN_TIME
        self._room.enter(target)
        return Hold(pod, Reason.AWAITING_NODES, target.name, until=due)

    def _remember(self, one: Sent) -> None:
        """Keep the time that providers offered before have had, so that none gets it twice."""
        for offer in one.pod.offers:
            since = self._fitted.get((one.pod.uid, offer.provider))
            if since is not None and offer.provider in self._target:
                self.fitting[one.pod.uid, offer.provider] = since

    def _send(self, pod: Pod, target: Target, why: Reason, rejected: Rejected) -> Burst:
        self._room.charge(target, pod)
        self._room.enter(target)
        missing = tuple(t for t in target.tolerations if t not in pod.shape.tolerations)
        return Burst(pod, target.name, _because(pod, why), tuple(rejected), missing)


def _with(hold: Hold, rejected: Rejected) -> Hold:
    return Hold(hold.pod, hold.reason, hold.provider, tuple(rejected), hold.until)


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
