"""Invariant 7: only the current leader writes.

There are two fences. This process checks its own before each write, which costs no round trip. Between that check and
the API server a process may be stopped past its Lease. So the chart's policy `computepool-guard-leader` compares the
writer with the recorded leader once more, in the API server (`app/leader_record.py`).
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from computepool.kube.client import ApiClient, Body
from computepool.kube.denial import lacks_right
from computepool.kube.errors import ApiError, BadRequest, Forbidden, Invalid
from computepool.kube.runtime import Runtime

LEADER_POLICY: Final = "computepool-guard-leader"
LAG_SECONDS: Final = (0.02, 0.05, 0.1, 0.2, 0.4)
"""Delays between attempts while the API server's policy has not seen yet that this process leads. The API server reads
the record of the leader from a watch of its own, which shows a new leader some milliseconds late."""


def refuses_patch(error: ApiError) -> bool:
    """Say whether the API server refuses a patch for what is in it: validation, an admission policy or a webhook.

    A right that is missing, and the policy that knows the leader, refuse every patch.
    """
    is_refusal = isinstance(error, BadRequest | Forbidden | Invalid)
    return is_refusal and not lacks_right(error) and LEADER_POLICY not in error.message


class NotLeadingError(Exception):
    """This process does not hold the Lease, or can't be sure of it; nothing was written."""


class Fence(Protocol):
    """Says, without asking the API server, whether this process may write now."""

    def check(self) -> None:
        """Raise NotLeadingError unless this process may write now."""


class FencedWrites:
    """Writes that both fences pass. Every method raises ApiError and NotLeadingError."""

    def __init__(self, client: ApiClient, fence: Fence, runtime: Runtime, identity: str) -> None:
        """`identity`: the name of this process in the Lease. It is the field manager of its writes."""
        self._client = client
        self._fence = fence
        self._sleep = runtime.sleep
        self._params = {"fieldManager": identity[:128]}

    async def json_patch(self, path: str, ops: Body, *, metadata_only: bool = False) -> bytes:
        """Apply RFC 6902 operations, as `ApiClient.json_patch`."""
        return await self._send(partial(self._client.json_patch, path, ops, self._params, metadata_only=metadata_only))

    async def merge_patch(self, path: str, body: Body, *, metadata_only: bool = False) -> bytes:
        """Apply an RFC 7386 patch, as `ApiClient.merge_patch`."""
        return await self._send(
            partial(self._client.merge_patch, path, body, self._params, metadata_only=metadata_only)
        )

    async def create(self, path: str, body: Body) -> bytes:
        """POST an object, as `ApiClient.create`."""
        return await self._send(partial(self._client.create, path, body, self._params))

    async def delete(self, path: str, body: Body) -> bytes:
        """DELETE an object, as `ApiClient.delete`. Such a request has no field manager."""
        return await self._send(partial(self._client.delete, path, body))

    async def _send(self, request: Callable[[], Awaitable[bytes]]) -> bytes:
        for delay in LAG_SECONDS:
            self._fence.check()
            try:
                return await request()
            # Invalid: the API server has not read any record yet, just after the policy was installed.
            except (Forbidden, Invalid) as error:
                if LEADER_POLICY not in error.message:
                    raise
                # A process that was stopped past its Lease learns it here, and ends.
                self._fence.check()
                await self._sleep(delay)
        self._fence.check()
        return await request()


@dataclass(frozen=True, slots=True)
class WriteAccess:
    """The client, fence, runtime and identity that every writer needs."""

    client: ApiClient
    """For reads. Writes use `writes`."""
    fence: Fence
    runtime: Runtime
    identity: str
    """The name of this process in the Lease."""

    @property
    def writes(self) -> FencedWrites:
        """The writes that only a leader makes."""
        return FencedWrites(self.client, self.fence, self.runtime, self.identity)
