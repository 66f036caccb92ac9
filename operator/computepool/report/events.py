"""Events on pools and pods (events.k8s.io/v1), sent in the background.

Bursts come first: events wait in a bounded queue until nothing new has happened for a moment, and are sent one at a
time. Events that do not fit into the queue are dropped and counted. The same event about the same object is sent once
in REPEAT_SECONDS. An event with a tally is always sent; while it waits, tallies of its kind are added to it. An event
with a key has a name that follows from the key, so that the next leader does not send it again.
"""

import asyncio
import logging
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, Final

import msgspec

from computepool.kube import paths
from computepool.kube.client import ApiClient
from computepool.kube.denial import with_advice
from computepool.kube.errors import AlreadyExists, ApiError
from computepool.model.api import PROVIDER_KEY
from computepool.model.reasons import Reason
from computepool.model.text import cut_bytes, rfc3339
from computepool.report.formatting import Tally
from computepool.report.logs import LimitedLog, log

QUEUE: Final = 2000
REPEAT_SECONDS: Final = 600.0
REMEMBERED: Final = 20_000
CALM_SECONDS: Final = 1.0
"""Without a new event for so long a burst is over. Until then, its patches and the work of the scheduler that follows
have the API server to themselves."""
PATIENCE_SECONDS: Final = 5.0
"""Events about a burst that takes longer are sent while it lasts."""
PACE_SECONDS: Final = 0.01
"""Between two events: others use the API server too."""
MAX_NOTE: Final = 1024
"""The API server's limit for an event's note, in bytes."""
MAX_INSTANCE: Final = 128
"""The API server's limit for reportingInstance."""
MAX_STEM: Final = 236
"""Characters of the subject's name in the event's: a name may have 253, and a point and 16 digits follow."""
CONTROLLER: Final = "computepool.io/operator"

_logger = logging.getLogger(__name__)
_Kind = tuple[str, str, str, str]
"""The subject's uid, the action, the reason and the tally's kind."""


class Event(msgspec.Struct, frozen=True):
    """One event about one object."""

    subject: Mapping[str, str]
    """An object reference: apiVersion, kind, name, namespace (empty for a pool), uid."""
    reason: Reason
    action: str
    note: str
    warning: bool = False
    state: bool = False
    """Whether it reports a state, which lasts until another event with the same action."""
    tally: Tally | None = None
    """The counts of the note, if it has any."""
    key: str = ""
    """Names the event, if it is not empty: the cluster keeps one event with the same key about the same object. So a
    new leader does not repeat what an earlier leader has sent."""
    provider: str = ""
    """The provider that it names, for programs: the annotation `computepool.io/provider`. Empty: no annotation."""


class EventSink:
    """Queues events and sends them."""

    def __init__(
        self,
        client: ApiClient,
        instance: str,
        *,
        wall: Callable[[], float],
        dropped: Callable[[], None],
        namespace: str = "default",
    ) -> None:
        """`instance` names this process; events about pools, which have no namespace, go to `namespace`."""
        self._client = client
        self._instance = instance
        self._wall = wall
        self._dropped = dropped
        self._namespace = namespace
        self._queue: asyncio.Queue[tuple[Event, float]] = asyncio.Queue(QUEUE)
        # The latest text and its time, by the subject's uid, the action and (except for states) the text.
        self._recent: OrderedDict[tuple[str, str, str], tuple[str, float]] = OrderedDict()
        # Events with a tally that wait to be sent.
        self._tallied: dict[_Kind, Event] = {}
        self._last_queued = float("-inf")
        self._failures = LimitedLog(_logger, time.monotonic)
        self._flushing = asyncio.Event()

    def queue(self, event: Event) -> None:
        """Queue an event unless the same was queued recently. A state that was left and is back is queued again."""
        now = self._wall()
        if event.tally is not None:
            self._add(event, event.tally, now)
            return
        text = f"{event.reason}: {event.note}"
        key = (event.subject.get("uid", ""), event.action, "" if event.state else text)
        last, at = self._recent.get(key, ("", float("-inf")))
        if (last == text and now - at < REPEAT_SECONDS) or not self._put(event, now):
            return
        self._recent[key] = (text, now)
        self._recent.move_to_end(key)
        if len(self._recent) > REMEMBERED:
            self._recent.popitem(last=False)

    async def run(self) -> None:
        """Send until cancelled. An event that can't be sent is logged and given up."""
        while True:
            event, at = await self._queue.get()
            try:
                await self._wait_for_calm(at)
                if event.tally is not None:
                    event = self._tallied.pop(_kind(event, event.tally))
                namespace = event.subject.get("namespace") or self._namespace
                await self._client.create(paths.events(namespace), self._body(event, at))
                await self._pause(PACE_SECONDS)
            except AlreadyExists:
                # An earlier leader has sent it.
                await self._pause(PACE_SECONDS)
            except ApiError as error:
                self._failures.warn("event not sent", reason=event.reason, error=with_advice(error))
            finally:
                self._queue.task_done()

    async def flush(self, seconds: float) -> None:
        """Send without pauses from now on; wait until all is sent, at most so many seconds."""
        self._flushing.set()
        try:
            async with asyncio.timeout(seconds):
                await self._queue.join()
        except TimeoutError:
            log(_logger, logging.WARNING, "events left unsent", events=self._queue.qsize())

    def _put(self, event: Event, now: float) -> bool:
        try:
            self._queue.put_nowait((event, now))
        except asyncio.QueueFull:
            self._dropped()
            return False
        self._last_queued = now
        return True

    def _add(self, event: Event, tally: Tally, now: float) -> None:
        kind = _kind(event, tally)
        waiting = self._tallied.get(kind)
        if waiting is None or waiting.tally is None:
            if self._put(event, now):
                self._tallied[kind] = event
            return
        total = waiting.tally.plus(tally)
        self._tallied[kind] = msgspec.structs.replace(waiting, tally=total, note=str(total))
        self._last_queued = now

    async def _wait_for_calm(self, queued: float) -> None:
        """Wait until no event was queued for a moment, but not for long after `queued`, and not while flushing."""
        while not self._flushing.is_set():
            now = self._wall()
            # A clock that was set back must not hold anything up.
            if not (0 <= now - self._last_queued < CALM_SECONDS and 0 <= now - queued < PATIENCE_SECONDS):
                return
            await self._pause(CALM_SECONDS - (now - self._last_queued))

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._flushing.wait()
        except TimeoutError:
            return

    def _body(self, event: Event, at: float) -> dict[str, Any]:
        annotations = {"annotations": {PROVIDER_KEY: event.provider}} if event.provider else {}
        return {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": f"{event.subject['name'][:MAX_STEM].rstrip('.-')}.{_suffix(event)}", **annotations},
            "eventTime": rfc3339(at, "microseconds"),
            "reportingController": CONTROLLER,
            "reportingInstance": self._instance[:MAX_INSTANCE],
            "action": event.action,
            "reason": str(event.reason),
            "regarding": dict(event.subject),
            "note": cut_bytes(event.note, MAX_NOTE),
            "type": "Warning" if event.warning else "Normal",
        }


def _suffix(event: Event) -> str:
    """Return the end of the event's name: 16 digits, which follow from the key if there is one."""
    if not event.key:
        return uuid.uuid4().hex[:16]
    return sha256(f"{event.subject.get('uid', '')} {event.key}".encode()).hexdigest()[:16]


def _kind(event: Event, tally: Tally) -> _Kind:
    return event.subject.get("uid", ""), event.action, event.reason, tally.kind
