"""Pods that ran for a moment, or never, and ended as Failed: a program that exits at once, mostly of a Job.

A crash tells nothing about its node, since any program may fail. It tells where a workload fails again and again. So
does a pod that ends before it runs for a reason that is no sign of its node: `FailedPod.denied`.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final

import msgspec

from computepool.kube import wire
from computepool.model.snapshot import Failure

SOON_SECONDS: Final = 60.0
"""A program that ran for longer did not fail at once. A job that fails after hours is not sent elsewhere for it."""
KEPT_SECONDS: Final = 300.0
"""For how long a crash is kept."""
MOST: Final = 1_000
"""How many crashes are kept, the newest."""


class _Terminated(wire.Wire):
    started_at: datetime | None = None
    finished_at: datetime | None = None
    exit_code: int = 0


class _State(wire.Wire):
    terminated: _Terminated | None = None


class _Container(wire.Wire):
    state: _State = msgspec.field(default_factory=_State)


class _Status(wire.Wire):
    reason: str = ""
    init_container_statuses: list[_Container] | None = None
    container_statuses: list[_Container] | None = None


class _Meta(wire.Wire):
    deletion_timestamp: str | None = None


class _Crashed(wire.Wire):
    metadata: _Meta = msgspec.field(default_factory=_Meta)
    status: _Status = msgspec.field(default_factory=_Status)


_DECODER = msgspec.json.Decoder(_Crashed)


def crashed_soon(raw: bytes) -> bool:
    """Say whether a pod, as JSON of the API server, ended by itself because a container failed soon after its start.

    A pod that is being deleted was ended by others, and so was a pod whose status has a reason (Evicted, for example).
    What can't be read is no crash.
    """
    try:
        pod = _DECODER.decode(raw)
    except msgspec.ValidationError:
        return False
    if pod.metadata.deletion_timestamp is not None or pod.status.reason:
        return False
    containers = (*(pod.status.init_container_statuses or ()), *(pod.status.container_statuses or ()))
    return any(_failed_soon(container.state.terminated) for container in containers)


def _failed_soon(ended: _Terminated | None) -> bool:
    if ended is None or not ended.exit_code or ended.started_at is None or ended.finished_at is None:
        return False
    return (ended.finished_at - ended.started_at).total_seconds() < SOON_SECONDS


class Crashes:
    """The crashes of the last minutes, each pod once."""

    def __init__(self, wall: Callable[[], float]) -> None:
        """Start empty. `wall` is the time of day."""
        self._wall = wall
        self._by_uid: dict[str, Failure] = {}

    def add(self, uid: str, node: str, owner: str, at: float) -> bool:
        """Note a crash; return whether it is new. `at`: its time, in seconds since the epoch."""
        if uid in self._by_uid or at <= self._wall() - KEPT_SECONDS:
            return False
        self._by_uid[uid] = Failure(uid, node, owner, at, refused=False)
        if len(self._by_uid) > MOST:
            del self._by_uid[next(iter(self._by_uid))]
        return True

    def all(self) -> tuple[Failure, ...]:
        """Return the crashes of the last minutes."""
        since = self._wall() - KEPT_SECONDS
        for uid in [uid for uid, crash in self._by_uid.items() if crash.at <= since]:
            del self._by_uid[uid]
        return tuple(self._by_uid.values())
