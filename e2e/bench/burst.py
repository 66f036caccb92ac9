"""Burst by patch: the primary is known to be full, `pendingSeconds` is 0, and admission is off.

A pod overflows with the event that shows it for the first time, so the fair equal of the operator is the script that
patches on that same event, with the operator's own rights: the chart's guard looks at every patch of both, and a row of
its own says what that costs. The script that waits for the scheduler's verdict stands beside them for comparison: it
does what any tool must that does not do its own account of what fits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from e2e.bench.contenders import on_added, on_added_unguarded, on_unschedulable, ours
from e2e.bench.report import Result, Row, number
from e2e.bench.rounds import Figures, Rounds, Scale, alternate, compared
from e2e.bench.stand import Stand
from e2e.spread import Spread

SENT_LIMIT = BOUND_LIMIT = 1.2
SINGLE_MS = 100.0


def run(stand: Stand, scale: Scale) -> Result:
    """Measure and compare."""
    contenders = {
        "ours": ours,
        "on ADDED": on_added,
        "on ADDED, unguarded": on_added_unguarded,
        "on Unschedulable": on_unschedulable,
    }
    measured = alternate("burst by patch", stand, contenders, scale, {})
    return Result("burst", list(_rows(measured)), msgspec.to_builtins(measured, str_keys=True))


def _rows(measured: dict[str, Rounds]) -> Iterator[Row]:
    mine, added, unschedulable = measured["ours"], measured["on ADDED"], measured["on Unschedulable"]
    for size in mine:
        what = f"overflow event -> patched, {_pods(size)}"
        # Of single pods in turn, the slowest of a hundred is a matter of the machine: that row is in milliseconds.
        figures = ["sent.p50"] if size == 1 else ["sent.p50", "sent.p99"]
        yield from compared(what, mine[size], added[size], figures, SENT_LIMIT)
        if size == 1:
            yield _slowest_single(mine[size], added[size])
    for size in mine:
        figures = ["bound.p50"] if size == 1 else ["bound.p50", "bound_last"]
        yield from compared(f"created -> bound, {_pods(size)}", mine[size], added[size], figures, BOUND_LIMIT)
    for size in mine:
        what = f"created -> bound, {_pods(size)}, beside patching on Unschedulable"
        yield from compared(what, mine[size], unschedulable[size], ["bound.p50"], None)
    for size in mine:
        what = f"what the guard costs the script, {_pods(size)}"
        yield from compared(what, added[size], measured["on ADDED, unguarded"][size], ["sent.p50"], None)
    yield from compared("processor time a pod", mine[max(mine)], added[max(mine)], ["cpu"], None)


def _slowest_single(mine: Sequence[Figures], added: Sequence[Figures]) -> Row:
    return Row(
        what="overflow event -> patched, 1 pod, p99",
        unit="ms",
        value=Spread.of(figures.sent.p99 for figures in mine),
        limit=SINGLE_MS,
        detail=f"{number(Spread.of(figures.sent.p99 for figures in added).p50)} ms for the script",
    )


def _pods(size: int) -> str:
    return "1 pod" if size == 1 else f"{size} pods"
