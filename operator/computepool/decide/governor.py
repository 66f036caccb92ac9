"""How many pods may be moved now. Invariant 6: moves stay within maxConcurrentMoves and perMinute.

Failover and rescheduling share the limits of `failover`, failback has its own. Moves of this process are in the
snapshot; those of a leader before it are in the recorded state, by the second.
"""

from math import ceil, floor
from typing import Final

import msgspec

from computepool.decide.flights import FORCED, HOMEWARD, Flights, Kinds, is_asked
from computepool.decide.plan import Move
from computepool.model.snapshot import MoveKind, Snapshot

MINUTE: Final = 60.0
ROUNDING_SECONDS: Final = 1.0
"""Recorded times are whole seconds, rounded down."""
RETRY_SECONDS: Final = 10.0
"""Between the first tries of an eviction that is refused."""
RETRY_SHARE: Final = 0.5
"""Of the time that it has been refused for: so much later it is tried again."""
RETRY_CAP_SECONDS: Final = 60.0
"""And no later than that: a disruption budget may let go at any time."""

Recent = tuple[tuple[float, MoveKind], ...]


class _Limits(msgspec.Struct, frozen=True):
    kinds: Kinds
    concurrent: int
    per_minute: int | None


class Governor:
    """Counts moves of one pass, beside those before."""

    def __init__(self, snapshot: Snapshot, flights: Flights, recent: Recent, now: float) -> None:
        """`recent`: the state's moves, oldest first."""
        spec = snapshot.pool.spec
        self._flights = flights
        self._moving = snapshot.moving
        self._recent = recent
        self._now = now
        self._since = snapshot.moving_since
        self._second = self._second_of(now)
        self._timeout = float(spec.failover.eviction_timeout_seconds)
        forced, home = spec.failover, spec.failback
        limits = (
            _Limits(FORCED, forced.max_concurrent_moves, forced.per_minute),
            _Limits(HOMEWARD, home.max_concurrent_moves, home.per_minute),
        )
        self._limits = {kind: one for one in limits for kind in one.kinds}
        # One that is not answered may be made now.
        own = [
            ((max(one.at, now) if one.unanswered else one.at) + MINUTE, one.kind)
            for one in snapshot.moving
            if is_asked(one)
        ]
        old = [(at + MINUTE + ROUNDING_SECONDS, kind) for at, kind in recent if at < snapshot.moving_since]
        self._lately = [(until, kind) for until, kind in (*own, *old) if until > now]
        # Asked for each pod in turn, so worked out once.
        self._left = {one.kinds: self._left_by(one) for one in limits}
        self._again = {one.kinds: self._again_by(one) for one in limits}

    def left(self, kind: MoveKind) -> int:
        """Return how many more moves of that kind may begin in this pass."""
        return max(0, self._left[self._limits[kind].kinds])

    def begin(self, kind: MoveKind) -> None:
        """Count one more."""
        self._left[self._limits[kind].kinds] -= 1

    def again(self, kind: MoveKind) -> float | None:
        """Return when a limit that is reached may be so no longer, by time alone."""
        return self._again[self._limits[kind].kinds]

    def retry(self, uid: str) -> float | None:
        """Return when the pod's refused eviction may be tried again; None: it was not refused, or may be now."""
        one = self._flights.refused.get(uid)
        if one is None:
            return None
        refused = one.at - (one.at if one.refused_since is None else one.refused_since)
        at = one.at + min(RETRY_CAP_SECONDS, max(RETRY_SECONDS, refused * RETRY_SHARE))
        return at if at > self._now else None

    def asked(self, uid: str) -> float:
        """Return when the pod's eviction was refused last; 0 where it was not.

        Sorted by it, those that were never refused have their turn first, so that no budget's pods can hold up all
        others, and then those that have waited longest.
        """
        one = self._flights.refused.get(uid)
        return 0.0 if one is None else one.at

    def overdue(self, uid: str) -> bool:
        """Say whether the pod's eviction has been refused for evictionTimeoutSeconds."""
        one = self._flights.refused.get(uid)
        return one is not None and self._now >= (one.refused_since or 0.0) + self._timeout

    def recorded(self, moves: tuple[Move, ...]) -> Recent:
        """Return the state's next `recent_moves`: with these, and without those a minute older than the latest."""
        entries = list(self._recent)
        for kind in dict.fromkeys(move.kind for move in moves):
            begun = [move.pod.uid for move in moves if move.kind is kind]
            again = sum(uid in self._flights.refused for uid in begun)
            # Those that are tried again are counted as far as they may be let go beside all others of this second: they
            # may be tried, and refused, in many passes.
            there = entries.count((self._second, kind))
            entries += [(self._second, kind)] * (len(begun) - again + max(0, self._asked(kind) + again - there))
        latest = max((at for at, _ in entries), default=0.0)
        return tuple((at, kind) for at, kind in entries if at > latest - MINUTE - ROUNDING_SECONDS)

    def _asked(self, kind: MoveKind) -> int:
        """Return how many are let go, or may be, that were asked for in this second before this pass."""
        return sum(
            one.kind is kind and is_asked(one) and self._second_of(one.at) >= self._second for one in self._moving
        )

    def _second_of(self, at: float) -> float:
        # A move of the second in which this process took over must not be read as one of the leader's before it.
        return float(max(floor(at), ceil(self._since)))

    def _left_by(self, limits: _Limits) -> int:
        left = limits.concurrent - self._flights.count(limits.kinds)
        if limits.per_minute is None:
            return left
        return min(left, limits.per_minute - len(self._in_minute(limits.kinds)))

    def _again_by(self, limits: _Limits) -> float | None:
        times = [self._flights.ends(limits.kinds)]
        if limits.per_minute is not None:
            times.append(min(self._in_minute(limits.kinds), default=self._now + MINUTE))
        return min((at for at in times if at is not None and at > self._now), default=None)

    def _in_minute(self, kinds: Kinds) -> list[float]:
        """Return until when each move of the last minute counts."""
        return [until for until, kind in self._lately if kind in kinds]
