"""Pods that should move and stay, gathered up to a number that a person would read."""

from typing import Final

from computepool.decide.plan import BlockedMove
from computepool.model.cluster import Pod
from computepool.model.reasons import Reason

MOST: Final = 200


class BlockedMoves:
    """The pods that stay in one pass."""

    def __init__(self, now: float) -> None:
        """`now`: a time that is over by then needs no recheck."""
        self._now = now
        self.listed: list[BlockedMove] = []
        self.left_out = 0
        self.recheck_at: float | None = None

    def add(
        self, pod: Pod, reason: Reason, rejected: tuple[tuple[str, Reason], ...] = (), until: float | None = None
    ) -> None:
        """Note why a pod stays, and until when at least."""
        self.recheck(until)
        if len(self.listed) < MOST:
            self.listed.append(BlockedMove(pod, reason, rejected, until))
        else:
            self.left_out += 1

    def recheck(self, at: float | None) -> None:
        """Note when time alone may change something."""
        if at is not None and at > self._now and (self.recheck_at is None or at < self.recheck_at):
            self.recheck_at = at
