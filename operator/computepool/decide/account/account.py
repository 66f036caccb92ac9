"""What providers can still take in this pass: places, devices, money and canaries.

One account for all that is decided in a pass, bursts and moves alike. `Account.reserve` takes everything that a request
needs, for all of its pods or for none, and says why not; so no place, no device and no money is given away twice
(invariants 2 and 3). A trial is a stretch of reservations that is rolled back unless it is committed. Questions change
nothing.

Only `open_account` (promises.py) makes an account, and it takes the places of everything that was promised before this
pass. So no new decision can come before the old promises.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Final

import msgspec

from computepool.assess.breakers.canary import canary_runs
from computepool.assess.capacity.fit import Packer
from computepool.assess.capacity.providers import Provider
from computepool.assess.capacity.supply import Supply
from computepool.assess.demand.overflow import in_order
from computepool.decide.account.budget import NOTHING, BudgetAccount, cost_of
from computepool.decide.context import Context
from computepool.decide.move.pending import PendingMoves
from computepool.model.accelerators import request_of, requested_by
from computepool.model.api import BreakerState
from computepool.model.cluster import NodeInfo, Pod, Resources, Shape
from computepool.model.quantity import MILLI
from computepool.model.reasons import Reason


class Request(msgspec.Struct, frozen=True):
    """A pod that needs a place, and what it gives up elsewhere."""

    pod: Pod
    saves: Decimal = NOTHING
    """What it costs in an hour where it runs now, and will no longer cost."""
    hands_over: bool = False
    """Whether devices that it holds on the same provider, and that are counted there, pass to its replacement."""


class Terms(msgspec.Struct, frozen=True):
    """On what terms pods are taken."""

    counted: bool = False
    """Their devices and their money are counted already: the account was opened with them."""
    bounded: bool = True
    """maxAccelerators and the budget may refuse them."""
    canary: bool = True
    """A half-open provider that has its canary refuses them."""
    place: bool = True
    """They need a place on a node that exists."""
    may_wait: bool = False
    """Where the provider makes nodes, they need none."""


EXPECTED: Final = Terms(counted=True, bounded=False)
"""Pods that were sent to the provider before, and have a place there."""
AWAITED: Final = Terms(counted=True, bounded=False, place=False)
"""Pods that were sent to the provider before, which makes a node for them."""
KEPT: Final = Terms(bounded=False, canary=False)
"""Replacements of pods that were moved to the provider."""
BURST: Final = Terms(may_wait=True)
"""Pods that are sent to the provider now."""
MOVED: Final = Terms()
"""Running pods that are moved to the provider now: they need a place at once."""


class Trial:
    """Reservations that are taken back at the end of the trial unless they are committed."""

    def __init__(self) -> None:
        """Begin without a commitment."""
        self.committed = False

    def commit(self) -> None:
        """Keep the reservations."""
        self.committed = True


class Account:
    """Places, device allowances, money and canaries of a pool's providers."""

    def __init__(
        self, context: Context, budget: BudgetAccount, pending: PendingMoves, label_keys: frozenset[str]
    ) -> None:
        """Made by `open_account`. `label_keys`: node labels that any pod reads that will ask for a place."""
        assessment = context.assessment
        self._context = context
        self._keys = label_keys
        self._supplies = {supply.provider.name: supply for supply in assessment.supplies}
        self._packers = {target.name: self._new_packer(target) for target in context.standbys}
        self._allowance = {
            target.name: _allowance(context, self._supplies[target.name], target.limit)
            for target in context.standbys
            if target.limit is not None
        }
        self._money = budget.remaining
        self._budget_refused = self._money is not None and self._money <= 0
        self._home_savepoint = 0
        self._at_home = (*_home_pods(context), *_returning_pods(context, pending))
        self._canaries = {name for name, supply in self._supplies.items() if _has_canary(supply, context.pool)}
        if self._at_home and not assessment.primary.breaker.closed:
            self._canaries.add(context.primary.name)
        self._keep_foreign()

    # --- commands

    def reserve(self, requests: Sequence[Request], target: Provider, terms: Terms) -> Reason | None:
        """Take places, devices and money at a provider for all of the pods, or for none; return why not."""
        if not requests:
            return None
        why = self._closed_to(target, terms) or self._beyond_bounds(requests, target, terms)
        if why is None and terms.place:
            why = self._take_places(requests, target, terms)
        if why is not None:
            return why
        if not terms.counted:
            self._charge(requests, target)
        if not self.is_closed(target):
            self._canaries.add(target.name)
        return None

    @contextmanager
    def trial(self) -> Iterator[Trial]:
        """Reserve on trial: what is reserved inside is taken back at the end, unless the trial is committed."""
        trial = Trial()
        savepoints = {name: packer.savepoint() for name, packer in self._packers.items()}
        before = self._money, self._budget_refused, dict(self._allowance), set(self._canaries)
        try:
            yield trial
        finally:
            if not trial.committed:
                self._money, self._budget_refused, self._allowance, self._canaries = before
                for name, packer in self._packers.items():
                    packer.rollback(savepoints.get(name, self._home_savepoint))

    # --- questions

    def blocked(self, target: Provider) -> Reason | None:
        """Return why no pod may go to the provider at all, by its breaker; None: a pod may."""
        if self.is_closed(target):
            return None
        if self.is_open(target):
            return Reason.PROVIDER_UNAVAILABLE
        return Reason.CANARY_UNDER_WAY if target.name in self._canaries else None

    def is_open(self, target: Provider) -> bool:
        """Say whether the provider's breaker is open, so that it takes no pod."""
        return self._supplies[target.name].breaker.state is BreakerState.OPEN

    def is_closed(self, target: Provider) -> bool:
        """Say whether the provider's breaker is closed, so that it is used without restriction."""
        return self._supplies[target.name].breaker.closed

    def wants_canary(self, target: Provider) -> bool:
        """Say whether the provider is half-open, and could take the pod that it is to be tried with."""
        return not self.is_closed(target) and self.blocked(target) is None and self.has_room(target)

    def has_room(self, target: Provider) -> bool:
        """Say whether a standby could take one more accelerator, after everything that was reserved."""
        return target.kind.before_room or self._packer(target).has_left(self._context.resource, MILLI)

    def why_no_place(self, target: Provider, shape: Shape) -> Reason:
        """Return why the provider has no place for pods of the shape, where it has none."""
        return self._packer(target).why_not(shape)

    def free_on_primary(self) -> int:
        """Return how many thousandths of the accelerator are left on the primary, after everything reserved."""
        primary = self._context.assessment.primary
        return primary.free - self._packer(primary.provider).taken

    def remainders_on_primary(self) -> Iterable[tuple[NodeInfo, Resources]]:
        """Return the primary's usable nodes, and what is left of each."""
        return self._packer(self._context.primary).remainders()

    @property
    def budget_refused(self) -> bool:
        """Whether the budget has refused a pod, or would refuse any."""
        return self._budget_refused

    # --- inside

    def _closed_to(self, target: Provider, terms: Terms) -> Reason | None:
        if terms.canary:
            return self.blocked(target)
        return Reason.PROVIDER_UNAVAILABLE if self.is_open(target) else None

    def _beyond_bounds(self, requests: Sequence[Request], target: Provider, terms: Terms) -> Reason | None:
        if not terms.bounded:
            return None
        if target.name in self._allowance and self._devices(requests) > self._allowance[target.name]:
            return Reason.AT_MAX_ACCELERATORS
        if self._money is not None and (cost := self._cost(requests, target)) > 0 and cost > self._money:
            self._budget_refused = True
            return Reason.BUDGET_EXHAUSTED
        return None

    def _take_places(self, requests: Sequence[Request], target: Provider, terms: Terms) -> Reason | None:
        packer = self._packer(target)
        savepoint = packer.savepoint()
        for request in requests:
            if packer.place(request.pod.shape):
                continue
            why = packer.why_not(request.pod.shape)
            if not (terms.may_wait and target.kind.before_room) or why is Reason.PINNED:
                if len(requests) > 1:
                    packer.rollback(savepoint)
                return why
        return None

    def _charge(self, requests: Sequence[Request], target: Provider) -> None:
        if target.name in self._allowance:
            self._allowance[target.name] -= self._devices(requests)
        if self._money is not None:
            self._money -= self._cost(requests, target)

    def _devices(self, requests: Sequence[Request]) -> int:
        return sum(request_of(one.pod, self._context.resource) for one in requests if not one.hands_over)

    def _cost(self, requests: Sequence[Request], target: Provider) -> Decimal:
        return sum((cost_of(target, one.pod, self._context.resource) - one.saves for one in requests), NOTHING)

    def _packer(self, target: Provider) -> Packer:
        """Return a provider's packing. The primary's is made when it is first needed, with the pods that wait there."""
        packer = self._packers.get(target.name)
        if packer is None:
            packer = self._packers[target.name] = self._new_packer(target)
            for pod in self._at_home:
                packer.place(pod.shape)
            self._home_savepoint = packer.savepoint()
        return packer

    def _keep_foreign(self) -> None:
        """Take the places of other pools' pods that were sent on and may land on nodes of this pool's providers."""
        for pod in in_order(self._context.snapshot.foreign):
            if not pod.nominated:  # The node's own account has the place of a nominated pod.
                offer = self._context.snapshot.in_flight.get(pod.uid)
                sent_to = pod.burst if offer is None else offer.provider
                # Pools that share a provider mostly use the same name; the pod may still land on any that it tolerates.
                packers = sorted(self._packers.values(), key=lambda packer: packer.supply.provider.name != sent_to)
                # A pod whose write is under way does not show its tolerations yet.
                any(packer.place(pod.shape, as_is=offer is None) for packer in packers)

    def _new_packer(self, target: Provider) -> Packer:
        return Packer(self._supplies[target.name], self._context.resource, self._keys, self._context.now)


def _allowance(context: Context, supply: Supply, limit: int) -> int:
    """Return how many thousandths of the accelerator the pool may still use of a limited provider.

    Pods on lost nodes count: as far as is known they are there, and they are when their node is back.
    """
    pods = (*context.snapshot.waiting, *context.snapshot.on_unknown_nodes)
    expected = requested_by((pod for pod in pods if context.may_land_on(pod, supply.provider)), context.resource)
    return limit - supply.held - expected


def _home_pods(context: Context) -> Iterable[Pod]:
    """Yield the waiting pods that have a place on the primary, in the order in which they took it."""
    demand, name = context.assessment.demand, context.primary.name
    yield from (h.pod for h in demand.held if h.reason is Reason.FITS_ON_PREFERRED and h.provider == name)
    yield from (sent.pod for sent in demand.sent if sent.home is not None)


def _returning_pods(context: Context, pending: PendingMoves) -> Iterable[Pod]:
    """Yield the pods that are moved to the primary and whose replacement is not seen yet."""
    return (move.pod for move in pending.awaiting if move.target == context.primary.name)


def _has_canary(supply: Supply, pool: str) -> bool:
    """Say whether a pod came to a half-open provider since it is tried, and is to prove it."""
    if supply.breaker.state is not BreakerState.HALF_OPEN:
        return False
    healthy = [info for info in supply.nodes if info.node.name not in supply.unhealthy]
    return canary_runs(healthy, pool, supply.provider.name, supply.breaker)
