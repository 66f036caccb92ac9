"""Passes over a store that follows a fake API server, from the watch to the report."""

from __future__ import annotations

from tests.builders import POOL
from tests.fakes.apiserver import COMPUTEPOOLS, NODES, PODS, POLICIES, FakeApiServer
from tests.fakes.waiting import until
from tests.unit.act.objects import Json, node, pod
from tests.unit.app.cluster import (
    BURST,
    Scheduler,
    conditions,
    full,
    make_pool,
    overflow,
    patches_of,
    sent,
    status,
    touch_node,
)
from tests.unit.app.playing import Day, passes_of, play
from tests.unit.app.process import Process

# -- a burst


def test_a_burst_from_the_first_pod_to_the_last_report() -> None:
    async def scenario(server: FakeApiServer, process: Process, _day: Day) -> None:
        Scheduler(server)
        make_pool(server)
        overflow(server, 6)
        await until(lambda: conditions(server).get("Bursting") == ("True", "PodsOnStandby"), "the pool bursts")
        await until(lambda: status(server)["burstPods"] == 6, "all of them")
        assert sent(server) == {
            **{f"new-{number}": ["nebius"] for number in range(4)},
            **{f"new-{number}": ["crusoe"] for number in (4, 5)},
        }
        assert conditions(server)["Saturated"][0] == "True"
        assert conditions(server)["Ready"] == ("True", "Reconciled")
        assert status(server)["lastDecision"]["action"] == "Burst"
        assert status(server)["pending"] == {"pods": 0, "accelerators": 0, "gated": 0}
        await process.stop()
        told = [call.json for call in server.calls_of("create", "/events")]
        assert {event["regarding"]["name"] for event in told} == {POOL, *sent(server)}
        assert server.count("create", "/events") < 20
        assert process.metrics.registry.get_sample_value("computepool_burst_latency_seconds_count") == 6

    play(scenario)


def test_what_fits_at_home_is_left_alone() -> None:
    async def scenario(server: FakeApiServer, process: Process, _day: Day) -> None:
        server.create(NODES, node("a2", "aws", 8))
        make_pool(server)
        overflow(server, 3)
        await until(
            lambda: status(server).get("pending") == {"pods": 3, "accelerators": 3, "gated": 0}, "they are seen"
        )
        await passes_of(process, 0)
        assert sent(server) == {}

    play(scenario)


def test_observe_reports_and_touches_nothing() -> None:
    async def scenario(server: FakeApiServer, process: Process, _day: Day) -> None:
        make_pool(server, mode="Observe", admission="Always")
        await until(lambda: status(server).get("lastDecision"), "a decision")
        assert status(server)["lastDecision"]["message"].startswith("Observe: 3 pod(s)")
        assert conditions(server)["Ready"] == ("True", "Observing")
        written = server.get(COMPUTEPOOLS, POOL)["metadata"]["resourceVersion"]
        for turn in range(5):
            touch_node(server, "c1", str(turn))
            await passes_of(process)
        await process.stop()
        assert server.get(COMPUTEPOOLS, POOL)["metadata"]["resourceVersion"] == written, "nothing new was decided"
        assert server.count("patch", "/pods/") == 0
        assert not status(server)["admission"]["tolerations"]

    play(scenario, lambda server, _: full(server, 3, policy=True))


# -- level-triggered


def test_pods_that_came_while_nothing_was_heard_are_found_by_the_next_list() -> None:
    async def scenario(server: FakeApiServer, process: Process, _day: Day) -> None:
        make_pool(server)
        await until(lambda: conditions(server), "the first look")
        await server.stop()
        overflow(server, 3)
        server.compact()
        await server.start()
        await until(lambda: len(sent(server)) == 3, "all sent")

    play(scenario)


def test_a_watch_that_breaks_in_the_middle_of_a_burst_leaves_nobody_behind() -> None:
    async def scenario(server: FakeApiServer, process: Process, _day: Day) -> None:
        make_pool(server, "aws", "nebius")
        await until(
            lambda: conditions(server) and server.open_watches == len(process.parts.caches.reflectors), "the first look"
        )
        names = overflow(server, 20, "first")
        server.disturb("cut", PODS)
        names += overflow(server, 20, "second")
        await until(lambda: sorted(sent(server)) == sorted(names), "all sent")
        assert {patches_of(server, name) for name in names} == {1}

    play(scenario, lambda server, _: full(server, places=40))


def test_room_that_comes_up_at_home_is_used_before_a_standbys() -> None:
    async def scenario(server: FakeApiServer, process: Process, day: Day) -> None:
        Scheduler(server)
        make_pool(server, saturation={"pendingSeconds": 600})
        overflow(server, 2, created=day.stamp())
        await until(lambda: status(server).get("pending", {}).get("pods") == 2, "they wait")
        server.create(NODES, node("a2", "aws", 8))
        await until(lambda: status(server)["pending"]["pods"] == 0, "the scheduler has bound them")
        assert sent(server) == {}

    play(scenario)


# -- timers


def test_a_pod_is_sent_on_when_its_time_is_over_though_nothing_happens() -> None:
    async def scenario(server: FakeApiServer, process: Process, day: Day) -> None:
        day.stand_still()
        overflow(server, 1, created=day.stamp(-599.7))
        make_pool(server, saturation={"pendingSeconds": 600})
        await until(lambda: status(server).get("pending", {}).get("pods") == 1, "it waits")
        assert sent(server) == {}
        day.go_on()
        await until(lambda: sent(server) == {"new-0": ["nebius"]}, "its time is over")

    play(scenario)


def test_a_pod_not_bound_in_time_is_offered_to_the_next_provider_though_nothing_happens() -> None:
    # Since when a pod has had its place is remembered by the process, so it is the day that goes on.
    async def scenario(server: FakeApiServer, process: Process, day: Day) -> None:
        make_pool(server)
        await until(lambda: sent(server) == {"new-0": ["nebius"]}, "sent to the standby")
        for turn in range(2):
            touch_node(server, "c1", str(turn))
            await passes_of(process)
        day.ahead += 3600
        touch_node(server, "c1", "wakes the timers")
        await until(lambda: sent(server) == {"new-0": ["nebius", "crusoe"]}, "sent to the next standby")

    play(scenario, lambda server, _: full(server, 1))


# -- blindness


def test_while_the_view_is_not_current_nothing_is_changed_and_the_pool_says_so() -> None:
    async def scenario(server: FakeApiServer, process: Process, day: Day) -> None:
        overflow(server, 1, created=day.stamp())
        make_pool(server, saturation={"pendingSeconds": 3600})
        await until(lambda: status(server).get("pending", {}).get("pods") == 1, "it waits")
        # Its time to leave is over, and nothing was heard meanwhile of anything but one node.
        day.silence += 7200
        touch_node(server, "c1", "wakes the timers")
        await until(lambda: conditions(server)["Ready"] == ("Unknown", "CacheStale"), "the pool says so")
        assert conditions(server)["Saturated"][0] == "Unknown"
        assert sent(server) == {}
        server.bookmark()
        process.pools.lost("they were not listed for as long")
        touch_node(server, "c1", "wakes the passes")
        await until(lambda: sent(server) == {"new-0": ["nebius"]}, "the view is current again")
        await until(lambda: conditions(server)["Ready"] == ("True", "Reconciled"), "the pool says so")

    play(scenario)


def test_bound_pods_get_the_label_of_where_they_run() -> None:
    def before(server: FakeApiServer, _day: Day) -> None:
        full(server)
        server.create(PODS, pod("admitted", on="n1", tolerations=[_toleration("nebius")]))
        server.create(PODS, pod("came-home", on="a1", labels={BURST: "nebius"}))

    async def scenario(server: FakeApiServer, process: Process, _day: Day) -> None:
        make_pool(server)
        await until(lambda: _label(server, "admitted") == "nebius", "the label of one that was admitted")
        await until(lambda: _label(server, "came-home") is None, "no label of one at home")

    play(scenario, before)


def test_a_label_that_could_not_be_put_right_is_tried_again_though_nothing_happens() -> None:
    def before(server: FakeApiServer, _day: Day) -> None:
        full(server, policy=True)
        server.create(PODS, pod("admitted", on="n1", tolerations=[_toleration("nebius")]))

    async def scenario(server: FakeApiServer, process: Process, _day: Day) -> None:
        server.fault("patch", path="/pods/", times=3, status=500)
        make_pool(server)
        await until(lambda: _label(server, "admitted") == "nebius", "the label")
        assert patches_of(server, "admitted") == 4
        assert conditions(server)["Degraded"] == ("False", "AllWell")

    play(scenario, before)


def test_an_api_server_that_knows_no_policies_is_no_trouble_and_ready_says_so() -> None:
    def before(server: FakeApiServer, _day: Day) -> None:
        full(server)
        server.behaviour.absent.add(POLICIES)

    async def scenario(server: FakeApiServer, _process: Process, _day: Day) -> None:
        make_pool(server, admission="Always")

        def told() -> bool:
            said = server.get(COMPUTEPOOLS, POOL).get("status", {}).get("conditions", [])
            return any(c["type"] == "Ready" and "MutatingAdmissionPolicy v1" in c["message"] for c in said)

        await until(told, "Ready says why new pods are not admitted")
        assert conditions(server)["Degraded"] == ("False", "AllWell")

    play(scenario, before)


def _label(server: FakeApiServer, name: str) -> str | None:
    found: dict[str, str] = server.get(PODS, name, "default")["metadata"]["labels"]
    return found.get(BURST)


def _toleration(to: str) -> Json:
    return {"key": "computepool.io/provider", "operator": "Equal", "value": to, "effect": "NoSchedule"}


# -- nodes that become unhealthy


def test_nodes_that_become_unhealthy_one_after_another_are_told_of_though_nothing_happens() -> None:
    def before(server: FakeApiServer, _day: Day) -> None:
        full(server)
        for number in range(2, 9):
            server.create(NODES, node(f"n{number}", "nebius"))

    async def scenario(server: FakeApiServer, process: Process, day: Day) -> None:
        make_pool(server)
        await until(lambda: conditions(server).get("Degraded") == ("False", "AllWell"), "the first look")
        _lose(server, "n2")
        await until(lambda: conditions(server)["Degraded"] == ("False", "NodesUnhealthy"), "the first of them")
        day.ahead += 4.5
        for name in ("n3", "n4"):
            _lose(server, name)
        await until(lambda: len(_of_nodes(server)) == 2, "the others, after a moment")
        assert _of_nodes(server) == [
            "1 node of nebius became unhealthy: n2 (NodeUnknown).",
            "2 nodes of nebius became unhealthy: n3 (NodeUnknown), n4 (NodeUnknown).",
        ]

    play(scenario, before)


def _lose(server: FakeApiServer, name: str) -> None:
    item = server.get(NODES, name)
    unknown = [{"type": "Ready", "status": "Unknown"}]
    server.update(NODES, {**item, "status": {**item["status"], "conditions": unknown}})


def _of_nodes(server: FakeApiServer) -> list[str]:
    """What events have told of nodes."""
    told = [call.json for call in server.calls_of("create", "/events")]
    return [event["note"] for event in told if event["action"] == "Health"]
