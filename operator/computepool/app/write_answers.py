"""The writers' callbacks: they note each answer to a write in the store, and queue the pools that it concerns.

An answer may come after the last event of the watch. Then only the callback queues the pool. Without it, a place that
was kept for the pod would stay taken.
"""

from collections.abc import Callable, Iterable

from computepool.app.work_queue import WorkQueue
from computepool.model.cluster import Offer, RefusedOffer
from computepool.model.moves import PodMove
from computepool.observe.store import Store


class _Answers:
    """Queues pools after an answer."""

    def __init__(self, store: Store, queue: WorkQueue, *, clock: Callable[[], float]) -> None:
        """`clock` is monotonic."""
        self._store = store
        self._queue = queue
        self._clock = clock

    def _enqueue(self, pools: Iterable[str]) -> None:
        for pool in pools:
            self._queue.add(pool, self._clock())


class BurstAnswers(_Answers):
    """Notes the answers to patches that burst pods: `act.pod_patcher.BurstCallbacks`."""

    def start(self, uid: str, offer: Offer) -> None:
        """The write begins."""
        self._store.start_offer(uid, offer)

    def written(self, uid: str, version: int) -> None:
        """The write made this version of the pod."""
        pod = self._store.pod(uid)
        self._store.in_flight.written(uid, version, pod.resource_version if pod else 0)

    def doubted(self, uid: str) -> None:
        """It is unknown whether the API server stored the write."""
        if self._store.in_flight.doubted(uid, self._store.pod(uid)):
            self._enqueue(self._store.claims_of(uid)[:1])

    def refusals(self, uid: str, provider: str, now: float) -> int:
        """Return how often in a row the API server has refused the write. `now`: seconds since the epoch."""
        return self._store.refused_offers.count(uid, provider, now)

    def refused(self, uid: str, refused: RefusedOffer) -> None:
        """The API server refuses the write. `failed` follows."""
        self._store.refuse_offer(uid, refused)

    def failed(self, uid: str) -> None:
        """The API server did not store the write."""
        # Every pool has kept a place for a pod whose offer was under way.
        pools = self._store.pools if uid in self._store.in_flight else self._store.claims_of(uid)[:1]
        self._store.in_flight.drop(uid)
        self._enqueue(pools)


class MoveAnswers(_Answers):
    """Notes the answers to evictions: `act.evictor.MoveCallbacks`."""

    def start(self, pool: str, move: PodMove) -> None:
        """A pass decided the move."""
        self._store.moves.start(pool, move)

    def recorded(self, uid: str) -> None:
        """The status that counts the move is written."""
        self._store.moves.recorded(uid)

    def asked(self, uid: str) -> None:
        """The eviction is sent."""
        self._store.moves.asked(uid)

    def let_go(self, uid: str, at: float) -> None:
        """The API server has let the pod go."""
        self._store.moves.let_go(uid, at)
        if self._store.is_leaving(uid):
            self._enqueue(self._concerned(uid))

    def refused(self, uid: str, at: float) -> None:
        """A disruption budget keeps the pod."""
        self._store.moves.refused(uid, at)

    def dropped(self, uid: str) -> None:
        """The revalidation rejected the move."""
        concerned = self._concerned(uid)
        self._store.moves.dropped(uid)
        self._enqueue(concerned)

    def failed(self, uid: str) -> None:
        """The eviction failed, or was never sent."""
        concerned = self._concerned(uid)
        self._store.moves.failed(uid)
        self._enqueue(concerned)

    def _concerned(self, uid: str) -> set[str]:
        """Return the pool that moves the pod, and the pool that the pod belongs to now, if any."""
        mover = self._store.moves.pool_of(uid)
        return {*self._store.claims_of(uid)[:1], *(() if mover is None else (mover,))}
