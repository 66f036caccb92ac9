"""kopf's watch of ComputePools, without finalizers, annotations and events.

kopf ends if the API server refuses its requests for more than a moment, or ends a watch with an error. Then it is
started again, and the process goes on. The view of pools is stale until all pools have been listed again.
"""

import asyncio
import logging
import threading
from collections.abc import Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any, Final, cast

import aiohttp
import kopf

from computepool.app.pools import Pools
from computepool.kube.credentials import Access, Credentials
from computepool.kube.retry import Backoff
from computepool.model.api import GROUP, PLURAL, VERSION
from computepool.report.logs import log

WATCH_SECONDS: Final = 290
REPEAT_SECONDS: Final = 1.0
"""kopf repeats a failed request after this delay. If that fails too, kopf ends."""
STEADY_SECONDS: Final = 300.0
"""If kopf has run for this time, the next delay before a start is short again."""
_logger = logging.getLogger("computepool")


class PoolWatch:
    """Runs kopf, and starts it again whenever it ends."""

    def __init__(
        self,
        access: Access,
        pools: Pools,
        *,
        identity: str,
        backoff: Backoff,
        repeat_seconds: float = REPEAT_SECONDS,
    ) -> None:
        """`pools` takes the events; `backoff` gives the delays before kopf starts again."""
        self._access = access
        self._pools = pools
        self._identity = identity
        self._backoff = backoff
        self._repeat_seconds = repeat_seconds

    async def run(self) -> None:
        """Keep kopf running until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            # kopf never watches a resource that the API server does not serve when kopf starts.
            await self._pools.current.wait()
            began = loop.time()
            problem = await self._run_kopf(loop)
            self._pools.lost(f"kopf ended: {problem}")
            if loop.time() - began > STEADY_SECONDS:
                self._backoff.reset()
            delay = self._backoff.next()
            log(_logger, logging.WARNING, "kopf ended, starting it anew", error=problem, seconds=round(delay, 2))
            await asyncio.sleep(delay)

    async def _run_kopf(self, main_loop: asyncio.AbstractEventLoop) -> str:
        """Run kopf until it ends; return the reason.

        kopf has its own thread and loop. Outside the main thread it does not handle SIGTERM and SIGINT. The
        process does not wait for the thread: kopf's tasks can block each other when they are cancelled together.
        """
        stop: Future[None] = Future()
        ended: Future[str] = Future()

        async def run() -> None:
            try:
                await self._kopf(main_loop, stop)
                reason = "no reason given"
            except Exception as error:  # noqa: BLE001 - the process goes on after any error
                reason = repr(error)
            # The main loop may have stopped waiting.
            with suppress(InvalidStateError):
                ended.set_result(reason)

        threading.Thread(target=lambda: asyncio.run(run()), name="kopf", daemon=True).start()
        try:
            return await asyncio.wrap_future(ended)
        finally:
            stop.cancel()

    async def _kopf(self, main_loop: asyncio.AbstractEventLoop, stop: Future[None]) -> None:
        """Run kopf until it ends or `stop` is done. Raises kopf's errors. All other parts run in `main_loop`."""
        handed_out: Credentials | None = None

        async def login(**_: Any) -> kopf.AiohttpSession | None:
            nonlocal handed_out
            # kopf asks again if the API server refuses these (401), and ends if it gets no others.
            renewal = asyncio.run_coroutine_threadsafe(self._credentials(handed_out), main_loop)
            handed_out = await asyncio.wrap_future(renewal)
            return None if handed_out is None else _session(handed_out)

        async def on_event(event: Mapping[str, Any], **_: Any) -> None:
            main_loop.call_soon_threadsafe(self._pools.heard, event["type"] or "", event["object"])

        registry = kopf.OperatorRegistry()
        # A login that fails gives no credentials, so that kopf ends: it would repeat the login only after a minute.
        kopf.on.login(registry=registry, errors=kopf.ErrorsMode.IGNORED)(login)
        kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)(on_event)
        tasks = await kopf.spawn_tasks(
            registry=registry,
            settings=_settings(self._repeat_seconds),
            clusterwide=True,
            standalone=True,
            priority=0,
            # By default kopf asks for the user's name, and a container's numeric user may have none.
            identity=cast("Any", self._identity),
        )
        ended, _ = await asyncio.wait([*tasks, asyncio.wrap_future(stop)], return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            if not task.cancelled():
                task.result()

    async def _credentials(self, refused: Credentials | None) -> Credentials | None:
        """Return credentials other than `refused`, or None if there are no others. Raises AccessError."""
        current = self._access.credentials
        if current is not refused and not self._access.expired():
            return current
        return self._access.credentials if await self._access.renew(current) else None


def _session(credentials: Credentials) -> kopf.AiohttpSession:
    headers = {"Authorization": credentials.authorization} if credentials.authorization else {}
    connector = aiohttp.TCPConnector(limit=0, ssl=credentials.tls or True)
    session = aiohttp.ClientSession(connector=connector, headers=headers, proxy=credentials.proxy)
    return kopf.AiohttpSession(server=credentials.host, aiohttp_session=session)


def _settings(repeat_seconds: float) -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    # The chart installs the CRD, so the operator needs no right to watch all CRDs.
    settings.scanning.disabled = True
    settings.watching.server_timeout = WATCH_SECONDS
    settings.networking.error_backoffs = [repeat_seconds]
    # Otherwise kopf kills the whole process if its loop still runs ten minutes after its end.
    settings.process.ultimate_exiting_timeout = None
    return settings
