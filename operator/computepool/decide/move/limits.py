"""Limits the number of moves. Invariant 6: moves stay within maxConcurrentMoves and perMinute.

Failover and reschedule share the limits of `failover`; failback has its own limits. The snapshot has the moves of this
process. The recorded state has the moves of earlier leaders, with times in whole seconds.
"""

from math import ceil, floor
from typing import Final

import msgspec

from computepool.decide.move.pending_moves import FORCED, HOMEWARD, Kinds, PendingMoves
from computepool.decide.plan import Move
from computepool.model.api import PoolSpec
from computepool.model.moves import MoveKind
from computepool.model.snapshot import Snapshot
from computepool.model.state import RecentMoves

MINUTE: Final = 60.0
ROUNDING_SECONDS: Final = 1.0
"""Recorded times are whole seconds, rounded down."""


class _Limits(msgspec.Struct, frozen=True):
    kinds: Kinds
    recorded_as: MoveKind
    """The kind that the state records for all of these moves."""
    concurrent: int
    per_minute: int | None


class MoveLimits:
    """Counts the moves of this pass and of earlier passes."""

    def __init__(self, snapshot: Snapshot, pending: PendingMoves, recent: RecentMoves, now: float) -> None:
        """`recent`: the moves that the state records."""
        spec = snapshot.pool.spec
        self._pending = pending
        self._moving = snapshot.moves
        self._recent = recent
        self._now = now
        self._since = snapshot.moves_since
        self._second = self._second_of(now)
        self._all = _limits(spec)
        self._limits = {kind: group for group in self._all for kind in group.kinds}
        self._counting = self._counted_until()
        # Computed once, because each pod asks for them.
        self._remaining = {group.kinds: self._remaining_by(group) for group in self._all}
        self._recheck = {kind: self._recheck_by(group) for group in self._all for kind in group.kinds}

    def remaining(self, kind: MoveKind) -> int:
        """Return how many more moves of the kind may begin in this pass."""
        return max(0, self._remaining[self._limits[kind].kinds])

    def count(self, kind: MoveKind) -> None:
        """Count one more move."""
        self._remaining[self._limits[kind].kinds] -= 1

    def recheck_at(self, kind: MoveKind) -> float | None:
        """Return when a limit of the kind allows a move again, if nothing else changes; None if that is unknown."""
        return self._recheck[kind]

    def recorded(self, moves: tuple[Move, ...]) -> RecentMoves:
        """Return the next `recent_moves`: these moves, and earlier moves up to a minute older than the latest."""
        entries = list(self._recent)
        for limits in self._all:
            begun = [move.pod.uid for move in moves if move.kind in limits.kinds]
            repeated = sum(uid in self._pending.refused for uid in begun)
            # A retry may be refused in many passes. So the entries of this second only need to cover the pods that
            # may leave in it: the new moves, the retries, and the pods that earlier passes asked for. A pod whose
            # eviction was decided in the second before may be recorded twice. That can only slow a later leader.
            entry = (self._second, limits.recorded_as)
            retries = max(0, self._asked(limits.kinds) + repeated - entries.count(entry)) if begun else 0
            entries += [entry] * (len(begun) - repeated + retries)

        latest = max((at for at, _ in entries), default=0.0)
        return tuple(sorted((at, kind) for at, kind in entries if at > latest - MINUTE - ROUNDING_SECONDS))

    def _counted_until(self) -> list[tuple[float, MoveKind]]:
        """Return until when each move of the last minute counts."""
        # The API server may evict the pod of an unanswered move at any moment.
        own = [
            ((max(move.at, self._now) if move.unanswered else move.at) + MINUTE, move.kind)
            for move in self._moving
            if move.counts
        ]
        earlier = [(at + MINUTE + ROUNDING_SECONDS, kind) for at, kind in self._recent if at < self._since]
        return [(until, kind) for until, kind in (*own, *earlier) if until > self._now]

    def _asked(self, kinds: Kinds) -> int:
        """Return how many moves that count were asked for in this second before this pass."""
        asked = (move for move in self._moving if move.kind in kinds and move.counts)
        return sum(self._second_of(move.at) >= self._second for move in asked)

    def _second_of(self, at: float) -> float:
        # In the second in which this process took over, its own moves must not look like moves of the earlier leader.
        return float(max(floor(at), ceil(self._since)))

    def _remaining_by(self, limits: _Limits) -> int:
        remaining = limits.concurrent - self._pending.count(limits.kinds)
        if limits.per_minute is None:
            return remaining
        return min(remaining, limits.per_minute - len(self._in_minute(limits.kinds)))

    def _recheck_by(self, limits: _Limits) -> float | None:
        times = [self._pending.ends(limits.kinds)]
        if limits.per_minute is not None:
            times.append(min(self._in_minute(limits.kinds), default=self._now + MINUTE))
        return min((at for at in times if at is not None and at > self._now), default=None)

    def _in_minute(self, kinds: Kinds) -> list[float]:
        return [until for until, kind in self._counting if kind in kinds]


def _limits(spec: PoolSpec) -> tuple[_Limits, _Limits]:
    forced, home = spec.failover, spec.failback
    return (
        _Limits(FORCED, MoveKind.FAILOVER, forced.max_concurrent_moves, forced.per_minute),
        _Limits(HOMEWARD, MoveKind.FAILBACK, home.max_concurrent_moves, home.per_minute),
    )
