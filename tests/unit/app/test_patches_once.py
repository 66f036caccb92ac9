"""Pods are patched exactly once: while a patch is under way, not seen yet, refused or too late."""

from __future__ import annotations

import asyncio

from computepool.decide.refused_patches import CLEAR_SECONDS
from tests.fakes.apiserver import PODS, FakeApiServer
from tests.fakes.waiting import until
from tests.unit.app.cluster import conditions, full, make_pool, offers, overflow, patches_of, sent, status, touch_node
from tests.unit.app.playing import Day, passes_of, play
from tests.unit.app.process import Process

# -- exactly once


def test_a_pod_is_not_patched_again_while_its_patch_is_under_way() -> None:
    async def scenario(server: FakeApiServer, process: Process, _day: Day) -> None:
        answered = asyncio.Event()
        server.fault("patch", path="/pods/", times=3, gate=answered)
        make_pool(server)
        await until(lambda: server.count("patch", "/pods/") == 3, "the patches are under way")
        for turn in range(5):
            touch_node(server, "c1", str(turn))
            await passes_of(process)
        assert sent(server) == {}, "still under way"
        answered.set()
        await until(lambda: len(sent(server)) == 3, "all sent")
        touch_node(server, "c1", "a last look")
        await passes_of(process)
        assert {patches_of(server, f"new-{number}") for number in range(3)} == {1}

    play(scenario, lambda server, _: full(server, 3))


def test_a_pod_is_not_patched_again_while_its_patch_is_not_seen_yet() -> None:
    async def scenario(server: FakeApiServer, process: Process, _day: Day) -> None:
        await until(lambda: server.open_watches == len(process.parts.caches.reflectors), "all is watched")
        server.disturb("mute", PODS)
        make_pool(server)
        await until(lambda: len(sent(server)) == 3, "all sent")
        for turn in range(5):
            touch_node(server, "c1", str(turn))
            await passes_of(process)
        assert {patches_of(server, f"new-{number}") for number in range(3)} == {1}
        assert {tuple(providers) for providers in sent(server).values()} == {("nebius",)}

    play(scenario, lambda server, _: full(server, 3))


def test_places_of_pods_under_way_are_given_to_nobody_else() -> None:
    async def scenario(server: FakeApiServer, process: Process, _day: Day) -> None:
        make_pool(server)
        answered = asyncio.Event()
        server.fault("patch", path="/pods/first", times=4, gate=answered)
        overflow(server, 4, "first")
        await until(lambda: server.count("patch", "/pods/first") == 4, "the first are under way")
        overflow(server, 2, "second")
        await until(lambda: len(sent(server)) == 2, "the second are sent")
        answered.set()
        await until(lambda: len(sent(server)) == 6, "all sent")
        assert [offers(server, f"second-{number}") for number in range(2)] == [["crusoe"]] * 2

    play(scenario)


def test_a_pod_that_is_gone_before_its_patch_is_not_patched_over_and_over() -> None:
    async def scenario(server: FakeApiServer, process: Process, _day: Day) -> None:
        await until(lambda: server.open_watches == len(process.parts.caches.reflectors), "all is watched")
        server.disturb("mute", PODS)
        server.delete(PODS, "new-0", "default")
        make_pool(server)
        await until(lambda: patches_of(server, "new-0"), "the patch that comes too late")
        for turn in range(3):
            touch_node(server, "c1", str(turn))
            await passes_of(process)
        # One for each wait that is over.
        assert patches_of(server, "new-0") <= process.waits + 1
        assert server.calls_of("patch", "/pods/new-0")[0].status == 404

    play(scenario, lambda server, _: full(server, 1))


# -- refusals


async def refused_again(server: FakeApiServer) -> None:
    """Wait until the refusal is told, and each of the two standbys was asked twice."""
    await until(lambda: conditions(server).get("Degraded") == ("True", "WriteRefused"), "the refusal")
    await until(lambda: patches_of(server, "new-0") >= 4, "the second provider again")


def test_a_refused_patch_is_reported_tried_again_and_reported_to_be_over() -> None:
    async def scenario(server: FakeApiServer, process: Process, day: Day) -> None:
        server.fault("patch", path="/pods/new-0", times=1000, status=422, message="spec.tolerations: the guard says no")
        make_pool(server)
        await refused_again(server)
        server.faults.clear()
        day.ahead += 60
        await until(lambda: sent(server) == {"new-0": ["nebius"]}, "sent after all")
        day.ahead += CLEAR_SECONDS
        touch_node(server, "c1", "later")
        await until(lambda: conditions(server)["Degraded"] == ("False", "AllWell"), "the end of it")

    play(scenario, lambda server, _: full(server, 1))


def test_a_refusal_is_over_a_while_after_its_pod_is() -> None:
    async def scenario(server: FakeApiServer, process: Process, day: Day) -> None:
        server.fault("patch", path="/pods/new-0", times=1000, status=422, message="the guard says no")
        make_pool(server)
        await refused_again(server)
        server.delete(PODS, "new-0", "default")
        day.ahead += CLEAR_SECONDS
        touch_node(server, "c1", "later")
        await until(lambda: conditions(server)["Degraded"] == ("False", "AllWell"), "the end of it")

    play(scenario, lambda server, _: full(server, 1))


def test_a_pod_that_is_refused_for_one_provider_goes_to_the_next_and_the_refusal_is_still_told() -> None:
    async def scenario(server: FakeApiServer, process: Process, day: Day) -> None:
        server.fault("patch", path="/pods/new-0", times=2, status=422, message="the guard says no")
        make_pool(server)
        await until(lambda: sent(server) == {"new-0": ["crusoe"]}, "the next provider")
        overflow(server, 1, "later")
        await until(lambda: sent(server).get("later-0") == ["nebius"], "a pod that is not refused")
        touch_node(server, "c1", "sooner")
        await passes_of(process)
        assert conditions(server)["Degraded"] == ("True", "WriteRefused")
        day.ahead += CLEAR_SECONDS
        touch_node(server, "c1", "later")
        await until(lambda: conditions(server)["Degraded"] == ("False", "AllWell"), "the end of it")

    play(scenario, lambda server, _: full(server, 1))


def test_a_patch_that_is_refused_once_is_tried_again_at_the_same_provider() -> None:
    async def scenario(server: FakeApiServer, process: Process, _day: Day) -> None:
        server.fault("patch", path="/pods/new-0", times=1, status=422, message="a toleration was removed")
        make_pool(server)
        await until(lambda: sent(server) == {"new-0": ["nebius"]}, "the same provider")
        await until(lambda: conditions(server)["Degraded"] == ("False", "AllWell"), "all is well")

    play(scenario, lambda server, _: full(server, 1))


async def another_attempt(server: FakeApiServer, day: Day, turn: str) -> None:
    """Let the refusals' time pass, and wait for the next patch."""
    tried = patches_of(server, "new-0")
    day.ahead += 60
    touch_node(server, "c1", turn)
    await until(lambda: patches_of(server, "new-0") > tried, "another attempt")


def test_attempts_that_fail_again_are_no_new_decisions() -> None:
    async def scenario(server: FakeApiServer, process: Process, day: Day) -> None:
        server.fault("patch", path="/pods/new-0", times=1000, status=422, message="the guard says no")
        make_pool(server)
        await refused_again(server)
        touch_node(server, "c1", "now")
        await passes_of(process)
        decided = status(server)["lastDecision"]
        for turn in range(3):
            await another_attempt(server, day, str(turn))
        await process.stop()
        assert decided["action"] == "Burst"
        assert status(server)["lastDecision"] == decided

    play(scenario, lambda server, _: full(server, 1, policy=True))
