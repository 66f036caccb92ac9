"""The reflector and its client against a real API server: restarted, paused, compacted, lacking rights."""

from __future__ import annotations

import asyncio
import random
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from computepool.kube import errors
from computepool.kube.client import ApiClient
from computepool.kube.credentials import load_access
from computepool.observe.reflector import Reflector, Resource, Tuning
from e2e import objects
from e2e.cluster import Cluster
from e2e.components import APISERVER, ETCD, Options
from tests.fakes.sinks import RecordingSink, Thing, things
from tests.fakes.waiting import until

NAMESPACE = "default"
MAPS = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"


@pytest.fixture(scope="module")
def own() -> Iterator[Cluster]:
    """A cluster for this module alone: its API server is restarted and paused."""
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def names(own: Cluster) -> Iterator[Callable[[int], list[str]]]:
    """Make ConfigMaps, gone when the test ends."""
    made: list[str] = []

    def make(count: int) -> list[str]:
        fresh = [f"m{len(made) + number}" for number in range(count)]
        made.extend(fresh)
        for name in fresh:
            own.api.create(config_map(name))
        return fresh

    yield make
    for item in own.api.list("configmaps", NAMESPACE):
        if item["metadata"]["name"] != "kube-root-ca.crt":
            own.api.delete("configmaps", item["metadata"]["name"], NAMESPACE)


def config_map(name: str, **data: str) -> dict[str, Any]:
    meta = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}


def change(cluster: Cluster, name: str, value: str) -> None:
    cluster.api.patch("configmaps", name, {"data": {"value": value}}, NAMESPACE)


@dataclass
class Following:
    """A reflector that follows a real API server; `hold` keeps it from trying again after a failure."""

    cluster: Cluster
    reflector: Reflector[Thing]
    sink: RecordingSink
    go_on: asyncio.Event

    def hold(self) -> None:
        self.go_on.clear()

    def release(self) -> None:
        self.go_on.set()

    async def caught_up(self) -> None:
        """Wait until the sink holds exactly the ConfigMaps that the server does."""
        listed = await asyncio.to_thread(self.cluster.api.list, "configmaps", NAMESPACE)
        held = {item["metadata"]["name"]: int(item["metadata"]["resourceVersion"]) for item in listed}
        await until(lambda: not self.sink.syncing and self.sink.versions == held, f"sink holds {held}", within=60)


@asynccontextmanager
async def following(
    cluster: Cluster,
    resource: Resource[Thing] | None = None,
    tuning: Tuning | None = None,
    kubeconfig: Path | None = None,
) -> AsyncIterator[Following]:
    go_on, sink = asyncio.Event(), RecordingSink()
    go_on.set()

    async def sleep(seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.2))
        await go_on.wait()

    async with ApiClient(await load_access(str(kubeconfig or cluster.kubeconfig))) as client:
        reflector = Reflector(
            client, resource or things(MAPS), sink, tuning=tuning or Tuning(), sleep=sleep, rng=random.Random(1)
        )
        task = asyncio.create_task(reflector.run())
        try:
            yield Following(cluster, reflector, sink, go_on)
        finally:
            if task.done():
                task.result()
            task.cancel()
            await asyncio.wait([task])


def test_the_streaming_list_is_really_used_and_goes_on_as_the_watch(
    own: Cluster, names: Callable[[int], list[str]]
) -> None:
    first, second, third = names(3)

    async def scenario() -> None:
        async with following(own) as f:
            await asyncio.wait_for(f.reflector.synced.wait(), 30)
            await f.caught_up()
            await asyncio.to_thread(change, own, first, "changed")
            await asyncio.to_thread(own.api.delete, "configmaps", second, NAMESPACE)
            await asyncio.to_thread(names, 1)
            await f.caught_up()
            assert f.sink.of(first) == ["upsert", "upsert"]
            assert f.sink.of(second) == ["upsert", "delete"]
            assert f.sink.of(third) == ["upsert"]
            assert f.reflector.streaming
            # One request did it all.
            assert (f.reflector.watches, f.reflector.errors, f.sink.syncs) == (1, 0, 1)

    asyncio.run(scenario())


def test_pages_and_a_streamed_list_bring_the_same(own: Cluster, names: Callable[[int], list[str]]) -> None:
    names(7)

    async def scenario() -> None:
        async with following(own, tuning=Tuning(streaming=False, page_size=2)) as f:
            await f.caught_up()
            await asyncio.to_thread(names, 1)
            await f.caught_up()
            assert (f.sink.syncs, f.reflector.errors) == (1, 0)

    asyncio.run(scenario())


def test_an_api_server_that_is_restarted_is_followed_on(own: Cluster, names: Callable[[int], list[str]]) -> None:
    first, second, _ = names(3)

    async def scenario() -> None:
        async with following(own) as f:
            await f.caught_up()
            await asyncio.to_thread(own.stop, APISERVER)
            await until(lambda: f.reflector.errors > 0)
            await asyncio.to_thread(own.start, APISERVER)
            await asyncio.to_thread(change, own, first, "after the restart")
            await asyncio.to_thread(own.api.delete, "configmaps", second, NAMESPACE)
            await f.caught_up()

    asyncio.run(scenario())


def test_what_vanished_before_a_version_was_gone_is_deleted_by_the_relist(
    own: Cluster, names: Callable[[int], list[str]]
) -> None:
    first, second, third = names(3)

    async def scenario() -> None:
        async with following(own) as f:
            await f.caught_up()
            f.hold()
            await asyncio.to_thread(own.restart_apiserver)
            # Unseen by the reflector, which waits. The next server's watch cache begins after them.
            await asyncio.to_thread(own.api.delete, "configmaps", first, NAMESPACE)
            await asyncio.to_thread(change, own, second, "unseen")
            await asyncio.to_thread(own.restart_apiserver)
            f.release()
            await f.caught_up()
            assert f.reflector.relists == 1
            assert f.sink.of(first) == ["upsert", "delete"]
            assert f.sink.of(second) == ["upsert", "upsert"]
            # After a relist every object counts as changed.
            assert f.sink.of(third) == ["upsert", "upsert"]

    asyncio.run(scenario())


def test_a_list_whose_history_is_compacted_under_way_still_ends_right(
    own: Cluster, names: Callable[[int], list[str]]
) -> None:
    made = names(9)
    plain, compacted = things(MAPS), False

    def decode(raw: bytes) -> Thing:
        nonlocal compacted
        if not compacted:
            compacted = True
            own.api.delete("configmaps", made[-1], NAMESPACE)
            change(own, made[-2], "between pages")
            compact(own)
        return plain.decode(raw)

    resource = Resource(path=MAPS, decode=decode, key=plain.key, version=plain.version)

    async def scenario() -> None:
        async with following(own, resource, Tuning(streaming=False, page_size=2)) as f:
            await asyncio.wait_for(f.reflector.synced.wait(), 60)
            await f.caught_up()

    asyncio.run(scenario())


def compact(cluster: Cluster) -> None:
    """Have etcd forget everything before the present revision."""
    port = cluster.layout.port(ETCD)
    present = _etcd(port, "range", {"key": "AA=="})["header"]["revision"]
    _etcd(port, "compaction", {"revision": present, "physical": True})


def _etcd(port: int, call: str, body: dict[str, Any]) -> Any:
    url = f"http://127.0.0.1:{port}/v3/kv/{call}"
    with urllib.request.urlopen(urllib.request.Request(url, msgspec.json.encode(body)), timeout=10) as answer:
        return msgspec.json.decode(answer.read())


def test_a_server_that_hangs_with_open_connections_is_noticed_and_followed_on(
    own: Cluster, names: Callable[[int], list[str]]
) -> None:
    (first,) = names(1)

    async def scenario() -> None:
        async with following(own, tuning=Tuning(inactivity=1.0)) as f:
            await f.caught_up()
            await asyncio.to_thread(own.pause, APISERVER)
            try:
                errors_before = f.reflector.errors
                await until(lambda: f.reflector.errors > errors_before, within=30)
                assert f.reflector.last_error is not None
                assert "Timeout" in f.reflector.last_error
            finally:
                await asyncio.to_thread(own.resume, APISERVER)
            await asyncio.to_thread(change, own, first, "after the pause")
            await f.caught_up()

    asyncio.run(scenario())


def test_an_object_that_leaves_the_selection_is_deleted(own: Cluster) -> None:
    own.api.create(objects.gpu_node("chosen", "aws"))

    async def scenario() -> None:
        waiting = things(PODS, fieldSelector="spec.nodeName=")
        async with following(own, waiting) as f:
            await asyncio.wait_for(f.reflector.synced.wait(), 30)
            await asyncio.to_thread(own.api.create, objects.gpu_pod("bound-soon"), NAMESPACE)
            # Bound by the scheduler: no longer without a node.
            await until(lambda: f.sink.of("bound-soon")[-1:] == ["delete"], within=60)
            assert f.sink.items == {}

    try:
        asyncio.run(scenario())
    finally:
        own.api.delete("pods", "bound-soon", NAMESPACE, grace_seconds=0)
        own.api.delete("nodes", "chosen")


def test_a_missing_right_is_named_until_it_is_given(own: Cluster) -> None:
    kubeconfig = own.kubeconfig_for("default", NAMESPACE)
    rights = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "may-view", "namespace": NAMESPACE},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": NAMESPACE}],
    }

    async def scenario() -> None:
        async with following(own, kubeconfig=kubeconfig) as f:
            await until(lambda: f.reflector.errors > 1)
            assert f.reflector.last_error is not None
            assert f.reflector.last_error.startswith("cannot list configmaps: forbidden: ")
            assert "cannot watch resource" in f.reflector.last_error
            assert not f.reflector.synced.is_set()
            await asyncio.to_thread(own.api.create, rights)
            await f.caught_up()
            assert f.reflector.last_error is None

    asyncio.run(scenario())


def test_a_server_without_streaming_lists_is_listed_by_pages() -> None:
    options = Options(extra_flags={APISERVER: ["--feature-gates=WatchList=false"]})

    async def scenario(cluster: Cluster) -> None:
        for number in range(3):
            cluster.api.create(config_map(f"m{number}"))
        async with following(cluster, tuning=Tuning(page_size=2)) as f:
            await f.caught_up()
            assert not f.reflector.streaming
            await asyncio.to_thread(cluster.api.delete, "configmaps", "m1", NAMESPACE)
            await f.caught_up()
            assert f.sink.of("m1") == ["upsert", "delete"]

    with Cluster(options=options) as cluster:
        asyncio.run(scenario(cluster))


def test_refused_writes_are_told_apart(own: Cluster, names: Callable[[int], list[str]]) -> None:
    (name,) = names(1)
    path = f"{MAPS}/{name}"

    async def scenario() -> None:
        async with ApiClient(await load_access(str(own.kubeconfig))) as client:
            stale = msgspec.json.decode(await client.get(path))
            slim = msgspec.json.decode(await client.merge_patch(path, {"data": {"value": "new"}}, metadata_only=True))
            assert slim["kind"] == "PartialObjectMetadata"
            assert "data" not in slim
            with pytest.raises(errors.Conflict):
                await client.replace(path, stale)
            with pytest.raises(errors.AlreadyExists):
                await client.create(MAPS, config_map(name))
            with pytest.raises(errors.Invalid):
                await client.json_patch(path, [{"op": "test", "path": "/metadata/uid", "value": "another"}])
            with pytest.raises(errors.Invalid) as invalid:
                await client.create(MAPS, config_map("no good name"))
            assert [cause.field for cause in invalid.value.causes] == ["metadata.name"]
            with pytest.raises(errors.Conflict):
                await client.delete(path, {"preconditions": {"uid": "another"}})
            await client.json_patch(
                path,
                [
                    {"op": "test", "path": "/metadata/uid", "value": stale["metadata"]["uid"]},
                    {"op": "replace", "path": "/data/value", "value": "newer"},
                ],
            )
            assert msgspec.json.decode(await client.get(path))["data"] == {"value": "newer"}
            with pytest.raises(errors.NotFound):
                await client.get(f"{MAPS}/absent")

    asyncio.run(scenario())
