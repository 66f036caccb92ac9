"""What is said of patches and moves that failed, and until when."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from computepool.app.refused_writes import FailedMoves, FailedPatches
from computepool.decide.plan import BlockedMove, Burst, Move, Plan
from computepool.kube.errors import ApiError, Forbidden, Unavailable
from computepool.model.cluster import Pod
from computepool.model.moves import MoveKind, PodMove, Request
from computepool.model.reasons import Reason
from computepool.model.snapshot import Snapshot
from tests.builders import NOW, POOL, pod, pool, snapshot

LOST = Unavailable(0, "Timeout", "no answer")
FORBIDDEN = Forbidden(403, "Forbidden", "no")


BURST = Burst(pod("p"), "nebius", Reason.PRIMARY_SATURATED, (), ())


def noted(error: ApiError) -> FailedPatches:
    failures = FailedPatches()
    failures.note(POOL, [(BURST, error)])
    return failures


def seen(*pods: Pod) -> Snapshot:
    return snapshot(pool(), pods=pods)


@pytest.mark.parametrize("error", [LOST, FORBIDDEN])
def test_a_refusal_stands_while_the_pod_waits_as_before(error: ApiError) -> None:
    failures = noted(error)
    assert str(error) in failures.standing(seen(pod("p")))
    assert failures.standing(seen(pod("p", on="a1"))) == ""


def test_a_patch_without_an_answer_that_the_pod_shows_after_all_was_not_refused() -> None:
    failures = noted(LOST)
    assert failures.standing(seen(pod("p", sent=[("crusoe", NOW)]))) != ""
    assert failures.standing(seen(pod("p", sent=[("nebius", NOW)]))) == ""


def test_what_was_clearly_refused_stands_though_the_pod_was_offered_there_long_ago() -> None:
    assert noted(FORBIDDEN).standing(seen(pod("p", sent=[("nebius", NOW - 600)]))) != ""


def test_a_clear_refusal_ends_the_doubt_about_the_attempt_before() -> None:
    failures = noted(LOST)
    failures.note(POOL, [(BURST, FORBIDDEN)])
    assert failures.standing(seen(pod("p", sent=[("nebius", NOW - 600)]))) != ""


def test_a_patch_that_got_another_answer_has_not_failed() -> None:
    failures = noted(LOST)
    assert failures.known(POOL, [BURST])
    failures.answered(POOL, [BURST])
    assert failures.standing(seen(pod("p"))) == ""
    assert not failures.known(POOL, [BURST])


# -- running pods

MOVE = Move(pod("p", on="n1"), "nebius", "crusoe", MoveKind.FAILOVER, Reason.LEAVES_SICK_NODE)
QUEUED = PodMove(MOVE.pod, "nebius", "crusoe", MoveKind.FAILOVER, NOW)


def unmoved(*moves: Move) -> FailedMoves:
    failed = FailedMoves()
    failed.note(POOL, [(move, FORBIDDEN) for move in moves or (MOVE,)])
    return failed


def view(*moving: PodMove) -> Snapshot:
    return snapshot(pool(), pods=[MOVE.pod], moves=moving)


def plan(**fields: Any) -> Plan:
    return Plan(**fields)


@pytest.mark.parametrize(
    ("moving", "decided", "stands"),
    [
        ((QUEUED,), plan(), True),
        ((), plan(moves=(MOVE,)), True),
        ((), plan(blocked=(BlockedMove(MOVE.pod, Reason.AT_MOVE_LIMIT),)), True),
        ((), plan(frozen="the view is old"), True),
        ((), plan(blocked_left_out=1), True),
        ((), plan(blocked=(BlockedMove(MOVE.pod, Reason.WOULD_STRAND),)), False),
        ((replace(QUEUED, request=Request.LET_GO),), plan(), False),
        ((), plan(), False),
    ],
    ids=["it waits", "once more", "its turn comes", "frozen", "not told", "another reason", "gone", "well again"],
)
def test_an_eviction_that_failed_is_told_while_it_is_tried_again(
    moving: tuple[PodMove, ...], decided: Plan, stands: bool
) -> None:
    failed = unmoved()
    expected = f"the eviction of pod default/p failed: {FORBIDDEN}" if stands else ""
    assert failed.standing(view(*moving), decided) == expected
    assert failed.standing(view(QUEUED), plan()) == expected


def test_many_evictions_that_failed_are_counted_and_the_first_is_told() -> None:
    other = replace(MOVE, pod=pod("q", on="n1"), release=True)
    failed = unmoved(other, MOVE)
    said = failed.standing(view(), plan(moves=(MOVE, other)))
    assert said == f"2 pods, such as: the deletion of pod default/q failed: {FORBIDDEN}"


def test_another_answer_or_the_end_of_the_pool_ends_what_is_told() -> None:
    failed = unmoved()
    failed.answered("unknown", [MOVE])
    failed.answered(POOL, [MOVE])
    assert failed.standing(view(QUEUED), plan()) == ""
    failed = unmoved()
    failed.forget(POOL)
    assert failed.standing(view(QUEUED), plan()) == ""
