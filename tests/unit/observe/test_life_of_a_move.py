"""The life of a move, played in any order: act and the watch tell what happens, and a pass reads what counts."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from computepool.model.cluster import Pod
from computepool.model.moves import (
    ENDED,
    OUTCOMES,
    PENDING_SECONDS,
    REQUESTS,
    UNANSWERED,
    MoveKind,
    Outcome,
    OutcomeEvent,
    PodMove,
    Request,
    RequestEvent,
    UnexpectedEventError,
)
from computepool.observe.moves import Moves
from tests.builders import NOW, POOL, pod
from tests.unit.observe.storing import Clock, changed

TARGET, OTHER = "crusoe", "aws"
FINAL = (Outcome.LOST, Outcome.RETURNED, Outcome.ELSEWHERE)
"""A replacement that comes late still counts, so NotReplaced is not among them. Ready is final for forced moves."""


# -- the tables


def test_every_stage_is_reached_and_every_event_leads_somewhere() -> None:
    assert {Request.DECIDED, *REQUESTS.values()} == set(Request)
    assert {Outcome.RUNS, *OUTCOMES.values()} == set(Outcome)
    assert {event for _, event in REQUESTS} == set(RequestEvent)
    assert {event for _, event in OUTCOMES} == set(OutcomeEvent)


def test_an_unanswered_request_can_come_to_nothing_and_an_ended_one_leads_nowhere() -> None:
    assert all((request, RequestEvent.FAIL) in REQUESTS for request in UNANSWERED)
    assert not [request for request, _ in REQUESTS if request in ENDED]


@pytest.mark.parametrize("event", RequestEvent)
@pytest.mark.parametrize("request_", Request)
def test_an_event_that_can_not_happen_at_a_stage_of_the_request_is_an_error(
    request_: Request, event: RequestEvent
) -> None:
    move = PodMove(pod("p", on="n1"), "nebius", TARGET, MoveKind.FAILOVER, NOW, request=request_)
    if (request_, event) in REQUESTS:
        assert move.on_request(event).request is REQUESTS[request_, event]
        return
    with pytest.raises(UnexpectedEventError, match=f"{event} of default/p, which is {request_}"):
        move.on_request(event)


@pytest.mark.parametrize("event", OutcomeEvent)
@pytest.mark.parametrize("outcome", Outcome)
def test_an_event_that_can_not_happen_at_a_stage_of_the_outcome_is_an_error(
    outcome: Outcome, event: OutcomeEvent
) -> None:
    move = PodMove(pod("p", on="n1"), "nebius", TARGET, MoveKind.FAILOVER, NOW, outcome=outcome)
    if (outcome, event) in OUTCOMES:
        assert move.on_outcome(event).outcome is OUTCOMES[outcome, event]
        return
    with pytest.raises(UnexpectedEventError, match=f"{event} of default/p, which is {outcome}"):
        move.on_outcome(event)


# -- played in any order


@dataclass
class Asked:
    """What a test knows of one pod's move."""

    pod: Pod
    request: Request = Request.DECIDED
    at: float = NOW
    was_let_go: bool = False
    was_refused: bool = False
    left: bool = False


class Life(RuleBasedStateMachine):
    """One owner, whose pods are moved off a provider; it makes another pod for each that is gone."""

    @initialize()
    def begin(self) -> None:
        self.clock = Clock()
        self.moves = Moves(self.clock)
        self.pods: dict[str, Pod] = {}
        self.asked: dict[str, Asked] = {}
        self.ended: dict[str, Outcome] = {}
        self.numbers = itertools.count()
        self.owed = 0
        for _ in range(3):
            self.appear(on="n1")

    def appear(self, on: str = "") -> Pod:
        made = pod(f"p{next(self.numbers)}", on=on, owner="rs", created=self.clock.now, appeared=self.moves.order)
        self.pods[made.uid] = made
        return made

    def running(self) -> list[Pod]:
        busy = {uid for uid, known in self.asked.items() if known.request in UNANSWERED or known.was_let_go}
        return [one for one in self.pods.values() if one.node and one.deleting is None and one.uid not in busy]

    def at(self, *stages: Request) -> list[Asked]:
        return [known for known in self.asked.values() if known.request in stages]

    # --- act

    @precondition(lambda self: self.running())
    @rule(data=st.data(), kind=st.sampled_from((MoveKind.FAILOVER, MoveKind.FAILBACK)))
    def decide(self, data: st.DataObject, kind: MoveKind) -> None:
        chosen = data.draw(st.sampled_from(self.running()))
        before = self.asked.get(chosen.uid)
        self.asked[chosen.uid] = Asked(chosen, at=self.clock.now, was_refused=bool(before and before.was_refused))
        self.moves.start(POOL, PodMove(chosen, "nebius", TARGET, kind, self.clock.now))

    @precondition(lambda self: self.at(Request.DECIDED))
    @rule(data=st.data())
    def record(self, data: st.DataObject) -> None:
        known = data.draw(st.sampled_from(self.at(Request.DECIDED)))
        known.request = Request.RECORDED
        self.moves.recorded(known.pod.uid)

    @precondition(lambda self: self.at(Request.RECORDED))
    @rule(data=st.data(), right=st.booleans())
    def take_its_turn(self, data: st.DataObject, right: bool) -> None:
        known = data.draw(st.sampled_from(self.at(Request.RECORDED)))
        if right and not known.left:
            known.request = Request.ASKED
            self.moves.asked(known.pod.uid)
        else:
            self.take_back(known)
            self.moves.dropped(known.pod.uid)

    @precondition(lambda self: self.at(Request.ASKED))
    @rule(data=st.data(), answer=st.sampled_from(("let go", "let go", "refused")))
    def answer(self, data: st.DataObject, answer: str) -> None:
        known = data.draw(st.sampled_from(self.at(Request.ASKED)))
        known.at = self.clock.now
        if answer == "let go":
            known.request, known.was_let_go, known.was_refused = Request.LET_GO, True, False
            self.moves.let_go(known.pod.uid, self.clock.now)
        else:
            known.request, known.was_refused = Request.REFUSED, True
            self.moves.refused(known.pod.uid, self.clock.now)

    @precondition(lambda self: self.at(*UNANSWERED))
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        known = data.draw(st.sampled_from(self.at(*UNANSWERED)))
        self.take_back(known)
        self.moves.failed(known.pod.uid)

    def take_back(self, known: Asked) -> None:
        if known.was_refused:
            known.request = Request.REFUSED
        else:
            del self.asked[known.pod.uid]

    # --- the watch

    @rule(data=st.data(), at_once=st.booleans())
    def leave(self, data: st.DataObject, at_once: bool) -> None:
        """A pod ends, moved or not, asked for or not: at once, or it terminates first."""
        bound = [one for one in self.pods.values() if one.node]
        if not bound:
            return
        chosen = data.draw(st.sampled_from(bound))
        if chosen.deleting is None:
            self.owed += 1
            self.moves.left(chosen.uid)
            if chosen.uid in self.asked:
                self.asked[chosen.uid].left = True
        if at_once or chosen.deleting is not None:
            del self.pods[chosen.uid]
        else:
            self.pods[chosen.uid] = changed(chosen, deleting=self.clock.now + 30)

    @precondition(lambda self: self.owed)
    @rule()
    def replace(self) -> None:
        self.owed -= 1
        self.appear()

    @rule(data=st.data(), node=st.sampled_from(("c1", "c1", "a1", "unseen")))
    def bind(self, data: st.DataObject, node: str) -> None:
        waiting = [one for one in self.pods.values() if not one.node]
        if waiting:
            chosen = data.draw(st.sampled_from(waiting))
            self.pods[chosen.uid] = changed(chosen, node=node)

    @rule(data=st.data())
    def become_ready(self, data: st.DataObject) -> None:
        bound = [one for one in self.pods.values() if one.node and one.deleting is None]
        if bound:
            chosen = data.draw(st.sampled_from(bound))
            self.pods[chosen.uid] = changed(chosen, ready=True)

    @rule(data=st.data())
    def break_down(self, data: st.DataObject) -> None:
        ready = [one for one in self.pods.values() if one.ready and one.deleting is None]
        if ready:
            chosen = data.draw(st.sampled_from(ready))
            self.pods[chosen.uid] = changed(chosen, ready=False)

    @rule(seconds=st.sampled_from((0.4, 20.0, 119.0, 121.0)))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    # --- a pass

    def look(self) -> tuple[PodMove, ...]:
        providers: dict[str, str | None] = {"n1": "nebius", "c1": TARGET, "a1": OTHER, "unseen": None}
        return self.moves.followed(
            POOL, self.pods.values, self.pods.get, lambda one: providers[one.node] if one.node else ""
        )

    @invariant()
    def what_is_known_is_what_happened(self) -> None:
        moves = {move.pod.uid: move for move in self.look()}
        assert moves.keys() == self.asked.keys()
        for uid, known in self.asked.items():
            move, there = moves[uid], self.pods.get(uid)
            assert move.request is known.request
            assert (move.outcome is Outcome.RUNS) == (there is not None and there.deleting is None)
            assert move.counts == (known.request is not Request.REFUSED)
            assert (move.refused_since is not None) == known.was_refused
            ends = max(known.at, move.ends_by) if move.by_choice else known.at
            recent = known.request in UNANSWERED or (known.was_let_go and self.clock.now < ends + PENDING_SECONDS)
            assert move.is_recent(self.clock.now) == recent
            if move.is_under_way(self.clock.now):
                assert move.outcome in (Outcome.RUNS, Outcome.LEFT)

    @invariant()
    def a_replacement_replaces_one_pod_and_appeared_after_it_had_left(self) -> None:
        moves = self.look()
        replaced = [move.replacement for move in moves if move.replacement]
        assert len(set(replaced)) == len(replaced)
        for move in moves:
            by = self.pods.get(move.replacement)
            if by is not None:
                assert by.appeared >= move.order
                if move.outcome in (Outcome.REPLACED, Outcome.READY):
                    assert by.node == "c1" or by.uid in self.asked
            if move.outcome is Outcome.NOT_REPLACED:
                assert move.let_go
                assert self.clock.now >= max(move.at, move.ends_by) + PENDING_SECONDS

    @invariant()
    def a_story_that_has_ended_stays_as_it_is(self) -> None:
        moves = {move.pod.uid: move for move in self.look()}
        for uid, outcome in self.ended.items():
            assert uid not in moves or moves[uid].outcome is outcome
        self.ended.update(
            {
                uid: move.outcome
                for uid, move in moves.items()
                if move.outcome in FINAL or (move.outcome is Outcome.READY and not move.by_choice)
            }
        )


Life.TestCase.settings = settings(max_examples=100, stateful_step_count=50)
TestLife = Life.TestCase
