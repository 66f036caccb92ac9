"""A pool as it is stored, and edits of one of its providers.

The spec's list of providers has no keys for a patch to name. So a patch tests that the pool is the pool that was read,
and that the provider at its position is the provider that is meant. If anything else changed the list in between, the
API server refuses the patch, and the pool is read again: another provider is never changed, and no edit of others is
lost.
"""

from contextlib import suppress
from typing import Any, Final

import msgspec

from computepool.cli.cluster_view import NotFoundError
from computepool.cli.errors import ToldError
from computepool.kube import paths
from computepool.kube.client import ApiClient
from computepool.kube.errors import ApiError, BadRequest, NotFound, Unavailable, decoded
from computepool.kube.wire import Wire
from computepool.model.api import ComputePool, InvalidPool

NEEDS: Final = "get and patch computepools, which the cluster role `admin` has"
ATTEMPTS: Final = 10
PAUSE_SECONDS: Final = 0.2
"""Between two attempts: others change the pool at the same time."""
Json = dict[str, Any]
OBJECT: Final = msgspec.json.Decoder(Json)


class _Meta(Wire):
    name: str
    uid: str
    generation: int


class _Provider(Wire):
    name: str


class _Spec(Wire):
    providers: list[_Provider]


class _Pool(Wire):
    metadata: _Meta
    spec: _Spec


_POOL: Final = msgspec.json.Decoder(_Pool)
"""What each pool has. An answer without it comes from another server, such as a proxy's page."""


class PoolEditError(ToldError):
    """The pool was not changed; the message says why, and what to do."""


class Stored(msgspec.Struct, frozen=True):
    """A pool as it is stored."""

    obj: Json

    @property
    def pool(self) -> ComputePool:
        """The pool as the operator reads it. Raises PoolEditError if this version can't read it."""
        try:
            return ComputePool.from_object(self.obj)
        except InvalidPool as error:
            raise PoolEditError(f"this version can't read the pool, so it changes nothing: {error}") from None

    def position(self, provider: str) -> int:
        """Return the provider's position. Raises NotFoundError if the pool has no such provider."""
        names = [spec["name"] for spec in self.obj["spec"]["providers"]]
        if provider not in names:
            pool = self.obj["metadata"]["name"]
            raise NotFoundError(f"pool {pool!r} has no provider {provider!r}; it has {', '.join(names)}")
        return names.index(provider)

    def tests(self, provider: str) -> list[Json]:
        """Return the tests with which a patch of the provider begins. Raises NotFoundError likewise."""
        return [
            {"op": "test", "path": "/metadata/uid", "value": self.obj["metadata"]["uid"]},
            {"op": "test", "path": f"{self.path(provider)}/name", "value": provider},
        ]

    def path(self, provider: str) -> str:
        """Return where the provider is in the object. Raises NotFoundError likewise."""
        return f"/spec/providers/{self.position(provider)}"

    def has_spec_of(self, other: "Stored") -> bool:
        """Say whether nobody has changed the spec: a spec that was changed and changed back has another generation."""
        return all(self.obj["metadata"][field] == other.obj["metadata"][field] for field in ("uid", "generation"))


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
    return Stored(decoded(OBJECT, answer, request=request))


async def edit(client: ApiClient, pool: str, patch: list[Json], manager: str, *, dry_run: bool = False) -> None:
    """Patch a pool. With `dry_run` the API server checks it and changes nothing.

    Raises ApiError: Conflict or Invalid if a test of the patch fails. Raises PoolEditError if the CRD is too old: it
    would drop a field that it does not know, and what was asked would not happen.
    """
    params = {"fieldManager": manager, "fieldValidation": "Strict", **({"dryRun": "All"} if dry_run else {})}
    try:
        await client.json_patch(f"{paths.POOLS}/{pool}", patch, params)
    except BadRequest as error:
        if "unknown field" not in error.message:
            raise
        message = f"the cluster's CRD is older than this command: upgrade it first ({error.message})"
        raise PoolEditError(message) from None


async def disown(client: ApiClient, pool: str, manager: str) -> None:
    """Give up the ownership of fields that the manager has changed for a while.

    A failure harms nothing and is not raised: `kubectl apply --server-side --force-conflicts` takes the fields over.

    The API server notes who wrote a field last (`metadata.managedFields`). The list of providers is one field. So after
    a command has set and removed a part of it, the command owns the list, and the next `kubectl apply --server-side` of
    a changed manifest would be refused as a conflict with the command.
    """
    with suppress(ApiError, NotFoundError):
        stored = await read_stored(client, pool)
        if any(spec.get("drain") or spec.get("drill") for spec in stored.obj["spec"]["providers"]):
            # The conflict keeps a manifest from ending what a command has set for another provider.
            return
        for at, entry in enumerate(stored.obj["metadata"].get("managedFields") or ()):
            if entry.get("manager") == manager and not entry.get("subresource"):
                path = f"/metadata/managedFields/{at}"
                patch = [
                    {"op": "test", "path": f"{path}/manager", "value": manager},
                    {"op": "remove", "path": path},
                ]
                await client.json_patch(f"{paths.POOLS}/{pool}", patch, {"fieldManager": manager})
                return
