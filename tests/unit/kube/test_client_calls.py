"""Calls of the API client against a server that answers, refuses, hangs and breaks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from computepool.kube import errors
from computepool.kube.client import ApiClient
from computepool.kube.credentials import static_access
from tests.fakes.apiserver import LEASES, PODS, Behaviour, FakeApiServer
from tests.fakes.waiting import until

POD = "/api/v1/namespaces/default/pods/p"


def play(
    scenario: Callable[[FakeApiServer, ApiClient], Awaitable[None]],
    server: FakeApiServer | None = None,
    **options: Any,
) -> None:
    async def run() -> None:
        served = server or FakeApiServer()
        served.create(PODS, {"metadata": {"name": "p", "namespace": "default"}, "spec": {"tolerations": []}})
        async with served, ApiClient(static_access(served.url), **options) as client:
            await scenario(served, client)

    asyncio.run(run())


def decoded(body: bytes) -> Any:
    return msgspec.json.decode(body)


def test_an_object_can_be_read_created_replaced_patched_and_deleted() -> None:
    async def scenario(server: FakeApiServer, client: ApiClient) -> None:
        leases = "/apis/coordination.k8s.io/v1/namespaces/ops/leases"
        created = decoded(await client.create(leases, {"metadata": {"name": "l"}, "spec": {"holder": "a"}}))
        assert created["kind"] == "Lease"
        created["spec"]["holder"] = "b"
        replaced = decoded(await client.replace(f"{leases}/l", created))
        assert decoded(await client.get(f"{leases}/l")) == replaced
        await client.merge_patch(f"{leases}/l", {"spec": {"holder": None, "transitions": 1}})
        await client.json_patch(f"{leases}/l", [{"op": "add", "path": "/spec/holder", "value": "c"}])
        assert server.get(LEASES, "l", "ops")["spec"] == {"transitions": 1, "holder": "c"}
        await client.delete(f"{leases}/l", {"preconditions": {"uid": created["metadata"]["uid"]}})
        assert server.items(LEASES) == []

    play(scenario)


@pytest.mark.parametrize("name", ["p?x", "p#", "p%2F..", "p q", "p\n", "\u00e9"])
def test_a_path_with_a_character_that_no_name_has_is_not_sent(name: str) -> None:
    async def scenario(server: FakeApiServer, client: ApiClient) -> None:
        path = f"/api/v1/namespaces/default/pods/{name}"
        with pytest.raises(errors.BadRequest, match="no object has such a name"):
            await client.merge_patch(path, {}, {"dryRun": "All"})
        with pytest.raises(errors.BadRequest):
            async with client.watch(path):
                pass
        assert server.calls == []

    play(scenario)


def test_a_body_of_bytes_is_sent_as_it_is() -> None:
    async def scenario(server: FakeApiServer, client: ApiClient) -> None:
        ops = b'[ {"op":"add","path":"/metadata/labels","value":{"a":"b"}} ]'
        await client.json_patch(POD, ops)
        assert server.calls_of("patch")[0].body == ops
        assert server.get(PODS, "p", "default")["metadata"]["labels"] == {"a": "b"}

    play(scenario)


def test_requests_say_who_asks_and_want_no_compression() -> None:
    async def scenario(server: FakeApiServer, client: ApiClient) -> None:
        await client.get(POD)
        headers = server.calls[0].headers
        assert headers["User-Agent"].startswith("computepool/")
        assert headers["Accept-Encoding"] == "identity"
        assert headers["Accept"] == "application/json"

    play(scenario)


def test_the_answer_to_a_patch_can_be_had_without_spec_and_status() -> None:
    async def scenario(server: FakeApiServer, client: ApiClient) -> None:
        patch = {"metadata": {"annotations": {"a": "b"}}}
        whole = decoded(await client.merge_patch(POD, patch))
        slim = decoded(await client.merge_patch(POD, patch, metadata_only=True))
        assert "spec" in whole
        assert slim["kind"] == "PartialObjectMetadata"
        assert slim["metadata"] == whole["metadata"]

    play(scenario)


def test_query_parameters_are_escaped() -> None:
    async def scenario(server: FakeApiServer, client: ApiClient) -> None:
        selector = "a in (x,y),b!=c/d&e"
        await client.get(PODS, {"labelSelector": selector})
        assert server.calls[0].query["labelSelector"] == selector

    play(scenario)


def test_a_stale_write_is_a_conflict_and_a_taken_name_says_so() -> None:
    async def scenario(server: FakeApiServer, client: ApiClient) -> None:
        stale = decoded(await client.get(POD))
        await client.merge_patch(POD, {"spec": {"x": 1}})
        with pytest.raises(errors.Conflict):
            await client.replace(POD, stale)
        with pytest.raises(errors.Conflict):
            await client.merge_patch(POD, {"metadata": {"resourceVersion": stale["metadata"]["resourceVersion"]}})
        with pytest.raises(errors.Conflict):
            await client.delete(POD, {"preconditions": {"uid": "another"}})
        with pytest.raises(errors.AlreadyExists):
            await client.create("/api/v1/namespaces/default/pods", {"metadata": {"name": "p"}})
        with pytest.raises(errors.NotFound):
            await client.get(POD + "-absent")

    play(scenario)


def test_a_json_patch_whose_test_fails_is_invalid_and_changes_nothing() -> None:
    async def scenario(server: FakeApiServer, client: ApiClient) -> None:
        before = server.get(PODS, "p", "default")
        with pytest.raises(errors.Invalid):
            await client.json_patch(
                POD,
                [
                    {"op": "add", "path": "/spec/tolerations/-", "value": {"key": "a"}},
                    {"op": "test", "path": "/metadata/uid", "value": "another"},
                ],
            )
        assert server.get(PODS, "p", "default") == before

    play(scenario)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_failing_server_is_unavailable_and_the_call_is_not_repeated(status: int) -> None:
    async def scenario(server: FakeApiServer, client: ApiClient) -> None:
        server.fault("patch", status=status, retry_after=2)
        with pytest.raises(errors.Unavailable) as caught:
            await client.merge_patch(POD, {})
        assert caught.value.retry_after == 2
        assert server.count("patch") == 1

    play(scenario)


def test_a_server_that_does_not_answer_in_time_is_unavailable() -> None:
    async def scenario(server: FakeApiServer, client: ApiClient) -> None:
        server.fault("patch", delay=60, times=2)
        with pytest.raises(errors.Unavailable, match="Timeout"):
            await client.merge_patch(POD, {}, within=0.05)
        with pytest.raises(errors.Unavailable, match="Timeout"):
            await client.merge_patch(POD, {})

    play(scenario, timeout=0.05)


def test_a_connection_broken_before_the_answer_is_unavailable() -> None:
    async def scenario(server: FakeApiServer, client: ApiClient) -> None:
        server.fault("patch", reset=True)
        with pytest.raises(errors.Unavailable, match="PATCH"):
            await client.merge_patch(POD, {})

    play(scenario)


def test_a_server_that_is_not_there_is_unavailable() -> None:
    async def scenario(server: FakeApiServer, client: ApiClient) -> None:
        await server.stop()
        with pytest.raises(errors.Unavailable, match="NoConnection"):
            await client.get(POD)
        await server.start()
        await client.get(POD)

    play(scenario)


def test_calls_beyond_the_pool_wait_for_their_turn() -> None:
    async def scenario(server: FakeApiServer, client: ApiClient) -> None:
        answers = [asyncio.Event() for _ in range(6)]
        for gate in answers:
            server.fault("get", gate=gate)
        calls = [asyncio.create_task(client.get(POD)) for _ in answers]
        most = 0
        for number, gate in enumerate(answers):
            come = min(number + 2, len(answers))
            await until(lambda come=come: server.count("get") >= come, "the next")  # type: ignore[misc]
            most = max(most, sum(1 for call in server.calls if not call.status))
            gate.set()
            await until(lambda call=server.calls[number]: call.status, "its answer")  # type: ignore[misc]
        await asyncio.gather(*calls)
        assert most == 2

    play(scenario, pool_size=2)


def test_lists_and_watches_do_not_wait_behind_calls() -> None:
    async def scenario(server: FakeApiServer, client: ApiClient) -> None:
        server.fault("get", delay=60)
        slow = asyncio.create_task(client.get(POD))
        await until(lambda: server.count("get"))
        assert [len(page.items) async for page in client.list_pages(PODS)] == [1]
        async with client.watch(PODS, inactivity=5):
            pass
        slow.cancel()

    play(scenario, pool_size=1)


def test_a_list_comes_page_by_page_in_one_version() -> None:
    async def scenario(server: FakeApiServer, client: ApiClient) -> None:
        for number in range(4):
            server.create(PODS, {"metadata": {"name": f"q{number}", "namespace": "default"}})
        version = server.store.version
        pages = []
        async for page in client.list_pages(PODS, {"fieldSelector": "metadata.name!=q2"}, limit=3):
            pages.append([decoded(item)["metadata"]["name"] for item in page.items])
            assert page.version == str(version)
            server.create(PODS, {"metadata": {"generateName": "later-", "namespace": "default"}})
        assert pages == [["p", "q0", "q1"], ["q3"]]

    play(scenario)


def test_an_expired_list_is_gone() -> None:
    async def scenario(server: FakeApiServer, client: ApiClient) -> None:
        server.create(PODS, {"metadata": {"name": "q", "namespace": "default"}})
        pages = client.list_pages(PODS, limit=1)
        await anext(pages)
        server.expire_continue_tokens()
        with pytest.raises(errors.Gone):
            await anext(pages)

    play(scenario)


async def read_watch(client: ApiClient, **options: Any) -> bytes:
    async with client.watch(PODS, **options) as chunks:
        return b"".join([chunk async for chunk in chunks])


def test_a_watch_ended_by_the_server_ends_the_iteration() -> None:
    async def scenario(server: FakeApiServer, client: ApiClient) -> None:
        server.fault("watch", then="end", after=1)
        assert b'"ADDED"' in await read_watch(client)

    play(scenario)


@pytest.mark.parametrize("then", ["drop", "cut", "mute"])
def test_a_watch_that_breaks_or_falls_silent_is_unavailable(then: str) -> None:
    async def scenario(server: FakeApiServer, client: ApiClient) -> None:
        server.fault("watch", then=then, after=1)
        with pytest.raises(errors.Unavailable, match="watch /api/v1/pods"):
            await read_watch(client, inactivity=0.1)

    play(scenario)


def test_a_watch_that_trickles_on_beyond_its_deadline_is_unavailable() -> None:
    async def scenario(server: FakeApiServer, client: ApiClient) -> None:
        with pytest.raises(errors.Unavailable, match="Timeout"):
            await read_watch(client, inactivity=5, deadline=0.2)

    play(scenario, FakeApiServer(Behaviour(bookmark_seconds=0.01)))


def test_a_server_that_does_not_open_the_watch_in_time_is_unavailable() -> None:
    async def scenario(server: FakeApiServer, client: ApiClient) -> None:
        server.fault("watch", delay=60)
        with pytest.raises(errors.Unavailable, match="Timeout"):
            await read_watch(client, inactivity=0.05)

    play(scenario)


def test_what_the_reader_of_a_watch_raises_stays_its_own() -> None:
    async def scenario(server: FakeApiServer, client: ApiClient) -> None:
        with pytest.raises(OSError, match="the reader's"):
            async with client.watch(PODS):
                raise OSError("the reader's")
        # The connection is closed with it.
        await until(lambda: not server.open_watches)

    play(scenario)


def test_closing_ends_the_calls_in_flight() -> None:
    async def scenario(server: FakeApiServer, client: ApiClient) -> None:
        server.fault("get", delay=60)
        slow = asyncio.create_task(client.get(POD))
        await until(lambda: server.count("get"))
        await client.close()
        with pytest.raises(errors.Unavailable):
            await slow

    play(scenario)


def test_five_hundred_patches_at_once_all_arrive_once() -> None:
    async def scenario(server: FakeApiServer, client: ApiClient) -> None:
        for number in range(500):
            server.create(PODS, {"metadata": {"name": f"b{number}", "namespace": "default"}, "spec": {}})
        path = "/api/v1/namespaces/default/pods/b"
        ops = b'[{"op":"add","path":"/spec/tolerations","value":[{"key":"k"}]}]'
        await asyncio.gather(*(client.json_patch(f"{path}{number}", ops) for number in range(500)))
        patched = [item for item in server.items(PODS) if item["spec"]["tolerations"]]
        assert (len(patched), server.count("patch")) == (500, 500)

    play(scenario)
