"""The moves that this process has begun: what limits and dwell are held against, until they are too old to matter.

Invariant 8: this is a memory of one process. A successor has none of it, knows since when it watches itself, and counts
young pods as moved until then (`Snapshot.moving_since`). It is told as well when the latest of the moves was made that
are forgotten (`Snapshot.moves_forgotten`): a dwell that was made longer since, or one of days with more moves than are
remembered, is held against that.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from computepool.model.snapshot import Moving

REMEMBERED: Final = 10_000
"""Moves of one pool that are remembered; of more, the oldest are forgotten, unless they may be under way, or are not
answered yet."""
UNDER_WAY_SECONDS: Final = 300.0
"""Moves are remembered at least so long, however short the dwell: their limits count those that are under way."""
TOLERANCE_SECONDS: Final = 1.0
"""A clock that goes back by so little was corrected, as it is all the time, and changes nothing."""


class UnderWay:
    """Moves by pool, and in each by pod uid."""

    def __init__(self, wall: Callable[[], float], *, remembered: int = REMEMBERED) -> None:
        """Remember from now on, so many moves of each pool. `wall` is the time of day."""
        self._wall = wall
        self._remembered = remembered
        self._latest = self._since = wall()
        # By pool: since when its moves are followed without a gap, where that is later than for all.
        self._taken: dict[str, float] = {}
        self._forgotten: dict[str, float] = {}
        self._by_pool: dict[str, dict[str, Moving]] = {}
        # The one pool that has a move of the pod.
        self._pool_of: dict[str, str] = {}
        self.order = 0
        """Goes up with each move that begins, and each whose pod is seen leaving: what appears is told apart by it."""
        # By pod: how it was let go, where it is asked for once more all the same.
        self._let_go: dict[str, Moving] = {}

    def begin(self) -> None:
        """Remember from now on: another has led until now, and what it moved is not known here."""
        self._since = self._now()

    def take(self, pool: str) -> None:
        """Follow a pool from now on: what was moved of one of that name before is not known any more."""
        self._taken[pool] = self._now()

    def since(self, pool: str) -> float:
        """Return since when a pool's moves are known."""
        return max(self._since, self._taken.get(pool, 0.0))

    def forgotten(self, pool: str) -> float | None:
        """Return when the latest move was made that is known no more; None where all are known."""
        return self._forgotten.get(pool)

    def start(self, pool: str, moving: Moving) -> None:
        """Note that an eviction is asked for; one that was refused before keeps since when, in another pool too."""
        now, uid = self._now(), moving.pod.uid
        before = self._take_out(uid, pool)
        self.order += 1
        left = self.order
        if before is not None and before.evicted:
            self._let_go[uid] = before
            # What replaces the pod may have appeared since it was let go.
            left = before.left
        refused_since = None if before is None else before.refused_since
        moves = self._by_pool.setdefault(pool, {})
        moves[uid] = msgspec.structs.replace(
            moving,
            at=min(moving.at, now),
            refused_since=refused_since,
            asking=refused_since is not None,
            left=left,
        )
        self._pool_of[uid] = pool
        done = now - UNDER_WAY_SECONDS
        while len(moves) > self._remembered and _is_over(oldest := next(iter(moves.values())), done):
            self._forget(pool, oldest)

    def left(self, uid: str) -> None:
        """Note that a pod is just now seen leaving, if it is moved: what has appeared until now does not replace it."""
        if uid in self._pool_of:
            self.order += 1
            self._update(uid, left=self.order)

    def evicted(self, uid: str, at: float) -> None:
        """Note that the API server has let the pod go."""
        self._let_go.pop(uid, None)
        self._update(uid, at=min(at, self._now()), evicted=True, refused_since=None, asking=False)

    def refused(self, uid: str, at: float) -> None:
        """Note that a disruption budget holds the pod."""
        self._let_go.pop(uid, None)
        at = min(at, self._now())
        moving = self._find(uid)
        since = at if moving is None or moving.refused_since is None else moving.refused_since
        self._update(uid, at=at, refused_since=since, asking=False)

    def failed(self, uid: str) -> None:
        """Forget a move that came to nothing; that the pod was refused, or let go, before stands."""
        let_go = self._let_go.pop(uid, None)
        moving = self._find(uid)
        if moving is None or moving.evicted:
            return
        if let_go is not None:
            self._update(uid, at=min(let_go.at, self._now()), evicted=True)
        elif moving.refused_since is not None:
            self._update(uid, asking=False)
        else:
            self._remove(uid)

    def pool_of(self, uid: str) -> str | None:
        """Return the pool that has a move of the pod."""
        return self._pool_of.get(uid)

    def of(self, pool: str) -> tuple[Moving, ...]:
        """Return a pool's moves, in the order in which they were begun; none of them in the future."""
        self._now()
        return tuple(self._by_pool.get(pool, {}).values())

    def prune(self, pool: str, dwell: float) -> None:
        """Forget a pool's moves that were last asked for longer ago than its dwell, and are not under way."""
        before = self._now() - max(UNDER_WAY_SECONDS, dwell)
        for moving in [moving for moving in self._by_pool.get(pool, {}).values() if _is_over(moving, before)]:
            self._forget(pool, moving)

    def forget(self, pool: str) -> None:
        """Forget a pool that is gone."""
        self._taken.pop(pool, None)
        self._forgotten.pop(pool, None)
        for uid in list(self._by_pool.get(pool, ())):
            self._remove(uid)
        self._by_pool.pop(pool, None)

    def _forget(self, pool: str, moving: Moving) -> None:
        if moving.evicted or moving.refused_since is None:
            self._note_forgotten(pool, moving.at)
        self._remove(moving.pod.uid)

    def _take_out(self, uid: str, pool: str) -> Moving | None:
        """Return what is known of a pod's last move, which the next one takes the place of."""
        moving = self._find(uid)
        if moving is None:
            return None
        if self._pool_of[uid] == pool:
            self._remove(uid)
        else:
            # The pod belongs to another pool by now; what was moved of the one before is known no more.
            self._forget(self._pool_of[uid], moving)
        return moving

    def _remove(self, uid: str) -> None:
        self._by_pool[self._pool_of.pop(uid)].pop(uid)
        self._let_go.pop(uid, None)

    def _note_forgotten(self, pool: str, at: float) -> None:
        self._forgotten[pool] = max(at, self._forgotten.get(pool, at))

    def _now(self) -> float:
        """Return the time of day, and put right what is known by it where it was set back."""
        now = self._wall()
        if now < self._latest - TOLERANCE_SECONDS:
            self._set_back(now)
        elif now < self._latest:
            return now
        self._latest = now
        return now

    def _set_back(self, now: float) -> None:
        """Bring all times in the future back to now: nothing is to wait for as long as the clock was set back by."""
        self._since = min(self._since, now)
        self._taken = {pool: min(at, now) for pool, at in self._taken.items()}
        self._forgotten = {pool: min(at, now) for pool, at in self._forgotten.items()}
        for moves in self._by_pool.values():
            ahead = [moving for moving in moves.values() if moving.at > now]
            for one in ahead:
                since = one.refused_since
                moves[one.pod.uid] = msgspec.structs.replace(
                    one, at=now, refused_since=None if since is None else min(since, now)
                )

    def _find(self, uid: str) -> Moving | None:
        return self._by_pool.get(self._pool_of.get(uid, ""), {}).get(uid)

    def _update(self, uid: str, **fields: object) -> None:
        moving = self._find(uid)
        if moving is not None:
            self._by_pool[self._pool_of[uid]][uid] = msgspec.structs.replace(moving, **fields)


def _is_over(moving: Moving, before: float) -> bool:
    """Say whether a move was answered, and made long enough ago."""
    return moving.at < before and not moving.unanswered
