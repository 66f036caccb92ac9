"""Where the replacements of moved pods went: each outcome of a move is told once, as soon as it is known."""

from collections.abc import Iterable, Mapping
from typing import Final

from computepool.model.moves import TOLD, Outcome, PodMove
from computepool.model.reasons import Reason

REASONS: Final[Mapping[Outcome, Reason]] = {
    Outcome.REPLACED: Reason.MOVE_COMPLETED,
    Outcome.ELSEWHERE: Reason.LANDED_ELSEWHERE,
    Outcome.RETURNED: Reason.MOVE_RETURNED,
    Outcome.NOT_REPLACED: Reason.NOT_REPLACED,
}
"""The reason of the event about each outcome that is told."""


class MoveOutcomes:
    """Remembers which outcomes were told."""

    def __init__(self) -> None:
        """Nothing was told yet."""
        self._told: dict[str, dict[str, Outcome]] = {}
        """By pool and pod uid: the last outcome."""

    def news(self, pool: str, moves: Iterable[PodMove]) -> list[PodMove]:
        """Return the moves whose outcome was not told yet; Ready counts as Replaced."""
        told = self._told.get(pool, {})
        ended = [move for move in moves if move.let_go and outcome_of(move) in TOLD]
        self._told[pool] = {move.pod.uid: outcome_of(move) for move in ended}
        return [move for move in ended if told.get(move.pod.uid) is not outcome_of(move)]

    def forget(self, pool: str) -> None:
        """Drop a pool that is gone."""
        self._told.pop(pool, None)


def outcome_of(move: PodMove) -> Outcome:
    """Return the outcome as it is told: a replacement that was Ready has been told as bound."""
    was_ready = move.outcome in (Outcome.READY, Outcome.UNREADY, Outcome.LOST)
    return Outcome.REPLACED if was_ready else move.outcome
