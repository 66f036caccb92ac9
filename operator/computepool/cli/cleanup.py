"""`computepool cleanup`: take the operator's taint off all nodes, after the operator is gone."""

import asyncio
from collections.abc import Iterable

import msgspec
from rich.console import Console

from computepool.act.tainter import removal_patch
from computepool.cli.errors import ToldError
from computepool.kube import paths, wire
from computepool.kube.client import ApiClient
from computepool.kube.credentials import load_access
from computepool.kube.errors import ApiError, Conflict, Forbidden, Invalid, NotFound
from computepool.model.api import UNAVAILABLE_KEY
from computepool.model.taints import Taint
from computepool.report.formatting import counted, listed

PARALLEL = 16
ROUNDS = 5
"""How often nodes are listed at most: a node that changes between a list and its patch is in the next list."""
PAUSE_SECONDS = 1.0
"""Before nodes whose patch failed are tried again."""
NAMED_NODES = 5
NEEDS = "list and patch nodes"
BY_HAND = f"kubectl taint nodes --all {UNAVAILABLE_KEY}-"
NOT_FOUND = f"No node carries the taint {UNAVAILABLE_KEY}."
RETURNS = (
    f"The taint {UNAVAILABLE_KEY} comes back as fast as it is taken off: an operator still runs. "
    "Uninstall it, or delete its pools, and run this again."
)


class CleanupError(ToldError):
    """Some nodes still have the taint; the message names them and says why, and what to do."""


_NODE = msgspec.json.Decoder(wire.Node)


async def run(kubeconfig: str | None, context: str | None, console: Console, *, dry_run: bool) -> None:
    """Take the taint off all nodes, or with `dry_run` only list these nodes.

    Raises AccessError, ApiError where the nodes can't be listed, and CleanupError where some keep the taint.
    """
    async with ApiClient(await load_access(kubeconfig, context)) as client:
        if dry_run:
            tainted = await _tainted(client)
            for name in sorted(tainted):
                console.print(f"{name}  {_values(tainted[name])}")
            nodes = counted(len(tainted), "node")
            console.print(f"{nodes} would be freed. Nothing was changed." if tainted else NOT_FOUND)
            return
        freed = 0
        for _ in range(ROUNDS):
            tainted = await _tainted(client)
            if not tainted:
                text = f"{counted(freed, 'node')} freed. An operator that still runs taints unhealthy nodes again."
                console.print(text if freed else NOT_FOUND)
                return
            failed = await _free(client, console, tainted)
            freed += len(tainted) - len(failed)
            if any(_is_final(error) for error in failed.values()):
                break
            if failed:
                await asyncio.sleep(PAUSE_SECONDS)
    raise CleanupError(_error_text(failed) if failed else RETURNS)


async def _tainted(client: ApiClient) -> dict[str, list[Taint]]:
    """Return the taints of the nodes that carry the operator's taint, by node."""
    found = {}
    async for page in client.list_pages(paths.NODES):
        for raw in page.items:
            node = _NODE.decode(raw)
            taints = [Taint(taint.key, taint.value, taint.effect) for taint in node.spec.taints or ()]
            if any(taint.key == UNAVAILABLE_KEY for taint in taints):
                found[node.metadata.name] = taints
    return found


async def _free(client: ApiClient, console: Console, nodes: dict[str, list[Taint]]) -> dict[str, ApiError]:
    """Take the taint off these nodes. Return the nodes where that failed, with the errors."""
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


def _is_final(error: ApiError) -> bool:
    """Say whether another attempt would fail the same way."""
    return not error.retryable and not isinstance(error, Conflict | Invalid)


def _error_text(failed: dict[str, ApiError]) -> str:
    error = next(iter(failed.values()))
    needs = f" This command needs the right to {NEEDS}." if isinstance(error, Forbidden) else ""
    nodes = f"{counted(len(failed), 'node')} not freed ({listed(sorted(failed), NAMED_NODES)})"
    return f"{nodes}: {error.message or error}.{needs} Run it again, or as an administrator: {BY_HAND}"


def _values(taints: Iterable[Taint]) -> str:
    return ", ".join(f"{taint.key}={taint.value}:{taint.effect}" for taint in taints if taint.key == UNAVAILABLE_KEY)
