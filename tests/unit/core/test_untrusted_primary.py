"""A primary whose breaker is not closed: pods go to standbys at once, and admission opens."""

from __future__ import annotations

import pytest

from computepool.model.api import BreakerState
from computepool.model.reasons import Reason
from computepool.model.state import Breaker, Saturation
from tests.builders import NOW, node, pod, pool, pool_state, provider, shape, snapshot
from tests.unit.core.passes import decided, sent_to
from tests.unit.core.watching import Watch

NODES = [node("a1"), node("a2"), node("n1")]
OPEN = Breaker(BreakerState.OPEN, Reason.PROVIDER_UNHEALTHY, NOW, NOW + 60, 1)
HALF_OPEN = Breaker(BreakerState.HALF_OPEN, Reason.PROVIDER_UNHEALTHY, NOW, failures=1, node="a2")


def watching(breaker: Breaker, of: str = "aws", *, on_demand: bool = False) -> Watch:
    made = pool(provider("aws", on_demand=on_demand), provider("nebius"))
    return Watch(made, pool_state(Saturation(False), breakers={of: breaker}))


@pytest.mark.parametrize("on_demand", [False, True])
def test_pods_overflow_at_once_while_it_is_open(on_demand: bool) -> None:
    found = watching(OPEN, on_demand=on_demand).see(1, NODES, [pod("p", waited=0)])
    (overflow,) = found.demand.overflow
    assert (overflow.why, overflow.wait) == (Reason.PROVIDER_UNAVAILABLE, None)
    assert found.demand.pressing == 1


def test_pods_that_do_not_fit_on_the_node_that_is_tried_go_elsewhere_at_once() -> None:
    found = watching(HALF_OPEN).see(1, NODES, [pod("tried", 8, waited=1), pod("other", 8, waited=0)])
    assert [(hold.pod.name, hold.reason) for hold in found.demand.held] == [("tried", Reason.FITS_ON_PREFERRED)]
    (overflow,) = found.demand.overflow
    assert (overflow.pod.name, overflow.why, overflow.wait) == ("other", Reason.CANARY_UNDER_WAY, None)


@pytest.mark.parametrize("breaker", [OPEN, HALF_OPEN])
def test_it_is_saturated_whatever_waits_and_clears_after_it_has_closed(breaker: Breaker) -> None:
    watch = watching(breaker)
    found = watch.see(1, NODES)
    assert found.saturation == Saturation(True, Reason.PROVIDER_UNAVAILABLE)
    watch.state = pool_state(found.saturation)
    assert watch.see(2, NODES).saturation == Saturation(True, Reason.PRIMARY_CLEARING, relief_since=NOW + 2)


def test_a_pod_that_can_not_run_there_at_all_says_so_rather() -> None:
    nodes = [node("a1", cordoned=True), node("n1")]
    found = watching(OPEN).see(1, nodes, [pod("p", tolerates=["nebius"], waited=0)])
    assert found.demand.overflow[0].why is Reason.PROVIDER_UNAVAILABLE


def test_a_quarantine_keeps_a_pod_off_for_now_and_not_for_ever() -> None:
    watch = Watch(pool())
    watch.see(-1, NODES)
    in_quarantine = node("a1", quarantine="NodeUnknown", labels={"zone": "a"})
    found = watch.see(
        0, [in_quarantine, node("a2", labels={"zone": "b"})], [pod("p", shaped=shape(selector={"zone": "a"}), waited=0)]
    )
    assert found.demand.overflow[0].why is Reason.NO_ROOM
    assert found.demand.overflow[0].wait is Reason.BELOW_PENDING_SECONDS


@pytest.mark.parametrize("breaker", [OPEN, HALF_OPEN])
def test_a_provider_that_failed_and_lost_its_nodes_freezes_no_pool(breaker: Breaker) -> None:
    before = pool_state(Saturation(True), breakers={"aws": breaker})
    found = decided(snapshot(pool(), [node("n1")], [pod("p", waited=0)]), before, NOW + 3600)
    assert not found.frozen
    assert sent_to(found) == {"p": "nebius"}
    assert found.admission.provider == "nebius"
    assert found.state.breaker("aws").state is breaker.state


def test_a_drained_provider_may_lose_its_nodes() -> None:
    drained = pool(provider("aws", drain=True), provider("nebius"))
    assert sent_to(decided(snapshot(drained, [node("n1")], [pod("p", waited=0)]))) == {"p": "nebius"}
