"""The fake API server answers as the real one does, wherever tests rely on it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from computepool.kube import errors
from computepool.kube.client import ApiClient
from computepool.kube.credentials import load_access, static_access
from computepool.observe.line_splitter import LineSplitter
from e2e.cluster import Cluster
from tests.fakes.apiserver import FakeApiServer

MAPS = "/api/v1/namespaces/default/configmaps"
MINE = {"labelSelector": "test=conformance"}


def config_map(name: str, **labels: str) -> dict[str, Any]:
    meta = {"name": name, "labels": {"test": "conformance", **labels}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {}}


class Log:
    """What was answered, without what may differ (texts, uids, the numbers of versions)."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, Any]] = []

    async def call(self, what: str, answer: Awaitable[bytes]) -> dict[str, Any]:
        """Note an answer's kind and name, or its refusal; return it decoded."""
        try:
            body: dict[str, Any] = msgspec.json.decode(await answer)
        except errors.ApiError as error:
            self.lines.append((what, (type(error).__name__, error.status, error.reason)))
            return {}
        self.lines.append((what, (body["kind"], body["apiVersion"], body["metadata"].get("name"))))
        return body

    def note(self, what: str, fact: Any) -> None:
        self.lines.append((what, fact))


def version(item: dict[str, Any]) -> int:
    return int(item["metadata"]["resourceVersion"])


async def writes(client: ApiClient, log: Log) -> None:
    first = await log.call("create", client.create(MAPS, config_map("a")))
    await log.call("create again", client.create(MAPS, config_map("a")))
    await log.call("get absent", client.get(f"{MAPS}/absent"))
    await log.call("absent resource", client.get("/apis/coordination.k8s.io/v1/namespaces/default/leases/absent"))
    same = await log.call("patch to the same", client.merge_patch(f"{MAPS}/a", {"data": {}}))
    log.note("a patch that changes nothing makes no version", version(same) == version(first))
    changed = await log.call("patch", client.merge_patch(f"{MAPS}/a", {"data": {"x": "1", "y": "2"}}))
    log.note("a change makes a later version", version(changed) > version(first))
    await log.call("replace stale", client.replace(f"{MAPS}/a", first))
    await log.call("replace", client.replace(f"{MAPS}/a", changed))
    await log.call("metadata only", client.merge_patch(f"{MAPS}/a", {"data": {"x": None}}, metadata_only=True))
    left = await log.call("get", client.get(f"{MAPS}/a"))
    log.note("merge patch removes by null", left["data"])


async def json_patches(client: ApiClient, log: Log) -> None:
    async def patch(what: str, *ops: dict[str, Any]) -> dict[str, Any]:
        return await log.call(what, client.json_patch(f"{MAPS}/a", list(ops)))

    await patch("test fails", {"op": "test", "path": "/data/y", "value": "other"})
    await patch("test of an absent path", {"op": "test", "path": "/data/absent", "value": "other"})
    await patch("remove of an absent path", {"op": "remove", "path": "/data/absent"})
    await patch("replace of an absent path", {"op": "replace", "path": "/data/absent", "value": "x"})
    await patch("add below an absent path", {"op": "add", "path": "/absent/below", "value": "x"})
    await patch("test of another uid", {"op": "test", "path": "/metadata/uid", "value": "other"})
    escaped = await patch(
        "add with an escaped name",
        {"op": "test", "path": "/data/y", "value": "2"},
        {"op": "add", "path": "/metadata/annotations", "value": {}},
        {"op": "add", "path": "/metadata/annotations/a.b~1c", "value": "d"},
    )
    log.note("annotations", escaped["metadata"]["annotations"])


async def lists(client: ApiClient, log: Log) -> None:
    for name in ("b", "c", "d"):
        await client.create(MAPS, config_map(name, tier=name))
    pages = [page async for page in client.list_pages(MAPS, MINE, limit=3)]
    log.note("pages", [[msgspec.json.decode(item)["metadata"]["name"] for item in page.items] for page in pages])
    log.note("one version for all pages", len({page.version for page in pages}))
    await log.call("unknown continue token", client.get(MAPS, {"limit": "1", "continue": "bm9uZQ"}))
    for selector in ("tier", "!tier", "tier=b", "tier!=b", "tier in (b,c)", "tier notin (b,c)", "tier==c,test"):
        body = msgspec.json.decode(await client.get(MAPS, {"labelSelector": f"test=conformance,{selector}"}))
        log.note(selector, [item["metadata"]["name"] for item in body["items"]])
    for selector in ("metadata.name=b", "metadata.name!=b", "metadata.namespace=default,metadata.name=c"):
        body = msgspec.json.decode(await client.get(MAPS, {**MINE, "fieldSelector": selector}))
        log.note(selector, [item["metadata"]["name"] for item in body["items"]])


async def watched(client: ApiClient, count: int, **params: str) -> list[Any]:
    """Read so many events."""
    splitter, events = LineSplitter(), []
    async with client.watch(MAPS, {**MINE, **params}, inactivity=10) as chunks:
        async for chunk in chunks:
            events += [msgspec.json.decode(line) for line in splitter.feed(chunk)]
            if len(events) >= count:
                return events
    return events


def named(events: list[Any]) -> list[tuple[str, str]]:
    return [(event["type"], event["object"]["metadata"].get("name", "")) for event in events]


async def watches(client: ApiClient, log: Log) -> None:
    since = msgspec.json.decode(await client.get(MAPS, MINE))["metadata"]["resourceVersion"]
    await client.merge_patch(f"{MAPS}/a", {"data": {"z": "1"}})
    left = msgspec.json.decode(await client.merge_patch(f"{MAPS}/b", {"metadata": {"labels": {"test": "no"}}}))
    await client.merge_patch(f"{MAPS}/b", {"metadata": {"labels": {"test": "conformance"}}})
    await client.delete(f"{MAPS}/c")
    events = await watched(client, 4, resourceVersion=since)
    log.note("watch from a version", named(events))
    versions = [version(event["object"]) for event in events]
    log.note("events come in the order of versions", versions == sorted(set(versions)))
    log.note("leaving the selection has the version of the change", versions[1] == version(left))
    log.note("its object is as it was before", events[1]["object"]["metadata"]["labels"]["test"])
    log.note("kinds", {(event["object"]["kind"], event["object"]["apiVersion"]) for event in events})
    log.note("watch from any version", sorted(named(await watched(client, 3))))
    streamed = await watched(
        client, 4, sendInitialEvents="true", resourceVersionMatch="NotOlderThan", allowWatchBookmarks="true"
    )
    log.note("streamed list", named(streamed))
    log.note("its end", streamed[-1]["object"]["metadata"]["annotations"])
    await log.call("streamed list, wrongly asked for", refused(client, sendInitialEvents="true"))


async def refused(client: ApiClient, **params: str) -> bytes:
    await watched(client, 1, **params)
    return b"{}"


async def deletes(client: ApiClient, log: Log) -> None:
    await log.call("delete another", client.delete(f"{MAPS}/a", {"preconditions": {"uid": "another"}}))
    await log.call("delete a version gone", client.delete(f"{MAPS}/a", {"preconditions": {"resourceVersion": "1"}}))
    for name in ("a", "b", "d"):
        await client.delete(f"{MAPS}/{name}")
    await log.call("delete again", client.delete(f"{MAPS}/a"))


async def answers(client: ApiClient) -> list[tuple[str, Any]]:
    log = Log()
    parts: list[Callable[[ApiClient, Log], Awaitable[None]]] = [writes, json_patches, lists, watches, deletes]
    for part in parts:
        await part(client, log)
    return log.lines


async def of_the_fake() -> list[tuple[str, Any]]:
    async with FakeApiServer() as server, ApiClient(static_access(server.url)) as client:
        return await answers(client)


async def of_the_real(cluster: Cluster) -> list[tuple[str, Any]]:
    async with ApiClient(await load_access(str(cluster.kubeconfig))) as client:
        return await answers(client)


def test_the_fake_api_server_answers_as_the_real_one(cluster: Cluster) -> None:
    assert asyncio.run(of_the_fake()) == asyncio.run(of_the_real(cluster))
