"""The moves that this process has made: which are remembered, and what is told of those that are not."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from computepool.decide.move.eligibility import Dwell
from computepool.model.snapshot import MoveKind, Moving, Pod
from computepool.observe.moving import TOLERANCE_SECONDS, UNDER_WAY_SECONDS, UnderWay
from tests.builders import NOW, POOL, pod, pool, snapshot
from tests.unit.observe.storing import Clock

HOUR = 3600.0


def under_way(clock: Clock, **how: Any) -> UnderWay:
    return UnderWay(clock, **how)


def evict(moves: UnderWay, name: str, at: float, **of: Any) -> Pod:
    """Move a pod."""
    one = pod(name, on="n1", owner="rs", **of)
    moves.start(POOL, Moving(one, "nebius", "crusoe", MoveKind.FAILOVER, at))
    moves.evicted(one.uid, at)
    return one


def names(moves: UnderWay) -> list[str]:
    return [one.pod.name for one in moves.of(POOL)]


# -- forgotten


def test_of_too_many_the_oldest_are_forgotten_and_when_the_latest_of_them_was_made_is_told() -> None:
    clock = Clock()
    moves = under_way(clock, remembered=2)
    for number in range(3):
        clock.now = NOW + number * UNDER_WAY_SECONDS
        evict(moves, f"p{number}", clock.now)
        assert moves.forgotten(POOL) == (NOW if number == 2 else None)
    clock.now += 1
    evict(moves, "p3", clock.now)
    assert (names(moves), moves.forgotten(POOL)) == (["p2", "p3"], NOW + UNDER_WAY_SECONDS)


def test_those_that_may_be_under_way_are_not_forgotten() -> None:
    clock = Clock()
    moves = under_way(clock, remembered=2)
    for number in range(5):
        evict(moves, f"p{number}", clock.now)
    assert (len(names(moves)), moves.forgotten(POOL)) == (5, None)


def test_those_whose_dwell_is_over_are_forgotten_which_matters_if_it_is_made_longer() -> None:
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
    moves.start(POOL, Moving(one, "nebius", "crusoe", MoveKind.FAILOVER, NOW))
    moves.refused(one.uid, NOW)
    clock.now += HOUR
    moves.prune(POOL, 0.0)
    assert (names(moves), moves.forgotten(POOL)) == ([], None)


def ask(moves: UnderWay, one: Pod, at: float, of: str = POOL) -> None:
    moves.start(of, Moving(one, "nebius", "crusoe", MoveKind.FAILOVER, at))


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
    assert [(one.asking, one.refused_since) for one in moves.of(POOL)] == [(True, NOW)]
    moves.failed(held.uid)
    assert [(one.asking, one.refused_since, one.at) for one in moves.of(POOL)] == [(False, NOW, NOW + 60)]
    moves.refused(held.uid, clock.now)
    assert [one.refused_since for one in moves.of(POOL)] == [NOW]


def test_a_pod_that_was_let_go_stays_so_whatever_becomes_of_another_request() -> None:
    clock = Clock()
    moves = under_way(clock)
    gone = evict(moves, "gone", NOW)
    clock.now += 60
    ask(moves, gone, clock.now)
    moves.failed(gone.uid)
    moves.failed(gone.uid)
    moves.failed("unknown")
    assert [(one.evicted, one.at) for one in moves.of(POOL)] == [(True, NOW)]


def test_a_pod_that_changes_its_pool_is_moved_by_one_of_them_alone_and_its_refusal_goes_with_it() -> None:
    clock = Clock()
    moves = under_way(clock, remembered=2)
    held = pod("held", on="n1")
    ask(moves, held, NOW)
    moves.refused(held.uid, NOW)
    clock.now += 200
    ask(moves, held, clock.now, "other")
    assert (moves.of(POOL), moves.forgotten(POOL)) == ((), None)
    assert [one.refused_since for one in moves.of("other")] == [NOW]
    moves.evicted(held.uid, clock.now)
    clock.now += 110
    moves.prune(POOL, 0.0)
    moves.prune("other", 0.0)
    assert [one.evicted for one in moves.of("other")] == [True]
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


# -- the clock


def test_where_the_clock_is_set_back_what_lies_in_the_future_counts_as_made_just_now() -> None:
    clock = Clock()
    moves = under_way(clock)
    evict(moves, "before", NOW - 2 * HOUR)
    evict(moves, "lately", NOW)
    held = pod("held", on="n1")
    moves.start(POOL, Moving(held, "nebius", "crusoe", MoveKind.FAILOVER, NOW))
    moves.refused(held.uid, NOW)
    clock.now -= HOUR
    found = {one.pod.name: (one.at, one.refused_since) for one in moves.of(POOL)}
    assert found == {
        "before": (NOW - 2 * HOUR, None),
        "lately": (clock.now, None),
        "held": (clock.now, clock.now),
    }
    assert (moves.since(POOL), moves.forgotten(POOL)) == (clock.now, None)


def test_an_answer_to_what_was_asked_before_the_clock_was_set_back_is_of_now() -> None:
    clock = Clock()
    moves = under_way(clock)
    one = pod("p", on="n1")
    moves.start(POOL, Moving(one, "nebius", "crusoe", MoveKind.FAILOVER, NOW))
    clock.now -= HOUR
    moves.evicted(one.uid, NOW)
    assert [found.at for found in moves.of(POOL)] == [clock.now]


def test_a_clock_that_is_corrected_by_a_little_changes_nothing() -> None:
    clock = Clock()
    moves = under_way(clock)
    evict(moves, "p", NOW)
    clock.now -= 0.9
    assert [one.at for one in moves.of(POOL)] == [NOW]
    assert (moves.since(POOL), moves.forgotten(POOL)) == (NOW, None)
    # By a little again and again is by much.
    clock.now -= 0.9
    assert [one.at for one in moves.of(POOL)] == [clock.now]


# -- order: what has appeared since a pod left


def order(moves: UnderWay) -> dict[str, int]:
    return {one.pod.name: one.left for one in moves.of(POOL)}


def start(moves: UnderWay, one: Pod) -> None:
    moves.start(POOL, Moving(one, "nebius", "crusoe", MoveKind.FAILOVER, NOW))


def test_a_pod_left_when_its_move_began_until_it_is_seen_to() -> None:
    moves = under_way(Clock())
    one = evict(moves, "one", NOW)
    evict(moves, "two", NOW)
    assert (moves.order, order(moves)) == (2, {"one": 1, "two": 2})
    moves.left(one.uid)
    moves.left("uid of a pod that nobody moves")
    assert (moves.order, order(moves)) == (3, {"one": 3, "two": 2})


def test_of_a_refused_move_that_is_asked_for_again_what_appeared_before_replaces_nobody() -> None:
    moves = under_way(Clock())
    held = pod("held", on="n1", owner="rs")
    start(moves, held)
    moves.refused(held.uid, NOW)
    start(moves, held)
    assert order(moves) == {"held": 2}


def test_of_one_that_was_let_go_and_is_asked_for_again_the_replacement_may_have_appeared() -> None:
    moves = under_way(Clock())
    one = evict(moves, "stuck", NOW)
    evict(moves, "p", NOW)
    start(moves, one)
    assert order(moves) == {"stuck": 1, "p": 2}
    moves.failed(one.uid)
    assert order(moves) == {"stuck": 1, "p": 2}


# -- always

DWELLS = st.sampled_from((0, 60, 600, 7200, 86_400))
STEPS = st.one_of(
    st.tuples(st.just("move"), st.floats(0, 5)),
    st.tuples(st.just("move"), st.floats(0, 5)),
    st.tuples(st.just("wait"), st.sampled_from((0.3, 7.0, 61.0, 301.0, 650.0, 7300.0))),
    st.tuples(st.just("set back"), st.sampled_from((0.5, 3.0, 90.0, 5000.0, 200_000.0))),
    st.tuples(st.just("dwell"), DWELLS),
)


class Played:
    """Moves, in the time of the API server; the operator's clock is right at first, and is only ever set back."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.ahead = 0.0
        self.dwell = 600.0
        self.moves = under_way(self.clock, remembered=3)
        self.made: list[tuple[float, Pod]] = []
        """When each move was made, by the API server's clock, and the pod that took the moved one's place."""

    @property
    def true(self) -> float:
        return self.clock.now + self.ahead

    def do(self, what: str, much: float) -> None:
        if what == "move":
            self._move(after=much)
        elif what == "wait":
            self.clock.now += much
        elif what == "set back":
            self.clock.now -= much
            self.ahead += much
        else:
            self.dwell = much
        self.moves.prune(POOL, self.dwell)

    def _move(self, after: float) -> None:
        at, number = self.true, len(self.made)
        evict(self.moves, f"p{number}", self.clock.now, created=at - HOUR)
        new = pod(f"r{number}", on="c1", owner="rs", created=float(int(at + after)), appeared=self.moves.order)
        self.made.append((at, new))

    def check(self) -> None:
        of = msgspec.structs.replace(
            snapshot(pool()), moving=self.moves.of(POOL), moves_forgotten=self.moves.forgotten(POOL)
        )
        dwell = Dwell(of, self.dwell, None, self.clock.now)
        for at, new in self.made:
            until = dwell.until(new)
            if self.true < at + self.dwell:
                assert until is not None, f"{new.name} was moved {self.true - at} s ago and may be moved again"
            # However far the clock was set back: nobody waits for much longer than the dwell from now on.
            assert until is None or until <= self.clock.now + self.dwell + TOLERANCE_SECONDS


@given(st.lists(STEPS, max_size=25))
def test_whatever_is_forgotten_and_however_the_clock_is_set_back_what_was_moved_dwells(
    steps: list[tuple[str, float]],
) -> None:
    played = Played()
    for what, much in steps:
        played.do(what, much)
        played.check()
