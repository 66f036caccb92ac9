"""What is said of refused patches, and until when."""

from __future__ import annotations

import pytest

from computepool.app.refusals import Refusals
from computepool.decide.plan import Burst
from computepool.kube.errors import ApiError, Forbidden, Unavailable
from computepool.model.reasons import Reason
from computepool.model.snapshot import Pod, Snapshot
from tests.builders import NOW, POOL, pod, pool, snapshot

LOST = Unavailable(0, "Timeout", "no answer")
FORBIDDEN = Forbidden(403, "Forbidden", "no")


def noted(error: ApiError) -> Refusals:
    refusals = Refusals()
    refusals.note(POOL, [(Burst(pod("p"), "nebius", Reason.PRIMARY_SATURATED, (), ()), error)])
    return refusals


def seen(*pods: Pod) -> Snapshot:
    return snapshot(pool(), pods=pods)


@pytest.mark.parametrize("error", [LOST, FORBIDDEN])
def test_a_refusal_stands_while_the_pod_waits_as_before(error: ApiError) -> None:
    refusals = noted(error)
    assert str(error) in refusals.standing(seen(pod("p")))
    assert refusals.standing(seen(pod("p", on="a1"))) == ""


def test_a_patch_without_an_answer_that_the_pod_shows_after_all_was_not_refused() -> None:
    refusals = noted(LOST)
    assert refusals.standing(seen(pod("p", sent=[("crusoe", NOW)]))) != ""
    assert refusals.standing(seen(pod("p", sent=[("nebius", NOW)]))) == ""


def test_what_was_clearly_refused_stands_though_the_pod_was_offered_there_long_ago() -> None:
    assert noted(FORBIDDEN).standing(seen(pod("p", sent=[("nebius", NOW - 600)]))) != ""


def test_a_clear_refusal_ends_the_doubt_about_the_attempt_before() -> None:
    refusals = noted(LOST)
    refusals.note(POOL, [(Burst(pod("p"), "nebius", Reason.PRIMARY_SATURATED, (), ()), FORBIDDEN)])
    assert refusals.standing(seen(pod("p", sent=[("nebius", NOW - 600)]))) != ""
