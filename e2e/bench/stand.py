"""The cluster of the benchmarks: a primary that is full, and a standby with room for all pods.

Between two measurements everything is cleared away, and the processes of cluster and contender have come to rest.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from e2e import chart, objects
from e2e.bench.children import FIELD_MANAGER, Connection
from e2e.bench.creator import Creator
from e2e.bench.recording import RecorderProcess
from e2e.cluster import Cluster
from e2e.components import Options
from e2e.errors import WaitTimeoutError
from e2e.recorder import Life
from e2e.site import Site

Json = dict[str, Any]

PRIMARY, STANDBY = "aws", "nebius"
PRIMARY_NODES = 2
GPUS = 8
BOUND_SECONDS = 90.0
# Of one core, in all processes that are waited for, and for so long: that is rest.
REST_SHARE = 0.25
REST_SECONDS = 0.3
REST_TIMEOUT = 15.0
TICKS = os.sysconf("SC_CLK_TCK")


class Sample(msgspec.Struct, frozen=True):
    """One pod's times, in milliseconds."""

    bound: float
    """From the request that creates it to its being seen bound."""
    sent_on: float
    """From when it is first seen to when it is seen with the toleration."""
    until_bound: float
    """From the first request of its batch to when it is seen bound."""


class Stand:
    """A cluster with the chart's policies and rights, nodes of two providers, and a recorder."""

    def __init__(self, cluster: Cluster, site: Site) -> None:
        """Use a site of a cluster that has the chart; see `standing`."""
        self.cluster = cluster
        self.site = site
        self.connection = Connection(cluster.url, cluster.admin_token, str(cluster.ca_file), site.namespace)
        self._recorder = RecorderProcess(self.connection)
        self._creator = Creator(self.connection)
        self._batches = 0

    def guarded(self) -> Connection:
        """The connection of the operator's own ServiceAccount, which the chart's policies hold to what it is for.

        The policies let only the leader write. From now on they take the scripts for the leader.
        """
        chart.record_leader(self.cluster, FIELD_MANAGER)
        token = self.cluster.api.token(chart.SERVICE_ACCOUNT, chart.NAMESPACE)
        return msgspec.structs.replace(self.connection, token=token)

    def close(self) -> None:
        """End what the stand has started."""
        self._creator.close()
        self._recorder.close()

    def furnish(self, places: int) -> None:
        """Add the nodes: a primary that two large pods fill, and a standby with room for `places` pods."""
        self.site.add_nodes(PRIMARY, PRIMARY_NODES, gpus=GPUS)
        self.site.add_nodes(STANDBY, -(-places // GPUS), gpus=GPUS, taint=True)
        self.site.create(*objects.gpu_pods("filler", PRIMARY_NODES, gpus=GPUS))
        self.site.wait_bound(PRIMARY_NODES)

    def batch(self, count: int, **how: Any) -> list[Sample]:
        """Create pods at once, described as for `objects.gpu_pod`, and wait until the standby has them all."""
        self._batches += 1
        prefix = f"b{self._batches}"
        manifests = objects.gpu_pods(prefix, count, labels={"app": prefix}, **how)
        asked = self._creator.create(manifests)
        seen = self._recorder.wait(prefix, count, BOUND_SECONDS)
        begin = min(asked.values())
        return [_sample(name, at, begin, seen.get(name)) for name, at in asked.items()]

    def clear(self, pids: Sequence[int] = ()) -> None:
        """Delete all batches and events, and wait until cluster and `pids` have come to rest."""
        api, namespace = self.cluster.api, self.site.namespace
        # All but those that fill the primary, which have no such label.
        api.delete_all("pods", namespace, labels="app", grace_seconds=0)
        what = "pods to be gone"
        api.wait_for("pods", lambda pods: not pods, namespace, labels="app", timeout=BOUND_SECONDS, what=what)
        self.rest(pids)
        api.delete_all("events.events.k8s.io", namespace)
        self.rest(pids)

    def rest(self, pids: Sequence[int] = ()) -> None:
        """Wait until cluster and `pids` are at rest; load from other users of the machine does not count."""
        watched = [*self.cluster.pids().values(), *pids]
        deadline = time.monotonic() + REST_TIMEOUT
        while _busy(watched) > REST_SHARE and time.monotonic() < deadline:
            pass  # Measuring has taken its time.


@contextmanager
def standing(places: int) -> Iterator[Stand]:
    """Start a cluster for benchmarks, install the chart, and set up the stand."""
    with Cluster(options=Options(benchmark=True)) as cluster, chart.installed(cluster):
        stand = Stand(cluster, Site(cluster))
        try:
            stand.furnish(places)
            yield stand
        finally:
            stand.close()


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _busy(pids: Sequence[int]) -> float:
    """Return the share of one core that processes use, all together."""
    before, began = sum(map(cpu_seconds, pids)), time.monotonic()
    time.sleep(REST_SECONDS)
    return (sum(map(cpu_seconds, pids)) - before) / (time.monotonic() - began)


def _sample(name: str, asked: float, begin: float, life: Life | None) -> Sample:
    if life is None or life.bound is None:
        raise WaitTimeoutError(f"pod {name} was not bound in {BOUND_SECONDS:g} s")
    # A pod that had the toleration from the start was not sent to a standby.
    sent_on = min(life.sent_on.values(), default=life.created) - life.created
    return Sample((life.bound - asked) * 1000, sent_on * 1000, (life.bound - begin) * 1000)
