"""Who leads, as the operator's Lease shows it.

The times in a Lease are of the leader's clock, and this computer's clock may be wrong. So a time that looks old, or is
in the future, is only a reason to look again: a Lease that changes while it is watched has a leader.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Final

import msgspec

from computepool.kube import paths
from computepool.kube.client import ApiClient
from computepool.kube.errors import Forbidden, NotFound, decoded
from computepool.kube.wire import AnnotatedMeta, LeaseSpec, Wire
from computepool.model.text import printable, rfc3339, seconds_of
from computepool.model.well_known_keys import TROUBLE_ANNOTATION
from computepool.report.formatting import span

DURATION: Final = 15.0
"""Seconds after which a Lease without a duration of its own is over."""
RENEWALS: Final = 3
"""A leader renews its Lease several times in a third of its duration."""
POLL_SECONDS: Final = 0.5


class _Lease(Wire):
    """The Lease with its annotations."""

    metadata: AnnotatedMeta
    spec: LeaseSpec = msgspec.field(default_factory=LeaseSpec)


_LEASE: Final = msgspec.json.Decoder(_Lease)


class LeaseAddress(msgspec.Struct, frozen=True):
    """Where the Lease is."""

    namespace: str
    name: str

    def __str__(self) -> str:
        """Name it in a sentence."""
        return f"Lease {self.name} in namespace {self.namespace}"


class Leading(StrEnum):
    """Whether an operator leads."""

    LEADS = "Leads"
    NOBODY = "Nobody"
    UNKNOWN = "Unknown"


class Leader(msgspec.Struct, frozen=True, rename="camel"):
    """Who leads, for people and programs."""

    leading: Leading
    message: str
    """The same as a sentence, without ages."""
    name: str = ""
    """The holder of the Lease, or its last holder; empty if the Lease does not name it any more."""
    renewed_at: str = ""
    """The last renewal by the leader's clock, such as `2026-11-23T05:00:00Z`; empty if it is not known."""
    trouble: str = ""
    """Why this leader can't do its work, in its own words; empty if it can."""

    @property
    def is_well(self) -> bool:
        """Whether an operator leads and can do its work."""
        return self.leading is Leading.LEADS and not self.trouble

    @property
    def is_undecided(self) -> bool:
        """Whether another look may show that the holder leads, or that it is gone."""
        return self.leading is Leading.UNKNOWN and bool(self.name)


class LeaderWatch:
    """Reads the Lease again and again, and judges it by its changes."""

    def __init__(
        self,
        client: ApiClient,
        address: LeaseAddress,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Nothing was read yet."""
        self._client = client
        self._address = address
        self._clock = clock
        self._wall = wall
        self._sleep = sleep
        self._version = ""
        self._seen_at = 0.0
        """When this version was seen first, by this process's own clock."""
        self._changed = False
        """Whether the Lease has changed since it was read first."""

    @property
    def saw_renewal(self) -> bool:
        """Whether the Lease was renewed between two looks, which is true of a living leader alone."""
        return self._changed

    async def read(self) -> Leader:
        """Look, for some seconds if times don't tell who leads. Raises ApiError, but not Forbidden or NotFound."""
        while (leader := await self.look()).is_undecided:
            await self._sleep(POLL_SECONDS)
        return leader

    async def clock_ahead(self, leader: Leader) -> float | None:
        """Return by how many seconds this computer's clock is ahead of the leader's, to within two seconds; None if the
        Lease is not renewed while it is watched. Raises ApiError, but not Forbidden or NotFound.
        """
        end = self._clock() + DURATION
        while leader.leading is Leading.LEADS and not self._changed and self._clock() < end:
            await self._sleep(POLL_SECONDS)
            leader = await self.look()
        renewed = seconds_of(leader.renewed_at)
        if not self._changed or renewed is None:
            return None
        return self._wall() - (self._clock() - self._seen_at) - renewed

    async def look(self) -> Leader:
        """Read the Lease once. Raises ApiError, but not Forbidden or NotFound."""
        path = f"{paths.leases(self._address.namespace)}/{self._address.name}"
        try:
            lease = decoded(_LEASE, await self._client.get(path), request=f"GET {path}")
        except NotFound:
            return Leader(Leading.NOBODY, f"Nobody leads: there is no {self._address}. {_ELSEWHERE}")
        except Forbidden as error:
            return Leader(Leading.UNKNOWN, f"It is not known who leads: {error.message}. {_RIGHT}")
        return _leader(lease, leads=self._leads(lease))

    def age(self, leader: Leader) -> float | None:
        """Return the seconds since the last renewal, coarsely; None if nothing tells."""
        if self._changed and leader.leading is Leading.LEADS:
            return self._clock() - self._seen_at
        renewed = seconds_of(leader.renewed_at)
        return None if renewed is None else max(0.0, self._wall() - renewed)

    def _leads(self, lease: _Lease) -> bool | None:
        """Say whether the holder leads; None: watch the Lease for longer."""
        now, duration = self._clock(), float(lease.spec.lease_duration_seconds or DURATION)
        if lease.metadata.resource_version != self._version:
            self._changed = bool(self._version)
            self._version, self._seen_at = lease.metadata.resource_version, now
        if not lease.spec.holder_identity:
            return False
        unchanged = now - self._seen_at
        if unchanged > duration:
            return False
        if self._changed or 0 <= self._wall() - (seconds_of(lease.spec.renew_time) or 0.0) <= duration:
            return True
        return False if unchanged > duration / RENEWALS else None


_ELSEWHERE: Final = "Give its place with --operator-namespace and --lease-name, or install the chart."
_RIGHT: Final = "The chart adds this right to the cluster role view (rbac.userRoles)."


def headline(leader: Leader, age: float | None) -> str:
    """Return the line about the leader. `age`: seconds since the last renewal, or None."""
    if leader.leading is Leading.LEADS:
        renewed = "" if age is None else f" (renewed {span(age)} ago)"
        told = f"It can't do its work: {leader.trouble}" if leader.trouble else "The figures are current."
        return f"Leader: {leader.name}{renewed}. {told}"
    if age is None:
        return leader.message
    return f"{leader.message} That was {span(age)} ago, and the figures are from then."


def _leader(lease: _Lease, *, leads: bool | None) -> Leader:
    name, renewed = printable(lease.spec.holder_identity or ""), seconds_of(lease.spec.renew_time)
    at = "" if renewed is None else rfc3339(renewed)
    if leads is None:
        return Leader(Leading.UNKNOWN, f"It is not known whether {name} still leads.", name, at)
    if leads:
        trouble = printable((lease.metadata.annotations or {}).get(TROUBLE_ANNOTATION, ""))
        return Leader(Leading.LEADS, f"{name} leads.", name, at, trouble)
    if not at:
        return Leader(Leading.NOBODY, "Nobody leads: the Lease was never renewed.", name)
    how = f"by {name}" if name else "by a leader that gave it back"
    return Leader(Leading.NOBODY, f"Nobody leads: the Lease was last renewed at {at} {how}.", name, at)
