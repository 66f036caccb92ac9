"""Pods whose patch the API server has refused for one provider: the next provider may take them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from computepool.decide.reconcile import reconcile
from computepool.model.cluster import Pod, RefusedOffer
from computepool.model.reasons import Reason
from computepool.model.snapshot import Snapshot
from computepool.model.state import PoolState
from tests.builders import NOW, node, pod, pool, snapshot
from tests.unit.core.passes import Decided, burst_of, decided, hold_of, sent_to

HOLDER = pod("holder", 8, on="a1")
"""Fills the primary."""
NODES = (node("a1"), node("n1"), node("c1"))


def refusal(provider: str, at: float = NOW, seconds: float = 30.0) -> RefusedOffer:
    return RefusedOffer(provider, at, at + seconds)


def seen(*pods: Pod, refused: Mapping[str, tuple[RefusedOffer, ...]], **of: Any) -> Snapshot:
    by_uid = {found.uid: refused[found.name] for found in pods if found.name in refused}
    return snapshot(pool(**of), NODES, (HOLDER, *pods), refused_offers=by_uid)


def plan(*pods: Pod, now: float = NOW, refused: Mapping[str, tuple[RefusedOffer, ...]], **of: Any) -> Decided:
    return decided(seen(*pods, refused=refused, **of), now=now)


def test_a_refused_pod_goes_to_the_next_provider_and_other_pods_go_on_as_before() -> None:
    found = plan(pod("p", 4, waited=40), pod("q", 4), refused={"p": (refusal("nebius"),)})
    assert sent_to(found) == {"p": "crusoe", "q": "nebius"}
    assert burst_of(found, "p").rejected == (("aws", Reason.NO_ROOM), ("nebius", Reason.WRITE_REFUSED))


def test_the_provider_is_asked_again_when_the_refusal_is_over() -> None:
    refused = {"p": (refusal("nebius"),)}
    assert sent_to(plan(pod("p"), refused=refused, now=NOW + 29)) == {"p": "crusoe"}
    assert sent_to(plan(pod("p"), refused=refused, now=NOW + 30)) == {"p": "nebius"}


def test_a_refusal_of_the_future_does_not_count() -> None:
    assert sent_to(plan(pod("p"), refused={"p": (refusal("nebius", NOW + 3600),)})) == {"p": "nebius"}


def test_a_pod_that_every_provider_refuses_waits_until_the_first_refusal_is_over() -> None:
    refused = {"p": (refusal("nebius", seconds=50), refusal("crusoe", seconds=20))}
    found = plan(pod("p"), refused=refused)
    hold = hold_of(found, "p")
    assert (hold.reason, hold.provider) == (Reason.WRITE_REFUSED, "")
    assert hold.rejected[1:] == (("nebius", Reason.WRITE_REFUSED), ("crusoe", Reason.WRITE_REFUSED))
    assert found.recheck_at == NOW + 20
    assert found.state.memory.shortage is None, "it does not wait for room or money"
    assert sent_to(plan(pod("p"), refused=refused, now=NOW + 20)) == {"p": "crusoe"}


def test_its_place_is_free_for_others_meanwhile() -> None:
    found = plan(pod("p", 8, waited=40), pod("q", 8), refused={"p": (refusal("nebius"),)})
    assert sent_to(found) == {"p": "crusoe", "q": "nebius"}


def test_running_pods_do_not_leave_for_want_of_a_patch() -> None:
    # A refusal tells of a write, and not of a provider.
    there = pod("there", on="n1", sent=[("nebius", NOW - 600)])
    found = plan(pod("p"), there, refused={"p": (refusal("nebius"), refusal("crusoe"))})
    assert not found.moves


@pytest.mark.parametrize(("refused", "verdict"), [((), Reason.LESS_PREFERRED), (("crusoe",), Reason.WRITE_REFUSED)])
def test_a_survey_names_the_refusal(refused: tuple[str, ...], verdict: Reason) -> None:
    asked = pod("p")
    view = seen(asked, refused={"p": tuple(map(refusal, refused))})
    assert dict(reconcile(view, PoolState(), NOW, asked.uid).survey)["crusoe"] is verdict
