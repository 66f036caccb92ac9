"""kopf, watching ComputePools and nothing else: no finalizers, no annotations, no events of its own.

kopf gives up where the API server refuses it for more than a moment or ends a watch with an error. It then starts anew,
and the process goes on. Until all pools have been listed after that, the view of them is stale.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Final, cast

import aiohttp
import kopf

from computepool.app.pools import Pools
from computepool.kube.access import Access, Credentials
from computepool.kube.backoff import Backoff
from computepool.model.api import GROUP, PLURAL, VERSION
from computepool.report.logs import log

WATCH_SECONDS: Final = 290
RETRY_SECONDS: Final = 1.0
"""Before kopf repeats a request that failed; when that fails too, kopf ends."""
STEADY_SECONDS: Final = 300.0
"""After kopf has run for so long, the delay before it starts anew is short again."""
_logger = logging.getLogger("computepool")


class PoolWatch:
    """Runs kopf, and starts it anew whenever it ends."""

    def __init__(
        self, access: Access, pools: Pools, *, identity: str, backoff: Backoff, clock: Callable[[], float]
    ) -> None:
        """`pools` take the events; `backoff` gives the delays before kopf starts anew."""
        self._access = access
        self._pools = pools
        self._identity = identity
        self._backoff = backoff
        self._clock = clock

    async def run(self) -> None:
        """Keep kopf running until cancelled."""
        while True:
            # kopf never watches a resource that the API server does not serve when kopf starts.
            await self._pools.current.wait()
            began = self._clock()
            problem = await self._run_kopf()
            self._pools.lost(f"kopf ended: {problem}")
            if self._clock() - began > STEADY_SECONDS:
                self._backoff.reset()
            delay = self._backoff.next()
            log(_logger, logging.WARNING, "kopf ended, starting it anew", error=problem, seconds=round(delay, 2))
            await asyncio.sleep(delay)

    async def _run_kopf(self) -> str:
        """Run kopf until it ends, and return why it did.

        kopf has a thread and a loop of its own: outside the main thread it takes no signals.
        """
        loop = asyncio.get_running_loop()
        stop: Future[None] = Future()
        try:
            await asyncio.to_thread(lambda: asyncio.run(self._kopf(loop, stop)))
        except Exception as error:  # noqa: BLE001 - whatever it is, the process goes on
            return repr(error)
        finally:
            stop.cancel()
        return "no reason given"

    async def _kopf(self, ours: asyncio.AbstractEventLoop, stop: Future[None]) -> None:
        """Run kopf in this loop until it ends or `stop` is done; raises kopf's errors. All else is in the loop `ours`."""
        given: Credentials | None = None

        async def login(**_: Any) -> kopf.AiohttpSession | None:
            nonlocal given
            # kopf asks again when its credentials are refused (401); without others it ends.
            renewed = asyncio.run_coroutine_threadsafe(self._credentials(given), ours)
            given = await asyncio.wrap_future(renewed)
            return None if given is None else _session(given)

        async def on_event(event: Mapping[str, Any], **_: Any) -> None:
            ours.call_soon_threadsafe(self._pools.heard, event["type"] or "", event["object"])

        registry = kopf.OperatorRegistry()
        # An error of the login counts as no credentials: otherwise kopf would wait a minute before each other attempt.
        kopf.on.login(registry=registry, errors=kopf.ErrorsMode.IGNORED)(login)
        kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)(on_event)
        tasks = await kopf.spawn_tasks(
            registry=registry,
            settings=_settings(),
            clusterwide=True,
            standalone=True,
            priority=0,
            # Left to itself, kopf asks for the user's name, which a container's numeric user need not have.
            identity=cast("Any", self._identity),
        )
        ended, _ = await asyncio.wait([*tasks, asyncio.wrap_future(stop)], return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            if not task.cancelled():
                task.result()

    async def _credentials(self, refused: Credentials | None) -> Credentials | None:
        """Return the current credentials, others than `refused`; None if there are no others by now."""
        current = self._access.credentials
        if (current is refused or self._access.expired()) and not await self._access.renew(current):
            return None
        return self._access.credentials


def _session(credentials: Credentials) -> kopf.AiohttpSession:
    headers = {"Authorization": credentials.authorization} if credentials.authorization else {}
    connector = aiohttp.TCPConnector(limit=0, ssl=credentials.tls or True)
    session = aiohttp.ClientSession(connector=connector, headers=headers, proxy=credentials.proxy)
    return kopf.AiohttpSession(server=credentials.host, aiohttp_session=session)


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    # The definition is installed with the operator: it need not be allowed to watch all definitions.
    settings.scanning.disabled = True
    settings.watching.server_timeout = WATCH_SECONDS
    settings.networking.error_backoffs = [RETRY_SECONDS]
    # Otherwise kopf kills the whole process if ten minutes after its end it has not let go of its loop.
    settings.process.ultimate_exiting_timeout = None
    return settings
