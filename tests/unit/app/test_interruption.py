"""Invariant 8: a crash at any write loses nothing and repeats nothing, and neither does any call that fails.

Each scenario is first played without interruption. Then it is played again and again: once for every write, with the
process killed at the moment that write is stored and before it hears the answer, and another started in its place; and
once for every call, with that call failing. All must come to the same end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.fakes.apiserver import BINDINGS, PODS, FakeApiServer
from tests.fakes.faults import Fault, Faults, Verb
from tests.fakes.objectstore import Change
from tests.fakes.waiting import until
from tests.unit.act.objects import Json, pod, provider
from tests.unit.app.cluster import (
    OFFERS,
    Scheduler,
    end_state,
    full,
    make_pool,
    status,
)
from tests.unit.app.process import living

NOW = datetime(2026, 11, 23, 5, 0, tzinfo=UTC).timestamp()
EVENTS = "/apis/events.k8s.io/v1/events"


@dataclass(frozen=True)
class Scenario:
    """What is there before the operator starts, and when it has come to its end."""

    before: Callable[[FakeApiServer], None]
    ended: Callable[[FakeApiServer], bool]


# -- scenarios


def _burst(server: FakeApiServer) -> None:
    full(server, 6, policy=True)
    make_pool(server, admission="WhenSaturated")


def _burst_ended(server: FakeApiServer) -> bool:
    return status(server).get("burstPods") == 6


def _next_provider(server: FakeApiServer) -> None:
    """Pods were offered to an autoscaler long ago, and it has made no nodes."""
    full(server)
    for number in range(3):
        old = pod(
            f"new-{number}",
            labels={"computepool.io/burst": "grown"},
            annotations={OFFERS: "grown=2026-11-23T04:00:00.000Z"},
            tolerations=[{"key": "computepool.io/provider", "operator": "Equal", "value": "grown"}],
        )
        server.create(PODS, old)
    # What a process has counted against a provider, and not opened its breaker for yet, a successor counts anew.
    patient = {"breaker": {"failures": 100}}
    make_pool(server, "aws", provider("grown", capacity={"type": "OnDemand"}), "nebius", health=patient)


def _next_provider_ended(server: FakeApiServer) -> bool:
    return status(server).get("burstPods") == 3


def _marks(server: FakeApiServer) -> None:
    """Pods run where their labels do not say."""
    full(server, policy=True)
    for number in range(3):
        toleration = {"key": "computepool.io/provider", "value": "nebius", "effect": "NoSchedule"}
        server.create(PODS, pod(f"new-{number}", on="n1", tolerations=[toleration]))
    server.create(PODS, pod("home", on="a1", labels={"computepool.io/burst": "nebius"}))
    make_pool(server, admission="Always")


def _marks_ended(server: FakeApiServer) -> bool:
    pods = [item["metadata"] for item in server.items(PODS)]
    labelled = sum(pod.get("labels", {}).get("computepool.io/burst") == "nebius" for pod in pods)
    return labelled == 3 and status(server).get("burstPods") == 3 and bool(server.items(BINDINGS))


SCENARIOS = {
    "a burst over two providers": Scenario(_burst, _burst_ended),
    "on to the next provider": Scenario(_next_provider, _next_provider_ended),
    "labels put right": Scenario(_marks, _marks_ended),
}


# -- playing them


class Writes:
    """Counts what the operator's writes have changed, events aside, and does something as the `last` one is stored."""

    def __init__(self, server: FakeApiServer, last: int, then: Callable[[], object]) -> None:
        self.count = 0
        self._last = last
        self._then = then
        self._test = asyncio.current_task()
        server.store.listeners.append(self._stored)

    def _stored(self, collection: str, _change: Change) -> None:
        # The test and the scheduler change objects themselves; what comes from a task of the server was asked for.
        if collection != EVENTS and asyncio.current_task() not in (None, self._test):
            self.count += 1
            if self.count == self._last:
                self._then()


class Failing(Faults):
    """Lets one call fail: the `last`, counted from the first."""

    def __init__(self, last: int, **how: Any) -> None:
        super().__init__()
        self.count = 0
        self._last = last
        self._how = how

    def take(self, verb: Verb, path: str, page: int) -> Fault | None:
        self.count += 1
        if self.count == self._last:
            self.add(Fault(verb=verb, path=path, page=page, **self._how))
        return super().take(verb, path, page)


def wall() -> float:
    return NOW


def play(scenario: Scenario, act: Callable[[FakeApiServer], Awaitable[Json]]) -> Json:
    """Prepare a scenario, and return what `act` makes of it."""

    async def run() -> Json:
        async with FakeApiServer() as server:
            scenario.before(server)
            Scheduler(server)
            return await act(server)

    return asyncio.run(run())


async def live_on(server: FakeApiServer, ended: Callable[[], bool]) -> Json:
    """Run a process to the scenario's end and stop it in good order; return the end state."""
    async with living(server, wall) as process:
        await until(ended, "the end of the scenario")
        await process.stop()
    return end_state(server)


def uninterrupted(scenario: Scenario) -> Json:
    async def act(server: FakeApiServer) -> Json:
        return await live_on(server, lambda: scenario.ended(server))

    return play(scenario, act)


def assert_each_was_offered_once(state: Json) -> None:
    for facts in state["pods"].values():
        assert len(facts["offers"]) == len(set(facts["offers"]))
        assert len(facts["tolerations"]) == len({str(toleration) for toleration in facts["tolerations"]})


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_a_crash_at_any_write_is_made_good_by_the_next_process(scenario: Scenario) -> None:
    wanted = uninterrupted(scenario)
    assert_each_was_offered_once(wanted)

    def crash(last: int) -> bool:
        """Crash at that write, and go on; return whether it came to that."""
        killed = asyncio.Event()

        async def act(server: FakeApiServer) -> Json:
            async with living(server, wall) as victim:

                def die() -> None:
                    victim.kill()
                    killed.set()

                Writes(server, last, die)
                await until(lambda: killed.is_set() or end_state(server) == wanted, "the crash")
            return await live_on(server, lambda: end_state(server) == wanted)

        assert play(scenario, act) == wanted, f"after a crash at write {last}"
        return killed.is_set()

    crashes = 0
    while crash(crashes + 1):
        crashes += 1
    assert crashes >= 4


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_any_call_may_fail(scenario: Scenario) -> None:
    wanted = uninterrupted(scenario)

    def fail(last: int) -> bool:
        """Let that call fail; return whether it came to that."""
        failing = Failing(last, status=500)

        async def act(server: FakeApiServer) -> Json:
            server.faults = failing
            return await live_on(server, lambda: end_state(server) == wanted)

        assert play(scenario, act) == wanted, f"after call {last} has failed"
        return failing.count >= last

    failures = 0
    while fail(failures + 1):
        failures += 1
    assert failures >= 10


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_any_answer_to_a_write_may_get_lost(scenario: Scenario) -> None:
    wanted = uninterrupted(scenario)

    def lose(last: int) -> bool:
        """Cut the connection as that write is stored; return whether it came to that."""
        lost = asyncio.Event()

        def cut() -> None:
            lost.set()
            task = asyncio.current_task()
            assert task is not None
            task.cancel()

        async def act(server: FakeApiServer) -> Json:
            Writes(server, last, cut)
            return await live_on(server, lambda: end_state(server) == wanted)

        assert play(scenario, act) == wanted, f"after the answer to write {last} got lost"
        return lost.is_set()

    losses = 0
    while lose(losses + 1):
        losses += 1
    assert losses >= 4
