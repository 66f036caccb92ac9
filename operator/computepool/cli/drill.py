"""`computepool drill POOL --lose PROVIDER`: what the operator would do if that provider failed now.

The dry run plays the operator's own code on a simulated copy of the cluster, and changes nothing.
"""

import time

import msgspec
from rich.console import Console

from computepool.cli.cluster_view import NotFoundError
from computepool.cli.console import print_data
from computepool.cli.drill_seed import Found, read_seed
from computepool.cli.drill_text import Told, as_json, print_drill
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


class Request(msgspec.Struct, frozen=True):
    """What the user asks for."""

    kubeconfig: str | None
    context: str | None
    operator_namespace: str
    pool: str
    provider: str
    how: How
    output: Output


async def run(request: Request, console: Console, progress: Console) -> None:
    """Play the drill and print it. `progress`: the console of the progress line, which only a terminal shows.

    Raises AccessError, ApiError and NotFoundError.
    """
    async with ApiClient(await load_access(request.kubeconfig, request.context)) as client:
        found = await read_seed(client, request.operator_namespace, request.pool)
    told = rehearse(found, request.provider, request.how, progress)
    if request.output is Output.TABLE:
        print_drill(told, console)
    else:
        print_data(as_json(told), request.output, console)


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
