"""Collects the blocked moves of a pass, up to a limit for the size of a plan."""

from typing import Final

from computepool.decide.plan import BlockedMove
from computepool.model.cluster import Pod
from computepool.model.reasons import Reason

MAX_LISTED: Final = 200
"""How many blocked moves the plans of the operator list."""


class BlockedMoves:
    """The blocked moves of one pass."""

    def __init__(self, now: float, most: int = MAX_LISTED) -> None:
        """`now`: the time of the pass. Only later times need a recheck. `most`: how many are listed."""
        self._now = now
        self._most = most
        self.listed: list[BlockedMove] = []
        self.left_out = 0
        self.recheck_at: float | None = None

    def add(
        self, pod: Pod, reason: Reason, rejected: tuple[tuple[str, Reason], ...] = (), until: float | None = None
    ) -> None:
        """Add a blocked move. `until`: the pod stays at least until this time."""
        self.recheck(until)
        if len(self.listed) < self._most:
            self.listed.append(BlockedMove(pod, reason, rejected, until))
        else:
            self.left_out += 1

    def recheck(self, at: float | None) -> None:
        """Ask for a pass at this time, unless an earlier time is known."""
        if at is not None and at > self._now and (self.recheck_at is None or at < self.recheck_at):
            self.recheck_at = at
