"""Whatever fails in whatever order, and whoever leads: moves stay within their limits, no pod is moved without a place
or too often, and once everything is healthy no pod moves.
"""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from computepool.model.cluster import Shape
from tests.builders import node, pool, provider, shape
from tests.unit.core.fleet import Fleet

SHAPES = (shape(1), shape(1), shape(2), shape(4))
HEALTH = {"sustainSeconds": 0, "clearSeconds": 30, "breaker": {"backoffSeconds": 20, "proveSeconds": 5}}
NODES = ("a1", "a2", "n1", "n2", "c1", "c2")
READINESS = st.sampled_from(("False", "Unknown", "True", "True"))


def new_fleet(
    *,
    limited: bool,
    grace: float,
    budget: dict[str, str] | None,
    running: str,
    at_once: int,
    per_minute: int,
    reschedule: str,
    dwell: int,
    admission: str,
    start: float,
) -> Fleet:
    of = pool(
        provider("aws", price="10"),
        provider("nebius", price="1", max_accelerators=6 if limited else None),
        provider("crusoe", price="2"),
        pending=0,
        clear=10,
        admission=admission,
        health=HEALTH,
        failover={"runningPods": running, "maxConcurrentMoves": at_once, "perMinute": per_minute},
        failback={"policy": "WhenStable", "stableSeconds": 60, "minDwellSeconds": dwell},
        reschedule={"policy": reschedule},
        budget=budget,
    )
    fleet = Fleet(of, [node(name, 4) for name in NODES], grace=grace)
    fleet.cluster.start_seconds = start
    return fleet


class Moving(RuleBasedStateMachine):
    """Nodes, providers, owners and leaders come and go; `Fleet` checks every step."""

    fleet: Fleet

    @initialize(
        options=st.fixed_dictionaries(
            {
                "limited": st.booleans(),
                "grace": st.sampled_from((0.0, 10.0, 90.0)),
                "budget": st.sampled_from((None, {"perHour": "8"}, {"perHour": "8", "onExhausted": "Return"})),
                "running": st.sampled_from(("Move", "MoveFromUnhealthyNodes")),
                "at_once": st.sampled_from((1, 3, 10)),
                "per_minute": st.sampled_from((2, 60)),
                "reschedule": st.sampled_from(("Never", "WhenSaturated")),
                "dwell": st.sampled_from((60, 600)),
                "admission": st.sampled_from(("WhenSaturated", "Always", "Off")),
                "start": st.sampled_from((0.0, 0.0, 100.0)),
            }
        )
    )
    def begin(self, options: dict[str, Any]) -> None:
        self.fleet = new_fleet(**options)
        # The primary is full, a standby has some, and all have run for long enough to be moved.
        for count, of in ((4, SHAPES[2]), (5, SHAPES[0])):
            self.fleet.create(count, of)
            self.fleet.settle()
        self.fleet.run(700)

    # --- the cluster

    @rule(count=st.integers(1, 4), of=st.sampled_from(SHAPES), priority=st.sampled_from((0, 0, 5)))
    def create(self, count: int, of: Shape, priority: int) -> None:
        self.fleet.create(count, of, priority=priority, allowed=() if priority else None)

    @rule(name=st.sampled_from(NODES), ready=READINESS)
    def turn(self, name: str, ready: str) -> None:
        self.fleet.turn(name, ready=ready)

    @rule(letter=st.sampled_from("anc"), ready=READINESS)
    def turn_a_whole_provider(self, letter: str, ready: str) -> None:
        for name in NODES:
            if name.startswith(letter):
                self.fleet.turn(name, ready=ready)

    @rule(name=st.sampled_from(NODES), ready=st.sampled_from(("False", "Unknown")))
    def lose_a_node_for_a_minute(self, name: str, ready: str) -> None:
        self.fleet.turn(name, ready=ready)
        self.fleet.run(60)

    @precondition(lambda self: self.fleet.cluster.pods)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        self.fleet.finish([data.draw(st.sampled_from(sorted(self.fleet.cluster.pods)))])

    @rule()
    def replace_missing(self) -> None:
        self.fleet.owners.replace_missing()

    @rule()
    def schedule(self) -> None:
        self.fleet.scheduler.run()

    @rule(refuses=st.booleans())
    def let_disruption_budgets(self, refuses: bool) -> None:
        self.fleet.refuses = refuses

    @rule(seconds=st.sampled_from((1.0, 7.0, 31.0, 64.0, 130.0, 700.0)))
    def wait(self, seconds: float) -> None:
        self.fleet.wait(seconds)

    # --- the operator

    @rule()
    def decide_once(self) -> None:
        self.fleet.step()

    @rule()
    def decide_once_on_an_old_view(self) -> None:
        self.fleet.step_late()

    @rule()
    def settle(self) -> None:
        self.fleet.settle()

    @rule()
    def restart(self) -> None:
        self.fleet.restart()

    @rule(written=st.integers(0, 3), recorded=st.booleans())
    def crash_in_the_middle_of_a_pass(self, written: int, recorded: bool) -> None:
        self.fleet.crash(written, recorded=recorded)

    @rule()
    def recover_for_good(self) -> None:
        fleet = self.fleet
        fleet.refuses = False
        for name in NODES:
            fleet.turn(name, ready="True")
        # The wait of an owner doubles with each move by choice that came to nothing: 4,800 s after five in a row.
        fleet.run(4840)
        before = len(fleet.evictions)
        fleet.run(700)
        assert len(fleet.evictions) == before, "without changes, pods are moved again and again"
        unproved = {name for name, breaker in fleet.operator.state.recorded.breakers.items() if not breaker.closed}
        quarantined = [name for name, found in fleet.cluster.nodes.items() if found.quarantined]
        assert {fleet.cluster.provider_of(name) for name in quarantined} <= unproved

    @invariant()
    def limits_hold_whatever_the_operator_knows(self) -> None:
        self.fleet.check()


Moving.TestCase.settings = settings(max_examples=25, stateful_step_count=30)
TestMoving = Moving.TestCase
