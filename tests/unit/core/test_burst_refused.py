"""Pods whose patch the API server has refused for one provider: the next provider may take them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from computepool.decide.reconcile import reconcile
from computepool.model.cluster import Pod, RefusedOffer
from computepool.model.reasons import Reason
from computepool.model.snapshot import Snapshot
from computepool.model.state import PoolState
from tests.builders import NOW, node, pod, pool, provider, snapshot
from tests.unit.core.passes import Decided, burst_of, decided, flying, hold_of, sent_to, waits_for

HOLDER = pod("holder", 8, on="a1")
"""Fills the primary."""
NODES = (node("a1"), node("n1"), node("c1"))


def refusal(provider: str, at: float = NOW, seconds: float = 30.0, times: int = 2) -> RefusedOffer:
    return RefusedOffer(provider, at, at + seconds, f"{provider} is not for you", times)


def seen(
    *pods: Pod,
    refused: Mapping[str, tuple[RefusedOffer, ...]],
    providers: Sequence[dict[str, Any]] = (),
    in_flight: tuple[str, str] = ("", ""),
) -> Snapshot:
    by_uid = {found.uid: refused[found.name] for found in pods if found.name in refused}
    name, to = in_flight
    flies = flying(*(found for found in pods if found.name == name), to=to)
    return snapshot(pool(*providers), NODES, (HOLDER, *pods), refused_offers=by_uid, in_flight=flies)


def plan(*pods: Pod, now: float = NOW, refused: Mapping[str, tuple[RefusedOffer, ...]], **of: Any) -> Decided:
    return decided(seen(*pods, refused=refused, **of), now=now)


def test_a_refused_pod_goes_to_the_next_provider_and_other_pods_go_on_as_before() -> None:
    found = plan(pod("p", 4, waited=90), pod("q", 4), refused={"p": (refusal("nebius"),)})
    assert sent_to(found) == {"p": "crusoe", "q": "nebius"}
    assert burst_of(found, "p").rejected == (("aws", Reason.NO_ROOM), ("nebius", Reason.WRITE_REFUSED))


def test_the_provider_is_asked_again_when_the_refusal_is_over() -> None:
    refused = {"p": (refusal("nebius"),)}
    assert sent_to(plan(pod("p"), refused=refused, now=NOW + 29)) == {"p": "crusoe"}
    assert sent_to(plan(pod("p"), refused=refused, now=NOW + 30)) == {"p": "nebius"}


def test_a_first_refusal_changes_nothing_because_the_offer_is_still_under_way() -> None:
    refused = {"p": (refusal("nebius", times=1),)}
    found = plan(pod("p", 8, waited=90), pod("q", 8), refused=refused, in_flight=("p", "nebius"))
    assert sent_to(found) == {"q": "crusoe"}
    assert waits_for(found) == {"p": "nebius"}
    assert sent_to(plan(pod("p"), refused=refused)) == {"p": "nebius"}, "the next attempt"


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
    found = plan(pod("p", 8, waited=90), pod("q", 8), refused={"p": (refusal("nebius"),)})
    assert sent_to(found) == {"p": "crusoe", "q": "nebius"}


def test_no_pod_is_preempted_for_a_pod_that_the_api_server_refuses_elsewhere() -> None:
    low, urgent = pod("low", 8, on="c1", priority=0), pod("urgent", 8, priority=1000, unschedulable=True)
    assert sent_to(plan(low, urgent, refused={})) == {"urgent": "nebius"}
    assert sent_to(plan(low, urgent, refused={"urgent": (refusal("nebius"),)})) == {}
    taken = pod("taken", 8, on="n1", priority=0)
    assert sent_to(plan(low, taken, urgent, refused={})) == {"urgent": "nebius"}
    assert sent_to(plan(low, taken, urgent, refused={"urgent": (refusal("nebius"),)})) == {"urgent": "crusoe"}
    both = (refusal("nebius"), refusal("crusoe"))
    assert sent_to(plan(low, taken, urgent, refused={"urgent": both})) == {}


def test_a_refused_provider_that_could_not_take_the_pod_anyway_says_so() -> None:
    found = plan(pod("taken", 8, on="n1"), pod("p"), refused={"p": (refusal("nebius"),)})
    assert burst_of(found, "p").rejected == (("aws", Reason.NO_ROOM), ("nebius", Reason.NO_ROOM))


def test_a_drained_provider_is_missed_only_where_the_others_refuse_a_pod_again() -> None:
    # A drill ends for pods that only the drilled provider would take. A single refusal tells nothing of that.
    providers = (provider("aws"), provider("nebius", drain=True), provider("crusoe"))
    once = plan(pod("p"), refused={"p": (refusal("crusoe", times=1),)}, providers=providers, in_flight=("p", "crusoe"))
    assert once.state.memory.missed_drain is None
    again = plan(pod("p"), refused={"p": (refusal("crusoe"),)}, providers=providers)
    assert again.state.memory.missed_drain is not None


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
