"""The `python -m e2e.soak` command: plays faults from a printed seed, checks all the time, and prints a summary."""

from __future__ import annotations

import argparse
import heapq
import os
import random
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from e2e.errors import E2EError
from e2e.soak.checks import GROWTH, Checks, tracebacks
from e2e.soak.faults import Faults
from e2e.soak.world import (
    DWELL_SECONDS,
    LOAD,
    MAX_ACCELERATORS,
    OTHER_PODS,
    PLACES,
    SECOND,
    THIRD,
    World,
    insist,
    world,
)

FLAP_EVERY_SECONDS = 20.0
FLAP_SHARE = 0.5
"""Of the time: ten minutes of twenty."""
BETWEEN_SECONDS = (2.0, 10.0)
LOOK_SECONDS = 1.0
MEMORY_SECONDS = 3.0
SPARE = 2
"""Places that stay free in the end."""


def main(arguments: Sequence[str]) -> int:
    """Soak; return the exit code: 1 where something was broken."""
    parser = argparse.ArgumentParser(prog="python -m e2e.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=float(os.environ.get("SOAK_MINUTES") or 20))
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SOAK_SEED") or secrets.randbelow(1_000_000)))
    given = parser.parse_args(arguments)
    print(f"soak of {given.minutes:g} minutes, SOAK_SEED={given.seed}", flush=True)
    try:
        with tempfile.TemporaryDirectory() as folder, world(Path(folder)) as made:
            return Soak(made, random.Random(given.seed), given.minutes * 60).run()
    except E2EError as error:
        print(f"soak: {error}", file=sys.stderr)
        return 1


class Soak:
    """One run."""

    def __init__(self, world: World, rng: random.Random, seconds: float) -> None:
        """`seconds` is how long faults are made."""
        self._world = world
        self._rng = rng
        self._seconds = seconds
        self._faults = Faults(world, rng)
        self._checks = Checks(world)
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._count = 0
        self._made: Counter[str] = Counter()

    def run(self) -> int:
        """Make faults until the time is over, mend everything, and say what was found."""
        self._began = time.monotonic()
        self._at(0.0, self._fault)
        self._at(0.0, self._flap)
        self._at(0.0, self._look)
        self._at(0.0, self._measure)
        while self._due and (self._share() < 1 or self._due[0][0] < self._began + self._seconds):
            due, _, step = heapq.heappop(self._due)
            time.sleep(max(0.0, due - time.monotonic()))
            step()
        self._mend()
        for problem in self._checks.settle():
            self._say(f"BROKEN in the end: {problem}")
        self._look()
        return self._sum_up()

    # -- what comes up again and again -----------------------------------------------------------------------------

    def _fault(self) -> None:
        # Leaders die in the first and the third quarter: in the second and the last one their memory is compared.
        fault = self._faults.next(deadly=int(self._share() * 4) in (0, 2))
        self._made[fault.name.split(":")[0]] += 1
        self._say(fault.name)
        fault.begin()
        self._at(fault.seconds, fault.end)
        self._at(self._rng.uniform(*BETWEEN_SECONDS), self._fault)

    def _flap(self) -> None:
        if self._share() < FLAP_SHARE:
            flap = self._faults.flap()
            self._made[flap.name] += 1
            flap.begin()
            self._at(flap.seconds, flap.end)
            self._at(FLAP_EVERY_SECONDS, self._flap)

    def _look(self) -> None:
        self._world.replace_ended()
        for problem in self._checks.look():
            self._say(f"BROKEN: {problem}")
        self._at(LOOK_SECONDS, self._look)

    def _measure(self) -> None:
        self._checks.memory.take(self._world.leader(), self._share())
        self._at(MEMORY_SECONDS, self._measure)

    # -- the end ---------------------------------------------------------------------------------------------------

    def _mend(self) -> None:
        """Undo whatever is still wrong: all faults' ends may be done more than once."""
        self._say("everything is mended")
        made = self._world
        for operator in made.operators:
            operator.resume()
        every = [name for names in made.nodes.values() for name in names]
        made.revive(every)
        insist(lambda: made.site.mend_nodes(every))
        for _, _, step in sorted(self._due, key=lambda entry: entry[0]):
            if step not in (self._fault, self._flap, self._look, self._measure):
                step()
        for provider in (SECOND, THIRD):
            made.drain(provider, on=False)
        made.edit({"mode": "Enforce", "failover": {"runningPods": "Move"}})
        made.replace_ended()
        # A half-open provider waits for a pod that proves it: make some that need all of them.
        self._prove()

    def _prove(self) -> None:
        made = self._world
        made.scale(LOAD, PLACES - OTHER_PODS - SPARE)

    def _sum_up(self) -> int:
        checks, history = self._checks, self._world.history
        crashes = tracebacks(self._world)
        second, last = checks.memory.quarter(2), checks.memory.quarter(4)
        grown = bool(second and last and last > second * GROWTH)
        evictions = history.evicted()
        print(f"faults: {dict(self._made)}")
        print(
            f"pods seen: {len(history.lives())}, evicted: {len(evictions)}, operators ended: {len(self._world.ended)}"
        )
        print(f"most accelerators of {SECOND} at once: {checks.most} of {MAX_ACCELERATORS}; dwell: {DWELL_SECONDS} s")
        print(f"memory of the leader: {second:.0f} MiB in the second quarter, {last:.0f} MiB in the last")
        for crash in crashes:
            print(f"an error in a log: {crash}")
        for problem in checks.broken:
            print(f"broken: {problem}")
        if grown:
            print(f"broken: memory has grown by more than {GROWTH:g} times")
        good = not (checks.broken or grown or crashes)
        print("no invariant broken" if good else "BROKEN")
        return 0 if good else 1

    # -- time ------------------------------------------------------------------------------------------------------

    def _share(self) -> float:
        return (time.monotonic() - self._began) / self._seconds

    def _at(self, seconds: float, step: Callable[[], object]) -> None:
        self._count += 1
        heapq.heappush(self._due, (time.monotonic() + seconds, self._count, step))

    def _say(self, what: str) -> None:
        print(f"{time.monotonic() - self._began:7.1f} s  {what}", flush=True)
