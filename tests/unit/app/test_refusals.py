"""What is said of refused patches, and until when."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from computepool.app.refused_writes import SHOWN_SECONDS, FailedMoves, Refusals
from computepool.decide.burst.planner import Rejections
from computepool.decide.plan import BlockedMove, Burst, Move, Plan
from computepool.kube.errors import ApiError, Forbidden, Unavailable
from computepool.model.cluster import Pod
from computepool.model.moves import MoveKind, PodMove, Request
from computepool.model.reasons import Reason
from computepool.model.snapshot import Snapshot
from tests.builders import NOW, POOL, pod, pool, snapshot

LOST = Unavailable(0, "Timeout", "no answer")
FORBIDDEN = Forbidden(403, "Forbidden", "no")


def refused(name: str = "p", provider: str = "nebius", before: Rejections = ()) -> Burst:
    return Burst(pod(name), provider, Reason.PRIMARY_SATURATED, before, ())


def noted(error: ApiError) -> Refusals:
    refusals = Refusals()
    refusals.note(POOL, refused(), error)
    return refusals


def seen(*pods: Pod, **of: Any) -> Snapshot:
    return snapshot(pool(**of), pods=pods)


@pytest.mark.parametrize("error", [LOST, FORBIDDEN])
def test_a_refusal_stands_while_the_pod_waits_as_before(error: ApiError) -> None:
    refusals = noted(error)
    assert str(error) in refusals.standing(seen(pod("p")), NOW)
    assert refusals.standing(seen(pod("p", on="a1")), NOW) == ""


def test_a_patch_without_an_answer_that_the_pod_shows_after_all_was_not_refused() -> None:
    refusals = noted(LOST)
    assert refusals.standing(seen(pod("p", sent=[("crusoe", NOW)])), NOW) != ""
    assert refusals.standing(seen(pod("p", sent=[("nebius", NOW)])), NOW) == ""


def test_what_was_clearly_refused_stands_though_the_pod_was_offered_there_long_ago() -> None:
    assert noted(FORBIDDEN).standing(seen(pod("p", sent=[("nebius", NOW - 600)])), NOW) != ""


def test_a_clear_refusal_ends_the_doubt_about_the_attempt_before() -> None:
    refusals = noted(LOST)
    refusals.note(POOL, refused(), FORBIDDEN)
    assert refusals.standing(seen(pod("p", sent=[("nebius", NOW - 600)])), NOW) != ""


def test_pods_are_counted_once_however_many_providers_refuse_them() -> None:
    refusals = noted(FORBIDDEN)
    refusals.note(POOL, refused("p", "crusoe"), FORBIDDEN)
    refusals.note(POOL, refused("q"), FORBIDDEN)
    said = refusals.standing(seen(pod("p"), pod("q")), NOW)
    assert said == f"2 pods, such as: the patch that sends pod default/p to nebius was refused: {FORBIDDEN}"


def test_only_a_repeated_patch_is_known() -> None:
    refusals = noted(FORBIDDEN)
    assert refusals.known(POOL, [refused()])
    assert not refusals.known(POOL, [refused(), refused("p", "crusoe")])


# -- pods that another provider took


def passed_over() -> tuple[Refusals, Snapshot]:
    """A refusal of nebius, whose pod was sent to crusoe then."""
    refusals, later = noted(FORBIDDEN), seen(pod("p", on="c1"))
    refusals.written(later.pool, [refused("p", "crusoe", (("nebius", Reason.WRITE_REFUSED),))], NOW)
    return refusals, later


def test_a_refusal_stands_for_a_while_after_its_pod_went_elsewhere() -> None:
    refusals, later = passed_over()
    assert "default/p to nebius was refused" in refusals.standing(later, NOW + SHOWN_SECONDS - 1)
    assert refusals.recheck_at(POOL) == NOW + SHOWN_SECONDS
    assert refusals.standing(later, NOW + SHOWN_SECONDS) == ""
    assert refusals.recheck_at(POOL) is None


def test_a_less_preferred_provider_that_had_refused_the_pod_too_is_told_no_more() -> None:
    refusals, later = noted(FORBIDDEN), seen(pod("p", on="n1"))
    refusals.note(POOL, refused("p", "crusoe"), FORBIDDEN)
    refusals.written(later.pool, [refused("p", before=(("aws", Reason.NO_ROOM),))], NOW)
    assert refusals.standing(later, NOW) == ""


def test_it_ends_with_a_patch_that_the_provider_accepts() -> None:
    refusals, later = passed_over()
    refusals.written(later.pool, [refused("other", "crusoe")], NOW)
    assert refusals.standing(later, NOW) != ""
    refusals.written(later.pool, [refused("other")], NOW)
    assert refusals.standing(later, NOW) == ""


def test_it_ends_with_another_spec_with_the_pool_and_with_a_clock_that_was_set_back() -> None:
    refusals, later = passed_over()
    metadata = later.pool.metadata.model_copy(update={"generation": later.pool.metadata.generation + 1})
    edited = replace(later, pool=later.pool.model_copy(update={"metadata": metadata}))
    assert refusals.standing(edited, NOW) == ""
    refusals, later = passed_over()
    assert refusals.standing(later, NOW - 1) == ""
    refusals, later = passed_over()
    refusals.forget(POOL)
    assert refusals.standing(later, NOW) == ""


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
