"""The load of a real cluster, played through the decisions, with the failback limits and without them."""

from __future__ import annotations

from tests.unit.core.oscillation import GPUS, NODE, loads, overloads, play

DAYS = 2.0


def test_the_trace_is_of_a_cluster_that_is_often_asked_for_more_than_it_has() -> None:
    assert overloads() == 124
    month = list(loads(31.0))
    assert max(load.gpus for load in month) > 1.5 * GPUS
    assert all(load.gpus == load.pods[NODE] * NODE + load.pods[1] for load in month)


def test_with_the_governor_fewer_workloads_are_moved_than_without_and_none_twice() -> None:
    governed, ungoverned, at_once, never = (play(name, DAYS) for name in ("governed", "ungoverned", "at once", "never"))
    assert 0 < governed.moves < ungoverned.moves < at_once.moves
    assert governed.most == 1
    assert governed.bursts <= ungoverned.bursts
    assert (never.moves, never.in_vain) == (0, 0)
    # The standby is still given back.
    assert governed.standby_hours < 0.9 * never.standby_hours
