"""kopf, watching ComputePools and nothing else: no finalizers, no annotations, no events of its own."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Any, cast

import aiohttp
import kopf

from computepool.kube.access import Access
from computepool.model.api import GROUP, PLURAL, VERSION

WATCH_SECONDS = 290


async def watch_pools(
    access: Access, on_pool: Callable[[str, Mapping[str, Any]], None], *, identity: str, started: Callable[[], None]
) -> None:
    """Run kopf until cancelled, calling `on_pool(type, object)`; type is ADDED, MODIFIED, DELETED or empty for listed.

    `started` is called once kopf has taken SIGTERM and SIGINT for itself, so that the caller can take them back. Ends
    with kopf's own errors where it gives up; the caller ends the process then.
    """
    registry = kopf.OperatorRegistry()

    async def login(**_: Any) -> kopf.AiohttpSession:
        # kopf asks again once these are refused (401): then they are loaded anew.
        if access.expired():
            await access.renew(access.credentials)
        credentials = access.credentials
        headers = {"Authorization": credentials.authorization} if credentials.authorization else {}
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=credentials.tls or True),
            headers=headers,
            proxy=credentials.proxy,
        )
        return kopf.AiohttpSession(server=credentials.host, aiohttp_session=session)

    async def on_event(event: Mapping[str, Any], **_: Any) -> None:
        on_pool(event["type"] or "", event["object"])

    kopf.on.login(registry=registry)(login)
    kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)(on_event)
    tasks = await kopf.spawn_tasks(
        registry=registry,
        settings=_settings(),
        clusterwide=True,
        standalone=True,
        priority=0,
        # Left to itself, kopf asks for the user's name, which a container's numeric user need not have.
        identity=cast("Any", identity),
        stop_flag=asyncio.Event(),
    )
    started()
    await _until_one_ends(tasks)


async def _until_one_ends(tasks: Collection[asyncio.Task[Any]]) -> None:
    # kopf's own run_tasks cancels every task of the loop in the end, patches under way included.
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if not task.cancelled():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    # The definition is installed with the operator: it need not be allowed to watch all definitions.
    settings.scanning.disabled = True
    settings.watching.server_timeout = WATCH_SECONDS
    return settings
