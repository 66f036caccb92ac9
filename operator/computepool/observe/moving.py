"""The moves that this process has begun: what limits and dwell are held against, until they are too old to matter.

Invariant 8: this is a memory of one process. A successor has none of it, knows since when it watches itself, and counts
young pods as moved until then (`Snapshot.moving_since`).
"""

from collections.abc import Callable
from typing import Final

import msgspec

from computepool.model.snapshot import Moving

REMEMBERED: Final = 10_000
"""Moves of one pool that are remembered; of more, the oldest are forgotten."""


class UnderWay:
    """Moves by pool, and in each by pod uid."""

    def __init__(self, wall: Callable[[], float]) -> None:
        """Remember from now on. `wall` is the time of day."""
        self._wall = wall
        self.since = wall()
        self._by_pool: dict[str, dict[str, Moving]] = {}
        self._pool_of: dict[str, str] = {}

    def begin(self) -> None:
        """Remember from now on: another has led until now, and what it moved is not known here."""
        self.since = self._wall()

    def start(self, pool: str, moving: Moving) -> None:
        """Note that an eviction is asked for; one that was refused before keeps since when."""
        moves = self._by_pool.setdefault(pool, {})
        before = moves.pop(moving.pod.uid, None)
        refused_since = None if before is None else before.refused_since
        moves[moving.pod.uid] = msgspec.structs.replace(
            moving, refused_since=refused_since, asking=refused_since is not None
        )
        self._pool_of[moving.pod.uid] = pool
        while len(moves) > REMEMBERED:
            self._pool_of.pop(moves.pop(next(iter(moves))).pod.uid, None)

    def evicted(self, uid: str, at: float) -> None:
        """Note that the API server has let the pod go."""
        self._update(uid, at=at, evicted=True, refused_since=None, asking=False)

    def refused(self, uid: str, at: float) -> None:
        """Note that a disruption budget holds the pod."""
        moving = self._find(uid)
        since = at if moving is None or moving.refused_since is None else moving.refused_since
        self._update(uid, at=at, refused_since=since, asking=False)

    def failed(self, uid: str) -> None:
        """Forget a move that came to nothing."""
        pool = self._pool_of.pop(uid, None)
        if pool is not None:
            self._by_pool[pool].pop(uid, None)

    def of(self, pool: str) -> tuple[Moving, ...]:
        """Return a pool's moves, in the order in which they were begun."""
        return tuple(self._by_pool.get(pool, {}).values())

    def prune(self, pool: str, before: float) -> None:
        """Forget a pool's moves that were last asked for before a time of the day."""
        for uid in [uid for uid, moving in self._by_pool.get(pool, {}).items() if moving.at < before]:
            self.failed(uid)

    def forget(self, pool: str) -> None:
        """Forget a pool that is gone."""
        for uid in self._by_pool.pop(pool, {}):
            self._pool_of.pop(uid, None)

    def _find(self, uid: str) -> Moving | None:
        return self._by_pool.get(self._pool_of.get(uid, ""), {}).get(uid)

    def _update(self, uid: str, **fields: object) -> None:
        moving = self._find(uid)
        if moving is not None:
            self._by_pool[self._pool_of[uid]][uid] = msgspec.structs.replace(moving, **fields)
