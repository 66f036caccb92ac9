"""What failover goes by, on the real control plane: each fact reaches our records as the cluster tells it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import pytest

from computepool.app.caches import Caches
from computepool.kube.client import ApiClient
from computepool.kube.credentials import load_access
from computepool.model.api import ComputePool
from computepool.model.cluster import Node, Pod
from computepool.model.quantity import MILLI
from computepool.model.snapshot import Snapshot
from computepool.observe.store import Store
from e2e import objects, pools
from e2e.cluster import Cluster
from e2e.components import QUICK_UNKNOWN, Options
from e2e.site import Site
from tests.fakes.waiting import until

POOL = "evidence"
TICK_SECONDS = 0.2


@dataclass
class Seen:
    """What an operator would see of a site, as it changes."""

    site: Site
    store: Store
    marked: list[str]

    def now(self) -> Snapshot:
        return self.store.snapshot(POOL)

    def node(self, name: str) -> Node:
        (found,) = [info.node for info in self.now().nodes if info.node.name == name]
        return found

    def pods(self) -> list[Pod]:
        snapshot = self.now()
        return [*snapshot.waiting, *(pod for info in snapshot.nodes for pod in info.pods)]

    async def until(self, condition: Callable[[], object], what: str) -> None:
        await until(condition, what, within=60)


@asynccontextmanager
async def seeing(site: Site) -> AsyncIterator[Seen]:
    marked: list[str] = []
    store = Store(lambda name, _at, **_: marked.append(name), wall=time.time)
    spec = pools.pool_of(site, ["aws", "nebius"], POOL, health={"silentSeconds": 3})["spec"]
    metadata = {"name": POOL, "uid": POOL, "resourceVersion": "1", "generation": 1}
    store.put_pool(ComputePool.from_object({"metadata": metadata, "spec": spec}), 0.0)
    async with ApiClient(await load_access(str(site.cluster.kubeconfig))) as client:
        caches = Caches(client, store, clock=time.monotonic)

        async def tick() -> None:
            while True:
                caches.tick()
                await asyncio.sleep(TICK_SECONDS)

        tasks = [asyncio.create_task(work) for work in (caches.run(), tick())]
        try:
            await asyncio.wait_for(caches.wait(), 60)
            yield Seen(site, store, marked)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def play(site: Site, scenario: Callable[[Seen], Awaitable[None]]) -> None:
    async def run() -> None:
        async with seeing(site) as seen:
            await scenario(seen)

    asyncio.run(run())


@contextmanager
def quick_site() -> Iterator[Site]:
    """A site on a cluster whose node controller gives up on silent nodes within seconds."""
    with Cluster(options=Options(node_lease_seconds=4, extra_flags=QUICK_UNKNOWN)) as cluster:
        site = Site(cluster)
        try:
            yield site
        finally:
            site.close()


# -- heartbeats


def test_heartbeats_come_in_and_stop_with_the_kubelet_and_the_pool_looks(site: Site) -> None:
    dead, alive = site.add_nodes("aws")[0], site.add_nodes("nebius")[0]

    async def scenario(seen: Seen) -> None:
        first = dict(seen.now().heartbeats)
        await seen.until(lambda: all(seen.now().heartbeats[name] > first[name] for name in (dead, alive)), "both beat")
        await asyncio.to_thread(site.silence, [dead])
        await seen.until(lambda: dead in seen.store.heartbeats.silent(3), "it is silent")
        seen.marked.clear()
        assert alive not in seen.store.heartbeats.silent(3)
        await asyncio.to_thread(site.revive, [dead])
        await seen.until(lambda: dead not in seen.store.heartbeats.silent(3), "it is heard again")
        await seen.until(lambda: POOL in seen.marked, "the pool looks")

    play(site, scenario)


def test_a_node_that_is_removed_has_no_heartbeat_any_more(site: Site) -> None:
    gone = site.add_nodes("aws")[0]

    async def scenario(seen: Seen) -> None:
        assert gone in seen.now().heartbeats
        await asyncio.to_thread(site.remove_nodes, [gone])
        # The Lease belongs to the node, and is collected with it.
        await seen.until(lambda: gone not in seen.now().heartbeats, "its Lease is gone")

    play(site, scenario)


def test_a_silent_node_becomes_unknown_when_the_node_controller_says_so() -> None:
    with quick_site() as site:
        silent, other = site.add_nodes("aws", 2)

        async def scenario(seen: Seen) -> None:
            await asyncio.to_thread(site.silence, [silent])
            await asyncio.to_thread(site.wait_unknown, [silent], 30)
            await seen.until(lambda: seen.node(silent).ready == "Unknown", "it is Unknown")
            assert silent in seen.store.heartbeats.silent(3)
            assert seen.node(other).ready == "True"

        play(site, scenario)


# -- what nodes say


def test_conditions_are_seen_and_stay_beside_those_of_the_kubelet(site: Site) -> None:
    (name,) = site.add_nodes("aws")

    async def scenario(seen: Seen) -> None:
        await asyncio.to_thread(site.set_condition, [name], "XIDErrors", "True", "XID79")
        await seen.until(lambda: ("XIDErrors", "True") in seen.node(name).conditions, "the condition is seen")
        assert ("DiskPressure", "False") in seen.node(name).conditions
        assert seen.node(name).ready == "True"
        await asyncio.to_thread(site.break_nodes, [name])
        await seen.until(lambda: seen.node(name).ready == "False", "it is not ready")
        assert ("XIDErrors", "True") in seen.node(name).conditions
        await asyncio.to_thread(site.mend_nodes, [name])
        await asyncio.to_thread(site.set_condition, [name], "XIDErrors", "False")
        await seen.until(lambda: ("XIDErrors", "False") in seen.node(name).conditions, "it is over")

    play(site, scenario)


def test_devices_that_are_unhealthy_are_capacity_and_not_allocatable_and_a_plugin_that_is_gone_is_neither(
    site: Site,
) -> None:
    (name,) = site.add_nodes("aws", gpus=8)

    def devices(seen: Seen) -> tuple[int, int]:
        node = seen.node(name)
        return tuple(of.get(objects.ACCELERATOR, 0) // MILLI for of in (node.capacity, node.allocatable))  # type: ignore[return-value]

    async def scenario(seen: Seen) -> None:
        assert devices(seen) == (8, 8)
        await asyncio.to_thread(site.set_devices, [name], 5)
        await seen.until(lambda: devices(seen) == (8, 5), "three are unhealthy")
        await asyncio.to_thread(site.set_devices, [name], 0)
        await seen.until(lambda: devices(seen) == (8, 0), "the plugin has died")
        await asyncio.to_thread(site.lose_plugin, [name])
        await seen.until(lambda: devices(seen) == (0, 0), "the plugin has not registered")

    play(site, scenario)


def test_taints_that_announce_removal_and_cordons_are_seen(site: Site) -> None:
    (name,) = site.add_nodes("aws")
    key = "aws-node-termination-handler/spot-itn"

    async def scenario(seen: Seen) -> None:
        def tainted() -> bool:
            return key in {taint.key for taint in seen.node(name).taints}

        await asyncio.to_thread(site.taint, [name], key, "soon")
        await seen.until(tainted, "the taint is seen")
        await asyncio.to_thread(site.untaint, [name], key)
        await seen.until(lambda: not tainted(), "the taint is lifted")
        await asyncio.to_thread(site.cordon, [name])
        await seen.until(lambda: seen.node(name).unschedulable, "it is cordoned")

    play(site, scenario)


# -- pods


def test_a_black_hole_fails_each_pod_at_once_and_their_failures_outlive_them(site: Site) -> None:
    hole, sound = site.add_nodes("aws", 2)
    site.cordon([sound])
    site.make_black_holes([hole])

    async def scenario(seen: Seen) -> None:
        await asyncio.to_thread(site.create, objects.gpu_deployment("web", 1))

        def failures() -> int:
            return sum(1 for one in seen.now().failures if one.node == hole and one.refused)

        # Its ReplicaSet makes another for each that failed.
        await seen.until(lambda: failures() >= 3, "three pods failed")
        assert len({one.owner for one in seen.now().failures}) == 1
        assert POOL in seen.marked
        assert not [pod for pod in seen.pods() if pod.ready]
        await asyncio.to_thread(site.fill_black_holes)
        await seen.until(lambda: [pod for pod in seen.pods() if pod.ready and pod.node == hole], "one runs at last")
        assert failures() >= 3

    play(site, scenario)


def test_pods_tell_whose_they_are_whether_they_are_ready_and_whether_they_may_be_moved(site: Site) -> None:
    site.add_nodes("aws")
    site.create(objects.gpu_deployment("web", 1, annotations={"computepool.io/movable": "false"}))
    site.create(objects.gpu_statefulset("db", 1, annotations={"karpenter.sh/do-not-disrupt": "true"}))
    site.create(objects.gpu_pod("bare", annotations={"computepool.io/movable": "true"}))

    async def scenario(seen: Seen) -> None:
        await seen.until(lambda: [pod.ready for pod in seen.pods()] == [True] * 3, "all are ready")
        by_kind = {pod.owner_kind: pod for pod in seen.pods()}
        assert set(by_kind) == {"ReplicaSet", "StatefulSet", ""}
        replica_set = (await asyncio.to_thread(site.api.list, "replicasets.apps", site.namespace))[0]
        assert by_kind["ReplicaSet"].owner == replica_set["metadata"]["uid"]
        said = {kind: (pod.movable, pod.protected_until > 0) for kind, pod in by_kind.items()}
        assert said == {"ReplicaSet": (False, False), "StatefulSet": (None, True), "": (True, False)}

    play(site, scenario)


@pytest.mark.parametrize(
    ("state", "failing"),
    [
        ({"waiting": {"reason": "CrashLoopBackOff"}}, True),
        ({"waiting": {"reason": "RunContainerError"}}, True),
        ({"waiting": {"reason": "ImagePullBackOff"}}, False),
    ],
    ids=str,
)
def test_a_pod_whose_container_does_not_start_tells_of_its_node(
    site: Site, state: dict[str, dict[str, str]], failing: bool
) -> None:
    (name,) = site.add_nodes("aws")
    site.create(objects.gpu_pod("p"))

    async def scenario(seen: Seen) -> None:
        await seen.until(lambda: [pod.ready for pod in seen.pods()] == [True], "it runs")
        container = {"name": "main", "image": "i", "imageID": "", "ready": False, "restartCount": 3, "state": state}
        conditions = [{"type": kind, "status": "False"} for kind in ("ContainersReady", "Ready")]
        status = {"containerStatuses": [container], "conditions": conditions}
        await asyncio.to_thread(
            site.api.patch, "pods", "p", {"status": status}, site.namespace, how="strategic", subresource="status"
        )
        await seen.until(lambda: [pod.ready for pod in seen.pods()] == [False], "it does not")
        assert [pod.failing for pod in seen.pods()] == [failing]
        assert [one.node for one in seen.now().failures if one.node == name] == [name] * failing

    play(site, scenario)
