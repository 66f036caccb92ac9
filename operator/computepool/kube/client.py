"""A thin, fast HTTP client to the Kubernetes API: bytes in, bytes out, typed errors.

The official client's models cost 25 times the CPU and memory of this on large lists.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any, Final, Self
from urllib.parse import urlencode

import aiohttp
import msgspec
import yarl

from computepool.kube import errors, paths, wire
from computepool.kube.credentials import Access, AccessError, Credentials

_logger = logging.getLogger(__name__)

Body = bytes | Mapping[str, Any] | list[Any] | msgspec.Struct
"""A request's body: JSON bytes, or a value that msgspec encodes."""

KEEPALIVE_SECONDS = 60.0
"""The API server ends idle connections after 90 s. The client ends them before, so that no write meets such an end."""
CONNECT_SECONDS = 10.0
USER_AGENT: Final = f"computepool/{version('computepool')}"

_JSON: Final = "application/json"
_JSON_PATCH: Final = "application/json-patch+json"
_MERGE_PATCH: Final = "application/merge-patch+json"
_METADATA_ONLY: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_METADATA_LIST: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_PATH: Final = re.compile(r"[-A-Za-z0-9._~:/]+")
"""With a question mark or a hash sign in it, a request would be about another object, or lose its query parameters."""
_TRANSPORT_ERRORS: Final = (aiohttp.ClientError, TimeoutError, OSError)


class Page(msgspec.Struct, frozen=True):
    """One page of a list: the objects' JSON (views of the page's bytes), and the list's resourceVersion."""

    items: list[msgspec.Raw]
    version: str


_LIST: Final = msgspec.json.Decoder(wire.ObjectList)
_encode = msgspec.json.Encoder().encode


class ApiClient:
    """Calls to one API server over a pool of connections. Use it as an async context manager, or call `close()`.

    Every method raises only `errors.ApiError` and its subclasses (and CancelledError). Paths are not escaped: a path
    with a character that no name in Kubernetes has is refused. Query parameters are escaped.
    """

    def __init__(self, access: Access, *, pool_size: int = 64, timeout: float = 15.0) -> None:
        """`pool_size` limits the calls in flight (others wait, in order); `timeout` in seconds is a call's default."""
        self._access = access
        self._pool_size = pool_size
        self._timeout = timeout
        # By whether the session is for lists and watches.
        self._sessions: dict[bool, aiohttp.ClientSession] = {}
        self._closed = False

    async def __aenter__(self) -> Self:
        """Connections are opened when they are needed."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close all connections."""
        await self.close()

    async def close(self) -> None:
        """Close all connections; calls in flight and later calls raise Unavailable."""
        self._closed = True
        while self._sessions:
            await self._sessions.popitem()[1].close()

    async def get(self, path: str, params: Mapping[str, str] | None = None, *, within: float | None = None) -> bytes:
        """Return the answer's body. `within` (here and below: seconds) replaces the client's timeout."""
        return await self._call("GET", path, params, within=within)

    async def create(
        self, path: str, body: Body, params: Mapping[str, str] | None = None, *, within: float | None = None
    ) -> bytes:
        """POST an object to its collection; return it as stored."""
        return await self._call("POST", path, params, body, within=within)

    async def replace(
        self, path: str, body: Body, params: Mapping[str, str] | None = None, *, within: float | None = None
    ) -> bytes:
        """PUT an object. If its metadata.resourceVersion is not the stored version, raise Conflict."""
        return await self._call("PUT", path, params, body, within=within)

    async def json_patch(
        self,
        path: str,
        ops: Body,
        params: Mapping[str, str] | None = None,
        *,
        within: float | None = None,
        metadata_only: bool = False,
    ) -> bytes:
        """Apply RFC 6902 operations; a failed `test` is Invalid. `metadata_only`: the answer lacks spec and status."""
        return await self._call(
            "PATCH", path, params, ops, _JSON_PATCH, within, _METADATA_ONLY if metadata_only else ""
        )

    async def merge_patch(
        self,
        path: str,
        body: Body,
        params: Mapping[str, str] | None = None,
        *,
        within: float | None = None,
        metadata_only: bool = False,
    ) -> bytes:
        """Apply an RFC 7386 patch. `metadata_only`: the answer lacks spec and status."""
        return await self._call(
            "PATCH", path, params, body, _MERGE_PATCH, within, _METADATA_ONLY if metadata_only else ""
        )

    async def delete(
        self,
        path: str,
        body: Body | None = None,
        params: Mapping[str, str] | None = None,
        *,
        within: float | None = None,
    ) -> bytes:
        """DELETE an object. `body` is DeleteOptions; if its `preconditions` are not met, raise Conflict."""
        return await self._call("DELETE", path, params, body, within=within)

    async def list_pages(
        self,
        path: str,
        params: Mapping[str, str] | None = None,
        *,
        limit: int = 500,
        within: float = 60.0,
        metadata_only: bool = False,
    ) -> AsyncIterator[Page]:
        """Yield the pages of a list, all of one resourceVersion. `within`: seconds for each page.

        `metadata_only`: objects lack spec and status.

        Raises Gone if the continue token has expired: the yielded pages are not the whole list then.
        """
        query = {**(params or {}), "limit": str(limit)}
        while True:
            accept = _METADATA_LIST if metadata_only else ""
            answer = await self._call("GET", path, query, within=within, accept=accept, streams=True)
            listed = errors.decoded(_LIST, answer, request=f"GET {path}")
            yield Page(listed.items or [], listed.metadata.resource_version)
            if not listed.metadata.continue_:
                return
            query["continue"] = listed.metadata.continue_

    @asynccontextmanager
    async def watch(
        self,
        path: str,
        params: Mapping[str, str] | None = None,
        *,
        inactivity: float = 75.0,
        deadline: float | None = None,
    ) -> AsyncIterator[Chunks]:
        """Open a watch and give its bytes as they come, cut anywhere; the iteration ends when the server ends it.

        Raises Unavailable if the connection breaks, if nothing comes for `inactivity` seconds (the other end may be
        gone without an end of the connection), or after `deadline` seconds.
        """
        request = f"watch {path}"
        limits = aiohttp.ClientTimeout(total=deadline, sock_connect=CONNECT_SECONDS, sock_read=inactivity)
        response = await self._send("GET", path, {**(params or {}), "watch": "1"}, None, {}, limits, streams=True)
        try:
            if response.status != 200:
                raise await _error(response, request)
            yield Chunks(response, request)
        finally:
            _hang_up(response)

    async def keep_warm(self, connections: int) -> None:
        """Keep this number of connections open until cancelled.

        A TLS handshake takes longer than a patch, and a burst begins with many calls at once.
        """
        while True:
            await self.warm(connections)
            await asyncio.sleep(KEEPALIVE_SECONDS / 2)

    async def warm(self, connections: int) -> None:
        """Open this number of connections, or use the open ones, by as many small calls at once."""
        await asyncio.gather(*(self._warm() for _ in range(connections)))

    async def _warm(self) -> None:
        try:
            await self._call("GET", paths.VERSION, None)
        except errors.ApiError as error:
            # Other calls will meet and report the same error.
            _logger.debug("connection not kept warm: %s", error)

    async def _call(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        body: Body | None = None,
        content_type: str = _JSON,
        within: float | None = None,
        accept: str = "",
        *,
        streams: bool = False,
    ) -> bytes:
        request = f"{method} {path}"
        headers = {"Content-Type": content_type} if body is not None else {}
        if accept:
            headers["Accept"] = accept
        limits = aiohttp.ClientTimeout(total=self._timeout if within is None else within)
        content = _encode(body) if body is not None and not isinstance(body, bytes) else body
        response = await self._send(method, path, params, content, headers, limits, streams=streams)
        async with response:
            if response.status >= 300:
                raise await _error(response, request)
            try:
                return await response.read()
            except _TRANSPORT_ERRORS as error:
                raise errors.no_answer(error, request=request) from error

    async def _send(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        body: bytes | None,
        headers: dict[str, str],
        limits: aiohttp.ClientTimeout,
        *,
        streams: bool,
    ) -> aiohttp.ClientResponse:
        """Send a request and wait for the answer's head; after a 401, once more with renewed credentials."""
        if not _PATH.fullmatch(path):
            raise errors.BadRequest(0, "BadPath", "no object has such a name", request=f"{method} {path!r}")
        session = self._session(streams)
        target = f"{path}?{urlencode(params)}" if params else path

        async def attempt(credentials: Credentials) -> aiohttp.ClientResponse:
            authorization = credentials.authorization
            return await session.request(
                method,
                yarl.URL(credentials.host + target, encoded=True),
                data=body,
                headers=headers if authorization is None else {**headers, "Authorization": authorization},
                timeout=limits,
                ssl=credentials.tls or True,
                server_hostname=credentials.server_hostname,
                proxy=credentials.proxy,
                allow_redirects=False,
            )

        try:
            credentials = await self._credentials()
            response = await attempt(credentials)
            if response.status == 401 and await self._access.renew(credentials):
                response.release()
                response = await attempt(self._access.credentials)
        except AccessError as error:
            raise errors.Unauthorized(0, "NoCredentials", str(error), request=f"{method} {path}") from error
        except _TRANSPORT_ERRORS as error:
            raise errors.no_answer(error, request=f"{method} {path}") from error
        return response

    async def _credentials(self) -> Credentials:
        if self._access.expired():
            await self._access.renew(self._access.credentials)
        return self._access.credentials

    def _session(self, streams: bool) -> aiohttp.ClientSession:
        """Return the session for short calls, or the session for lists and watches, which never wait for calls."""
        if self._closed:
            # A session opened now would never be closed.
            raise errors.Unavailable(0, "Closed", "the client is closed", request="a call")
        if streams not in self._sessions:
            self._sessions[streams] = _new_session(limit=0 if streams else self._pool_size)
        return self._sessions[streams]


class Chunks:
    """The body of a watch as it comes, made by `ApiClient.watch`."""

    def __init__(self, response: aiohttp.ClientResponse, request: str) -> None:
        """Errors name the `request`."""
        self._response = response
        self._content = response.content
        self._request = request

    def __aiter__(self) -> Self:
        """Iterate over the bytes as they come."""
        return self

    async def __anext__(self) -> bytes:
        """Wait for the next bytes. Raises Unavailable."""
        try:
            chunk = await self._content.readany()
        except _TRANSPORT_ERRORS as error:
            raise errors.no_answer(error, request=self._request) from error
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def rest(self, seconds: float) -> None:
        """Let the kernel buffer the bytes for `seconds`.

        To wake up for each of hundreds of small events a second costs several times as much as to read them.
        """
        connection = self._response.connection
        transport = connection.transport if connection is not None else None
        # Under TLS the transport below must stop reading, because a paused TLS transport still collects each piece.
        # asyncio has no public way to the transport below. If the private way fails, pause the TLS transport.
        transport = getattr(getattr(transport, "_ssl_protocol", None), "_transport", transport)
        if transport is None or transport.is_closing():
            return
        transport.pause_reading()
        try:
            await asyncio.sleep(seconds)
        finally:
            if not transport.is_closing():
                transport.resume_reading()


def _hang_up(response: aiohttp.ClientResponse) -> None:
    """End a connection at once: the orderly end of TLS would wait for a peer that may be gone."""
    connection = response.connection
    if connection is not None and connection.transport is not None:
        connection.transport.abort()
    response.close()


def _new_session(limit: int) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=limit, keepalive_timeout=KEEPALIVE_SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={
            "Accept": _JSON,
            # Compression doubles the time of a large list, which the network does not limit.
            "Accept-Encoding": "identity",
            "User-Agent": USER_AGENT,
        },
        auto_decompress=False,
    )


async def _error(response: aiohttp.ClientResponse, request: str) -> errors.ApiError:
    try:
        body = await response.read()
    except _TRANSPORT_ERRORS:
        # The status line is enough without the message.
        body = b""
    return errors.from_answer(response.status, body, request=request, retry_after=response.headers.get("Retry-After"))
