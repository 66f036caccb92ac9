"""Pods that the admission policy sent to a standby: each is told once, within the rate of events.

Such a pod shows by its label, which the operator writes once the pod is bound on a standby to which it was not sent.
So a restart tells no pod twice.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final

from computepool.decide.plan import LabelFix
from computepool.model.api import AdmissionMode, ComputePool
from computepool.report.event_rate import RETRY_SECONDS, EventRate

MOST: Final = 1_000
"""How many pods of a pool wait to be told; of more, the first are left out. The pool's own event counts all of them."""
REMEMBERED: Final = 20_000
"""Pods whose label was corrected last. Until the watch shows a new label, a pass corrects it once more."""


def is_admitted(pool: ComputePool, fix: LabelFix) -> bool:
    """Say whether the pod may have its toleration from the admission policy: it was sent by no offer."""
    spec = pool.spec
    if not fix.provider or fix.pod.offers or fix.pod.allowed is not None or spec.budget is not None:
        return False
    standby = spec.provider(fix.provider)
    listed = standby is not None and standby.capacity.max_accelerators is None
    return listed and spec.admission.mode is not AdmissionMode.OFF


class AdmittedPods:
    """The pods that are still to be told."""

    def __init__(self, rate: EventRate) -> None:
        """No pod waits. `rate`: of events about single pods."""
        self._rate = rate
        self._waiting: dict[str, deque[LabelFix]] = {}
        # The uids of pods that were noted, the oldest first.
        self._noted: dict[str, None] = {}

    def add(self, pool: ComputePool, fixes: Iterable[LabelFix]) -> list[LabelFix]:
        """Note the admitted pods among these to be told, and return those that are new."""
        new = [fix for fix in fixes if is_admitted(pool, fix) and fix.pod.uid not in self._noted]
        self._noted.update(dict.fromkeys(fix.pod.uid for fix in new))
        for uid in list(self._noted)[: max(0, len(self._noted) - REMEMBERED)]:
            del self._noted[uid]
        self._waiting.setdefault(pool.name, deque(maxlen=MOST)).extend(new)
        return new

    def news(self, pool: str, now: float) -> tuple[list[LabelFix], float | None]:
        """Return the next pods to tell, and when to ask again (None: no need). `now`: seconds since the epoch."""
        waiting = self._waiting.get(pool)
        if not waiting:
            return [], None
        next_fixes = [waiting.popleft() for _ in range(self._rate.take(len(waiting), now))]
        return next_fixes, now + RETRY_SECONDS if waiting else None

    def forget(self, pool: str) -> None:
        """Drop a pool that is gone."""
        self._waiting.pop(pool, None)
