"""`computepool drill POOL --lose PROVIDER`: what the operator would do if that provider failed now.

The dry run plays the operator's own code on a simulated copy of the cluster, and changes nothing. With `--live` the
provider is really drained for a while, and put back.
"""

import os
import time
from contextlib import suppress
from pathlib import Path

import msgspec
from rich.console import Console
from rich.text import Text

from computepool.cli import drill_field, drill_live, drill_page, stored_pool
from computepool.cli.cluster_view import NotFoundError
from computepool.cli.console import print_data
from computepool.cli.drill_field import DrillError
from computepool.cli.drill_live import Window
from computepool.cli.drill_refusals import Limits, compare, consequences, refuse, shared_with
from computepool.cli.drill_seed import Found, read_seed
from computepool.cli.drill_text import Told, as_json, print_drill
from computepool.cli.errors import ToldError, sentence
from computepool.cli.exit_codes import INTERRUPTED, NOT_AS_WANTED
from computepool.cli.leader import LeaderWatch, LeaseAddress
from computepool.cli.options import DrillFailOn, Output
from computepool.cli.stored_pool import read_stored
from computepool.kube.client import ApiClient
from computepool.kube.credentials import load_access
from computepool.kube.errors import ApiError
from computepool.model.api import Mode
from computepool.simulate.drill import How, Seed, play

NEEDS = (
    "list computepools, namespaces, nodes, pods and poddisruptionbudgets in the whole cluster, such as by the "
    "ClusterRole computepool-explainer of the chart"
)
NEEDS_RESTORE = f"list computepools, and to {stored_pool.NEEDS}"
NEEDS_LIVE = f"{NEEDS}; to get the operator's Lease; and to {stored_pool.NEEDS}"
_TOLD_EVERY = 0.2
"""Seconds between two updates of the progress line."""


class Live(msgspec.Struct, frozen=True):
    """How a live drill is held."""

    limits: Limits
    lease: LeaseAddress
    yes: str = ""
    """The confirmation of a script."""


class Request(msgspec.Struct, frozen=True):
    """What the user asks for."""

    kubeconfig: str | None
    context: str | None
    operator_namespace: str
    pool: str
    provider: str
    how: How
    output: Output
    report: Path | None = None
    """The file of the page that is written."""
    fail_on: tuple[DrillFailOn, ...] = ()


async def run(request: Request, console: Console, progress: Console) -> int:
    """Play the drill and print it; return the exit code. `progress`: the console of the progress line, which only a
    terminal shows.

    Raises AccessError, ApiError, NotFoundError and ToldError.
    """
    _check_report(request.report)
    async with ApiClient(await load_access(request.kubeconfig, request.context)) as client:
        _, told = await _rehearse(client, request, progress)
    if request.output is Output.TABLE:
        print_drill(told, console)
    else:
        print_data(as_json(told), request.output, console)
    if request.report is not None:
        drill_page.write(request.report, told)
        _for_people(request, console, progress).print(f"The report is in {request.report}.")
    return NOT_AS_WANTED if DrillFailOn.STRANDED in request.fail_on and told.course.stranded else 0


async def run_live(request: Request, live: Live, console: Console, progress: Console) -> int:
    """Hold the drill and print how it went; return the exit code. `progress`: the console for people where `console`
    prints for programs.

    Raises AccessError, ApiError, NotFoundError and ToldError.
    """
    _check_report(request.report)
    tell = _for_people(request, console, progress)
    async with ApiClient(await load_access(request.kubeconfig, request.context)) as client:
        found, told = await _rehearse(client, request, progress)
        print_drill(told, tell)
        tell.print(consequences(told))
        if others := shared_with(found.seed, request.provider):
            tell.print(
                f"Nodes of {request.provider} also belong to the pool {', '.join(others)}: its new pods are kept off "
                "these nodes during the drill."
            )
        watch = LeaderWatch(client, live.lease)
        await _refuse(client, watch, live, told, time.time())
        if drill_live.confirm(live.yes, told, tell):
            # A person may have thought for long.
            shown = told
            found, told = await _rehearse(client, request, progress)
            compare(shown, told)
        now = await _leaders_time(watch)
        await _refuse(client, watch, live, told, now)
        ended = await drill_live.hold(client, found, told, Window(now, now + live.limits.within), tell)
    # First the file: the terminal may be gone.
    if request.report is not None:
        drill_page.write(request.report, told, ended)
        drill_live.say(tell, f"The report is in {request.report}.")
    drill_live.say(tell, "")
    drill_live.say(tell, Text(ended.verdict, style="green" if ended.end.well else "red"))
    if request.output is not Output.TABLE:
        with suppress(OSError):
            print_data(as_json(told, ended.real, ended.end), request.output, console)
    return 0 if ended.end.well else INTERRUPTED if ended.end.interrupted else NOT_AS_WANTED


async def _refuse(client: ApiClient, watch: LeaderWatch, live: Live, told: Told, now: float) -> None:
    """Raise DrillError if the drill must not begin by what the cluster says now."""
    leader = await watch.read()
    stored = await read_stored(client, told.pool.name)
    refuse(stored.pool, leader, told, live.limits, now)


async def _leaders_time(watch: LeaderWatch) -> float:
    """Return the time by the leader's clock, by which drills begin and end. Raises DrillError if it is not known."""
    leader = await watch.read()
    ahead = await watch.clock_ahead(leader)
    if ahead is None:
        raise DrillError(f"no drill: {leader.name} does not renew its Lease, so it may be gone: try again")
    return time.time() - ahead


def _for_people(request: Request, console: Console, progress: Console) -> Console:
    """Return the console for sentences: the output itself, or standard error where the output is for programs."""
    return console if request.output is Output.TABLE else progress


def _check_report(path: Path | None) -> None:
    """Raise ToldError now if the report could not be written later."""
    if path is None:
        return
    folder = path.parent
    if not folder.is_dir():
        raise ToldError(f"the report can't be written: there is no folder {folder}")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise ToldError(f"the report can't be written: {path} is not writable")


async def restore(kubeconfig: str | None, context: str | None, name: str | None, console: Console) -> None:
    """End all drills of one pool, or of all pools, under way or over. A pool that fails keeps no other from it.

    Raises AccessError, ApiError, NotFoundError and DrillError.
    """
    failed: list[str] = []
    ended = 0
    async with ApiClient(await load_access(kubeconfig, context)) as client:
        names = [name] if name is not None else await drill_field.drilled_pools(client)
        for pool in names:
            try:
                providers = await drill_field.end(client, pool)
            except (ApiError, ToldError) as error:
                if name is not None:
                    raise
                failed.append(f"{pool}: {sentence(error, NEEDS_RESTORE) if isinstance(error, ApiError) else error}")
                continue
            for provider in providers:
                ended += 1
                console.print(f"The drill of {provider} of pool {pool} has ended. The pool's spec is as before.")
    if failed:
        raise DrillError(f"not all drills were ended. {'; '.join(failed)}")
    if not ended:
        console.print("There is no drill. Nothing was changed.")


async def _rehearse(client: ApiClient, request: Request, progress: Console) -> tuple[Found, Told]:
    found = await read_seed(client, request.operator_namespace, request.pool)
    return found, rehearse(found, request.provider, request.how, progress)


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
