"""The checks of the soak test. They read what the recorder saw, and ask the operator nothing."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from statistics import median

import msgspec

from computepool.model.api import HealthSpec
from computepool.model.reasons import Reason
from e2e import brisk, procs
from e2e.gates import USER
from e2e.operator import OperatorProcess
from e2e.recorder import Life
from e2e.soak.world import (
    ABSURD,
    BARE,
    BARE_PODS,
    DWELL_SECONDS,
    FIRST,
    GUARDED,
    GUARDED_PODS,
    KEPT,
    KEPT_PODS,
    LOAD,
    MAX_ACCELERATORS,
    PER_MINUTE,
    SECOND,
    SLOW,
    SLOW_PODS,
    SLOW_SECONDS,
    STEADY,
    World,
    insist,
)

SEEN_LATE_SECONDS = 1.0
"""By so much two times that one watch has seen may be nearer to each other than the events were."""
GROWTH = 1.2
"""By so much memory may differ between the second and the last quarter: it is taken in pages, and given back late."""
SETTLE_SECONDS = 120.0
UNHEALTHY_PERCENT = HealthSpec().unhealthy_percent
"""If so many of its nodes fail, a provider fails, and pods may leave all its nodes."""
FAILING_LATE_SECONDS = 10.0
"""So long after a node works again, an eviction may still follow from its failure."""
UNTOLD_SECONDS, EXPLAIN_EVERY_SECONDS = 10.0, 20.0
"""After how long a pod's wait must have a reason, and how often the reason is asked for."""


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
        self._explained_at = 0.0
        self.most = 0
        """Accelerators of the bounded standby that were in use at once, at most."""

    def look(self) -> list[str]:
        """Look at what was seen so far; return what was not known to be broken."""
        checks = (
            self._bursts,
            self._bare,
            self._rate,
            self._dwell,
            self._deletions,
            self._harm,
            self._slow,
            self._untold,
        )
        found = [problem for check in checks for problem in check()]
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
        lives = [life for life in self._world.history.lives() if life.app != ABSURD]
        used = sum(life.here and life.node in nodes for life in lives)
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
        return self._world.silences.covered(life.node, life.evicted or 0.0, brisk.SILENT_SECONDS)

    def _by_choice(self, life: Life) -> bool:
        """Say whether an evicted pod ran on a node that works, and of a provider that works."""
        at = life.evicted or 0.0
        nodes = next((names for names in self._world.nodes.values() if life.node in names), [])
        failing = [name for name in nodes if self._world.failing.covered(name, at, FAILING_LATE_SECONDS)]
        return life.node not in failing and not (nodes and 100 * len(failing) >= UNHEALTHY_PERCENT * len(nodes))

    def _harm(self) -> Iterator[str]:
        """Yield the pods that ran well where they were allowed to stay, and were evicted."""
        primary = set(self._world.nodes[FIRST])
        for life in self._world.history.evicted():
            stays = life.app == KEPT or life.node in primary
            if stays and life.ready_at_eviction and self._by_choice(life):
                yield f"{life.name} was Ready on {life.node}, which works, and was evicted"

    def _slow(self) -> Iterator[str]:
        """Yield the moves by choice that did not wait for the replacement before to become Ready."""
        chosen = [life for life in self._world.history.evicted(SLOW) if self._by_choice(life)]
        for earlier, later in pairwise(chosen):
            gap = (later.evicted or 0.0) - (earlier.evicted or 0.0)
            if gap < SLOW_SECONDS - SEEN_LATE_SECONDS:
                yield f"{later.name} was moved by choice {gap:.1f} s after {earlier.name}"

    def _untold(self) -> Iterator[str]:
        """Yield the pod that has waited longest, if `computepool explain` gives no reason for its wait."""
        now = time.monotonic()
        waiting = [
            life for life in self._world.history.here() if life.bound is None and now - life.created > UNTOLD_SECONDS
        ]
        if not waiting or now < self._explained_at + EXPLAIN_EVERY_SECONDS:
            return
        self._explained_at = now
        name = min(waiting, key=lambda life: life.created).name
        told = self._world.explain(name)
        if told and not any(f"{reason}: " in told for reason in Reason):
            yield f"{name} waits, and no reason is told: {told!r}"

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
        several = {GUARDED: GUARDED_PODS, BARE: BARE_PODS, SLOW: SLOW_PODS, KEPT: KEPT_PODS}
        expected = Counter(dict.fromkeys(STEADY, 1) | several)
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
