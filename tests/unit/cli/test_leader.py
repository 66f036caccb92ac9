"""Who leads, judged by the Lease: its times are of another clock than ours, and only its changes are certain."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from computepool.cli.leader import Leader, LeaderWatch, Leading, LeaseAddress, headline
from computepool.kube.client import ApiClient
from computepool.kube.errors import Forbidden, NotFound, Unavailable
from computepool.model.text import rfc3339

EPOCH = 1_800_000_000.0
DURATION, RETRY = 15, 2.0


class Cluster:
    """A Lease whose leader renews it every RETRY seconds until `dies_at`, and a reader with a clock of its own.

    `skew`: how many seconds the reader's clock is ahead of the leader's.
    """

    def __init__(self, *, dies_at: float = float("inf"), skew: float = 0.0, began: float = 0.0) -> None:
        self.now, self.dies_at, self.skew = began, dies_at, skew
        self.holder: str | None = "leader"
        self.error: Exception | None = None

    async def get(self, _path: str) -> bytes:
        if self.error is not None:
            raise self.error
        renewal = min(self.now, self.dies_at) // RETRY
        spec = {
            "holderIdentity": self.holder,
            "leaseDurationSeconds": DURATION,
            "renewTime": rfc3339(EPOCH + renewal * RETRY, "microseconds"),
        }
        meta = {"name": "computepool", "resourceVersion": str(1000 + int(renewal))}
        return json.dumps({"metadata": meta, "spec": spec}).encode()

    async def sleep(self, seconds: float) -> None:
        self.now += seconds

    def watch(self) -> LeaderWatch:
        return LeaderWatch(
            cast("ApiClient", self),
            LeaseAddress("computepool-system", "computepool"),
            clock=lambda: self.now,
            wall=lambda: EPOCH + self.now + self.skew,
            sleep=self.sleep,
        )


def run(step: Callable[[], object]) -> object:
    """Run a coroutine that never really waits."""
    coroutine = step()
    try:
        coroutine.send(None)  # type: ignore[attr-defined]
    except StopIteration as ended:
        return ended.value
    raise AssertionError("it waited")


def read(watch: LeaderWatch) -> Leader:
    leader = run(watch.read)
    assert isinstance(leader, Leader)
    return leader


skews = st.one_of(st.just(0.0), st.floats(-1e6, 1e6))


@given(skew=skews, began=st.floats(0, 1e5))
def test_a_leader_that_renews_leads_whatever_the_readers_clock_says(skew: float, began: float) -> None:
    assert read(Cluster(skew=skew, began=began).watch()).leading is Leading.LEADS


@given(skew=st.floats(-DURATION, 1e6), dead=st.floats(3 * DURATION, 1e6))
def test_a_leader_that_died_long_ago_does_not_lead(skew: float, dead: float) -> None:
    cluster = Cluster(dies_at=100.0, began=100.0 + dead, skew=skew)
    assert read(cluster.watch()).leading is Leading.NOBODY


@given(skew=skews)
def test_a_leader_that_dies_while_it_is_watched_is_found_dead_by_the_readers_own_clock(skew: float) -> None:
    cluster = Cluster(dies_at=50.0, began=40.0, skew=skew)
    watch = cluster.watch()
    assert read(watch).leading is Leading.LEADS
    cluster.now = 51.0
    assert read(watch).leading is Leading.LEADS
    cluster.now = 51.0 + DURATION + RETRY
    assert read(watch).leading is Leading.NOBODY


@given(skew=skews, began=st.floats(0, 1e5))
def test_the_difference_of_the_clocks_is_found_by_a_renewal(skew: float, began: float) -> None:
    watch = Cluster(skew=skew, began=began).watch()
    ahead = run(partial(watch.clock_ahead, read(watch)))
    assert isinstance(ahead, float)
    assert skew - 0.01 <= ahead <= skew + RETRY


def test_without_a_renewal_the_difference_of_the_clocks_is_not_known() -> None:
    cluster = Cluster(dies_at=50.0, began=50.0)
    watch = cluster.watch()
    leader = read(watch)
    assert leader.leading is Leading.LEADS
    assert run(partial(watch.clock_ahead, leader)) is None


def test_a_dead_leader_is_told_with_the_time_of_its_last_renewal() -> None:
    cluster = Cluster(dies_at=100.0, began=100.0 + 14 * 60)
    watch = cluster.watch()
    leader = read(watch)
    at = rfc3339(EPOCH + 100.0)
    assert headline(leader, watch.age(leader)) == (
        f"Nobody leads: the Lease was last renewed at {at} by leader. That was 14 min ago, and the figures are from "
        "then."
    )


def test_a_lease_that_was_given_back_is_told() -> None:
    cluster = Cluster(began=100.0)
    cluster.holder = ""
    assert read(cluster.watch()).message.endswith("by a leader that gave it back.")


def test_no_lease_and_no_right_to_read_it_are_told() -> None:
    cluster = Cluster()
    cluster.error = NotFound(404, "NotFound", "")
    assert read(cluster.watch()).message.startswith(
        "Nobody leads: there is no Lease computepool in namespace computepool-system. Give its place"
    )
    cluster.error = Forbidden(403, "Forbidden", 'leases is forbidden: User "jane" cannot get resource "leases"')
    leader = read(cluster.watch())
    assert leader.leading is Leading.UNKNOWN
    assert leader.message.startswith('It is not known who leads: leases is forbidden: User "jane" cannot get')


def test_an_api_server_that_does_not_answer_is_an_error() -> None:
    cluster = Cluster()
    cluster.error = Unavailable(0, "NoConnection", "refused")
    with pytest.raises(Unavailable):
        read(cluster.watch())
