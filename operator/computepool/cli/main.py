"""`computepool`: run the operator, and look at what it decides."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Coroutine
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console

from computepool.app.health import ServeError
from computepool.app.operator import run as run_operator
from computepool.app.settings import Settings
from computepool.cli import explain as explaining
from computepool.cli import status as showing
from computepool.cli.view import NotFoundError, load_view
from computepool.kube.access import AccessError
from computepool.kube.errors import ApiError
from computepool.report.logs import set_up

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Keeps GPU workloads running when one provider's capacity runs out. "
    "`status` and `explain` need read-only rights; they also work as `kubectl computepool ...`.",
)
Kubeconfig = Annotated[
    str | None,
    typer.Option("--kubeconfig", help="Path to a kubeconfig; default: $KUBECONFIG, ~/.kube/config or the pod's own."),
]


class LogFormat(StrEnum):
    """Form of the log lines."""

    JSON = "json"
    CONSOLE = "console"


class LogLevel(StrEnum):
    """Least severe level that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@app.command()
def run(
    kubeconfig: Kubeconfig = None,
    namespace: Annotated[
        str, typer.Option(envvar="POD_NAMESPACE", help="Namespace of the Lease; it is never managed.")
    ] = "computepool-system",
    identity: Annotated[
        str | None, typer.Option(envvar="POD_NAME", help="Name of this process in the Lease; default: the host's name.")
    ] = None,
    lease_name: Annotated[
        str, typer.Option(help="Name of the Lease that replicas elect a leader with.")
    ] = "computepool",
    lease_seconds: Annotated[
        float, typer.Option(min=3.0, max=120.0, help="After so long without renewal a standby takes over.")
    ] = 15.0,
    http_host: Annotated[str, typer.Option(help="Address to serve /healthz, /readyz and /metrics on.")] = "0.0.0.0",
    http_port: Annotated[int, typer.Option(min=0, max=65535, help="Port for those; 0 takes a free one.")] = 8080,
    log_format: Annotated[LogFormat, typer.Option(help="json for machines, console for people.")] = LogFormat.JSON,
    log_level: Annotated[LogLevel, typer.Option(help="Least severe level that is logged.")] = LogLevel.INFO,
) -> None:
    """Run the operator: elect a leader, watch nodes and pods, burst what the primary can't take."""
    set_up(log_format, log_level)
    settings = Settings(
        namespace=namespace,
        identity=identity or f"{socket.gethostname()}-{os.getpid()}",
        lease_name=lease_name,
        lease_seconds=lease_seconds,
        host=http_host,
        port=http_port,
        kubeconfig=kubeconfig,
    )
    raise typer.Exit(asyncio.run(_run(settings)))


@app.command()
def status(
    pool: Annotated[str | None, typer.Argument(help="Name of one ComputePool; default: all.")] = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Show pools, their providers and what waits, as the operator last reported it."""
    _read(showing.show(kubeconfig, pool, Console()))


@app.command()
def explain(
    pod: Annotated[str, typer.Argument(help="Name of a pod, or NAMESPACE/NAME.")],
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="The pod's namespace.")] = "default",
    kubeconfig: Kubeconfig = None,
) -> None:
    """Say why a pod is where it is, or why it waits: each provider in order, and what speaks against it.

    Reads nodes, pods and pools once and decides as the operator would, without changing anything.
    """
    where, _, name = pod.rpartition("/")
    _read(_explain(kubeconfig, where or namespace, name))


async def _explain(kubeconfig: str | None, namespace: str, name: str) -> None:
    view = await load_view(kubeconfig)
    explaining.show(explaining.explain(view, namespace, name), Console())


def _read(work: Coroutine[Any, Any, None]) -> None:
    try:
        asyncio.run(work)
    except (AccessError, NotFoundError, ApiError) as problem:
        Console(stderr=True).print(f"[red]{problem}[/red]")
        raise typer.Exit(1) from None


async def _run(settings: Settings) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def listen() -> None:
        for one in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(one, stop.set)

    try:
        return await run_operator(settings, stop, listen=listen)
    except (AccessError, ServeError) as problem:
        Console(stderr=True).print(f"[red]{problem}[/red]")
        return 1


def main() -> None:
    """Run the command."""
    app(prog_name="computepool" if not sys.argv[0].endswith("kubectl-computepool") else "kubectl computepool")
