"""A look at the cluster during a live drill: the pool, and the pods of the namespaces that matter."""

from collections.abc import Iterable

import msgspec

from computepool.app.caches import UNFINISHED
from computepool.cli.cluster_view import NotFoundError
from computepool.cli.drill_seed import read_list
from computepool.cli.stored_pool import Stored, read_stored
from computepool.kube import paths
from computepool.kube.client import ApiClient
from computepool.model.cluster import Pod
from computepool.observe.decode import Records


class Look(msgspec.Struct, frozen=True):
    """What was seen at one time."""

    stored: Stored | None
    """The pool; None if it was deleted."""
    pods: tuple[Pod, ...]
    """The pods of the namespaces that have not ended."""


class Looks:
    """Looks at the cluster again and again."""

    def __init__(self, client: ApiClient, pool: str, namespaces: Iterable[str]) -> None:
        """`namespaces`: those of the pods that are watched."""
        self._client = client
        self._pool = pool
        self._paths = [paths.pods(namespace) for namespace in namespaces]
        self._records = Records()

    async def look(self) -> Look:
        """Raises ApiError."""
        try:
            stored: Stored | None = await read_stored(self._client, self._pool)
        except NotFoundError:
            stored = None
        pods: list[Pod] = []
        for path in self._paths:
            pods += await read_list(self._client, path, self._records.pod, set(), UNFINISHED)
        return Look(stored, tuple(pod for pod in pods if not pod.finished))
