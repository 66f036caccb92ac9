"""The annotation `computepool.io/offers`: where a pod was sent on, and when, in order.

`nebius=2026-11-23T05:00:00.123Z,crusoe=2026-11-23T05:01:00.456Z`. It lets a restarted operator go on where the one
before stopped (invariant 8), and tells a person the pod's history.
"""

from collections.abc import Iterable
from datetime import UTC, datetime

from computepool.model.cluster import Offer
from computepool.model.text import rfc3339


def parse_offers(text: str) -> tuple[Offer, ...]:
    """Read the annotation. What can't be read is dropped: the tolerations are the truth, this is their history."""
    offers = []
    for part in text.split(","):
        provider, _, stamp = part.partition("=")
        at = _parse_time(stamp)
        if provider.strip() and at is not None:
            offers.append(Offer(provider.strip(), at))
    return tuple(offers)


def render_offers(offers: Iterable[Offer]) -> str:
    """Write the annotation, with milliseconds."""
    return ",".join(f"{offer.provider}={rfc3339(offer.at, 'milliseconds')}" for offer in offers)


def with_offer(offers: Iterable[Offer], new: Offer) -> tuple[Offer, ...]:
    """Add an offer; an earlier one to the same provider gives way."""
    return (*(offer for offer in offers if offer.provider != new.provider), new)


def _parse_time(stamp: str) -> float | None:
    try:
        time = datetime.fromisoformat(stamp.strip())
        # In UTC, or the first and last day of the calendar could be read and not be written again.
        return time.astimezone(UTC).timestamp() if time.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None
