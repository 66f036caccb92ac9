"""What happened and how fast: `build/demo/report.json`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from e2e.demo.witness import EventSeen, PodSeen

METHOD = {
    "overflow_pods": "pods that were created while the primary was full and that may leave it",
    "burst_pods": "those of them that run on a standby provider",
    "by": "how those got there: `patch`, the operator added the toleration to the pending pod; `admission`, the API "
    "server added it as the pod was created",
    "burst_ms": "as the operator's log says (took_ms): from the event that made pods overflow to the last of their "
    "patches being answered; one value a batch, counted for each of its pods",
    "observed_ms": "the same from outside: an independent watch sees the pod created, and then sees its toleration",
    "bound_ms": "burst pods, by the same watch: from the pod being seen created to being seen bound to a node",
}


class Spread(msgspec.Struct, frozen=True):
    """Milliseconds: the middle, what 99 of 100 do not exceed (nearest rank), and the greatest. 0 where nothing was."""

    p50: float
    p99: float
    max: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Sum up milliseconds."""
        ordered = sorted(values) or [0.0]
        return cls(*(round(value, 1) for value in (_rank(ordered, 50), _rank(ordered, 99), ordered[-1])))


class Ways(msgspec.Struct, frozen=True):
    """How pods came to a standby."""

    patch: int
    admission: int


class EventLine(msgspec.Struct, frozen=True):
    """One event of the operator's."""

    time: str
    reason: str
    message: str
    about: str


class Report(msgspec.Struct, frozen=True):
    """The demo's result; `method` says how each number was got."""

    kubernetes: str
    seconds: float
    overflow_pods: int
    burst_pods: int
    held_pods: int
    """Pods that may not leave the primary and so wait."""
    by: Ways
    pods: dict[str, int]
    """Bound pods by provider."""
    burst_ms: Spread
    observed_ms: Spread
    bound_ms: Spread
    bound_ms_by: dict[str, Spread]
    restarts: int
    deleted: int
    events: list[EventLine]
    method: dict[str, str] = msgspec.field(default_factory=lambda: dict(METHOD))

    @property
    def succeeded(self) -> bool:
        """Whether there was overflow, and all of it that may leave runs on a standby."""
        return 0 < self.overflow_pods == self.burst_pods

    def write(self, path: Path) -> None:
        """Write it as JSON, for people too."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n")


def way_of(pod: PodSeen, provider: str) -> str:
    """How a pod came to the standby provider that it runs on."""
    return "admission" if provider in pod.born_tolerating else "patch"


def report_of(
    *,
    kubernetes: str,
    seconds: float,
    resident: Sequence[PodSeen],
    pods: Sequence[PodSeen],
    provider_of_node: dict[str, str],
    primary: str,
    log_lines: Iterable[dict[str, Any]],
    events: Iterable[EventSeen],
) -> Report:
    """Sum up. `resident` are the pods of `pods` that were there when the primary became full."""
    full_with = {id(pod) for pod in resident}
    overflow = [pod for pod in pods if id(pod) not in full_with]
    burst = [(pod, provider_of_node[pod.node]) for pod in overflow if pod.node and pod.may_leave]
    burst = [(pod, provider) for pod, provider in burst if provider != primary]
    ways = {way: [pod for pod, provider in burst if way_of(pod, provider) == way] for way in ("patch", "admission")}
    return Report(
        kubernetes=kubernetes,
        seconds=round(seconds, 1),
        overflow_pods=sum(1 for pod in overflow if pod.may_leave),
        burst_pods=len(burst),
        held_pods=sum(1 for pod in overflow if not pod.may_leave and not pod.node),
        by=Ways(len(ways["patch"]), len(ways["admission"])),
        pods=dict(Counter(provider_of_node[pod.node] for pod in pods if pod.node)),
        burst_ms=Spread.of(_logged(log_lines)),
        observed_ms=Spread.of(1000 * (at - pod.added) for pod in overflow for at in pod.sent_on.values()),
        bound_ms=Spread.of(_bound(pod for pod, _ in burst)),
        bound_ms_by={way: Spread.of(_bound(came)) for way, came in ways.items()},
        restarts=sum(pod.restarts for pod in pods),
        deleted=sum(1 for pod in pods if pod.deleted),
        events=[EventLine(e.time, e.reason, e.message, f"{e.kind}/{e.name}") for e in events],
    )


def _logged(lines: Iterable[dict[str, Any]]) -> list[float]:
    bursts = (line for line in lines if line["message"] == "burst")
    return [float(line["took_ms"]) for line in bursts for _ in range(int(line["pods"]))]


def _bound(pods: Iterable[PodSeen]) -> list[float]:
    return [1000 * (pod.bound - pod.added) for pod in pods if pod.bound is not None]


def _rank(ordered: Sequence[float], percent: int) -> float:
    return ordered[max(0, -(-percent * len(ordered) // 100) - 1)]
