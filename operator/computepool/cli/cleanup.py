"""`computepool cleanup`: take the operator's taint off all nodes, once no operator runs that would."""

import asyncio
from collections.abc import Iterable

import msgspec
from rich.console import Console

from computepool.act.tainter import removal_patch
from computepool.cli.console import counted
from computepool.kube import paths, wire
from computepool.kube.access import load_access
from computepool.kube.client import ApiClient
from computepool.kube.errors import ApiError, Conflict, Forbidden, Invalid, NotFound
from computepool.model.api import UNAVAILABLE_KEY
from computepool.model.taints import Taint

PARALLEL = 16
ROUNDS = 5
"""Lists at most: what was changed between a list and its patch is seen by the next."""
PAUSE_SECONDS = 1.0
"""Before nodes that could not be patched are tried again."""
BY_HAND = f"kubectl taint nodes --all {UNAVAILABLE_KEY}-"

RETURNS = (
    f"The taint {UNAVAILABLE_KEY} comes back as fast as it is taken off: an operator still runs. "
    "Uninstall it, or delete its pools, and run this again."
)


class CleanupError(Exception):
    """Nodes are left with the taint; the message says which, why, and what to do."""


_NODE = msgspec.json.Decoder(wire.Node)


async def run(kubeconfig: str | None, console: Console, *, dry_run: bool) -> None:
    """Take the taint off all nodes, or only say which ones carry it.

    Raises AccessError, ApiError where the nodes can't be listed, and CleanupError where some keep the taint.
    """
    async with ApiClient(await load_access(kubeconfig)) as client:
        if dry_run:
            _tell(console, await _tainted(client))
            return
        freed = 0
        for _ in range(ROUNDS):
            tainted = await _tainted(client)
            if not tainted:
                _sum_up(console, freed)
                return
            failed = await _free(client, console, tainted)
            freed += len(tainted) - len(failed)
            if any(_lasts(error) for error in failed.values()):
                break
            if failed:
                await asyncio.sleep(PAUSE_SECONDS)
    raise CleanupError(_complaint(failed) if failed else RETURNS)


async def _tainted(client: ApiClient) -> dict[str, list[Taint]]:
    """Return the taints of the nodes that carry the operator's, by name."""
    found = {}
    async for page in client.list_pages(paths.NODES):
        for raw in page.items:
            node = _NODE.decode(raw)
            taints = [Taint(taint.key, taint.value, taint.effect) for taint in node.spec.taints or ()]
            if any(taint.key == UNAVAILABLE_KEY for taint in taints):
                found[node.metadata.name] = taints
    return found


async def _free(client: ApiClient, console: Console, nodes: dict[str, list[Taint]]) -> dict[str, ApiError]:
    """Take the taint off these nodes; return the nodes where that failed, and the errors."""
    failed: dict[str, ApiError] = {}
    slots = asyncio.Semaphore(PARALLEL)
    done = 0

    async def free(name: str) -> None:
        nonlocal done
        async with slots:
            try:
                patch = removal_patch(nodes[name])
                await client.json_patch(f"{paths.NODES}/{name}", patch, metadata_only=True)
            except NotFound:
                return
            except ApiError as error:
                failed[name] = error
                return
        done += 1
        console.print(f"{done:>5}/{len(nodes)}  {name}  {_values(nodes[name])} taken off")

    await asyncio.gather(*(free(name) for name in sorted(nodes)))
    return failed


def _lasts(error: ApiError) -> bool:
    """Say whether another attempt would fail the same way."""
    return not error.retryable and not isinstance(error, Conflict | Invalid)


def _tell(console: Console, nodes: dict[str, list[Taint]]) -> None:
    for name in sorted(nodes):
        console.print(f"{name}  {_values(nodes[name])}")
    if nodes:
        console.print(f"{counted(len(nodes), 'node')} would be freed. Nothing was changed.")
    else:
        _sum_up(console, 0)


def _sum_up(console: Console, freed: int) -> None:
    if not freed:
        console.print(f"No node carries the taint {UNAVAILABLE_KEY}.")
        return
    console.print(f"{counted(freed, 'node')} freed. An operator that still runs puts back what it finds failing.")


def _complaint(failed: dict[str, ApiError]) -> str:
    names = ", ".join(sorted(failed)[:5]) + (", ..." if len(failed) > 5 else "")
    error = next(iter(failed.values()))
    needs = " `cleanup` needs to list and patch nodes." if isinstance(error, Forbidden) else ""
    return (
        f"{counted(len(failed), 'node')} not freed ({names}): {error.message or error}.{needs} "
        f"Run it again, or as an administrator: {BY_HAND}"
    )


def _values(taints: Iterable[Taint]) -> str:
    return ", ".join(f"{taint.key}={taint.value}:{taint.effect}" for taint in taints if taint.key == UNAVAILABLE_KEY)
