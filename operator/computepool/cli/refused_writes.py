"""Writes that are refused, as the operator's events report them: evictions of a pod, and patches that send it away.

Only the operator asks for them.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

import msgspec

from computepool.act.pod_patcher import RETRY_CAP_SECONDS as PATCH_RETRY_SECONDS
from computepool.decide.move.eviction_retries import RETRY_CAP_SECONDS as EVICTION_RETRY_SECONDS
from computepool.kube import paths, wire
from computepool.kube.client import ApiClient
from computepool.kube.errors import Forbidden
from computepool.model.api import PROVIDER_KEY
from computepool.model.cluster import RefusedOffer
from computepool.model.reasons import Reason
from computepool.report.events import CONTROLLER, REPEAT_SECONDS

FRESH_SECONDS: Final = REPEAT_SECONDS + max(EVICTION_RETRY_SECONDS, PATCH_RETRY_SECONDS)
"""Within so many seconds, a refusal that goes on is reported again."""
_REASONS: Final = frozenset({Reason.EVICTION_REFUSED, Reason.WRITE_REFUSED})
_EVENT: Final = msgspec.json.Decoder(wire.Event)


class RefusedEviction(msgspec.Struct, frozen=True):
    """What events say about the refused eviction of one pod. Times are seconds since the epoch."""

    since: float
    """The first event, as far as events go back."""
    last: float
    note: str
    """The text of the last event: it names the disruption budget."""

    def is_active(self, now: float) -> bool:
        """Say whether the eviction is still refused, as far as events tell."""
        return now - self.last <= FRESH_SECONDS


class RefusedPatch(msgspec.Struct, frozen=True):
    """What events say about the refused patch that sends one pod to a provider."""

    offer: RefusedOffer
    note: str
    """The text of the last event: it has the API server's answer."""


class RefusedWrites(msgspec.Struct, frozen=True):
    """The refused writes to all pods of one name, by uid."""

    evictions: Mapping[str, RefusedEviction] = MappingProxyType({})
    patches: Mapping[str, tuple[RefusedPatch, ...]] = MappingProxyType({})
    """One for each provider."""


class _Told(NamedTuple):
    """An event of the operator."""

    at: float
    uid: str
    reason: str
    provider: str
    note: str


async def read_refused_writes(client: ApiClient, namespace: str, name: str) -> RefusedWrites | None:
    """Read the refused writes to all pods of that name; None where events may not be listed."""
    query = {"fieldSelector": f"involvedObject.kind=Pod,involvedObject.name={name}"}
    events: list[_Told] = []
    try:
        async for page in client.list_pages(paths.core_events(namespace), query):
            events += [event for raw in page.items if (event := _event(raw)) is not None]
    except Forbidden:
        return None
    return _refused_writes(sorted(events))


def _refused_writes(events: Iterable[_Told]) -> RefusedWrites:
    """Sum up events, the oldest first."""
    evictions: dict[str, RefusedEviction] = {}
    patches: dict[str, dict[str, RefusedPatch]] = {}
    for at, uid, reason, provider, note in events:
        if reason == Reason.EVICTION_REFUSED:
            evictions[uid] = RefusedEviction(evictions[uid].since if uid in evictions else at, at, note)
        elif provider:
            offer = RefusedOffer(provider, at, at + FRESH_SECONDS, times=2)
            patches.setdefault(uid, {})[provider] = RefusedPatch(offer, note)
    return RefusedWrites(evictions, {uid: tuple(found.values()) for uid, found in patches.items()})


def _event(raw: msgspec.Raw) -> _Told | None:
    """Return an event of the operator about a refused write; None for any other event."""
    try:
        event = _EVENT.decode(raw)
    except msgspec.MsgspecError:
        return None
    if event.reporting_component != CONTROLLER or event.event_time is None or event.reason not in _REASONS:
        return None
    provider = (event.metadata.annotations or {}).get(PROVIDER_KEY, "")
    return _Told(event.event_time.timestamp(), event.involved_object.uid, event.reason, provider, event.message or "")
