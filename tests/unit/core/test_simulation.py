"""Whatever happens in whatever order, and wherever the operator stops: limits hold, nobody is lost or sent twice, and
once nothing happens any more, nothing is done any more and everybody who can run somewhere does.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from computepool.model.accelerators import request_of
from computepool.model.quantity import MILLI
from tests.builders import GPU, node, provider, shape
from tests.unit.core.passes import Decided
from tests.unit.core.world import World, would_tolerate

SHAPES = (
    shape(1),
    shape(2),
    shape(4),
    shape(3, unmodelled=["volumes"]),
    shape(1, selector={"computepool.io/provider": "crusoe"}),
    shape(2, selector={"computepool.io/provider": "aws"}),
)


@dataclass(frozen=True)
class Step:
    """Something that happens; printed as it is when an example fails."""

    what: str
    details: tuple[Any, ...] = ()


def step(what: str, *details: st.SearchStrategy[Any]) -> st.SearchStrategy[Step]:
    return st.tuples(*details).map(lambda drawn: Step(what, drawn))


NUMBER = st.integers(0, 99)
REFUSALS = st.sampled_from(((), (), (), ("aws",), ("nebius",), ("aws", "nebius", "lambda")))
ALLOWED = st.sampled_from((None, None, None, (), ("crusoe",)))
PODS = step("create", st.integers(1, 4), st.sampled_from(SHAPES), st.integers(0, 1), ALLOWED, REFUSALS)
PLAIN_PODS = step("create", st.integers(2, 6), st.sampled_from(SHAPES[:4]), st.just(0), st.none(), REFUSALS)
STEPS = st.one_of(
    PODS,
    PLAIN_PODS,
    step("look", st.lists(st.sampled_from(("write", "write", "lose", "hang")), max_size=4), st.booleans()),
    step("crash", st.integers(0, 4)),
    step("deliver", st.sampled_from((1, 3, None, None))),
    step("schedule", NUMBER, st.sampled_from((0.3, 1.0))),
    step("finish", NUMBER),
    step("terminate", NUMBER),
    step("turn", NUMBER, st.sampled_from(({"ready": "Unknown"}, {"ready": "True"}, {"unschedulable": True}))),
    step("wait", st.sampled_from((1.0, 7.0, 61.0))),
)


class Play:
    """Steps on a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.created = 0
        self.hanging: list[Any] = []

    def do(self, one: Step) -> None:
        getattr(self, one.what)(*one.details)
        self.world.check()

    def create(self, count: int, of: Any, priority: int, allowed: Any, refused_by: tuple[str, ...]) -> None:
        # What everybody else knows of a pod decides alone, unless it has a constraint that they do not know.
        refusals = refused_by if of.unmodelled else ()
        for _ in range(count):
            self.created += 1
            self.world.create(f"p{self.created}", of, refusals, priority=priority, allowed=allowed)

    def look(self, fates: list[str], concluded: bool) -> None:
        plan = self.world.look()
        for index, burst in enumerate(plan.bursts):
            fate = fates[index % len(fates)] if fates else "write"
            if fate == "write":
                self.world.write(burst)
            elif fate == "lose":
                self.world.lose(burst)
            else:
                self.hanging.append(burst)
            self.world.check()
        if concluded:
            self.world.conclude(plan)

    def crash(self, written: int) -> None:
        """The operator ends after some of a pass's patches; those that hang are lost, and another takes over."""
        for burst in self.world.look().bursts[:written]:
            self.world.write(burst)
        self.hanging.clear()
        self.world.start()

    def deliver(self, count: int | None) -> None:
        self.world.deliver(count)
        if self.hanging:
            self.world.write(self.hanging.pop(0))

    def schedule(self, seed: int, share: float) -> None:
        self.world.schedule(random.Random(seed), share)

    def finish(self, number: int) -> None:
        if self.world.pods:
            self.world.finish(list(self.world.pods)[number % len(self.world.pods)])

    def terminate(self, number: int) -> None:
        if self.world.pods:
            self.world.terminate(list(self.world.pods)[number % len(self.world.pods)])

    def turn(self, number: int, state: dict[str, Any]) -> None:
        self.world.turn(list(self.world.nodes)[number % len(self.world.nodes)], **state)

    def wait(self, seconds: float) -> None:
        self.world.now += seconds

    def settle(self) -> Decided:
        """Let everything come to rest: nothing more happens, what is under way arrives, time passes as asked."""
        while self.hanging:
            self.world.write(self.hanging.pop())
        order = random.Random(0)
        for _ in range(300):
            self.world.deliver()
            bound = self.world.schedule(order)
            self.world.deliver()
            plan = self.world.look()
            for burst in plan.bursts:
                self.world.write(burst)
            self.world.conclude(plan)
            self.world.check()
            if bound or plan.bursts or plan.label_fixes:
                continue
            if plan.recheck_at is None:
                return plan
            assert plan.recheck_at > self.world.now
            self.world.now = plan.recheck_at
        raise AssertionError("there is no end to it")


def new_world(*, limited: bool, grows: bool, pending: int, admission: str) -> World:
    providers = (
        provider("aws"),
        provider("nebius", max_accelerators=5 if limited else None),
        provider("crusoe"),
        provider("lambda", on_demand=grows),
    )
    nodes = [node("a1", 4), node("a2", 4), node("n1", 4), node("n2", 4), node("c1", 2), node("l1", 2, of="lambda")]
    return World(providers, nodes, pending=pending, admission=admission)


def served(play: Play, plan: Decided) -> None:
    """Nobody waits who could run: neither where it may go already, nor where it might have been sent."""
    world = play.world
    frozen = bool(plan.frozen)
    waiting = [one for one in world.pods.values() if not one.node]
    for one in waiting:
        assert not any(world.feasible(one, there) for there in world.nodes.values()), one.name
        for target in world.targets[1:]:
            barred = one.allowed is not None and target.name not in one.allowed
            failed = not frozen and not plan.state.breaker(target.name).closed
            if frozen or barred or failed or target.tolerated_by(one.shape):
                continue
            if target.limit is not None:
                needed = world.committed(target) + request_of(one, GPU) // MILLI
                if needed * MILLI > target.limit:
                    continue
            others = [other for other in waiting if other is not one and target.tolerated_by(other.shape)]
            there = [n for n in world.nodes.values() if world.target_of(n) is target]
            if not others:
                assert not any(world.fits(would_tolerate(one.shape, target), n) for n in there), (one.name, target.name)
            if target.kind.before_room:
                assert target.contradicts(one.shape), (one.name, target.name)


@settings(max_examples=60, suppress_health_check=[HealthCheck.data_too_large])
@given(
    st.fixed_dictionaries(
        {
            "limited": st.booleans(),
            "grows": st.booleans(),
            "pending": st.sampled_from((0, 5)),
            "admission": st.sampled_from(("WhenSaturated", "Always", "Off")),
        }
    ),
    st.lists(PODS | PLAIN_PODS, min_size=2, max_size=4),
    st.lists(STEPS, min_size=8, max_size=30),
)
def test_any_interleaving_of_the_cluster_and_an_operator_that_stops_anywhere(
    options: dict[str, Any], load: list[Step], steps: list[Step]
) -> None:
    play = Play(new_world(**options))
    for one in (*load, *steps):
        play.do(one)
    plan = play.settle()
    note(f"{play.world.bursts} bursts")
    served(play, plan)

    before = play.world.bursts
    play.world.start()
    served(play, play.settle())
    # A provider that had failed it may try again: of nodes never seen ready it does not know that they once were.
    tried = any(not breaker.closed for breaker in plan.state.recorded.breakers.values())
    assert tried or play.world.bursts == before, "a new leader, with nothing new to see, does something"
