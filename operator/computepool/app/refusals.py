"""Pods whose patch the API server refused: the pool says so until it goes through, or they wait no more."""

from collections.abc import Iterable

from computepool.decide.plan import Burst
from computepool.kube.errors import ApiError
from computepool.model.snapshot import Snapshot


class Refusals:
    """By pool and pod: what the API server said last."""

    def __init__(self) -> None:
        """Nothing was refused yet."""
        self._messages: dict[str, dict[str, str]] = {}

    def note(self, pool: str, refused: Iterable[tuple[Burst, ApiError]]) -> str:
        """Remember refusals, at least one; return what is said of the first."""
        messages = {
            burst.pod.uid: f"the patch of pod {burst.pod.namespace}/{burst.pod.name} was refused: {error}"
            for burst, error in refused
        }
        self._messages.setdefault(pool, {}).update(messages)
        return next(iter(messages.values()))

    def written(self, pool: str, bursts: Iterable[Burst]) -> None:
        """Forget those that went through after all."""
        for burst in bursts:
            self._messages.get(pool, {}).pop(burst.pod.uid, None)

    def known(self, pool: str, bursts: Iterable[Burst]) -> bool:
        """Say whether all of these are attempts at what was refused before."""
        return all(burst.pod.uid in self._messages.get(pool, {}) for burst in bursts)

    def standing(self, snapshot: Snapshot) -> str:
        """Return what is refused of the pool's waiting pods; empty where nothing is. Others are forgotten."""
        messages = self._messages.get(snapshot.pool.name)
        if not messages:
            return ""
        waiting = {pod.uid for pod in snapshot.waiting}
        for uid in messages.keys() - waiting:
            del messages[uid]
        first = next(iter(messages.values()), "")
        return f"{len(messages)} pods, such as: {first}" if len(messages) > 1 else first

    def forget(self, pool: str) -> None:
        """Drop a pool that is gone."""
        self._messages.pop(pool, None)
