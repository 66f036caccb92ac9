"""A thin, fast HTTP client to the Kubernetes API: bytes in, bytes out, typed errors.

The official client's models cost 25 times the CPU and memory of this on large lists.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlencode

import aiohttp
import msgspec
import yarl

from computepool.kube import errors, paths, wire
from computepool.kube.access import Access, AccessError, Credentials

_logger = logging.getLogger(__name__)

Body = bytes | Mapping[str, Any] | list[Any] | msgspec.Struct
"""A request's body: JSON bytes as they are, or something msgspec encodes."""

KEEPALIVE_SECONDS = 60.0
"""The API server ends idle connections after 90 s: leave first, so that no write meets a connection being closed."""
CONNECT_SECONDS = 10.0
USER_AGENT: Final = f"computepool/{version('computepool')}"

_JSON: Final = "application/json"
_JSON_PATCH: Final = "application/json-patch+json"
_MERGE_PATCH: Final = "application/merge-patch+json"
_METADATA_ONLY: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
# aiohttp's connection errors are OSErrors or ClientErrors; a garbled answer is a ClientError.
_TRANSPORT_ERRORS: Final = (aiohttp.ClientError, TimeoutError, OSError)


class Page(msgspec.Struct, frozen=True):
    """One page of a list: the objects' JSON (views of the page's bytes), and the list's resourceVersion."""

    items: list[msgspec.Raw]
    version: str


_LIST: Final = msgspec.json.Decoder(wire.ObjectList)
_encode = msgspec.json.Encoder().encode


class ApiClient:
    """Calls to one API server over a pool of connections. Use as an async context manager, or `close()` it.

    Every method raises only `errors.ApiError` and its subclasses (and CancelledError). Paths are the API's own and
    must need no escaping, as is true of all names that Kubernetes allows; query parameters are escaped here.
    """

    def __init__(self, access: Access, *, pool_size: int = 64, timeout: float = 15.0) -> None:
        """`pool_size` bounds the calls in flight (others wait, in order); `timeout` in seconds is a call's default."""
        self._access = access
        self._pool_size = pool_size
        self._timeout = timeout
        self._calls: aiohttp.ClientSession | None = None
        self._streams: aiohttp.ClientSession | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        """Connections are opened as they are needed."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections."""
        await self.close()

    async def close(self) -> None:
        """Close all connections; calls in flight end as Unavailable, and so do later ones."""
        self._closed = True
        for session in (self._calls, self._streams):
            if session is not None:
                await session.close()
        self._calls = self._streams = None

    async def get(self, path: str, params: Mapping[str, str] | None = None, *, within: float | None = None) -> bytes:
        """Return the answer's body. `within` (here and below: seconds) replaces the client's timeout."""
        return await self._call("GET", path, params, within=within)

    async def create(
        self, path: str, body: Body, params: Mapping[str, str] | None = None, *, within: float | None = None
    ) -> bytes:
        """POST an object to its collection; returns it as stored."""
        return await self._call("POST", path, params, _bytes(body), _JSON, within=within)

    async def replace(
        self, path: str, body: Body, params: Mapping[str, str] | None = None, *, within: float | None = None
    ) -> bytes:
        """PUT an object; with metadata.resourceVersion in it, only over exactly that version (else Conflict)."""
        return await self._call("PUT", path, params, _bytes(body), _JSON, within=within)

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
        return await self._call("PATCH", path, params, _bytes(ops), _JSON_PATCH, within, metadata_only)

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
        return await self._call("PATCH", path, params, _bytes(body), _MERGE_PATCH, within, metadata_only)

    async def delete(
        self,
        path: str,
        body: Body | None = None,
        params: Mapping[str, str] | None = None,
        *,
        within: float | None = None,
    ) -> bytes:
        """DELETE an object; `body` is DeleteOptions, such as `{"preconditions": {"uid": ...}}` (else Conflict)."""
        return await self._call("DELETE", path, params, None if body is None else _bytes(body), _JSON, within=within)

    async def list_pages(
        self, path: str, params: Mapping[str, str] | None = None, *, limit: int = 500, within: float = 60.0
    ) -> AsyncIterator[Page]:
        """Yield a list page by page, all of one resourceVersion. `within` seconds are for each page.

        Gone while reading means that the continue token has expired: what was yielded is no complete list.
        """
        query = {**(params or {}), "limit": str(limit)}
        while True:
            answer = await self._call("GET", path, query, within=within, streams=True)
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
        """Open a watch and give its bytes as they come, cut anywhere; the iteration ends with the server's orderly end.

        Unavailable is raised when the connection breaks, when nothing comes for `inactivity` seconds (a connection
        whose other end is gone without a word), or when `deadline` seconds are over.
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
        """Keep so many connections open until cancelled, so that the first calls after a quiet time need not open them.

        A TLS handshake takes longer than a patch, and a burst begins with many calls at once.
        """
        while True:
            await self.warm(connections)
            await asyncio.sleep(KEEPALIVE_SECONDS / 2)

    async def warm(self, connections: int) -> None:
        """Open so many connections, or use them once if they are open, by as many small calls at once."""
        await asyncio.gather(*(self._warm() for _ in range(connections)))

    async def _warm(self) -> None:
        try:
            await self._call("GET", paths.VERSION, None)
        except errors.ApiError as error:
            # Calls that matter will say the same, and louder.
            _logger.debug("connection not kept warm: %s", error)

    async def _call(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        body: bytes | None = None,
        content_type: str = _JSON,
        within: float | None = None,
        metadata_only: bool = False,
        *,
        streams: bool = False,
    ) -> bytes:
        request = f"{method} {path}"
        headers = {"Content-Type": content_type} if body is not None else {}
        if metadata_only:
            headers["Accept"] = _METADATA_ONLY
        limits = aiohttp.ClientTimeout(total=self._timeout if within is None else within)
        response = await self._send(method, path, params, body, headers, limits, streams=streams)
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
        """Send and wait for the answer's head; once more with fresh credentials where the present ones are refused."""
        session = self._session(streams)
        target = f"{path}?{urlencode(params)}" if params else path
        try:
            credentials = await self._credentials()
            response = await _request(session, credentials, method, target, body, headers, limits)
            if response.status == 401 and await self._access.renew(credentials):
                response.release()
                response = await _request(session, self._access.credentials, method, target, body, headers, limits)
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
        """Return the session of short calls, or that of lists and watches, which no burst of calls may hold up."""
        if self._closed:
            # A session opened now would never be closed.
            raise errors.Unavailable(0, "Closed", "the client is closed", request="a call")
        if streams:
            if self._streams is None:
                self._streams = _new_session(limit=0)
            return self._streams
        if self._calls is None:
            self._calls = _new_session(limit=self._pool_size)
        return self._calls


class Chunks:
    """The body of a watch as it comes."""

    def __init__(self, response: aiohttp.ClientResponse, request: str) -> None:
        """Made by `ApiClient.watch`; `request` is what errors name."""
        self._response = response
        self._content = response.content
        self._request = request

    def __aiter__(self) -> Self:
        """Iterate over what comes."""
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
        """Leave what comes to the kernel's buffers for so long, and then take it in one go.

        Waking up for each of hundreds of small events a second costs several times as much as reading them.
        """
        connection = self._response.connection
        transport = connection.transport if connection is not None else None
        # Under TLS it is the transport below that has to stop reading: paused TLS goes on to collect what comes, piece
        # by piece. There is no public way to it; where there is none at all, pausing TLS is better than nothing.
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
    """End a connection that is not to be used again, at once: TLS's farewell would wait for a peer that may be gone."""
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
            # Compression doubles the time a large list takes, and the network is not what limits it.
            "Accept-Encoding": "identity",
            "User-Agent": USER_AGENT,
        },
        auto_decompress=False,
    )


async def _request(
    session: aiohttp.ClientSession,
    credentials: Credentials,
    method: str,
    target: str,
    body: bytes | None,
    headers: dict[str, str],
    limits: aiohttp.ClientTimeout,
) -> aiohttp.ClientResponse:
    if credentials.authorization is not None:
        headers = {**headers, "Authorization": credentials.authorization}
    return await session.request(
        method,
        yarl.URL(credentials.host + target, encoded=True),
        data=body,
        headers=headers,
        timeout=limits,
        ssl=credentials.tls or True,
        server_hostname=credentials.server_hostname,
        proxy=credentials.proxy,
        allow_redirects=False,
    )


async def _error(response: aiohttp.ClientResponse, request: str) -> errors.ApiError:
    try:
        body = await response.read()
    except _TRANSPORT_ERRORS:
        # The status line is answer enough; the explanation got lost.
        body = b""
    return errors.from_answer(response.status, body, request=request, retry_after=response.headers.get("Retry-After"))


def _bytes(body: Body) -> bytes:
    return body if isinstance(body, bytes) else _encode(body)
