"""Evictions that disruption budgets refuse, as the operator's events report them: only the operator asks for them."""

from collections.abc import Mapping
from typing import Final

import msgspec

from computepool.decide.move.eviction_retries import RETRY_CAP_SECONDS
from computepool.kube import paths, wire
from computepool.kube.client import ApiClient
from computepool.kube.errors import Forbidden
from computepool.model.reasons import Reason
from computepool.report.events import CONTROLLER, REPEAT_SECONDS

FRESH_SECONDS: Final = REPEAT_SECONDS + RETRY_CAP_SECONDS
"""Within so many seconds, a refusal that goes on is reported again."""
_EVENT: Final = msgspec.json.Decoder(wire.Event)


class Refusal(msgspec.Struct, frozen=True):
    """What events say about the refused eviction of one pod. Times are seconds since the epoch."""

    since: float
    """The first event, as far as events go back."""
    last: float
    note: str
    """The text of the last event: it names the disruption budget."""

    def is_active(self, now: float) -> bool:
        """Say whether the eviction is still refused, as far as events tell."""
        return now - self.last <= FRESH_SECONDS


async def read_refusals(client: ApiClient, namespace: str, name: str) -> Mapping[str, Refusal] | None:
    """Read the refusals of all pods of that name, by uid; None where events may not be listed."""
    query = {"fieldSelector": f"involvedObject.kind=Pod,involvedObject.name={name},reason={Reason.EVICTION_REFUSED}"}
    events: list[tuple[float, str, str]] = []
    try:
        async for page in client.list_pages(paths.core_events(namespace), query):
            events += [event for raw in page.items if (event := _event(raw)) is not None]
    except Forbidden:
        return None
    found: dict[str, Refusal] = {}
    for at, uid, note in sorted(events):
        found[uid] = Refusal(found[uid].since if uid in found else at, at, note)
    return found


def _event(raw: msgspec.Raw) -> tuple[float, str, str] | None:
    """Return the time, the pod's uid and the note of an event of the operator; None for any other event."""
    try:
        event = _EVENT.decode(raw)
    except msgspec.MsgspecError:
        return None
    if event.reporting_component != CONTROLLER or event.event_time is None:
        return None
    return event.event_time.timestamp(), event.involved_object.uid, event.message or ""
