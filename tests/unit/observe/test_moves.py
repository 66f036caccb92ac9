"""The moves that this process has made: which are remembered, and what is told of those that are not."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from computepool.decide.move.dwell import Dwell
from computepool.model.cluster import Pod
from computepool.model.moves import KEPT_SECONDS, MoveKind, PodMove, Request
from computepool.observe.moves import Moves
from tests.builders import NOW, POOL, pod, pool, snapshot
from tests.unit.observe.storing import Clock

HOUR = 3600.0


def under_way(clock: Clock, **how: Any) -> Moves:
    return Moves(clock, **how)


def evict(moves: Moves, name: str, at: float, **of: Any) -> Pod:
    """Move a pod."""
    one = pod(name, on="n1", owner="rs", **of)
    ask(moves, one, at)
    moves.let_go(one.uid, at)
    return one


def ask(moves: Moves, one: Pod, at: float, of: str = POOL) -> None:
    """Ask for a pod's eviction."""
    moves.start(of, PodMove(one, "nebius", "crusoe", MoveKind.FAILOVER, at))
    moves.recorded(one.uid)
    moves.asked(one.uid)


def names(moves: Moves) -> list[str]:
    return [move.pod.name for move in moves.of(POOL)]


# -- forgotten


def test_of_too_many_moves_the_oldest_are_forgotten_and_the_time_of_the_newest_forgotten_is_kept() -> None:
    clock = Clock()
    moves = under_way(clock, remembered=2)
    for number in range(3):
        clock.now = NOW + number * KEPT_SECONDS
        evict(moves, f"p{number}", clock.now)
        assert moves.forgotten(POOL) == (NOW if number == 2 else None)
    clock.now += 1
    evict(moves, "p3", clock.now)
    assert (names(moves), moves.forgotten(POOL)) == (["p2", "p3"], NOW + KEPT_SECONDS)


def test_moves_that_may_be_under_way_are_not_forgotten() -> None:
    clock = Clock()
    moves = under_way(clock, remembered=2)
    for number in range(5):
        evict(moves, f"p{number}", clock.now)
    assert (len(names(moves)), moves.forgotten(POOL)) == (5, None)


def test_moves_are_forgotten_after_their_dwell_and_that_matters_if_the_dwell_is_made_longer() -> None:
    clock = Clock()
    moves = under_way(clock)
    evict(moves, "old", clock.now)
    clock.now += HOUR
    moves.prune(POOL, HOUR)
    assert (names(moves), moves.forgotten(POOL)) == (["old"], None)
    clock.now += 1
    moves.prune(POOL, HOUR)
    assert (names(moves), moves.forgotten(POOL)) == ([], NOW)


def test_what_was_refused_was_no_move() -> None:
    clock = Clock()
    moves = under_way(clock)
    one = pod("held", on="n1")
    ask(moves, one, NOW)
    moves.refused(one.uid, NOW)
    clock.now += HOUR
    moves.prune(POOL, 0.0)
    assert (names(moves), moves.forgotten(POOL)) == ([], None)


def test_what_is_not_answered_is_not_forgotten_however_old_it_is_or_many_there_are() -> None:
    clock = Clock()
    moves = under_way(clock, remembered=2)
    for number in range(4):
        ask(moves, pod(f"p{number}", on="n1"), clock.now)
    clock.now += 10 * HOUR
    moves.prune(POOL, 0.0)
    ask(moves, pod("p4", on="n1"), clock.now)
    assert (names(moves), moves.forgotten(POOL)) == ([f"p{number}" for number in range(5)], None)


def test_a_move_that_comes_to_nothing_leaves_an_earlier_refusal_as_it_was() -> None:
    clock = Clock()
    moves = under_way(clock)
    held = pod("held", on="n1")
    ask(moves, held, NOW)
    moves.refused(held.uid, NOW)
    clock.now += 60
    ask(moves, held, clock.now)
    assert [(move.request, move.refused_since) for move in moves.of(POOL)] == [(Request.ASKED, NOW)]
    moves.failed(held.uid)
    assert [(move.request, move.refused_since, move.at) for move in moves.of(POOL)] == [
        (Request.REFUSED, NOW, NOW + 60)
    ]
    ask(moves, held, clock.now)
    moves.refused(held.uid, clock.now)
    assert [move.refused_since for move in moves.of(POOL)] == [NOW]


def test_a_pod_that_was_let_go_stays_so_whatever_becomes_of_another_request() -> None:
    clock = Clock()
    moves = under_way(clock)
    gone = evict(moves, "gone", NOW)
    clock.now += 60
    ask(moves, gone, clock.now)
    moves.failed(gone.uid)
    moves.failed("unknown")
    assert [(move.let_go, move.at) for move in moves.of(POOL)] == [(True, NOW)]


def test_a_pod_that_changes_its_pool_is_moved_by_one_of_them_alone_and_its_refusal_goes_with_it() -> None:
    clock = Clock()
    moves = under_way(clock, remembered=2)
    held = pod("held", on="n1")
    ask(moves, held, NOW)
    moves.refused(held.uid, NOW)
    clock.now += 200
    ask(moves, held, clock.now, "other")
    assert (moves.of(POOL), moves.forgotten(POOL)) == ((), None)
    assert [move.refused_since for move in moves.of("other")] == [NOW]
    moves.let_go(held.uid, clock.now)
    clock.now += 110
    moves.prune(POOL, 0.0)
    moves.prune("other", 0.0)
    assert [move.let_go for move in moves.of("other")] == [True]
    ask(moves, held, clock.now)
    assert (names(moves), moves.of("other"), moves.forgotten("other")) == (["held"], (), NOW + 200)


def test_a_pool_that_is_gone_leaves_nothing() -> None:
    clock = Clock()
    moves = under_way(clock)
    moves.take(POOL)
    evict(moves, "p", NOW)
    clock.now += HOUR
    moves.prune(POOL, 0.0)
    moves.forget(POOL)
    assert (moves.since(POOL), moves.forgotten(POOL), names(moves)) == (NOW, None, [])


# -- order: what has appeared since a pod left


def order(moves: Moves) -> dict[str, int]:
    return {move.pod.name: move.order for move in moves.of(POOL)}


def test_a_pod_left_when_its_move_began_until_it_is_seen_to() -> None:
    moves = under_way(Clock())
    one = evict(moves, "one", NOW)
    evict(moves, "two", NOW)
    assert (moves.order, order(moves)) == (2, {"one": 1, "two": 2})
    moves.left(one.uid)
    moves.left("uid of a pod that nobody moves")
    assert (moves.order, order(moves)) == (3, {"one": 3, "two": 2})


def test_a_pod_that_appeared_before_a_second_request_of_a_refused_move_is_no_replacement() -> None:
    moves = under_way(Clock())
    held = pod("held", on="n1", owner="rs")
    ask(moves, held, NOW)
    moves.refused(held.uid, NOW)
    ask(moves, held, NOW)
    assert order(moves) == {"held": 2}


def test_a_pod_that_appeared_before_a_second_request_after_it_was_let_go_may_be_the_replacement() -> None:
    moves = under_way(Clock())
    one = evict(moves, "stuck", NOW)
    evict(moves, "p", NOW)
    ask(moves, one, NOW)
    assert order(moves) == {"stuck": 1, "p": 2}
    moves.failed(one.uid)
    assert order(moves) == {"stuck": 1, "p": 2}


# -- always

DWELLS = st.sampled_from((0, 60, 600, 7200, 86_400))
STEPS = st.one_of(
    st.tuples(st.just("move"), st.floats(0, 5)),
    st.tuples(st.just("move"), st.floats(0, 5)),
    st.tuples(st.just("wait"), st.sampled_from((0.3, 7.0, 61.0, 301.0, 650.0, 7300.0))),
    st.tuples(st.just("dwell"), DWELLS),
)


class Played:
    """Moves, and what a pass makes of them."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.dwell = 600.0
        self.moves = under_way(self.clock, remembered=3)
        self.made: list[tuple[float, Pod]] = []
        """When each move was made, and the pod that took the moved one's place."""

    def do(self, what: str, much: float) -> None:
        if what == "move":
            self._move(after=much)
        elif what == "wait":
            self.clock.now += much
        else:
            self.dwell = much
        self.moves.prune(POOL, self.dwell)

    def _move(self, after: float) -> None:
        at, number = self.clock.now, len(self.made)
        evict(self.moves, f"p{number}", self.clock.now, created=at - HOUR)
        new = pod(f"r{number}", on="c1", owner="rs", created=float(int(at + after)), appeared=self.moves.order)
        self.made.append((at, new))

    def check(self) -> None:
        of = msgspec.structs.replace(
            snapshot(pool()), moves=self.moves.of(POOL), moves_forgotten=self.moves.forgotten(POOL)
        )
        dwell = Dwell(of, self.dwell, None, self.clock.now)
        for at, new in self.made:
            until = dwell.until(new)
            if self.clock.now < at + self.dwell:
                assert until is not None, f"{new.name} was moved {self.clock.now - at} s ago and may be moved again"
            # Pods' creation times are of another clock, to the second: no pod waits for much longer than the dwell.
            assert until is None or until <= self.clock.now + self.dwell + 1


@given(st.lists(STEPS, max_size=25))
def test_whatever_is_forgotten_what_was_moved_dwells(
    steps: list[tuple[str, float]],
) -> None:
    played = Played()
    for what, much in steps:
        played.do(what, much)
        played.check()
