"""A leader that dies, or falls asleep, at each step of a move: whoever comes after goes on, and repeats nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import pytest
import yaml

from e2e import brisk, chart, pools
from e2e.audit import Audit, Write, credential_of
from e2e.cluster import Cluster
from e2e.components import APISERVER, CONTROLLER_MANAGER, SCHEDULER, Options
from e2e.gates import EVICTION, INTENT, SENT_ON, TAINT, Gate, Way
from e2e.operator import OperatorProcess
from e2e.scene import COUNT, SECOND, THIRD, WORK, Scene, away
from e2e.site import Site

LEASE_SECONDS = 4.0
PATIENCE = 120.0
Step = Callable[[Scene], AbstractContextManager[None]]


class Relay:
    """A leader and a standby with warm caches; whoever is killed is replaced."""

    def __init__(self, cluster: Cluster) -> None:
        """Start both."""
        self._cluster = cluster
        self._stack = ExitStack()
        self.leader = self._started()
        self._standby: OperatorProcess | None = None

    @property
    def standby(self) -> OperatorProcess:
        """The one that waits, once its caches are filled.

        It is started once the other leads: of two that wait, either may be the next leader.
        """
        if self._standby is None:
            self.leader.wait_leading()
            self._standby = self._started()
        self._standby.wait_ready()
        return self._standby

    def kill(self) -> None:
        """End the leader as a crash would; the standby is the leader from now on."""
        _ = self.standby
        self.leader.kill()
        self.pass_on()

    def pass_on(self) -> None:
        """Take the standby for the leader: the one before is over."""
        self.leader, self._standby = self.standby, None

    def close(self) -> None:
        """End all."""
        self._stack.close()

    def _started(self) -> OperatorProcess:
        return self._stack.enter_context(OperatorProcess(self._cluster, lease_seconds=LEASE_SECONDS))


@pytest.fixture(scope="module")
def relay(cluster: Cluster) -> Iterator[Relay]:
    with chart.installed(cluster):
        relay = Relay(cluster)
        try:
            yield relay
        finally:
            relay.close()


@contextmanager
def _gate(scene: Scene, way: Way) -> Iterator[None]:
    """Held until it has come to the gate."""
    with Gate(_cluster(scene), way) as gate:
        scene.break_down(SECOND)
        gate.wait_knocked()
        yield


@contextmanager
def _stopped(scene: Scene, component: str) -> Iterator[None]:
    """Held by somebody else, who does not do his part."""
    _cluster(scene).pause(component)
    try:
        scene.break_down(SECOND)
        yield
    finally:
        _cluster(scene).resume(component)


def _before_the_taint(scene: Scene) -> AbstractContextManager[None]:
    return _gate(scene, TAINT)


def _after_the_taint(scene: Scene) -> AbstractContextManager[None]:
    return _gate(scene, INTENT)


def _after_the_intent(scene: Scene) -> AbstractContextManager[None]:
    return _gate(scene, EVICTION)


@contextmanager
def _after_the_eviction(scene: Scene) -> Iterator[None]:
    with _stopped(scene, CONTROLLER_MANAGER):
        scene.history.wait(scene.evicted, "the first eviction")
        assert len(scene.history.lives("work")) == COUNT
        yield


@contextmanager
def _after_the_replacement_was_made(scene: Scene) -> Iterator[None]:
    with _gate(scene, SENT_ON):
        assert scene.evicted()
        assert not any(one.sent_on for one in scene.history.lives("work")[COUNT:])
        yield


@contextmanager
def _after_the_replacement_was_sent_on(scene: Scene) -> Iterator[None]:
    with _stopped(scene, SCHEDULER):
        scene.history.wait(
            lambda: any(one.sent_on for one in scene.history.lives("work")[COUNT:]), "the first sent to a standby"
        )
        assert all(one.bound is None for one in scene.history.lives("work")[COUNT:])
        yield


@pytest.mark.parametrize(
    "step",
    [
        _before_the_taint,
        _after_the_taint,
        _after_the_intent,
        _after_the_eviction,
        _after_the_replacement_was_made,
        _after_the_replacement_was_sent_on,
    ],
    ids=lambda step: step.__name__.strip("_"),
)
def test_the_standby_ends_the_move_that_a_killed_leader_began(relay: Relay, site: Site, step: Step) -> None:
    with away(site, failover={"maxConcurrentMoves": 2}) as scene:
        _ = relay.standby
        with step(scene):
            assert scene.evicted() < COUNT
            relay.kill()
        relay.leader.wait_leading()
        brisk.wait_settled(site, {THIRD: COUNT}, timeout=PATIENCE)
        _assert_each_moved_once(scene)


def test_a_leader_that_is_told_to_stop_in_the_middle_of_the_move_leaves_the_rest_to_the_standby(
    relay: Relay, site: Site
) -> None:
    with away(site, failover={"maxConcurrentMoves": 1}) as scene:
        _ = relay.standby
        scene.break_down(SECOND)
        scene.history.wait(scene.evicted, "the first eviction")
        assert relay.leader.terminate() == 0
        relay.pass_on()
        brisk.wait_settled(site, {THIRD: COUNT}, timeout=PATIENCE)
        _assert_each_moved_once(scene)


def test_limits_of_a_minute_outlive_the_leader(relay: Relay, site: Site) -> None:
    with away(site, failover={"perMinute": 4}) as scene:
        _ = relay.standby
        scene.break_down(SECOND)
        brisk.wait_settled(site, {SECOND: COUNT - 4, THIRD: 4})
        relay.kill()
        relay.leader.wait_leading()
        scene.let_pass(relay.leader)
        assert scene.evicted() == 4


def test_a_leader_that_slept_past_its_lease_in_the_middle_of_a_move_writes_nothing_more(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    audit = Audit(tmp_path_factory.mktemp("audit"))
    options = Options(node_lease_seconds=4, extra_flags={APISERVER: audit.flags()})
    with Cluster(options=options) as own, chart.installed(own), _pair(own) as (leader, standby):
        site = Site(own)
        with away(site, failover={"maxConcurrentMoves": 1}) as scene:
            # Nobody binds the first replacement: the leader falls asleep with most of the move before it.
            own.pause(SCHEDULER)
            scene.break_down(SECOND)
            scene.history.wait(scene.evicted, "the first eviction")
            leader.pause()
            slept = time.time()
            assert scene.evicted() < COUNT
            standby.wait_leading()
            own.resume(SCHEDULER)
            woke = time.time()
            leader.resume()
            assert leader.wait_ended() == 1
            brisk.wait_settled(site, {THIRD: COUNT}, timeout=PATIENCE)
            _assert_each_moved_once(scene)
        writes = audit.writes(credential=credential_of(_token(own, leader)))
        assert [one for one in writes if one.resource == "pods/eviction" and one.at < slept]
        # What had reached the API server before it fell asleep may be answered later; nothing new may follow.
        assert _changes(one for one in writes if one.at >= woke) == []


@contextmanager
def _pair(cluster: Cluster) -> Iterator[tuple[OperatorProcess, OperatorProcess]]:
    relay = Relay(cluster)
    try:
        yield relay.leader, relay.standby
    finally:
        relay.close()


def _token(cluster: Cluster, operator: OperatorProcess) -> str:
    access = yaml.safe_load((cluster.layout.folder / f"kubeconfig-{operator.identity}").read_text())
    return str(access["users"][0]["user"]["token"])


def _cluster(scene: Scene) -> Cluster:
    cluster = scene.site.cluster
    assert isinstance(cluster, Cluster)
    return cluster


def _changes(writes: Iterable[Write]) -> list[Write]:
    """What changed something; a write that is refused did not."""
    return [one for one in writes if one.code < 300]


def _assert_each_moved_once(scene: Scene) -> None:
    """Each pod of the beginning was evicted, and each has one replacement that was left alone."""
    lives = scene.history.lives("work")
    first, later = lives[:COUNT], lives[COUNT:]
    assert len(later) == COUNT, scene.history.lives("work")
    assert all(one.evicted is not None for one in first)
    assert all(one.here and one.evicted is None and list(one.sent_on) == [THIRD] for one in later)
    pods = scene.site.pods(WORK)
    assert all(pod["metadata"]["annotations"][pools.OFFERS].count("=") == 1 for pod in pods)
