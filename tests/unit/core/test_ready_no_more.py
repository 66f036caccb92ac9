"""A move by choice whose replacement is not Ready any more did not end well after all."""

from __future__ import annotations

from typing import Any

import msgspec

from computepool.model.moves import MoveKind, Outcome
from computepool.model.reasons import Reason
from tests.builders import NOW, node, pod_move, pool, snapshot
from tests.unit.core.moving import CALM, blocked, owned
from tests.unit.core.passes import decided

SPEC: dict[str, Any] = {
    "failback": {"policy": "WhenStable", "minDwellSeconds": 60, "stableSeconds": 30, "maxConcurrentMoves": 9}
}


def test_a_replacement_that_is_ready_no_more_takes_the_place_of_a_move_under_way() -> None:
    gone = owned("gone", on="n1")
    move = pod_move(gone, "aws", at=NOW - 400, source="nebius", kind=MoveKind.FAILBACK, order=1)
    move = msgspec.structs.replace(move, outcome=Outcome.READY, replacement="uid-default-new")
    web = [owned(f"web-{index}", on="n1", ready=True) for index in range(6)]

    def plan(**fields: Any) -> dict[str, Reason]:
        new = owned("new", on="a1", created=NOW - 399, appeared=2, **fields)
        of = pool(**SPEC)
        return blocked(decided(snapshot(of, [node("a1"), node("n1")], [new, *web], moves=(move,)), CALM))

    assert Reason.AWAITS_REPLACEMENT in plan(ready=False).values()
    assert len(plan(ready=True)) == len(web) - 1
    assert len(plan(ready=False)) == len(web)
