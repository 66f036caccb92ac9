"""Where each overflowing pod goes: the walk over the standby providers, most preferred first.

Kept here, for every burst:
- invariant 1: no pod is burst that fits now on a preferred, healthy provider: providers are tried in order of
  preference, and a pod is in the queue only after the primary was tried;
- invariant 2: bursts never exceed what fits on the target: pods sent on before take their places first, in the same
  packing as the new ones;
- invariant 3: `maxAccelerators` is never exceeded: every pod of the pool that tolerates a limited provider and is not
  seen on a node elsewhere counts against it, wherever it was last sent.
"""

from collections.abc import Iterable, Mapping, Sequence

from computepool.assess.assessment import Assessment
from computepool.assess.fit import Packer
from computepool.assess.overflow import Hold, Overflow, Sent, fit_since, in_order
from computepool.assess.supply import Supply
from computepool.assess.targets import Target
from computepool.decide.plan import Burst
from computepool.model.quantity import MILLI
from computepool.model.reasons import Reason
from computepool.model.snapshot import Offer, Pod, Snapshot
from computepool.model.state import Fitting

Rejected = list[tuple[str, Reason]]


class Placement:
    """The walk's state: one packing and one allowance per standby provider, and what was decided so far."""

    def __init__(
        self,
        snapshot: Snapshot,
        assessment: Assessment,
        order: Sequence[Target],
        fitted: Fitting,
        now: float,
    ) -> None:
        """Prepare an empty packing of each provider in `order`, the standbys by preference.

        `fitted`: since when the passes before have had places for the pods.
        """
        resource = snapshot.pool.spec.accelerator.resource_name
        self._resource = resource
        self._now = now
        self._fitted = fitted
        self._in_flight = snapshot.in_flight
        self._target = {target.name: target for target in order}
        self.fitting: dict[tuple[str, str], float] = {}
        self._primary = assessment.primary.target
        supplies = {supply.target.name: supply for supply in assessment.supplies}
        self._packers = {
            target.name: Packer(supplies[target.name], resource, assessment.label_keys, now) for target in order
        }
        self._allowance = {
            target.name: _allowance(target, supplies[target.name], snapshot, resource)
            for target in order
            if target.limit is not None
        }
        self.bursts: list[Burst] = []
        self.holds: list[Hold] = []

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
            packers = sorted(self._packers.values(), key=lambda packer: packer.supply.target.name != sent_to)
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

    def walk(self, overflow: Overflow) -> None:
        """Offer one pod to the first provider that can take it, or hold it with every rejection."""
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
        self.holds.append(_nowhere(overflow, rejected))

    def has_room(self, target: Target) -> bool:
        """Say whether the provider could take one more accelerator, after all that was placed."""
        return target.on_demand or self._packers[target.name].has_left(self._resource, MILLI)

    def _consider(self, overflow: Overflow, target: Target, rejected: Rejected) -> Burst | Hold | Reason:
        """Return what becomes of the pod at one provider: sent there, waiting there already, or why not."""
        pod = overflow.pod
        if target.tolerated_by(pod.shape):
            at = pod.offered(target.name)
            outcome = self._wait_at(target, pod, pod.since if at is None else at)
            return outcome if isinstance(outcome, Reason) else _with(outcome, rejected, overflow.until)
        if pod.allowed is not None and target.name not in pod.allowed:
            return Reason.NOT_ALLOWED
        if overflow.wait is not None:
            return overflow.wait
        request = pod.shape.request(self._resource)
        if request > self._allowance.get(target.name, request):
            return Reason.AT_MAX_ACCELERATORS
        why = self._takes(target, pod)
        return self._send(pod, target, overflow.why, rejected) if why is None else why

    def _takes(self, target: Target, pod: Pod) -> Reason | None:
        """Give the pod a place at the provider, now or on a node to be made; return why not otherwise."""
        packer = self._packers[target.name]
        if packer.place(pod.shape):
            return None
        why = packer.why_not(pod.shape)
        return None if target.on_demand and why is not Reason.PINNED else why

    def _wait_at(self, target: Target, pod: Pod, offered: float) -> Hold | Reason:
        """Keep the pod at a provider that it may use already, while that may still work out.

        Its time runs while there is a place that the scheduler does not give it, or nodes that do not come.
        """
        since = fit_since(self._fitted, pod, target, self._now)
        due = max(offered, since) + target.timeout
        if self._now >= due:
            self.fitting[pod.uid, target.name] = since
            return Reason.NOT_BOUND_IN_TIME
        packer = self._packers[target.name]
        if packer.place(pod.shape):
            self.fitting[pod.uid, target.name] = since
            return Hold(pod, Reason.AWAITING_SCHEDULER, target.name, until=due)
        why = packer.why_not(pod.shape)
        due = offered + target.timeout
        if not target.on_demand or why is Reason.PINNED:
            return why
        return Hold(pod, Reason.AWAITING_NODES, target.name, until=due) if self._now < due else Reason.NOT_BOUND_IN_TIME

    def _remember(self, one: Sent) -> None:
        """Keep the time that providers offered before have had, so that none gets it twice."""
        for offer in one.pod.offers:
            since = self._fitted.get((one.pod.uid, offer.provider))
            if since is not None and offer.provider in self._target:
                self.fitting[one.pod.uid, offer.provider] = since

    def _send(self, pod: Pod, target: Target, why: Reason, rejected: Rejected) -> Burst:
        if target.name in self._allowance:
            self._allowance[target.name] -= pod.shape.request(self._resource)
        missing = tuple(t for t in target.tolerations if t not in pod.shape.tolerations)
        return Burst(pod, target.name, _because(pod, why), tuple(rejected), missing)


def _with(hold: Hold, rejected: Rejected, may_go: float | None) -> Hold:
    """Add what was considered before. `may_go`: when the pod may be sent to any of those that it waits before."""
    until = min((time for time in (hold.until, may_go) if time is not None), default=None)
    return Hold(hold.pod, hold.reason, hold.provider, tuple(rejected), until)


def _because(pod: Pod, why: Reason) -> Reason:
    if pod.offers:
        return Reason.NEXT_PROVIDER
    return why if why in (Reason.PINNED, Reason.TAINTED) else Reason.PRIMARY_SATURATED


def _allowance(target: Target, supply: Supply, snapshot: Snapshot, resource: str) -> int:
    """Return how many thousandths of the accelerator the pool may still use of a limited provider."""
    coming = sum(
        pod.shape.request(resource)
        for pod in (*snapshot.waiting, *snapshot.astray)
        if target.tolerated_by(pod.shape) or _flies_to(snapshot.in_flight, pod, target)
    )
    return (target.limit or 0) - supply.accelerators - coming


def _flies_to(in_flight: Mapping[str, Offer], pod: Pod, target: Target) -> bool:
    offer = in_flight.get(pod.uid)
    return offer is not None and offer.provider == target.name


def _nowhere(overflow: Overflow, rejected: Rejected) -> Hold:
    """Hold a pod that no provider takes; where all standbys say the same, that is the reason."""
    if overflow.wait is not None:
        return Hold(overflow.pod, overflow.wait, rejected=tuple(rejected), until=overflow.until)
    reasons = {reason for _, reason in rejected[1:]}
    reason = reasons.pop() if len(reasons) == 1 else Reason.NO_PROVIDER_LEFT
    return Hold(overflow.pod, reason, rejected=tuple(rejected))
