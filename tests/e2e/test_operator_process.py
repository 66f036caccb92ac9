"""One process leads, another waits: how leadership passes on, with exactly the chart's rights."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from e2e import chart, procs
from e2e.cluster import Cluster
from e2e.errors import E2EError
from e2e.operator import OperatorError, OperatorProcess, operators, supervised

LEASE_SECONDS = 4.0


@pytest.fixture(scope="module")
def release(cluster: Cluster) -> Iterator[Cluster]:
    with chart.installed(cluster):
        yield cluster


def test_a_leader_told_to_end_gives_the_lease_back_and_ends_well(release: Cluster) -> None:
    with operators(release, 2, lease_seconds=60) as (leader, standby):
        assert not standby.leading
        assert leader.terminate() == 0
        # The Lease lasts a minute: within this time the standby can only lead because it was given back.
        standby.wait_leading(timeout=30)
        assert standby.terminate() == 0
    assert release.api.get("leases.coordination.k8s.io", "computepool", chart.NAMESPACE)["spec"]["holderIdentity"] == ""


def test_a_standby_takes_over_from_a_leader_that_was_killed(release: Cluster) -> None:
    with operators(release, 2, lease_seconds=LEASE_SECONDS) as (leader, standby):
        leader.kill()
        standby.wait_leading()


def test_a_leader_that_sleeps_past_its_lease_ends_when_it_wakes(release: Cluster) -> None:
    with operators(release, 2, lease_seconds=LEASE_SECONDS) as (leader, standby):
        leader.pause()
        standby.wait_leading()
        leader.resume()
        assert leader.wait_ended() == 1
        assert standby.leading


def test_waiting_for_a_process_that_ends_instead_shows_its_log(release: Cluster) -> None:
    with OperatorProcess(release, flags=["--no-such-flag"]) as process:
        with pytest.raises(OperatorError, match="No such option"):
            process.wait_ready()
        assert not process.running


def test_waiting_for_what_does_not_come_shows_the_log(release: Cluster) -> None:
    with OperatorProcess(release) as process:
        process.wait_ready()
        with pytest.raises(E2EError, match=r"waited for 0.1 s to log 'nothing'(.|\n)*serving health and metrics"):
            process.wait_logged("nothing", timeout=0.1)


def test_a_supervised_process_ends_with_its_cluster() -> None:
    with Cluster() as own, chart.installed(own):
        process = supervised(own, "one")
        process.wait_leading()
        left = procs.ref(own.pids()["one"])
    assert procs.wait_gone([left], timeout=10) == []
