"""The annotation `computepool.io/offers`: the providers that a pod was sent to, with times, in order.

Example: `nebius=2026-11-23T05:00:00.123Z,crusoe=2026-11-23T05:01:00.456Z`. A restarted operator continues from it
(invariant 8), and people read the pod's history in it.
"""

from collections.abc import Iterable

from computepool.model.cluster import Offer
from computepool.model.text import rfc3339, seconds_of


def parse_offers(text: str) -> tuple[Offer, ...]:
    """Read the annotation. Unreadable parts are dropped: the tolerations are the truth, this is only their history."""
    offers = []
    for part in text.split(","):
        provider, _, stamp = part.partition("=")
        at = seconds_of(stamp)
        if provider.strip() and at is not None:
            offers.append(Offer(provider.strip(), at))
    return tuple(offers)


def render_offers(offers: Iterable[Offer]) -> str:
    """Write the annotation, with milliseconds."""
    return ",".join(f"{offer.provider}={rfc3339(offer.at, 'milliseconds')}" for offer in offers)


def with_offer(offers: Iterable[Offer], new: Offer) -> tuple[Offer, ...]:
    """Add an offer in place of an earlier offer of the same provider."""
    return (*(offer for offer in offers if offer.provider != new.provider), new)
