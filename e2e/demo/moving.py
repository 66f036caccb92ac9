"""What became of running pods, by what the recorder saw: how fast they left a provider that failed, how they came home.

Pure: all times are seconds on the recorder's clock.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from e2e.demo.seen import Eviction, PoolSeen
from e2e.recorder import Life
from e2e.spread import Spread

MINUTE = 60.0


@dataclass
class Milestones:
    """When the second half of the story reached its milestones; None: not reached."""

    provider: str
    """The provider that fails."""
    failed: float | None = None
    """Its nodes were stopped."""
    left: float | None = None
    """All its pods ran elsewhere."""
    tried: float | None = None
    """Its breaker was half-open."""
    freed: float | None = None
    """The primary got room."""
    home: float | None = None
    """All pods were home."""


class Failover(msgspec.Struct, frozen=True):
    """How running pods left the provider that failed."""

    provider: str
    pods: int
    """Pods that ran there when its heartbeats ended."""
    moves: int
    """Evictions of them."""
    to: dict[str, int]
    """Replacements by the provider they were bound to."""
    at_once: int
    """Most pods that were on their way at the same time."""
    at_once_limit: int
    detected_ms: float
    """From the end of the heartbeats to the failure signal; 0 where there was none."""

    @property
    def all_left(self) -> bool:
        """Whether every pod was moved once, and its replacement runs elsewhere."""
        return 0 < self.pods == self.moves == sum(self.to.values()) and self.provider not in self.to

    @property
    def within_limit(self) -> bool:
        """Whether never more were on their way than the spec says."""
        return self.at_once <= self.at_once_limit


class Failback(msgspec.Struct, frozen=True):
    """How pods came home."""

    moves: int
    flaps: int
    at_once: int
    """Most pods that were on their way at the same time."""
    at_once_limit: int
    in_a_minute: int
    """Most pods that left within any minute."""
    in_a_minute_limit: int
    seconds: float
    """From the first pod's leaving to the last one's place at home."""
    all_home: bool

    @property
    def within_rate(self) -> bool:
        """Whether the governor's limits held."""
        return self.at_once <= self.at_once_limit and self.in_a_minute <= self.in_a_minute_limit


@dataclass(frozen=True)
class Observations:
    """All that there is to judge by: one workload's pods and evictions, and who was where."""

    pods: Sequence[Life]
    evictions: Sequence[Eviction]
    provider_of_node: Mapping[str, str]
    primary: str
    history: Sequence[PoolSeen]
    heartbeats: Mapping[str, Sequence[float]]

    def provider_of(self, pod: Life) -> str:
        """Where a pod is or was; empty while it has no node."""
        return self.provider_of_node.get(pod.node, "")

    def evicted(self, begin: float, end: float | None) -> list[Eviction]:
        """Return the evictions of a stretch of time."""
        return [eviction for eviction in self.evictions if begin <= eviction.at and (end is None or eviction.at < end)]

    def bound_since(self, begin: float, end: float | None) -> list[Life]:
        """Return the pods that were made in a stretch of time and have found a place."""
        made = (pod for pod in self.pods if begin <= pod.created and (end is None or pod.created < end))
        return [pod for pod in made if pod.bound is not None]


def signal_of(log_lines: Iterable[Mapping[str, Any]], provider: str, wall_offset: float) -> float | None:
    """Return when the operator logged that the provider's breaker opened, on the recorder's clock."""
    for line in log_lines:
        if line["message"] == "breaker" and (line["provider"], line["state"]) == (provider, "Open"):
            return datetime.fromisoformat(line["time"]).timestamp() - wall_offset
    return None


def end_of_heartbeats(observed: Observations, provider: str, before: float) -> float | None:
    """Return when a heartbeat of the provider's nodes was seen last before a moment."""
    last = [
        beats[at - 1]
        for node, beats in observed.heartbeats.items()
        if observed.provider_of_node.get(node) == provider and (at := bisect_right(beats, before))
    ]
    return max(last, default=None)


def failover_of(
    observed: Observations, milestones: Milestones, signal: float | None, limits: Mapping[str, Any]
) -> tuple[Failover, Spread, Spread]:
    """Sum up how pods left; also milliseconds to a replacement's place from the signal, and from the last heartbeat.

    `limits`: spec.failover of the pool.
    """
    limit = int(limits.get("maxConcurrentMoves", 0))
    if milestones.failed is None:
        return Failover(milestones.provider, 0, 0, {}, 0, limit, 0.0), milliseconds([]), milliseconds([])
    over = milestones.tried if milestones.tried is not None else milestones.freed
    left = [
        gone
        for gone in observed.evicted(milestones.failed, over)
        if observed.provider_of(gone.pod) == milestones.provider
    ]
    new = observed.bound_since(milestones.failed, over)
    ended = end_of_heartbeats(observed, milestones.provider, signal if signal is not None else milestones.failed)
    told = Failover(
        provider=milestones.provider,
        pods=sum(_ran(observed, pod, milestones.provider, milestones.failed) for pod in observed.pods),
        moves=len(left),
        to=dict(Counter(observed.provider_of(pod) for pod in new)),
        at_once=most_at_once([eviction.at for eviction in left], [pod.bound for pod in new if pod.bound is not None]),
        at_once_limit=limit,
        detected_ms=round(1000 * (signal - ended), 1) if signal is not None and ended is not None else 0.0,
    )
    return told, _since(signal, new), _since(ended, new)


def failback_of(observed: Observations, milestones: Milestones, limits: Mapping[str, Any]) -> Failback:
    """Sum up how pods came home. `limits`: spec.failback of the pool."""
    begin = milestones.freed
    left = [] if begin is None else observed.evicted(begin, None)
    new = [] if begin is None else observed.bound_since(begin, None)
    arrived = [pod.bound for pod in new if pod.bound is not None]
    return Failback(
        moves=len(left),
        flaps=flaps_of(observed, new),
        at_once=most_at_once([eviction.at for eviction in left], arrived),
        at_once_limit=int(limits.get("maxConcurrentMoves", 0)),
        in_a_minute=most_within([eviction.at for eviction in left], MINUTE),
        in_a_minute_limit=int(limits.get("perMinute", 0)),
        seconds=round(max(arrived) - left[0].at, 1) if left and arrived else 0.0,
        all_home=milestones.home is not None and _all_home(observed),
    )


def flaps_of(observed: Observations, homeward: Iterable[Life]) -> int:
    """Count what went to and fro: pods taken off the primary, pods on their way home that landed on a standby, and
    openings of a breaker beyond its first.
    """
    off_home = sum(observed.provider_of(eviction.pod) == observed.primary for eviction in observed.evictions)
    astray = sum(observed.provider_of(pod) != observed.primary for pod in homeward)
    return off_home + astray + sum(max(0, times - 1) for times in openings(observed.history).values())


def openings(history: Sequence[PoolSeen]) -> Counter[str]:
    """Count how often each provider's breaker opened."""
    counts: Counter[str] = Counter()
    before: dict[str, str] = {}
    for seen in history:
        for provider, breaker in seen.breakers.items():
            if breaker.state == "Open" and before.get(provider, "Closed") != "Open":
                counts[provider] += 1
            before[provider] = breaker.state
    return counts


def most_at_once(left: Iterable[float], arrived: Iterable[float]) -> int:
    """Rechange how many were on their way at most, by when each left and when each replacement had its place."""
    changes = sorted([(at, 1) for at in left] + [(at, -1) for at in arrived])
    under_way = most = 0
    for _, change in changes:
        under_way = max(0, under_way + change)
        most = max(most, under_way)
    return most


def most_within(times: Iterable[float], seconds: float) -> int:
    """Return how many of these times lie within any stretch so long."""
    ordered = sorted(times)
    return max((bisect_right(ordered, at + seconds) - index for index, at in enumerate(ordered)), default=0)


def _ran(observed: Observations, pod: Life, provider: str, at: float) -> bool:
    there = pod.bound is not None and pod.bound <= at and observed.provider_of(pod) == provider
    return there and (pod.deleting is None or pod.deleting > at)


def milliseconds(values: Iterable[float]) -> Spread:
    """Sum up milliseconds, rounded to tenths."""
    return Spread.of(round(value, 1) for value in values)


def _since(moment: float | None, pods: Iterable[Life]) -> Spread:
    if moment is None:
        return milliseconds([])
    return milliseconds(1000 * (pod.bound - moment) for pod in pods if pod.bound is not None)


def _all_home(observed: Observations) -> bool:
    staying = [pod for pod in observed.pods if pod.here]
    return bool(staying) and all(observed.provider_of(pod) == observed.primary for pod in staying)
