"""Missing, stale or partial data freezes a pool: nothing changes."""

from typing import Any

import pytest

from computepool.decide.plan import Admission
from computepool.model.reasons import Reason
from computepool.model.snapshot import Snapshot
from computepool.model.state import Saturation
from tests.builders import NOW, node, pod, pool, pool_state, provider, snapshot
from tests.unit.core.passes import decided, holds

PODS = [pod("holder", 8, on="a1"), pod("p"), pod("s", sent=[("nebius", NOW)]), pod("m", on="n1")]
STALE = "the view of pods is 121 s old"


def stale(**of: Any) -> Snapshot:
    return snapshot(pool(**of), [node("a1"), node("n1")], PODS, stale=STALE)


def without_primary(**of: Any) -> Snapshot:
    return snapshot(pool(**of), [node("n1")], PODS[1:])


@pytest.mark.parametrize("seen", [stale(), without_primary(), stale(admission="Always"), stale(pending=0)])
@pytest.mark.parametrize("before", [None, True, False])
def test_nothing_is_sent_on_marked_or_admitted_from_a_view_that_can_not_be_trusted(
    seen: Snapshot, before: bool | None
) -> None:
    found = decided(seen, pool_state(Saturation(before), admitting="nebius"))
    assert found.frozen
    assert not found.bursts
    assert not found.label_fixes
    assert found.admission == Admission()
    assert set(holds(found).values()) == {Reason.FROZEN}
    assert len(found.holds) == len(seen.waiting)


def test_a_stale_view_says_why_and_is_looked_at_again_soon() -> None:
    found = decided(stale())
    assert found.frozen == STALE
    assert found.recheck_at is not None
    assert NOW < found.recheck_at <= NOW + 5


def test_a_primary_without_nodes_names_itself_and_what_to_do_and_waits_for_a_change() -> None:
    found = decided(without_primary())
    assert "'aws'" in found.frozen
    assert "labels" in found.frozen
    assert found.recheck_at is None


def test_an_on_demand_primary_without_nodes_is_known() -> None:
    grows = pool(provider("aws", on_demand=True), provider("nebius"))
    assert not decided(snapshot(grows, [node("n1")], [pod("p")])).frozen


def test_a_primary_whose_nodes_are_all_ill_is_known_to_be_full() -> None:
    found = decided(snapshot(pool(), [node("a1", ready="Unknown"), node("n1")], [pod("p")]))
    assert not found.frozen
    assert found.bursts


@pytest.mark.parametrize("seen", [stale(), without_primary()])
def test_through_a_freeze_the_verdict_stands_and_every_timer_starts_anew(seen: Snapshot) -> None:
    verdict = Saturation(True, Reason.PRIMARY_CLEARING, relief_since=NOW - 100)
    before = pool_state(verdict, {("uid-default-p", "aws"): 1.0}, "nebius")
    after = decided(seen, before).state
    assert (after.recorded.saturated, after.recorded.admitting) == (True, "nebius")
    assert (after.memory.relief_since, after.memory.fitting) == (None, {})


def test_the_pass_after_a_freeze_goes_on() -> None:
    frozen = decided(stale())
    found = decided(snapshot(pool(), [node("a1"), node("n1")], PODS), frozen.state)
    assert [burst.pod.name for burst in found.bursts] == ["p"]
