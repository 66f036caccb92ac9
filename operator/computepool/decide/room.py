"""What providers can still take in this pass: places, breakers, `maxAccelerators`, the budget.

One account for all that is decided in a pass, bursts and moves alike, so that no place, no device and no money is given
away twice (invariants 2 and 3).
"""

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from decimal import Decimal

from computepool.assess.assessment import Assessment
from computepool.assess.fit import Packer
from computepool.assess.supply import Supply
from computepool.assess.targets import Target
from computepool.decide.budget import Purse, cost_of
from computepool.decide.flights import Flights
from computepool.model.api import BreakerState
from computepool.model.quantity import MILLI
from computepool.model.reasons import Reason
from computepool.model.snapshot import Offer, Pod, Shape, Snapshot


class Room:
    """Packings, allowances and canaries of a pool's providers; all of them only ever fill up."""

    def __init__(
        self,
        snapshot: Snapshot,
        assessment: Assessment,
        order: Sequence[Target],
        purse: Purse,
        flights: Flights,
        keys: frozenset[str],
        now: float,
    ) -> None:
        """`order`: the standbys, most preferred first; `keys`: `label_keys` of every pod that will be tried."""
        self.resource = resource = snapshot.pool.spec.accelerator.resource_name
        self.standbys = tuple(order)
        self._money = purse.left
        self.short = self._money is not None and self._money <= 0
        """Whether the budget has refused a pod, or would refuse any."""
        supplies = {supply.target.name: supply for supply in assessment.supplies}
        self._packers = {target.name: Packer(supplies[target.name], resource, keys, now) for target in order}
        self._breakers = {supply.target.name: supply.breaker for supply in assessment.supplies}
        self._allowance = {
            target.name: _allowance(target, supplies[target.name], snapshot, resource)
            for target in order
            if target.limit is not None
        }
        name = snapshot.pool.name
        self._trying = {supply.target.name for supply in assessment.supplies if _canary_runs(supply, name)}
        self._primary = assessment.primary
        self._at_home = (*_home_pods(assessment), *_homebound(flights, assessment))
        self._taken_at_home = 0
        if self._at_home and not self._primary.breaker.closed:
            self._trying.add(self._primary.target.name)
        self._keys = keys
        self._now = now

    def packer(self, target: Target) -> Packer:
        """Return a provider's packing; the primary's has the waiting pods that fit there in it."""
        packer = self._packers.get(target.name)
        if packer is None:
            packer = self._packers[target.name] = Packer(self._primary, self.resource, self._keys, self._now)
            for pod in self._at_home:
                self.take(target, pod)
        return packer

    def places(self) -> Iterable[Packer]:
        """Return the standbys' packings."""
        return [self._packers[target.name] for target in self.standbys]

    def has_room(self, target: Target) -> bool:
        """Say whether a standby could take one more accelerator, after all that was placed."""
        return target.on_demand or self._packers[target.name].has_left(self.resource, MILLI)

    def take(self, target: Target, pod: Pod) -> bool:
        """Give the pod a place at the provider; return whether there was one."""
        taken = self.packer(target).place(pod.shape)
        if taken and target.primary:
            self._taken_at_home += pod.shape.request(self.resource)
        return taken

    def left_at_home(self) -> int:
        """Return how many thousandths of the accelerator are left on the primary, after all that was placed."""
        self.packer(self._primary.target)
        return self._primary.free - self._taken_at_home

    def why_not(self, target: Target, shape: Shape) -> Reason:
        """Say why there was none."""
        return self.packer(target).why_not(shape)

    def barred(self, target: Target) -> Reason | None:
        """Say why no pod may go to the provider at all; None: one may."""
        breaker = self._breakers[target.name]
        if breaker.closed:
            return None
        if self.shut(target):
            return Reason.PROVIDER_UNAVAILABLE
        return Reason.CANARY_UNDER_WAY if target.name in self._trying else None

    def shut(self, target: Target) -> bool:
        """Say whether the provider takes nobody: its breaker is open."""
        return self._breakers[target.name].state is BreakerState.OPEN

    def closed(self, target: Target) -> bool:
        """Say whether the provider is used as it fits."""
        return self._breakers[target.name].closed

    def wants_canary(self, target: Target) -> bool:
        """Say whether the provider is half-open, and could take the pod that it is to be tried with."""
        return not self.closed(target) and self.barred(target) is None and self.has_room(target)

    def enter(self, target: Target) -> None:
        """Note that a pod goes there: a half-open provider is tried with one at a time."""
        if not self._breakers[target.name].closed:
            self._trying.add(target.name)

    def beyond(self, target: Target, pod: Pod, credit: Decimal = Decimal(0), *, leaves: bool = False) -> Reason | None:
        """Say which bound the pod would break.

        `credit`: what it costs where it is now, and would cost no more; `leaves`: whether it counts there already, and
        leaves what it holds to the one in its place.
        """
        more = self._more(pod, leaves=leaves)
        if more > self._allowance.get(target.name, more):
            return Reason.AT_MAX_ACCELERATORS
        cost = cost_of(target, pod, self.resource) - credit
        if self._money is not None and cost > 0 and cost > self._money:
            self.short = True
            return Reason.BUDGET_EXHAUSTED
        return None

    def charge(self, target: Target, pod: Pod, credit: Decimal = Decimal(0), *, leaves: bool = False) -> None:
        """Count the pod against the provider's bounds and the budget; `credit` and `leaves` as for `beyond`."""
        if target.name in self._allowance:
            self._allowance[target.name] -= self._more(pod, leaves=leaves)
        if self._money is not None:
            self._money -= cost_of(target, pod, self.resource) - credit

    def _more(self, pod: Pod, *, leaves: bool) -> int:
        return 0 if leaves else pod.shape.request(self.resource)

    def fork(self) -> "Room":
        """Return an account that goes on from this one, and leaves it as it is."""
        other = copy(self)
        other._packers = {name: packer.fork() for name, packer in self._packers.items()}
        other._allowance = dict(self._allowance)
        other._trying = set(self._trying)
        return other


def flies_to(in_flight: Mapping[str, Offer], pod: Pod, target: Target) -> bool:
    """Say whether an offer of the provider to the pod is under way."""
    offer = in_flight.get(pod.uid)
    return offer is not None and offer.provider == target.name


def _allowance(target: Target, supply: Supply, snapshot: Snapshot, resource: str) -> int:
    """Return how many thousandths of the accelerator the pool may still use of a limited provider.

    Pods on lost nodes count: they are there as far as anybody knows, and so they are when their node is back.
    """
    coming = sum(
        pod.shape.request(resource)
        for pod in (*snapshot.waiting, *snapshot.astray)
        if target.tolerated_by(pod.shape) or flies_to(snapshot.in_flight, pod, target)
    )
    return (target.limit or 0) - supply.held - coming


def _home_pods(assessment: Assessment) -> Iterable[Pod]:
    """Yield the waiting pods that have a place on the primary, in the order in which they took it."""
    name = assessment.primary.target.name
    yield from (h.pod for h in assessment.demand.held if h.reason is Reason.FITS_ON_PREFERRED and h.provider == name)
    yield from (sent.pod for sent in assessment.demand.sent if sent.home is not None)


def _homebound(flights: Flights, assessment: Assessment) -> Iterable[Pod]:
    """Yield the pods on their way home whose replacement is not seen yet."""
    return (one.pod for one in flights.unseen if one.target == assessment.primary.target.name)


def _canary_runs(supply: Supply, pool: str) -> bool:
    """Say whether a pod came to a half-open provider since it is tried, and is to prove it."""
    breaker = supply.breaker
    if breaker.state is not BreakerState.HALF_OPEN:
        return False
    shares = (use.shares.get(pool) for use in supply.nodes if use.node.name not in supply.sick)
    return any(
        max(pod.created, pod.offered(supply.target.name) or 0.0) >= int(breaker.since)
        for share in shares
        if share is not None
        for pod in share.members
        if pod.deleting is None
    )
