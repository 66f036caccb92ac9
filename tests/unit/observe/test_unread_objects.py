"""Objects that can't be read: named for as long as they are there, and no longer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from computepool.observe.unreadable import UnreadableObjects
from tests.fakes.apiserver import PODS, FakeApiServer
from tests.fakes.following import Following, following
from tests.fakes.waiting import until

BROKEN = ValueError("Expected `str`, got `int`")


def raw(name: str, uid: str = "") -> bytes:
    return msgspec.json.encode({"metadata": {"name": name, "namespace": "ml", "uid": uid or f"uid-{name}"}})


def noted(*names: str) -> UnreadableObjects:
    unread = UnreadableObjects("pods")
    for name in names:
        unread.note(raw(name), BROKEN)
    return unread


def test_the_first_one_is_named_with_what_is_wrong() -> None:
    unread = noted("a", "b")
    assert unread.text == "cannot read one of the pods: Expected `str`, got `int` (ml/a)"
    unread.note(raw("a"), BROKEN)
    assert "ml/a" in unread.text


def test_an_object_that_is_not_counted_as_written_is_named_too() -> None:
    unread = UnreadableObjects("pods")
    unread.note_in_part(raw("a"), "cpu counts as 1")
    assert unread.text == "one of the pods is not counted as written: cpu counts as 1 (ml/a)"
    unread.forget(raw("a"))
    assert not unread


def test_an_error_that_quotes_a_long_value_is_cut() -> None:
    unread = UnreadableObjects("pods")
    unread.note(raw("a"), ValueError("x" * 1_000_000))
    assert len(unread.text) < 400
    assert unread.text.endswith("… (ml/a)")


def test_each_is_forgotten_by_itself() -> None:
    unread = noted("a", "b")
    unread.forget(raw("a"))
    assert "ml/b" in unread.text
    unread.forget(raw("never heard of"))
    unread.forget(raw("b"))
    assert (unread.text, bool(unread)) == ("", False)


@pytest.mark.parametrize("unusual", [b"?", b"[]", b'{"metadata": 7}', b'{"metadata": {"uid": 7}}'])
def test_an_unreadable_object_without_a_uid_stands_until_the_next_list(unusual: bytes) -> None:
    unread = noted()
    unread.note(unusual, BROKEN)
    assert unread.text == "cannot read one of the pods: Expected `str`, got `int`"
    unread.forget(unusual)
    assert unread
    unread.list_started()
    unread.list_finished()
    assert not unread


def test_a_list_takes_nothing_back_before_it_is_complete() -> None:
    unread = noted("a", "b")
    unread.list_started()
    assert "ml/a" in unread.text
    unread.note(raw("b"), BROKEN)
    unread.note(raw("c"), BROKEN)
    unread.forget(raw("c"))
    unread.list_finished()
    assert "ml/b" in unread.text
    unread.forget(raw("b"))
    assert not unread


# -- as a reflector keeps it


def odd_pod(label: Any) -> dict[str, Any]:
    return {"metadata": {"name": "unusual", "namespace": "default", "labels": {"a": label}}}


def play(server: FakeApiServer, scenario: Callable[[Following], Awaitable[None]]) -> None:
    async def run() -> None:
        async with server, following(server) as f:
            await until(lambda: server.open_watches and f.reflector.synced.is_set(), "a live watch")
            await scenario(f)

    asyncio.run(run())


def test_an_unreadable_object_from_the_watch_is_named_until_it_can_be_read() -> None:
    server = FakeApiServer()

    async def scenario(f: Following) -> None:
        made = server.create(PODS, odd_pod(7))
        await until(lambda: "(default/unusual)" in f.reflector.unread, "it is named")
        server.update(PODS, {**made, "metadata": {**made["metadata"], "labels": {"a": "fine"}}})
        await until(lambda: f.reflector.unread == "", "it is right again")
        assert set(f.sink.items) == {"unusual"}

    play(server, scenario)


def test_an_unreadable_object_from_a_list_is_named_until_it_is_deleted() -> None:
    server = FakeApiServer()
    server.create(PODS, odd_pod(7))

    async def scenario(f: Following) -> None:
        assert "(default/unusual)" in f.reflector.unread
        server.delete(PODS, "unusual", "default")
        await until(lambda: f.reflector.unread == "", "it is gone")

    play(server, scenario)
