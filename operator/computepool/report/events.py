"""Events on pools and pods (events.k8s.io/v1), sent behind the work and never in its way.

Bursts come first: events wait in a bounded queue until nothing new has happened for a moment, are sent one at a time,
and are counted when dropped. The same event about the same object within a while is sent once; one that says how many
is added to those of its kind that still wait, and sent whatever was sent before, so that its numbers add up.
"""

import asyncio
import logging
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from computepool.kube import paths
from computepool.kube.client import ApiClient
from computepool.kube.errors import ApiError
from computepool.model.reasons import Reason
from computepool.model.text import cut_bytes, rfc3339
from computepool.report.logs import log
from computepool.report.tally import Tally

QUEUE: Final = 2000
REPEAT_SECONDS: Final = 600.0
REMEMBERED: Final = 20_000
CALM_SECONDS: Final = 1.0
"""Without a new event for so long a burst is over: until then its patches, and the scheduler's work that follows them,
have the API server to themselves."""
PATIENCE_SECONDS: Final = 5.0
"""A burst that goes on for longer is told of while it lasts."""
PACE_SECONDS: Final = 0.01
"""Between one event and the next: no reader is faster, and others use the API server too."""
MAX_NOTE: Final = 1024
"""The API server's limit for an event's note, in bytes."""
MAX_INSTANCE: Final = 128
"""The API server's limit for reportingInstance."""
MAX_STEM: Final = 236
"""What is left of the 253 characters of a name for the subject's own: a point and 16 digits follow."""
CONTROLLER: Final = "computepool.io/operator"

_logger = logging.getLogger(__name__)


class Event(msgspec.Struct, frozen=True):
    """One thing to tell about one object."""

    subject: Mapping[str, str]
    """An object reference: apiVersion, kind, name, namespace (empty for a pool), uid."""
    reason: Reason
    action: str
    note: str
    warning: bool = False
    state: bool = False
    """Whether it tells a state that lasts until another is told with the same action."""
    tally: Tally | None = None
    """What the note says in numbers, where it does."""


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
        # What was told last, and when, by the subject's uid, the action and what tells one event from another.
        self._told: OrderedDict[tuple[str, str, str], tuple[str, float]] = OrderedDict()
        # Events with numbers that wait to be sent, by the subject's uid, the action, the reason and the tally's kind.
        self._adding: dict[_Kind, Event] = {}
        self._last = float("-inf")
        self._hurried = asyncio.Event()

    def tell(self, event: Event) -> None:
        """Queue an event unless the same was told a while ago; a state that was left and is back is told again."""
        now = self._wall()
        if event.tally is not None:
            self._add(event, event.tally, now)
            return
        what = f"{event.reason}: {event.note}"
        key = (event.subject.get("uid", ""), event.action, "" if event.state else what)
        last, at = self._told.get(key, ("", float("-inf")))
        if last == what and now - at < REPEAT_SECONDS:
            return
        if not self._queued(event, now):
            return
        self._told[key] = (what, now)
        self._told.move_to_end(key)
        if len(self._told) > REMEMBERED:
            self._told.popitem(last=False)

    async def run(self) -> None:
        """Send until cancelled; an event that can't be sent is logged and let go."""
        while True:
            event, at = await self._queue.get()
            try:
                await self._calm(at)
                if event.tally is not None:
                    event = self._adding.pop(_kind(event, event.tally))
                await self._send(event, at)
                await self._unhurried(PACE_SECONDS)
            except ApiError as error:
                log(_logger, logging.WARNING, "event not sent", reason=event.reason, error=str(error))
            finally:
                self._queue.task_done()

    async def flush(self, seconds: float) -> None:
        """Wait until all is sent, at most so long."""
        self._hurried.set()
        try:
            async with asyncio.timeout(seconds):
                await self._queue.join()
        except TimeoutError:
            log(_logger, logging.WARNING, "events left unsent", events=self._queue.qsize())

    def _queued(self, event: Event, now: float) -> bool:
        try:
            self._queue.put_nowait((event, now))
        except asyncio.QueueFull:
            self._dropped()
            return False
        self._last = now
        return True

    def _add(self, event: Event, tally: Tally, now: float) -> None:
        kind = _kind(event, tally)
        waiting = self._adding.get(kind)
        if waiting is None or waiting.tally is None:
            if self._queued(event, now):
                self._adding[kind] = event
            return
        total = waiting.tally.plus(tally)
        self._adding[kind] = msgspec.structs.replace(waiting, tally=total, note=str(total))
        self._last = now

    async def _calm(self, told: float) -> None:
        """Wait until nothing new has been told for a moment, in a hurry not at all."""
        while not self._hurried.is_set():
            now = self._wall()
            # A clock that was set back must not hold anything up.
            if not (0 <= now - self._last < CALM_SECONDS and 0 <= now - told < PATIENCE_SECONDS):
                return
            await self._unhurried(CALM_SECONDS - (now - self._last))

    async def _unhurried(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._hurried.wait()
        except TimeoutError:
            return

    async def _send(self, event: Event, at: float) -> None:
        namespace = event.subject.get("namespace") or self._namespace
        await self._client.create(paths.events(namespace), self._body(event, at))

    def _body(self, event: Event, at: float) -> dict[str, Any]:
        return {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": f"{event.subject['name'][:MAX_STEM].rstrip('.-')}.{uuid.uuid4().hex[:16]}"},
            "eventTime": rfc3339(at, "microseconds"),
            "reportingController": CONTROLLER,
            "reportingInstance": self._instance[:MAX_INSTANCE],
            "action": event.action,
            "reason": str(event.reason),
            "regarding": dict(event.subject),
            "note": cut_bytes(event.note, MAX_NOTE),
            "type": "Warning" if event.warning else "Normal",
        }


_Kind = tuple[str, str, str, str]


def _kind(event: Event, tally: Tally) -> _Kind:
    return event.subject.get("uid", ""), event.action, event.reason, tally.kind
