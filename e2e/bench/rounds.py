"""Lets the contenders take turns, so that a load on the machine slows all of them alike."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from operator import attrgetter
from typing import Any

import msgspec

from e2e.bench.contenders import Contender
from e2e.bench.report import Row, number
from e2e.bench.stand import Sample, Stand, cpu_seconds
from e2e.progress import Progress
from e2e.spread import Spread, ratios

WARM_UP = 20
# Between one single pod and the next: what follows a burst, such as events, is over by then.
PAUSE_SECONDS = 0.1


class Scale(msgspec.Struct, frozen=True, kw_only=True):
    """How much is measured."""

    rounds: int = 3
    sizes: tuple[int, ...] = (100, 500)
    """Pods created at once."""
    singles: int = 30
    """Pods created one by one, in each round."""
    evicted: int = 1_000
    """Pods of a provider that is lost."""
    at_once: int = 100
    """Of those, so many may be on their way, where that is limited."""
    evicted_a_minute: int = 600
    """Of those, so many may leave in any minute, where that is limited."""
    evicting_rounds: int = 1
    """Each takes some minutes."""
    list_pods: int = 100_000
    list_nodes: int = 5_000
    audit_pods: int = 100_000
    audit_nodes: int = 5_000
    decide_nodes: tuple[int, ...] = (1_000, 5_000, 10_000)
    drill_nodes: tuple[int, ...] = (250, 1_000)
    decide_pods: int = 10_000
    shapes: int = 100
    trace_days: float = 31.0
    """Of the load that is played through the decisions."""
    signal_nodes: int = 5_000
    signal_pools: int = 20
    idle_pools: int = 100
    idle_seconds: float = 60.0
    settle_seconds: float = 5.0
    """Before that: pools are reported for the first time, and what follows a start is over."""


class Figures(msgspec.Struct, frozen=True):
    """One batch in a few numbers, in milliseconds."""

    bound: Spread
    bound_last: float
    """From the first creation to the last pod bound."""
    sent: Spread
    cpu: float
    """What the contender used, for each pod, until the last one was bound."""


Rounds = dict[int, list[Figures]]
"""By size (1: the singles), one for each round."""


def alternate(
    what: str, stand: Stand, contenders: Mapping[str, Contender], scale: Scale, pods: Mapping[str, dict[str, Any]]
) -> dict[str, Rounds]:
    """Let each contender have its turn in each round, and return what was measured of each.

    `pods` describes each contender's pods, as for `objects.gpu_pod`.
    """
    measured: dict[str, Rounds] = {name: {} for name in contenders}
    with Progress(what) as progress:
        for turn in range(scale.rounds):
            for name, contender in contenders.items():
                progress.say(f"round {turn + 1} of {scale.rounds}, {name}")
                with contender(stand) as pids:
                    for size, figures in _turn(stand, scale, pids, pods.get(name, {})).items():
                        measured[name].setdefault(size, []).append(figures)
                stand.clear()
    return measured


def _turn(stand: Stand, scale: Scale, pids: Sequence[int], how: dict[str, Any]) -> dict[int, Figures]:
    stand.batch(WARM_UP, **how)
    stand.clear(pids)
    taken: dict[int, Figures] = {}
    if scale.singles:
        taken[1] = _measured(pids, lambda: _singles(stand, scale.singles, how))
        stand.clear(pids)
    for size in scale.sizes:
        taken[size] = _measured(pids, partial(stand.batch, size, **how))
        stand.clear(pids)
    return taken


def _singles(stand: Stand, count: int, how: dict[str, Any]) -> list[Sample]:
    samples = []
    for _ in range(count):
        samples += stand.batch(1, **how)
        time.sleep(PAUSE_SECONDS)
    return samples


def _measured(pids: Sequence[int], burst: Callable[[], list[Sample]]) -> Figures:
    before = sum(map(cpu_seconds, pids))
    samples = burst()
    used = sum(map(cpu_seconds, pids)) - before
    return Figures(
        bound=Spread.of(sample.bound for sample in samples),
        bound_last=max(sample.until_bound for sample in samples),
        sent=Spread.of(sample.sent_on for sample in samples),
        cpu=1000 * used / len(samples),
    )


def compared(
    what: str, ours: Sequence[Figures], bare: Sequence[Figures], figures: Sequence[str], limit: float | None
) -> list[Row]:
    """Return a row for each of these figures, such as `bound.p50`: ours beside the bare one, round by round."""
    rows = []
    for figure in figures:
        mine, theirs = list(map(attrgetter(figure), ours)), list(map(attrgetter(figure), bare))
        detail = f"{number(Spread.of(mine).p50)} ms beside {number(Spread.of(theirs).p50)} ms"
        label = f"{what}, {re.split('[._]', figure)[-1]}"
        rows.append(Row(what=label, unit="x", value=ratios(mine, theirs), limit=limit, detail=detail))
    return rows
