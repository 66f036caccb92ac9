"""Hold-offs: a standby that certain pods are not sent to for a while, because it has failed such pods.

Other pods are sent to the provider as before. There are two kinds:
- A workload: several of its pods in a row failed there at once, whoever is at fault. Where few failed, they must
  outnumber the pods of it that are ready there: otherwise the fault is probably a node's. All of its next pods go
  elsewhere. A virtual kubelet may refuse a pod and leave it pending, so that no next pod comes. One such pod is enough.
  These pods leave (`decide/move/failover.py`), and the hold-off lasts at least until then.
- A shape (requests and selectors): a pod of it was not bound there in time. If no node has a place for it, the provider
  is out of such capacity, and pods of that shape are sent there only to places that exist. If a node has a place for it
  that the scheduler does not use, for a reason that the operator does not know, the workload's pods of that shape are
  not sent there. Once several workloads have shown it, pods of that shape are sent there only if no other provider
  takes them.

A hold-off lasts for a back-off, as a breaker's does: doubled each time. Afterwards one pod is tried. If this pod fails
too, the next back-off begins; if it is ready (workload) or bound (shape), the hold-off is over. It is also over once
more such pods are ready or bound there than when it began.

The primary is never held off: pods go there by themselves, and no toleration keeps them away.

Invariant 8: the status records the newest hold-offs. To forget one costs a few failed pods of a workload, or one pod of
a shape that waits in vain for the provider's timeout; then it begins again. The pods that were counted are forgotten by
a restart; so pods count only if they failed, or were sent, since the back-off was over.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import msgspec

from computepool.assess.breakers.breaker import backoff
from computepool.assess.breakers.hold_off_evidence import (
    Evidence,
    Key,
    Seen,
    evidence_of,
    is_of_shape,
    observe,
    shape_key,
    workload_key,
)
from computepool.assess.breakers.not_bound import NotBound
from computepool.assess.capacity.providers import Provider
from computepool.assess.members import Members
from computepool.assess.recheck_times import soonest
from computepool.model.api import BreakerSpec
from computepool.model.api.status import MAX_HOLD_OFFS, MAX_WORD
from computepool.model.cluster import Pod
from computepool.model.reasons import Reason
from computepool.model.snapshot import Snapshot
from computepool.model.state import HoldOff, PoolState

FAILED_PODS: Final = 3
"""So many pods of a workload must fail in a row."""
MOST_FAILED_PODS: Final = 10
"""So many in a row are enough, however many are ready: a large workload must not fail hundreds of pods."""
REFUSED_SECONDS: Final = 30.0
"""A refused pod leaves once the hold-off has lasted so long: a virtual kubelet tries again for a while."""
PRESENT_SECONDS: Final = 60.0
"""A workload that has no pod, and whose latest pod failed so long ago, counts as gone."""
_NONE: Final[Mapping[Key, HoldOff]] = MappingProxyType({})


class HoldOffs(msgspec.Struct, frozen=True):
    """The hold-offs of a pool."""

    kept: tuple[HoldOff, ...] = ()
    """All, the newest first, as many as the status records."""
    failed_pods: Mapping[Key, frozenset[str]] = MappingProxyType({})
    """The uids of the pods that were counted, also for hold-offs that are over: each pod counts once."""
    blocking: Mapping[Key, HoldOff] = _NONE
    """Hold-offs under which no other pod is sent now: their back-off lasts, or a pod is being tried."""
    due: Mapping[Key, HoldOff] = _NONE
    """Hold-offs under which one pod may be tried now."""
    trials: Mapping[Key, str] = MappingProxyType({})
    """The uid of the pod that is being tried."""
    admission_withheld: frozenset[str] = frozenset()
    """Providers whose toleration no new pod may get when it is created: the admission policy does not know workloads,
    so the pods of a workload that fails there would get it too."""
    leaving: frozenset[Key] = frozenset()
    """Workloads whose refused pods leave the provider."""
    recheck_at: float | None = None

    def is_leaving(self, pod: Pod, provider: str) -> bool:
        """Say whether the pod, which is bound there, is refused and leaves: its replacement may run elsewhere."""
        return pod.never_accepted and workload_key(provider, pod.owner) in self.leaving

    def keys_of(self, pod: Pod, provider: str) -> Sequence[Key]:
        """Return the keys under which the pod may be held off the provider; none while there are no hold-offs.

        The strictest come first: a hold-off of the whole shape may yield, or allow places.
        """
        if not self.blocking and not self.due:
            return ()
        return (
            workload_key(provider, pod.owner),
            shape_key(provider, pod.shape, pod.owner),
            shape_key(provider, pod.shape),
        )


def allows_places(held: HoldOff) -> bool:
    """Say whether pods are sent nevertheless where a node has a place for them: the provider only makes no node."""
    return held.reason is Reason.INSUFFICIENT_CAPACITY and not held.unused_place


def yields(held: HoldOff) -> bool:
    """Say whether pods that no other provider takes are sent to places that exist nevertheless.

    A shape is held off because the pods of others were not bound, and these may be at fault themselves. It costs a pod
    nothing to try where it would wait anyway. Workloads that have failed there themselves stay away.
    """
    return held.reason is Reason.INSUFFICIENT_CAPACITY and is_of_shape(held.subject)


def hold_offs_of(
    snapshot: Snapshot,
    providers: Sequence[Provider],
    members: Members,
    not_bound: NotBound,
    state: PoolState,
    now: float,
) -> HoldOffs:
    """Return the hold-offs after one step."""
    evidence = evidence_of(snapshot, providers, members, not_bound)
    before = state.recorded.hold_offs
    if not evidence and not before:
        return HoldOffs()
    standbys = {provider.name: provider.timeout for provider in providers[1:]}
    known = {_key(held): held for held in before if held.provider in standbys}
    observed = observe(snapshot, providers, members, evidence, {key: held.until for key, held in known.items()})
    rules = _Rules(snapshot.pool.spec.health.breaker, snapshot.pool.name, now)
    kept: list[HoldOff] = []
    failed_pods: dict[Key, frozenset[str]] = {}
    for key, seen in observed.items():
        counted = state.memory.failed_pods.get(key, frozenset())
        held, counted = _step(known.get(key, HoldOff(*key)), counted, seen, evidence.get(key, {}), rules)
        if counted:
            failed_pods[key] = counted
        # The status has no place for a longer subject: some controllers give their objects uids of their own.
        if held.failures and len(held.subject) <= MAX_WORD:
            kept.append(held)
    kept.sort(key=lambda held: (-held.since, _key(held)))
    del kept[MAX_HOLD_OFFS:]
    return _Sorting(evidence, observed, standbys, rules).sorted_out(kept, failed_pods)


def _key(held: HoldOff) -> Key:
    return held.provider, held.reason, held.subject


class _Rules(msgspec.Struct, frozen=True):
    spec: BreakerSpec
    pool: str
    now: float

    def until(self, held: HoldOff, failures: int) -> float:
        """Return until when a hold-off lasts that begins now, so many times in a row. The status has milliseconds."""
        return round(self.now + backoff(self.spec, failures, f"{self.pool}/{held.provider}/{held.subject}"), 3)


def _step(
    before: HoldOff, counted: frozenset[str], seen: Seen, evidence: Evidence, rules: _Rules
) -> tuple[HoldOff, frozenset[str]]:
    """Return a hold-off, and the pods that it has counted, after one step.

    `evidence`: by uid, when each pod failed, or when a late pod was offered.
    """
    # In a row: a pod that does well and came later makes up for it. If the provider makes no node, no other pod does.
    fresh = {uid for uid, at in evidence.items() if at >= seen.latest or (not seen.workload and not seen.place)}
    new, all_pods = fresh - counted, frozenset(evidence)
    if not before.failures:
        in_a_row = seen.workload and not seen.refused
        enough = max(FAILED_PODS, min(seen.good + 1, MOST_FAILED_PODS)) if in_a_row else 1
        if seen.ours and len(new) >= enough:
            return _begun(before, seen, rules), all_pods
        return before, counted & all_pods
    if _is_over(before, seen, rules.now):
        return HoldOff(*_key(before)), all_pods
    if rules.now < before.until:
        return before, all_pods
    if any(evidence[uid] >= int(before.until) for uid in new):
        return _begun(before, seen, rules), all_pods
    if rules.now >= before.until + rules.spec.max_backoff_seconds and not seen.refused:
        return HoldOff(*_key(before)), all_pods
    return before, counted & all_pods


def _is_over(held: HoldOff, seen: Seen, now: float) -> bool:
    proved = now >= held.until and seen.latest >= int(held.until)
    return ((proved or seen.good > held.running) and not seen.refused) or not seen.ours


def _begun(before: HoldOff, seen: Seen, rules: _Rules) -> HoldOff:
    failures = before.failures + 1
    until = rules.until(before, failures)
    return HoldOff(*_key(before), failures, rules.now, until, seen.good, unused_place=seen.place)


class _Sorting(msgspec.Struct, frozen=True):
    """Tells which hold-offs block, and what they mean for admission."""

    evidence: Mapping[Key, Evidence]
    observed: Mapping[Key, Seen]
    timeouts: Mapping[str, float]
    """Seconds, by standby."""
    rules: _Rules

    def sorted_out(self, kept: Sequence[HoldOff], failed_pods: Mapping[Key, frozenset[str]]) -> HoldOffs:
        """Return the hold-offs, sorted by what they mean now."""
        now = self.rules.now
        blocking: dict[Key, HoldOff] = {}
        due: dict[Key, HoldOff] = {}
        trials: dict[Key, str] = {}
        withheld: set[str] = set()
        leaving: set[Key] = set()
        rechecks: list[float] = []
        for held in kept:
            key = _key(held)
            rechecks += [held.until, held.until + self.rules.spec.max_backoff_seconds]
            if (trial := self._trial(held)) is not None:
                trials[key] = trial[1]
                rechecks.append(trial[0])
            if now < held.until or trial is not None:
                blocking[key] = held
            else:
                due[key] = held
            if self.observed[key].refused:
                rechecks.append(held.since + REFUSED_SECONDS)
                # With so many hold-offs some are forgotten, and pods would go back and forth without an end.
                if now >= held.since + REFUSED_SECONDS and len(kept) < MAX_HOLD_OFFS:
                    leaving.add(key)
            if (keeps := self._keeps_admission_closed(held)) is not None:
                withheld.add(held.provider)
                rechecks.append(keeps)
        recheck_at = soonest(now, rechecks)
        return HoldOffs(
            tuple(kept), failed_pods, blocking, due, trials, frozenset(withheld), frozenset(leaving), recheck_at
        )

    def _trial(self, held: HoldOff) -> tuple[float, str] | None:
        """Return until when a pod is being tried, at most, and its uid. Its trial must not keep all others away."""
        seconds = max(held.until - held.since, self.timeouts[held.provider])
        trials = self.observed[_key(held)].trials
        return min(((came + seconds, uid) for came, uid in trials if self.rules.now < came + seconds), default=None)

    def _keeps_admission_closed(self, held: HoldOff) -> float | None:
        """Return until when a workload may have pods that are created soon; None if it has none."""
        seen, now = self.observed[_key(held)], self.rules.now
        if not seen.workload or (now >= held.until and not seen.waits):
            return None
        last = max(self.evidence.get(_key(held), {}).values(), default=0.0) + PRESENT_SECONDS
        return last if seen.present or now < last else None
