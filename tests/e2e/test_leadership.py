"""Two operators: a leader that dies or leaves in the middle of a burst, and a standby that goes on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from e2e import chart, objects, pools
from e2e.cluster import Cluster
from e2e.operator import OperatorProcess, operators
from e2e.site import Site

PODS = 200
LEASE_SECONDS = 8.0


@pytest.fixture
def pair(cluster: Cluster) -> Iterator[tuple[OperatorProcess, OperatorProcess]]:
    with chart.installed(cluster), operators(cluster, 2, lease_seconds=LEASE_SECONDS) as (first, second):
        yield first, second


@pytest.fixture
def full(pair: tuple[OperatorProcess, OperatorProcess], site: Site) -> Site:
    """A site whose primary is taken, with a standby that has room for the burst."""
    site.add_taken_node("aws", gpus=4)
    site.add_nodes("nebius", count=PODS // 8, gpus=8, taint=True)
    return site


def test_the_standby_ends_a_burst_that_its_killed_leader_began(
    pair: tuple[OperatorProcess, OperatorProcess], full: Site
) -> None:
    leader, standby = pair
    full.create(*objects.gpu_pods("new", PODS, labels={"app": "new"}))
    # The pods are there first: all of them burst at once, and the leader dies between two of its patches.
    with pools.pool(full, ("aws", "nebius")):
        pools.wait_sent(full)
        leader.kill()
        assert 0 < len(pools.sent(full)) < PODS
        bound = full.wait_bound(PODS, labels="app=new", timeout=120)
        _assert_each_was_sent_once(full, bound)
        assert standby.leading


def test_the_standby_takes_over_at_once_from_a_leader_that_is_told_to_stop(
    pair: tuple[OperatorProcess, OperatorProcess], full: Site
) -> None:
    leader, standby = pair
    full.create(*objects.gpu_pods("new", PODS, labels={"app": "new"}))
    with pools.pool(full, ("aws", "nebius")):
        pools.wait_sent(full)
        assert leader.terminate() == 0
        bound = full.wait_bound(PODS, labels="app=new", timeout=120)
        _assert_each_was_sent_once(full, bound)
    standby.wait_leading()
    lease = full.api.get("leases.coordination.k8s.io", "computepool", chart.NAMESPACE)
    assert lease["spec"]["holderIdentity"] == standby.identity


def test_a_leader_that_slept_past_its_lease_writes_nothing_more_and_ends(
    pair: tuple[OperatorProcess, OperatorProcess], full: Site
) -> None:
    leader, standby = pair
    with pools.pool(full, ("aws", "nebius")):
        full.create(*objects.gpu_pods("first", 8, labels={"app": "first"}))
        full.wait_bound(8, labels="app=first")
        leader.pause()
        standby.wait_leading()
        full.create(*objects.gpu_pods("second", 8, labels={"app": "second"}))
        full.wait_bound(8, labels="app=second")
        leader.resume()
        assert leader.wait_ended() == 1
        assert standby.leading
        _assert_each_was_sent_once(full, full.pods("app=second"))


def _assert_each_was_sent_once(site: Site, pods: list[dict[str, Any]]) -> None:
    """Every pod is on the standby, with one offer and one toleration of ours, and none was made anew."""
    ours = objects.provider_toleration("nebius")
    assert site.providers_of(pods) == {"nebius": len(pods)}
    for pod in pods:
        assert pod["metadata"]["annotations"][pools.OFFERS].count("=") == 1
        assert pod["spec"]["tolerations"].count(ours) == 1
        assert not sum(status.get("restartCount", 0) for status in pod["status"].get("containerStatuses", []))
