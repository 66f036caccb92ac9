"""Whatever is changed and whatever breaks, in any order: once all is quiet, the sink holds what the server holds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from computepool.observe.reflector import Tuning
from tests.fakes.apiserver import PODS, Behaviour, FakeApiServer
from tests.fakes.following import Following, following

NAMES = ["a", "b", "c", "d", "e", "f"]


@dataclass(frozen=True)
class Step:
    """Something that happens to the server; printed as it is when an example fails."""

    what: str
    details: tuple[Any, ...] = ()


def put(server: FakeApiServer, name: str, value: int) -> None:
    item = {"metadata": {"name": name, "namespace": "default"}, "spec": {"value": value}}
    if any(held["metadata"]["name"] == name for held in server.items(PODS)):
        server.update(PODS, item)
    else:
        server.create(PODS, item)


def delete(server: FakeApiServer, name: str) -> None:
    if any(held["metadata"]["name"] == name for held in server.items(PODS)):
        server.delete(PODS, name, "default")


def refuse_list(server: FakeApiServer, status: int, page: int) -> None:
    server.fault("list", status=status, page=page)


def refuse_watch(server: FakeApiServer, status: int) -> None:
    server.fault("watch", status=status)


def spoil_watch(server: FakeApiServer, then: Any, after: int) -> None:
    server.fault("watch", then=then, after=after, code=410)


ACTIONS: dict[str, Callable[..., None]] = {
    "put": put,
    "delete": delete,
    "disturb": lambda server, mischief: server.disturb(mischief, code=410),
    "refuse list": refuse_list,
    "refuse watch": refuse_watch,
    "spoil watch": spoil_watch,
    "compact": lambda server: server.compact(),
    "expire tokens": lambda server: server.expire_continue_tokens(),
    "bookmark": lambda server: server.bookmark(),
}

names = st.sampled_from(NAMES)
mischiefs = st.sampled_from(["end", "drop", "cut", "mute", "garbage", "error", "repeat", "bookmark"])
statuses = st.sampled_from([410, 429, 500, 503])
changes = st.one_of(
    st.builds(Step, st.just("put"), st.tuples(names, st.integers(0, 9))),
    st.builds(Step, st.just("delete"), st.tuples(names)),
)
steps = st.one_of(
    changes,
    changes,
    st.builds(Step, st.just("disturb"), st.tuples(mischiefs)),
    st.builds(Step, st.just("refuse list"), st.tuples(statuses, st.integers(1, 3))),
    st.builds(Step, st.just("refuse watch"), st.tuples(statuses)),
    st.builds(Step, st.just("spoil watch"), st.tuples(mischiefs, st.integers(0, 4))),
    st.sampled_from([Step("compact"), Step("expire tokens"), Step("bookmark")]),
    st.builds(Step, st.just("unseen"), st.tuples(st.lists(changes, min_size=1, max_size=4), st.booleans())),
    st.builds(Step, st.just("turns"), st.tuples(st.integers(1, 60))),
    st.just(Step("quiet")),
)


async def play(f: Following, todo: list[Step]) -> None:
    for step in todo:
        if step.what == "turns":
            for _ in range(step.details[0]):
                await asyncio.sleep(0)
        elif step.what == "quiet":
            await quiet(f)
        elif step.what == "unseen":
            await unseen(f.server, *step.details)
        else:
            ACTIONS[step.what](f.server, *step.details)
    await quiet(f)


async def unseen(server: FakeApiServer, missed: list[Step], compacted: bool) -> None:
    """Change objects while the server is away, and perhaps forget the history."""
    await server.stop()
    for step in missed:
        ACTIONS[step.what](server, *step.details)
    if compacted:
        server.compact()
    await server.start()


async def quiet(f: Following) -> None:
    """Let everything heal; then the sink must hold what the server holds, uids included."""
    f.server.faults.clear()
    await f.caught_up()
    held = {item["metadata"]["name"]: item["metadata"]["uid"] for item in f.server.items(PODS)}
    assert {name: item.metadata.uid for name, item in f.sink.items.items()} == held


@settings(max_examples=150)
@given(
    before=st.lists(names),
    todo=st.lists(steps, min_size=8, max_size=40),
    streaming=st.booleans(),
    chop=st.sampled_from([0, 0, 13]),
)
def test_once_all_is_quiet_the_sink_holds_exactly_what_the_server_holds(
    before: list[str], todo: list[Step], streaming: bool, chop: int
) -> None:
    async def run() -> None:
        server = FakeApiServer(Behaviour(streaming_lists=streaming, chop=chop))
        for name in before:
            put(server, name, 0)
        tuning = Tuning(page_size=2, inactivity=0.05, list_timeout=1.0)
        async with server, following(server, tuning=tuning) as f:
            await play(f, todo)

    asyncio.run(run())
