"""`/healthz`, `/readyz` and `/metrics` on one port."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from computepool.report.metrics import CONTENT_TYPE

Check = Callable[[], str]
"""Returns the problem, or an empty string."""


class ServeError(Exception):
    """The server can't listen on its address; the message says on which, why, and what to do."""


class HealthServer:
    """Serves the three endpoints until closed."""

    def __init__(self, host: str, port: int, *, alive: Check, ready: Check, metrics: Callable[[], bytes]) -> None:
        """`port` 0 takes a free port, which the attribute `port` gives after `start`."""
        self._host = host
        self._wanted = port
        self._app = web.Application()
        self._app.router.add_get("/healthz", _endpoint(alive))
        self._app.router.add_get("/readyz", _endpoint(ready))
        self._app.router.add_get("/metrics", _metrics(metrics))
        self._runner = web.AppRunner(self._app, access_log=None)
        self.port = 0

    async def start(self) -> None:
        """Listen. Raises ServeError if that is not possible, for example on a port that is taken."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._wanted)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            where = f"{self._host}:{self._wanted}"
            raise ServeError(f"can't serve on {where} ({error.strerror}): choose another --http-port") from error
        self.port = int(self._runner.addresses[0][1])

    async def close(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()


def _endpoint(check: Check) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_request: web.Request) -> web.Response:
        problem = check()
        return web.Response(status=503 if problem else 200, text=f"{problem or 'ok'}\n")

    return answer


def _metrics(render: Callable[[], bytes]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=render(), headers={"Content-Type": CONTENT_TYPE})

    return answer
