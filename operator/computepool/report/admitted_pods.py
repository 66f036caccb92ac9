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

    def add(self, pool: str, fixes: Iterable[LabelFix]) -> None:
        """Note pods to be told."""
        self._waiting.setdefault(pool, deque(maxlen=MOST)).extend(fixes)

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
