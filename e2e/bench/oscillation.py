"""The failback governor on a month of a real cluster's load, in this process: how many workloads are moved, and why not
more. Nothing is timed: the same decisions as the operator's, on the load of tests/data/helios-earth.
"""

from __future__ import annotations

import msgspec

from e2e.bench.report import Result, Row
from e2e.bench.rounds import Scale
from e2e.progress import Progress
from e2e.spread import Spread
from tests.unit.core.oscillation import VARIANTS, Outcome, overloads, play

WORDS = {
    "governed": "moves home with the governor's defaults",
    "ungoverned": "moves home without it: no stable time, no dwell, no limits, no headroom",
    "at once": "moves home as soon as there is room: nor is saturation damped",
    "never": "moves home where nobody is brought home",
}


def run(scale: Scale) -> Result:
    """Play the load with each variant, once: it comes out the same each time."""
    with Progress("oscillation") as progress:
        played = {}
        for name in VARIANTS:
            progress.say(name)
            played[name] = play(name, scale.trace_days)
    without = played["ungoverned"].moves
    rows = [_row(outcome, without) for outcome in played.values()]
    return Result(
        "oscillation", rows, {"overloads": overloads(), "outcomes": msgspec.to_builtins(list(played.values()))}
    )


def _row(outcome: Outcome, without: int) -> Row:
    return Row(
        what=WORDS[outcome.name],
        unit="moves",
        value=Spread.of([float(outcome.moves)]),
        # What the governor is for: fewer moves than without it.
        limit=float(without) if outcome.name == "governed" else None,
        detail=(
            f"{outcome.bursts} workloads sent to a standby, {outcome.in_vain} of them again after they came home, "
            f"{outcome.standby_hours:,.0f} GPU hours on the standby"
        ),
    )
