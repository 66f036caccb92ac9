"""`computepool`: run the operator, and show what it decides.

`--help`, `--version` and shell completion must be quick, and completion runs at each press of the Tab key. So each
command imports its modules when it runs: clients, the API's types and the operator itself take a second to import.
"""

import asyncio
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from computepool.cli.exit_codes import INTERRUPTED
from computepool.cli.kubectl_flags import command_first
from computepool.cli.names import checked_namespace
from computepool.cli.options import (
    DEFAULT_LEASE,
    DEFAULT_NAMESPACE,
    MOUNTED_CONFIG,
    NEEDS_AUDIT,
    AuditOutput,
    Context,
    DrillFailOn,
    FailOn,
    Kubeconfig,
    LeaseName,
    LogFormat,
    LogLevel,
    Manifests,
    NoNamespace,
    OperatorNamespace,
    OperatorNamespaceBesidePod,
    Output,
    OutputForm,
)

if TYPE_CHECKING:
    from computepool.app.settings import Settings

T = TypeVar("T")
IS_PLUGIN: Final = sys.argv[0].endswith("kubectl-computepool")
DIFFERS: Final = 1
"""Exit code of `diff` where there is a difference, as `diff` and `kubectl diff` have it."""
DIFF_FAILED: Final = 2
"""Exit code of `diff` after an error."""
app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    # kubectl completes its plugins in a way of its own.
    add_completion=not IS_PLUGIN,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Keeps GPU workloads running when one provider's capacity runs out. "
    "`status`, `explain`, `diff`, `audit`, `signals`, `check` and `drill` without `--live` only read. "
    "All commands also work as `kubectl computepool`.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"computepool {version('computepool')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options without a command."""


@app.command()
def run(
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    operator_namespace: OperatorNamespace = DEFAULT_NAMESPACE,
    identity: Annotated[
        str | None, typer.Option(envvar="POD_NAME", help="Name of this process in the Lease; default: the host's name.")
    ] = None,
    lease_name: LeaseName = DEFAULT_LEASE,
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
    from computepool.app.settings import Settings
    from computepool.prometheus.errors import ConfigError
    from computepool.prometheus.source import load_source
    from computepool.report.logs import set_up

    set_up(log_format, log_level)
    try:
        metrics = None if prometheus_config is None else load_source(prometheus_config)
    except ConfigError as error:
        _print_error(str(error))
        raise typer.Exit(1) from None
    settings = Settings(
        namespace=operator_namespace,
        identity=identity or f"{socket.gethostname()}-{os.getpid()}",
        lease_name=lease_name,
        lease_seconds=lease_seconds,
        host=http_host,
        port=http_port,
        kubeconfig=kubeconfig,
        context=context,
        metrics=metrics,
    )
    raise typer.Exit(asyncio.run(_run(settings)))


@app.command()
def status(
    pool: Annotated[str | None, typer.Argument(help="Name of one ComputePool; default: all.")] = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Print again whenever something has changed, until Ctrl-C.")
    ] = False,
    output: OutputForm = Output.TABLE,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    operator_namespace: OperatorNamespace = DEFAULT_NAMESPACE,
    lease_name: LeaseName = DEFAULT_LEASE,
) -> None:
    """Show who leads, and each pool as the leader last reported it: providers, signals, forecast and waiting pods.

    If no operator leads, this says since when: the figures are from then.

    Needs the right to list computepools and to get the operator's Lease. The chart adds both to the cluster role
    `view`. Without the second one, everything but the leader is shown.
    """
    from computepool.cli import status as showing
    from computepool.cli.console import make_console
    from computepool.cli.errors import NEEDS_POOLS
    from computepool.cli.leader import LeaseAddress

    lease = LeaseAddress(operator_namespace, lease_name)
    request = showing.Request(kubeconfig, context, pool, lease, output)
    console = make_console()
    _run_one(showing.watch(request, console) if watch else showing.show(request, console, time.time), NEEDS_POOLS)


@app.command()
def explain(
    pod: Annotated[str, typer.Argument(help="NAME, NAMESPACE/NAME, pod/NAME or NAMESPACE/pod/NAME.")],
    namespace: Annotated[
        str | None,
        typer.Option(
            "--namespace", "-n", callback=checked_namespace, help="The pod's namespace; default: the kubeconfig's."
        ),
    ] = None,
    output: OutputForm = Output.TABLE,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    operator_namespace: OperatorNamespaceBesidePod = DEFAULT_NAMESPACE,
) -> None:
    """Say why a pod runs where it runs, or why it waits: each provider in order, and why it was rejected.

    Reads the cluster once and decides as the operator would, without changing anything. Only the running operator knows
    since when the scheduler could have bound a pod; here that time counts from now. The pod's events tell whether a
    disruption budget refuses its eviction, if they may be listed.

    Needs the right to list computepools, namespaces, nodes and pods in the whole cluster, such as by the chart's
    ClusterRole computepool-explainer. Where a right is missing it says what it can, and ends with 1.
    """
    from computepool.cli import explain as explaining
    from computepool.cli.cluster_view import current_namespace
    from computepool.cli.console import make_console
    from computepool.cli.errors import NEEDS_CLUSTER
    from computepool.cli.pod_reference import PodReferenceError, parse_reference

    try:
        where, name = parse_reference(pod, namespace)
    except PodReferenceError as error:
        raise typer.BadParameter(str(error)) from None
    where = where or current_namespace(kubeconfig, context)
    request = explaining.Request(kubeconfig, context, operator_namespace, where, name, output)
    _run_one(explaining.run(request, make_console()), NEEDS_CLUSTER)


@app.command()
def diff(
    filename: Manifests,
    output: OutputForm = Output.TABLE,
    every: Annotated[
        bool, typer.Option("--all", help="Print every pod and node, not only the first rows of groups that are alike.")
    ] = False,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    operator_namespace: OperatorNamespace = DEFAULT_NAMESPACE,
) -> None:
    """Say what would be decided differently now if a manifest were applied, pod by pod with reasons.

    Example: `computepool diff -f pool.yaml`, or `helm template my-pools | computepool diff -f -`

    Reads the cluster once and decides twice: with the pools as they are, and with the pools of the files. It prints the
    fields of the spec that differ; what differs about the pool, such as admission, the budget, costs, accelerators and
    findings of the condition Configured; and the pods and nodes about which the decision differs, today and then. It
    changes nothing, and asks for no dry run.

    A decision is that of one pass, now. Moves that a limit keeps back are counted as waiting for their turn. Timers of
    the running operator are not known here, such as for how long a node's fault has lasted: they begin now, on both
    sides. The file counts as the whole spec, with defaults for the fields that it leaves out.

    The exit code is 0 without a difference, 1 with any difference, also of the spec alone, and more after an error.

    Needs the right to list computepools, namespaces, nodes and pods in the whole cluster, such as by the chart's
    ClusterRole computepool-explainer.
    """
    from computepool.cli import diff as comparing
    from computepool.cli.console import make_console
    from computepool.cli.errors import NEEDS_CLUSTER

    request = comparing.Request(kubeconfig, context, operator_namespace, tuple(filename), output, every=every)
    if _run_one(comparing.run(request, make_console()), NEEDS_CLUSTER, failed=DIFF_FAILED):
        raise typer.Exit(DIFFERS)


@app.command()
def audit(
    saved: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="File or folder of what `kubectl get -o json` has printed, or - for the standard input, in place of a "
            "live cluster.",
        ),
    ] = None,
    provider: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=LABEL=VALUE: these nodes belong to this provider. May be repeated. Other nodes tell their "
            "provider by their providerID and labels.",
            metavar="NAME=LABEL=VALUE",
        ),
    ] = None,
    lose: Annotated[
        list[str] | None,
        typer.Option(
            help="A part to lose: a provider's name, region=NAME, node-group=PROVIDER/NAME or capacity-type=spot. "
            "Given twice, both are lost together. Default: each part alone.",
            metavar="PART",
        ),
    ] = None,
    resource: Annotated[
        list[str] | None,
        typer.Option(help="An extended resource that counts as an accelerator, beside the known ones.", metavar="NAME"),
    ] = None,
    suggest: Annotated[
        bool,
        typer.Option(
            "--suggest", help="Print a ComputePool in mode Observe that fits the cluster, and the commands before it."
        ),
    ] = False,
    prices: Annotated[
        Path | None,
        typer.Option(
            help="YAML file with the price of an accelerator for an hour by provider. Other prices are from the pools, "
            "and then from OpenCost's metrics."
        ),
    ] = None,
    prometheus: Annotated[
        str | None,
        typer.Option(
            help="Address of a server with Prometheus' HTTP API and the metrics of NVIDIA's or AMD's exporter: adds "
            "what is idle.",
            metavar="URL",
        ),
    ] = None,
    prometheus_config: Annotated[
        Path | None, typer.Option(help="YAML file with that address and its credentials, as the chart writes it.")
    ] = None,
    window: Annotated[
        str, typer.Option(help="How far back an accelerator must have done nothing to be idle: 5m to 7d.")
    ] = "1h",
    fail_on: Annotated[
        list[FailOn] | None,
        typer.Option(help="Exit with 3 if pods would be stranded, if checks fail, or if objects could not be read."),
    ] = None,
    output: Annotated[
        AuditOutput,
        typer.Option(
            "--output",
            "-o",
            help="table, markdown and html for people; json, yaml and csv for programs: see docs/audit.md.",
        ),
    ] = AuditOutput.TABLE,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    operator_namespace: OperatorNamespace = DEFAULT_NAMESPACE,
) -> None:
    """Say what depends on which provider: accelerators, workloads, and what is stranded when a provider is lost.

    Works on any cluster, before anything is installed. Losses are judged by the operator's own decisions, by the pools
    that there are, and for all other pods as with one pool over all providers. It changes nothing.

    Needs the right to list nodes and pods. With the right to list namespaces, poddisruptionbudgets, computepools and
    the owners of pods (replicasets, jobs and so on) it says more. What may not be read is told, and left out.
    """
    from computepool.cli.audit import command as auditing
    from computepool.cli.console import make_console

    request = auditing.Request(
        kubeconfig=kubeconfig,
        context=context,
        operator_namespace=operator_namespace,
        saved=saved,
        providers=tuple(provider or ()),
        lose=tuple(lose or ()),
        resources=tuple(resource or ()),
        prices=prices,
        prometheus=prometheus,
        prometheus_config=prometheus_config,
        window=window,
        output=output,
        fail_on=tuple(fail_on or ()),
        suggest=suggest,
    )
    raise typer.Exit(_run_one(auditing.run(request, make_console(), make_console(stderr=True)), NEEDS_AUDIT))


@app.command()
def signals(
    pool: Annotated[str, typer.Argument(help="Name of a ComputePool.")],
    output: OutputForm = Output.TABLE,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
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
    operator_namespace: OperatorNamespace = DEFAULT_NAMESPACE,
) -> None:
    """Run each query of a pool's signals once, and print every series of the answer, or why the series is left out.

    Use it to write a signal, and to see why a signal is Unknown. It changes nothing.

    The operator's pods have the address and the credentials of the source, so run it there: kubectl -n
    computepool-system exec deploy/computepool -- computepool signals POOL. Elsewhere, give --url with an address that
    you can reach, such as http://localhost:9090 while kubectl port-forward runs. Then no credentials and no
    prometheus.enforcedLabels are sent.

    Needs the right to list computepools, namespaces, nodes and pods in the whole cluster, which the operator has.
    """
    from computepool.cli import signals as showing
    from computepool.cli.console import make_console
    from computepool.cli.errors import NEEDS_CLUSTER
    from computepool.cli.metrics_source import SourceOptionError, source_at, source_in

    try:
        source = source_at(url, "--url") if url else source_in(prometheus_config)
    except SourceOptionError as error:
        where = (
            ""
            if url
            else ". Run this in the operator's pod, where the chart's value prometheus.url puts the file, or give "
            "--url: see computepool signals --help"
        )
        _print_error(f"{error}{where}")
        raise typer.Exit(1) from None
    request = showing.Request(kubeconfig, context, operator_namespace, pool, output, every=every)
    _run_one(showing.show(request, source, make_console()), NEEDS_CLUSTER)


@app.command()
def drain(
    provider: Annotated[str, typer.Argument(help="The provider, as POOL/PROVIDER.", metavar="POOL/PROVIDER")],
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    move: Annotated[
        bool, typer.Option("--move", help="Let running pods leave, within all limits. Without it they stay.")
    ] = False,
    undo: Annotated[bool, typer.Option("--undo", help="End the drain: the provider is tried again.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would happen, and change nothing. The API server checks it.")
    ] = False,
    _namespace: NoNamespace = None,
) -> None:
    """Take a provider out of use for planned work, or bring it back with `--undo`.

    New pods are no longer sent there. It sets the provider's fields `drain` and `drainRunningPods` in the pool's spec.
    If the manifest is kept in git, change it there too. Run twice, it changes nothing more.

    Needs the right to get and patch computepools, which the cluster role `admin` has.
    """
    from computepool.cli import drain as draining
    from computepool.cli.console import make_console
    from computepool.cli.stored_pool import NEEDS

    if move and undo:
        raise typer.BadParameter("--move and --undo exclude each other")
    try:
        pool, name = draining.parse_target(provider)
    except draining.DrainError as error:
        raise typer.BadParameter(str(error)) from None
    target = draining.Target(pool, name, drain=not undo, move=move)
    _run_one(draining.run(kubeconfig, context, target, make_console(), dry_run=dry_run), NEEDS)


@app.command()
def drill(
    pool: Annotated[str | None, typer.Argument(help="Name of a ComputePool.")] = None,
    lose: Annotated[
        list[str] | None, typer.Option("--lose", metavar="PROVIDER", help="The provider that is lost, or drained.")
    ] = None,
    planned: Annotated[
        bool, typer.Option("--drain", help="Play a drain of the provider (`drain --move`) in place of its failure.")
    ] = False,
    live: Annotated[
        bool, typer.Option("--live", help="Really drain the provider for a while, after a confirmation.")
    ] = False,
    restore: Annotated[
        bool, typer.Option("--restore", help="End the drills of the pool, or of all pools, and do nothing else.")
    ] = False,
    yes: Annotated[
        str, typer.Option("--yes", metavar="POOL/PROVIDER", help="Confirm a live drill without a terminal.")
    ] = "",
    allow_stranded: Annotated[
        bool, typer.Option("--allow-stranded", help="Hold a live drill although the dry run strands pods.")
    ] = False,
    within: Annotated[int, typer.Option(min=1, max=120, help="Minutes after which a live drill ends by itself.")] = 30,
    report: Annotated[
        Path | None,
        typer.Option("--report", dir_okay=False, help="Write a page of HTML into this file, to keep or print."),
    ] = None,
    fail_on: Annotated[list[DrillFailOn] | None, typer.Option(help="Exit with 3 if the dry run strands pods.")] = None,
    output: OutputForm = Output.TABLE,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    operator_namespace: OperatorNamespace = DEFAULT_NAMESPACE,
    lease_name: LeaseName = DEFAULT_LEASE,
) -> None:
    """Say what the operator would do if a provider failed now: which pods move, when, and which are stranded.

    It reads the cluster once and plays the operator's own decisions on a copy, within all limits and disruption
    budgets. It changes nothing. Times count from the moment of the failure.

    With `--live` it plays a drain first, and then really drains the provider: pods leave as moves by choice. It prints
    planned beside real times, and ends the drill as soon as all planned pods are Ready elsewhere, on Ctrl-C, and if a
    provider really fails. After a crash the drill ends by itself after `--within` minutes, and `drill --restore` ends
    it sooner. Exits with 3 if not all planned pods were Ready elsewhere.

    Needs the right to list computepools, namespaces, nodes, pods and poddisruptionbudgets in the whole cluster, such as
    by the chart's ClusterRole computepool-explainer. With `--live` also to patch computepools, which the cluster role
    `admin` has, and to get the operator's Lease.
    """
    from computepool.cli import drill as drilling
    from computepool.cli.console import make_console
    from computepool.cli.drill_refusals import Limits
    from computepool.cli.leader import LeaseAddress
    from computepool.simulate.drill import How

    if restore:
        if lose or live or planned:
            raise typer.BadParameter("--restore excludes --lose, --live and --drain")
        _run_one(drilling.restore(kubeconfig, context, pool, make_console()), drilling.NEEDS_RESTORE)
        return
    if pool is None or not lose:
        raise typer.BadParameter("give a pool and the provider to lose: computepool drill POOL --lose PROVIDER")
    if len(lose) > 1:
        raise typer.BadParameter("a drill loses one provider; computepool audit --lose A --lose B loses several")
    how = How.DRAIN if live or planned else How.FAILS
    request = drilling.Request(
        kubeconfig, context, operator_namespace, pool, lose[0], how, output, report, tuple(fail_on or ())
    )
    if live:
        held = drilling.Live(Limits(within * 60.0, allow_stranded), LeaseAddress(operator_namespace, lease_name), yes)
        consoles = make_console(lasting=True), make_console(stderr=True, lasting=True)
        raise typer.Exit(_run_one(drilling.run_live(request, held, *consoles), drilling.NEEDS_LIVE))
    raise typer.Exit(_run_one(drilling.run(request, make_console(), make_console(stderr=True)), drilling.NEEDS))


@app.command()
def cleanup(
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the nodes that carry the taint, and change nothing.")
    ] = False,
    _namespace: NoNamespace = None,
) -> None:
    """Take the taint computepool.io/unavailable off all nodes, after the operator is gone.

    The chart runs this when it is uninstalled. Run it by hand after an operator that died and does not come back. An
    operator that still runs taints unhealthy nodes again.

    Needs the right to list and patch nodes.
    """
    from computepool.cli import cleanup as cleaning
    from computepool.cli.console import make_console

    _run_one(cleaning.run(kubeconfig, context, make_console(), dry_run=dry_run), cleaning.NEEDS)


@app.command()
def check(
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    operator_namespace: OperatorNamespace = DEFAULT_NAMESPACE,
    lease_name: LeaseName = DEFAULT_LEASE,
    wait_seconds: Annotated[
        float, typer.Option(min=3.0, max=600.0, help="Seconds to wait for a leader, and then for its reports on pools.")
    ] = 30.0,
) -> None:
    """Check that an operator leads, and that it has read all pools. The exit code is 1 if not.

    A leader counts only once it is seen to renew its Lease, which takes about 3 seconds. `helm test` runs this command.
    A pool that is not Ready is printed and does not count as an error, because its spec or its nodes may be the reason.

    Needs the right to get the operator's Lease and to list computepools.
    """
    from computepool.cli import check as checking
    from computepool.cli.console import make_console
    from computepool.cli.leader import LeaseAddress

    lease = LeaseAddress(operator_namespace, lease_name)
    work = checking.run(kubeconfig, context, lease, make_console(), wait_seconds=wait_seconds)
    _run_one(work, checking.NEEDS)


def _run_one(work: Coroutine[Any, Any, T], needs: str, *, failed: int = 1) -> T:
    """Run a command. `needs`: its rights, for the sentence about a right that is missing; `failed`: exit code after an
    error.
    """
    from computepool.cli.errors import ToldError, sentence
    from computepool.kube.credentials import AccessError
    from computepool.kube.errors import ApiError

    try:
        return asyncio.run(work)
    except (ApiError, AccessError, ToldError) as error:
        _print_error(sentence(error, needs) if isinstance(error, ApiError) else str(error))
        raise typer.Exit(failed) from None
    except OSError as error:
        from computepool.cli.console import discard

        # Mostly of standard output. Errors of connections and of kubeconfig files are told above.
        _print_error(f"the command could not do or print everything: {error.strerror or error}")
        discard(sys.stdout)
        raise typer.Exit(failed) from None
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    except Exception:
        if failed == 1:
            raise
        # Python would end with 1, which means something else here.
        traceback.print_exc()
        raise typer.Exit(failed) from None


def _print_error(text: str) -> None:
    from computepool.cli.console import make_console

    make_console(stderr=True).print(text, style="red")


async def _run(settings: "Settings") -> int:
    from computepool.app.endpoints import ServeError
    from computepool.app.operator import run as run_operator
    from computepool.kube.credentials import AccessError

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
    app(command_first(sys.argv[1:]), prog_name="kubectl computepool" if IS_PLUGIN else "computepool")
