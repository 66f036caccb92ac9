"""A whole provider's heartbeats end at once: how long until its pods run elsewhere, with the operator and without.

`python -m e2e.bench.lost`: 104 pods on 13 nodes of a primary, a standby with room for them on 7 nodes, with zone labels
and without. Plain Kubernetes has the controller manager's default timings and every help it can get: its pods tolerate
the standby from the start and prefer the primary. It takes minutes; after eight the wait ends.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import msgspec

from e2e import chart, objects
from e2e.bench.contenders import operating
from e2e.bench.report import Result, Row, number, show, table_console, write
from e2e.cluster import Cluster
from e2e.components import Options
from e2e.errors import E2EError, WaitTimeoutError
from e2e.recorder import Recorder
from e2e.site import Site
from e2e.spread import Spread, percentile

Json = dict[str, Any]

PRIMARY, STANDBY = "aws", "nebius"
NODES, GPUS = 13, 8
PODS = NODES * GPUS
STANDBY_NODES, STANDBY_GPUS = 7, 16
SILENT_SECONDS = 20
LIMIT_SECONDS = 30.0
GIVEN_UP_SECONDS = 480.0


class Scenario(msgspec.Struct, frozen=True):
    """Whether the operator runs, and whether nodes have zone labels."""

    operator: bool
    zones: bool

    def __str__(self) -> str:
        """As the table says it."""
        who = "with the operator" if self.operator else "plain Kubernetes"
        return f"{who}, {'zone labels' if self.zones else 'no zone labels'}"


class Found(msgspec.Struct, frozen=True):
    """When new pods were bound elsewhere, in seconds since the heartbeats ended, in order."""

    bound: list[float]
    pods: int
    waited: float
    """How long was waited for all of them."""


def run(given_up: float = GIVEN_UP_SECONDS, say: Any = print) -> Result:
    """Measure all; plain Kubernetes meanwhile waits on clusters of its own."""
    scenarios = [Scenario(operator, zones) for operator in (True, False) for zones in (True, False)]
    found: dict[Scenario, Found] = {}
    with ThreadPoolExecutor(2) as threads:
        plain = {each: threads.submit(play, each, given_up) for each in scenarios if not each.operator}
        say(f"plain Kubernetes is waited for up to {given_up:g} s, on two clusters beside")
        for scenario in scenarios:
            running = plain.get(scenario)
            found[scenario] = running.result() if running else play(scenario, given_up)
            say(f"{scenario}: {_words(found[scenario])}")
    raw = {str(scenario): msgspec.to_builtins(result) for scenario, result in found.items()}
    return Result("lost", [_row(scenario, result) for scenario, result in found.items()], raw)


def play(scenario: Scenario, given_up: float) -> Found:
    """Play one scenario on a cluster of its own."""
    with Cluster(options=Options(benchmark=True)) as cluster:
        site = Site(cluster)
        lost = _furnish(site, zones=scenario.zones)
        with (
            _operator(site) if scenario.operator else nullcontext(),
            Recorder(site.api, site.namespace) as recorder,
        ):
            site.create(_workload(tolerant=not scenario.operator))
            site.wait_bound(PODS, timeout=120)
            recorder.wait(lambda: len(recorder.here()) == PODS, "all to be there", 60)
            assert site.providers_of(site.pods()) == {PRIMARY: PODS}
            return _measure(site, recorder, lost, given_up)


def _measure(site: Site, recorder: Recorder, lost: Sequence[str], given_up: float) -> Found:
    began = time.monotonic()
    with ThreadPoolExecutor(len(lost)) as threads:
        list(threads.map(lambda name: site.silence([name]), lost))
    gone = set(lost)

    def elsewhere() -> list[float]:
        return sorted(
            life.bound - began for life in recorder.lives() if life.bound is not None and life.node not in gone
        )

    # What is missing is missing in the answer.
    with suppress(WaitTimeoutError):
        recorder.wait(lambda: len(elsewhere()) >= PODS, "all to be bound elsewhere", given_up)
    return Found(elsewhere(), PODS, time.monotonic() - began)


def _furnish(site: Site, *, zones: bool) -> list[str]:
    where: dict[str, Json] = {name: {"zone": f"zone-{name}"} if zones else {} for name in (PRIMARY, STANDBY)}
    lost = site.add_nodes(PRIMARY, NODES, gpus=GPUS, **where[PRIMARY])
    site.add_nodes(STANDBY, STANDBY_NODES, gpus=STANDBY_GPUS, taint=True, **where[STANDBY])
    return lost


def _workload(*, tolerant: bool) -> Json:
    """A Deployment; a tolerant one may use the standby from the start, and prefers the primary."""
    if not tolerant:
        return objects.gpu_deployment("work", PODS)
    affinity = objects.preference({objects.PROVIDER_KEY: PRIMARY})
    tolerations = [objects.provider_toleration(STANDBY)]
    return objects.gpu_deployment("work", PODS, tolerations=tolerations, affinity=affinity)


@contextmanager
def _operator(site: Site) -> Iterator[None]:
    """The operator, with a pool whose only setting off the defaults is how many pods it may move, and how soon."""
    spec: Json = {
        "health": {"silentSeconds": SILENT_SECONDS},
        "failover": {"silenceSeconds": SILENT_SECONDS, "maxConcurrentMoves": PODS, "perMinute": 10 * PODS},
        "admission": {"mode": "WhenSaturated"},
    }
    with chart.installed(site.cluster), operating(site, [PRIMARY, STANDBY], **spec):
        yield


def _row(scenario: Scenario, found: Found) -> Row:
    missing = found.pods - len(found.bound)
    return Row(
        what=f"heartbeats of {NODES} nodes end -> last of {found.pods} pods bound elsewhere, {scenario}",
        unit="s",
        value=Spread.of([found.waited if missing else found.bound[-1]]),
        limit=LIMIT_SECONDS if scenario.operator else None,
        detail=_words(found),
    )


def _words(found: Found) -> str:
    if not found.bound:
        return f"none of {found.pods} bound when given up on after {number(found.waited)} s"
    first, middle, last = found.bound[0], percentile(found.bound, 0.5), found.bound[-1]
    told = f"first {number(first)} s, median {number(middle)} s, last {number(last)} s"
    if len(found.bound) < found.pods:
        told += f"; {found.pods - len(found.bound)} of {found.pods} not bound after {number(found.waited)} s"
    return told


def main() -> int:
    """Run, keep and print; return the exit code: 1 where it could not be run."""
    try:
        result = run()
    except E2EError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    write(result)
    show([result], table_console())
    return 0


if __name__ == "__main__":
    sys.exit(main())
