"""Whatever fails in whatever order, and whoever leads: moves stay within their limits, nobody is moved without a place
or too often, and once everything is well nothing moves any more.
"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.builders import node, pool, provider, shape
from tests.unit.core.fleet import Fleet

SHAPES = (shape(1), shape(1), shape(2), shape(4))
HEALTH = {"sustainSeconds": 0, "clearSeconds": 30, "breaker": {"backoffSeconds": 20, "proveSeconds": 5}}
NODES = ("a1", "a2", "n1", "n2", "c1", "c2")
SICK: tuple[dict[str, Any], ...] = ({"ready": "False"}, {"ready": "Unknown"}, {"ready": "True"}, {"ready": "True"})

STEPS = st.one_of(
    st.tuples(st.just("create"), st.integers(1, 4), st.sampled_from(SHAPES), st.sampled_from((0, 0, 5))),
    st.tuples(st.just("turn"), st.sampled_from(NODES), st.sampled_from(SICK)),
    st.tuples(st.just("fail"), st.sampled_from("anc"), st.sampled_from(SICK)),
    st.tuples(st.just("finish"), st.integers(0, 99)),
    st.tuples(st.just("wait"), st.sampled_from((1.0, 7.0, 31.0, 64.0, 130.0, 700.0))),
    st.tuples(st.just("look")),
    st.tuples(st.just("settle")),
    st.tuples(st.just("settle")),
    st.tuples(st.just("restart")),
    st.tuples(st.just("control")),
    st.tuples(st.just("schedule")),
    st.tuples(st.just("refuse"), st.booleans()),
)
OPTIONS = st.fixed_dictionaries(
    {
        "limited": st.booleans(),
        "grace": st.sampled_from((0.0, 10.0, 90.0)),
        "budget": st.sampled_from((None, {"perHour": "8"}, {"perHour": "8", "onExhausted": "Return"})),
        "running": st.sampled_from(("Move", "MoveFromUnhealthyNodes")),
        "at_once": st.sampled_from((1, 3, 10)),
        "per_minute": st.sampled_from((2, 60)),
        "reschedule": st.sampled_from(("Never", "WhenSaturated")),
        "dwell": st.sampled_from((60, 600)),
    }
)


def new_fleet(**options: Any) -> Fleet:
    of = pool(
        provider("aws", price="10"),
        provider("nebius", price="1", max_accelerators=6 if options["limited"] else None),
        provider("crusoe", price="2"),
        pending=0,
        clear=10,
        health=HEALTH,
        failover={
            "runningPods": options["running"],
            "maxConcurrentMoves": options["at_once"],
            "perMinute": options["per_minute"],
        },
        failback={"policy": "WhenStable", "stableSeconds": 60, "minDwellSeconds": options["dwell"]},
        reschedule={"policy": options["reschedule"]},
        **({"budget": options["budget"]} if options["budget"] else {}),
    )
    return Fleet(of, {name: node(name, 4) for name in NODES}, grace=options["grace"])


class Play:
    """Steps on a fleet."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet

    def do(self, what: str, *details: Any) -> None:
        getattr(self, what)(*details)

    def create(self, count: int, of: Any, priority: int) -> None:
        self.fleet.create(count, of, priority=priority, allowed=() if priority else None)

    def turn(self, name: str, state: dict[str, Any]) -> None:
        self.fleet.turn(name, **state)

    def fail(self, provider: str, state: dict[str, Any]) -> None:
        for name in NODES:
            if name.startswith(provider):
                self.fleet.turn(name, **state)

    def finish(self, number: int) -> None:
        self.fleet.finish(sorted(self.fleet.pods)[number : number + 1])

    def wait(self, seconds: float) -> None:
        self.fleet.wait(seconds)

    def look(self) -> None:
        self.fleet.look()

    def settle(self) -> None:
        self.fleet.settle()

    def restart(self) -> None:
        self.fleet.restart()

    def control(self) -> None:
        self.fleet.control()

    def schedule(self) -> None:
        self.fleet.schedule()

    def refuse(self, refuses: bool) -> None:
        self.fleet.refuses = refuses


@settings(max_examples=60, suppress_health_check=[HealthCheck.data_too_large])
@given(OPTIONS, st.lists(STEPS, min_size=6, max_size=30))
def test_any_order_of_failures_recoveries_and_leaders(options: dict[str, Any], steps: list[tuple[Any, ...]]) -> None:
    play = Play(new_fleet(**options))
    play.create(4, SHAPES[2], 0)
    play.settle()
    for what, *details in steps:
        play.do(what, *details)

    fleet = play.fleet
    fleet.refuses = False
    for name in NODES:
        fleet.turn(name, ready="True")
    for _ in range(40):
        fleet.wait(61)
        fleet.settle()
    before = len(fleet.evictions)
    fleet.wait(700)
    fleet.settle()
    assert len(fleet.evictions) == before, "with nothing new to see, pods are moved for ever"
    unproved = {name for name, one in fleet.state.recorded.breakers.items() if not one.closed}
    assert {fleet.provider_of(one.name) for one in fleet.nodes.values() if one.quarantined} <= unproved
