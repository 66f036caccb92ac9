"""The reflectors on a fake API server: heartbeats and failed pods reach the store, and trouble is said in words."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from computepool.app.caches import LEASES_NAME, Caches
from computepool.kube.client import ApiClient
from computepool.kube.credentials import static_access
from computepool.model.moves import MoveKind, PodMove
from computepool.observe.reflector import Tuning
from computepool.observe.store import Store
from tests.builders import pool
from tests.fakes.apiserver import LEASES, NODES, PODS, Behaviour, FakeApiServer
from tests.fakes.objectstore import JsonObject
from tests.fakes.waiting import until
from tests.unit.act.objects import namespace, node, pod

HEARTBEATS = "kube-node-lease"


@dataclass
class Following:
    """A store that follows a server."""

    server: FakeApiServer
    store: Store
    caches: Caches
    queued: list[str]

    async def filled(self) -> None:
        async with asyncio.timeout(10):
            for reflector in self.caches.reflectors.values():
                await reflector.synced.wait()


def lease(name: str, renewed: int = 0, in_namespace: str = HEARTBEATS) -> JsonObject:
    spec = {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": f"2026-11-23T05:00:00.{renewed:06d}Z"}
    return {"metadata": {"name": name, "namespace": in_namespace}, "spec": spec}


def failed(name: str, reason: str, on: str = "a1") -> JsonObject:
    item = pod(name, on=on)
    return {**item, "status": {"phase": "Failed", "reason": reason}}


def play(scenario: Callable[[Following], Awaitable[None]], server: FakeApiServer | None = None) -> None:
    async def run() -> None:
        queued: list[str] = []
        store = Store(lambda name, _at, **_: queued.append(name), wall=time.time)
        served = server or cluster()
        async with served, ApiClient(static_access(served.url)) as client:
            caches = Caches(client, store, clock=time.monotonic, tuning=Tuning(backoff_base=0.01, backoff_cap=0.05))
            task = asyncio.create_task(caches.run())
            try:
                await scenario(Following(served, store, caches, queued))
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())


def cluster(behaviour: Behaviour | None = None) -> FakeApiServer:
    server = FakeApiServer(behaviour)
    server.create("/api/v1/namespaces", namespace())
    for name in ("a1", "a2"):
        server.create(NODES, node(name, "aws", 8))
        server.create(LEASES, lease(name))
    server.create(LEASES, lease("computepool", in_namespace="computepool-system"))
    return server


def test_heartbeats_are_those_of_nodes_and_no_other_leases() -> None:
    async def scenario(f: Following) -> None:
        await f.filled()
        first = f.store.heartbeats.seen()
        assert set(first) == {"a1", "a2"}
        f.server.update(LEASES, lease("a1", renewed=1))
        await until(lambda: f.store.heartbeats.seen()["a1"] > first["a1"], "the renewal is heard")
        assert f.store.heartbeats.seen()["a2"] == first["a2"]
        f.server.delete(LEASES, "a2", HEARTBEATS)
        await until(lambda: set(f.store.heartbeats.seen()) == {"a1"}, "the node is forgotten")

    play(scenario)


def test_heartbeats_rest_between_reads_and_all_of_them_come() -> None:
    async def scenario(f: Following) -> None:
        await f.filled()
        for number in range(1, 200):
            f.server.update(LEASES, lease(f"a{1 + number % 2}", renewed=number))
        before = f.store.heartbeats.seen()
        await until(lambda: min(f.store.heartbeats.seen().values()) > max(before.values()), "both are heard")
        f.server.create(LEASES, lease("a3"))
        await until(lambda: "a3" in f.store.heartbeats.seen(), "what came after is heard")

    play(scenario)


def test_a_watch_that_breaks_and_is_resumed_late_is_noticed_by_ticks() -> None:
    async def scenario(f: Following) -> None:
        await f.filled()
        leases = f.caches.reflectors[LEASES_NAME]
        await until(lambda: leases.connected, "the watch is open")
        f.server.fault("watch", path="/leases", times=1000, status=503)
        f.server.disturb("drop")
        await until(lambda: not leases.connected, "the watch is broken")

    play(scenario)


def test_a_list_of_leases_that_is_repeated_begins_to_listen_anew() -> None:
    async def scenario(f: Following) -> None:
        await f.filled()
        since = f.store.heartbeats.listening_since
        leases = f.caches.reflectors[LEASES_NAME]
        f.server.fault("watch", path=f"/{HEARTBEATS}/", status=410, reason="Expired")
        f.server.disturb("drop")
        await until(lambda: leases.relists == 1 and leases.connected, "it was listed anew")
        assert f.store.heartbeats.listening_since > since

    play(scenario)


def test_a_missing_right_to_node_leases_is_named_and_ends_once_it_is_given_and_holds_up_nothing() -> None:
    server = cluster()
    message = 'leases.coordination.k8s.io is forbidden: User "x" cannot list resource "leases"'
    server.fault("watch", path=f"/{HEARTBEATS}/", times=1000, status=403, reason="Forbidden", message=message)
    server.fault("list", path=f"/{HEARTBEATS}/", times=1000, status=403, reason="Forbidden", message=message)

    async def scenario(f: Following) -> None:
        await until(lambda: "forbidden" in f.caches.unfollowed(60), "it is said")
        said = f.caches.unfollowed(60)
        assert said.startswith("node leases can't be followed: cannot list leases: forbidden: ")
        assert "check that the ClusterRole" in said
        assert said.endswith("; silence is not noticed")
        await asyncio.wait_for(f.caches.wait(), 10)
        f.caches.tick()
        assert f.caches.trouble(60) == ""
        assert f.store.heartbeats.silent(1) == frozenset()
        f.server.faults.clear()
        await f.filled()
        assert f.caches.unfollowed(60) == ""

    play(scenario, server)


def test_evidence_that_is_too_old_is_told_with_what_is_not_noticed_without() -> None:
    async def scenario(f: Following) -> None:
        await f.filled()
        assert f.caches.unfollowed(-1) == (
            "node leases can't be followed; silence is not noticed; "
            "failed pods can't be followed; black holes are not noticed"
        )
        assert f.caches.unfollowed(60) == ""

    play(scenario)


def test_what_is_said_of_an_old_view_does_not_move_with_its_age() -> None:
    async def scenario(f: Following) -> None:
        await f.filled()
        said, age = f.caches.trouble(-1), f.caches.age("namespaces")
        assert said == "the view of namespaces is older than -1 s"
        await until(lambda: f.caches.age("namespaces") > age, "time passes")
        assert f.caches.trouble(-1) == said

    play(scenario)


def test_a_cluster_without_node_leases_has_no_heartbeats_and_no_trouble() -> None:
    server = FakeApiServer()
    server.create("/api/v1/namespaces", namespace())

    async def scenario(f: Following) -> None:
        await f.filled()
        assert f.store.heartbeats.seen() == {}
        assert f.caches.trouble(60) == ""

    play(scenario, server)


def test_pods_that_fail_at_once_are_noted_and_their_nodes_pool_looks() -> None:
    async def scenario(f: Following) -> None:
        await f.filled()
        f.caches.tick()
        f.store.put_pool(pool(), 0.0)
        f.queued.clear()
        f.server.create(PODS, failed("p1", "UnexpectedAdmissionError"))
        f.server.create(PODS, failed("p2", "Evicted"))
        await until(lambda: f.store.failures.all(), "it is noted")
        # Its controller tidies up.
        f.server.delete(PODS, "p1", "default")
        f.server.create(PODS, failed("p3", "OutOfcpu"))
        await until(lambda: len(f.store.failures.all()) == 2, "both are kept")
        assert {failure.node for failure in f.store.failures.all()} == {"a1"}
        assert "inference" in f.queued

    play(scenario)


def test_pods_that_failed_long_ago_are_not_noted_in_the_first_list() -> None:
    server = cluster()
    server.create(PODS, failed("p1", "UnexpectedAdmissionError"))

    async def scenario(f: Following) -> None:
        await f.filled()
        assert f.store.failures.all() == ()

    play(scenario, server)


def test_a_pod_that_is_moved_left_when_the_watch_showed_it_and_a_list_does_not_tell_that() -> None:
    server = cluster()
    for name in ("watched", "listed"):
        server.create(PODS, pod(name, on="a1"))

    async def scenario(f: Following) -> None:
        await f.filled()
        pods, moves = f.caches.reflectors["pods"], f.store.moves
        held = {pod.name: pod for pod in f.store.pods()}
        for name in ("watched", "listed"):
            moves.start("inference", PodMove(held[name], "aws", "nebius", MoveKind.FAILOVER, at=time.time()))

        def left() -> list[int]:
            return [move.order for move in moves.of("inference")]

        assert left() == [1, 2]
        server.delete(PODS, "watched", "default")
        await until(lambda: f.store.sizes()[1] == 1, "it is seen to go")
        assert left() == [3, 2]
        server.fault("watch", path=PODS, times=1000, status=503)
        server.disturb("drop")
        await until(lambda: not pods.connected, "the watch is broken")
        server.delete(PODS, "listed", "default")
        server.faults.clear()
        # Failed pods are followed on the same path.
        server.fault("watch", path=PODS, times=2, status=410, reason="Expired")
        await until(lambda: f.store.sizes()[1] == 0, "the list lacks it")
        assert (pods.relists, left()) == (1, [3, 2])

    play(scenario, server)
