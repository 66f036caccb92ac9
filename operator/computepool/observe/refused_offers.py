"""Offers whose write the API server has refused: the pod goes to the next provider meanwhile.

Invariant 8: this is only a memory of the last minute. A restarted operator sends one more patch, and is refused again.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from computepool.model.cluster import Pod, RefusedOffer

RECENT_SECONDS: Final = 60.0
"""A refusal follows another in a row if it comes so soon after the time of the next attempt."""


class RefusedOffers:
    """The refused offers by pod uid."""

    def __init__(self) -> None:
        """Start without refusals."""
        self._refused: dict[str, dict[str, RefusedOffer]] = {}

    def count(self, uid: str, provider: str, now: float) -> int:
        """Return how often in a row the pod was refused for the provider until a moment ago."""
        before = self._refused.get(uid, {}).get(provider)
        return before.times if before is not None and before.at <= now < before.until + RECENT_SECONDS else 0

    def note(self, uid: str, refused: RefusedOffer) -> None:
        """Remember a refusal, in place of an earlier refusal for the same provider."""
        self._refused.setdefault(uid, {})[refused.provider] = refused

    def drop(self, uid: str) -> None:
        """Forget the refusals of a pod that is bound or gone, or whose next patch may be another patch."""
        self._refused.pop(uid, None)

    def uids(self) -> Sequence[str]:
        """Return the uids of the pods with refusals."""
        return list(self._refused)

    def of(self, pods: Iterable[Pod]) -> Mapping[str, tuple[RefusedOffer, ...]]:
        """Return the refusals of these pods, by uid: a copy that later changes do not touch."""
        if not self._refused:
            return {}
        return {pod.uid: tuple(found.values()) for pod in pods if (found := self._refused.get(pod.uid)) is not None}
