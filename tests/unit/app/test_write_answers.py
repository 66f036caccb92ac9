"""An answer queues its pool also after the watch's last event."""

from __future__ import annotations

import pytest

from computepool.app.work_queue import WorkQueue
from computepool.app.write_answers import BurstAnswers, MoveAnswers
from computepool.model.cluster import Offer, Pod, RefusedOffer
from computepool.model.moves import MoveKind, PodMove
from computepool.observe.store import Store
from tests.builders import NOW, POOL, namespace, node, pod, pool
from tests.unit.core.moving import owned

AT = 5.0


class PoolQueue(WorkQueue):
    """Only notes which pools are queued."""

    def __init__(self) -> None:
        super().__init__(clock=lambda: AT, wall=lambda: NOW)
        self.pools: list[str] = []

    def add(self, pool: str, at: float, *, minor: bool = False) -> None:
        assert (at, minor) == (AT, False)
        self.pools.append(pool)


class Scene:
    """A pod that runs, or waits, in a pool."""

    def __init__(self, record: Pod) -> None:
        self.pod = record
        self.store = Store(lambda _pool, _at, **_: None, wall=lambda: NOW)
        self.store.put_namespace(namespace(), AT)
        self.store.put_pool(pool(), AT)
        self.store.put_node(node("a1"), AT)
        self.store.put_pod(record, AT)
        self.queue = PoolQueue()
        self.bursts = BurstAnswers(self.store, self.queue, clock=lambda: AT)
        self.moves = MoveAnswers(self.store, self.queue, clock=lambda: AT)

    def is_moved(self) -> None:
        self.moves.start(POOL, PodMove(self.pod, source="aws", target="nebius", kind=MoveKind.FAILOVER, at=NOW))
        self.moves.recorded(self.pod.uid)
        self.moves.asked(self.pod.uid)

    def is_gone(self) -> None:
        self.store.drop_pod(self.pod.uid, AT)


@pytest.mark.parametrize("gone", [True, False])
def test_a_move_that_came_to_nothing_gives_its_place_back(gone: bool) -> None:
    scene = Scene(owned("web", on="a1"))
    scene.is_moved()
    if gone:
        scene.is_gone()
    scene.moves.failed(scene.pod.uid)
    assert scene.queue.pools == [POOL]
    assert not scene.store.moves.of(POOL)


def test_an_answer_that_comes_after_the_pod_is_gone_is_news() -> None:
    scene = Scene(owned("web", on="a1"))
    scene.is_moved()
    scene.is_gone()
    scene.moves.let_go(scene.pod.uid, NOW)
    assert scene.queue.pools == [POOL]
    assert [move.let_go for move in scene.store.moves.of(POOL)] == [True]


def test_one_that_comes_first_is_not_as_the_watch_tells_it_too() -> None:
    scene = Scene(owned("web", on="a1"))
    scene.is_moved()
    scene.moves.let_go(scene.pod.uid, NOW)
    assert scene.queue.pools == []


def test_a_burst_that_came_to_nothing_is_decided_anew() -> None:
    scene = Scene(pod("web"))
    scene.bursts.start(scene.pod.uid, Offer("nebius", NOW))
    scene.bursts.failed(scene.pod.uid)
    assert scene.queue.pools == [POOL]
    assert not scene.store.snapshot(POOL).in_flight


def test_a_burst_that_is_refused_is_decided_anew_without_that_provider() -> None:
    scene = Scene(pod("web"))
    scene.bursts.start(scene.pod.uid, Offer("nebius", NOW))
    assert scene.bursts.refusals(scene.pod.uid, "nebius", NOW) == 0
    scene.bursts.refused(scene.pod.uid, refused := RefusedOffer("nebius", NOW, NOW + 1, times=2))
    assert scene.bursts.refusals(scene.pod.uid, "nebius", NOW) == 2
    scene.bursts.failed(scene.pod.uid)
    assert scene.queue.pools == [POOL]
    view = scene.store.snapshot(POOL)
    assert (view.in_flight, view.refused_offers) == ({}, {scene.pod.uid: (refused,)})


def test_a_burst_that_came_to_nothing_wakes_every_pool_because_each_has_kept_a_place() -> None:
    scene = Scene(pod("web"))
    scene.store.put_pool(pool(name="other", workloads={"podSelector": {"matchLabels": {"no": "such"}}}), AT)
    scene.bursts.start(scene.pod.uid, Offer("nebius", NOW))
    scene.bursts.failed(scene.pod.uid)
    assert set(scene.queue.pools) == {POOL, "other"}
    # A label that was not corrected concerns the pod's own pool only.
    scene.queue.pools.clear()
    scene.bursts.failed(scene.pod.uid)
    assert scene.queue.pools == [POOL]


def test_a_burst_that_is_in_doubt_is_news_only_once_it_is_seen() -> None:
    scene = Scene(pod("web"))
    scene.bursts.start(scene.pod.uid, Offer("nebius", NOW))
    scene.bursts.doubted(scene.pod.uid)
    assert scene.queue.pools == []
    assert scene.pod.uid in scene.store.snapshot(POOL).in_flight
