"""The course of the demo as it is drawn: who ran where from when to when, and what was decided. Pure.

All times are seconds since the first step began.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from computepool.model.moves import MoveKind
from computepool.model.reasons import reason_of
from e2e.demo.moving import Observations
from e2e.demo.report import way_of
from e2e.demo.seen import Act, EventSeen, PoolSeen, Step
from e2e.recorder import Life

# Heartbeats come every second here; a gap so long in all of a provider's is one that a person should see.
SILENCE = 3.0
# The operator's log lines about pods that it sent to a standby or moved, and the actions of their events.
BURST, EVICTED = "burst", "running pods evicted"
LOGGED = frozenset({"Burst", *MoveKind})
# Decisions of one reason that follow each other so closely are told as one.
TOGETHER = 8.0


class Way(StrEnum):
    """How a pod came to where it runs."""

    START = "start"
    PATCH = "patch"
    ADMISSION = "admission"
    FAILOVER = "failover"
    HOME = "home"


@dataclass(frozen=True)
class Block:
    """Accelerators of a provider that others hold, on the recorder's clock; `end` None: until the end."""

    provider: str
    accelerators: int
    start: float
    end: float | None
    text: str


@dataclass(frozen=True)
class Strand:
    """One pod on one provider, in a place of its own among the others there."""

    name: str
    slot: int
    start: float
    end: float
    """When it was gone, or the end."""
    leaving: float | None
    """From when on it was on its way out."""
    way: Way
    replaces: str
    """The name of the pod whose place in its workload it took; empty if none."""

    @property
    def stop(self) -> float:
        """Until when it served."""
        return self.end if self.leaving is None else self.leaving


@dataclass(frozen=True)
class Band:
    """A stretch of time in which something was so."""

    start: float
    end: float
    state: str
    text: str = ""


@dataclass(frozen=True)
class Lane:
    """One provider."""

    provider: str
    primary: bool
    accelerators: int
    strands: Sequence[Strand]
    taken: Sequence[Band]
    """By others; `state` is how many accelerators."""
    breaker: Sequence[Band]
    heartbeats: Sequence[float]
    silent: Sequence[Band]

    def pods_at(self, at: float) -> int:
        """Count the pods that run there at a moment."""
        return sum(strand.start <= at < strand.stop for strand in self.strands)


@dataclass(frozen=True)
class Mark:
    """Something that was done to the cluster, or decided by the operator."""

    at: float
    until: float
    reason: str
    """The operator's reason; empty for what the demo did."""
    text: str
    times: int = 1

    @property
    def decided(self) -> bool:
        """Whether the operator did it."""
        return bool(self.reason)


@dataclass(frozen=True)
class Curve:
    """A signal from metrics: its value in the pool's status, and the thresholds of the pool's spec."""

    key: str
    unit: str
    enter: float
    exit: float
    points: Sequence[tuple[float, float | None]]
    """From when on it had that value; None: it was Unknown, or there was no such signal any more."""
    on: Sequence[Band]
    """`state` is the verdict."""


@dataclass(frozen=True)
class Timeline:
    """All that is drawn."""

    seconds: float
    lanes: Sequence[Lane]
    saturation: Sequence[Band]
    admission: Sequence[Band]
    """`state` is the provider that new pods were admitted to; empty while admission was closed."""
    curves: Sequence[Curve]
    steps: Sequence[Step]
    marks: Sequence[Mark]


def timeline_of(
    *,
    providers: Mapping[str, int],
    observed: Observations,
    taken: Iterable[Block],
    steps: Sequence[Step],
    acts: Iterable[Act],
    events: Iterable[EventSeen],
    log_lines: Iterable[Mapping[str, Any]],
    wall_offset: float,
    end: float,
    thresholds: Mapping[str, tuple[float, float]] = MappingProxyType({}),
) -> Timeline:
    """Make it of what was seen. `providers`: accelerators of each, the primary first; `end`: on the recorder's clock;
    `thresholds`: enter and exit of each signal from metrics, by its key.

    Bursts and moves are taken from the operator's log, which has a line for each: an event that says the same again is
    not sent.
    """
    began = steps[0].at if steps else end
    last = end - began
    ancestors = _ancestors(observed)
    lanes = [_lane(name, count, observed, ancestors, taken, began, last) for name, count in providers.items()]
    marks = [Mark(act.at - began, act.at - began, "", act.text) for act in acts]
    marks += _decisions(events, wall_offset + began) + _sent(log_lines, wall_offset + began)
    return Timeline(
        seconds=last,
        lanes=lanes,
        saturation=_bands([(seen.at - began, seen.saturated, seen.reason) for seen in observed.history], last),
        admission=_bands([(seen.at - began, seen.admits, "") for seen in observed.history], last),
        curves=[_curve(key, *levels, observed.history, began, last) for key, levels in thresholds.items()],
        steps=[replace(step, at=step.at - began) for step in steps],
        marks=sorted(marks, key=lambda mark: mark.at),
    )


def _lane(
    provider: str,
    accelerators: int,
    observed: Observations,
    ancestors: Mapping[str, Life],
    taken: Iterable[Block],
    began: float,
    last: float,
) -> Lane:
    blocks = [block for block in taken if block.provider == provider]
    nodes = [node for node, where in observed.provider_of_node.items() if where == provider]
    beats = sorted(at - began for node in nodes for at in observed.heartbeats.get(node, ()) if at >= began)
    primary = provider == observed.primary
    return Lane(
        provider=provider,
        primary=primary,
        accelerators=accelerators,
        strands=_strands(provider, observed, ancestors, began, last),
        taken=[
            Band(b.start - began, last if b.end is None else b.end - began, str(b.accelerators), b.text) for b in blocks
        ],
        breaker=_bands([(seen.at - began, *_breaker(seen, provider)) for seen in observed.history], last),
        heartbeats=beats,
        silent=[Band(a, b, "silent") for a, b in zip(beats, [*beats[1:], last], strict=True) if b - a > SILENCE],
    )


def _curve(key: str, enter: float, leave: float, history: Sequence[PoolSeen], began: float, last: float) -> Curve:
    seen = [(each.at - began, each.signals.get(key)) for each in history]
    first = next((index for index, (_, signal) in enumerate(seen) if signal), len(seen))
    return Curve(
        key=key,
        unit=next((signal.unit for _, signal in seen if signal and signal.unit), ""),
        enter=enter,
        exit=leave,
        points=[(at, signal.value if signal else None) for at, signal in seen[first:]],
        on=_bands([(at, signal.verdict if signal else "", "") for at, signal in seen[first:]], last),
    )


def _breaker(seen: PoolSeen, provider: str) -> tuple[str, str]:
    breaker = seen.breakers.get(provider)
    return (breaker.state, breaker.reason) if breaker else ("Closed", "")


def _strands(
    provider: str, observed: Observations, ancestors: Mapping[str, Life], began: float, last: float
) -> list[Strand]:
    there = sorted((p for p in observed.pods if observed.provider_of(p) == provider), key=lambda p: p.bound or 0.0)
    free_from: list[float] = []
    strands = []
    for pod in there:
        start = (pod.bound or pod.created) - began
        end = last if pod.gone is None else pod.gone - began
        slot = next((index for index, at in enumerate(free_from) if at <= start), len(free_from))
        free_from[slot : slot + 1] = [end]
        before = ancestors.get(pod.uid)
        strands.append(
            Strand(
                name=pod.name,
                slot=slot,
                start=start,
                end=end,
                leaving=None if pod.deleting is None else pod.deleting - began,
                way=_way(pod, before, observed),
                replaces=before.name if before else "",
            )
        )
    return strands


def _way(pod: Life, before: Life | None, observed: Observations) -> Way:
    provider = observed.provider_of(pod)
    if before is not None:
        return Way.HOME if provider == observed.primary else Way.FAILOVER
    return Way.START if provider == observed.primary else Way(way_of(pod, provider))


def _ancestors(observed: Observations) -> dict[str, Life]:
    """By uid of a pod that took the place of another: that other. A workload replaces them in the order they left."""
    waiting: dict[str, deque[Life]] = {}
    found: dict[str, Life] = {}
    changes = [(pod.created, 1, pod) for pod in observed.pods]
    changes += [(eviction.at, 0, eviction.pod) for eviction in observed.evictions]
    for _, made, pod in sorted(changes, key=lambda change: change[:2]):
        left = waiting.setdefault(pod.app, deque())
        if not made:
            left.append(pod)
        elif left:
            found[pod.uid] = left.popleft()
    return found


def _bands(states: Sequence[tuple[float, str, str]], last: float) -> list[Band]:
    """Join moments at which a state was seen to stretches; what changes nothing is left out."""
    bands: list[Band] = []
    for at, state, text in states:
        if bands and bands[-1].state == state:
            # Why it came to be so is told, not why it still is.
            bands[-1] = replace(bands[-1], text=bands[-1].text or text)
            continue
        if bands:
            bands[-1] = replace(bands[-1], end=at)
        bands.append(Band(at, last, state, text))
    return bands


def _decisions(events: Iterable[EventSeen], wall_began: float) -> list[Mark]:
    """Return what the operator told of the pool; the same for the same reason, again and again, once."""
    marks: list[Mark] = []
    latest: dict[tuple[str, str], int] = {}
    of_pool = [(_at(e.time, wall_began), e) for e in events if e.kind == "ComputePool" and e.action not in LOGGED]
    for at, event in sorted(of_pool, key=lambda pair: pair[0]):
        key = (event.reason, event.action)
        before = latest.get(key)
        if before is not None and at - marks[before].until <= TOGETHER:
            marks[before] = replace(marks[before], until=at, times=marks[before].times + 1)
            continue
        latest[key] = len(marks)
        marks.append(Mark(at, at, event.reason, event.message))
    return marks


def _sent(lines: Iterable[Mapping[str, Any]], wall_began: float) -> list[Mark]:
    """Return bursts and moves, added up for each way that pods went and for each time that many did."""
    marks: list[Mark] = []
    latest: dict[tuple[str, str, str], int] = {}
    pods: Counter[int] = Counter()
    for line in lines:
        if line["message"] not in (BURST, EVICTED):
            continue
        at, target = _at(line["time"], wall_began), line.get("target") or line["provider"]
        key = line.get("source", ""), target, line["reason"]
        index = latest.get(key)
        if index is None or at - marks[index].until > TOGETHER:
            index = latest[key] = len(marks)
            marks.append(Mark(at, at, line["reason"], ""))
        pods[index] += int(line["pods"])
        marks[index] = replace(marks[index], until=at, text=_sending(pods[index], *key))
    return marks


def _sending(pods: int, source: str, target: str, reason: str) -> str:
    count = "1 pod" if pods == 1 else f"{pods} pods"
    way = f"moved from {source} to {target}" if source else f"sent to {target}"
    return f"{count} {way}. {reason_of(reason).help}"


def _at(time: str, wall_began: float) -> float:
    return datetime.fromisoformat(time).timestamp() - wall_began


def pods_by_step(timeline: Timeline) -> list[tuple[Step, Counter[str]]]:
    """Count the pods on each provider at the end of each step."""
    ends = [step.at for step in timeline.steps[1:]] + [timeline.seconds]
    return [
        (step, Counter({lane.provider: lane.pods_at(end - 0.001) for lane in timeline.lanes}))
        for step, end in zip(timeline.steps, ends, strict=True)
    ]
