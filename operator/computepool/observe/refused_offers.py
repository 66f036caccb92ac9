"""Offers whose write the API server has refused: the pod goes to the next provider meanwhile.

Invariant 8: this is only a memory of the last minute. A restarted operator sends one more patch, and is refused again.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from computepool.model.cluster import Pod, RefusedOffer


class RefusedOffers:
    """The refused offers by pod uid."""

    def __init__(self) -> None:
        """Start without refusals."""
        self._refused: dict[str, dict[str, RefusedOffer]] = {}

    def note(self, uid: str, refused: RefusedOffer) -> None:
        """Remember a refusal, and count it if the same provider was refused before."""
        of_pod = self._refused.setdefault(uid, {})
        if (before := of_pod.get(refused.provider)) is not None:
            refused = msgspec.structs.replace(refused, times=before.times + 1)
        of_pod[refused.provider] = refused

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
