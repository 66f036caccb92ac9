"""Pods that wait, and new ones, while a provider's breaker is not closed."""

from __future__ import annotations

import msgspec

from computepool.decide.plan import Admission
from computepool.model.cluster import Offer
from computepool.model.reasons import Reason
from computepool.model.taints import Toleration
from tests.builders import NOW, node, pod, pool, pool_state, provider, snapshot
from tests.unit.core.moving import half_open, opened
from tests.unit.core.passes import decided, hold_of, holds, sent_to


def test_an_open_provider_takes_no_pod() -> None:
    seen = snapshot(pool(), [node("a1"), node("n1"), node("c1")], [pod("full", 8, on="a1"), pod("web", 1)])
    plan = decided(seen, pool_state(breakers={"nebius": opened()}))
    assert sent_to(plan) == {"web": "crusoe"}
    assert plan.bursts[0].rejected[1] == ("nebius", Reason.PROVIDER_UNAVAILABLE)


def test_a_pod_that_was_sent_to_a_provider_that_failed_since_is_offered_onward_at_once() -> None:
    web = pod("web", 1, sent=[("nebius", NOW - 1)])
    seen = snapshot(pool(), [node("a1"), node("n1"), node("c1")], [pod("full", 8, on="a1"), web])
    state = pool_state(breakers={"nebius": opened()})
    assert sent_to(decided(seen)) == {}
    assert sent_to(decided(seen, state)) == {"web": "crusoe"}


def test_a_half_open_provider_is_tried_with_one_pod_at_a_time() -> None:
    pods = [pod("full", 8, on="a1"), pod("one", 1, waited=90), pod("two", 1)]
    of = pool(provider("aws"), provider("nebius"))
    state = pool_state(breakers={"nebius": half_open("n1")})
    plan = decided(snapshot(of, [node("a1"), node("n1")], pods), state)
    assert sent_to(plan) == {"one": "nebius"}
    assert holds(plan) == {"two": Reason.CANARY_UNDER_WAY}
    # No other pod is sent while the canary is on its way, waits there or has not proved the provider.
    sent = pod("one", 1, sent=[("nebius", NOW - 1)], waited=90)
    for seen in (
        snapshot(of, [node("a1"), node("n1")], pods, in_flight={pods[1].uid: Offer("nebius", NOW)}),
        snapshot(of, [node("a1"), node("n1")], [pods[0], sent, pods[2]]),
        snapshot(of, [node("a1"), node("n1")], [pods[0], msgspec.structs.replace(sent, node="n1"), pods[2]]),
    ):
        later = decided(seen, state)
        assert sent_to(later) == {}
        assert hold_of(later, "two").reason is Reason.CANARY_UNDER_WAY


def test_pods_that_ran_there_before_are_no_canaries() -> None:
    pods = [pod("full", 8, on="a1"), pod("ran", 1, on="n1", sent=[("nebius", NOW - 900)]), pod("web")]
    state = pool_state(breakers={"nebius": half_open("n1")})
    assert sent_to(decided(snapshot(pool(), [node("a1"), node("n1")], pods), state)) == {"web": "nebius"}


def test_new_pods_are_admitted_to_a_provider_that_is_used_only() -> None:
    seen = snapshot(pool(admission="Always"), [node("a1"), node("n1"), node("c1")])
    assert decided(seen).admission.provider == "nebius"
    for breaker, expected in ((opened(), "crusoe"), (half_open("n1"), "")):
        assert decided(seen, pool_state(breakers={"nebius": breaker})).admission.provider == expected
        assert (
            decided(seen, pool_state(breakers={"nebius": breaker}, admitting="nebius")).admission.provider == expected
        )


def test_admission_is_open_while_the_primary_has_failed() -> None:
    seen = snapshot(pool(), [node("a1"), node("n1")])
    assert decided(seen).admission == Admission()
    plan = decided(seen, pool_state(breakers={"aws": opened()}))
    assert plan.admission.provider == "nebius"
    assert plan.admission.tolerations == (Toleration("computepool.io/provider", "Equal", "nebius", "NoSchedule"),)
