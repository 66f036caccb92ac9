"""The election's clock counts the time that the machine was asleep."""

from __future__ import annotations

import time
from types import SimpleNamespace

from computepool.app.uptime_clock import uptime_clock


def test_where_the_platform_has_a_clock_that_runs_while_the_machine_sleeps_it_is_that_one() -> None:
    clocks = {7: 5000.0}
    source = SimpleNamespace(CLOCK_BOOTTIME=7, clock_gettime=clocks.__getitem__, monotonic=lambda: 1000.0)
    clock = uptime_clock(source)
    assert clock() == 5000.0
    clocks[7] += 3600
    assert clock() == 8600.0


def test_elsewhere_it_is_the_monotonic_one() -> None:
    assert uptime_clock(SimpleNamespace(monotonic=lambda: 1000.0))() == 1000.0


def test_it_never_goes_back() -> None:
    clock = uptime_clock(time)
    first = clock()
    assert clock() >= first
