"""Which pods may have been created in the place of one that is moved: those that appear once it is seen leaving."""

from __future__ import annotations

from computepool.decide.move.pending_moves import LatestMoves
from computepool.model.cluster import Pod
from computepool.model.moves import MoveKind, PodMove
from tests.builders import NOW, namespace, node, pod, pool
from tests.unit.observe.storing import AT, changed, filled, put


class Leaving:
    """A pod of an owner that is moved, and what is known of its siblings."""

    def __init__(self) -> None:
        self.store = filled(pool(), namespace(), node("a1"))
        self.moved = self.sibling("moved")
        self.sibling("there")
        moving = PodMove(self.moved, "aws", "nebius", MoveKind.FAILOVER, at=NOW)
        self.store.moves.start("inference", moving)
        self.sibling("between")

    def sibling(self, name: str) -> Pod:
        one = pod(name, on="a1", owner="rs-1")
        put(self.store, one)
        return one

    def may_replace(self) -> set[str]:
        (one,) = self.store.moves.of("inference")
        others = (held for held in self.store.pods() if held.uid != self.moved.uid)
        return {held.name for held in others if LatestMoves([one]).before(held) is not None}


def test_what_appeared_before_a_pod_was_seen_leaving_does_not_replace_it() -> None:
    leaving = Leaving()
    assert leaving.may_replace() == {"between"}
    put(leaving.store, changed(leaving.moved, deleting=NOW + 30))
    leaving.sibling("new")
    assert leaving.may_replace() == {"new"}
    # Its end, and what changes of the others, is no news about that.
    leaving.store.drop_pod(leaving.moved.uid, AT)
    leaving.sibling("between")
    put(leaving.store, pod("new", on="a1", owner="rs-1", ready=True))
    assert leaving.may_replace() == {"new"}


def test_a_pod_that_vanishes_at_once_was_seen_leaving_too() -> None:
    leaving = Leaving()
    leaving.store.drop_pod(leaving.moved.uid, AT)
    leaving.sibling("new")
    assert leaving.may_replace() == {"new"}


def test_a_list_does_not_tell_what_appeared_first() -> None:
    leaving = Leaving()
    leaving.sibling("new")
    leaving.store.put_pod(changed(leaving.moved, deleting=NOW + 30), AT, listed=True)
    put(leaving.store, changed(leaving.moved, deleting=NOW + 30, ready=True))
    assert leaving.may_replace() == {"between", "new"}
    leaving = Leaving()
    leaving.sibling("new")
    leaving.store.drop_pod(leaving.moved.uid, AT, listed=True)
    assert leaving.may_replace() == {"between", "new"}
