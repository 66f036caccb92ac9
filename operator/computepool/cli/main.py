"""`computepool`: run the operator, and show what it decides."""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Coroutine
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from computepool.app.endpoints import ServeError
from computepool.app.operator import run as run_operator
from computepool.app.settings import Settings
from computepool.cli import cleanup as cleaning
from computepool.cli import drain as draining
from computepool.cli import explain as explaining
from computepool.cli import signals as showing_signals
from computepool.cli import status as showing
from computepool.cli.cluster_view import NotFoundError, current_namespace
from computepool.cli.console import make_console
from computepool.cli.errors import NEEDS_CLUSTER, NEEDS_POOLS, sentence
from computepool.cli.kubectl_flags import command_first
from computepool.cli.pod_reference import PodReferenceError, parse_reference
from computepool.kube.credentials import AccessError
from computepool.kube.errors import ApiError
from computepool.prometheus.errors import ConfigError
from computepool.prometheus.source import Source, load_source
from computepool.report.logs import set_up

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Keeps GPU workloads running when one provider's capacity runs out. "
    "`status`, `explain` and `signals` only read. All commands also work as `kubectl computepool`.",
)
_TOLD = (NotFoundError, cleaning.CleanupError, draining.DrainError, explaining.MissingRightsError)
"""Errors whose text is the sentence for the person who ran the command."""
DEFAULT_NAMESPACE = "computepool-system"
MOUNTED_CONFIG = Path("/etc/computepool/prometheus/prometheus.yaml")
"""Where the chart mounts the configuration of the source of metrics."""
Kubeconfig = Annotated[
    str | None,
    typer.Option("--kubeconfig", help="Path to a kubeconfig; default: $KUBECONFIG, ~/.kube/config or the pod's own."),
]


class LogFormat(StrEnum):
    """Format of the log lines."""

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
    ] = DEFAULT_NAMESPACE,
    identity: Annotated[
        str | None, typer.Option(envvar="POD_NAME", help="Name of this process in the Lease; default: the host's name.")
    ] = None,
    lease_name: Annotated[
        str, typer.Option(help="Name of the Lease that replicas elect a leader with.")
    ] = "computepool",
    lease_seconds: Annotated[
        float, typer.Option(min=3.0, max=120.0, help="Seconds without renewal after which another replica takes over.")
    ] = 15.0,
    http_host: Annotated[str, typer.Option(help="Address to serve /healthz, /readyz and /metrics on.")] = "0.0.0.0",
    http_port: Annotated[int, typer.Option(min=0, max=65535, help="Port of that address; 0: any free port.")] = 8080,
    prometheus_config: Annotated[
        Path | None,
        typer.Option(help="YAML file with the address of the cluster's metrics; the chart writes it."),
    ] = None,
    log_format: Annotated[LogFormat, typer.Option(help="json for machines, console for people.")] = LogFormat.JSON,
    log_level: Annotated[LogLevel, typer.Option(help="Least severe level that is logged.")] = LogLevel.INFO,
) -> None:
    """Run the operator: elect a leader, watch nodes and pods, burst the pods that the primary can't take."""
    set_up(log_format, log_level)
    try:
        metrics = None if prometheus_config is None else load_source(prometheus_config)
    except ConfigError as error:
        _print_error(str(error))
        raise typer.Exit(1) from None
    settings = Settings(
        namespace=namespace,
        identity=identity or f"{socket.gethostname()}-{os.getpid()}",
        lease_name=lease_name,
        lease_seconds=lease_seconds,
        host=http_host,
        port=http_port,
        kubeconfig=kubeconfig,
        metrics=metrics,
    )
    raise typer.Exit(asyncio.run(_run(settings)))


@app.command()
def status(
    pool: Annotated[str | None, typer.Argument(help="Name of one ComputePool; default: all.")] = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Show pools, their providers, signals, forecast and waiting pods, as the operator last reported them.

    Needs the right to list computepools, which the chart adds to the cluster role `view`.
    """
    _run_one(showing.show(kubeconfig, pool, make_console(), time.time()), NEEDS_POOLS)


@app.command()
def explain(
    pod: Annotated[str, typer.Argument(help="NAME, NAMESPACE/NAME, pod/NAME or NAMESPACE/pod/NAME.")],
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="The pod's namespace; default: the kubeconfig's.")
    ] = None,
    kubeconfig: Kubeconfig = None,
    operator_namespace: Annotated[
        str, typer.Option(help="Namespace of the operator itself: its pods are never managed.")
    ] = DEFAULT_NAMESPACE,
) -> None:
    """Say why a pod runs where it runs, or why it waits: each provider in order, and why it was rejected.

    Reads the cluster once and decides as the operator would, without changing anything. Only the running operator knows
    since when the scheduler could have bound a pod; here that time counts from now. The pod's events tell whether a
    disruption budget refuses its eviction, if they may be listed.

    Needs the right to list computepools, namespaces, nodes and pods in the whole cluster, such as by the chart's
    ClusterRole computepool-explainer. Where a right is missing it says what it can, and ends with 1.
    """
    try:
        where, name = parse_reference(pod, namespace)
    except PodReferenceError as error:
        raise typer.BadParameter(str(error)) from None
    where = where or current_namespace(kubeconfig)
    _run_one(explaining.run(kubeconfig, operator_namespace, where, name, make_console()), NEEDS_CLUSTER)


@app.command()
def signals(
    pool: Annotated[str, typer.Argument(help="Name of a ComputePool.")],
    kubeconfig: Kubeconfig = None,
    prometheus_config: Annotated[
        Path, typer.Option(help="YAML file with the source's address, which the chart mounts into the operator's pods.")
    ] = MOUNTED_CONFIG,
    url: Annotated[
        str | None, typer.Option(help="Address of a server with Prometheus' HTTP API, in place of that file.")
    ] = None,
    every: Annotated[
        bool,
        typer.Option("--all", help="Print every series, not only ten that count and ten that are left out."),
    ] = False,
    operator_namespace: Annotated[
        str, typer.Option(help="Namespace of the operator itself: its pods are never managed.")
    ] = DEFAULT_NAMESPACE,
) -> None:
    """Run each query of a pool's signals once, and print every series of the answer, or why the series is left out.

    Use it to write a signal, and to see why a signal is Unknown. It changes nothing.

    The operator's pods have the address and the credentials of the source, so run it there: kubectl -n
    computepool-system exec deploy/computepool -- computepool signals POOL. Elsewhere, give --url with an address that
    you can reach, such as http://localhost:9090 while kubectl port-forward runs. Then no credentials and no
    prometheus.enforcedLabels are sent.

    Needs the right to list computepools, namespaces, nodes and pods in the whole cluster, which the operator has.
    """
    try:
        source = Source(url=url) if url else load_source(prometheus_config)
    except (ConfigError, ValidationError) as error:
        text = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        _print_error(
            f"{text}. Run this in the operator's pod, where the chart's value prometheus.url puts the file, or give "
            "--url: see computepool signals --help"
        )
        raise typer.Exit(1) from None
    show = showing_signals.show(kubeconfig, operator_namespace, pool, source, make_console(), every=every)
    _run_one(show, NEEDS_CLUSTER)


@app.command()
def drain(
    provider: Annotated[str, typer.Argument(help="The provider, as POOL/PROVIDER.", metavar="POOL/PROVIDER")],
    kubeconfig: Kubeconfig = None,
    move: Annotated[
        bool, typer.Option("--move", help="Let running pods leave, within all limits. Without it they stay.")
    ] = False,
    undo: Annotated[bool, typer.Option("--undo", help="End the drain: the provider is tried again.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would happen, and change nothing. The API server checks it.")
    ] = False,
) -> None:
    """Take a provider out of use for planned work, or bring it back with `--undo`.

    New pods are no longer sent there. It sets the provider's fields `drain` and `drainRunningPods` in the pool's spec.
    If the manifest is kept in git, change it there too. Run twice, it changes nothing more.

    Needs the right to get and patch computepools, which the cluster role `admin` has.
    """
    if move and undo:
        raise typer.BadParameter("--move and --undo exclude each other")
    try:
        pool, name = draining.parse_target(provider)
    except draining.DrainError as error:
        raise typer.BadParameter(str(error)) from None
    target = draining.Target(pool, name, drain=not undo, move=move)
    _run_one(draining.run(kubeconfig, target, make_console(), dry_run=dry_run), draining.NEEDS)


@app.command()
def cleanup(
    kubeconfig: Kubeconfig = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the nodes that carry the taint, and change nothing.")
    ] = False,
) -> None:
    """Take the taint computepool.io/unavailable off all nodes, after the operator is gone.

    The chart runs this when it is uninstalled. Run it by hand after an operator that died and does not come back. An
    operator that still runs taints unhealthy nodes again.

    Needs the right to list and patch nodes.
    """
    _run_one(cleaning.run(kubeconfig, make_console(), dry_run=dry_run), cleaning.NEEDS)


def _run_one(work: Coroutine[Any, Any, None], needs: str) -> None:
    """Run a command. `needs`: its rights, for the sentence about a right that is missing."""
    try:
        asyncio.run(work)
    except (ApiError, AccessError, *_TOLD) as error:
        _print_error(sentence(error, needs) if isinstance(error, ApiError) else str(error))
        raise typer.Exit(1) from None


def _print_error(text: str) -> None:
    make_console(stderr=True).print(text, style="red")


async def _run(settings: Settings) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        return await run_operator(settings, stop)
    except (AccessError, ServeError) as error:
        _print_error(str(error))
        return 1


def main() -> None:
    """Run the command."""
    name = "computepool" if not sys.argv[0].endswith("kubectl-computepool") else "kubectl computepool"
    app(command_first(sys.argv[1:]), prog_name=name)
