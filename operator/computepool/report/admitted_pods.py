"""Pods that the admission policy sent to a standby: each is told once, within the rate of events.

Such a pod shows by its label, which the operator writes once the pod is bound on a standby to which it was not sent.
So a restart tells no pod twice. A pod that tolerates the standby by its own spec gets the same label, so a pod is told
only if admission to the standby was seen to be open when the pod was created.
"""

from collections import deque
from collections.abc import Iterable
from math import inf
from typing import Final

from computepool.decide.plan import LabelFix
from computepool.model.api import AdmissionMode, ComputePool
from computepool.report.event_rate import RETRY_SECONDS, EventRate

MOST: Final = 1_000
"""How many pods of a pool wait to be told; of more, the first are left out. The pool's own event counts all of them."""
REMEMBERED: Final = 20_000
"""Pods whose label was corrected last. Until the watch shows a new label, a pass corrects it once more."""
_CREATED_WITHIN: Final = 1.0
"""A pod's creation is recorded in whole seconds, rounded down."""


def is_admitted(pool: ComputePool, fix: LabelFix) -> bool:
    """Say whether the pod may have its toleration from the admission policy: it was sent by no offer."""
    spec, pod = pool.spec, fix.pod
    standby = spec.provider(fix.provider)
    if standby is None or pod.offers or pod.allowed is not None or pod.node_bound or spec.budget is not None:
        return False
    if standby.capacity.max_accelerators is not None or spec.admission.mode is AdmissionMode.OFF:
        return False
    added = {toleration.compiled() for toleration in standby.effective_tolerations()}
    return added.issubset(pod.shape.tolerations)


class AdmittedPods:
    """The pods that are still to be told."""

    def __init__(self, rate: EventRate) -> None:
        """No pod waits. `rate`: of events about single pods."""
        self._rate = rate
        self._waiting: dict[str, deque[LabelFix]] = {}
        # The uids of pods that were noted, the oldest first.
        self._noted: dict[str, None] = {}
        # By pool and standby: since when admission to it was last open, and until when.
        self._open: dict[str, dict[str, tuple[float, float]]] = {}

    def note_admission(self, pool: str, standby: str, now: float) -> None:
        """Note that admission is open to a standby; empty: it is closed. `now`: seconds since the epoch."""
        before = self._open.get(pool, {})
        after = {
            name: (since, until if name == standby else min(until, now)) for name, (since, until) in before.items()
        }
        if standby and before.get(standby, (now, now))[1] < inf:
            after[standby] = (now, inf)
        self._open[pool] = after

    def add(self, pool: ComputePool, fixes: Iterable[LabelFix]) -> list[LabelFix]:
        """Note the admitted pods among these to be told, and return those that are new."""
        windows = self._open.get(pool.name, {})
        new = [
            fix
            for fix in fixes
            if is_admitted(pool, fix) and _created_in(windows.get(fix.provider), fix) and fix.pod.uid not in self._noted
        ]
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
        self._open.pop(pool, None)


def _created_in(window: tuple[float, float] | None, fix: LabelFix) -> bool:
    return window is not None and window[0] - _CREATED_WITHIN < fix.pod.created <= window[1]
