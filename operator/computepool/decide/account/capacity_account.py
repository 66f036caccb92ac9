"""The account of a pass: the places, devices, money and canaries that providers can still take.

Bursts and moves share this one account, so each place, device and amount of money is given away once (invariants 2 and
3). Only `open_account` (`burst/kept_places.py`) makes an account. It first takes the places that earlier passes
promised.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from functools import cached_property
from math import inf
from typing import Final

import msgspec

from computepool.assess.breakers.canary import canary_runs
from computepool.assess.breakers.hold_off_evidence import Key
from computepool.assess.breakers.hold_offs import allows_places, yields
from computepool.assess.capacity.fit import Packer
from computepool.assess.capacity.providers import Provider
from computepool.assess.capacity.supply import Supply
from computepool.assess.demand.overflow import FULL, in_order
from computepool.decide.account.budget import NOTHING, BudgetAccount, cost_of
from computepool.decide.context import Context
from computepool.decide.move.pending_moves import PendingMoves
from computepool.model.accelerators import request_of, requested_by
from computepool.model.api import BreakerState
from computepool.model.cluster import NodeInfo, Pod, Resources, members_on
from computepool.model.quantity import MILLI
from computepool.model.reasons import Reason
from computepool.model.state import HoldOff


class PlaceRequest(msgspec.Struct, frozen=True):
    """A pod that needs a place, and what it gives up elsewhere."""

    pod: Pod
    saves: Decimal = NOTHING
    """Hourly cost that ends when the pod leaves its present provider."""
    hands_over: bool = False
    """Whether its replacement takes over devices that the pod holds, and that count, on the same provider."""


class Terms(msgspec.Struct, frozen=True):
    """The terms on which a provider takes pods."""

    counted: bool = False
    """Their devices and money are counted since the account was opened."""
    bounded: bool = True
    """maxAccelerators and the budget may refuse them."""
    canary: bool = True
    """A half-open provider that has its canary refuses them."""
    place: bool = True
    """They need a place on a node that exists."""
    may_wait: bool = False
    """They need no place on a provider that makes nodes."""
    preempting: bool = False
    """They take the places of pods of lower priority."""
    last_resort: bool = False
    """No other provider takes them, so a hold-off that yields does not keep them away."""


EXPECTED: Final = Terms(counted=True, bounded=False)
"""Pods that were sent to the provider before, and have a place there."""
AWAITED: Final = Terms(counted=True, bounded=False, place=False)
"""Pods that were sent before to a provider that still has to make a node for them."""
KEPT: Final = Terms(bounded=False, canary=False, may_wait=True)
"""Replacements of pods that were moved to the provider."""
BURST: Final = Terms(may_wait=True)
"""Pods that are sent to the provider now."""
LAST_RESORT: Final = Terms(last_resort=True)
"""Pods that no other provider takes. They need a place at once."""
PREEMPTING: Final = Terms(preempting=True)
"""Pods that are sent to a full provider now, where the scheduler preempts pods of lower priority. Devices and money
count in full: the scheduler decides which pods make room, and whether they are the pool's own."""
SENT_TO_PREEMPT: Final = Terms(counted=True, bounded=False, preempting=True)
"""Pods that were sent to a full provider before, and are not bound yet."""
MOVED: Final = Terms()
"""Running pods that are moved to the provider now: they need a place at once."""
MOVED_TO_NEW_NODE: Final = Terms(may_wait=True)
"""Running pods that are moved to the provider now: the provider may have to make a node for them."""


class Trial:
    """Reservations that end with the trial unless they are committed."""

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
        """Only `open_account` calls this. `label_keys`: node labels in the selectors of all pods that need a place."""
        assessment = context.assessment
        self._context = context
        self._keys = label_keys
        self._supplies = {supply.provider.name: supply for supply in assessment.supplies}
        self._closed_breakers = {name for name, supply in self._supplies.items() if supply.breaker.closed}
        self.half_open = {
            name for name, supply in self._supplies.items() if supply.breaker.state is BreakerState.HALF_OPEN
        }
        """Names of the providers that are half-open: each takes a single pod, its canary."""
        self._packers = {provider.name: self._new_packer(provider) for provider in context.standbys}
        self._allowance = {
            provider.name: _allowance(context, self._supplies[provider.name], provider.limit)
            for provider in context.standbys
            if provider.limit is not None
        }
        # By provider: the smallest request, in thousandths, of a pod that waits there for a node.
        self._awaiting_room: dict[str, int] = {}
        self._money = budget.remaining
        self._budget_refused = self._money is not None and self._money <= 0
        self._home_savepoint = 0
        self._at_home = (*_home_pods(context), *_returning_pods(context, pending))
        self._hold_offs = assessment.breakers.hold_offs
        self._tried: set[Key] = set()
        self._failing_owners: dict[str, frozenset[str]] = {}
        self._canaries = {name for name, supply in self._supplies.items() if _has_canary(supply, context.pool)}
        if self._at_home and not assessment.primary.breaker.closed:
            self._canaries.add(context.primary.name)
        self._keep_foreign()
        self._keep_node_bound()

    # --- commands

    def reserve(self, requests: Sequence[PlaceRequest], provider: Provider, terms: Terms) -> Reason | None:
        """Take places, devices and money at a provider for all pods or for none. Return the reason of a refusal."""
        if not requests:
            return None
        held = None if terms.counted else self._hold_off_of(requests, provider)
        if held is not None and terms.last_resort and yields(held):
            held = None
        why = self._closed_to(provider, terms) or self._beyond_bounds(requests, provider, terms)
        if why is None and held is not None and not allows_places(held):
            why = held.reason
        if why is None and terms.place:
            # Pods that are held off may only use places that exist.
            why = self._take_places(
                requests, provider, terms if held is None else msgspec.structs.replace(terms, may_wait=False)
            )
            if held is not None and why not in (None, Reason.PINNED):
                why = held.reason
        if why is not None:
            return why
        if not terms.place:
            self._note_awaiting(requests, provider)
        if not terms.counted:
            self._charge(requests, provider)
            self._note_trials(requests, provider)
        if not self.breaker_is_closed(provider):
            self._canaries.add(provider.name)
        return None

    def promise_starting(self, pod: Pod, standby: Provider) -> bool:
        """Promise a pod that was sent to a standby a place on a node that is starting. Say whether there was one."""
        return self._packer(standby).place_starting(pod.shape)

    def note_overdue(self, pod: Pod, provider: Provider) -> None:
        """Note that the provider did not bind a pod in time that still waits: it may make no more nodes."""
        if not pod.shape.unmodelled:
            self._note_awaiting([PlaceRequest(pod)], provider)

    @contextmanager
    def trial(self) -> Iterator[Trial]:
        """Roll back the reservations made inside, unless the trial is committed."""
        trial = Trial()
        savepoints = {name: packer.savepoint() for name, packer in self._packers.items()}
        sets = set(self._canaries), dict(self._awaiting_room), set(self._tried)
        before = self._money, self._budget_refused, dict(self._allowance), *sets
        try:
            yield trial
        finally:
            if not trial.committed:
                self._money, self._budget_refused, self._allowance, *_ = before
                self._canaries, self._awaiting_room, self._tried = sets
                for name, packer in self._packers.items():
                    packer.rollback(savepoints.get(name, self._home_savepoint))

    def try_there(self, pod: Pod, provider: Provider) -> HoldOff | None:
        """Let a pod that tolerates the provider from its creation on wait there; return the hold-off that forbids it.

        If the back-off is over, the pod is the one that is tried.
        """
        requests = [PlaceRequest(pod)]
        held = self._hold_off_of(requests, provider)
        if held is None:
            self._note_trials(requests, provider)
        return held

    # --- questions

    def blocked(self, provider: Provider) -> Reason | None:
        """Return the reason why the provider's breaker admits no pod; None if it admits a pod."""
        if self.breaker_is_closed(provider):
            return None
        if self.is_open(provider):
            return Reason.PROVIDER_UNAVAILABLE
        return Reason.CANARY_UNDER_WAY if provider.name in self._canaries else None

    def is_open(self, provider: Provider) -> bool:
        """Say whether the provider's breaker is open: the provider takes no pod."""
        return self._supplies[provider.name].breaker.state is BreakerState.OPEN

    def breaker_is_closed(self, provider: Provider) -> bool:
        """Say whether the provider's breaker is closed: it does not restrict the provider."""
        return provider.name in self._closed_breakers

    def takes_any(self, pods: Sequence[Pod], provider: Provider) -> bool:
        """Say whether a standby would take one of these pods beside all reservations; without pods, one accelerator."""
        if not pods:
            allowed = self._allowance.get(provider.name, MILLI) >= MILLI
            return allowed and self.blocked(provider) is None and self.has_room(provider)
        with self.trial():
            may_go = (pod for pod in pods if pod.allows(provider.name))
            return any(self.reserve([PlaceRequest(pod)], provider, BURST) is None for pod in may_go)

    def is_poor_canary(self, pod: Pod, provider: Provider) -> bool:
        """Say whether the provider is half-open, and the pod fails now, or pods like it have failed there.

        If the pod failed there too, that would tell of the pod rather than of the provider, and keep all others away.
        """
        if provider.name not in self.half_open:
            return False
        if pod.failing or (pod.owner and pod.owner in self._failing_on(provider)):
            return True
        return any(key in self._hold_offs.due for key in self._hold_offs.keys_of(pod, provider.name))

    def has_room(self, provider: Provider) -> bool:
        """Say whether a standby has room for one more accelerator beside all reservations."""
        return provider.kind.before_room or self._packer(provider).has_left(self._context.resource, MILLI)

    @cached_property
    def lowest_priority(self) -> float:
        """The lowest priority of pods on standbys that allow preemption. Pods of this priority find no such pods."""
        return min(
            (self._packer(standby).lowest_priority for standby in self._context.standbys if standby.preemption),
            default=inf,
        )

    def can_preempt_at_home(self, pod: Pod) -> bool:
        """Say whether the scheduler can preempt pods of lower priority on the primary for the pod."""
        return self._packer(self._context.primary).can_preempt(pod.shape, pod.priority)

    def awaits_room(self, pod: Pod, provider: Provider) -> bool:
        """Say whether another pod waits for a node that the provider has yet to make, or has not made in time.

        Only pods that request as much as this pod, or less, tell of its chances.
        """
        amounts = [self._awaiting_room[provider.name]] if provider.name in self._awaiting_room else []
        if provider.primary:
            overflow = self._context.assessment.demand.overflow
            amounts += [request_of(entry.pod, self._context.resource) for entry in overflow if entry.why in FULL]
        return min(amounts, default=inf) <= request_of(pod, self._context.resource)

    def free_on_primary(self, pod: Pod) -> tuple[int, int]:
        """Return the accelerators of the primary's nodes that admit the pod, and how many of them pods like it can use.

        In thousandths, beside all reservations.
        """
        return self._packer(self._context.primary).free_for(pod.shape)

    def remainders_on_primary(self) -> Iterable[tuple[NodeInfo, Resources]]:
        """Return the primary's usable nodes, and the free resources of each."""
        return self._packer(self._context.primary).remainders()

    @property
    def budget_refused(self) -> bool:
        """Whether the budget has refused a pod in this pass, or had run out before."""
        return self._budget_refused

    # --- inside

    def _failing_on(self, provider: Provider) -> frozenset[str]:
        """Return the owners of the pods that fail on a provider's nodes now."""
        owners = self._failing_owners.get(provider.name)
        if owners is None:
            pods = members_on(self._supplies[provider.name].nodes, self._context.pool)
            owners = self._failing_owners[provider.name] = frozenset(pod.owner for pod in pods if pod.failing)
        return owners

    def _closed_to(self, provider: Provider, terms: Terms) -> Reason | None:
        if terms.canary:
            return self.blocked(provider)
        return Reason.PROVIDER_UNAVAILABLE if self.is_open(provider) else None

    def _beyond_bounds(self, requests: Sequence[PlaceRequest], provider: Provider, terms: Terms) -> Reason | None:
        if not terms.bounded:
            return None
        if provider.name in self._allowance and self._devices(requests) > self._allowance[provider.name]:
            return Reason.AT_MAX_ACCELERATORS
        if self._money is not None and (cost := self._cost(requests, provider)) > 0 and cost > self._money:
            self._budget_refused = True
            return Reason.BUDGET_EXHAUSTED
        return None

    def _hold_off_of(self, requests: Iterable[PlaceRequest], provider: Provider) -> HoldOff | None:
        """Return the first hold-off that keeps one of the pods from the provider."""
        hold_offs = self._hold_offs
        for request in requests:
            for key in hold_offs.keys_of(request.pod, provider.name):
                if key in self._tried:
                    return hold_offs.due[key]
                if key in hold_offs.blocking and hold_offs.trials.get(key) != request.pod.uid:
                    return hold_offs.blocking[key]
        return None

    def _note_trials(self, requests: Iterable[PlaceRequest], provider: Provider) -> None:
        """Note that each pod is the one that is tried after a hold-off of its workload or shape."""
        for request in requests:
            keys = self._hold_offs.keys_of(request.pod, provider.name)
            self._tried.update(key for key in keys if key in self._hold_offs.due)

    def _take_places(self, requests: Sequence[PlaceRequest], provider: Provider, terms: Terms) -> Reason | None:
        packer = self._packer(provider)
        savepoint = packer.savepoint()
        waiting: list[PlaceRequest] = []
        for request in requests:
            pod = request.pod
            if packer.place_preempting(pod.shape, pod.priority) if terms.preempting else packer.place(pod.shape):
                continue
            why = packer.why_not(pod.shape)
            if not (terms.may_wait and provider.kind.before_room) or why is Reason.PINNED:
                if len(requests) > 1:
                    packer.rollback(savepoint)
                return why
            waiting.append(request)
        self._note_awaiting(waiting, provider)
        return None

    def _note_awaiting(self, requests: Iterable[PlaceRequest], provider: Provider) -> None:
        for request in requests:
            amount = request_of(request.pod, self._context.resource)
            self._awaiting_room[provider.name] = min(amount, self._awaiting_room.get(provider.name, amount))

    def _charge(self, requests: Sequence[PlaceRequest], provider: Provider) -> None:
        if provider.name in self._allowance:
            self._allowance[provider.name] -= self._devices(requests)
        if self._money is not None:
            self._money -= self._cost(requests, provider)

    def _devices(self, requests: Sequence[PlaceRequest]) -> int:
        return sum(request_of(request.pod, self._context.resource) for request in requests if not request.hands_over)

    def _cost(self, requests: Sequence[PlaceRequest], provider: Provider) -> Decimal:
        resource = self._context.resource
        return sum((cost_of(provider, request.pod, resource) - request.saves for request in requests), NOTHING)

    def _packer(self, provider: Provider) -> Packer:
        """Return a provider's packer. The primary's is made at the first use, with the pods that wait there."""
        packer = self._packers.get(provider.name)
        if packer is None:
            packer = self._packers[provider.name] = self._new_packer(provider)
            for pod in self._at_home:
                packer.place(pod.shape)
            self._home_savepoint = packer.savepoint()
        return packer

    def _keep_foreign(self) -> None:
        """Take places for pods of other pools that were sent to a standby and may land on this pool's nodes."""
        for pod in in_order(self._context.snapshot.foreign):
            if not pod.nominated:  # The supply of a node already counts the pods nominated to it.
                offer = self._context.snapshot.in_flight.get(pod.uid)
                sent_to = pod.burst if offer is None else offer.provider
                # Pools mostly use the same name for a provider, but the pod may land on any provider it tolerates.
                packers = sorted(self._packers.values(), key=lambda packer: packer.supply.provider.name != sent_to)
                # While the patch is under way, the pod does not show its new tolerations.
                any(packer.place(pod.shape, as_is=offer is None) for packer in packers)

    def _keep_node_bound(self) -> None:
        """Take places for the pool's own pods that wait for their node on a standby."""
        for hold in self._context.assessment.demand.held:
            if hold.reason is Reason.NODE_BOUND and not hold.provider:
                any(packer.place(hold.pod.shape, as_is=True) for packer in self._packers.values())

    def _new_packer(self, provider: Provider) -> Packer:
        return Packer(self._supplies[provider.name], self._context.resource, self._keys, self._context.now)


def _allowance(context: Context, supply: Supply, limit: int) -> int:
    """Return how many thousandths of the accelerator the pool may still use of a limited provider.

    Pods on lost nodes count, because they may still run and may be seen again when their node returns.
    """
    pods = (*context.snapshot.waiting, *context.snapshot.on_unknown_nodes)
    expected = requested_by((pod for pod in pods if context.may_land_on(pod, supply.provider)), context.resource)
    return limit - supply.held - expected


def _home_pods(context: Context) -> Iterable[Pod]:
    """Yield the waiting pods that have a place on the primary, in the order in which they took their places."""
    demand, name = context.assessment.demand, context.primary.name
    placed = (Reason.FITS_ON_PREFERRED, Reason.NODE_BOUND)
    yield from (hold.pod for hold in demand.held if hold.provider == name and hold.reason in placed)
    yield from (sent.pod for sent in demand.sent if sent.home is not None)


def _returning_pods(context: Context, pending: PendingMoves) -> Iterable[Pod]:
    """Yield the pods that move to the primary and whose replacements are not seen, or no demand, yet."""
    return (move.pod for move in pending.awaiting if move.target == context.primary.name)


def _has_canary(supply: Supply, pool: str) -> bool:
    """Say whether the provider is half-open and its canary is there."""
    if supply.breaker.state is not BreakerState.HALF_OPEN:
        return False
    healthy = [info for info in supply.nodes if info.node.name not in supply.unhealthy]
    return canary_runs(healthy, pool, supply.provider.name, supply.breaker)
