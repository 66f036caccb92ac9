"""The beginning and the end of a drill are told once, also across leaders."""

from __future__ import annotations

from datetime import UTC, datetime

from computepool.model.api import ComputePool
from computepool.model.reasons import Reason
from computepool.report.drills import DrillChanges, drills_under_way
from tests.builders import NOW, pool, provider


def made(*, drill: bool = True) -> ComputePool:
    """A pool with a drill of nebius from NOW on for ten minutes."""
    since, until = (datetime.fromtimestamp(NOW + at, UTC).isoformat() for at in (0, 600))
    field = {"drill": {"since": since, "until": until, "by": "alice"}} if drill else {}
    return pool(provider("aws"), {**provider("nebius"), **field})


def told(changes: DrillChanges, of: ComputePool, at: float) -> list[Reason]:
    return [change.reason for change in changes.news(of, NOW + at)]


def test_it_begins_once_and_ends_once_by_its_time_or_by_a_hand() -> None:
    changes = DrillChanges()
    assert told(changes, made(), -1) == []
    assert told(changes, made(), 0) == [Reason.DRILL_BEGAN]
    assert told(changes, made(), 599) == []
    assert told(changes, made(), 600) == [Reason.DRILL_ENDED]
    assert told(changes, made(), 900) == []
    assert told(changes, made(drill=False), 901) == []
    by_hand = DrillChanges()
    assert told(by_hand, made(), 1) == [Reason.DRILL_BEGAN]
    assert told(by_hand, made(drill=False), 2) == [Reason.DRILL_ENDED]
    assert told(by_hand, made(drill=False), 3) == []


def test_another_leader_tells_the_same_under_the_same_key() -> None:
    first, second = DrillChanges(), DrillChanges()
    assert first.news(made(), NOW + 1) == second.news(made(), NOW + 50)
    assert [change.key for change in first.news(made(), NOW + 700)] == [
        change.key for change in DrillChanges().news(made(), NOW + 800)
    ]


def test_the_note_says_whose_drill_it_is_and_until_when() -> None:
    (change,) = DrillChanges().news(made(), NOW)
    assert change.note.startswith("A drill of nebius by alice lasts until 2027-01-15T08:10:00Z at the latest.")
    assert [name for name, _ in drills_under_way(made(), NOW)] == ["nebius"]
    assert list(drills_under_way(made(), NOW + 600)) == []


def test_a_pool_that_is_gone_is_forgotten() -> None:
    changes = DrillChanges()
    changes.news(made(), NOW)
    changes.forget("inference")
    assert told(changes, made(), 1) == [Reason.DRILL_BEGAN]
