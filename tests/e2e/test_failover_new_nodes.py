"""Failover onto a provider that makes its nodes on demand, and that has none yet: on a real control plane."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from e2e import brisk, pools
from e2e.recorder import Recorder
from e2e.scene import COUNT, FIRST, GPUS, SECOND, WORK, work
from e2e.site import Site

pytestmark = pytest.mark.usefixtures("operator")


@contextmanager
def at_home(site: Site, count: int = COUNT) -> Iterator[tuple[list[str], str, Recorder]]:
    """A workload on the primary; the standby makes nodes on demand. Yields the primary's nodes, pool and history."""
    nodes = site.add_nodes(FIRST, 2, gpus=GPUS)
    # A node of no provider goes on, as other providers' nodes do in a cluster.
    site.add_nodes("elsewhere", 1, gpus=1, taint=True)
    on_demand = pools.provider(site, SECOND, capacity={"type": "OnDemand"})
    with (
        Recorder(site.api, site.namespace) as history,
        pools.pool(site, [FIRST, on_demand], **brisk.spec()) as pool,
    ):
        site.create(work(count))
        brisk.wait_settled(site, {FIRST: count})
        yield nodes, pool["metadata"]["name"], history


def make_node(site: Site) -> None:
    """Make a node for the pods that wait, as the provider's autoscaler does."""
    site.wait_unschedulable(1, labels=WORK)
    site.add_nodes(SECOND, 1, gpus=GPUS, taint=True)


def test_pods_of_a_dead_primary_leave_at_once_and_run_as_soon_as_there_are_nodes(site: Site) -> None:
    with at_home(site) as (nodes, pool, history):
        site.silence(nodes)
        history.wait(lambda: len(history.evicted("work")) == COUNT, "all pods of the dead nodes to be evicted")
        make_node(site)
        site.add_nodes(SECOND, 1, gpus=GPUS, taint=True)
        brisk.wait_settled(site, {SECOND: COUNT})
        assert brisk.breaker_of(brisk.status_of(site, pool), SECOND)["state"] == "Closed"


def test_of_pods_that_run_a_single_pod_goes_first_and_the_others_follow_its_node(site: Site) -> None:
    # The pods of one node find no place on the other, which breaks a moment later.
    count = 2 * GPUS
    with at_home(site, count) as (nodes, pool, history):
        site.break_nodes(nodes)
        brisk.wait_settled(site, {"": 1, FIRST: count - 1})
        pools.wait_condition(site, pool, "Degraded", "True", says=FIRST)
        assert len(history.evicted("work")) == 1
        make_node(site)
        # The node takes the first pod and as many others as have room. The next pod goes ahead to the next node.
        brisk.wait_settled(site, {"": 1, SECOND: GPUS, FIRST: count - GPUS - 1})
        make_node(site)
        brisk.wait_settled(site, {SECOND: count})
