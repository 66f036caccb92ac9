"""The writers' callbacks: each answer to a write is noted in the store, and the pools that it concerns are looked at.

An answer may come after the last event of the watch. Then only the callback has the pool looked at; without it, a place
that was kept for the pod would stay taken.
"""

from collections.abc import Callable, Iterable

from computepool.act.mover import MoveLedger
from computepool.act.writer import Ledger
from computepool.app.dirty import DirtyPools
from computepool.observe.store import Store


class Ledgers:
    """The ledgers of bursts and of moves."""

    def __init__(self, store: Store, dirty: DirtyPools, *, clock: Callable[[], float]) -> None:
        """`clock` is monotonic."""
        self._store = store
        self._dirty = dirty
        self._clock = clock
        moving = store.moving
        self.bursts = Ledger(store.in_flight.start, self._written, self._doubted, self._released)
        self.moves = MoveLedger(moving.start, self._evicted, moving.refused, self._not_moved)

    def _written(self, uid: str, version: int) -> None:
        pod = self._store.pod(uid)
        self._store.in_flight.written(uid, version, pod.resource_version if pod else 0)

    def _doubted(self, uid: str) -> None:
        if self._store.in_flight.doubted(uid, self._store.pod(uid)):
            self._look_at(self._store.claims_of(uid)[:1])

    def _released(self, uid: str) -> None:
        self._store.in_flight.drop(uid)
        self._look_at(self._store.claims_of(uid)[:1])

    def _evicted(self, uid: str, at: float) -> None:
        self._store.moving.evicted(uid, at)
        if self._store.is_leaving(uid):
            self._look_at(self._concerned(uid))

    def _not_moved(self, uid: str) -> None:
        concerned = self._concerned(uid)
        self._store.moving.failed(uid)
        self._look_at(concerned)

    def _concerned(self, uid: str) -> set[str]:
        """Return the pool that moves the pod, and the pool that it belongs to by now, if any."""
        mover = self._store.moving.pool_of(uid)
        return {*self._store.claims_of(uid)[:1], *(() if mover is None else (mover,))}

    def _look_at(self, pools: Iterable[str]) -> None:
        for pool in pools:
            self._dirty.mark(pool, self._clock())
