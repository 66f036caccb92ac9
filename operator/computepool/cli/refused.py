"""What events say of a pod's eviction that a disruption budget refuses: only the running operator has asked for it."""

from collections.abc import Iterable
from typing import Final

import msgspec

from computepool.decide.move.limits import RETRY_CAP_SECONDS, RETRY_SECONDS, RETRY_SHARE
from computepool.kube import paths, wire
from computepool.kube.client import ApiClient
from computepool.kube.errors import Forbidden
from computepool.model.reasons import Reason
from computepool.report.events import CONTROLLER, REPEAT_SECONDS

FRESH_SECONDS: Final = REPEAT_SECONDS + RETRY_CAP_SECONDS
"""A refusal that goes on is told again by then."""


_EVENT: Final = msgspec.json.Decoder(wire.Event)


class Refusal(msgspec.Struct, frozen=True):
    """One time that the operator told of a refused eviction."""

    uid: str
    """The pod's."""
    at: float
    note: str


class Standing(msgspec.Struct, frozen=True):
    """A refusal that goes on."""

    seconds: float
    """For how long, as far as events go back."""
    again: float
    """Seconds within which it is tried again."""
    note: str
    """What was told last: it names the disruption budget."""


async def read_refusals(client: ApiClient, namespace: str, name: str) -> tuple[Refusal, ...] | None:
    """Read what was told of a pod of that name; None where events may not be listed."""
    query = {"fieldSelector": f"involvedObject.kind=Pod,involvedObject.name={name},reason={Reason.EVICTION_REFUSED}"}
    found: list[Refusal] = []
    try:
        async for page in client.list_pages(paths.core_events(namespace), query):
            found += [refusal for raw in page.items if (refusal := _refusal(raw)) is not None]
    except Forbidden:
        return None
    return tuple(sorted(found, key=lambda refusal: refusal.at))


def standing(refusals: Iterable[Refusal], uid: str, now: float) -> Standing | None:
    """Return the refusal of a pod that goes on by all that was told of it; None where none does."""
    own = [refusal for refusal in refusals if refusal.uid == uid]
    if not own or now - own[-1].at > FRESH_SECONDS:
        return None
    seconds = max(0.0, now - own[0].at)
    again = min(RETRY_CAP_SECONDS, max(RETRY_SECONDS, seconds * RETRY_SHARE))
    return Standing(seconds, again, own[-1].note)


def _refusal(raw: msgspec.Raw) -> Refusal | None:
    try:
        event = _EVENT.decode(raw)
    except msgspec.MsgspecError:
        return None
    if event.reporting_component != CONTROLLER or event.event_time is None:
        return None
    return Refusal(event.involved_object.uid, event.event_time.timestamp(), event.message or "")
