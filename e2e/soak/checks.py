"""The checks of the soak test. They read what the recorder saw, and ask the operator nothing."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from statistics import median

import msgspec

from e2e import brisk, procs
from e2e.gates import USER
from e2e.operator import OperatorProcess
from e2e.recorder import Life
from e2e.soak.world import (
    BARE,
    BARE_PODS,
    DWELL_SECONDS,
    GUARDED,
    GUARDED_PODS,
    LOAD,
    MAX_ACCELERATORS,
    PER_MINUTE,
    SECOND,
    STEADY,
    World,
    insist,
)

SEEN_LATE_SECONDS = 1.0
"""By so much two times that one watch has seen may be nearer to each other than the events were."""
GROWTH = 1.2
"""By so much memory may differ between the second and the last quarter: it is taken in pages, and given back late."""
SETTLE_SECONDS = 120.0


class Memory(msgspec.Struct):
    """What the leader was seen to use, in MiB, with the share of the time that had passed (0 to 1)."""

    samples: list[tuple[float, float]] = []

    def take(self, leader: OperatorProcess | None, share: float) -> None:
        """Take a sample."""
        if leader is not None:
            self.samples.append((share, procs.memory_mib(leader.pid)))

    def quarter(self, number: int) -> float:
        """The middle of one quarter (1 to 4); 0 where there is none."""
        taken = [mib for share, mib in self.samples if (number - 1) / 4 <= share < number / 4]
        return median(taken) if taken else 0.0


class Checks:
    """Finds what is broken; each finding once."""

    def __init__(self, world: World) -> None:
        """Look at nothing yet."""
        self._world = world
        self.broken: list[str] = []
        self.memory = Memory()
        self.most = 0
        """Accelerators of the bounded standby that were in use at once, at most."""

    def look(self) -> list[str]:
        """Look at what was seen so far; return what was not known to be broken."""
        found = [*self._bursts(), *self._bare(), *self._rate(), *self._dwell(), *self._deletions()]
        fresh = [problem for problem in found if problem not in self.broken]
        self.broken += fresh
        return fresh

    def settle(self) -> list[str]:
        """After everything was mended: wait until all is well again; return what is not."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while (problems := insist(self._unsettled)) and time.monotonic() < deadline:
            time.sleep(0.5)
        self.broken += problems
        return problems

    def _bursts(self) -> Iterator[str]:
        nodes = set(self._world.nodes[SECOND])
        used = sum(life.here and life.node in nodes for life in self._world.history.lives())
        self.most = max(self.most, used)
        if used > MAX_ACCELERATORS:
            yield f"{used} accelerators of {SECOND} in use, where {MAX_ACCELERATORS} are allowed"

    def _bare(self) -> Iterator[str]:
        for life in self._world.history.lives(BARE):
            if not life.here:
                yield f"the bare pod {life.name} was sent away"

    def _rate(self) -> Iterator[str]:
        times = self._world.history.eviction_times()
        for index, begin in enumerate(times):
            count = sum(begin <= at < begin + 60 - SEEN_LATE_SECONDS for at in times[index:])
            if count > PER_MINUTE:
                yield f"{count} evictions in a minute, where {PER_MINUTE} are allowed"
                return

    def _dwell(self) -> Iterator[str]:
        for app in STEADY:
            for earlier, later in pairwise(self._world.history.evicted(app)):
                gap = (later.evicted or 0.0) - (earlier.evicted or 0.0)
                if gap < DWELL_SECONDS - SEEN_LATE_SECONDS and not self._exempt(later):
                    yield f"{app} was moved twice within {gap:.1f} s: {earlier.name}, then {later.name}"

    def _exempt(self, life: Life) -> bool:
        """A pod on a node that no longer answers does not run, and may leave sooner."""
        return self._world.was_silent(life.node, life.evicted or 0.0, brisk.SILENT_SECONDS)

    def _deletions(self) -> Iterator[str]:
        for write in self._world.audit.writes(user=USER):
            if write.resource == "pods" and write.verb.startswith("delete"):
                yield f"the operator deleted the pod {write.name}, at {write.at:.1f}"

    def _unsettled(self) -> list[str]:
        """What is not as it was in the beginning."""
        world = self._world
        problems = [
            f"{name} carries the taint {value}" for name, value in brisk.quarantine_of(world.site.nodes()).items()
        ]
        expected = Counter(dict.fromkeys(STEADY, 1) | {GUARDED: GUARDED_PODS, BARE: BARE_PODS})
        load = world.api.get("deployments.apps", LOAD, world.site.namespace)["spec"]["replicas"]
        found = Counter(life.app for life in world.history.here() if life.bound is not None)
        problems += [
            f"{app}: {found[app]} of {count} pods run" for app, count in expected.items() if found[app] != count
        ]
        if found[LOAD] != load:
            problems.append(f"{LOAD}: {found[LOAD]} of {load} pods run")
        return problems


def tracebacks(world: World) -> list[str]:
    """What the operators' logs show of errors that nobody has foreseen."""
    return [
        f"{operator.identity}: {line.get('exception') or line['message']}"
        for operator in (*world.ended, *world.operators)
        for line in operator.log_lines()
        if "exception" in line or line["message"].startswith("Traceback")
    ]
