"""A reflector keeps a sink equal to the API server's objects of one resource, whatever happens in between.

It lists, then watches from the list's resourceVersion. After a lost connection it resumes from the last event. If the
server no longer holds that version (410 Gone), it lists anew, and deletes from the sink what vanished in between.
The protocol: https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes

What always holds:
1. The sink gets every key's last change, in the server's order; an older state never follows a newer one.
2. Deletes are never guessed: a key is deleted on the server's word, or because a list *complete to its end* lacks it.
3. After `sync_finished` the keys of the sink are the keys of that list.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import msgspec

from computepool.kube import errors
from computepool.kube.client import ApiClient
from computepool.kube.denial import RESTORE, is_denied
from computepool.kube.retry import Backoff
from computepool.observe import watch_events
from computepool.observe.line_splitter import MAX_LINE, LineSplitter, LineTooLongError
from computepool.observe.loop_pacer import Pacer
from computepool.observe.unreadable import UnreadableObjects

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)

GRACE_SECONDS = 30.0
"""How much longer than asked for a watch may last before it is given up as stuck."""
BARREN_LIMIT = 3
"""After this many accepted watches in a row without an event, the reflector lists anew. A server restored from a backup
counts versions from an earlier number on, and sends no event until it has caught up."""
SETTLE_SECONDS = 1.0
"""How long a resumed watch must stay open to count as current without an event. If its version is Gone, the server says
so in an event, right after a good status."""
CAUGHT_UP = 64 * 1024
"""In bytes. After a larger chunk of a watch more data is waiting, so the next chunk is read at once."""
STALL_LIMIT = 2
"""After this many streaming lists in a row that broke off, the next attempt lists page by page."""

# Answers that mean there is no streaming list: not enabled, too old, or a proxy that refuses the query.
_REFUSALS = (400, 405, 406, 415, 422)


class Sink(Protocol[T_contra]):
    """Takes the objects. All methods return quickly without waiting; an exception ends the reflector.

    `at` is the monotonic time at which the bytes arrived.
    """

    def sync_started(self, at: float) -> None:
        """Begin a complete list. A second call before `sync_finished` means that the earlier attempt was given up."""

    def upsert(self, key: str, item: T_contra, at: float, /) -> None:
        """Store a new state. During a sync every object comes, equal or not, and counts as changed."""

    def delete(self, key: str, at: float) -> None:
        """Forget an object; only keys that were upserted come here."""

    def sync_finished(self, at: float) -> None:
        """Take what was upserted and not deleted as exactly the server's state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource(Generic[T]):
    """A resource to follow, and how to read its objects.

    `decode` turns the JSON of one object into a record; it gets a view of a larger buffer and must keep no reference to
    it. `key` names the object for ever (its uid, or namespace/name); `version` is its resourceVersion as an integer.
    `inexact` says what of an object counts otherwise than it is written, and how; empty if nothing does.
    `query` holds selectors such as {"fieldSelector": "spec.nodeName!="}.
    """

    path: str
    decode: Callable[[bytes], T]
    key: Callable[[T], str]
    version: Callable[[T], int]
    inexact: Callable[[T], str] = lambda _item: ""
    query: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The resource's plural name, for messages."""
        return self.path.rsplit("/", 1)[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """Times in seconds, sizes in objects (`page_size`) and bytes (`max_line`).

    The API server sends a bookmark every 60 s, so a watch that is silent for `inactivity` is dead.
    """

    page_size: int = 500
    inactivity: float = 75.0
    watch_seconds: float = 290.0
    list_timeout: float = 60.0
    backoff_base: float = 0.2
    backoff_cap: float = 30.0
    healthy_after: float = 10.0
    slice_seconds: float = 0.003
    max_line: int = MAX_LINE
    streaming: bool = True
    rest: float = 0.0
    """Events are read at most once in this many seconds, so they arrive later by that time. Lists are read at once."""


class Reflector(Generic[T]):
    """Follows one resource into one sink, until cancelled."""

    def __init__(
        self,
        client: ApiClient,
        resource: Resource[T],
        sink: Sink[T],
        *,
        tuning: Tuning | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        rng: random.Random | None = None,
    ) -> None:
        """Clock, sleep and random numbers are injected, so that tests need not wait."""
        self._client = client
        self._resource = resource
        self._sink = sink
        self._tuning = tuning or Tuning()
        self._clock = clock
        self._sleep = sleep
        self._rng = rng or random.Random()
        self._backoff = Backoff(base=self._tuning.backoff_base, cap=self._tuning.backoff_cap, rng=self._rng)
        self._pacer = Pacer(self._tuning.slice_seconds)
        self._request = f"watch {resource.path}"
        # The version held of each object the sink has; while a sync runs, also what that list has brought so far.
        self._known: dict[str, int] = {}
        self._seen: dict[str, int] | None = None
        self._current_at = float("-inf")
        self._live_since: float | None = None
        self._unread = UnreadableObjects(resource.name)
        self._barren = 0
        self._stalls = 0
        self.synced = asyncio.Event()
        self.resource_version: int | None = None
        self.last_contact: float | None = None
        self.last_error: str | None = None
        self.denied = False
        """Whether the last error was an answer that no later attempt gets past, such as a right that is missing."""
        self.streaming = self._tuning.streaming
        self.relists = 0
        self.watches = 0
        self.errors = 0
        self.undecodable = 0
        self.stale_events = 0

    @property
    def unread(self) -> str:
        """A sentence about the first object that could not be read; empty while every object could be read."""
        return self._unread.text

    @property
    def connected(self) -> bool:
        """Whether a watch is open, so that changes arrive as they happen."""
        return self._live_since is not None

    def age(self, now: float) -> float:
        """Return the seconds since the sink was last complete and connected; infinite before the first sync.

        It grows while the connection is lost and while a list is repeated. On a healthy but quiet watch it reaches
        about 60 s, the interval of bookmarks.
        """
        current_at = self._current_at
        if self._live_since is not None and now - self._live_since >= SETTLE_SECONDS:
            current_at = max(current_at, self._live_since)
        return now - current_at

    async def run(self) -> None:
        """Follow the resource until cancelled. Every failure is counted, kept in `last_error`, and tried again."""
        while True:
            error: errors.ApiError | None = None
            try:
                await self._attempt()
            except errors.ApiError as failed:
                error = failed
                self._note(failed)
            await self._pause(error)

    async def _attempt(self) -> None:
        """Make one connection: a list, or a watch, or (streaming) both."""
        if self._barren >= BARREN_LIMIT and self.resource_version is not None:
            self._forget()
        if self.resource_version is not None:
            await self._watch({"resourceVersion": str(self.resource_version)})
        elif self.streaming and self._stalls < STALL_LIMIT:
            await self._list_streaming()
        else:
            await self._list_paged()

    def _note(self, error: errors.ApiError) -> None:
        self.last_error = self._explained(error)
        self.denied = is_denied(error)
        if isinstance(error, errors.Gone) and self.resource_version is not None:
            self._forget()
        else:
            self.errors += 1

    def _forget(self) -> None:
        """Give up the position in the stream of events: only a new list shows what happened since."""
        self.resource_version = None
        self._barren = 0
        self.relists += 1

    async def _pause(self, error: errors.ApiError | None) -> None:
        """Wait before the next attempt, except after a complete list or a watch that ended in good order."""
        since, self._live_since = self._live_since, None
        lived = 0.0 if since is None else self._clock() - since
        healthy = lived >= self._tuning.healthy_after
        if healthy:
            self._backoff.reset()
        if since is not None and lived >= SETTLE_SECONDS and self.resource_version is not None:
            self._current_at = max(self._current_at, since)
        if error is None and (healthy or since is None):
            return
        await self._sleep(self._backoff.next(error))

    def _explained(self, error: errors.ApiError) -> str:
        """Explain the failure, and name the next step."""
        name = self._resource.name
        doing = f"cannot {'list' if self.resource_version is None else 'watch'} {name}"
        if isinstance(error, errors.Forbidden):
            check = f"check that the ClusterRole allows list and watch on {name}: {RESTORE}"
            return f"{doing}: forbidden: {error.message}; {check}"
        if isinstance(error, errors.Unauthorized):
            return f"{doing}: the credentials are not accepted: {error.message}; check the token or the kubeconfig"
        if isinstance(error, errors.NotFound):
            return f"{doing}: the API server does not serve {self._resource.path}; check that its CRD is installed"
        return f"{doing}: {error}"

    # -- listing

    async def _list_paged(self) -> None:
        version = ""
        self._sync_started(self._clock())
        pages = self._client.list_pages(
            self._resource.path,
            self._resource.query,
            limit=self._tuning.page_size,
            within=self._tuning.list_timeout,
        )
        async for page in pages:
            at = self.last_contact = self._clock()
            version = page.version
            for raw in page.items:
                self._upsert(raw, at)
                if self._pacer.due():
                    await self._pacer.rest()
        await self._sync_finished(watch_events.version_number(version, self._request), self._clock())

    async def _list_streaming(self) -> None:
        """List by a watch that first sends all objects, and goes on as a watch."""
        try:
            await self._watch({"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}, initial=True)
            if self.resource_version is None:
                raise errors.Unavailable(200, "Incomplete", "the streaming list ended early", request=self._request)
        except errors.ApiError as error:
            if self.resource_version is not None:
                raise
            self._stalls += 1
            if error.status not in _REFUSALS:
                raise
            self.streaming = False

    def _works_again(self) -> None:
        """Clear the last error, except that of an object that could not be read."""
        self.last_error = self._unread.text or None
        self.denied = False

    def _sync_started(self, at: float) -> None:
        self._seen = {}
        self._unread.list_started()
        self._sink.sync_started(at)

    async def _sync_finished(self, version: int, at: float) -> None:
        seen, self._seen = self._seen or {}, None
        for key in [key for key in self._known if key not in seen]:
            self._sink.delete(key, at)
            if self._pacer.due():
                await self._pacer.rest()
        self._known = seen
        self._unread.list_finished()
        self.resource_version = version
        self._sink.sync_finished(at)
        self._current_at = at
        self._stalls = 0
        self._works_again()
        self.synced.set()

    # -- watching

    async def _watch(self, query: Mapping[str, str], *, initial: bool = False) -> None:
        seconds = int(self._tuning.watch_seconds * self._rng.uniform(1.0, 2.0))
        params = {**self._resource.query, **query, "allowWatchBookmarks": "true", "timeoutSeconds": str(seconds)}
        self.watches += 1
        async with self._client.watch(
            self._resource.path, params, inactivity=self._tuning.inactivity, deadline=seconds + GRACE_SECONDS
        ) as chunks:
            at = self.last_contact = self._clock()
            self._barren += 1
            if initial:
                self._sync_started(at)
            else:
                self._live_since = at
                self._works_again()
            lines = LineSplitter(self._tuning.max_line)
            async for chunk in chunks:
                at = self.last_contact = self._clock()
                for line in self._lines(lines, chunk):
                    listed = self._handle(line, at)
                    if listed is not None:
                        await self._sync_finished(listed, at)
                        self._live_since = at
                    if self._pacer.due():
                        await self._pacer.rest()
                if self._tuning.rest and self.resource_version is not None and len(chunk) < CAUGHT_UP:
                    await chunks.rest(self._tuning.rest)

    def _lines(self, lines: LineSplitter, chunk: bytes) -> list[bytes]:
        try:
            return lines.feed(chunk)
        except LineTooLongError as error:
            raise errors.garbled(error, request=self._request) from error

    def _handle(self, line: bytes, at: float) -> int | None:
        """Take in one event; return the list's version if the event ends a streaming list."""
        event = watch_events.event(line, self._request)
        if event.type == "ERROR":
            raise watch_events.error(event.object, self._request)
        self._barren = 0
        if self.resource_version is not None:
            self._current_at = at
        if event.type == "BOOKMARK":
            return self._bookmark(watch_events.bookmark(event.object, self._request))
        if event.type == "DELETED":
            self._delete(event.object, at)
        else:
            self._upsert(event.object, at)
        return None

    def _bookmark(self, bookmark: watch_events.Bookmark) -> int | None:
        if self.resource_version is not None:
            self._advance(bookmark.version)
            return None
        if bookmark.initial_end:
            return bookmark.version
        # A server with streaming lists sends no other bookmark before the one that ends the list.
        raise errors.BadRequest(400, "NoStreamingList", "sendInitialEvents was ignored", request=self._request)

    # -- objects

    def _upsert(self, raw: bytes, at: float) -> None:
        read = self._read(raw)
        if read is None:
            return
        key, version, item = read
        if version <= self._held(key):
            self.stale_events += 1
            return
        if self._seen is not None:
            self._seen[key] = version
        self._known[key] = version
        self._advance(version)
        self._sink.upsert(key, item, at)

    def _delete(self, raw: bytes, at: float) -> None:
        read = self._read(raw)
        if read is None:
            self._unread.forget(raw)
            return
        if self._unread:
            self._unread.forget(raw)
        key, version, _ = read
        held = self._known if self._seen is None else self._seen
        self._advance(version)
        # DELETED carries the version of the deletion. An older version than the known one means an earlier object.
        if held.get(key, version + 1) > version:
            self.stale_events += 1
            return
        del held[key]
        self._known.pop(key, None)
        self._sink.delete(key, at)

    def _held(self, key: str) -> int:
        """Return the version that an event must exceed to count.

        Events come in the order of their versions, so for an unknown key it is the last version seen of any key.
        Otherwise an event that is sent again after its object's end would bring the object back. A list starts empty.
        """
        if self._seen is not None:
            return self._seen.get(key, -1)
        return self._known.get(key, self.resource_version or 0)

    def _advance(self, version: int) -> None:
        if self.resource_version is not None and version > self.resource_version:
            self.resource_version = version

    def _read(self, raw: bytes) -> tuple[str, int, T] | None:
        """Decode an object, or count it as undecodable: one bad object must not hide all others."""
        resource = self._resource
        try:
            item = resource.decode(raw)
            if inexact := resource.inexact(item):
                self._unread.note_in_part(raw, inexact)
                self.last_error = self._unread.text
            elif self._unread:
                self._unread.forget(raw)
            return resource.key(item), resource.version(item), item
        except (msgspec.ValidationError, ValueError, ArithmeticError) as error:
            self.undecodable += 1
            self._unread.note(raw, error)
            self.last_error = self._unread.text
            return None
