"""If time alone may change a decision, the plan gives the time of the next recheck, and otherwise none."""

import pytest

from computepool.decide.plan import Plan
from computepool.model.cluster import Pod
from computepool.model.state import PoolState, Saturation
from tests.builders import NOW, node, pod, pool, pool_state, provider, snapshot
from tests.unit.core.passes import decided

FULL = pod("holder", 8, on="a1")
OUT = (pod("x", 8, on="n1"), pod("y", 8, on="c1"))
SATURATED = pool_state(Saturation(True))


def plan(*pods: Pod, state: PoolState = SATURATED, grows: bool = False) -> Plan:
    of = pool(provider("aws"), provider("nebius", on_demand=grows), provider("crusoe"))
    return decided(snapshot(of, [node("a1"), node("n1"), node("c1")], pods), state)


@pytest.mark.parametrize(
    ("pods", "again"),
    [
        ([FULL], None),
        ([FULL, pod("p", waited=2)], NOW + 3),
        ([FULL, pod("p", waited=2), pod("q", waited=4)], NOW + 1),
        ([FULL, pod("p", sent=[("nebius", NOW - 5)])], NOW + 60),
        ([pod("p", unschedulable=True)], NOW + 60),
        ([pod("p")], NOW + 600),
        ([pod("z", 8, on="a1", deleting=NOW + 7), pod("p", 8, waited=1)], NOW + 12),
        ([pod("z", 8, on="a1", deleting=NOW + 7), pod("p", 8, waited=38)], NOW + 2),
        ([FULL, pod("p", nominated="a1")], NOW + 60),
        ([FULL, *OUT, pod("p")], None),
        ([FULL, pod("p", allowed=())], None),
        ([FULL, pod("p", gated=True)], None),
    ],
    ids=[
        "nothing to wait for",
        "pending seconds",
        "the first of several",
        "a pod sent to a standby",
        "a pod that fits and is refused",
        "a pod that fits",
        "a place soon free",
        "a place soon free again and again",
        "nominated",
        "no room anywhere",
        "never leaves",
        "gated",
    ],
)
def test_the_next_look_is_when_the_first_pod_may_be_decided_otherwise(pods: list[Pod], again: float | None) -> None:
    state = SATURATED if pods[0] is FULL else pool_state(Saturation(False))
    assert plan(*pods, state=state).recheck_at == again


def test_nodes_that_are_to_come_are_waited_for() -> None:
    sent = pod("p", sent=[("nebius", NOW - 100)])
    assert plan(FULL, pod("x", 8, on="n1"), sent, grows=True).recheck_at == NOW + 500


def test_pressure_and_relief_are_looked_at_when_their_time_is_up() -> None:
    assert plan(FULL, state=pool_state(Saturation(False))).recheck_at == NOW + 30
    assert plan(state=SATURATED).recheck_at == NOW + 120


def test_a_pod_that_fits_and_is_not_bound_for_long_does_not_make_passes_spin() -> None:
    waiting = pod("p")
    state = pool_state(Saturation(False), {(waiting.uid, "aws"): NOW - 3600})
    assert plan(waiting, state=state).recheck_at is None
