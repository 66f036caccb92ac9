"""The clock of a process: it follows the time of day, and never runs backwards."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from computepool.app.clock import NeverBack
from tests.builders import NOW


@dataclass
class Machine:
    """A machine's clocks."""

    wall: float = NOW
    steady: float = 50.0

    def wait(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds

    def clock(self) -> NeverBack:
        return NeverBack(lambda: self.wall, lambda: self.steady)


def test_it_follows_the_time_of_day_in_milliseconds() -> None:
    machine = Machine(wall=NOW + 0.1239)
    clock = machine.clock()
    assert clock() == NOW + 0.123
    machine.wait(10)
    assert clock() == NOW + 10.123
    machine.wall += 3600
    assert clock() == NOW + 3610.123


def test_where_the_time_of_day_is_set_back_it_goes_on_slower_until_both_agree() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.wall -= 100
    assert clock() == NOW
    machine.wait(60)
    assert clock() == NOW + 30
    machine.wait(140)
    assert clock() == NOW + 100 == machine.wall
    machine.wait(5)
    assert clock() == machine.wall


@given(st.lists(st.tuples(st.floats(0, 5000), st.floats(-5000, 5000)), max_size=30))
def test_however_the_time_of_day_is_set_it_never_runs_backwards_nor_behind_it(steps: list[tuple[float, float]]) -> None:
    machine = Machine()
    clock = machine.clock()
    last = clock()
    for passed, step in steps:
        machine.wait(passed)
        machine.wall += step
        now = clock()
        assert now >= last
        assert now >= machine.wall - 0.002
        # Time that has passed is never taken for more than it was, unless the time of day says so.
        assert now <= max(machine.wall, last + passed) + 0.002
        last = now
