r"""The whole life of a move: its stages, the events that lead from stage to stage, and the cause of each event.

A move is the eviction of one running pod and its consequences. Two sources report on it. Each drives its own state
machine, because an answer of the API server may come before or after the matching event of the watch.

`Request`, driven by `act` (act/evictor.py, app/executor.py): the request to let the pod go.

    Decided -> Recorded -> Asked -> LetGo
                                \-> Refused -> Decided ...
    Dropped and Failed end a request that came to nothing: the move is taken back, and the pod's earlier move stands.

`Outcome`, driven by `observe` (observe/moves.py): how the pod and its replacement are seen.

    Runs -> Left -> Replaced -> Ready <-> Unready -> Lost
                \-> Returned, LandedElsewhere, NotReplaced
    Only moves by choice become Unready and Lost: they are watched on, because a program may crash long after it starts.
    A replacement that comes after the move was given up still counts: NotReplaced -> Replaced ...

A move is by choice (a failback, a reschedule, or a drain of a provider that works) or forced. What came of a move
decides when the next move by choice of the same owner may begin (decide/move/owner_history.py).

Everything that affects either machine is in this file. An event that is not in the table of its machine is a defect of
the operator, and raises UnexpectedEventError. Code that counts moves reads the properties of `PodMove`; no other file
compares stages.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec

from computepool.model.cluster import Pod

KEPT_SECONDS: Final = 300.0
"""Moves are remembered at least this long, however short the dwell: limits count moves under way."""
FOLLOWED_SECONDS: Final = 86_400.0
"""A move whose replacement is not Ready is remembered at most this long: the next move by choice of its owner waits."""
WATCHED_SECONDS: Final = 3_600.0
"""A move by choice is remembered at least this long: its replacement may stop to be Ready long after it started."""
PENDING_SECONDS: Final = 120.0
"""After its pod was let go, a move counts as under way for this long while its replacement is not bound. A move to a
provider that still has to make a node may take longer (`PodMove.room_seconds`)."""


class MoveKind(StrEnum):
    """Why a running pod is moved: each kind has its own limits."""

    FAILOVER = "Failover"
    RESCHEDULE = "Reschedule"
    FAILBACK = "Failback"


class Request(StrEnum):
    """The state of the request to let the pod go."""

    DECIDED = "Decided"
    """A pass decided it. The status that counts it is not written yet."""
    RECORDED = "Recorded"
    """The status counts it. The eviction waits for its turn."""
    ASKED = "Asked"
    """The eviction is sent and not answered yet."""
    REFUSED = "Refused"
    """A disruption budget keeps the pod. It is asked for again later."""
    LET_GO = "LetGo"
    """The API server has let the pod go."""
    DROPPED = "Dropped"
    """The last check found no reason for it any more, or no place."""
    FAILED = "Failed"
    """The status was not written, the API server gave another answer or none, or leadership ended."""


class RequestEvent(StrEnum):
    """What happens to a request."""

    DECIDE = "decide"
    """A pass decides the move again (Evictor)."""
    RECORD = "record"
    """The API server has stored the status that counts it (Executor)."""
    ASK = "ask"
    """Its turn has come, and the last check found it right (Evictor)."""
    LET_GO = "let go"
    """The API server accepts the eviction or the deletion."""
    REFUSE = "refuse"
    """The API server refuses it because of a PodDisruptionBudget."""
    DROP = "drop"
    """Its turn has come, and the last check found it wrong."""
    FAIL = "fail"
    """Any other answer, after the wait that it calls for."""


class Outcome(StrEnum):
    """How the pod and its replacement are seen."""

    RUNS = "Runs"
    """The pod is on its node."""
    LEFT = "Left"
    """The pod is terminating or gone, and its replacement is not bound."""
    REPLACED = "Replaced"
    """The replacement is bound on the target provider."""
    READY = "Ready"
    """The replacement is Ready there."""
    UNREADY = "Unready"
    """The replacement was Ready there, and is not Ready any more."""
    LOST = "Lost"
    """The replacement was Ready there, and is gone: it was not Ready any more, or left because of a fault."""
    RETURNED = "Returned"
    """The replacement is bound on the provider that the pod left."""
    ELSEWHERE = "LandedElsewhere"
    """The replacement is bound on another provider than the target and the one that the pod left."""
    NOT_REPLACED = "NotReplaced"
    """No replacement was bound in time, or no owner makes one."""


class OutcomeEvent(StrEnum):
    """What happens to the pod and its replacement, as the watch shows it."""

    LEAVE = "leave"
    """The watch shows the pod terminating, or gone."""
    BIND = "bind"
    """The replacement is bound on the target provider."""
    BIND_BACK = "bind back"
    """The replacement is bound on the provider that the pod left."""
    BIND_ELSEWHERE = "bind elsewhere"
    """The replacement is bound on another provider."""
    BECOME_READY = "become ready"
    """The replacement is Ready."""
    BREAK = "break"
    """The replacement is not Ready any more."""
    LOSE = "lose"
    """The replacement is gone, and was not Ready at the end or was moved because of a fault."""
    GIVE_UP = "give up"
    """PENDING_SECONDS are over since the pod was to end, or the pod has no owner."""


REQUESTS: Final[Mapping[tuple[Request, RequestEvent], Request]] = {
    (Request.DECIDED, RequestEvent.RECORD): Request.RECORDED,
    (Request.DECIDED, RequestEvent.FAIL): Request.FAILED,
    (Request.RECORDED, RequestEvent.ASK): Request.ASKED,
    (Request.RECORDED, RequestEvent.DROP): Request.DROPPED,
    (Request.RECORDED, RequestEvent.FAIL): Request.FAILED,
    (Request.ASKED, RequestEvent.LET_GO): Request.LET_GO,
    (Request.ASKED, RequestEvent.REFUSE): Request.REFUSED,
    (Request.ASKED, RequestEvent.FAIL): Request.FAILED,
    # A refused pod is asked for again. So is a pod that was let go and is still seen running after PENDING_SECONDS.
    (Request.REFUSED, RequestEvent.DECIDE): Request.DECIDED,
    (Request.LET_GO, RequestEvent.DECIDE): Request.DECIDED,
}
OUTCOMES: Final[Mapping[tuple[Outcome, OutcomeEvent], Outcome]] = {
    (Outcome.RUNS, OutcomeEvent.LEAVE): Outcome.LEFT,
    (Outcome.LEFT, OutcomeEvent.BIND): Outcome.REPLACED,
    (Outcome.LEFT, OutcomeEvent.BIND_BACK): Outcome.RETURNED,
    (Outcome.LEFT, OutcomeEvent.BIND_ELSEWHERE): Outcome.ELSEWHERE,
    (Outcome.LEFT, OutcomeEvent.GIVE_UP): Outcome.NOT_REPLACED,
    (Outcome.REPLACED, OutcomeEvent.BECOME_READY): Outcome.READY,
    # Its owner makes another one.
    (Outcome.REPLACED, OutcomeEvent.LOSE): Outcome.LEFT,
    (Outcome.READY, OutcomeEvent.BREAK): Outcome.UNREADY,
    (Outcome.UNREADY, OutcomeEvent.BECOME_READY): Outcome.READY,
    (Outcome.READY, OutcomeEvent.LOSE): Outcome.LOST,
    (Outcome.UNREADY, OutcomeEvent.LOSE): Outcome.LOST,
    # The replacement came late.
    (Outcome.NOT_REPLACED, OutcomeEvent.BIND): Outcome.REPLACED,
    (Outcome.NOT_REPLACED, OutcomeEvent.BIND_BACK): Outcome.RETURNED,
    (Outcome.NOT_REPLACED, OutcomeEvent.BIND_ELSEWHERE): Outcome.ELSEWHERE,
}
# Passes ask thousands of moves about their stage, and to look up a member of an enum takes longer than all the rest.
_LET_GO: Final = Request.LET_GO
_REFUSED: Final = Request.REFUSED
_READY: Final = Outcome.READY
_NOT_REPLACED: Final = Outcome.NOT_REPLACED
_FAILOVER: Final = MoveKind.FAILOVER
UNANSWERED: Final = frozenset({Request.DECIDED, Request.RECORDED, Request.ASKED})
ENDED: Final = frozenset({Request.DROPPED, Request.FAILED})
OPEN: Final = frozenset({Outcome.RUNS, Outcome.LEFT})
"""Outcomes of moves whose replacement is not bound yet."""
TOLD: Final = (Outcome.REPLACED, Outcome.ELSEWHERE, Outcome.RETURNED, Outcome.NOT_REPLACED)
"""Outcomes that show where the replacement went. Ready, Unready and Lost only follow Replaced."""
UNREPLACED: Final = frozenset({Outcome.LEFT, Outcome.NOT_REPLACED})
"""Outcomes of moves for which a replacement is looked for."""
OPEN_OR_UNREPLACED: Final = OPEN | UNREPLACED
STARTING: Final = frozenset({Outcome.RUNS, Outcome.LEFT, Outcome.REPLACED, Outcome.UNREADY})
"""Outcomes of moves whose replacement may still become Ready where it was meant to run."""
_FOLLOWED: Final = frozenset({Outcome.LEFT, Outcome.REPLACED, Outcome.UNREADY})
NOTHING: Final = frozenset({Outcome.RETURNED, Outcome.ELSEWHERE, Outcome.NOT_REPLACED, Outcome.LOST})
"""Outcomes of moves by choice that came to nothing."""


class UnexpectedEventError(Exception):
    """An event that can't happen to a move at its stage: a defect of the operator."""


class PodMove(msgspec.Struct, frozen=True):
    """One move. This process remembers it; a restart forgets it, and waits instead."""

    pod: Pod
    """The pod at the time of the decision."""
    source: str
    """The provider that it leaves."""
    target: str
    """The provider that should take it."""
    kind: MoveKind
    at: float
    """When it was decided; after an answer of the API server, the time of that answer. Seconds since the epoch."""
    request: Request = Request.DECIDED
    outcome: Outcome = Outcome.RUNS
    refused_since: float | None = None
    """Since when disruption budgets refuse it; None if they do not."""
    order: int = 0
    """Event number at which the pod left; until that is seen, at which the move began. A pod with
    `appeared >= order` may be its replacement."""
    replacement: str = ""
    """The uid of the pod that replaces it, once that is seen."""
    unwanted: bool = False
    """Whether its replacement was seen and removed, and its owner has made no other since: it wants fewer pods."""
    landed: str = ""
    """The provider on which the replacement is bound; empty: none of the pool's, or not known."""
    ready_at: float = 0.0
    """Since when the replacement is Ready where it was meant to run; 0 until it is. Unready: since when it was."""
    earlier: "PodMove | None" = None
    """The pod's earlier move, before it was decided again."""
    room_seconds: float = 0.0
    """How long the target is given to make a node for the replacement; 0 if the replacement had a place at once."""
    drain: bool = False
    """Whether the pod leaves a drained provider although nothing is wrong with its node."""
    ends_by: float = 0.0
    """When the terminating pod should be gone (its deletionTimestamp); 0 until that is seen."""

    # --- events

    def on_request(self, event: RequestEvent, **fields: Any) -> "PodMove":
        """Return the move after an event of its request, with these fields changed."""
        after = REQUESTS.get((self.request, event))
        if after is None:
            raise UnexpectedEventError(f"{event} of {self.pod.namespace}/{self.pod.name}, which is {self.request}")
        return msgspec.structs.replace(self, request=after, **fields)

    def on_outcome(self, event: OutcomeEvent, **fields: Any) -> "PodMove":
        """Return the move after an event of its outcome, with these fields changed."""
        after = OUTCOMES.get((self.outcome, event))
        if after is None:
            raise UnexpectedEventError(f"{event} of {self.pod.namespace}/{self.pod.name}, which is {self.outcome}")
        return msgspec.structs.replace(self, outcome=after, **fields)

    def taken_back(self) -> "PodMove | None":
        """Return the move that stands after this request has come to nothing; None if there is none.

        A pod that was let go or refused before stays so. A refused pod waits from this attempt on.
        """
        if self.earlier is None or self.earlier.let_go:
            return self.earlier
        return msgspec.structs.replace(self.earlier, at=self.at)

    # --- what counts

    @property
    def stage(self) -> str:
        """How far the move has come, in one word."""
        return str(self.request if self.outcome is Outcome.RUNS else self.outcome)

    @property
    def unanswered(self) -> bool:
        """Whether the pod may be let go at any moment, without an answer so far."""
        return self.request in UNANSWERED

    @property
    def let_go(self) -> bool:
        """Whether the API server has let the pod go."""
        return self.request is _LET_GO

    @property
    def counts(self) -> bool:
        """Whether limits and dwell count it: the pod was let go, or may be at any moment."""
        return self.request is not _REFUSED

    @property
    def refused(self) -> bool:
        """Whether disruption budgets keep the pod, also during a new attempt."""
        return self.refused_since is not None and not self.let_go

    @property
    def by_choice(self) -> bool:
        """Whether the pod could as well stay: only a forced move leaves what fails."""
        return is_by_choice(self.kind, drain=self.drain)

    @property
    def came_to_nothing(self) -> bool:
        """Whether it is a move by choice, and the pod's replacement is not where it was meant to be, or was lost."""
        return self.outcome in NOTHING and self.by_choice and self.let_go

    @property
    def ended_well(self) -> bool:
        """Whether the replacement has become Ready where it was meant to run, and is Ready as far as is seen."""
        return self.outcome is _READY and self.let_go

    @property
    def awaits_ready(self) -> bool:
        """Whether the owner misses a Ready pod because of this move, or may do so at any moment."""
        if self.outcome not in STARTING and (self.outcome is not _NOT_REPLACED or self.by_choice):
            return False
        return self.counts and bool(self.pod.owner)

    @property
    def is_unreplaced(self) -> bool:
        """Whether the pod was let go, or may be at any moment, and its replacement is not bound."""
        return self.outcome in OPEN_OR_UNREPLACED and self.counts

    @property
    def is_followed(self) -> bool:
        """Whether it is remembered for FOLLOWED_SECONDS, because its end is not known yet."""
        if not self.let_go or not self.pod.owner:
            return False
        awaited = self.by_choice or self.room_seconds > 0.0 or bool(self.replacement)
        return self.outcome in _FOLLOWED or (self.outcome is _NOT_REPLACED and awaited)

    @property
    def has_waiting_replacement(self) -> bool:
        """Whether the pod that replaces it is seen, and not bound."""
        return self.outcome in UNREPLACED and self.let_go and bool(self.replacement)

    @property
    def given_up_at(self) -> float:
        """When the replacement is given up. While the pod terminates, its replacement may have to wait for it."""
        return max(self.at, self.ends_by) + self._patience

    @property
    def pending_until(self) -> float:
        """Until when limits count it while its replacement is not bound.

        It does not wait for its pod: pods on dead nodes never end, and no long grace period may keep other pods there.
        """
        return self.at + self._patience

    @property
    def _patience(self) -> float:
        return max(PENDING_SECONDS, self.room_seconds)

    def is_recent(self, now: float) -> bool:
        """Say whether no other decision about the pod is due. A move by choice waits for its pod to end."""
        return self.unanswered or (self.let_go and now < (self.given_up_at if self.by_choice else self.pending_until))

    def is_limited(self, now: float) -> bool:
        """Say whether limits of moves at once count it."""
        return self.is_under_way(now) and (self.unanswered or now < self.pending_until)

    def is_under_way(self, now: float) -> bool:
        """Say whether the replacement is still awaited."""
        return self.outcome in OPEN and self.is_recent(now)


def is_by_choice(kind: MoveKind, *, drain: bool) -> bool:
    """Say whether a move of this kind is by choice. `drain`: it leaves a drained provider that works."""
    return drain or kind is not _FAILOVER
