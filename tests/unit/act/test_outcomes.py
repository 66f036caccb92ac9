"""Outcomes of many writes, put together."""

from __future__ import annotations

from typing import NamedTuple

from computepool.act.outcomes import joined


class Outcome(NamedTuple):
    done: tuple[str, ...] = ()
    failed: tuple[tuple[str, int], ...] = ()


def test_each_field_has_the_items_of_all_in_their_order() -> None:
    parts = [Outcome(done=("a",)), Outcome(failed=(("b", 1),)), Outcome(), Outcome(("c", "d"), (("e", 2),))]
    assert joined(Outcome, parts) == Outcome(("a", "c", "d"), (("b", 1), ("e", 2)))


def test_of_nothing_nothing_has_become() -> None:
    assert joined(Outcome, []) == Outcome()
