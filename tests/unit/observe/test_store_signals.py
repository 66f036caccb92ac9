"""What the store makes of signals: who is told to look, and what a pass sees of them."""

from __future__ import annotations

from typing import Any

import pytest

from computepool.model.moves import MoveKind, PodMove
from computepool.model.snapshot import Failure
from computepool.observe.failures import FailedPod
from computepool.observe.heartbeats import Lease
from computepool.observe.store import Store
from tests.builders import NOW, namespace, node, pod, pool, provider, shape
from tests.unit.observe.storing import AT, Clock, Enqueued, changed, put

NODES = (node("a1"), node("a2"), node("n1"), node("n2"), node("x1", of="elsewhere"))


class Scene:
    """A store whose clocks the test moves."""

    def __init__(self, *items: Any) -> None:
        self.enqueued = Enqueued()
        self.clock = Clock()
        self.store = Store(lambda name, at, **_: self.enqueued.append((name, at)), wall=self.clock, clock=self.clock)
        for item in items or (pool(), namespace(), *NODES):
            put(self.store, item)
        self.store.heartbeats.sync_started(self.clock.now)
        self.beat(*(member.name for member in NODES))
        self.store.heartbeats.sync_finished(self.clock.now)
        self.tick()
        self.enqueued.clear()

    def beat(self, *names: str) -> None:
        for name in names:
            self.store.heartbeats.put(Lease(name, 1, str(self.clock.now), 40), self.clock.now)

    def tick(self, *, connected: bool = True) -> set[str]:
        """Tick; return who is told to look."""
        self.enqueued.clear()
        self.store.tick(AT, connected=connected)
        return self.enqueued.pools()

    def wait(self, seconds: int, *beating: str) -> set[str]:
        """Let time go by; return who was told to look meanwhile."""
        told: set[str] = set()
        for passed in range(1, seconds + 1):
            self.clock.now += 1
            if passed % 10 == 0:
                self.beat(*beating)
            told |= self.tick()
        return told


def patient(name: str, seconds: int, *providers: dict[str, Any]) -> Any:
    return pool(*providers, name=name, health={"silentSeconds": seconds})


# -- silence


def test_a_quiet_cluster_enqueues_no_pool() -> None:
    scene = Scene()
    assert scene.wait(60, *(member.name for member in NODES)) == set()


def test_a_pool_is_enqueued_when_its_node_falls_silent_and_when_it_beats_again() -> None:
    scene = Scene()
    assert scene.wait(24, "a1", "a2", "n1", "x1") == set()
    assert scene.wait(1) == {"inference"}
    assert scene.wait(5, "a1", "a2", "n1", "x1") == set()
    scene.beat("n2")
    assert scene.tick() == {"inference"}
    assert scene.tick() == set()


def test_each_pool_is_enqueued_by_its_own_seconds_and_for_its_own_nodes_only() -> None:
    aws, nebius = provider("aws"), provider("nebius")
    scene = Scene(
        namespace(),
        *NODES,
        patient("quick", 22, aws, nebius),
        patient("slow", 40, aws, nebius),
        patient("never", 0, aws, nebius),
        patient("other", 22, aws, provider("crusoe")),
    )
    beating = ("a1", "a2", "n1", "x1")
    assert scene.wait(22, *beating) == {"quick"}
    scene.beat(*beating)
    assert scene.wait(17, *beating) == set()
    assert scene.wait(1) == {"slow"}


def test_after_an_edit_to_and_fro_silent_nodes_are_reported_again() -> None:
    scene = Scene(namespace(), *NODES, patient("inference", 25))
    assert scene.wait(25, "a1", "a2", "n1", "x1") == {"inference"}
    put(scene.store, patient("inference", 60))
    assert scene.tick() == set()
    put(scene.store, patient("inference", 25))
    assert scene.tick() == {"inference"}


def test_while_most_nodes_are_silent_any_heartbeat_enqueues_every_pool() -> None:
    scene = Scene()
    assert scene.wait(30, "x1") == {"inference"}
    scene.beat("x1")
    scene.wait(26)
    scene.enqueued.clear()
    scene.beat("x1")
    # Nobody of the pool, but the one who tells that it is not we who are deaf.
    assert scene.tick() == {"inference"}


def test_a_pass_sees_the_heartbeats_of_the_whole_cluster_and_since_when_they_are_received() -> None:
    scene = Scene()
    scene.wait(10, "a1")
    seen = scene.store.snapshot("inference")
    assert seen.listening_since == NOW
    assert seen.heartbeats == dict.fromkeys(("a2", "n1", "n2", "x1"), NOW) | {"a1": NOW + 10}
    scene.wait(10, "a2")
    assert seen.heartbeats["a2"] == NOW


def test_while_the_watch_is_broken_no_node_falls_silent() -> None:
    scene = Scene()
    for _ in range(60):
        scene.clock.now += 1
        assert scene.tick(connected=False) == set()
    assert scene.store.snapshot("inference").listening_since == scene.clock.now


# -- failures


def failed(uid: str, on: str = "a1", *, created: float = NOW) -> FailedPod:
    return FailedPod(pod(uid, uid=uid, on=on, owner="rs", created=created), refused=True)


def test_a_refused_pod_has_the_pools_of_its_node_look_and_is_seen_by_all() -> None:
    scene = Scene(pool(), pool(provider("crusoe"), provider("tertiary"), name="other"), namespace(), *NODES)
    scene.store.put_failed_pod(failed("u1"), AT, listed=False)
    assert scene.enqueued == [("inference", AT)]
    expected = (Failure("u1", "a1", "rs", NOW, refused=True, shape=shape()),)
    assert scene.store.snapshot("inference").failures == expected
    assert scene.store.snapshot("other").failures == expected


def test_a_pod_that_is_known_to_have_failed_enqueues_no_pool() -> None:
    scene = Scene()
    scene.store.put_failed_pod(failed("u1"), AT, listed=False)
    scene.enqueued.clear()
    scene.store.put_failed_pod(failed("u1"), AT, listed=True)
    scene.store.put_failed_pod(failed("u2", created=NOW - 100_000), AT, listed=True)
    assert scene.enqueued == []


def test_failures_are_kept_for_the_longest_window_of_any_pool() -> None:
    scene = Scene(
        pool(health={"blackHoles": {"windowSeconds": 60}}),
        pool(name="other", health={"blackHoles": {"windowSeconds": 600}}),
        namespace(),
        *NODES,
    )
    scene.store.put_failed_pod(failed("u1"), AT, listed=False)
    scene.clock.now += 599
    assert scene.store.snapshot("inference").failures
    scene.store.drop_pool("other", AT)
    assert not scene.store.snapshot("inference").failures


@pytest.mark.parametrize("namespace_of_pod", ["default", "kube-system"])
def test_a_pod_of_any_owner_that_does_not_start_counts_for_its_node(namespace_of_pod: str) -> None:
    scene = Scene()
    starting = pod("p", on="a1", namespace=namespace_of_pod, owner="rs")
    put(scene.store, starting)
    scene.enqueued.clear()
    put(scene.store, changed(starting, failing=True))
    assert scene.enqueued.pools() == {"inference"}
    seen = scene.store.snapshot("inference").failures
    assert seen == (Failure(starting.uid, "a1", "rs", NOW, refused=False, began=NOW, shape=shape()),)


def test_a_pod_that_fails_already_when_it_is_seen_first_may_have_begun_at_its_creation() -> None:
    scene = Scene()
    put(scene.store, pod("p", on="a1", failing=True, waited=500))
    (failure,) = scene.store.snapshot("inference").failures
    assert (failure.at, failure.began) == (NOW, NOW - 500)


def test_a_pod_is_ready_since_it_was_seen_to_become_so_and_has_started_once_it_did() -> None:
    scene = Scene()
    starting = pod("p", on="a1")
    put(scene.store, starting)
    put(scene.store, changed(starting, has_run=True))
    put(scene.store, changed(starting, ready=True, ready_since=NOW - 77))
    found = scene.store.pod(starting.uid)
    assert found is not None
    assert (found.ready_since, found.has_run) == (NOW, True)
    scene.clock.now += 60
    put(scene.store, changed(starting, ready=True, ready_since=NOW - 77, labels={"new": "label"}))
    found = scene.store.pod(starting.uid)
    assert found is not None
    assert (found.ready_since, found.has_run) == (NOW, True)
    put(scene.store, changed(starting, ready=False))
    found = scene.store.pod(starting.uid)
    assert found is not None
    assert found.ready_since is None
    # A pod that was ready before it was seen says itself since when.
    put(scene.store, pod("q", on="a1", ready=True, ready_since=NOW - 77))
    assert [one.ready_since for one in scene.store.pods() if one.name == "q"] == [NOW - 77]


@pytest.mark.parametrize(("gpus", "seen"), [(1, True), (0, False)], ids=["holds a device", "holds none"])
def test_a_pod_of_no_pool_shows_that_its_node_works_once_it_runs(gpus: int, seen: bool) -> None:
    scene = Scene(pool(workloads={"podSelector": {"matchLabels": {"app": "web"}}}), namespace(), *NODES)
    other = pod("other", gpus, on="a1")
    put(scene.store, other)
    scene.store.snapshot("inference")
    put(scene.store, changed(other, ready=True, has_run=True))
    pods = [found for info in scene.store.snapshot("inference").nodes for found in info.pods]
    assert [found.ready for found in pods] == [seen]


@pytest.mark.parametrize("gone_first", [False, True])
def test_a_refused_pod_that_was_seen_to_start_is_no_failure_whichever_watch_is_first(gone_first: bool) -> None:
    scene = Scene()
    running = pod("p", on="a1", owner="rs", has_run=True)
    put(scene.store, running)
    if gone_first:
        scene.store.drop_pod(running.uid, AT)
    scene.store.put_failed_pod(failed(running.uid), AT, listed=False)
    assert scene.store.snapshot("inference").failures == ()


def test_a_pod_that_starts_at_last_or_is_gone_stays_a_failure_for_the_window() -> None:
    scene = Scene()
    stuck = [pod(name, on="a1", failing=True) for name in ("p", "q")]
    for one in stuck:
        put(scene.store, one)
    put(scene.store, changed(stuck[0], failing=False))
    scene.store.drop_pod(stuck[1].uid, AT)
    scene.clock.now += 299
    assert len(scene.store.snapshot("inference").failures) == 2
    scene.clock.now += 11
    assert scene.store.snapshot("inference").failures == ()


# -- changes that nobody reads


def test_a_pod_of_no_pool_that_becomes_ready_enqueues_no_pool() -> None:
    scene = Scene()
    stranger = pod("p", 0, on="a1", namespace="kube-system")
    scene.store = Store(
        lambda name, at, **_: scene.enqueued.append((name, at)),
        wall=scene.clock,
        reserved_namespaces=["kube-system"],
    )
    for item in (pool(), namespace(), *NODES, stranger):
        put(scene.store, item)
    scene.enqueued.clear()
    put(scene.store, changed(stranger, ready=True))
    assert scene.enqueued == []
    put(scene.store, changed(stranger, ready=True, deleting=NOW + 30))
    assert scene.enqueued.pools() == {"inference"}


def test_a_pod_of_the_pool_that_becomes_ready_has_the_pool_look() -> None:
    scene = Scene()
    own = pod("p", on="n1")
    put(scene.store, own)
    scene.enqueued.clear()
    put(scene.store, changed(own, ready=True))
    assert scene.enqueued.pools() == {"inference"}


def test_a_node_condition_enqueues_the_pool_only_when_it_changes() -> None:
    scene = Scene()
    unhealthy = changed(NODES[0], conditions=(("XIDErrors", "True"),))  # type: ignore[arg-type]
    put(scene.store, unhealthy)
    assert scene.enqueued.pools() == {"inference"}
    scene.enqueued.clear()
    put(scene.store, changed(unhealthy))
    assert scene.enqueued == []


# -- moves


def test_moves_are_seen_until_the_dwell_is_over_and_for_some_minutes_at_least() -> None:
    scene = Scene(pool(failback={"minDwellSeconds": 600}), pool(name="other", failback={"minDwellSeconds": 0}), *NODES)
    for name in ("inference", "other"):
        moved = PodMove(pod(f"p-{name}", on="n1"), "nebius", "crusoe", MoveKind.FAILOVER, NOW)
        scene.store.moves.start(name, moved)
        scene.store.moves.recorded(moved.pod.uid)
        scene.store.moves.asked(moved.pod.uid)
        scene.store.moves.let_go(moved.pod.uid, NOW)

    def seen() -> list[int]:
        scene.tick()
        return [len(scene.store.snapshot(name).moves) for name in ("inference", "other")]

    for age, expected in ((299, [1, 1]), (301, [1, 0]), (599, [1, 0]), (601, [0, 0])):
        scene.clock.now = NOW + age
        assert seen() == expected


def test_a_pass_knows_since_when_moves_are_remembered() -> None:
    scene = Scene()
    assert scene.store.snapshot("inference").moves_since == NOW
    scene.clock.now += 100
    scene.store.moves.begin()
    assert scene.store.snapshot("inference").moves_since == NOW + 100


def test_of_a_pool_that_was_away_moves_are_remembered_since_it_is_back() -> None:
    scene = Scene()
    scene.store.moves.start("inference", PodMove(pod("p", on="n1"), "nebius", "crusoe", MoveKind.FAILOVER, NOW))
    scene.clock.now += 50
    of = scene.store.pools["inference"]
    scene.store.drop_pool("inference", 0.0)
    scene.store.put_pool(of, 0.0)
    seen = scene.store.snapshot("inference")
    assert (seen.moves, seen.moves_since) == ((), NOW + 50)
    scene.store.put_pool(of, 0.0)
    scene.clock.now += 50
    assert scene.store.snapshot("inference").moves_since == NOW + 50
