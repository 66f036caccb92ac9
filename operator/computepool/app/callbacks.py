"""The writers' callbacks: each answer to a write is noted in the store, and the pools that it concerns are looked at.

An answer may come after the last event of the watch. Then only the callback has the pool looked at; without it, a place
that was kept for the pod would stay taken.
"""

from collections.abc import Callable, Iterable

from computepool.app.work_queue import WorkQueue
from computepool.model.cluster import Offer
from computepool.model.moves import PodMove
from computepool.observe.store import Store


class BurstAnswers:
    """Notes what becomes of patches that burst pods: `act.writer.BurstCallbacks`."""

    def __init__(self, store: Store, queue: WorkQueue, *, clock: Callable[[], float]) -> None:
        """`clock` is monotonic."""
        self._store = store
        self._looked_at = _Looks(queue, clock)

    def start(self, uid: str, offer: Offer) -> None:
        """The write begins."""
        self._store.in_flight.start(uid, offer)

    def written(self, uid: str, version: int) -> None:
        """The write made this version of the pod."""
        pod = self._store.pod(uid)
        self._store.in_flight.written(uid, version, pod.resource_version if pod else 0)

    def doubted(self, uid: str) -> None:
        """Nobody knows whether the write was made."""
        if self._store.in_flight.doubted(uid, self._store.pod(uid)):
            self._looked_at(self._store.claims_of(uid)[:1])

    def failed(self, uid: str) -> None:
        """The write was not made."""
        self._store.in_flight.drop(uid)
        self._looked_at(self._store.claims_of(uid)[:1])


class MoveAnswers:
    """Notes what becomes of evictions: `act.mover.MoveCallbacks`."""

    def __init__(self, store: Store, queue: WorkQueue, *, clock: Callable[[], float]) -> None:
        """`clock` is monotonic."""
        self._store = store
        self._moves = store.moves
        self._looked_at = _Looks(queue, clock)

    def start(self, pool: str, move: PodMove) -> None:
        """A pass decided the move."""
        self._moves.start(pool, move)

    def recorded(self, uid: str) -> None:
        """The status that counts it is written."""
        self._moves.recorded(uid)

    def asked(self, uid: str) -> None:
        """The eviction is sent."""
        self._moves.asked(uid)

    def let_go(self, uid: str, at: float) -> None:
        """The API server has let the pod go."""
        self._moves.let_go(uid, at)
        if self._store.is_leaving(uid):
            self._looked_at(self._concerned(uid))

    def refused(self, uid: str, at: float) -> None:
        """A disruption budget keeps the pod."""
        self._moves.refused(uid, at)

    def dropped(self, uid: str) -> None:
        """The last look found it wrong."""
        concerned = self._concerned(uid)
        self._moves.dropped(uid)
        self._looked_at(concerned)

    def failed(self, uid: str) -> None:
        """It came to nothing."""
        concerned = self._concerned(uid)
        self._moves.failed(uid)
        self._looked_at(concerned)

    def _concerned(self, uid: str) -> set[str]:
        """Return the pool that moves the pod, and the pool that it belongs to by now, if any."""
        mover = self._moves.pool_of(uid)
        return {*self._store.claims_of(uid)[:1], *(() if mover is None else (mover,))}


class _Looks:
    """Has pools looked at."""

    def __init__(self, queue: WorkQueue, clock: Callable[[], float]) -> None:
        self._queue = queue
        self._clock = clock

    def __call__(self, pools: Iterable[str]) -> None:
        for pool in pools:
            self._queue.add(pool, self._clock())
