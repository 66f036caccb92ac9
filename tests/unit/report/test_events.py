"""Events on their way to the API server: once each, within its limits, and never in the way."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from computepool.kube.client import ApiClient
from computepool.kube.credentials import static_access
from computepool.model.object_references import pod_reference, pool_reference
from computepool.model.reasons import Reason
from computepool.report.events import QUEUE, REPEAT_SECONDS, Event, EventSink
from computepool.report.formatting import Tally
from tests.builders import pod, pool
from tests.fakes.apiserver import FakeApiServer
from tests.fakes.waiting import PATIENCE, until

EVENTS = "/apis/events.k8s.io/v1/events"
# https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-subdomain-names
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


@dataclass
class Sending:
    """A sink in front of a fake API server; `now` is its time of day."""

    server: FakeApiServer
    sink: EventSink
    dropped: list[int]
    now: list[float] = field(default_factory=lambda: [1_795_410_000.123456])

    def queue(self, note: str = "Sent to a standby.", *, to: str = "web", action: str = "Burst", **how: Any) -> None:
        self.sink.queue(Event(pod_reference(pod(to)), Reason.PRIMARY_SATURATED, action, note, **how))

    async def sent(self) -> list[dict[str, Any]]:
        """All that arrived, once all is sent."""
        await self.sink.flush(PATIENCE)
        return [call.json for call in self.server.calls_of("create", "/events")]

    async def notes(self) -> list[str]:
        return [event["note"] for event in await self.sent()]


def play(scenario: Callable[[Sending], Awaitable[None]], *, instance: str = "operator-1", runs: bool = True) -> None:
    async def run() -> None:
        async with FakeApiServer() as server, ApiClient(static_access(server.url)) as client:
            dropped: list[int] = []
            made: list[Sending] = []
            sink = EventSink(client, instance, wall=lambda: made[0].now[0], dropped=lambda: dropped.append(1))
            made.append(Sending(server, sink, dropped))
            sending = asyncio.create_task(sink.run()) if runs else None
            await scenario(made[0])
            if sending is not None:
                sending.cancel()
                await asyncio.wait([sending])

    asyncio.run(run())


# -- what is sent


def test_an_event_about_a_pod_goes_to_the_pods_namespace_with_all_that_a_reader_needs() -> None:
    async def scenario(s: Sending) -> None:
        s.queue(warning=True)
        (event,) = await s.sent()
        (call,) = s.server.calls_of("create")
        assert call.path == "/apis/events.k8s.io/v1/namespaces/default/events"
        assert (event["apiVersion"], event["kind"]) == ("events.k8s.io/v1", "Event")
        assert event["eventTime"] == "2026-11-23T05:00:00.123456Z"
        assert event["regarding"]["kind"] == "Pod"
        assert event["regarding"]["uid"] == "uid-default-web"
        assert (event["reason"], event["action"], event["type"]) == ("PrimarySaturated", "Burst", "Warning")
        assert (event["reportingController"], event["reportingInstance"]) == ("computepool.io/operator", "operator-1")

    play(scenario)


def test_an_event_about_a_pool_goes_to_the_default_namespace_where_describe_looks_for_it() -> None:
    async def scenario(s: Sending) -> None:
        s.sink.queue(Event(pool_reference(pool()), Reason.ALL_WELL, "Degraded", "Nothing is wrong."))
        (event,) = await s.sent()
        assert s.server.calls[0].path == "/apis/events.k8s.io/v1/namespaces/default/events"
        assert event["regarding"]["kind"] == "ComputePool"
        assert event["type"] == "Normal"

    play(scenario)


@pytest.mark.parametrize("name", ["web", "a" * 253, "a" * 235 + "." + "b" * 17, "x" * 234 + "--" + "y" * 17])
def test_its_name_is_one_that_the_api_server_takes(name: str) -> None:
    async def scenario(s: Sending) -> None:
        s.queue(to=name)
        (event,) = await s.sent()
        made = event["metadata"]["name"]
        assert len(made) <= 253
        assert SUBDOMAIN.fullmatch(made)
        assert made.startswith(name[:200])

    play(scenario)


def test_two_events_about_one_object_have_two_names() -> None:
    async def scenario(s: Sending) -> None:
        s.queue("one")
        s.queue("two")
        first, second = await s.sent()
        assert first["metadata"]["name"] != second["metadata"]["name"]

    play(scenario)


@pytest.mark.parametrize("letter", ["x", "ü", "…", "\N{ROCKET}"])
@pytest.mark.parametrize("length", [1020, 1024, 1025, 5000])
def test_a_note_is_cut_to_what_the_api_server_takes(letter: str, length: int) -> None:
    # It counts bytes.
    async def scenario(s: Sending) -> None:
        note = letter * length
        s.queue(note)
        (sent,) = await s.notes()
        assert len(sent.encode()) <= 1024
        if len(note.encode()) <= 1024:
            assert sent == note
        else:
            assert sent.endswith("…")
            assert len(sent.encode()) > 1017
            assert note.startswith(sent[:-1])

    play(scenario)


def test_a_long_name_of_the_process_is_cut_too() -> None:
    async def scenario(s: Sending) -> None:
        s.queue()
        assert len((await s.sent())[0]["reportingInstance"]) == 128

    play(scenario, instance="h" * 200)


# -- how often


def test_the_same_event_about_the_same_object_is_sent_once() -> None:
    async def scenario(s: Sending) -> None:
        for _ in range(5):
            s.queue()
        assert len(await s.sent()) == 1

    play(scenario)


def test_the_same_event_about_another_object_is_another() -> None:
    async def scenario(s: Sending) -> None:
        s.queue(to="a")
        s.queue(to="b")
        assert len(await s.sent()) == 2

    play(scenario)


def test_after_a_while_it_is_sent_again() -> None:
    async def scenario(s: Sending) -> None:
        s.queue()
        s.now[0] += REPEAT_SECONDS - 1
        s.queue()
        s.now[0] += 1
        s.queue()
        assert len(await s.sent()) == 2

    play(scenario)


def test_different_events_in_turn_are_still_sent_once_each() -> None:
    async def scenario(s: Sending) -> None:
        for _ in range(3):
            s.queue("1 pod(s) sent to standbys.")
            s.queue("2 pod(s) sent to standbys.")
        assert len(await s.sent()) == 2

    play(scenario)


def test_a_state_that_was_left_and_is_back_is_told_each_time() -> None:
    # Or the last that a reader sees would be the one that is over.
    async def scenario(s: Sending) -> None:
        for turn in ("True", "True", "False", "True", "True"):
            s.queue(f"Saturated is {turn}", action="Saturated", state=True)
        assert await s.notes() == ["Saturated is True", "Saturated is False", "Saturated is True"]

    play(scenario)


def test_states_of_different_kinds_do_not_end_each_other() -> None:
    async def scenario(s: Sending) -> None:
        s.queue("Saturated is True", action="Saturated", state=True)
        s.queue("Degraded is True", action="Degraded", state=True)
        s.queue("Saturated is True", action="Saturated", state=True)
        assert len(await s.sent()) == 2

    play(scenario)


# -- numbers


def moved(number: int, way: str = "from nebius to crusoe", why: str = "It failed.") -> Event:
    tally = Tally("running pod(s) moved", {way: number}, why)
    return Event(pool_reference(pool()), Reason.LEAVES_PROVIDER, "Failover", str(tally), tally=tally)


def test_numbers_are_added_up_while_they_wait() -> None:
    async def scenario(s: Sending) -> None:
        s.sink.queue(moved(1))
        s.sink.queue(moved(1))
        s.sink.queue(moved(2, "from nebius to aws"))
        assert await s.notes() == ["4 running pod(s) moved: 2 from nebius to aws, 2 from nebius to crusoe. It failed."]

    play(scenario)


def test_what_is_counted_is_told_again_although_it_is_word_for_word_the_same() -> None:
    async def scenario(s: Sending) -> None:
        for _ in range(3):
            s.sink.queue(moved(1))
            await s.sink.flush(PATIENCE)
        assert await s.notes() == ["1 running pod(s) moved: 1 from nebius to crusoe. It failed."] * 3

    play(scenario)


def test_unlike_things_are_not_added_up() -> None:
    async def scenario(s: Sending) -> None:
        s.sink.queue(moved(1))
        s.sink.queue(moved(1, why="Its node is unhealthy."))
        assert len(await s.notes()) == 2

    play(scenario)


# -- never in the way


def test_events_are_sent_in_order_and_one_at_a_time() -> None:
    async def scenario(s: Sending) -> None:
        answered = [asyncio.Event() for _ in range(3)]
        for gate in answered:
            s.server.fault("create", gate=gate)
        for number in range(10):
            s.queue(f"{number}")
        notes = asyncio.create_task(s.notes())
        for number, gate in enumerate(answered, 1):
            await until(lambda sent=number: s.server.count("create") >= sent, "one more")  # type: ignore[misc]
            gate.set()
        assert await notes == [f"{number}" for number in range(10)]

    play(scenario)


@pytest.mark.parametrize("fault", [{"status": 403}, {"status": 404}, {"status": 500}, {"reset": True}])
def test_an_event_that_can_not_be_sent_is_let_go_and_the_next_one_is_sent(fault: dict[str, Any]) -> None:
    async def scenario(s: Sending) -> None:
        s.server.fault("create", **fault)
        s.queue("lost")
        s.queue("sent")
        await s.sent()
        assert [event["note"] for event in s.server.items(EVENTS)] == ["sent"]

    play(scenario)


def test_more_events_than_can_wait_are_counted_and_dropped() -> None:
    async def scenario(s: Sending) -> None:
        for number in range(QUEUE + 7):
            s.queue(f"{number}")
        assert len(s.dropped) == 7

    play(scenario, runs=False)


def test_an_event_that_was_dropped_is_not_taken_for_told() -> None:
    async def scenario(s: Sending) -> None:
        for number in range(QUEUE):
            s.queue(f"{number}")
        s.queue("late")
        s.queue("late")
        assert len(s.dropped) == 2

    play(scenario, runs=False)


def test_a_flush_waits_no_longer_than_it_may() -> None:
    async def scenario(s: Sending) -> None:
        s.server.fault("create", gate=asyncio.Event())
        s.queue()
        async with asyncio.timeout(PATIENCE):
            await s.sink.flush(0.05)

    play(scenario)


def test_what_is_told_while_nothing_else_happens_is_sent_without_a_flush() -> None:
    async def scenario(s: Sending) -> None:
        s.queue()
        s.now[0] += 60.0
        await until(lambda: s.server.count("create") == 1, "the event")

    play(scenario)


# -- events with a key


def test_events_of_one_key_about_one_object_have_one_name_in_every_process() -> None:
    names: list[str] = []

    async def scenario(s: Sending) -> None:
        s.queue("It waits.", key="NoRoom/0")
        s.queue("It waits for another reason.", key="NoRoom/1")
        s.queue("It waits.", to="api", key="NoRoom/0")
        s.queue("Sent.")
        names.extend([event["metadata"]["name"] for event in await s.sent()])

    play(scenario)
    play(scenario, instance="operator-2")
    assert names[:3] == names[4:7]
    assert len(set(names)) == 5
    assert all(SUBDOMAIN.fullmatch(name) for name in names)


def test_an_event_that_an_earlier_leader_has_sent_is_no_error_and_holds_up_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario(s: Sending) -> None:
        s.queue("It waits: 0 of 4 free.", key="NoRoom/0")
        await s.sent()
        s.queue("It waits: 1 of 4 free.", key="NoRoom/0")
        s.queue("Sent.")
        await s.sent()
        stored = {event["note"] for event in s.server.items(EVENTS)}
        assert stored == {"It waits: 0 of 4 free.", "Sent."}

    play(scenario)
    assert not [record for record in caplog.records if record.getMessage() == "event not sent"]
