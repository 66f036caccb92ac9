"""Which waiting pods the primary takes, which have to wait a little, and which overflow."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from computepool.assess.capacity.fit import Packer
from computepool.assess.capacity.providers import Provider
from computepool.model.cluster import Offer, Pod
from computepool.model.reasons import Reason
from computepool.model.state import Fitting


class Hold(msgspec.Struct, frozen=True):
    """A pod that stays as it is: why, which providers were rejected and why, and when to look again."""

    pod: Pod
    reason: Reason
    provider: str = ""
    """The provider that it waits for."""
    rejected: tuple[tuple[str, Reason], ...] = ()
    until: float | None = None


class Overflow(msgspec.Struct, frozen=True):
    """A pod that the primary can't take."""

    pod: Pod
    why: Reason
    """Why the primary was rejected."""
    wait: Reason | None = None
    """Why it may not be sent on yet; None: it may."""
    until: float | None = None
    """When it may."""


class Sent(msgspec.Struct, frozen=True):
    """A pod that was sent on to a standby provider and is not bound."""

    pod: Pod
    offer: Offer
    home: Hold | None
    """How it waits for the primary, if it fits there after all, beside those that were never sent."""


class Demand(msgspec.Struct, frozen=True):
    """The pool's waiting pods, sorted into what can be done about them."""

    held: tuple[Hold, ...]
    sent: tuple[Sent, ...]
    overflow: tuple[Overflow, ...]
    fitting: Fitting
    """For pods that fit on the primary: since when."""

    @property
    def pressing(self) -> int:
        """How many pods overflow because the primary is full, and have waited long enough to be sent on."""
        return sum(1 for o in self.overflow if o.wait is None and o.why in FULL | UNTRUSTED)


FULL = frozenset({Reason.NO_ROOM, Reason.NO_NODES})
"""Rejections that say something about the primary's capacity, not about the pod."""
UNTRUSTED = frozenset({Reason.PROVIDER_UNAVAILABLE, Reason.CANARY_UNDER_WAY})
"""Rejections by the primary's breaker: nothing is gained by waiting."""


def in_order(pods: Iterable[Pod]) -> list[Pod]:
    """Sort by priority, then age; equal ones by name, so that every pass sees the same order."""
    return sorted(pods, key=lambda pod: (-pod.priority, pod.created, pod.namespace, pod.name))


def demand_of(
    waiting: Sequence[Pod],
    in_flight: Mapping[str, Offer],
    standbys: Sequence[Provider],
    primary: Packer,
    *,
    pending_seconds: int,
    fitting: Fitting,
    now: float,
) -> Demand:
    """Pack the primary with the pods that were not sent on, in order, and sort the rest by what they wait for.

    `fitting` is what the pass before returned, so that a pod the scheduler refuses although it fits is noticed.
    """
    by_name = {provider.name: provider for provider in standbys}
    sorter = _Sorter(primary, pending_seconds, fitting, now)
    sent: list[tuple[Pod, Offer]] = []
    for pod in in_order(waiting):
        if (reason := _not_ours(pod)) is not None:
            sorter.held.append(Hold(pod, reason))
        elif (offer := _current_offer(pod, in_flight, by_name)) is not None:
            sent.append((pod, offer))
        elif (offer := in_flight.get(pod.uid)) is not None:
            # Under way to a provider that the pool has lost meanwhile: what was written has to be seen first.
            sorter.held.append(Hold(pod, Reason.AWAITING_SCHEDULER, offer.provider))
        else:
            sorter.sort(pod)
    # After the others: one that was sent on can go either way, they can't.
    onward = tuple(Sent(pod, offer, sorter.take_back(pod)) for pod, offer in sent)
    return Demand(tuple(sorter.held), onward, tuple(sorter.overflow), sorter.fitting)


def _current_offer(pod: Pod, in_flight: Mapping[str, Offer], standbys: Mapping[str, Provider]) -> Offer | None:
    """Return where the pod was last sent, by a write under way or by its own label and tolerations."""
    offer = in_flight.get(pod.uid)
    if offer is not None and offer.provider in standbys:
        return offer
    provider = standbys.get(pod.burst)
    # The tolerations are the truth: a label without them, after the pool was edited, sends nobody anywhere.
    if provider is None or not provider.tolerated_by(pod.shape):
        return None
    return Offer(provider.name, pod.offered_since(provider.name))


def fit_since(fitted: Fitting, pod: Pod, provider: Provider, now: float) -> float:
    """Return since when the pod fits on the provider without being bound: from now on where that is new."""
    return fitted.get((pod.uid, provider.name), now)


def _not_ours(pod: Pod) -> Reason | None:
    if pod.deleting is not None:
        return Reason.TERMINATING
    if pod.gated:
        return Reason.GATED
    return Reason.NOMINATED if pod.nominated else None


class _Sorter:
    """The state of one walk over the queue."""

    def __init__(self, primary: Packer, pending_seconds: int, fitting: Fitting, now: float) -> None:
        self._primary = primary
        self._provider = primary.supply.provider
        self._fitted = fitting
        self._now = now
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
        self.overflow.append(self._overflowing(pod))

    def take_back(self, pod: Pod) -> Hold | None:
        """Give a pod that was sent on a place, unless the scheduler has refused it here."""
        return None if self._refused(pod) else self._placed(pod)

    def _placed(self, pod: Pod) -> Hold | None:
        if not self._primary.place(pod.shape):
            return None
        since = fit_since(self._fitted, pod, self._provider, self._now)
        self.fitting[pod.uid, self._provider.name] = since
        due = since + self._provider.timeout
        # Once that is over only the scheduler's word changes anything, and its word comes as an event.
        until = due if due > self._now else None
        return Hold(pod, Reason.FITS_ON_PREFERRED, self._provider.name, until=until)

    def _refused(self, pod: Pod) -> bool:
        """Say whether the pod has fitted on the primary for its timeout, and the scheduler still refuses it."""
        since = fit_since(self._fitted, pod, self._provider, self._now)
        if not pod.unschedulable or self._now < since + self._provider.timeout:
            return False
        self.fitting[pod.uid, self._provider.name] = since
        return True

    def _overflowing(self, pod: Pod) -> Overflow:
        why = self._primary.why_not(pod.shape)
        # A pod that can never run on the primary, or not as long as its breaker is open, has nothing to wait for there.
        patience = self._patience if why in FULL else 0.0
        due = pod.since + patience
        if self._now >= due:
            return Overflow(pod, why)
        wait = Reason.AWAITING_NODES if self._provider.kind.before_room else Reason.BELOW_PENDING_SECONDS
        return Overflow(pod, why, wait, due)
