"""`computepool drill POOL --lose PROVIDER`: what the operator would do if that provider failed now.

The dry run plays the operator's own code on a simulated copy of the cluster, and changes nothing.
"""

import time
from pathlib import Path

import msgspec
from rich.console import Console

from computepool.cli import drill_field, drill_home, drill_live, drill_page
from computepool.cli.cluster_view import NotFoundError
from computepool.cli.console import print_data
from computepool.cli.drill_live import Ended, Live
from computepool.cli.drill_seed import Found, read_seed
from computepool.cli.drill_text import Told, as_json, print_drill
from computepool.cli.leader import LeaseAddress
from computepool.cli.options import Output
from computepool.kube.client import ApiClient
from computepool.kube.credentials import load_access
from computepool.model.api import Mode
from computepool.simulate.drill import How, Seed, play

NEEDS = (
    "list computepools, namespaces, nodes, pods and poddisruptionbudgets in the whole cluster, such as by the "
    "ClusterRole computepool-explainer of the chart"
)
_TOLD_EVERY = 0.2
"""Seconds between two updates of the progress line."""


NEEDS_RESTORE = f"list computepools, and to {drill_field.NEEDS}"
NEEDS_LIVE = f"{NEEDS}; and to {drill_field.NEEDS}"


class Request(msgspec.Struct, frozen=True):
    """What the user asks for."""

    kubeconfig: str | None
    context: str | None
    operator_namespace: str
    pool: str
    provider: str
    how: How
    output: Output
    live: Live | None = None
    """None: a dry run."""
    report: Path | None = None
    """The file of the page that is written."""


def wanted_of(*, live: bool, planned: bool) -> How:
    """Return what is played: before a live drill, the drain that it is."""
    return How.DRAIN if live or planned else How.FAILS


def live_of(minutes: int, lease: LeaseAddress, yes: str, *, allow_stranded: bool, wait_home: bool) -> Live:
    """Return how a live drill is held."""
    return Live(minutes * 60.0, lease, yes, allow_stranded, wait_home)


async def run(request: Request, console: Console, progress: Console) -> None:
    """Play the drill and print it, and hold it if it is live. `progress`: the console of the progress line, which only
    a terminal shows, and of a live drill.

    Raises AccessError, ApiError, NotFoundError and DrillError.
    """
    async with ApiClient(await load_access(request.kubeconfig, request.context)) as client:
        found = await read_seed(client, request.operator_namespace, request.pool)
        told = rehearse(found, request.provider, request.how, progress)
        if request.live is None:
            _print(told, request, console)
            _write(request, told, console)
            return
        tell = console if request.output is Output.TABLE else progress
        print_drill(told, tell)
        await drill_live.refuse(client, request.live, told, time.time())
        drill_live.confirm(request.live, told, tell)
        ended = await drill_live.hold(client, request.live, found, told, tell)
        drill_live.print_end(ended, tell)
        if request.live.wait_home:
            await drill_home.wait(client, found, told, tell)
    if request.output is not Output.TABLE:
        print_data(as_json(told, ended.real), request.output, console)
    _write(request, told, tell, ended)


def _write(request: Request, told: Told, console: Console, ended: Ended | None = None) -> None:
    if request.report is not None:
        drill_page.write(request.report, told, ended)
        if request.output is Output.TABLE:
            console.print(f"The report is in {request.report}.")


def _print(told: Told, request: Request, console: Console) -> None:
    if request.output is Output.TABLE:
        print_drill(told, console)
    else:
        print_data(as_json(told), request.output, console)


async def restore(kubeconfig: str | None, context: str | None, name: str | None, console: Console) -> None:
    """End all drills of one pool, or of all pools, under way or over.

    Raises AccessError, ApiError, NotFoundError and DrillError.
    """
    async with ApiClient(await load_access(kubeconfig, context)) as client:
        names = [name] if name is not None else await drill_field.drilled_pools(client)
        ended = 0
        for pool in names:
            for provider in await drill_field.end(client, pool):
                ended += 1
                console.print(f"The drill of {provider} of pool {pool} has ended. The pool's spec is as before.")
    if not ended:
        console.print("There is no drill. Nothing was changed.")


def rehearse(found: Found, provider: str, how: How, progress: Console) -> Told:
    """Play the drill on a copy of the cluster. Raises NotFoundError if the pool has no such provider."""
    pool = found.seed.pool
    names = [spec.name for spec in pool.spec.providers]
    if provider not in names:
        raise NotFoundError(f"pool {pool.name!r} has no provider {provider!r}; it has {', '.join(names)}")
    seed = _enforcing(found.seed)
    if not progress.is_terminal:
        return Told(pool, play(seed, provider, how), found.notes, seed.now)
    told_at = 0.0
    with progress.status("Playing the drill ...") as line:

        def tell(seconds: float, ready: int, pods: int) -> None:
            nonlocal told_at
            if time.monotonic() - told_at >= _TOLD_EVERY:
                told_at = time.monotonic()
                line.update(f"Playing the drill: {seconds:.0f} s, {ready} of {pods} pods are Ready elsewhere ...")

        return Told(pool, play(seed, provider, how, tell), found.notes, seed.now)


def _enforcing(seed: Seed) -> Seed:
    """Return the same cluster with the pool in mode Enforce: in mode Observe nothing would move."""
    if seed.pool.spec.mode is Mode.ENFORCE:
        return seed
    spec = seed.pool.spec.model_copy(update={"mode": Mode.ENFORCE})
    return msgspec.structs.replace(seed, pool=seed.pool.model_copy(update={"spec": spec}))
