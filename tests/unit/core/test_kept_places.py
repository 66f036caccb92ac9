"""Places of moves under way are kept until the replacements are seen, and replacements are sent at once."""

from __future__ import annotations

import msgspec

from computepool.model.reasons import Reason
from tests.builders import NOW, node, pod, pod_move, pool, pool_state, provider, snapshot
from tests.unit.core.moving import faults_of, moved_to, opened, owned, stay_of, unhealthy_node
from tests.unit.core.passes import decided, holds, sent_to


def test_the_place_of_an_evicted_pod_is_kept_until_its_replacement_is_seen() -> None:
    gone = owned("gone", 8, on="n1")
    of = pool(provider("aws"), provider("nebius"))
    nodes = [node("a1", 8), node("n2")]
    full = pod("full", 8, on="a1")
    under_way = (pod_move(gone, "nebius", at=NOW - 3),)
    other = pod("other", 8)
    assert sent_to(decided(snapshot(of, nodes, [full, other]))) == {"other": "nebius"}
    plan = decided(snapshot(of, nodes, [full, other], moves=under_way))
    assert holds(plan) == {"other": Reason.NO_ROOM}
    assert plan.recheck_at == NOW - 3 + 120
    late = decided(snapshot(of, nodes, [full, other], moves=(pod_move(gone, "nebius", at=NOW - 120),)))
    assert sent_to(late) == {"other": "nebius"}


def test_a_move_whose_target_fails_has_its_next_place_before_others_are_moved() -> None:
    # It was to go to the primary's other node, which fails a moment later: what is left is one place, and it is the
    # only one that the budget covers.
    gone, runs = owned("gone", on="a1", age=60), owned("runs", on="a2")
    dear = provider("nebius", price="1")
    state = pool_state(node_faults=faults_of("a1", "a2"), breakers={"aws": opened()})
    nodes = [unhealthy_node("a1"), unhealthy_node("a2"), node("n1")]
    for of, beside in (
        (pool(provider("aws"), dear, budget={"perHour": "1"}), ()),
        (pool(provider("aws"), dear), (pod("full", 7, on="n1"),)),
    ):
        seen = snapshot(of, nodes, [runs, *beside])
        assert moved_to(decided(seen, state)) == {"runs": "nebius"}
        plan = decided(msgspec.structs.replace(seen, moves=(pod_move(gone, "aws", at=NOW - 1, order=1),)), state)
        assert moved_to(plan) == {}
        assert stay_of(plan, "runs").reason is Reason.WOULD_STRAND
    # One that may not go there has no place to keep.
    tied = msgspec.structs.replace(gone, allowed=())
    flown = (pod_move(tied, "aws", at=NOW - 1, order=1),)
    assert moved_to(decided(msgspec.structs.replace(seen, moves=flown), state)) != {}


def test_a_move_whose_standby_fails_has_its_next_place_kept() -> None:
    gone, runs = owned("gone", on="n1", age=60), owned("runs", on="n2")
    of = pool(provider("aws"), provider("nebius"), provider("crusoe"))
    state = pool_state(node_faults=faults_of("n1", "n2"), breakers={"nebius": opened()})
    full = (pod("full", 8, on="a1"), pod("most", 7, on="c1"))
    seen = snapshot(of, [node("a1"), unhealthy_node("n1"), unhealthy_node("n2"), node("c1")], [runs, *full])
    assert moved_to(decided(seen, state)) == {"runs": "crusoe"}
    flown = (pod_move(gone, "nebius", at=NOW - 1, order=1),)
    assert moved_to(decided(msgspec.structs.replace(seen, moves=flown), state)) == {}


def test_the_replacement_is_sent_on_at_once() -> None:
    gone = owned("gone", 8, on="n1")
    new = pod("new", 8, owner="rs-1", waited=1)
    seen = snapshot(
        pool(), [node("a1"), node("n2")], [pod("full", 8, on="a1"), new], moves=(pod_move(gone, "nebius", at=NOW - 1),)
    )
    assert sent_to(decided(seen)) == {"new": "nebius"}
    assert holds(decided(msgspec.structs.replace(seen, moves=()))) == {"new": Reason.BELOW_PENDING_SECONDS}
