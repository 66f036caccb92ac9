"""Adds the operator's taint to nodes and removes it, and leaves other taints alone.

A node's list of taints is atomic: every kind of merge patch writes the whole list. That would drop taints that others
have just added, and each taint's `timeAdded`, which the records lack. So JSON Patch changes single elements. If the
list is not as it was seen, the API server refuses the patch (422):
- to add a taint to a list: a second taint of the same key and effect is refused;
- to add a list: only on the same version of the node;
- to change or remove a taint at its index: only if its key and effect are the operator's.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from computepool.act.write_access import WriteAccess
from computepool.kube import paths, wire
from computepool.kube.errors import ApiError, Conflict, Invalid, NotFound, decoded
from computepool.kube.retry import Backoff
from computepool.model.api import UNAVAILABLE_KEY
from computepool.model.cluster import Node
from computepool.model.taints import Taint
from computepool.model.text import rfc3339
from computepool.model.well_known_keys import QUARANTINE_EFFECT

PARALLEL: Final = 32
RETRY_BASE_SECONDS: Final = 0.25
RETRY_CAP_SECONDS: Final = 30.0
PATIENCE: Final = 3
"""Refusals of a node's patch in a row after which the node counts as failing. The view's lag explains fewer."""

Operations = list[dict[str, Any]]
_STORED: Final = msgspec.json.Decoder(wire.Stored)


def taint_patch(node: Node, value: str, now: float) -> Operations:
    """Return the JSON Patch that gives the operator's taint the value, or removes the taint if `value` is empty.

    The patch is empty if nothing is to change. `now`, in seconds since the epoch, becomes `timeAdded`.
    """
    index = next((index for index, taint in enumerate(node.taints) if _is_own(taint)), None)
    if index is None:
        return _added(node, value, now) if value else []
    if not value:
        return [*_still_at(index, node.taints), {"op": "remove", "path": f"/spec/taints/{index}"}]
    if node.taints[index].value == value:
        return []
    return [
        *_still_at(index, node.taints),
        {"op": "add", "path": f"/spec/taints/{index}/value", "value": value},
    ]


def removal_patch(taints: Sequence[Taint]) -> Operations:
    """Return the JSON Patch that removes all taints with the operator's key, of any effect."""
    operations: Operations = []
    # From the end, so that the indexes of the other taints stay.
    for index in reversed(range(len(taints))):
        if taints[index].key == UNAVAILABLE_KEY:
            operations += [*_still_at(index, taints), {"op": "remove", "path": f"/spec/taints/{index}"}]
    return operations


def _is_own(taint: Taint) -> bool:
    return taint.key == UNAVAILABLE_KEY and taint.effect == QUARANTINE_EFFECT


def _added(node: Node, value: str, now: float) -> Operations:
    taint = {"key": UNAVAILABLE_KEY, "value": value, "effect": QUARANTINE_EFFECT, "timeAdded": rfc3339(now)}
    if node.taints:
        return [{"op": "add", "path": "/spec/taints/-", "value": taint}]
    return [
        {"op": "test", "path": "/metadata/resourceVersion", "value": str(node.resource_version)},
        {"op": "add", "path": "/spec/taints", "value": [taint]},
    ]


def _still_at(index: int, taints: Sequence[Taint]) -> Operations:
    return [
        {"op": "test", "path": f"/spec/taints/{index}/key", "value": taints[index].key},
        {"op": "test", "path": f"/spec/taints/{index}/effect", "value": taints[index].effect},
    ]


class TaintWishes(Protocol):
    """The wanted taint of each node. The tainter asks before each attempt."""

    def node(self, name: str) -> Node | None:
        """Return the node as the store has it; None if it is gone."""

    def wanted(self, name: str) -> str | None:
        """Return the wanted value of the taint: empty for no taint, None to leave the node as it is."""

    def written(self, node: Node, value: str, version: int) -> None:
        """The API server has stored the taint as this resourceVersion of the node."""

    def failed(self) -> None:
        """`Tainter.failing` has grown."""


class Tainter:
    """Gives nodes the wanted taint, many nodes in parallel."""

    def __init__(self, access: WriteAccess, wishes: TaintWishes) -> None:
        """Nothing is written yet."""
        self._writes = access.writes
        self._runtime = access.runtime
        self._wishes = wishes
        self._slots = asyncio.Semaphore(PARALLEL)
        self._failing: dict[str, ApiError] = {}

    @property
    def failing(self) -> Mapping[str, ApiError]:
        """The last error of each node whose taint could not be written yet, by the node's name."""
        return self._failing

    async def make(self, name: str) -> None:
        """Try until the node has the wanted taint, is gone, or is to be left alone. Raises NotLeadingError."""
        backoff = Backoff(base=RETRY_BASE_SECONDS, cap=RETRY_CAP_SECONDS, rng=self._runtime.rng)
        try:
            while (error := await self._attempt(name)) is not None:
                delay = backoff.next(error)
                if not isinstance(error, Conflict | Invalid | NotFound) or backoff.failures >= PATIENCE:
                    self._failing[name] = error
                    self._wishes.failed()
                await self._runtime.sleep(delay)
        finally:
            self._failing.pop(name, None)

    async def _attempt(self, name: str) -> ApiError | None:
        """Write once, if the taint is to change; return the error."""
        async with self._slots:
            node, value = self._wishes.node(name), self._wishes.wanted(name)
            if node is None or value is None or not (patch := taint_patch(node, value, self._runtime.wall())):
                return None
            try:
                version = await self._patch(name, patch)
            except ApiError as error:
                return error
            self._wishes.written(node, value, version)
            return None

    async def _patch(self, name: str, patch: Operations) -> int:
        path = f"{paths.NODES}/{name}"
        answer = await self._writes.json_patch(path, patch, metadata_only=True)
        return int(decoded(_STORED, answer, request=f"PATCH {path}").metadata.resource_version)
