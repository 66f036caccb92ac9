"""Which standbys the API server lets no pod be sent to, as people are told. It decides nothing about pods.

A provider is told while a pod waits whose patch was refused. If the patch was refused again, the provider is told for
CLEAR_SECONDS more, because the next pod will meet the same refusal. Otherwise the pool's condition would come and go
with every pod.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from computepool.decide.plan import Burst
from computepool.model.cluster import Pod, RefusedOffer
from computepool.model.snapshot import Snapshot
from computepool.model.state import RefusedProvider

CLEAR_SECONDS: Final = 300.0
GRACE_SECONDS: Final = 15.0
"""A refusal stands for so long after its time is over: another attempt is on its way."""


def patch_text(pod: Pod, provider: str, what: str) -> str:
    """Say what became of the patch that sends a pod to a provider."""
    return f"the patch that sends pod {pod.namespace}/{pod.name} to {provider} {what}"


def is_repeated(snapshot: Snapshot, burst: Burst) -> bool:
    """Say whether the burst repeats a patch that was refused."""
    refused = snapshot.refused_offers.get(burst.pod.uid, ())
    return any(offer.provider == burst.provider for offer in refused)


def refused_providers(
    snapshot: Snapshot, before: Mapping[str, RefusedProvider], now: float
) -> Mapping[str, RefusedProvider]:
    """Return the refused standbys by name, in order. `before`: of the pass before; `now`: seconds since the epoch."""
    generation = snapshot.pool.metadata.generation
    waiting = _waiting(snapshot, now)
    found: dict[str, RefusedProvider] = {}
    for standby in snapshot.pool.spec.standbys:
        name, earlier = standby.name, before.get(standby.name)
        again = any(offer.times > 1 for _, offer in waiting.get(name, ()))
        until = now + CLEAR_SECONDS if again else None
        if until is None and earlier is not None and earlier.lasts(generation, now, CLEAR_SECONDS):
            until = earlier.until
        if name in waiting:
            found[name] = RefusedProvider(_told(waiting[name]), generation, until)
        elif earlier is not None and until is not None:
            found[name] = RefusedProvider(earlier.message, generation, until)
    return found


def recheck_times(snapshot: Snapshot, found: Mapping[str, RefusedProvider]) -> Iterable[float | None]:
    """Yield when a refusal ends by time alone, and when a pod may be sent where it was refused."""
    for offers in snapshot.refused_offers.values():
        for offer in offers:
            yield from (offer.until, offer.until + GRACE_SECONDS)
    yield from (refused.until for refused in found.values())


def _waiting(snapshot: Snapshot, now: float) -> Mapping[str, Sequence[tuple[Pod, RefusedOffer]]]:
    """Return by provider the pods that wait and that it was refused for a moment ago."""
    found: dict[str, list[tuple[Pod, RefusedOffer]]] = {}
    if snapshot.refused_offers:
        for pod in snapshot.waiting:
            for offer in snapshot.refused_offers.get(pod.uid, ()):
                if offer.at <= now < offer.until + GRACE_SECONDS:
                    found.setdefault(offer.provider, []).append((pod, offer))
    return found


def _told(refused: Sequence[tuple[Pod, RefusedOffer]]) -> str:
    """Return the refusal of the first pod by name, and the count if there are more."""
    pod, offer = min(refused, key=lambda found: (found[0].namespace, found[0].name))
    first = patch_text(pod, offer.provider, f"was refused: {offer.answer}")
    return f"{len(refused)} pods, such as: {first}" if len(refused) > 1 else first
