"""Offers whose write is under way, or was answered and is not seen in the watch yet.

Between a decision and the watch event that shows it, a pass must not decide the same again and must count the place as
taken. Invariant 8: this is only a memory of the last milliseconds; a restarted operator reads the same from the pods.
"""

from collections.abc import Mapping

from computepool.model.snapshot import Offer


class InFlight:
    """By pod uid."""

    def __init__(self) -> None:
        """Start with nothing under way."""
        self._offers: dict[str, Offer] = {}
        self._awaited: dict[str, int] = {}

    def __contains__(self, uid: str) -> bool:
        """Say whether an offer to the pod is under way."""
        return uid in self._offers

    def start(self, uid: str, offer: Offer) -> None:
        """Note that the write begins."""
        self._offers[uid] = offer
        self._awaited.pop(uid, None)

    def written(self, uid: str, version: int, seen: int) -> bool:
        """Note the resourceVersion that the write made; return whether the watch has shown it already (`seen`)."""
        if uid in self._offers:
            self._awaited[uid] = version
        return self.seen(uid, seen)

    def seen(self, uid: str, version: int) -> bool:
        """Forget the offer once the pod was seen at or after the version that the write made."""
        awaited = self._awaited.get(uid)
        if awaited is None or version < awaited:
            return False
        self.drop(uid)
        return True

    def drop(self, uid: str) -> None:
        """Forget the offer: the write failed, or the pod is gone."""
        self._offers.pop(uid, None)
        self._awaited.pop(uid, None)

    def offers(self) -> Mapping[str, Offer]:
        """Return a copy that later changes do not touch."""
        return dict(self._offers)
