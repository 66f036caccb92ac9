"""The last look before a running pod is evicted.

Invariant 5: no eviction without a target that fits, rechecked just before the act. A move may wait for its turn behind
others; by then a later pass may have found the target full, failed or drained.
"""

from computepool.assess.assessment import Assessment
from computepool.assess.fit import Packer, label_keys
from computepool.decide.plan import Move


class Recheck:
    """Looks at moves against one pass's verdicts; each that passes takes its place from the next."""

    def __init__(self, assessment: Assessment, resource: str, now: float) -> None:
        """`assessment`: the latest there is; `resource`: the pool's accelerator; `now`: its time."""
        self._assessment = assessment
        self._resource = resource
        self._now = now
        self._packers: dict[tuple[str, frozenset[str]], Packer] = {}

    def holds(self, move: Move) -> bool:
        """Say whether the target still has a place for the pod."""
        packer = self._packer(move.target, label_keys((move.pod,)))
        return packer is not None and packer.place(move.pod.shape)

    def _packer(self, target: str, keys: frozenset[str]) -> Packer | None:
        """Return the provider's packing; pods that ask for other labels of nodes have one of their own."""
        packer = self._packers.get((target, keys))
        if packer is None:
            supply = next((s for s in self._assessment.supplies if s.target.name == target), None)
            if supply is None:
                return None
            packer = self._packers[target, keys] = Packer(supply, self._resource, keys, self._now)
        return packer
