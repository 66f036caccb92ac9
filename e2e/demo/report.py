"""The report of the demo, `build/demo/report.json`: what happened, and how fast."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from e2e.demo.moving import Failback, Failover, Milestones, Observations, failback_of, failover_of, milliseconds
from e2e.demo.seen import EventSeen, Eviction
from e2e.recorder import Life
from e2e.spread import Spread

METHOD = {
    "overflow_pods": "pods that were created while the primary was full and that may leave it",
    "burst_pods": "those of them that run on a standby provider",
    "by": "how those got there: `patch`, the operator added the toleration to the pending pod; `admission`, the API "
    "server added it as the pod was created",
    "burst_ms": "as the operator's log says (took_ms): from the event that made pods overflow to the last of their "
    "patches being answered; one value a batch, counted for each of its pods",
    "observed_ms": "the same from outside: an independent watch sees the pod created, and then sees its toleration",
    "bound_ms": "burst pods, by the same watch: from the pod being seen created to being seen bound to a node",
    "pods": "bound pods by provider after the burst, before anything fails; pods_at_end: when all have come home",
    "failover_ms": "from the failure signal, which is the operator's log line of the provider's breaker opening, to "
    "each replacement pod being seen bound by the independent watch",
    "silence_ms": "to the same moments from the end of the heartbeats: the last renewal of a Lease of the provider's "
    "nodes that the independent watch saw before the signal; failover.detected_ms is the part before the signal",
    "moves": "running pods that were taken away for another to take their place: seen by the independent watch, off "
    "the failed provider (failover.moves) and home (failback.moves)",
    "pdb_violations": "of all pods taken away: those that do not carry the Eviction API's own condition, or after "
    "which the watch counted fewer ready pods of the Deployment than its PodDisruptionBudget's desiredHealthy",
    "failback": "at_once: most pods on their way home at a time; in_a_minute: most that left within any minute; each "
    "with the limit of the pool's spec. flaps: pods taken off the primary, pods on their way home that landed on a "
    "standby, and openings of a breaker beyond its first",
    "queue": "longest: the signal's greatest value in the pool's status; pods: created while admission was open and "
    "the queue was long, by provider; waited: pods that the scheduler refused or the operator patched; bound_ms: "
    "by the independent watch, from being seen created to being seen bound",
}


@dataclass
class QueueMilestones:
    """When the last part of the story reached its milestones; None: not reached."""

    opened: float | None = None
    """Admission was open."""
    fell: float | None = None
    """The queue became shorter."""
    closed: float | None = None
    """Admission was closed."""


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


class Burst(msgspec.Struct, frozen=True):
    """The story's first half."""

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
    deleted: int

    @property
    def held(self) -> bool:
        """Whether there was overflow, and all of it that may leave runs on a standby."""
        return 0 < self.overflow_pods == self.burst_pods


class Moves(msgspec.Struct, frozen=True):
    """The story's second half."""

    failover: Failover
    failover_ms: Spread
    silence_ms: Spread
    moves: int
    pdb_violations: int
    failback: Failback
    pods_at_end: dict[str, int]

    @property
    def troubles(self) -> list[str]:
        """What did not go as it should."""
        found = {
            f"not every pod left {self.failover.provider} for another provider": not self.failover.all_left,
            "more pods left it at once than the pool allows": not self.failover.within_limit,
            "not all pods came home": not self.failback.all_home or not self.failback.moves,
            "they came home faster than the pool allows": not self.failback.within_rate,
            f"{self.pdb_violations} pods went beyond the PodDisruptionBudget": self.pdb_violations > 0,
            f"{self.failback.flaps} went to and fro": self.failback.flaps > 0,
        }
        return [trouble for trouble, there in found.items() if there]


class Queue(msgspec.Struct, frozen=True):
    """The story's last part: requests queue up in front of the servers."""

    longest: float
    """Waiting requests of the average server at most, as the pool's status said."""
    opened: bool
    """Whether admission opened."""
    pods: dict[str, int]
    """Pods that were created while the queue was long, by the provider that they were bound to; "": they waited."""
    waited: int
    """Number of these pods that the scheduler refused, or that were sent on by patch."""
    bound_ms: Spread
    closed: bool
    """Whether admission closed in the end."""

    @property
    def troubles(self) -> list[str]:
        """What did not go as it should."""
        found = {
            "admission did not open while the queue was long": not self.opened,
            f"{self.waited} pods waited although admission was open": self.waited > 0 or "" in self.pods,
            "no pod was created while the queue was long": self.opened and not self.pods,
            "admission did not close after the queue": not self.closed,
        }
        return [trouble for trouble, there in found.items() if there]


class Report(Burst, frozen=True, kw_only=True):
    """The demo's result: the burst, the moves, and the whole; `method` says how each number was got."""

    kubernetes: str
    seconds: float
    succeeded: bool
    troubles: list[str]
    """What did not go as it should; empty where all did."""
    failover: Failover
    failover_ms: Spread
    silence_ms: Spread
    moves: int
    pdb_violations: int
    failback: Failback
    pods_at_end: dict[str, int]
    queue: Queue | None
    """None where this machine has no Prometheus, so that the part was left out."""
    restarts: int
    events: list[EventLine]
    method: dict[str, str] = msgspec.field(default_factory=lambda: dict(METHOD))

    def write(self, path: Path) -> None:
        """Write it as JSON, for people too."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n")


def way_of(pod: Life, provider: str) -> str:
    """How a pod came to the standby provider that it runs on."""
    return "admission" if provider in pod.born_tolerating else "patch"


def burst_of(
    *,
    resident: Sequence[Life],
    pods: Sequence[Life],
    provider_of_node: dict[str, str],
    primary: str,
    log_lines: Iterable[dict[str, Any]],
) -> Burst:
    """Sum up the burst. `resident` are the pods of `pods` that were there when the primary became full."""
    full_with = {pod.uid for pod in resident}
    overflow = [pod for pod in pods if pod.uid not in full_with]
    burst = [(pod, provider_of_node[pod.node]) for pod in overflow if pod.node and pod.may_leave]
    burst = [(pod, provider) for pod, provider in burst if provider != primary]
    ways = {way: [pod for pod, provider in burst if way_of(pod, provider) == way] for way in ("patch", "admission")}
    return Burst(
        overflow_pods=sum(1 for pod in overflow if pod.may_leave),
        burst_pods=len(burst),
        held_pods=sum(1 for pod in overflow if not pod.may_leave and not pod.node),
        by=Ways(len(ways["patch"]), len(ways["admission"])),
        pods=by_provider(pods, provider_of_node),
        burst_ms=milliseconds(_logged(log_lines)),
        observed_ms=milliseconds(1000 * (at - pod.created) for pod in overflow for at in pod.sent_on.values()),
        bound_ms=milliseconds(_bound(pod for pod, _ in burst)),
        bound_ms_by={way: milliseconds(_bound(came)) for way, came in ways.items()},
        deleted=sum(not pod.here for pod in pods),
    )


def moves_of(
    observed: Observations, milestones: Milestones, signal: float | None, spec: Mapping[str, Any], pods: Iterable[Life]
) -> Moves:
    """Sum up the moves of the observed workload. `spec`: the pool's; `pods`: of all workloads."""
    failover, failover_ms, silence_ms = failover_of(observed, milestones, signal, spec.get("failover", {}))
    failback = failback_of(observed, milestones, spec.get("failback", {}))
    return Moves(
        failover=failover,
        failover_ms=failover_ms,
        silence_ms=silence_ms,
        moves=failover.moves + failback.moves,
        pdb_violations=beyond_budgets(observed.evictions),
        failback=failback,
        pods_at_end=by_provider(pods, observed.provider_of_node),
    )


def queue_of(observed: Observations, milestones: QueueMilestones, signal: str) -> Queue:
    """Sum up the queue. `signal`: its key in status.signals."""
    opened, fell = milestones.opened, milestones.fell
    new = [
        pod
        for pod in observed.pods
        if opened is not None and opened <= pod.created and (fell is None or pod.created < fell)
    ]
    values = (seen.signals[signal].value for seen in observed.history if signal in seen.signals)
    return Queue(
        longest=max((value for value in values if value is not None), default=0.0),
        opened=opened is not None,
        pods=dict(Counter(observed.provider_of(pod) for pod in new)),
        waited=sum(pod.unschedulable is not None or bool(pod.sent_on) for pod in new),
        bound_ms=milliseconds(_bound(new)),
        closed=milestones.closed is not None,
    )


def report_of(
    *,
    kubernetes: str,
    seconds: float,
    burst: Burst,
    moves: Moves,
    queue: Queue | None,
    pods: Iterable[Life],
    events: Iterable[EventSeen],
) -> Report:
    """Put both halves together. `pods`: all that there ever were."""
    restarts = sum(pod.restarts for pod in pods)
    troubles = [] if burst.held else ["not every pod that overflowed runs on a standby"]
    troubles += moves.troubles + (queue.troubles if queue else [])
    troubles += [f"{restarts} restarts"] if restarts else []
    return Report(
        kubernetes=kubernetes,
        seconds=round(seconds, 1),
        succeeded=not troubles,
        troubles=troubles,
        **msgspec.structs.asdict(burst),
        **msgspec.structs.asdict(moves),
        queue=queue,
        restarts=restarts,
        events=[EventLine(e.time, e.reason, e.message, f"{e.kind}/{e.name}") for e in events],
    )


def by_provider(pods: Iterable[Life], provider_of_node: Mapping[str, str]) -> dict[str, int]:
    """Count pods that have a node and are not leaving."""
    return dict(Counter(provider_of_node[pod.node] for pod in pods if pod.node and pod.here))


def beyond_budgets(evictions: Iterable[Eviction]) -> int:
    """Count pods that were taken away without their disruption budget's leave."""
    return sum(eviction.beyond_budget for eviction in evictions)


def _logged(lines: Iterable[dict[str, Any]]) -> list[float]:
    bursts = (line for line in lines if line["message"] == "burst")
    return [float(line["took_ms"]) for line in bursts for _ in range(int(line["pods"]))]


def _bound(pods: Iterable[Life]) -> list[float]:
    return [1000 * (pod.bound - pod.created) for pod in pods if pod.bound is not None]
