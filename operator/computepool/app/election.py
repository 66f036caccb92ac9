"""Leader election on one Lease, and the fence that every write asks.

The official client's election does not fit. It stamps local time without a zone, has no deadline for an attempt, ends
when a connection is lost, and can't say whether leadership is certain *now*. The protocol is client-go's
(k8s.io/client-go/tools/leaderelection).

Invariant 7: this process writes only within `renew` seconds after it *sent* its last accepted renewal. Another process
takes over only after it has seen the Lease unchanged for `duration` seconds. As renew < duration, two processes never
write at once, if their clocks run at about the same speed. A process that was paused finds the fence closed when it
wakes. This is also true after the machine was suspended, because the clock counts that time (`uptime.py`).
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from computepool.act.write_access import NotLeadingError
from computepool.kube import paths
from computepool.kube.client import ApiClient
from computepool.kube.denial import is_denied, with_advice
from computepool.kube.errors import ApiError, Conflict, NotFound, decoded
from computepool.kube.runtime import Runtime
from computepool.kube.wire import Lease, LeaseSpec
from computepool.model.text import cut, rfc3339
from computepool.model.well_known_keys import TROUBLE_ANNOTATION
from computepool.report.logs import LimitedLog, log

_logger = logging.getLogger(__name__)

MAX_TROUBLE: Final = 1000
"""Characters about the trouble of a leader."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds, with client-go's defaults."""

    duration: float = 15.0
    """After this time without a renewal, another process may take the Lease."""
    renew: float = 10.0
    """After this time without a renewal, the leader stops leading."""
    retry: float = 2.0
    """Delay between attempts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseCandidate:
    """A process and the Lease that it wants."""

    namespace: str
    lease: str
    identity: str
    """Names this process in the Lease."""


class LostLeadershipError(Exception):
    """The Lease could not be renewed in time, or another process holds it; this process must end."""


_LEASE = msgspec.json.Decoder(Lease)


class Election:
    """One candidate for one Lease, and the fence of all writes of this process."""

    def __init__(
        self,
        client: ApiClient,
        candidate: LeaseCandidate,
        runtime: Runtime,
        *,
        timing: Timing | None = None,
        trouble: Callable[[], str] = lambda: "",
    ) -> None:
        """`runtime.steady` must go on while the machine is suspended. `runtime.wall` only stamps the Lease.

        `trouble` says why this process can't do its work, empty if it can. The Lease shows it to `computepool status`,
        also where no right is left but the right to renew it.
        """
        self._client = client
        self._candidate = candidate
        self._path = f"{paths.leases(candidate.namespace)}/{candidate.lease}"
        self._timing = timing or Timing()
        self._clock = runtime.steady
        self._wall = runtime.wall
        self._sleep = runtime.sleep
        self._rng = runtime.rng
        self._valid_until = float("-inf")
        self._seen: tuple[str | None, float] = (None, 0.0)
        self._error = ""
        self._trouble = trouble
        self._failures = LimitedLog(_logger, runtime.steady)
        self.denied = ""
        """Why the API server does not let this process have the Lease; empty if it does."""

    @property
    def leading(self) -> bool:
        """Whether this process may write now."""
        return self._clock() < self._valid_until

    @property
    def error(self) -> str:
        """The error of the last attempt; empty if the API server answered."""
        return self._error

    def check(self) -> None:
        """Raise NotLeadingError unless this process may write now."""
        if not self.leading:
            raise NotLeadingError("this process does not hold the lease, or can't be sure that it still does")

    async def acquire(self) -> None:
        """Wait until this process leads."""
        while not await self._attempt():
            await self._sleep(self._timing.retry * self._rng.uniform(1.0, 1.2))
        log(_logger, logging.INFO, "leading", lease=self._candidate.lease, identity=self._candidate.identity)

    async def hold(self) -> None:
        """Renew until leadership is lost. Raises LostLeadershipError."""
        while True:
            await self._sleep(self._timing.retry)
            while not await self._attempt():
                if not self.leading:
                    raise LostLeadershipError(self._error or "another process holds the lease")
                await self._sleep(self._timing.retry * self._rng.uniform(0.1, 0.5))

    async def release(self) -> None:
        """Give the Lease back, so that another replica can take it at once."""
        if not self.leading:
            return
        self._valid_until = float("-inf")
        try:
            lease = await self._read()
            if lease is not None and lease.spec.holder_identity == self._candidate.identity:
                lease.spec.holder_identity = ""
                lease.spec.lease_duration_seconds = 1
                await self._swap(lease, within=self._timing.retry)
        except ApiError as error:
            log(_logger, logging.WARNING, "lease not released; it will expire", error=str(error))

    async def _attempt(self) -> bool:
        """Take or renew the Lease once; say whether this process leads after it."""
        sent = self._clock()
        try:
            taken = await self._take()
        except ApiError as error:
            self._error = with_advice(error)
            self.denied = self._error if is_denied(error) else ""
            self._failures.warn("lease not taken or renewed, trying again", lease=self._path, error=self._error)
            return False
        self._error = self.denied = ""
        self._failures.over()
        if taken:
            self._valid_until = sent + self._timing.renew
        return taken

    async def _take(self) -> bool:
        lease = await self._read()
        if lease is None:
            await self._write_new()
            return True
        mine = lease.spec.holder_identity == self._candidate.identity
        if not mine and not self._expired(lease):
            # Another process holds the Lease, so this process leads no longer.
            self._valid_until = float("-inf")
            return False
        now = self._stamp()
        if not mine:
            lease.spec.holder_identity = self._candidate.identity
            lease.spec.acquire_time = now
            lease.spec.lease_transitions = (lease.spec.lease_transitions or 0) + 1
        lease.spec.renew_time = now
        lease.spec.lease_duration_seconds = round(self._timing.duration)
        try:
            await self._swap(lease, within=self._patience())
        except Conflict:
            return False
        return True

    async def _swap(self, lease: Lease, *, within: float) -> None:
        """Write the spec over exactly the version that was read. Raises Conflict if the Lease has changed."""
        trouble = cut(self._trouble(), MAX_TROUBLE) or None if lease.spec.holder_identity else None
        meta = {"resourceVersion": lease.metadata.resource_version, "annotations": {TROUBLE_ANNOTATION: trouble}}
        body = {"metadata": meta, "spec": msgspec.to_builtins(lease.spec)}
        await self._client.merge_patch(self._path, body, within=within)

    async def _read(self) -> Lease | None:
        try:
            answer = await self._client.get(self._path, within=self._patience())
        except NotFound:
            return None
        return decoded(_LEASE, answer, request=f"GET {self._path}")

    async def _write_new(self) -> None:
        now = self._stamp()
        spec = LeaseSpec(self._candidate.identity, round(self._timing.duration), now, now, 0)
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._candidate.lease, "namespace": self._candidate.namespace},
            "spec": msgspec.to_builtins(spec),
        }
        await self._client.create(paths.leases(self._candidate.namespace), body, within=self._patience())

    def _expired(self, lease: Lease) -> bool:
        """Say whether the holder gave the Lease back, or did not renew it for its duration by this process's clock."""
        if not lease.spec.holder_identity:
            return True
        version = lease.metadata.resource_version
        if self._seen[0] != version:
            self._seen = (version, self._clock())
        duration = max(float(lease.spec.lease_duration_seconds or 0), 1.0)
        return self._clock() - self._seen[1] >= duration

    def _patience(self) -> float:
        # An attempt makes two calls, and several attempts must fit into `renew` seconds.
        return max(0.5, self._timing.renew / 4)

    def _stamp(self) -> str:
        return rfc3339(self._wall(), "microseconds")
