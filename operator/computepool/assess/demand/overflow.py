"""Which waiting pods the primary takes, which pods have to wait a little, and which pods overflow."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

import msgspec

from computepool.assess.capacity.fit import Packer
from computepool.assess.capacity.providers import Provider
from computepool.assess.capacity.supply import Supply
from computepool.model.cluster import Offer, Pod
from computepool.model.reasons import Reason
from computepool.model.state import Fitting


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
        return sum(1 for pod in self.overflow if pod.wait is None and pod.why in FULL | UNTRUSTED)


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
    if pod.gated:
        return Reason.GATED
    return Reason.NOMINATED if pod.nominated else None


class _NodeOwners:
    """Finds the provider of a node by the node's name. Few pods name a node, so it reads the nodes when asked first."""

    def __init__(self, supplies: Sequence[Supply]) -> None:
        self._supplies = supplies

    def on_standby(self, node: str) -> bool:
        """Say whether the node belongs to a standby: a pod that names it needs the standby's toleration."""
        provider = self._providers.get(node)
        return provider is not None and not provider.primary

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
        soon = self._primary.place_soon(pod.shape)
        if soon is not None:
            self.held.append(Hold(pod, Reason.SOON_FREE, self._provider.name, until=soon))
            return
        due = pod.since + max(float(self._pending_seconds), self._provider.timeout)
        if self._now < due and self._primary.place_starting(pod.shape):
            self.held.append(Hold(pod, Reason.NODE_STARTING, self._provider.name, until=due))
            return
        self.overflow.append(self._overflowing(pod))

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
        due = since + self._provider.timeout
        # Afterwards only the scheduler's refusal changes anything, and it comes as an event.
        until = due if due > self._now else None
        return Hold(pod, Reason.FITS_ON_PREFERRED, self._provider.name, until=until)

    def _refused(self, pod: Pod) -> bool:
        """Say whether the pod has fitted on the primary for its timeout, and the scheduler still refuses it."""
        if not pod.unschedulable:
            return False
        since = fit_since(self._fitted, pod, self._provider, self._now)
        if self._now < since + self._provider.timeout:
            return False
        self.fitting[pod.uid, self._provider.name] = since
        return True

    def _overflowing(self, pod: Pod) -> Overflow:
        why = self._primary.why_not(pod.shape)
        # A pod that can never run on the primary, or not while its breaker is open, does not wait for it.
        patience = self._patience if why in FULL else 0.0
        due = pod.since + patience
        if self._now >= due:
            return Overflow(pod, why)
        wait = Reason.AWAITING_NODES if self._provider.kind.before_room else Reason.BELOW_PENDING_SECONDS
        return Overflow(pod, why, wait, due)
