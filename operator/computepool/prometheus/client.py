"""Asks a server with Prometheus' HTTP API: one query, one vector. Errors are typed, and never contain a credential."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from typing import Final, Self, TypeVar

import aiohttp

from computepool.model.text import cut, printable
from computepool.prometheus.answers import Series, read_answer
from computepool.prometheus.errors import (
    MAX_TEXT,
    BadQueryError,
    ConfigError,
    GarbledError,
    RefusedError,
    ServerError,
    SlowError,
    SourceError,
    UnreachableError,
)
from computepool.prometheus.ranges import SeriesOverTime, read_range
from computepool.prometheus.source import Credentials, Secrets, Source

PARALLEL: Final = 4
"""Queries under way at once."""
MAX_BYTES: Final = 64 * 1024 * 1024
"""Largest answer: 40,000 series take about 10 MB."""
KEEPALIVE_SECONDS: Final = 60.0
MAX_BODY: Final = 1024 * 1024
"""Bytes of a body that are read for an error's text: far more than MAX_TEXT, so that no credential is cut in it."""
_CHUNK: Final = 256 * 1024
QUERY: Final = "/api/v1/query"
QUERY_RANGE: Final = "/api/v1/query_range"
TURN: Final = 500
"""Series that are read before other tasks get a turn, in some 2 ms. Several answers may be read at the same time."""
T = TypeVar("T")


class PrometheusClient:
    """Queries to one source. Use it as an async context manager."""

    def __init__(self, source: Source) -> None:
        """Connections are opened when they are needed, and credentials read then."""
        self._source = source
        self._secrets = Secrets(source)
        self._slots = asyncio.Semaphore(PARALLEL)
        self._session: aiohttp.ClientSession | None = None
        self._credentials: Credentials | None = None

    def hide(self, text: str) -> str:
        """Return a text of the server without the credentials of the last query."""
        return text if self._credentials is None else self._credentials.hide(text)

    async def __aenter__(self) -> Self:
        """Nothing is opened yet."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    async def query(self, query: str) -> tuple[Series, ...]:
        """Return the vector that the server answers for this moment. Raises only SourceError.

        A warning of the server says that the answer may be partial. Then it is no answer: GarbledError.
        """
        return await self._answer(QUERY, {"query": query}, read_answer)

    async def query_range(self, query: str, start: float, end: float, step: float) -> tuple[SeriesOverTime, ...]:
        """Return the values that the query had at each `step` (seconds) from `start` to `end`. Raises only SourceError.

        Times are in seconds since the epoch, by the clock of the server.
        """
        form = {"query": query, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:g}"}
        return await self._answer(QUERY_RANGE, form, read_range)

    async def _answer(self, path: str, form: Mapping[str, str], read: Callable[[bytes], Iterator[T]]) -> tuple[T, ...]:
        async with self._slots:
            credentials = self._credentials = self._secrets.read()
            try:
                return await read_in_turns(read(await self._ask(path, form, credentials)))
            except SourceError as error:
                told = type(error)(cut(printable(credentials.hide(str(error))), MAX_TEXT))
            # Raised here, so that it carries no earlier error whose text may contain a credential.
            raise told

    async def _ask(self, path: str, fields: Mapping[str, str], credentials: Credentials) -> bytes:
        seconds = self._source.timeout_seconds
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=PARALLEL, keepalive_timeout=KEEPALIVE_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Accept": "application/json", "User-Agent": f"computepool/{version('computepool')}"},
                trust_env=True,
            )
        # A form, and not a URL: a query may name thousands of nodes.
        form = {**self._source.query_parameters, **fields, "timeout": f"{seconds:g}s"}
        try:
            async with self._session.post(
                self._source.url + path,
                data=form,
                headers=credentials.headers,
                timeout=aiohttp.ClientTimeout(total=seconds),
                ssl=credentials.tls or True,
                # A redirect would take the credentials elsewhere.
                allow_redirects=False,
            ) as response:
                body = await _body(response)
                if response.status != 200:
                    raise _refusal(response.status, body)
                return body
        except TimeoutError:
            raise SlowError(f"no answer within {seconds:g} s (prometheus.timeoutSeconds)") from None
        except OSError as error:
            raise UnreachableError(f"no connection to {self._source.url}: {error}") from None
        except aiohttp.ClientError as error:
            # Its text repeats the beginning of what the server has sent, so that a credential in it may be cut.
            raise UnreachableError(f"{self._source.url} does not speak HTTP: {type(error).__name__}") from None
        except ValueError:
            raise ConfigError(
                "a header or a parameter can't be sent: check prometheus.headers and queryParameters"
            ) from None


async def read_in_turns(series: Iterator[T]) -> tuple[T, ...]:
    """Read all series, and give other tasks a turn now and then."""
    found = []
    for number, one in enumerate(series):
        found.append(one)
        if number % TURN == 0:
            await asyncio.sleep(0)
    return tuple(found)


async def _body(response: aiohttp.ClientResponse) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_chunked(_CHUNK):
        size += len(chunk)
        if size > MAX_BYTES:
            raise GarbledError(f"the answer is larger than {MAX_BYTES >> 20} MiB: aggregate the query by node or pod")
        parts.append(chunk)
    return b"".join(parts)


def _refusal(status: int, body: bytes) -> SourceError:
    said = body[:MAX_BODY].decode(errors="replace").strip()
    if status in (401, 403):
        return RefusedError(
            f"the server refuses the credentials ({status}): check the Secret that the chart's values name"
        )
    if status in (400, 422):
        return BadQueryError(f"the server can't run the query ({status}): {said}")
    if 300 <= status < 400:
        return ServerError(f"the server redirects ({status}), which is not followed: give the final address")
    if status == 404:
        return ServerError("there is no /api/v1/query at this address (404): check prometheus.url")
    return ServerError(f"the server answers {status}: {said}")
