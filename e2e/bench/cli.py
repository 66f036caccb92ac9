"""The `python -m e2e.bench` command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence

from e2e.bench import (
    admission,
    auditing,
    burst,
    deciding,
    drilling,
    evictions,
    forecast,
    hanging,
    idle,
    listing,
    oscillation,
    signals,
)
from e2e.bench.report import Result, show, table_console, write
from e2e.bench.rounds import WARM_UP, Scale
from e2e.bench.stand import Stand, standing
from e2e.errors import E2EError

ON_A_CLUSTER: dict[str, Callable[[Stand, Scale], Result]] = {
    "burst": burst.run,
    "admission": admission.run,
    "hanging": hanging.run,
    "evictions": evictions.run,
    "idle": idle.run,
}
ALONE: dict[str, Callable[[Scale], Result]] = {
    "deciding": deciding.run,
    "listing": listing.run,
    "auditing": auditing.run,
    "drilling": drilling.run,
    "oscillation": oscillation.run,
    "forecast": forecast.run,
    "signals": signals.run,
}
NAMES = (*ALONE, *ON_A_CLUSTER)


def main(arguments: Sequence[str]) -> int:
    """Run benchmarks, keep and print what they found; return the exit code: 1 where one could not be run."""
    parsed = _parser().parse_args(arguments)
    scale = Scale(rounds=parsed.rounds)
    results = []
    try:
        for result in results_of(parsed.only or NAMES, scale):
            results.append(result)
            write(result)
    except E2EError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    show(results, table_console())
    return 0


def results_of(names: Sequence[str], scale: Scale) -> Iterator[Result]:
    """Run benchmarks by name, those that need no cluster first, and yield their results."""
    for name in names:
        if name in ALONE:
            yield ALONE[name](scale)
    on_a_cluster = [name for name in names if name in ON_A_CLUSTER]
    if on_a_cluster:
        with standing(max(*scale.sizes, scale.singles, WARM_UP)) as stand:
            for name in on_a_cluster:
                yield ON_A_CLUSTER[name](stand, scale)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m e2e.bench",
        description="Measures the operator beside the least that could do the same, on one cluster, turn by turn.",
        epilog="A target that is missed does not make the command fail: the table says by how much.",
    )
    parser.add_argument("--only", action="append", choices=NAMES, help="run this benchmark (may be repeated)")
    parser.add_argument("--rounds", type=int, default=Scale().rounds, help="turns of each (default: %(default)s)")
    return parser
