"""Offers whose write is under way, or is answered but not seen in the watch yet.

Between a decision and the watch event that shows it, a pass must not repeat the decision, and must count the place as
taken. Invariant 8: this is only a memory of the last milliseconds. A restarted operator reads the same from the pods.
"""

from collections.abc import Mapping

from computepool.model.cluster import Offer, Pod

ROUNDING_SECONDS = 0.001
"""An offer's time is written on the pod with milliseconds."""


class InFlight:
    """The offers that the watch does not show yet, by pod uid."""

    def __init__(self) -> None:
        """Start without offers."""
        self._offers: dict[str, Offer] = {}
        self._awaited: dict[str, int] = {}
        self._doubted: set[str] = set()

    def __contains__(self, uid: str) -> bool:
        """Say whether an offer to the pod is under way."""
        return uid in self._offers

    def start(self, uid: str, offer: Offer) -> None:
        """Note that the write begins."""
        self.drop(uid)
        self._offers[uid] = offer

    def written(self, uid: str, version: int, seen: int) -> bool:
        """Note the resourceVersion that the write made; return whether the watch has shown it already (`seen`)."""
        if uid in self._offers:
            self._awaited[uid] = version
        return self.seen(uid, seen)

    def seen(self, uid: str, version: int) -> bool:
        """Forget the offer if the pod was seen at or after the version that the write made; say whether so."""
        awaited = self._awaited.get(uid)
        if awaited is None or version < awaited:
            return False
        self.drop(uid)
        return True

    def doubted(self, uid: str, pod: Pod | None) -> bool:
        """Note that it is unknown whether the write was made; return whether `pod`, as last seen, shows it."""
        if uid in self._offers:
            self._doubted.add(uid)
        return pod is not None and self.shown(pod)

    def shown(self, pod: Pod) -> bool:
        """Forget a doubted offer if the pod shows it; say whether so. Other changes of the pod do not settle it."""
        if pod.uid not in self._doubted or not self.carried_by(pod):
            return False
        self.drop(pod.uid)
        return True

    def carried_by(self, pod: Pod) -> bool:
        """Say whether the pod carries the offer to it that is under way, answered or not."""
        offer = self._offers.get(pod.uid)
        if offer is None:
            return False
        at = pod.offered(offer.provider)
        return at is not None and at >= offer.at - ROUNDING_SECONDS

    def drop(self, uid: str) -> None:
        """Forget the offer: the write failed or was undone, or the pod is bound or gone."""
        self._offers.pop(uid, None)
        self._awaited.pop(uid, None)
        self._doubted.discard(uid)

    def offers(self) -> Mapping[str, Offer]:
        """Return a copy that later changes do not touch."""
        return dict(self._offers)
