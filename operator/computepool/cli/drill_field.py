"""The field `drill` of a provider: how a drill begins and ends in the pool's spec.

A drill drains its provider only until its time `until`, so nothing has to be restored for the provider to be used
again. To begin and to end a drill is one patch each, which touches no other field.
"""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from computepool.cli import stored_pool
from computepool.cli.errors import ToldError
from computepool.cli.stored_pool import ATTEMPTS, Json, Stored, disown, edit, read_stored
from computepool.kube import paths
from computepool.kube.client import ApiClient
from computepool.kube.errors import ApiError, Conflict, Invalid
from computepool.model.api import ComputePool
from computepool.model.text import rfc3339

_MANAGER: Final = "computepool-drill"


class DrillError(ToldError):
    """The drill did not begin, or could not be ended; the message says why, and what to do."""


def drills_in(stored: Stored) -> dict[str, Json]:
    """Return the field `drill` of each provider that has it, under way or over."""
    return {spec["name"]: spec["drill"] for spec in stored.obj["spec"]["providers"] if "drill" in spec}


async def drilled_pools(client: ApiClient) -> list[str]:
    """Return the names of the pools with a drill, under way or over, also if this version can't read them."""
    names = []
    async for page in client.list_pages(paths.POOLS):
        for raw in page.items:
            stored = Stored(stored_pool.OBJECT.decode(raw))
            if drills_in(stored):
                names.append(str(stored.obj["metadata"]["name"]))
    return sorted(names)


def drill_of(since: float, until: float, by: str) -> Json:
    """Return the field. Times are seconds since the epoch."""
    return {"since": _stamp(since), "until": _stamp(until), "by": by}


def _stamp(at: float) -> str:
    return rfc3339(datetime.fromtimestamp(int(at), UTC))


def why_not_now(pool: ComputePool, provider: str, now: float) -> str:
    """Say why no drill can begin by what the pool's spec says; empty if one can. `now`: the leader's time."""
    spec = pool.spec.provider(provider)
    if spec is None:
        return f"pool {pool.name} has no provider {provider} any more"
    for other in pool.spec.providers:
        if other.drill is not None and other.drill.until.timestamp() > now:
            by = f" by {other.drill.by}" if other.drill.by else ""
            return (
                f"a drill of {other.name}{by} is under way until {rfc3339(other.drill.until)}: wait, or end it with "
                f"computepool drill --restore {pool.name}"
            )
    if spec.drain:
        return f"{provider} is drained already: end the drain with computepool drain {pool.name}/{provider} --undo"
    return ""


async def begin(client: ApiClient, stored: Stored, provider: str, drill: Json) -> None:
    """Write the field, and remove what an earlier drill has left, unless anything of the spec has changed since it was
    read. `why_not_now` has found no drill under way.

    Raises PoolEditError and ApiError: Conflict or Invalid if the spec has changed.
    """
    meta = stored.obj["metadata"]
    patch = [
        *stored.tests(provider),
        *_removal(stored, drills_in(stored)),
        {"op": "test", "path": "/metadata/generation", "value": meta["generation"]},
        {"op": "add", "path": f"{stored.path(provider)}/drill", "value": drill},
    ]
    await edit(client, meta["name"], patch, _MANAGER)


async def end(client: ApiClient, pool: str, only: Json | None = None) -> list[str]:
    """Remove the field from all providers of a pool, or only a drill with exactly this value.

    Return the providers whose drill was ended; none if there was no drill. A pool that this version can't read is ended
    too. Raises ApiError, NotFoundError and DrillError.
    """
    last: ApiError | None = None
    for _ in range(ATTEMPTS):
        stored = await read_stored(client, pool)
        ended = [name for name, drill in drills_in(stored).items() if only is None or drill == only]
        if not ended:
            return []
        try:
            # Not strict: a drill of a newer version is ended too.
            await client.json_patch(f"{paths.POOLS}/{pool}", _removal(stored, ended), {"fieldManager": _MANAGER})
        except (Invalid, Conflict) as error:
            last = error
            await asyncio.sleep(stored_pool.PAUSE_SECONDS)
        else:
            await disown(client, pool, _MANAGER)
            return ended
    raise DrillError(f"pool {pool!r} is changed again and again by others, or the patch is refused: {last}")


def _removal(stored: Stored, providers: Iterable[str]) -> list[Json]:
    patch: list[Json] = []
    drills = drills_in(stored)
    for name in providers:
        at = f"{stored.path(name)}/drill"
        patch += stored.tests(name)
        patch += [{"op": "test", "path": at, "value": drills[name]}, {"op": "remove", "path": at}]
    return patch
