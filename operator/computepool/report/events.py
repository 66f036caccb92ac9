"""Events on pools and pods (events.k8s.io/v1), sent behind the work and never in its way.

Bursts come first: events wait in a bounded queue, are sent one at a time, and are counted when dropped. The same event
about the same object within a while is sent once.
"""

import asyncio
import logging
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from computepool.kube.client import ApiClient
from computepool.kube.errors import ApiError
from computepool.model.reasons import Reason
from computepool.report.logs import log

QUEUE: Final = 2000
REPEAT_SECONDS: Final = 600.0
REMEMBERED: Final = 20_000
MAX_NOTE: Final = 1024
"""The API server's limit for an event's note, in characters."""
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
        self._told: OrderedDict[tuple[str, str, str], float] = OrderedDict()

    def tell(self, event: Event) -> None:
        """Queue an event unless the same was told a while ago."""
        now = self._wall()
        key = (event.subject.get("uid", ""), event.reason, event.note)
        if now - self._told.get(key, float("-inf")) < REPEAT_SECONDS:
            return
        self._told[key] = now
        self._told.move_to_end(key)
        if len(self._told) > REMEMBERED:
            self._told.popitem(last=False)
        try:
            self._queue.put_nowait((event, now))
        except asyncio.QueueFull:
            self._dropped()

    async def run(self) -> None:
        """Send until cancelled; an event that can't be sent is logged and let go."""
        while True:
            event, at = await self._queue.get()
            try:
                await self._send(event, at)
            except ApiError as error:
                log(_logger, logging.WARNING, "event not sent", reason=event.reason, error=str(error))
            finally:
                self._queue.task_done()

    async def flush(self, seconds: float) -> None:
        """Wait until all is sent, at most so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._queue.join()
        except TimeoutError:
            log(_logger, logging.WARNING, "events left unsent", events=self._queue.qsize())

    async def _send(self, event: Event, at: float) -> None:
        namespace = event.subject.get("namespace") or self._namespace
        await self._client.create(f"/apis/events.k8s.io/v1/namespaces/{namespace}/events", self._body(event, at))

    def _body(self, event: Event, at: float) -> dict[str, Any]:
        note = event.note if len(event.note) <= MAX_NOTE else event.note[: MAX_NOTE - 1] + "…"
        return {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": f"{event.subject['name']}.{uuid.uuid4().hex[:16]}"},
            "eventTime": datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "reportingController": CONTROLLER,
            "reportingInstance": self._instance,
            "action": event.action,
            "reason": str(event.reason),
            "regarding": dict(event.subject),
            "note": note,
            "type": "Warning" if event.warning else "Normal",
        }
