"""Reads Leases of silent nodes directly from the API server, past the watch.

A watch may show an old state although it is open: once a stale watch cache of the API server made whole clusters look
dead. So since 1.37 Kubernetes' node controller reads a node's Lease before it calls the node Unknown (feature gate
NodeControllerLeaseCircuitBreaker). Here no breaker opens on silence before a sample of the Leases was read.

Passes never wait for the answer. A pass asks for Leases, and the answer arrives as heartbeats and starts another pass.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from computepool.kube import paths
from computepool.kube.client import ApiClient
from computepool.kube.errors import ApiError
from computepool.observe.heartbeats import Heartbeats, Lease, read_lease

READ_SECONDS: Final = 2.0
"""The longest wait for an answer. A slow answer confirms nothing; the next pass asks again."""
TROUBLE_SECONDS: Final = 10.0
"""How long a failed read is reported. While it matters, it is repeated much sooner."""


class LeaseReader:
    """Reads Leases one batch after another."""

    def __init__(
        self,
        client: ApiClient,
        heartbeats: Heartbeats,
        *,
        clock: Callable[[], float],
        on_answer: Callable[[], None],
    ) -> None:
        """`clock` is monotonic; `on_answer` is called after each batch that was read completely."""
        self._client = client
        self._heartbeats = heartbeats
        self._clock = clock
        self._on_answer = on_answer
        self._wanted: set[str] = set()
        self._asked = asyncio.Event()
        self._error = ""
        self._failed_at = 0.0

    def want(self, names: Iterable[str]) -> None:
        """Ask for the Leases of these nodes."""
        self._wanted.update(names)
        if self._wanted:
            self._asked.set()

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            names = sorted(self._wanted)
            self._wanted.clear()
            await self._read(names)

    def trouble(self) -> str:
        """Return why Leases could not be read lately, and the effect; empty if there is no such problem."""
        if not self._error or self._clock() > self._failed_at + TROUBLE_SECONDS:
            return ""
        return f"Leases of silent nodes can't be read: {self._error}; a silent provider stays in use until they can"

    async def _read(self, names: Iterable[str]) -> None:
        asked = self._clock()
        found = await asyncio.gather(*(self._lease(name) for name in names))
        leases = [lease for lease in found if isinstance(lease, Lease)]
        errors = [str(error) for error in found if not isinstance(error, Lease)]
        self._heartbeats.compare(leases, asked, self._clock())
        if errors:
            # The next pass asks again. An answer at once would make passes and reads follow each other without a pause.
            self._error, self._failed_at = errors[0], self._clock()
        else:
            self._error = ""
            self._on_answer()

    async def _lease(self, name: str) -> Lease | Exception:
        """Return a node's Lease, or the error that says why it can't be read."""
        try:
            # Without a resourceVersion, the API server answers with the latest state and not from its cache:
            # https://kubernetes.io/docs/reference/using-api/api-concepts/#semantics-for-get-and-list
            return read_lease(await self._client.get(paths.node_lease(name), within=READ_SECONDS))
        except (ApiError, msgspec.ValidationError, ValueError) as error:
            return error
