"""Reads a live cluster for an audit, with the rights to get and list alone. What may not be read is noted."""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from typing import Final

import msgspec

from computepool.app.caches import UNFINISHED
from computepool.audit.cluster import Cluster, Facilities
from computepool.audit.decode import ClusterBuilder
from computepool.kube import paths
from computepool.kube.client import ApiClient
from computepool.kube.credentials import load_access
from computepool.kube.errors import ApiError, Forbidden, NotFound, decoded
from computepool.kube.wire import Wire

_ROUNDS: Final = 5
"""How many owners above each other are followed."""
_KINDS: Final[tuple[tuple[str, str, Mapping[str, str] | None], ...]] = (
    ("Namespace", paths.NAMESPACES, None),
    ("Pod", paths.PODS, UNFINISHED),
    ("PodDisruptionBudget", paths.DISRUPTION_BUDGETS, None),
    ("ComputePool", paths.POOLS, None),
)
_AUTOSCALERS: Final = {
    "karpenter.sh": "Karpenter",
    "autoscaling.x-k8s.io": "Cluster Autoscaler's CapacityBuffer and ProvisioningRequest",
    "kueue.x-k8s.io": "Kueue",
    "cluster.x-k8s.io": "Cluster API",
}
Progress = Callable[[str, int], None]
"""Takes a kind of objects, and how many of them were read."""


class _Version(Wire):
    git_version: str = ""


class _GroupVersion(Wire):
    group_version: str = ""


class _Group(Wire):
    versions: tuple[_GroupVersion, ...] = ()


class _Groups(Wire):
    groups: tuple[_Group, ...] = ()


class _Resource(Wire):
    name: str = ""
    kind: str = ""


class _Resources(Wire):
    resources: tuple[_Resource, ...] = ()


_VERSION: Final = msgspec.json.Decoder(_Version)
_GROUPS: Final = msgspec.json.Decoder(_Groups)
_RESOURCES: Final = msgspec.json.Decoder(_Resources)


async def read_live(
    kubeconfig: str | None, context: str | None, accelerators: Collection[str], progress: Progress
) -> Cluster:
    """Read a cluster. Raises AccessError, and ApiError where nodes or pods can't be read."""
    access = await load_access(kubeconfig, context)
    async with ApiClient(access) as client:
        reader = _Reader(client, ClusterBuilder(accelerators), progress)
        return await reader.read(access.credentials.host)


class _Reader:
    """One read of a cluster."""

    def __init__(self, client: ApiClient, builder: ClusterBuilder, progress: Progress) -> None:
        self._client = client
        self._builder = builder
        self._progress = progress
        self._missing: dict[str, str] = {}

    async def read(self, source: str) -> Cluster:
        now = time.time()
        await self._list("Node", paths.NODES)
        await asyncio.gather(*(self._list(kind, path, query) for kind, path, query in _KINDS))
        if "Node" in self._missing or "Pod" in self._missing:
            why = self._missing.get("Node") or self._missing["Pod"]
            raise Forbidden(403, "Forbidden", why, request="the read of nodes and pods")
        await self._follow_owners()
        facilities = await self._facilities()
        return self._builder.build(now, facilities=facilities, missing=self._missing, source=source)

    async def _list(
        self, kind: str, path: str, query: Mapping[str, str] | None = None, *, metadata_only: bool = False
    ) -> None:
        count = 0
        try:
            async for page in self._client.list_pages(path, query, metadata_only=metadata_only):
                for raw in page.items:
                    self._builder.put(kind, bytes(raw))
                count += len(page.items)
                self._progress(kind, count)
        except Forbidden as error:
            self._missing[kind] = error.message
        except NotFound:
            # The cluster has no such kind, so there is nothing to read.
            return

    async def _follow_owners(self) -> None:
        """Read the objects between pods and their topmost owners, such as ReplicaSets, one kind after another."""
        tried: set[tuple[str, str]] = set()
        for _ in range(_ROUNDS):
            kinds = {(owner.api_version, owner.kind) for owner in self._builder.unresolved} - tried
            if not kinds:
                return
            tried |= kinds
            for api_version, kind in sorted(kinds):
                path = await self._path_of(api_version, kind)
                if path:
                    await self._list(kind, path, metadata_only=True)

    async def _path_of(self, api_version: str, kind: str) -> str:
        """Return the path of all objects of a kind; empty where the cluster does not serve the kind."""
        root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        try:
            served = decoded(_RESOURCES, await self._client.get(root), request=f"GET {root}")
        except ApiError as error:
            self._missing[kind] = error.message
            return ""
        names = [found.name for found in served.resources if found.kind == kind and "/" not in found.name]
        return f"{root}/{names[0]}" if names else ""

    async def _facilities(self) -> Facilities:
        try:
            version = decoded(_VERSION, await self._client.get(paths.VERSION), request="GET /version").git_version
            groups = decoded(_GROUPS, await self._client.get("/apis"), request="GET /apis").groups
        except ApiError as error:
            self._missing["the served APIs"] = error.message
            return Facilities()
        apis = frozenset(version.group_version for group in groups for version in group.versions)
        return Facilities(version, apis, autoscalers_in(apis))


def autoscalers_in(apis: Collection[str]) -> tuple[str, ...]:
    """Return the autoscalers and queues whose APIs are served."""
    groups = {api.partition("/")[0] for api in apis}
    return tuple(name for group, name in _AUTOSCALERS.items() if group in groups)
