"""The moves that this process has begun, until they are too old for limits and dwell to count them.

Invariant 8: this is the memory of one process, and its successor starts without it. The successor knows when it began
to watch, and counts young pods as moved before then (`Snapshot.moves_since`). `Snapshot.moves_forgotten` is the time of
the newest move dropped from memory. Dwell is measured from it if the dwell was lengthened, or if there were more moves
than are kept.
"""

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from computepool.model.cluster import Pod
from computepool.model.moves import (
    FOLLOWED_SECONDS,
    KEPT_SECONDS,
    WATCHED_SECONDS,
    Outcome,
    OutcomeEvent,
    PodMove,
    RequestEvent,
)
from computepool.observe.replacements import ProviderOf, follow

REMEMBERED: Final = 10_000
"""How many moves of one pool are remembered. If there are more, the oldest are forgotten, except moves that are
unanswered or may be under way."""


class Moves:
    """Moves by pool, and in each pool by pod uid. `act` and the store report events; see `model.moves`."""

    def __init__(self, wall: Callable[[], float], *, remembered: int = REMEMBERED) -> None:
        """Remember from now on, `remembered` moves of each pool. `wall` is the time of day, and never goes back."""
        self._wall = wall
        self._remembered = remembered
        self._since = wall()
        # By pool: since when its moves are followed without a gap, if that is later than for all pools.
        self._taken: dict[str, float] = {}
        self._forgotten: dict[str, float] = {}
        self._by_pool: dict[str, dict[str, PodMove]] = {}
        # The pools that had a move under way when a pass last read them, or have begun a move since.
        self._busy: set[str] = set()
        # By pod uid: the one pool that has a move of the pod.
        self._pool_of: dict[str, str] = {}
        self.order = 0
        """The event number: it grows with each move that begins, and with each moved pod that is seen leaving."""

    # --- pools

    def begin(self) -> None:
        """Remember from now on: another process has led until now, and its moves are unknown here."""
        self._since = self._wall()

    def take(self, pool: str) -> None:
        """Follow a new pool from now on: moves of an earlier pool of that name are unknown."""
        self._taken[pool] = self._wall()

    def since(self, pool: str) -> float:
        """Return since when a pool's moves are known."""
        return max(self._since, self._taken.get(pool, 0.0))

    def forgotten(self, pool: str) -> float | None:
        """Return when the newest forgotten move was made; None if no move was forgotten."""
        return self._forgotten.get(pool)

    def forget(self, pool: str) -> None:
        """Forget a pool that is gone."""
        self._taken.pop(pool, None)
        self._forgotten.pop(pool, None)
        for uid in list(self._by_pool.get(pool, ())):
            self._remove(uid)
        self._by_pool.pop(pool, None)
        self._busy.discard(pool)

    # --- from act

    def start(self, pool: str, move: PodMove) -> None:
        """Note a move that was decided. A pod that was refused before stays refused since then, in any pool."""
        uid = move.pod.uid
        before = self._take_out(uid, pool)
        self.order += 1
        if before is None:
            move = msgspec.structs.replace(move, order=self.order)
        else:
            # The replacement of a pod that was let go may have appeared since.
            order = before.order if before.let_go else self.order
            names = ("target", "source", "kind", "drain", "pod", "at", "room_seconds")
            fields = {name: getattr(move, name) for name in names}
            earlier = msgspec.structs.replace(before, earlier=None)
            move = before.on_request(RequestEvent.DECIDE, order=order, earlier=earlier, **fields)
        moves = self._by_pool.setdefault(pool, {})
        moves[uid] = move
        self._pool_of[uid] = pool
        self._busy.add(pool)
        done = self._wall() - KEPT_SECONDS
        while len(moves) > self._remembered and _is_over(oldest := next(iter(moves.values())), done):
            self._forget(pool, oldest)

    def recorded(self, uid: str) -> None:
        """Note that the status counts the move."""
        self._request(uid, RequestEvent.RECORD)

    def asked(self, uid: str) -> None:
        """Note that the eviction is sent."""
        self._request(uid, RequestEvent.ASK)

    def let_go(self, uid: str, at: float) -> None:
        """Note that the API server has let the pod go."""
        self._request(uid, RequestEvent.LET_GO, at=at, refused_since=None, earlier=None)

    def refused(self, uid: str, at: float) -> None:
        """Note that a disruption budget keeps the pod."""
        move = self._find(uid)
        if move is not None:
            since = at if move.refused_since is None else move.refused_since
            self._request(uid, RequestEvent.REFUSE, at=at, refused_since=since, earlier=None)

    def dropped(self, uid: str) -> None:
        """Take a move back: when its turn came, it was no longer right."""
        self._take_back(uid, RequestEvent.DROP)

    def failed(self, uid: str) -> None:
        """Take a move back: it came to nothing."""
        self._take_back(uid, RequestEvent.FAIL)

    # --- from the watch

    def left(self, uid: str) -> None:
        """Note that a pod is seen leaving. If it is moved, pods that appeared before do not replace it."""
        move = self._find(uid)
        if move is not None:
            self.order += 1
            left = move.on_outcome(OutcomeEvent.LEAVE) if move.outcome is Outcome.RUNS else move
            self._put(msgspec.structs.replace(left, order=self.order))

    # --- what a pass reads

    def of(self, pool: str) -> tuple[PodMove, ...]:
        """Return a pool's moves as they are known, in the order in which they began."""
        return tuple(self._by_pool.get(pool, {}).values())

    def followed(
        self, pool: str, pods: Callable[[], Iterable[Pod]], pod_of: Callable[[str], Pod | None], provider_of: ProviderOf
    ) -> tuple[PodMove, ...]:
        """Return a pool's moves with the outcomes that are seen by now.

        The parameters are those of `follow`.
        """
        if self._by_pool.get(pool):
            now = self._wall()
            moves = follow(self.of(pool), pods, pod_of, provider_of, now)
            self._by_pool[pool] = {move.pod.uid: move for move in moves}
            if any(move.is_under_way(now) for move in moves):
                return self.of(pool)
        self._busy.discard(pool)
        return self.of(pool)

    def any_under_way(self, pool: str) -> bool:
        """Say whether a move of the pool may be under way: then a pod that is bound may end it."""
        return pool in self._busy

    def pool_of(self, uid: str) -> str | None:
        """Return the pool that has a move of the pod."""
        return self._pool_of.get(uid)

    def prune(self, pool: str, dwell: float) -> None:
        """Forget a pool's moves that are older than `dwell` seconds, or whose end is not seen for a day."""
        now = self._wall()
        oldest = now - max(KEPT_SECONDS, dwell)
        for move in [move for move in self._by_pool.get(pool, {}).values() if move.at < oldest]:
            kept = FOLLOWED_SECONDS if move.is_followed else WATCHED_SECONDS if move.by_choice else KEPT_SECONDS
            if _is_over(move, now - max(kept, dwell)):
                self._forget(pool, move)

    # --- inside

    def _request(self, uid: str, event: RequestEvent, **fields: object) -> None:
        move = self._find(uid)
        if move is not None:
            self._put(move.on_request(event, **fields))

    def _take_back(self, uid: str, event: RequestEvent) -> None:
        move = self._find(uid)
        if move is None:
            return
        before = move.on_request(event).taken_back()
        if before is None:
            self._remove(uid)
        else:
            self._put(msgspec.structs.replace(before, outcome=move.outcome, order=move.order))

    def _forget(self, pool: str, move: PodMove) -> None:
        if move.counts:
            self._forgotten[pool] = max(move.at, self._forgotten.get(pool, move.at))
        self._remove(move.pod.uid)

    def _take_out(self, uid: str, pool: str) -> PodMove | None:
        """Take out and return a pod's last move, to make place for the next move."""
        move = self._find(uid)
        if move is None:
            return None
        if self._pool_of[uid] == pool:
            self._remove(uid)
        else:
            # The pod belongs to another pool by now; the earlier pool's move is no longer known.
            self._forget(self._pool_of[uid], move)
        return move

    def _find(self, uid: str) -> PodMove | None:
        return self._by_pool.get(self._pool_of.get(uid, ""), {}).get(uid)

    def _put(self, move: PodMove) -> None:
        self._by_pool[self._pool_of[move.pod.uid]][move.pod.uid] = move

    def _remove(self, uid: str) -> None:
        self._by_pool[self._pool_of.pop(uid)].pop(uid)


def _is_over(move: PodMove, before: float) -> bool:
    """Say whether a move was answered, and made long enough ago."""
    return move.at < before and not move.unanswered
