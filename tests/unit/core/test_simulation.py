"""Whatever happens in whatever order, and wherever the operator stops: limits hold, no pod is lost or sent twice, and
when events end, the operator stops acting and each pod that fits somewhere runs.
"""

from __future__ import annotations

import random
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from computepool.decide.plan import Burst
from computepool.model.cluster import Shape
from tests.builders import node, provider, shape
from tests.unit.core.world import World

SHAPES = (
    shape(1),
    shape(2),
    shape(4),
    shape(3, unmodelled=["volumes"]),
    shape(1, selector={"computepool.io/provider": "crusoe"}),
    shape(2, selector={"computepool.io/provider": "aws"}),
)
NODES = ("a1", "a2", "n1", "n2", "c1", "l1")
REFUSALS = st.sampled_from(((), (), (), ("aws",), ("nebius",), ("aws", "nebius", "lambda")))
ALLOWED = st.sampled_from((None, None, None, (), ("crusoe",)))
FATES = st.lists(st.sampled_from(("write", "lose", "delay", "doubt", "doubt in vain")), min_size=1, max_size=4)


def new_world(*, limited: bool, grows: bool, pending: int, admission: str) -> World:
    providers = (
        provider("aws"),
        provider("nebius", max_accelerators=5 if limited else None),
        provider("crusoe"),
        provider("lambda", on_demand=grows),
    )
    nodes = [node("a1", 4), node("a2", 4), node("n1", 4), node("n2", 4), node("c1", 2), node("l1", 2, of="lambda")]
    return World(providers, nodes, pending=pending, admission=admission)


class Interleaving(RuleBasedStateMachine):
    """The cluster and the operator, each going on at its own pace."""

    @initialize(
        options=st.fixed_dictionaries(
            {
                "limited": st.booleans(),
                "grows": st.booleans(),
                "pending": st.sampled_from((0, 5)),
                "admission": st.sampled_from(("WhenSaturated", "Always", "Off")),
            }
        ),
        of=st.sampled_from(SHAPES[:4]),
        refused_by=REFUSALS,
    )
    def begin(self, options: dict[str, Any], of: Shape, refused_by: tuple[str, ...]) -> None:
        self.world = new_world(**options)
        self.created = 0
        # The primary is full, and more is asked for.
        self.create(4, SHAPES[1], 0, None, ())
        self.schedule(0, 1.0)
        self.create(4, of, 0, None, refused_by)

    # --- the cluster

    @rule(
        count=st.integers(1, 4),
        of=st.sampled_from(SHAPES),
        priority=st.integers(0, 1),
        allowed=ALLOWED,
        refused_by=REFUSALS,
    )
    def create(self, count: int, of: Shape, priority: int, allowed: Any, refused_by: tuple[str, ...]) -> None:
        # What everybody else knows of a pod decides alone, unless it has a constraint that they do not know.
        refusals = refused_by if of.unmodelled else ()
        for _ in range(count):
            self.created += 1
            self.world.create(f"p{self.created}", of, refusals, priority=priority, allowed=allowed)

    @rule(count=st.integers(2, 6), of=st.sampled_from(SHAPES[:4]), refused_by=REFUSALS)
    def create_plain_pods(self, count: int, of: Shape, refused_by: tuple[str, ...]) -> None:
        self.create(count, of, 0, None, refused_by)

    @rule(seed=st.integers(0, 99), share=st.sampled_from((0.3, 1.0)))
    def schedule(self, seed: int, share: float) -> None:
        self.world.scheduler.run_at_random(random.Random(seed), share)

    @precondition(lambda self: self.world.cluster.pods)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        self.world.cluster.finish_pod(self.any_pod(data))

    @precondition(lambda self: self.world.cluster.pods)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        self.world.cluster.delete_pod(self.any_pod(data))

    @rule(
        name=st.sampled_from(NODES),
        state=st.sampled_from(({"ready": "Unknown"}, {"ready": "True"}, {"unschedulable": True})),
    )
    def turn(self, name: str, state: dict[str, Any]) -> None:
        self.world.cluster.update_node(name, **state)

    @rule(seconds=st.sampled_from((1.0, 7.0, 61.0)))
    def wait(self, seconds: float) -> None:
        self.world.clock.advance(seconds)

    def any_pod(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(self.world.cluster.pods)))

    # --- the operator

    @rule(delivered=st.sampled_from((0, 2, None, None)), fates=FATES, concluded=st.booleans())
    def decide(self, delivered: int | None, fates: list[str], concluded: bool) -> None:
        self.world.operator.deliver(delivered)
        report = self.world.operator.decide()
        for index, burst in enumerate(report.plan.bursts):
            self.write(burst, fates[index % len(fates)])
        if concluded:
            self.world.operator.conclude(report)

    def write(self, burst: Burst, fate: str) -> None:
        match fate:
            case "write":
                self.world.burst(burst)
            case "lose":
                self.world.operator.lose(burst)
            case "delay":
                self.world.late.append(burst)
            case _:
                self.world.operator.doubt(burst, arrives=fate == "doubt")
        self.world.check()

    @rule(count=st.sampled_from((1, 3, None, None)))
    def deliver(self, count: int | None) -> None:
        self.world.operator.deliver(count)
        if self.world.late:
            self.world.burst(self.world.late.pop(0))

    @rule()
    def give_up_doubted_writes(self) -> None:
        """What has come by then is seen."""
        self.world.operator.deliver()
        self.world.operator.give_up_doubted()

    @rule(delivered=st.sampled_from((0, None)), written=st.integers(0, 4))
    def crash(self, delivered: int | None, written: int) -> None:
        """The operator ends after some of a pass's patches; those that are late are lost, and another takes over."""
        self.world.operator.deliver(delivered)
        for burst in self.world.operator.decide().plan.bursts[:written]:
            self.world.burst(burst)
        self.restart()

    def restart(self) -> None:
        self.world.late.clear()
        self.world.operator.restart()

    @rule()
    def come_to_rest(self) -> None:
        self.give_up_doubted_writes()
        report = self.world.settle()
        self.world.check_served(report)

        before = len(self.world.operator.bursts)
        self.restart()
        self.world.check_served(self.world.settle())
        # A provider that had failed it may try again: of nodes never seen ready it does not know that they once were.
        tried = any(not breaker.closed for breaker in report.state.recorded.breakers.values())
        now = len(self.world.operator.bursts)
        assert tried or now == before, "a new leader, with nothing new to see, does something"

    # --- what holds at every moment

    @invariant()
    def limits_hold_whatever_the_operator_knows(self) -> None:
        self.world.check()


Interleaving.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
TestInterleaving = Interleaving.TestCase
