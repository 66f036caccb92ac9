"""Which waiting pods the primary takes, which pods have to wait a little, and which pods overflow."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Final

import msgspec

from computepool.assess.capacity.fit import SLACK_SECONDS, SOON_SECONDS, Packer
from computepool.assess.capacity.providers import Provider
from computepool.assess.capacity.supply import Supply
from computepool.model.cluster import Offer, Pod
from computepool.model.reasons import Reason
from computepool.model.state import NOMINATED, Fitting

SILENCE_SECONDS: Final = 600.0
"""A scheduler that says nothing about a pod for so long leaves the pod aside. Before, it may have many pods to try."""


class Hold(msgspec.Struct, frozen=True):
    """A pod that stays as it is, with the reason and the rejected providers."""

    pod: Pod
    reason: Reason
    provider: str = ""
    """The provider that it waits for."""
    rejected: tuple[tuple[str, Reason], ...] = ()
    until: float | None = None
    """When to check again."""


class Overflow(msgspec.Struct, frozen=True):
    """A pod that the primary can't take."""

    pod: Pod
    why: Reason
    """Why the primary was rejected."""
    wait: Reason | None = None
    """Why it may not be sent to a standby yet; None if it may."""
    until: float | None = None
    """When it may be sent to a standby."""
    confined: bool = False
    """Whether the primary has room for it, but only on nodes that its own selectors exclude. Then the pod's nodes are
    full, and not the primary."""


class Sent(msgspec.Struct, frozen=True):
    """A pod that was sent to a standby provider and is not bound."""

    pod: Pod
    offer: Offer
    home: Hold | None
    """Its hold on the primary, if it fits there after all. Such pods are placed after pods that were never sent."""


class Demand(msgspec.Struct, frozen=True):
    """The pool's waiting pods, sorted by what can be done about them."""

    held: tuple[Hold, ...]
    sent: tuple[Sent, ...]
    overflow: tuple[Overflow, ...]
    fitting: Fitting
    """For pods that fit on the primary: since when they fit."""

    @property
    def pressing(self) -> int:
        """How many pods overflow because the primary is full, and have waited long enough to be sent to a standby."""
        ready = (entry for entry in self.overflow if entry.wait is None and not entry.confined)
        return sum(1 for entry in ready if entry.why in FULL | UNTRUSTED)


FULL = frozenset({Reason.NO_ROOM, Reason.NO_NODES, Reason.NODE_STARTING})
"""Rejections because of the primary's capacity, not because of the pod."""
UNTRUSTED = frozenset({Reason.PROVIDER_UNAVAILABLE, Reason.CANARY_UNDER_WAY})
"""Rejections by the primary's breaker: the pod need not wait."""


def in_order(pods: Iterable[Pod]) -> list[Pod]:
    """Sort by priority, then age, then name, so that every pass sees the same order."""
    return sorted(pods, key=lambda pod: (-pod.priority, pod.created, pod.namespace, pod.name))


def demand_of(
    waiting: Sequence[Pod],
    in_flight: Mapping[str, Offer],
    supplies: Sequence[Supply],
    primary: Packer,
    *,
    pending_seconds: int,
    fitting: Fitting,
    now: float,
) -> Demand:
    """Pack the primary, in order, with the pods that were not sent to a standby, and sort the others by their wait.

    `supplies`: of all providers, the primary first. `fitting` is the value that the pass before returned. It shows pods
    that the scheduler refuses although they fit.
    """
    by_name = {supply.provider.name: supply.provider for supply in supplies[1:]}
    nodes = _NodeOwners(supplies)
    sorter = _Sorter(primary, pending_seconds, fitting, now)
    sent: list[tuple[Pod, Offer]] = []
    for pod in in_order(waiting):
        if (reason := _untouchable_because(pod)) is not None:
            sorter.held.append(Hold(pod, reason))
        elif pod.nominated and sorter.wait_for_preemption(pod, nodes.timeout_of(pod.nominated)):
            continue
        elif pod.belongs_to_node:
            sorter.wait_for_node(pod)
        elif (offer := _current_offer(pod, in_flight, by_name)) is not None:
            sent.append((pod, offer))
        elif (offer := in_flight.get(pod.uid)) is not None:
            # It was sent to a provider that the pool has lost since. The write has to be seen first.
            sorter.held.append(Hold(pod, Reason.AWAITING_SCHEDULER, offer.provider))
        elif (node := pod.shape.only_node) is not None and not nodes.on_standby(node):
            sorter.wait_for_node(pod)
        else:
            sorter.sort(pod)
    # After the other pods: a pod that was sent to a standby can run on either provider, the others only here.
    onward = tuple(Sent(pod, offer, sorter.take_back(pod)) for pod, offer in sent)
    return Demand(tuple(sorter.held), onward, tuple(sorter.overflow), sorter.fitting)


def _current_offer(pod: Pod, in_flight: Mapping[str, Offer], standbys: Mapping[str, Provider]) -> Offer | None:
    """Return where the pod was last sent, by a write under way or by its own label and tolerations."""
    offer = in_flight.get(pod.uid)
    if offer is not None and offer.provider in standbys:
        return offer
    provider = standbys.get(pod.burst)
    # The tolerations are the truth: after the pool was edited, a label without them sends no pod anywhere.
    if provider is None or not provider.tolerated_by(pod.shape):
        return None
    return Offer(provider.name, pod.offered_since(provider.name))


def fit_since(fitted: Fitting, pod: Pod, provider: Provider, now: float) -> float:
    """Return since when the pod fits on the provider without being bound: since now if that is new."""
    return fitted.get((pod.uid, provider.name), now)


def _untouchable_because(pod: Pod) -> Reason | None:
    if pod.deleting is not None:
        return Reason.TERMINATING
    return Reason.GATED if pod.gated else None


class _NodeOwners:
    """Finds the provider of a node by the node's name. Few pods name a node, so it reads the nodes when asked first."""

    def __init__(self, supplies: Sequence[Supply]) -> None:
        self._supplies = supplies

    def on_standby(self, node: str) -> bool:
        """Say whether the node belongs to a standby: a pod that names it needs the standby's toleration."""
        provider = self._providers.get(node)
        return provider is not None and not provider.primary

    def timeout_of(self, node: str) -> float:
        """Return the timeout of the node's provider; that of the primary for a node of no provider."""
        return self._providers.get(node, self._supplies[0].provider).timeout

    @cached_property
    def _providers(self) -> dict[str, Provider]:
        return {info.node.name: supply.provider for supply in self._supplies for info in supply.nodes}


class _Sorter:
    """Sorts the waiting pods in one walk over the queue."""

    def __init__(self, primary: Packer, pending_seconds: int, fitting: Fitting, now: float) -> None:
        self._primary = primary
        self._provider = primary.supply.provider
        self._fitted = fitting
        self._now = now
        self._pending_seconds = pending_seconds
        self.held: list[Hold] = []
        self.overflow: list[Overflow] = []
        self.fitting: dict[tuple[str, str], float] = {}
        self._patience = self._provider.kind.seconds_for_room(float(pending_seconds), self._provider.timeout)

    def sort(self, pod: Pod) -> None:
        if self._refused(pod):
            self.overflow.append(Overflow(pod, Reason.NOT_BOUND_IN_TIME))
            return
        fits = self._placed(pod)
        if fits is not None:
            self.held.append(fits)
            return
        # Other pods may take the places again and again.
        due = pod.since + self._pending_seconds + SOON_SECONDS + SLACK_SECONDS
        soon = self._primary.place_soon(pod.shape) if self._now < due else None
        if soon is not None:
            self.held.append(Hold(pod, Reason.SOON_FREE, self._provider.name, until=min(soon, due)))
            return
        due = pod.since + max(float(self._pending_seconds), self._provider.timeout)
        if self._now < due and self._primary.place_starting(pod.shape):
            self.held.append(Hold(pod, Reason.NODE_STARTING, self._provider.name, until=due))
            return
        self.overflow.append(self._overflowing(pod))

    def wait_for_preemption(self, pod: Pod, timeout: float) -> bool:
        """Hold a pod for which the scheduler makes room, and say so. A pod that still waits after the timeout goes on.

        The pods that make room may never end, and the scheduler waits for them. It may also nominate the pod to one
        node after another, which does not begin the time anew.
        """
        key = (pod.uid, NOMINATED)
        since = self.fitting[key] = self._fitted.get(key, self._now)
        waits = self._now < since + timeout
        if waits:
            self.held.append(Hold(pod, Reason.NOMINATED, until=since + timeout))
        return waits

    def wait_for_node(self, pod: Pod) -> None:
        """Hold a pod that only its own node can take. If the node is the primary's and has room, the place is taken."""
        provider = self._provider.name if self._primary.place(pod.shape) else ""
        self.held.append(Hold(pod, Reason.NODE_BOUND, provider))

    def take_back(self, pod: Pod) -> Hold | None:
        """Give a pod that was sent to a standby a place, unless the scheduler has refused it here."""
        return None if self._refused(pod) else self._placed(pod)

    def _placed(self, pod: Pod) -> Hold | None:
        if not self._primary.place(pod.shape):
            return None
        since = fit_since(self._fitted, pod, self._provider, self._now)
        self.fitting[pod.uid, self._provider.name] = since
        return Hold(pod, Reason.FITS_ON_PREFERRED, self._provider.name, until=since + self._scheduler_has(pod))

    def _scheduler_has(self, pod: Pod) -> float:
        """Return how many seconds the scheduler has to bind a pod that fits on the primary."""
        timeout = self._provider.timeout
        return timeout if pod.unschedulable else max(timeout, SILENCE_SECONDS)

    def _refused(self, pod: Pod) -> bool:
        """Say whether the pod has fitted on the primary for long, and the scheduler refuses it or leaves it aside."""
        since = fit_since(self._fitted, pod, self._provider, self._now)
        if self._now < since + self._scheduler_has(pod):
            return False
        self.fitting[pod.uid, self._provider.name] = since
        return True

    def _overflowing(self, pod: Pod) -> Overflow:
        why = self._primary.why_not(pod.shape)
        # A pod that can never run on the primary, or not while its breaker is open, does not wait for it.
        patience = self._patience if why in FULL else 0.0
        due = pod.since + patience
        confined = why in FULL and self._primary.has_room_elsewhere(pod.shape)
        if self._now >= due:
            return Overflow(pod, why, confined=confined)
        wait = Reason.AWAITING_NODES if self._provider.kind.before_room else Reason.BELOW_PENDING_SECONDS
        return Overflow(pod, why, wait, due, confined)
