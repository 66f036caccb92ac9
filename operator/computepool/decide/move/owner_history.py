"""What became of the moves of each owner, and whether its next move by choice may begin.

Invariant 11: a move by choice (failback, reschedule, planned drain) never follows a move of the same owner that did not
end well, or whose end is not known.

- The first move by choice of an owner goes alone. So does every move of a pod with constraints that fit does not model.
  Once a move of the owner has ended well, a quarter of its pods may be under way.
- A move is over once its replacement has been Ready for proveSeconds where it was meant to run: a program that crashes
  may be Ready for a moment. A replacement that is not Ready any more is under way again.
- A quota, or a primary that starts no pods, keeps the pods of all owners in a namespace from running. So two owners of
  a namespace try first. Once a move there has ended well, a quarter of its pods may be under way. If the moves of two
  owners in a row came to nothing, all owners there wait like a single owner, and then go one by one. A single owner may
  fail by its own fault, and an owner that has moved well goes on.
- A move by choice that came to nothing delays the next: its replacement was not bound in time, is bound on another
  provider than meant, or had to leave again. The delay doubles each time, and so does the time for which the next
  replacement proves itself, until one has run well for START_SECONDS. While pods of the owner are missing or not Ready
  since, they take the places of moves under way. So do pods that are not Ready any more after a move that ended well.
- A replacement that was seen, was removed, and that no other pod replaces, is not missing: its owner wants fewer pods.
  Autoscalers, rollouts and deletions remove first the pods that are not Ready. The owner still waits, and the namespace
  does not. If the owner's last move came to nothing too, the pod counts as missing.
- The record of unsettled moves is written with the status that counts the moves, so before the eviction. A later leader
  does not know how such a move ended. It waits as if the move had come to nothing. If moves came to nothing before, it
  waits the whole delay again: the last may have ended just before the restart. Once it sees as many pods of the owner
  as there were before the move, none is missing any more.

A pod without a controller has no history: no pod replaces it, and it moves only if its own annotation says so.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from math import ceil, floor
from types import MappingProxyType
from typing import Final

import msgspec

from computepool.assess.recheck_times import soonest
from computepool.decide.context import Context
from computepool.decide.move.owned_pods import NAMESPACE_PREFIX, NO_PODS, OwnedPods, namespace_key, owned_pods
from computepool.model.api import Mode
from computepool.model.api.status import MAX_UNSETTLED
from computepool.model.cluster import Pod
from computepool.model.moves import FOLLOWED_SECONDS, Outcome, PodMove
from computepool.model.reasons import Reason
from computepool.model.state import UnsettledMove

FIRST_DELAY_SECONDS: Final = 300.0
"""The delay after the first move that came to nothing."""
CONSTRAINED_FACTOR: Final = 12
"""Constraints that fit does not model rarely change by themselves, so their pods wait this many times as long."""
START_SECONDS: Final = 1_800.0
"""A replacement that is not Ready after this time counts as a move that came to nothing, for its namespace alone. For
as long, pods that are Ready no more count after a move that ended well."""
LONGEST_SECONDS: Final = 86_400.0
"""The longest delay; missing pods count, and a count of failed moves is kept, for as long."""
FIRST_OWNERS: Final = 2
"""How many owners of a namespace may try before a move in the namespace has ended well, and fail before all wait."""
SHARE: Final = 4
"""One of so many pods of an owner may be under way, as a Deployment's default maxUnavailable has it."""
EARLIER_SECONDS: Final = 60.0
"""The moves of an earlier leader are recorded for this long before its latest."""
MAX_REMEMBERED: Final = 10_000
"""If more owners than this have moved well, most are forgotten: their next move goes alone again."""
MAX_OWNER: Final = 128
"""Length of the longest uid that is recorded. The API server's own uids have 36 characters."""
_DOUBLINGS: Final = 16


class OwnerOutlook(msgspec.Struct, frozen=True):
    """The part of the history that the next state keeps."""

    unsettled: Mapping[str, UnsettledMove] = MappingProxyType({})
    failed_at: Mapping[str, float] = MappingProxyType({})
    moved_well: frozenset[str] = frozenset()


class OwnerHistory:
    """The moves of all owners in one pass: known before, and decided by the pass."""

    def __init__(self, context: Context, moved_before: float | None) -> None:
        """`moved_before`: when an earlier leader last moved a pod; None if it moved none."""
        state = context.state
        self._context = context
        self._snapshot = context.snapshot
        self._now = context.now
        self._earlier = None if moved_before is None else moved_before - EARLIER_SECONDS
        self._unsettled = dict(state.recorded.unsettled)
        self._failed_at = dict(state.memory.failed_at)
        self._moved_well = set(state.memory.moved_well)
        self._ended_well: set[str] = set()
        """Owners whose latest known move by choice has ended well."""
        self._run_on: set[str] = set()
        """The owners among them whose moves came to nothing before: their count goes on, and nothing delays them."""
        self._under_way: Counter[str] = Counter()
        """By owner: moves that this process knows and whose replacement is not Ready."""
        self._still_there: Counter[str] = Counter()
        """The part of these moves whose pod is still seen running."""
        self._failed: Counter[str] = Counter()
        """By namespace: owners whose last move came to nothing, while they are too few to delay all others."""
        self._well_since: dict[str, float] = {}
        """By owner: when the first of its moves by choice began that ended well within START_SECONDS."""
        self._prove_seconds = context.spec.health.breaker.prove_seconds
        self._proved_at: dict[str, float] = {}
        """By owner and namespace: when the first of the replacements that are Ready has proved itself."""
        self.recheck_at: float | None = None
        """When time alone lets a pod move that waits for an earlier move."""
        self._pods: dict[str, OwnedPods] | None = None
        # What `why_not` has answered since the last move that the pass has decided, by all that it depends on.
        self._answers: dict[tuple[str, str, bool], tuple[Reason, float | None] | None] = {}
        self._read_moves()

    def why_not(self, pod: Pod) -> tuple[Reason, float | None] | None:
        """Return why the pod's owner may begin no move by choice now, and until when at least; None if it may."""
        if not pod.owner:
            return None
        key = (pod.owner, pod.namespace, bool(pod.shape.unmodelled))
        if key not in self._answers:
            self._answers[key] = self._why_not(pod)
        return self._answers[key]

    def _why_not(self, pod: Pod) -> tuple[Reason, float | None] | None:
        if len(pod.owner) > MAX_OWNER:
            return Reason.NOT_MOVABLE, None
        until = self._delayed_until(pod.owner, constrained=bool(pod.shape.unmodelled))
        if until is not None and until > self._now:
            return Reason.MOVE_FAILED, until
        if self.remaining(pod) > 0:
            return None if pod.owner in self._moved_well else self._why_not_in(namespace_key(pod))
        return self._awaits(pod.owner, LONGEST_SECONDS)

    def remaining(self, pod: Pod) -> int:
        """Return how many more pods of the pod's owner may be under way by choice, if the owner is not delayed."""
        if not pod.owner:
            return 1
        allowed = 1
        if pod.owner in self._moved_well and not pod.shape.unmodelled:
            allowed = max(1, self._owned(pod.owner).count // SHARE)
        under_way = self._under_way[pod.owner]
        if under_way >= allowed:
            return 0
        return allowed - max(under_way, self._still_there[pod.owner] + self._unavailable(pod.owner))

    def begin(self, pod: Pod) -> None:
        """Note that the pass moves the pod by choice."""
        if not pod.owner:
            return
        self._answers.clear()
        # In mode Observe no pod is moved, so there is nothing to settle.
        enforces = self._context.spec.mode is Mode.ENFORCE
        for key, pods in ((pod.owner, self._owned(pod.owner).count), (namespace_key(pod), 0)):
            before = self._unsettled.get(key)
            if enforces and (before is None or not self._under_way[key]):
                self._unsettled[key] = UnsettledMove(self._times(key, before), self._second(), pods)
            self._under_way[key] += 1
        self._still_there[pod.owner] += 1

    def outlook(self) -> OwnerOutlook:
        """Return what the next state keeps."""
        kept = {owner: move for owner, move in self._unsettled.items() if self._now < self._kept_until(owner, move)}
        newest = sorted(kept, key=lambda owner: (kept[owner].at, owner))[-MAX_UNSETTLED:]
        moving = {key for move in self._snapshot.moves for key in (move.pod.owner, namespace_key(move.pod))}
        return OwnerOutlook(
            {owner: kept[owner] for owner in newest},
            {owner: at for owner, at in self._failed_at.items() if owner in kept or owner in moving},
            frozenset(self._moved_well if len(self._moved_well) <= MAX_REMEMBERED else self._moved_well & moving),
        )

    # --- inside

    def _read_moves(self) -> None:
        """Settle the moves that ended well, and count the moves that came to nothing."""
        moves_of: dict[str, list[PodMove]] = {}
        chosen_in: dict[str, list[PodMove]] = {}
        for move in self._snapshot.moves:
            if move.pod.owner and move.counts:
                moves_of.setdefault(move.pod.owner, []).append(move)
                if move.by_choice:
                    chosen_in.setdefault(namespace_key(move.pod), []).append(move)
        for owner, moves in moves_of.items():
            self._read_owner(owner, moves)
        for namespace, moves in chosen_in.items():
            self._read_namespace(namespace, moves)
        for key, unsettled in list(self._unsettled.items()):
            # This process has decided the move, and no pod was let go for it.
            own = unsettled.at >= self._snapshot.moves_since
            if own and key not in moves_of and key not in chosen_in and not unsettled.times:
                del self._unsettled[key]
            elif not own and unsettled.pods and self._owned(key).count >= unsettled.pods:
                # After the earlier leader's move none is missing. If there are fewer later, the owner wants fewer.
                self._unsettled[key] = msgspec.structs.replace(unsettled, pods=0)

    def _read_owner(self, owner: str, moves: list[PodMove]) -> None:
        prove_seconds = self._prove_seconds_of(owner)
        proving = [move for move in moves if self._is_proving(move, owner, prove_seconds)]
        waiting = [*proving, *(move for move in moves if move.awaits_ready)]
        self._under_way[owner] = len(waiting)
        self._still_there[owner] = sum(move.outcome is Outcome.RUNS for move in waiting)
        unproven = {move.pod.uid for move in proving}
        over = [move for move in moves if (move.ended_well or move.came_to_nothing) and move.pod.uid not in unproven]
        ended = [move for move in over if move.by_choice]
        last = max(ended, key=_time, default=None)
        if last is None or last.ended_well:
            self._moved_well.update(move.pod.owner for move in over if move.ended_well)
        well = [move.at for move in ended if move.ended_well and self._now < move.at + START_SECONDS]
        if well:
            self._well_since[owner] = min(well)
        if last is not None:
            missing = any(move.outcome is Outcome.NOT_REPLACED and not move.unwanted for move in moves)
            self._note_end(owner, last, goes_on=any(move.by_choice for move in waiting), missing=missing)

    def _is_proving(self, move: PodMove, key: str, prove_seconds: float) -> bool:
        """Say whether the replacement is Ready, and not for long enough to be known to run well.

        `key`: its owner, or its namespace. Their first replacement also has to be Ready still. `prove_seconds`: theirs.
        """
        if not move.ended_well:
            return False
        until = move.ready_at + prove_seconds
        if self._now < until:
            self._proved_at[key] = min(until, self._proved_at.get(key, until))
            return True
        return key not in self._moved_well and self._owned(move.pod.owner).not_ready(move.at) > 0

    def _prove_seconds_of(self, key: str) -> float:
        """Return for how long a replacement of the owner or in the namespace has to be Ready before others follow."""
        move = self._unsettled.get(key)
        return self._prove_seconds if move is None else min(START_SECONDS, self._prove_seconds * 2.0**move.times)

    def _read_namespace(self, namespace: str, moves: Iterable[PodMove]) -> None:
        """Read the moves by choice of all owners in a namespace."""
        ended: list[PodMove] = []
        prove_seconds = self._prove_seconds_of(namespace)
        for move in moves:
            if move.outcome is Outcome.LEFT and move.pod.keeps_name and self._now >= move.pending_until:
                # It is replaced only after it has ended, which may take long.
                continue
            if move.outcome is Outcome.NOT_REPLACED and move.unwanted:
                # Its owner wants fewer pods, or is deleted. That tells nothing about the namespace.
                continue
            starts = move.awaits_ready and self._now < max(move.at + START_SECONDS, move.given_up_at)
            if starts or self._is_proving(move, namespace, prove_seconds):
                self._under_way[namespace] += 1
            elif move.outcome not in (Outcome.UNREADY, Outcome.LOST):
                # A replacement that was Ready for a while shows that the namespace keeps no pods from running.
                ended.append(move)
        if not ended:
            return
        ended.sort(key=_time)
        well = max((number for number, move in enumerate(ended) if move.ended_well), default=-1)
        failed = len({move.pod.owner for move in ended[well + 1 :]})
        if not failed:
            self._moved_well.add(namespace)
        before = self._unsettled.get(namespace)
        if 0 < failed < FIRST_OWNERS and (before is None or not before.times):
            self._failed[namespace] = failed
            return
        self._note_end(namespace, ended[-1], goes_on=self._under_way[namespace] > 0, missing=False)
        noted = self._unsettled.get(namespace)
        if noted is not None and noted.times < failed:
            self._unsettled[namespace] = msgspec.structs.replace(noted, times=min(failed, _DOUBLINGS))

    def _times(self, key: str, before: UnsettledMove | None) -> int:
        """Return how many moves came to nothing in a row before the next move of an owner or in a namespace."""
        if before is None:
            return 0
        # It is not known how the moves of an earlier leader have ended, so a namespace goes on one by one.
        unknown = before.at < self._snapshot.moves_since and key.startswith(NAMESPACE_PREFIX)
        return max(before.times, int(unknown))

    def _note_end(self, key: str, last: PodMove, *, goes_on: bool, missing: bool) -> None:
        """Note how the last move by choice of an owner or namespace has ended.

        `goes_on`: others are under way; `missing`: a moved pod has no replacement.
        """
        if last.ended_well:
            self._ended_well.add(key)
            move = self._unsettled.get(key)
            # A program may crash again and again, each time after it was Ready for a while.
            counts_on = move is not None and move.times > 0 and self._now < last.ready_at + START_SECONDS
            if move is not None and counts_on and not key.startswith(NAMESPACE_PREFIX):
                # When a move last came to nothing stays known: an earlier move must not count again.
                self._unsettled[key] = msgspec.structs.replace(move, pods=0)
                self._run_on.add(key)
            elif not goes_on:
                self._unsettled.pop(key, None)
            return
        self._moved_well.discard(key)
        if last.at > self._failed_at.get(key, -1.0):
            # Moves that were under way together count once.
            before = self._unsettled.get(key) or UnsettledMove(0, self._second(), 0)
            # An owner that wants fewer pods a second time may be an owner whose new pods are refused.
            missing = missing or before.times > 0
            times, pods = min(before.times + 1, _DOUBLINGS), before.pods if missing else 0
            self._unsettled[key] = UnsettledMove(times, before.at, pods)
            self._failed_at[key] = self._now

    def _why_not_in(self, namespace: str) -> tuple[Reason, float | None] | None:
        """Return why no owner in the namespace that has not moved well yet may move, and until when; None if it may."""
        until = self._delayed_until(namespace, constrained=False)
        if until is not None and until > self._now:
            return Reason.MOVE_FAILED, until
        move = self._unsettled.get(namespace)
        one_by_one = move is not None and (move.times > 0 or move.at < self._snapshot.moves_since)
        allowed = 1 if one_by_one else FIRST_OWNERS - self._failed[namespace]
        if namespace in self._moved_well:
            allowed = max(allowed, self._owned(namespace).count // SHARE)
        return None if self._under_way[namespace] < allowed else self._awaits(namespace, START_SECONDS)

    def _awaits(self, key: str, longest: float) -> tuple[Reason, None]:
        """Say that a move of the owner or in the namespace is not over, and note when time alone ends that."""
        move = self._unsettled.get(key)
        ends = (self._proved_at.get(key), None if move is None else move.at + longest)
        self.recheck_at = soonest(self._now, (self.recheck_at, *ends))
        return Reason.AWAITS_REPLACEMENT, None

    def _delayed_until(self, key: str, *, constrained: bool) -> float | None:
        """Return until when the last move that came to nothing delays the next of an owner or in a namespace.

        None without such a move.
        """
        move, since = self._unsettled.get(key), self._failed_at.get(key)
        if move is None:
            # Without a record: the move ended well at last, or there were more unsettled owners than are recorded.
            if since is None or key in self._ended_well:
                return None
            return since + delay_after(1, constrained=constrained)
        if since is None or since < move.at or key in self._run_on:
            # No move since then came to nothing, as far as this process knows.
            if move.at >= self._snapshot.moves_since:
                return None
            # The end of a move that came to nothing is not recorded. It was before this process began, and at most a
            # day after the move: the owner moves again even if the operator restarts every day.
            since = min(self._snapshot.moves_since, move.at + FOLLOWED_SECONDS) if move.times else move.at
        return since + delay_after(move.times, constrained=constrained)

    def _kept_until(self, owner: str, move: UnsettledMove) -> float:
        since = max(move.at, self._failed_at.get(owner, 0.0))
        return since + delay_after(move.times, constrained=True) + LONGEST_SECONDS

    def _unavailable(self, owner: str) -> int:
        """Return how many pods of the owner are missing or not Ready since its last move whose end is not known."""
        move = self._unsettled.get(owner)
        if move is None:
            if owner in self._well_since:
                return self._owned(owner).not_ready(self._well_since[owner])
            if self._earlier is None:
                return 0
            # They may replace pods that the earlier leader moved.
            return self._owned(owner).not_ready(self._earlier, self._snapshot.moves_since)
        pods = self._owned(owner)
        missing = max(0, move.pods - pods.count) if self._now < move.at + LONGEST_SECONDS else 0
        return missing + pods.not_ready(min(move.at, self._well_since.get(owner, move.at)))

    def _owned(self, key: str) -> OwnedPods:
        if self._pods is None:
            self._pods = owned_pods(self._snapshot, self._context.pool)
        return self._pods.get(key, NO_PODS)

    def _second(self) -> float:
        # In the second in which this process took over, its own moves must not look like moves of the earlier leader.
        return float(max(floor(self._now), ceil(self._snapshot.moves_since)))


def _time(move: PodMove) -> float:
    return move.at


def delay_after(times: int, *, constrained: bool) -> float:
    """Return for how long an owner's next move waits after `times` moves that came to nothing in a row."""
    first = FIRST_DELAY_SECONDS * (CONSTRAINED_FACTOR if constrained else 1)
    return min(LONGEST_SECONDS, first * 2.0 ** (min(max(times, 1), _DOUBLINGS) - 1))
