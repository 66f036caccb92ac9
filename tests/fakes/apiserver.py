"""A fake Kubernetes API server that can be told what to do wrong next.

It keeps objects of any resource with the real rules for versions (one counter, conflicts, compaction), and serves them
over HTTP on loopback: get, list with paging, watch with bookmarks and streaming lists, create, update, patch, delete,
selectors, `/status`, `/eviction` (gone at once). It knows no schemas, defaults, admission, disruption budgets or
garbage collection: what is sent is stored.

    async with FakeApiServer() as server:
        pod = server.create(PODS, {"metadata": {"name": "a", "namespace": "default"}})
        server.fault("list", status=500)             # the next list is refused
        server.fault("watch", then="cut", after=3)   # the next watch breaks in the middle of its fourth line
        ... ApiClient(static_access(server.url)) ...
        server.disturb("mute")                       # the watches open now fall silent
        server.compact()                             # older versions are Gone
        assert server.count("list", PODS) == 1       # what was asked for

Everything runs in the loop that entered the context; `tests.fakes.threaded` serves tests that have no loop.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import msgspec
from aiohttp import web

from tests.fakes import watching
from tests.fakes.faults import Fault, Faults, Mischief, Verb
from tests.fakes.objectstore import Backup, Change, JsonObject, ObjectStore, RefusedError
from tests.fakes.patches import PatchError, json_patched, merge_patched
from tests.fakes.paths import Kinds, Provider, parse
from tests.fakes.selectors import Predicate, selected
from tests.fakes.watching import Command, Watch

PODS = "/api/v1/pods"
NODES = "/api/v1/nodes"
EVENTS = "/api/v1/events"
LEASES = "/apis/coordination.k8s.io/v1/leases"
COMPUTEPOOLS = "/apis/computepool.io/v1alpha1/computepools"
POLICIES = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies"
BINDINGS = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings"

_PATCHES = {
    "application/json-patch+json": json_patched,
    "application/merge-patch+json": merge_patched,
}
_METADATA_ONLY = "as=PartialObjectMetadata"


@dataclass(slots=True)
class Call:
    """A request that came in; `status` is what it was answered with (0: no answer yet, or none at all)."""

    verb: Verb
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    status: int = 0

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return msgspec.json.decode(self.body)


@dataclass(frozen=True, slots=True)
class _Rest:
    """What a continue token stands for: the rest of a list as it was when its first page was read."""

    items: list[JsonObject]
    version: int
    page: int


@dataclass(slots=True, kw_only=True)
class Behaviour:
    """How the server is set up, as opposed to what goes wrong: may be changed at any time.

    `streaming_lists`: whether it knows sendInitialEvents. `bookmark_seconds`: how often watches get a bookmark (None:
    never by itself). `gone_in_event`: whether a watch from a compacted version is answered 200 with an ERROR event, as
    the watch cache does, or with status 410. `token`: the bearer token it insists on. `chop`: bytes a piece that
    watches send. `absent`: path prefixes that are not served (404).
    """

    streaming_lists: bool = True
    bookmark_seconds: float | None = None
    gone_in_event: bool = True
    token: str | None = None
    chop: int = 0
    absent: set[str] = field(default_factory=set)


class FakeApiServer:
    """See the module. An async context manager."""

    def __init__(self, behaviour: Behaviour | None = None, *, tls: ssl.SSLContext | None = None) -> None:
        """With `tls` (a server's context) it speaks HTTPS."""
        self.behaviour = behaviour or Behaviour()
        self.store = ObjectStore()
        self.kinds = Kinds()
        self.calls: list[Call] = []
        self.faults = Faults()
        self._tls = tls
        self._port = 0
        self._runner: web.AppRunner | None = None
        self._listening: socket.socket | None = None
        self._bookmarks: asyncio.Task[None] | None = None
        self._watches: set[Watch] = set()
        self._rests: dict[str, _Rest] = {}
        self._issued: set[str] = set()
        self.store.listeners.append(self._changed)

    # -- running

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        """Where it is served."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Serve, after a `stop` on the same port as before."""
        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.0)
        await self._runner.setup()
        self._listening = socket.create_server(("127.0.0.1", self._port))
        self._port = self._listening.getsockname()[1]
        await web.SockSite(self._runner, self._listening, ssl_context=self._tls).start()
        self._bookmarks = asyncio.create_task(self._send_bookmarks())

    async def stop(self) -> None:
        """Refuse connections, and break those there are; objects are kept."""
        if self._bookmarks is not None:
            self._bookmarks.cancel()
            await asyncio.wait([self._bookmarks])
        if self._runner is not None and self._listening is not None:
            # Closing a server forgets connections that are just being accepted: accept no more, and let those come in.
            asyncio.get_running_loop().remove_reader(self._listening)
            for _ in range(10):
                await asyncio.sleep(0)
            self.disturb("drop")
            await self._runner.cleanup()
        self._runner = self._listening = self._bookmarks = None

    # -- objects, as somebody else's client changes them

    def create(self, collection: str, item: JsonObject, namespace: str = "") -> JsonObject:
        """Store a new object, return it as stored."""
        return self.store.create(collection, item, namespace)

    def update(self, collection: str, item: JsonObject) -> JsonObject:
        """Store a new state of the object that the item's metadata names, whatever its version."""
        meta = {name: value for name, value in item["metadata"].items() if name != "resourceVersion"}
        return self.store.replace(collection, (meta.get("namespace", ""), meta["name"]), {**item, "metadata": meta})

    def delete(self, collection: str, name: str, namespace: str = "") -> JsonObject:
        """Delete an object."""
        return self.store.delete(collection, (namespace, name))

    def get(self, collection: str, name: str, namespace: str = "") -> JsonObject:
        """Return an object as stored."""
        return self.store.get(collection, (namespace, name))

    def items(self, collection: str, namespace: str = "") -> list[JsonObject]:
        """Return all objects of a collection."""
        return self.store.items(collection, namespace)

    # -- what goes wrong

    def fault(self, verb: Verb, **what: Any) -> None:
        """Tell what happens to the next request of this verb; the fields of `Fault` say what and to which."""
        self.faults.add(Fault(verb=verb, **what))

    def disturb(self, mischief: Mischief, collection: str = "", **what: Any) -> None:
        """Do something to the watches open now; `what` are further fields of `Command`."""
        for watch in self._watches:
            if collection in watch.collection:
                watch.put(Command(mischief, **what))

    def bookmark(self) -> None:
        """Send a bookmark with the present version to all watches that asked for bookmarks."""
        for watch in self._watches:
            watch.put_bookmark(self.store.version)

    def compact(self) -> None:
        """Forget the history and all continue tokens: what is older than now is Gone."""
        self.store.compact()
        self.expire_continue_tokens()

    def expire_continue_tokens(self) -> None:
        """Answer 410 to the next page of every list that is under way."""
        self._rests.clear()

    def backup(self) -> Backup:
        """Save the present state, for `restore`."""
        return self.store.backup()

    def restore(self, backup: Backup) -> None:
        """Go back to a saved state and its version; all watches break, as the API server restarts."""
        self.disturb("drop")
        self._rests.clear()
        self.store.restore(backup)

    # -- what was asked for

    @property
    def open_watches(self) -> int:
        """How many watches are being served."""
        return len(self._watches)

    def calls_of(self, verb: Verb, path: str = "") -> list[Call]:
        """Return the requests of a verb whose path contains `path`, in order."""
        return [call for call in self.calls if call.verb == verb and path in call.path]

    def count(self, verb: Verb, path: str = "") -> int:
        """Count the requests of a verb whose path contains `path`."""
        return len(self.calls_of(verb, path))

    # -- HTTP

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        target = parse(request.path)
        verb = target.verb(request.method, request.query)
        call = Call(verb, request.path, dict(request.query), dict(request.headers), await request.read())
        self.calls.append(call)
        rest = self._rests.get(request.query.get("continue", ""))
        fault = self.faults.take(verb, request.path, rest.page if rest else 1)
        try:
            refused = await self._faulty(request, fault)
            response = refused or await self._answer(request, target, call, fault)
        except RefusedError as error:
            response = _json(watching.status(error.status, error.reason, error.message), error.status)
        except PatchError as error:
            response = _json(watching.status(422, "Invalid", str(error)), 422)
        call.status = response.status
        return response

    async def _faulty(self, request: web.Request, fault: Fault | None) -> web.StreamResponse | None:
        if fault is None:
            return None
        await asyncio.sleep(fault.delay)
        if fault.gate is not None:
            await fault.gate.wait()
        if fault.first is not None:
            fault.first(self)
        if fault.reset and request.transport is not None:
            request.transport.abort()
            return web.Response()
        if fault.body is not None:
            return web.Response(body=fault.body, status=fault.status or 200)
        if fault.status is None:
            return None
        body = watching.status(fault.status, fault.reason, fault.message or "told to fail")
        headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
        return web.json_response(body, status=fault.status, headers=headers)

    async def _answer(
        self, request: web.Request, target: Provider, call: Call, fault: Fault | None
    ) -> web.StreamResponse:
        token = self.behaviour.token
        scheme, _, shown = request.headers.get("Authorization", "").partition(" ")
        if token is not None and (scheme.lower(), shown) != ("bearer", token):
            raise RefusedError(401, "Unauthorized", "Unauthorized")
        if any(request.path.startswith(prefix) for prefix in self.behaviour.absent):
            raise RefusedError(404, "NotFound", "the server could not find the requested resource")
        if not target.collection:
            return _json(self.kinds.discovery(request.path, self.behaviour.absent))
        if call.verb == "watch":
            return await self._watch(request, target, fault)
        if call.verb == "list":
            return self._list(request, target)
        return self._object(request, target, call)

    def _object(self, request: web.Request, target: Provider, call: Call) -> web.StreamResponse:
        if target.subresource == "eviction":
            options = call.json.get("deleteOptions", {})
            self.store.delete(target.collection, target.key, options.get("preconditions"))
            return _json({"kind": "Status", "apiVersion": "v1", "status": "Success"}, 201)
        if call.verb == "create":
            return _json(
                self._shown(target, request, self.store.create(target.collection, call.json, target.namespace)), 201
            )
        if call.verb == "get":
            return _json(self._shown(target, request, self.store.get(target.collection, target.key)))
        if call.verb == "delete":
            options = call.json if call.body else {}
            gone = self.store.delete(target.collection, target.key, options.get("preconditions"))
            return _json(self._shown(target, request, gone))
        before = self.store.get(target.collection, target.key)
        if call.verb == "patch":
            patched = _PATCHES.get(request.content_type)
            if patched is None:
                raise RefusedError(415, "UnsupportedMediaType", f"the body of the request was {request.content_type}")
            wanted = patched(before, call.json)
        else:
            wanted = call.json
        return _json(self._shown(target, request, self._store(target, before, wanted)))

    def _store(self, target: Provider, before: JsonObject, wanted: JsonObject) -> JsonObject:
        """Store what the endpoint may change: `/status` only the status, the object itself everything else."""
        meta = wanted.get("metadata", {})
        if target.subresource == "status":
            present = {**before["metadata"], **{k: meta[k] for k in ("resourceVersion", "uid") if k in meta}}
            wanted = {**before, "metadata": present, "status": wanted.get("status")}
        elif self.kinds.of(target.collection).status:
            wanted = {**wanted, "status": before.get("status")}
        wanted = {name: value for name, value in wanted.items() if value is not None}
        return self.store.replace(target.collection, target.key, wanted)

    def _shown(self, target: Provider, request: web.Request, item: JsonObject) -> JsonObject:
        if _METADATA_ONLY in request.headers.get("Accept", ""):
            return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": item["metadata"]}
        return {**self.kinds.meta(target.collection), **item}

    def _list(self, request: web.Request, target: Provider) -> web.Response:
        query = request.query
        token = query.get("continue")
        rest = self._rest_of(token) if token else _Rest(self._selected(request, target), self.store.version, 1)
        size = int(query.get("limit", 0)) or max(1, len(rest.items))
        metadata: JsonObject = {"resourceVersion": str(rest.version)}
        if len(rest.items) > size:
            following = f"token-{len(self._issued)}"
            self._issued.add(following)
            self._rests[following] = _Rest(rest.items[size:], rest.version, rest.page + 1)
            metadata |= {"continue": following, "remainingItemCount": len(rest.items) - size}
        kind = self.kinds.meta(target.collection)
        body = {"kind": kind["kind"] + "List", "apiVersion": kind["apiVersion"], "metadata": metadata}
        return _json({**body, "items": rest.items[:size]})

    def _rest_of(self, token: str) -> _Rest:
        if token not in self._issued:
            raise RefusedError(400, "BadRequest", "continue key is not valid")
        if token not in self._rests:
            raise RefusedError(410, "Expired", "The provided continue parameter is too old")
        return self._rests[token]

    def _selected(self, request: web.Request, target: Provider) -> list[JsonObject]:
        wanted = _wanted(request)
        return [item for item in self.store.items(target.collection, target.namespace) if wanted(item)]

    # -- watches

    async def _watch(self, request: web.Request, target: Provider, fault: Fault | None) -> web.StreamResponse:
        query = request.query
        watch = Watch(
            target.collection,
            target.namespace,
            _wanted(request),
            self.kinds.meta(target.collection),
            bookmarks=query.get("allowWatchBookmarks") in {"true", "1"},
        )
        try:
            self._replay(request, target, watch)
        except RefusedError as error:
            if not (self.behaviour.gone_in_event and error.status == 410):
                raise
            watch.put(Command("error", 410))
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        self._watches.add(watch)
        try:
            await response.prepare(request)
            await self._serve(watch, request, response, fault)
        finally:
            self._watches.discard(watch)
        return response

    async def _serve(
        self, watch: Watch, request: web.Request, response: web.StreamResponse, fault: Fault | None
    ) -> None:
        seconds = float(request.query.get("timeoutSeconds", 1800))
        try:
            async with asyncio.timeout(seconds):
                await watch.serve(request, response, fault, self.behaviour.chop)
        except TimeoutError:
            # The orderly end of a watch is the server's answer to timeoutSeconds.
            return
        except ConnectionError:
            # The client is gone.
            return

    def _replay(self, request: web.Request, target: Provider, watch: Watch) -> None:
        """Queue what comes before the present: all objects, or the changes since a version."""
        query = request.query
        initial = query.get("sendInitialEvents") == "true"
        if initial and not self.behaviour.streaming_lists:
            message = "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"
            raise RefusedError(422, "Invalid", f"ListOptions.meta.k8s.io is invalid: sendInitialEvents: {message}")
        if initial and query.get("resourceVersionMatch") != "NotOlderThan":
            raise RefusedError(422, "Invalid", "resourceVersionMatch: must be NotOlderThan with sendInitialEvents")
        since = query.get("resourceVersion", "")
        if initial or since in {"", "0"}:
            for item in self._selected(request, target):
                watch.put(watching.line("ADDED", {**watch.meta, **item}))
        else:
            for change in self.store.changes(target.collection, int(since)):
                watch.put_change(change)
        if initial and watch.bookmarks:
            watch.put(watching.bookmark(watch.meta, self.store.version, initial_end=True))

    def _changed(self, collection: str, change: Change) -> None:
        for watch in self._watches:
            if watch.collection == collection:
                watch.put_change(change)

    async def _send_bookmarks(self) -> None:
        while self.behaviour.bookmark_seconds is not None:
            await asyncio.sleep(self.behaviour.bookmark_seconds)
            self.bookmark()


def fill(server: FakeApiServer, collection: str, items: Iterable[JsonObject]) -> None:
    """Create many objects."""
    for item in items:
        server.create(collection, item)


def _wanted(request: web.Request) -> Predicate:
    return selected(request.query.get("fieldSelector", ""), request.query.get("labelSelector", ""))


def _json(body: Any, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/json")
