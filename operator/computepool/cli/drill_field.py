"""The field `drill` of a provider: how a drill begins and ends in the pool's spec.

A drill drains its provider only until its time `until`, so nothing has to be restored for the provider to be used
again. To begin and to end a drill is one patch each, which touches no other field. The patch tests that the pool is the
pool that was read, and that the provider at its position is the one that is meant. So edits that others make at the
same time are never lost.
"""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from computepool.cli.cluster_view import NotFoundError
from computepool.cli.errors import ToldError
from computepool.cli.field_owner import disown
from computepool.kube import paths
from computepool.kube.client import ApiClient
from computepool.kube.errors import ApiError, BadRequest, Conflict, Invalid, NotFound, Unavailable, decoded
from computepool.kube.wire import Wire
from computepool.model.api import ComputePool, InvalidPool
from computepool.model.text import rfc3339

NEEDS: Final = "get and patch computepools, which the cluster role `admin` has"
_MANAGER: Final = "computepool-drill"
ATTEMPTS: Final = 10
PAUSE_SECONDS: Final = 0.2
Json = dict[str, Any]
_OBJECT: Final = msgspec.json.Decoder(Json)


class _Meta(Wire):
    name: str
    uid: str
    generation: int


class _Provider(Wire):
    name: str
    drill: Json | None = None


class _Spec(Wire):
    providers: list[_Provider]


class _Pool(Wire):
    metadata: _Meta
    spec: _Spec


_POOL: Final = msgspec.json.Decoder(_Pool)
"""What each pool has. An answer without it comes from another server, such as a proxy's page."""


class DrillError(ToldError):
    """The drill did not begin, or could not be ended; the message says why, and what to do."""


class Stored(msgspec.Struct, frozen=True):
    """A pool as it is stored."""

    obj: Json

    @property
    def pool(self) -> ComputePool:
        """The pool as the operator reads it. Raises DrillError if this version can't read it."""
        try:
            return ComputePool.from_object(self.obj)
        except InvalidPool as error:
            raise DrillError(f"this version can't read the pool, so it changes nothing: {error}") from None

    def position(self, provider: str) -> int:
        """Return the provider's position. Raises NotFoundError if the pool has no such provider."""
        names = [spec["name"] for spec in self.obj["spec"]["providers"]]
        if provider not in names:
            pool = self.obj["metadata"]["name"]
            raise NotFoundError(f"pool {pool!r} has no provider {provider!r}; it has {', '.join(names)}")
        return names.index(provider)

    @property
    def drills(self) -> dict[str, Json]:
        """The field `drill` of each provider that has it, under way or over."""
        return {spec["name"]: spec["drill"] for spec in self.obj["spec"]["providers"] if "drill" in spec}


async def read_stored(client: ApiClient, name: str) -> Stored:
    """Read a pool. Raises ApiError and NotFoundError."""
    path = f"{paths.POOLS}/{name}"
    request = f"GET {path}"
    try:
        answer = await client.get(path)
    except NotFound as error:
        if error.reason != "NotFound":
            # Kubernetes says so in one word. Any other answer may be a proxy's.
            raise Unavailable(error.status, error.reason, error.message, request=request) from None
        raise NotFoundError(f"there is no ComputePool {name!r}: see `kubectl get computepools`") from None
    decoded(_POOL, answer, request=request)
    return Stored(decoded(_OBJECT, answer, request=request))


async def drilled_pools(client: ApiClient) -> list[str]:
    """Return the names of the pools with a drill, under way or over, also if this version can't read them."""
    names = []
    async for page in client.list_pages(paths.POOLS):
        for raw in page.items:
            stored = Stored(_OBJECT.decode(raw))
            if stored.drills:
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

    Raises ApiError: Conflict or Invalid if the spec has changed.
    """
    meta = stored.obj["metadata"]
    patch = [
        *_removal(stored, stored.drills),
        {"op": "test", "path": "/metadata/generation", "value": meta["generation"]},
        {"op": "add", "path": f"/spec/providers/{stored.position(provider)}/drill", "value": drill},
    ]
    # Strict: an older CRD would drop the field, and nothing would be drained.
    params = {"fieldManager": _MANAGER, "fieldValidation": "Strict"}
    try:
        await client.json_patch(f"{paths.POOLS}/{meta['name']}", patch, params)
    except BadRequest as error:
        if "unknown field" not in error.message:
            raise
        raise DrillError(f"the cluster's CRD is older than this command: upgrade it first ({error.message})") from None


async def end(client: ApiClient, pool: str, only: Json | None = None) -> list[str]:
    """Remove the field from all providers of a pool, or only a drill with exactly this value.

    Return the providers whose drill was ended; none if there was no drill. A pool that this version can't read is ended
    too. Raises ApiError, NotFoundError and DrillError.
    """
    last: ApiError | None = None
    for _ in range(ATTEMPTS):
        stored = await read_stored(client, pool)
        ended = [name for name, drill in stored.drills.items() if only is None or drill == only]
        if not ended:
            return []
        try:
            await client.json_patch(f"{paths.POOLS}/{pool}", _removal(stored, ended), {"fieldManager": _MANAGER})
        except (Invalid, Conflict) as error:
            last = error
            await asyncio.sleep(PAUSE_SECONDS)
        else:
            await disown(client, pool, _MANAGER)
            return ended
    raise DrillError(f"pool {pool!r} is changed again and again by others, or the patch is refused: {last}")


def _removal(stored: Stored, providers: Iterable[str]) -> list[Json]:
    patch: list[Json] = [{"op": "test", "path": "/metadata/uid", "value": stored.obj["metadata"]["uid"]}]
    for name in providers:
        at = f"/spec/providers/{stored.position(name)}"
        patch += [
            {"op": "test", "path": f"{at}/name", "value": name},
            {"op": "test", "path": f"{at}/drill", "value": stored.drills[name]},
            {"op": "remove", "path": f"{at}/drill"},
        ]
    return patch
