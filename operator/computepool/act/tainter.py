"""Puts the operator's taint on nodes and takes it off again, other taints untouched.

A node's list of taints is atomic: every kind of merge patch writes the whole list. That would drop taints added in the
meantime, and each taint's `timeAdded`, which the records do not hold. So single elements are changed, by JSON Patch.
The API server refuses a change (422) if the list differs from the one that was seen:
- added at the end of a list that has others: the API server refuses a second taint of the same key and effect;
- added where there was no list: only to that very version of the node;
- changed or removed at its index: only if that is the operator's own taint, by key and effect.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from computepool.act.fence import WriteAccess
from computepool.kube import paths, wire
from computepool.kube.errors import ApiError, Conflict, Invalid, NotFound, decoded
from computepool.kube.retry import Backoff
from computepool.model.api import UNAVAILABLE_KEY
from computepool.model.cluster import Node
from computepool.model.keys import QUARANTINE_EFFECT
from computepool.model.taints import Taint
from computepool.model.text import rfc3339

PARALLEL: Final = 32
RETRY_BASE_SECONDS: Final = 0.25
RETRY_CAP_SECONDS: Final = 30.0
PATIENCE: Final = 3
"""Refusals of one node's patch, one after another, that the view of it may explain: it lags behind by milliseconds."""

Operations = list[dict[str, Any]]
_STORED: Final = msgspec.json.Decoder(wire.Stored)


def taint_patch(node: Node, value: str, now: float) -> Operations:
    """Return the JSON Patch that makes the operator's taint say `value`, or takes it off where that is empty.

    No operations: it is so already. `now` (seconds since the epoch) is when it was added, for people to read.
    """
    index = next((at for at, taint in enumerate(node.taints) if _own(taint)), None)
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
    """Return the JSON Patch that takes off all taints with the operator's key, whatever their effect."""
    operations: Operations = []
    # From the end, so that each is still where it was seen.
    for index in reversed(range(len(taints))):
        if taints[index].key == UNAVAILABLE_KEY:
            operations += [*_still_at(index, taints), {"op": "remove", "path": f"/spec/taints/{index}"}]
    return operations


def _own(taint: Taint) -> bool:
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
    """Which taint each node is to have. It is asked anew before each attempt."""

    def node(self, name: str) -> Node | None:
        """Return the node as it is seen now; None where it is gone."""

    def wanted(self, name: str) -> str | None:
        """Return the value of the taint that it is to have: empty for none, None to leave it as it is."""

    def written(self, node: Node, value: str, version: int) -> None:
        """The API server has stored the taint, which made this resourceVersion."""

    def failed(self) -> None:
        """`Tainter.failing` has grown."""


class Tainter:
    """Gives nodes the taint that is wanted, many nodes at once."""

    def __init__(self, access: WriteAccess, wishes: TaintWishes) -> None:
        """Nothing is written yet."""
        self._client = access.client
        self._fence = access.fence
        self._runtime = access.runtime
        self._wishes = wishes
        self._slots = asyncio.Semaphore(PARALLEL)
        self._failing: dict[str, ApiError] = {}

    @property
    def failing(self) -> Mapping[str, ApiError]:
        """The nodes whose taint could not be made what is wanted yet, and what was answered last."""
        return self._failing

    async def make(self, name: str) -> None:
        """Try until the node is as wanted, or gone, or to be left alone. Raises NotLeadingError."""
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
        """Write once, if anything is to be written; return what it failed with."""
        async with self._slots:
            node, value = self._wishes.node(name), self._wishes.wanted(name)
            if node is None or value is None or not (patch := taint_patch(node, value, self._runtime.wall())):
                return None
            self._fence.check()
            try:
                version = await self._patch(name, patch)
            except ApiError as error:
                return error
            self._wishes.written(node, value, version)
            return None

    async def _patch(self, name: str, patch: Operations) -> int:
        path = f"{paths.NODES}/{name}"
        answer = await self._client.json_patch(path, patch, {"fieldManager": "computepool"}, metadata_only=True)
        return int(decoded(_STORED, answer, request=f"PATCH {path}").metadata.resource_version)
