"""Workloads that are brought home in vain: the pod in the moved one's place goes to a standby again by itself.

The template of such a workload tolerates the standby, say, and the scheduler prefers it there. Each time it would be
evicted for nothing, so that all of its pods are left there for a while: twice as long each time, a day at most.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from computepool.decide.flights import Latest
from computepool.model.snapshot import MoveKind, Pod, Snapshot
from computepool.model.state import Relapse

SHORTEST_SECONDS: Final = 120.0
"""What is doubled, at least, however short the dwell."""
LONGEST_SECONDS: Final = 86_400.0
"""The longest time that a workload is left, and for which its number is remembered after that."""
_DOUBLINGS: Final = 16


class Relapses:
    """What is known of a pool's workloads in one pass. A restart forgets it, and begins with the shortest time."""

    def __init__(self, snapshot: Snapshot, before: Mapping[str, Relapse], now: float) -> None:
        """`before`: by owner, as the pass before has left it."""
        dwell = float(snapshot.pool.spec.failback.min_dwell_seconds)
        self._base = max(dwell, SHORTEST_SECONDS)
        self._now = now
        self._known = {owner: one for owner, one in before.items() if now < self._until(one) + LONGEST_SECONDS}
        self._home = Latest(one for one in snapshot.moving if one.kind is MoveKind.FAILBACK and one.evicted)

    def note(self, away: Iterable[Pod], stable_since: float | None) -> None:
        """Look for relapses among the pods that run on standbys.

        One that was sent on has its reason to be there, and so may one have that was made while the primary was not
        well, or saturated: new pods are admitted to a standby then. `stable_since`: since when it is neither.
        """
        if stable_since is None or not self._home:
            return
        for pod in away:
            if not pod.offers and pod.created >= stable_since and (latest := self._home.before(pod)) is not None:
                self._note(pod.owner, latest)

    def until(self, pod: Pod) -> float | None:
        """Return until when the pod's workload is left where it is; None where it is not."""
        one = self._known.get(pod.owner)
        until = 0.0 if one is None else self._until(one)
        return until if until > self._now else None

    def known(self) -> Mapping[str, Relapse]:
        """Return what the next pass goes on from."""
        return self._known

    def _note(self, owner: str, latest: float) -> None:
        before = self._known.get(owner)
        # Moves before the end of its time are of the turn that is counted already.
        if before is None or latest >= self._until(before):
            self._known[owner] = Relapse(1 if before is None else before.times + 1, self._now)

    def _until(self, one: Relapse) -> float:
        return one.at + min(LONGEST_SECONDS, self._base * 2.0 ** min(one.times, _DOUBLINGS))
